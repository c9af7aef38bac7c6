"""Translating with a tiny model: what is read, what is asked, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda.errors import InputError
from tests.support.text import write_corpus

Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short parallel sentences with ids 0, 5, 10, …, French one fewer. Do not write in it."""
    folder = tmp_path_factory.mktemp("parallel")
    for tag, path in write_corpus(folder / "lines", ["de", "sw", "fr"], lines=12).items():
        rows = path.read_text(encoding="utf-8").splitlines()[: 11 if tag == "fr" else 12]
        lines = [json.dumps({"id": 5 * n, "text": row[:12]}) for n, row in enumerate(rows)]
        (folder / f"{tag}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_examples_are_not_scored(text: Path) -> None:
    parallel, chosen = mwanda.read_parallel(
        text, ["de-sw", "sw-fr"], sentences=3, shots=4, ids=(20, None)
    )
    assert [str(one) for one in chosen] == ["de-sw", "sw-fr"]
    assert len(parallel.scored) == 3
    assert all(20 <= one <= 50 for one in parallel.scored)  # French has no 55
    assert parallel.shots == (0, 5, 10, 15)
    again, _ = mwanda.read_parallel(text, ["de-sw"], sentences=3, shots=4, seed=1)
    assert not set(again.scored) & set(again.shots)
    assert mwanda.read_parallel(text, ["de-sw"], shots=0, ids=(0, 10))[0].scored == (0, 5, 10)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"directions": []}, "--direction: expected at least one"),
        ({"directions": ["de-hi"]}, "language 'hi' of .*expected one of de, fr, sw"),
        ({"sentences": 99}, "expected 99 sentences with one id in de, sw, found 12"),
        ({"shots": 99}, "expected 99 sentences that are not scored, found 9"),
        ({"ids": (500, None)}, "expected 3 sentences .*found 0"),
    ],
)
def test_too_little_text(text: Path, given: dict[str, object], says: str) -> None:
    fields = {"directions": ["de-sw"], "sentences": 3, "shots": 2, **given}
    with pytest.raises(InputError, match=says):
        mwanda.read_parallel(text, **fields)  # type: ignore[arg-type]


def test_text_without_ids(text: Path) -> None:
    with pytest.raises(InputError, match="found 0 ids in 12 records"):
        mwanda.read_parallel(text / "lines", ["de-sw"])


def test_a_folder_and_a_model_in_memory_alike(tiny: Tiny, text: Path) -> None:
    folder = tiny("llama")
    given = {"directions": ["de-sw", "fr-de"], "sentences": 3, "shots": 1, "batch": 2}
    found = mwanda.translate(str(folder), text, **given).as_dict()  # type: ignore[arg-type]
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    other = mwanda.translate(model, text, tokenizer=tokenizer, **given).as_dict()  # type: ignore[arg-type]
    assert {**found, "model": ""} == {**other, "model": ""}
    assert list(found["directions"]) == ["de-sw", "fr-de"]
    row = found["directions"]["de-sw"]
    assert row["outputs"]["texts"] == len(row["sentences"]) == 3
    assert all("\n" not in one["output"] for one in row["sentences"])
    assert row["signatures"]["chrf++"].startswith("nrefs:1")


def test_text_that_calibrated_is_refused(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    rows = (text / "lines" / "de.txt").read_text(encoding="utf-8").splitlines()
    lines = [json.dumps({"id": n, "text": row}) + "\n" for n, row in enumerate(rows)]
    whole = tmp_path / "whole"
    whole.mkdir()
    for tag in ("de", "sw"):  # whole sentences: short ones do not count as shared
        (whole / f"{tag}.jsonl").write_text("".join(lines), encoding="utf-8")
    pruned = tmp_path / "pruned"
    mwanda.prune(tiny("llama"), out=pruned, calibration=whole, windows=1, window_length=16,
                 languages=["de"], criterion="wanda", allocation="uniform")  # fmt: skip
    with pytest.raises(InputError, match="expected text that did not calibrate the model"):
        mwanda.translate(pruned, whole, ["de-sw"], sentences=10, shots=2)
