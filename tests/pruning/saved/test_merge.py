"""Files added up are one pass over all their text."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import mwanda
from mwanda import InputError, RunOptions
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.pruning.statistics.merge import _joined
from mwanda.text.shared_sentences import pack_hashes
from tests.pruning.pipeline.helpers import Tiny, windows_object
from tests.pruning.saved.helpers import (
    OPTIONS,
    collected,
    content,
    from_file,
    spoiled,
    three_windows,
)
from tests.support.text import write_corpus

Parts = list[dict[str, slice]]
ALL = slice(None)


def parts_of(source: Path, folder: Path, parts: Parts, **given: Any) -> tuple[list[Path], Path]:
    """Statistics of each part of the same windows, and of all of them in one pass."""
    windows = three_windows()
    # A window a batch: in larger ones the same window's products are rounded otherwise.
    given = {"options": RunOptions(batch_tokens=24)} | given
    files = []
    for number, part in enumerate(parts):
        files.append(folder / f"part-{number}.safetensors")
        some = windows_object({tag: windows[tag][rows] for tag, rows in part.items()})
        collected(source, files[-1], calibration=some, **given)
    tags = dict.fromkeys(tag for part in parts for tag in part)
    whole = {
        tag: torch.cat([windows[tag][part[tag]] for part in parts if tag in part]) for tag in tags
    }
    collected(source, folder / "whole.safetensors", calibration=windows_object(whole), **given)
    return files, folder / "whole.safetensors"


def same(merged: Path, whole: Path) -> None:
    (sums, record), (wanted, said) = content(merged), content(whole)
    assert sums.keys() == wanted.keys()
    for name, tensor in sums.items():
        if name.endswith("|gram"):
            torch.testing.assert_close(tensor.tril(), wanted[name].tril(), rtol=2e-5, atol=1e-6)
        else:
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-12, atol=0)
    for name in ("model", "settings", "needs", "parts", "windows", "inputs"):
        assert record[name] == said[name]
    for tag, draw in record["calibration"]["languages"].items():
        known = said["calibration"]["languages"][tag]
        assert (draw["windows"], draw["tokens"]) == (known["windows"], known["tokens"])
    for tag, weight in record["calibration"]["weights"].items():
        assert weight == pytest.approx(said["calibration"]["weights"][tag], rel=1e-12)


@pytest.mark.parametrize("family", ["llama", "olmoe", "qwen3_moe"])
@pytest.mark.parametrize(
    "parts",
    [
        [{"de": slice(0, 1)}, {"de": slice(1, 4)}],
        [{"de": ALL}, {"sw": ALL, "fr": ALL}],
        [
            {"de": slice(0, 2), "sw": ALL},
            {"fr": slice(0, 1)},
            {"de": slice(2, 4), "fr": slice(1, 2)},
        ],
    ],
)
def test_one_pass_over_all_text(tiny: Tiny, tmp_path: Path, family: str, parts: Parts) -> None:
    files, whole = parts_of(tiny(family), tmp_path, parts)
    made = mwanda.merge_statistics(files, tmp_path / "merged.safetensors")
    assert made.record.files == len(parts)
    same(tmp_path / "merged.safetensors", whole)
    from_file(tiny(family), tmp_path / "a", tmp_path / "merged.safetensors", expert_tokens=5)
    from_file(tiny(family), tmp_path / "b", whole, expert_tokens=5)
    for name, record in mwanda.verify(tmp_path / "a").manifest.linears.items():
        assert record == mwanda.verify(tmp_path / "b").manifest.linears[name]


def test_merging_again_gives_the_same(tiny: Tiny, tmp_path: Path) -> None:
    parts: Parts = [{"de": slice(k, k + 1), "sw": slice(k, k + 1)} for k in range(3)]
    files, _ = parts_of(tiny("llama"), tmp_path, parts)
    names = [tmp_path / f"{name}.safetensors" for name in ("pair", "late", "at-once")]
    mwanda.merge_statistics(files[:2], names[0])
    late = mwanda.merge_statistics([names[0], files[2]], names[1])
    once = mwanda.merge_statistics(files, names[2])
    assert late.record.files == once.record.files == 3
    assert late.record.calibration == once.record.calibration
    same(names[1], names[2])


@pytest.mark.parametrize(
    ("parts", "weights"),
    [
        ([{"de": slice(0, 1), "sw": slice(0, 1)}, {"de": slice(1, 4), "sw": slice(1, 4)}], {}),
        (
            [{"de": slice(0, 2), "sw": slice(0, 2)}, {"de": slice(2, 4), "sw": slice(2, 4)}],
            {"de": 3.0},
        ),
        ([{"de": ALL, "sw": slice(0, 1)}, {"fr": ALL}], {}),
    ],
)
def test_gram_matrices(tiny: Tiny, tmp_path: Path, parts: Parts, weights: dict[str, float]) -> None:
    files, whole = parts_of(tiny("gemma3"), tmp_path, parts, gram=True, language_weights=weights)
    mwanda.merge_statistics(files, tmp_path / "merged.safetensors")
    same(tmp_path / "merged.safetensors", whole)
    fields = {"reconstruction": "sparsegpt", "language_weights": weights}
    from_file(tiny("gemma3"), tmp_path / "out", tmp_path / "merged.safetensors", **fields)


def refuse(files: list[Path], *says: str) -> InputError:
    out = files[0].parent / "merged.safetensors"
    before = sorted(out.parent.iterdir())
    with pytest.raises(InputError) as caught:
        mwanda.merge_statistics(files, out)
    assert sorted(out.parent.iterdir()) == before
    for part in says:
        assert part in str(caught.value), caught.value
    return caught.value


def test_gram_matrices_of_unequal_shares(tiny: Tiny, tmp_path: Path) -> None:
    parts: Parts = [{"de": slice(0, 1), "sw": slice(0, 1)}, {"de": slice(1, 4), "sw": slice(1, 2)}]
    files, _ = parts_of(tiny("llama"), tmp_path, parts, gram=True)
    refuse(files, "Gram matrices", "the same share of every language's tokens", "without --gram")


def test_gram_matrices_of_other_weights(tiny: Tiny, tmp_path: Path) -> None:
    windows, files = three_windows(), []
    for number, weights in enumerate(({"de": 1.0}, {"de": 2.0})):
        files.append(tmp_path / f"{number}.safetensors")
        some = {tag: windows[tag][2 * number : 2 * number + 2] for tag in ("de", "sw")}
        given = {"gram": True, "language_weights": weights, "calibration": windows_object(some)}
        collected(tiny("llama"), files[-1], **given)
    refuse(files, str(files[1]), "weighed against each other", "sw weighed otherwise")


def test_other_models_linears_settings(tiny: Tiny, tmp_path: Path) -> None:
    windows = three_windows()
    names = ("one", "model", "linears", "dtype", "gram", "length")
    files = {name: tmp_path / f"{name}.safetensors" for name in names}
    some = windows_object({"de": windows["de"][:1]})
    other = windows_object({"de": windows["de"][1:2]})
    collected(tiny("llama"), files["one"], calibration=some)
    collected(tiny("llama", seed=1), files["model"], calibration=other)
    collected(tiny("llama"), files["linears"], calibration=other, exclude=["q_proj"])
    options = RunOptions(compute_dtype="bfloat16")
    collected(tiny("llama"), files["dtype"], calibration=other, options=options)
    collected(tiny("llama"), files["gram"], calibration=other, gram=True)
    spoiled(files["one"], files["length"], lambda _, record: record["calibration"].update(length=8))
    for name, says in (
        ("model", "the same model"),
        ("linears", "the same linears"),
        ("dtype", "the same compute_dtype"),
        ("gram", "the same sums"),
        ("length", "windows of one length"),
    ):
        refuse([files["one"], files[name]], str(files[name]), says)
    error = refuse([files["one"], files["model"], files["gram"]], "the same model", "the same sums")
    assert len(error.problems) == 3  # both of them have the same window, too


def test_the_same_window_twice(tiny: Tiny, tmp_path: Path) -> None:
    parts: Parts = [{"de": slice(0, 3), "sw": ALL}, {"de": slice(1, 4)}]
    files, _ = parts_of(tiny("llama"), tmp_path, parts)
    refuse(files, "language de", "found 2 in more than one", "count twice")
    refuse([files[0], files[0]], "language de", "language sw")


def test_the_same_sentences_are_said(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other windows of one text may hold the same sentences, which nobody can tell from here."""
    write_corpus(tmp_path / "text", ["de"], lines=30)
    files = [tmp_path / f"{seed}.safetensors" for seed in (0, 1)]
    for seed, file in enumerate(files):
        mwanda.collect_statistics(
            tiny("llama"), file, calibration=tmp_path / "text", seed=seed, windows=16,
            window_length=64, options=OPTIONS,
        )  # fmt: skip
    with caplog.at_level(logging.WARNING, "mwanda"):
        merged = mwanda.merge_statistics(files, tmp_path / "merged.safetensors")
    assert "language de" in caplog.text
    assert "counts twice" in caplog.text
    assert merged.record.calibration.seed is None
    assert merged.record.calibration.length == 64
    draws = [SavedStatistics.open(f).record.calibration.languages["de"] for f in files]
    packed = merged.record.calibration.languages["de"].sentences
    assert len(packed) >= max(len(draw.sentences) for draw in draws)
    assert packed != pack_hashes([])


def test_the_target(tiny: Tiny, tmp_path: Path) -> None:
    files, _ = parts_of(tiny("llama"), tmp_path, [{"de": ALL}, {"sw": ALL}])
    with pytest.raises(InputError, match="another file than those read"):
        mwanda.merge_statistics(files, files[0], overwrite=True)
    with pytest.raises(InputError, match="two files or more, found 1"):
        mwanda.merge_statistics(files[:1], tmp_path / "merged.safetensors")
    out = tmp_path / "merged.safetensors"
    mwanda.merge_statistics(files, out)
    with pytest.raises(InputError, match="--overwrite"):
        mwanda.merge_statistics(files, out)
    mwanda.merge_statistics(files, out, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_source_that_all_share_keeps_its_path() -> None:
    """By which ``--background`` is compared with it."""
    assert _joined(["/data/bg", None, "/data/bg"]) == "/data/bg"
    assert _joined(["/data/bg", "/more/bg2"]) == "bg + bg2"
    assert _joined([None]) is None
