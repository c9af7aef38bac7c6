"""Evaluation of folders and of models in memory, and the texts it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import Comparison, InputError, RunOptions
from mwanda.cli import main
from mwanda.errors import DataError
from mwanda.evaluation.gate import Gate
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

SHORT = {"criterion": "wanda", "windows": 2, "window_length": 32}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "calibration", ["de", "sw"], lines=30)
    write_corpus(folder / "test", ["de", "sw", "hi"], lines=6, seed=9)
    return folder


def test_a_pruned_folder_against_its_source(tiny: Tiny, tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    mwanda.prune(tiny("gemma3"), out=out, calibration=corpus / "calibration", **SHORT)
    texts = mwanda.read_texts(corpus / "test", sentences=3, seed=2)
    dense = mwanda.evaluate(tiny("gemma3"), texts)
    pruned = mwanda.evaluate(out, texts, continuations=True)
    assert dense.seen == ()
    assert pruned.seen == ("de", "sw")
    assert dense.text_sha256 == pruned.text_sha256 == texts.sha256
    assert set(pruned.continuations) == {"de", "sw", "hi"}
    assert pruned.settings["bos"] == "before every text: id 1"
    compared = Comparison.of(dense, pruned)
    assert [rise.language for rise in compared.unseen] == ["hi"]
    assert all(rise.rise != 0 for rise in compared.rises)
    Gate("10000%").check(compared)
    json.dumps(compared.as_dict(), allow_nan=False)
    alone = mwanda.evaluate(out, mwanda.read_texts(corpus / "test", ["hi"], sentences=3))
    assert alone.table()[1][0][0] == "hi Hindi (unseen)"
    assert (alone.calibrated, dense.calibrated) == (True, False)


def test_strides_of_other_lengths_are_not_compared(tiny: Tiny) -> None:
    texts = {"de": ["Alle Menschen sind frei und gleich geboren."]}
    whole, longer, short = (
        mwanda.evaluate(tiny("llama"), texts, max_length=length) for length in (None, 120, 16)
    )
    assert Comparison.of(whole, longer).worst.rise == 0  # no text is as long
    assert "strides_of" not in whole.settings
    assert short.settings["strides_of"] == 16
    with pytest.raises(InputError, match="cut alike for both, found strides of 16 tokens and none"):
        Comparison.of(whole, short)


@pytest.mark.parametrize("place", ["model.norm.weight", "model.embed_tokens.weight"])
def test_broken_weights_are_told_as_what_they_are(
    tiny: Tiny, corpus: Path, place: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    with torch.no_grad():
        model.get_parameter(place).fill_(math.nan)
    for one in (model, tokenizer):
        one.save_pretrained(tmp_path)
    words = ["eval", f"{tmp_path}", "--text", f"{corpus / 'test'}", "--no-generate"]
    with pytest.raises(SystemExit) as left:
        main([*words, "--fail-if-worse-than", "5%", "--baseline", f"{tiny('llama')}"])
    assert left.value.code == 1
    assert "a finite negative log-likelihood, found NaN" in capsys.readouterr().err
    with pytest.raises(DataError, match="NaN or infinity"):
        mwanda.evaluate(model, corpus / "test", tokenizer=tokenizer)


@pytest.mark.parametrize("training", [True, False])
def test_a_model_in_memory_scores_as_its_folder(tiny: Tiny, corpus: Path, training: bool) -> None:
    texts = mwanda.read_texts(corpus / "test", sentences=2)
    folder = mwanda.evaluate(tiny("gpt2"), texts)
    model = AutoModelForCausalLM.from_pretrained(tiny("gpt2"))
    tokenizer = AutoTokenizer.from_pretrained(tiny("gpt2"))
    model.train(training)
    found = mwanda.evaluate(model, texts, tokenizer=tokenizer, continuations=True)
    assert model.training is training
    for tag, result in folder.languages.items():
        assert found.languages[tag].sentence_nll == pytest.approx(result.sentence_nll, rel=1e-6)
    assert set(found.continuations) == {"de", "sw", "hi"}
    with pytest.raises(InputError, match="tokenizer: expected the model's tokenizer"):
        mwanda.evaluate(model, texts)


def test_calibration_text_is_refused_for_evaluation(
    tiny: Tiny, tmp_path: Path, corpus: Path
) -> None:
    out = tmp_path / "out"
    mwanda.prune(tiny("llama"), out=out, calibration=corpus / "calibration", **SHORT)
    with pytest.raises(InputError) as error:
        mwanda.evaluate(out, corpus / "calibration")
    for tag, problem in zip(("de", "sw"), error.value.problems, strict=True):
        assert f"calibration, {tag}: expected text that did not calibrate the model" in problem
        assert "that share sentences with it" in problem
        assert "--allow-overlap, in Python RunOptions(allow_overlap=True)" in problem
    allowed = mwanda.evaluate(
        out, corpus / "calibration", sentences=2, options=RunOptions(allow_overlap=True)
    )
    assert set(allowed.languages) == {"de", "sw"}
    dense = mwanda.evaluate(tiny("llama"), corpus / "calibration", sentences=2)
    assert set(dense.languages) == {"de", "sw"}  # nothing calibrated a dense model


def test_a_model_pruned_in_memory_tells_its_calibration(tiny: Tiny, corpus: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    manifest = mwanda.prune(
        model, tokenizer=tokenizer, calibration=corpus / "calibration", **SHORT
    ).manifest
    given = {"tokenizer": tokenizer, "calibration": manifest.calibration}
    with pytest.raises(InputError, match="share sentences with it"):
        mwanda.evaluate(model, corpus / "calibration", **given)
    result = mwanda.evaluate(model, corpus / "test", sentences=2, **given)
    assert result.seen == ("de", "sw")


def test_windows_of_another_tokenizer_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "windows.safetensors"
    save_file({"de": torch.full((2, 8), 300)}, path)
    with pytest.raises(InputError, match="below the model's vocabulary of 300, found 300"):
        mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=path)
    save_file({"de": torch.full((2, 129), 5)}, path)
    with pytest.raises(InputError, match="the model's context of 128 tokens, found 129"):
        mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=path)
    assert not (tmp_path / "out").exists()
