"""A model that was calibrated stays one, whatever is done to it after."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError
from mwanda.cli import main
from mwanda.pruned.push import _public
from mwanda.pruning.folder.known_text import known_in_folder
from mwanda.pruning.folder.manifest import manifest_text, read_manifest
from mwanda.pruning.folder.manifest_records import RecoveryRecord, TrimRecord
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

SHORT: dict[str, Any] = {
    "criterion": "wanda", "allocation": "uniform", "windows": 2, "window_length": 32,
}  # fmt: skip
SHARE = "share sentences with it"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Text of other languages and other sentences in every folder."""
    root = tmp_path_factory.mktemp("texts")
    for seed, (name, tags) in enumerate(
        {"first": ["de", "sw"], "second": ["fr"], "test": ["de", "fr", "hi", "sw"]}.items()
    ):
        write_corpus(root / name, tags, lines=30 if name != "test" else 4, seed=seed)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="module")
def once(tiny: Tiny, texts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("once") / "model"
    mwanda.prune(tiny("llama"), out=out, calibration=texts["first"], sparsity=0.3, **SHORT)
    return out


@pytest.fixture(scope="module")
def twice(once: Path, texts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("twice") / "model"
    mwanda.prune(once, out=out, calibration=texts["second"], sparsity=0.5, **SHORT)
    return out


def check(model: Any, texts: dict[str, Path], *names: str, **given: Any) -> None:
    """Evaluation on each of these is refused, and on other text their languages are seen."""
    for name in names:
        with pytest.raises(InputError, match=SHARE):
            mwanda.evaluate(model, texts[name], **given)
    seen = mwanda.evaluate(model, texts["test"], sentences=1, **given).seen
    assert set(seen) == {tag for name in names for tag in {"first": ("de", "sw")}.get(name, ["fr"])}


def test_a_folder_that_is_pruned_again(twice: Path, texts: dict[str, Path]) -> None:
    check(twice, texts, "first", "second")
    assert read_manifest(twice).seen == ("de", "sw", "fr")
    assert "pruned before, on first in: de (German), sw (Swahili)" in (
        twice / "README.md"
    ).read_text(encoding="utf-8")
    assert not mwanda.verify(twice).problems


@pytest.mark.parametrize("fields", [{"criterion": "magnitude", "sparsity": 0.6}, {"sparsity": 0}])
def test_a_prune_without_text(
    twice: Path, texts: dict[str, Path], tmp_path: Path, fields: dict[str, Any]
) -> None:
    """At any distance: a third time, and by a recipe that reads no text."""
    out = tmp_path / "third"
    made = mwanda.prune(twice, out=out, **fields).manifest
    assert made.calibration is None
    assert [record.source for record in made.earlier] == [
        str(texts["first"]), str(texts["second"]),
    ]  # fmt: skip
    check(out, texts, "first", "second")


def test_the_same_text_again_is_kept_once(
    once: Path, texts: dict[str, Path], tmp_path: Path
) -> None:
    last = once
    for number in range(3):
        mwanda.prune(last, out=tmp_path / str(number), calibration=texts["first"], **SHORT)
        last = tmp_path / str(number)
    assert len(read_manifest(last).earlier) == 1
    assert len(manifest_text(read_manifest(last))) < 1.5 * len(manifest_text(read_manifest(once)))


def test_saved_statistics(once: Path, texts: dict[str, Path], tmp_path: Path) -> None:
    file, out = tmp_path / "s.safetensors", tmp_path / "out"
    mwanda.collect_statistics(once, file, calibration=texts["second"], windows=2, window_length=32)
    mwanda.prune(once, out=out, statistics=file, criterion="wanda", allocation="uniform")
    check(out, texts, "first", "second")


def test_masks_alone(
    tiny: Tiny, once: Path, twice: Path, texts: dict[str, Path], tmp_path: Path
) -> None:
    masks, alone = tmp_path / "m.safetensors", tmp_path / "a.safetensors"
    mwanda.extract_masks(twice, masks)
    mwanda.apply_masks(masks, tiny("llama"), tmp_path / "applied")
    check(tmp_path / "applied", texts, "first", "second")
    # What the model was calibrated on, and not the one the masks were chosen on.
    mwanda.prune(tiny("llama"), out=alone, calibration=texts["second"], masks_only=True, **SHORT)
    mwanda.apply_masks(alone, once, tmp_path / "onto")
    check(tmp_path / "onto", texts, "first", "second")
    mwanda.prune(once, out=tmp_path / "b.safetensors", calibration=texts["second"],
                 masks_only=True, **SHORT)  # fmt: skip
    mwanda.apply_masks(tmp_path / "b.safetensors", tiny("llama"), tmp_path / "other")
    check(tmp_path / "other", texts, "first", "second")


def test_quantised_and_made_more_of(tiny: Tiny, texts: dict[str, Path], tmp_path: Path) -> None:
    last: Path = tiny("qwen3")  # rows that a quantised type can hold
    for name in ("first", "second"):
        mwanda.prune(last, out=tmp_path / name, calibration=texts[name], **SHORT)
        last = tmp_path / name
    mwanda.quantise(last, tmp_path / "q", "Q4_0")
    check(tmp_path / "q", texts, "first", "second")
    mwanda.quantise(tmp_path / "q", tmp_path / "qq", "Q8_0")
    check(tmp_path / "qq", texts, "first", "second")
    mwanda.prune(tmp_path / "q", out=tmp_path / "p", criterion="magnitude")
    check(tmp_path / "p", texts, "first", "second")
    mwanda.recover(tmp_path / "q", tmp_path / "r", dense=tiny("qwen3"), steps=2, windows=8,
                   window_length=32, calibration=texts["second"])  # fmt: skip
    check(tmp_path / "r", texts, "first", "second")
    (tmp_path / "q" / "quantised.json").write_text('{"calibrations": [1]}')
    with pytest.raises(InputError, match=r"quantised\.json: expected what mwanda quantise wrote"):
        mwanda.evaluate(tmp_path / "q", texts["test"])


def test_packed(twice: Path, texts: dict[str, Path], tmp_path: Path) -> None:
    mwanda.pack(twice, tmp_path / "m.mwz")
    mwanda.unpack(tmp_path / "m.mwz", tmp_path / "out")
    check(tmp_path / "out", texts, "first", "second")
    model = mwanda.load_packed(tmp_path / "m.mwz")
    check(model, texts, "first", "second", tokenizer=AutoTokenizer.from_pretrained(twice))


def test_in_memory(tiny: Tiny, once: Path, texts: dict[str, Path], tmp_path: Path) -> None:
    given = {"tokenizer": AutoTokenizer.from_pretrained(once)}
    loaded = AutoModelForCausalLM.from_pretrained(once)  # the folder says it
    check(loaded, texts, "first", **given)
    made = mwanda.prune(loaded, calibration=texts["second"], **SHORT, **given).manifest
    assert len(made.calibrations) == 2
    check(loaded, texts, "first", "second", **given)
    check(copy.deepcopy(loaded), texts, "first", "second", **given)
    fresh = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    for name in ("first", "second"):
        last = mwanda.prune(fresh, calibration=texts[name], **SHORT, **given).manifest
    check(fresh, texts, "first", "second", **given)
    fresh.save_pretrained(tmp_path / "saved")  # its record is not a part of transformers' files
    given["tokenizer"].save_pretrained(tmp_path / "saved")
    check(tmp_path / "saved", texts, "first", "second", calibration=last.calibrations)
    with pytest.raises(InputError, match=r"calibration: expected result\.manifest\.calibrations"):
        mwanda.evaluate(tmp_path / "saved", texts["test"], calibration=["de"])


def test_a_windows_file_that_cannot_be_known_again_is_told(
    twice: Path, texts: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    mwanda.prune(twice, out=out, calibration=windows_file(tmp_path), criterion="wanda",
                 allocation="uniform")  # fmt: skip
    with pytest.raises(InputError, match=SHARE):
        mwanda.evaluate(out, texts["second"])
    assert "overlap cannot be checked" in caplog.text


def test_what_was_written_before_is_read_and_written_the_same(once: Path, twice: Path) -> None:
    data = json.loads((once / "mwanda.json").read_text())
    assert "earlier" not in data
    assert read_manifest(once).earlier == ()
    assert manifest_text(read_manifest(once)) == (once / "mwanda.json").read_text()
    assert manifest_text(read_manifest(twice)) == (twice / "mwanda.json").read_text()


def test_the_hub_is_not_told_folders(twice: Path) -> None:
    manifest = read_manifest(twice)
    text = manifest.earlier[0]
    learnt = RecoveryRecord(
        pruned="/home/me/pruned", pruned_files={}, dense="/home/me/dense", dense_files={},
        settings={}, steps=1, best_step=1, compute_dtype="float32", held_out={}, learnt=(),
        text=text.model_copy(update={"background_source": "/home/me/others"}),
    )  # fmt: skip
    cut = TrimRecord(by="text", languages=("de",), scripts=("Latn",), text="/home/me/words",
                     rows=1, kept="", tensors={})  # fmt: skip
    recipe = manifest.recipe | {"background": "/home/me/others"}
    more = {"recoveries": (learnt,), "trims": (cut,), "recipe": recipe}
    told = json.loads(_public(manifest.model_copy(update=more)))
    assert [record["source"] for record in told["earlier"]] == ["first"]
    (recovery,), (trim,) = told["recoveries"], told["trims"]
    assert (recovery["pruned"], recovery["dense"], trim["text"]) == ("pruned", "dense", "words")
    assert recovery["text"]["background_source"] == told["recipe"]["background"] == "others"
    written = json.dumps(told)
    assert "/home/me" not in written
    assert str(twice.parent) not in written


def test_a_record_that_cannot_be_read_is_not_passed_over(
    once: Path, tiny: Tiny, texts: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(once, tmp_path / "m")
    (tmp_path / "m" / "mwanda.json").write_text("{")
    for call in (
        lambda: known_in_folder(tmp_path / "m"),
        lambda: mwanda.prune(tmp_path / "m", out=tmp_path / "o", criterion="magnitude"),
        lambda: mwanda.quantise(tmp_path / "m", tmp_path / "o", "Q8_0"),
    ):
        with pytest.raises(InputError, match=r"mwanda\.json: expected JSON"):
            call()
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("job", ["trim", "recover", "load", "eval", "baseline"])
def test_a_damaged_record_of_a_quantised_folder_is_told_first(
    once: Path,
    tiny: Tiny,
    texts: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
) -> None:
    def late(*_: Any, **__: Any) -> None:
        pytest.fail("told after the work")

    q, o, dense = tmp_path / "q", tmp_path / "o", str(tiny("llama"))
    shutil.copytree(once, q)
    (q / "mwanda.json").unlink()
    (q / "quantised.json").write_text("{")
    mwanda.pack(q, tmp_path / "q.mwz")
    monkeypatch.setattr("mwanda.pruned.trim.trim.copy_tensors", late)
    monkeypatch.setattr("mwanda.pruned.recover.task.get_windows", late)
    monkeypatch.setattr("mwanda.pruned.load_packed._tensors", late)
    monkeypatch.setattr("mwanda.evaluation.texts.read_texts", late)
    given = ["--text", str(texts["test"]), "--no-generate", "--debug"]
    jobs: dict[str, Callable[[], Any]] = {
        "trim": lambda: mwanda.trim(q, o, "de"),
        "recover": lambda: mwanda.recover(q, o, dense=dense, calibration=texts["second"], steps=2),
        "load": lambda: mwanda.load_packed(tmp_path / "q.mwz"),
        "eval": lambda: main(["eval", str(q), *given]),
        "baseline": lambda: main(["eval", dense, "--baseline", str(q), *given]),
    }
    with pytest.raises(InputError, match=r"quantised\.json: expected .* found .*; quantise"):
        jobs[job]()
    assert not o.exists()
