"""Artefacts scored in the programs that serve them, and what is said where that cannot be."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mwanda
from mwanda import InputError, RunOptions
from mwanda.evaluation.runtimes import evaluate as job
from mwanda.evaluation.runtimes import transformers as whole
from mwanda.evaluation.runtimes.registry import RUNTIMES, Row, find_runtime, kind_of
from mwanda.evaluation.runtimes.runtime import Runtime, losses_of
from mwanda.evaluation.token_batches import Piece
from mwanda.text import tokens
from mwanda.text.tokens import pieces_of_ids
from tests.support.folders_made import Tiny

TEXTS = {"de": ["Alle Menschen sind frei.", "Ein Haus."], "sw": ["Habari ya asubuhi.", "Ndiyo."]}


class Counting(Runtime):
    """Says 2 nats of every token, and cuts text at its bytes."""

    opened: int = 0

    def __init__(self, *_: Any) -> None:
        Counting.opened += 1
        self.told = {"quantisation": "two nats"}

    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        for piece in pieces:
            yield [2.0] * (len(piece.ids) - piece.first)

    def own_ids(self, text: str) -> Sequence[int]:
        return list(text.encode())


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    monkeypatch.setattr(job, "open_runtime", Counting)
    monkeypatch.setattr(Counting, "opened", 0)
    return Counting


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("llama"), tmp_path / "model"))


def test_losses_are_those_of_torch() -> None:
    torch.manual_seed(0)
    logits, targets = 9 * torch.randn(300, 50), torch.randint(50, (300,))
    wanted = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    found = losses_of(logits.numpy(), targets.tolist())
    assert found == pytest.approx(wanted.tolist(), abs=1e-5)
    assert losses_of(np.array([[1e30, -1e30]], np.float32), [0]) == [0.0]


@pytest.mark.parametrize("asked", [{}, {"return_dict": False}])
def test_transformers_scores_as_the_forward_block_by_block(
    folder: Path, asked: dict[str, bool]
) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | asked))
    own = mwanda.evaluate(folder, TEXTS, max_length=8)
    found = mwanda.evaluate(folder, TEXTS, max_length=8, runtime="transformers")
    for tag, result in own.languages.items():
        assert found.languages[tag].sentence_nll == pytest.approx(result.sentence_nll, rel=1e-5)
    assert found.settings["bos"] == own.settings["bos"]
    told = found.settings["runtime"]
    assert told["versions"]["transformers"]
    assert told["threads"] == torch.get_num_threads()
    assert (told["name"], told["quantisation"]) == ("transformers", "none")


@pytest.mark.parametrize(("method", "computes_in"), [
    (None, "float32"), ("compressed-tensors", "float32"), ("torchao", "bfloat16"),
])  # fmt: skip
def test_a_quantised_folder_names_its_dtype_unless_it_is_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, method: str | None, computes_in: str
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dtype": "bfloat16"}))
    monkeypatch.setattr(whole, "quantisation_of", lambda _config: method)
    told = mwanda.evaluate(folder, TEXTS, runtime="transformers").settings["runtime"]
    assert told["computes_in"] == computes_in


def test_every_token_is_scored_once_by_any_runtime(
    counting: type[Counting], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = mwanda.evaluate(folder, TEXTS)
    with caplog.at_level(logging.WARNING, "mwanda"):
        found = mwanda.evaluate(folder, TEXTS, runtime="llama.cpp", max_length=6)
    for tag, result in own.languages.items():
        assert found.languages[tag].tokens == result.tokens
        assert found.languages[tag].nll == 2.0 * result.tokens
    lines = [line for line in caplog.messages if "its own tokenizer" in line]
    assert len(lines) == 1
    assert "cuts 4 of 4 texts otherwise, in de, sw" in lines[0]
    assert found.settings["runtime"]["texts_cut_otherwise"] == {"de": 2, "sw": 2}


def test_scores_of_an_artefact_are_kept_by_its_files(
    counting: type[Counting], folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artefact = tmp_path / "artefact"
    artefact.mkdir()
    (artefact / "model.bin").write_bytes(b"weights")
    given: dict[str, Any] = {"tokenizer": folder, "cache": tmp_path / "cache"}
    for _ in range(2):
        mwanda.evaluate(artefact, TEXTS, runtime="ctranslate2", **given)
    assert counting.opened == 1
    assert sum("its own tokenizer" in line for line in caplog.messages) == 2
    mwanda.evaluate(artefact, TEXTS, runtime="openvino", **given)
    assert counting.opened == 2
    (artefact / "model.bin").write_bytes(b"others")
    mwanda.evaluate(artefact, TEXTS, runtime="ctranslate2", **given)
    assert counting.opened == 3


def test_texts_are_tokenised_once(
    counting: type[Counting], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = []

    def counted(tokenizer: Any, text: str) -> Iterator[list[int]]:
        cut.append(text)
        return pieces_of_ids(tokenizer, text)

    monkeypatch.setattr(tokens, "pieces_of_ids", counted)
    mwanda.evaluate(folder, TEXTS, runtime="ctranslate2", cache=tmp_path / "cache")
    assert [cut.count(text) for group in TEXTS.values() for text in group] == [1] * 4


@pytest.fixture(autouse=True)
def no_library_asked(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Rows without a library where the runtime is made up."""
    if "counting" in request.fixturenames:
        monkeypatch.setattr(job, "find_runtime", lambda _name: Row("", "", packages=("torch",)))


