"""Scores read back only where everything they depend on is the same."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError, RunOptions
from mwanda.evaluation import evaluate as job
from mwanda.evaluation.cache import artefact_sha256, model_sha256
from mwanda.evaluation.texts import TextSet, digest_of
from mwanda.model.source import ModelSource

Tiny = Callable[..., Path]
TEXTS = {"de": ["Alle Menschen sind frei.", "Würde"], "hi": ["सभी मनुष्यों"]}


def text_set(texts: dict[str, list[str]] = TEXTS) -> TextSet:
    return TextSet("made up", texts, None, digest_of(texts))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every model that is run."""
    runs: list[int] = []
    real = job.score_texts

    def counted(*args: Any, **named: Any) -> Any:
        runs.append(1)
        return real(*args, **named)

    monkeypatch.setattr(job, "score_texts", counted)
    return runs


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("llama"), tmp_path / "model"))


def change_one_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] += 0.5
    save_file(weights, path, metadata={"format": "pt"})


def test_an_unchanged_model_is_read_back(
    folder: Path, tmp_path: Path, computed: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "new" / "cache"
    first = mwanda.evaluate(folder, text_set(), cache=cache)
    with caplog.at_level(logging.INFO, logger="mwanda"):
        again = mwanda.evaluate(folder, text_set(), cache=cache)
    assert again == first
    assert len(computed) == 1
    assert "scores read from" in caplog.text
    assert list(again.languages) == ["de", "hi"]
    assert [path.suffix for path in cache.iterdir()] == [".json"]
    moved = folder.rename(tmp_path / "elsewhere")
    assert mwanda.evaluate(moved, text_set(), cache=cache).languages == first.languages
    assert len(computed) == 1
    turned = dict(reversed(TEXTS.items()))
    assert list(mwanda.evaluate(moved, text_set(turned), cache=cache).languages) == ["hi", "de"]


def test_one_changed_weight_is_computed_anew(
    folder: Path, tmp_path: Path, computed: list[int]
) -> None:
    first = mwanda.evaluate(folder, text_set(), cache=tmp_path / "cache")
    change_one_weight(folder)
    second = mwanda.evaluate(folder, text_set(), cache=tmp_path / "cache")
    assert len(computed) == 2
    assert second.languages != first.languages
    assert second.languages == mwanda.evaluate(folder, text_set()).languages


def test_a_changed_weight_counts_though_the_manifest_says_otherwise(
    tiny: Tiny, tmp_path: Path, computed: list[int]
) -> None:
    out = tmp_path / "out"
    mwanda.prune(tiny("llama"), out=out, sparsity=0.0, criterion="magnitude")
    before = mwanda.evaluate(out, text_set(), cache=tmp_path / "cache")
    (out / "README.md").write_text("a card says nothing about the numbers")
    assert mwanda.evaluate(out, text_set(), cache=tmp_path / "cache") == before
    assert len(computed) == 1
    change_one_weight(out)
    assert mwanda.evaluate(out, text_set(), cache=tmp_path / "cache") != before
    assert len(computed) == 2


def test_everything_a_number_depends_on_is_in_the_key(
    folder: Path, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(texts: dict[str, list[str]] = TEXTS, **named: Any) -> None:
        mwanda.evaluate(folder, text_set(texts), cache=tmp_path / "cache", **named)

    run()
    run(TEXTS | {"hi": ["सभी मनुष्य"]})
    run(options=RunOptions(compute_dtype="float64"))
    run(max_length=16)
    run(options=RunOptions(batch_tokens=1))  # rounding only
    assert len(computed) == 4
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    run()
    assert len(computed) == 5
    monkeypatch.setattr("mwanda.evaluation.cache.versions", lambda: {"torch": "another"})
    run()
    assert len(computed) == 6


def test_what_is_not_read_does_not_count(folder: Path) -> None:
    before = model_sha256(folder)
    for name in ("mwanda.json", "README.md", "pytorch_model.bin", ".hidden"):
        (folder / name).write_text("x")
    assert model_sha256(folder) == before
    (folder / "modeling_own.py").write_text("x")
    assert model_sha256(folder) != before


def spoil_syntax(path: Path) -> None:
    path.write_text(path.read_text()[:-20])


def spoil_number(path: Path) -> None:
    data = json.loads(path.read_text())
    data["languages"]["de"]["sentence_nll"][0] += 1
    path.write_text(json.dumps(data))


def spoil_key(path: Path) -> None:
    data = json.loads(path.read_text())
    data["key"]["text_sha256"] = "0" * 64
    path.write_text(json.dumps(data))


def foreign(path: Path) -> None:
    path.write_text("[1, 2]")


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("spoil", [spoil_syntax, spoil_number, spoil_key, foreign, binary])
def test_a_damaged_file_is_computed_anew_and_replaced(
    folder: Path,
    tmp_path: Path,
    computed: list[int],
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
) -> None:
    cache = tmp_path / "cache"
    first = mwanda.evaluate(folder, text_set(), cache=cache)
    (path,) = cache.iterdir()
    whole = path.read_text()
    spoil(path)
    assert mwanda.evaluate(folder, text_set(), cache=cache) == first
    assert len(computed) == 2
    assert f"{path}: " in caplog.text
    assert "computed anew" in caplog.text
    assert path.read_text() == whole


def test_a_model_that_changes_meanwhile_is_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = job.score_texts

    def changing(*args: Any, **named: Any) -> Any:
        found = real(*args, **named)
        (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
        return found

    monkeypatch.setattr(job, "score_texts", changing)
    mwanda.evaluate(folder, text_set(), cache=tmp_path / "cache")
    assert "changed while it was evaluated" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_costs_the_copy_and_not_the_scores(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mwanda.evaluation.cache.os.replace", full)
    result = mwanda.evaluate(folder, text_set(), cache=tmp_path / "cache")
    assert result.languages["de"].nll > 0
    assert "not kept: No space left on device" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_is_refused_before_any_work(
    folder: Path, tmp_path: Path, computed: list[int]
) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(InputError, match=r"--cache .*: expected a folder that can be written"):
            mwanda.evaluate(folder, text_set(), cache=place)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match="cache: expected a model on disk"):
        mwanda.evaluate(model, text_set(), tokenizer=tokenizer, cache=tmp_path / "cache")
    assert computed == []


def test_a_gguf_file_that_is_known_is_not_converted(
    folder: Path, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF made up")
    converted: list[str] = []

    @contextmanager
    def opened(name: str, scratch: Path, **_: Any) -> Iterator[ModelSource]:
        converted.append(name)
        yield ModelSource(folder, name, "gguf", file, "GGUF file model.gguf")

    monkeypatch.setattr(job, "open_model", opened)
    first = mwanda.evaluate(file, text_set(), cache=tmp_path / "cache")
    assert mwanda.evaluate(file, text_set(), cache=tmp_path / "cache") == first
    assert (len(converted), len(computed)) == (1, 1)
    mwanda.evaluate(file, text_set(), cache=tmp_path / "cache", continuations=True)
    assert (len(converted), len(computed)) == (2, 1)
    file.write_bytes(b"GGUF made anew")
    mwanda.evaluate(file, text_set(), cache=tmp_path / "cache")
    assert (len(converted), len(computed)) == (3, 2)


def test_continuations_are_made_for_scores_that_were_kept(
    folder: Path, tmp_path: Path, computed: list[int]
) -> None:
    cache = tmp_path / "cache"
    plain = mwanda.evaluate(folder, text_set(), cache=cache)
    shown = mwanda.evaluate(folder, text_set(), cache=cache, continuations=True)
    assert len(computed) == 1
    assert shown.languages == plain.languages
    assert set(shown.continuations) == {"de", "hi"}
    assert torch.is_grad_enabled()


def test_calibration_text_is_refused_with_a_cache_too(
    tiny: Tiny, tmp_path: Path, computed: list[int]
) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "de.txt").write_text("\n".join(f"Satz {n} hat eine Nummer." for n in range(60)))
    out = tmp_path / "out"
    mwanda.prune(
        tiny("llama"), out=out, calibration=text, criterion="wanda", windows=2, window_length=32
    )
    texts = mwanda.read_texts(text)
    allowed = RunOptions(allow_overlap=True)
    mwanda.evaluate(out, texts, cache=tmp_path / "cache", options=allowed)
    with pytest.raises(InputError, match="share sentences with it"):
        mwanda.evaluate(out, texts, cache=tmp_path / "cache")
    assert len(computed) == 1


def test_all_parts_of_a_split_gguf_are_in_its_hash(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2))
    for path in (first, second, tmp_path / "m.gguf"):
        path.write_bytes(b"one")
    alone = sha256(b"one").hexdigest()
    assert artefact_sha256(tmp_path / "m.gguf") == alone
    before = artefact_sha256(first)
    assert before == artefact_sha256(second) != alone
    second.write_bytes(b"two")
    changed = artefact_sha256(first)
    assert changed != before
    first.write_bytes(b"two")
    second.write_bytes(b"one")
    swapped = artefact_sha256(first)
    assert swapped not in (before, changed)
    moved = [path.rename(path.with_name(path.name.replace("m-", "n-"))) for path in (first, second)]
    assert artefact_sha256(moved[0]) == swapped