def test_what_calibrated_it_is_read_from_the_tokenizers_folder(
    counting: type[Counting], folder: Path, tmp_path: Path
) -> None:
    pruned = tmp_path / "pruned"
    text = {"de": [f"Satz {n}: ein Haus am See, Nummer {n}." for n in range(80)]}
    mwanda.prune(folder, out=pruned, calibration=text, windows=2, window_length=32,
                 criterion="wanda", allocation="uniform")  # fmt: skip
    artefact = tmp_path / "model.gguf"
    artefact.write_bytes(b"GGUF")
    found = mwanda.evaluate(artefact, TEXTS, runtime="llama.cpp", tokenizer=pruned)
    assert found.seen == ("de",)
    with pytest.raises(InputError, match="share sentences"):
        mwanda.evaluate(artefact, text, runtime="llama.cpp", tokenizer=pruned)


def test_a_folder_that_says_it_is_quantised_is_scored_and_not_pruned(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"quantization_config": {"quant_method": "fbgemm_fp8"}}))
    opened = []
    monkeypatch.setattr(job, "open_runtime", lambda name, _: opened.append(name) or Counting())
    mwanda.evaluate(folder, TEXTS)
    assert opened == ["transformers"]
    with pytest.raises(InputError, match="quantised weights"):
        mwanda.prune(folder, out=tmp_path / "out", criterion="magnitude", sparsity=0.5)


@pytest.mark.parametrize("name", [name for name, row in RUNTIMES.items() if row.library])
def test_an_absent_library_is_told_with_what_brings_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError) as error:
        find_runtime(name)
    assert f"expected the library {RUNTIMES[name].library}, found it is not" in str(error.value)
    assert str(error.value).endswith(RUNTIMES[name].install)


def test_a_library_that_cannot_be_imported_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    with pytest.raises(InputError, match="--runtime vllm: expected a library vllm that can be"):
        mwanda.evaluate(folder, TEXTS, runtime="vllm")


def test_versions_of_a_module_whose_package_has_another_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job, "packages_distributions", lambda: {"vllm": ["torch"]})
    assert job._version("vllm") == f"torch {version('torch')}"
    assert job._version("nowhere") == "unknown"


def test_kinds_of_artefacts(tmp_path: Path, folder: Path) -> None:
    gguf, ov, ct = tmp_path / "a.gguf", tmp_path / "ov", tmp_path / "ct"
    gguf.write_bytes(b"GGUF")
    for path in (ov / "openvino_model.xml", ct / "model.bin"):
        path.parent.mkdir()
        path.touch()
    kinds = [kind_of(str(path)) for path in (gguf, ov, ct, folder, tmp_path / "no")]
    assert kinds == ["llama.cpp", "openvino", "ctranslate2", None, None]


def test_what_a_runtime_does_not_do(folder: Path) -> None:
    model = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="found a model in memory"):
        mwanda.evaluate(model, TEXTS, runtime="transformers")
    with pytest.raises(InputError, match="found continuations asked for"):
        mwanda.evaluate(folder, TEXTS, runtime="transformers", continuations=True)
    with pytest.raises(InputError, match=r"--url: expected an address, with --runtime openai"):
        mwanda.evaluate(folder, TEXTS, runtime="transformers", url="http://127.0.0.1:1")


def scored_alike(artefact: Path, folder: Path, runtime: str, within: float) -> None:
    """As a share of the folder's own scores."""
    own = mwanda.evaluate(folder, TEXTS, options=RunOptions(compute_dtype="float32"))
    found = mwanda.evaluate(artefact, TEXTS, runtime=runtime, tokenizer=folder)
    for tag, result in own.languages.items():
        assert found.languages[tag].nll == pytest.approx(result.nll, rel=within)


def test_llama_cpp_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    from mwanda.model.source import open_model
    from tests.support.gguf_files import gguf_model, write_gguf

    path = tmp_path / "model.gguf"
    write_gguf(path, "llama", gguf_model("llama"))
    with open_model(path, tmp_path) as source:
        # Its attention rounds to float16, which a model of random weights shows most.
        scored_alike(path, source.folder, "llama.cpp", within=1e-3)
