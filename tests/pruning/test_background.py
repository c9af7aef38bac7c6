"""A little text in languages that nobody named: from the draw to what is said of the result."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mwanda
from mwanda import InputError
from mwanda.evaluation.results import Comparison
from mwanda.pruning.draw_windows import draw_windows
from mwanda.pruning.folder.made_with import commands_of
from mwanda.pruning.folder.manifest import background_in, read_manifest
from mwanda.text.languages import MULTIPLE
from tests.pruning.pipeline.helpers import tensors
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

FEW: dict[str, Any] = {
    "languages": ["de", "sw"], "windows": 2, "window_length": 32, "background_windows": 3,
    "background_weight": 0.25,
}  # fmt: skip
WANDA = {"criterion": "wanda", "allocation": "uniform", "mode": "dense"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text in two languages to name, two for the background, and to score one more."""
    root = tmp_path_factory.mktemp("texts")
    write_corpus(root / "named", ["de", "sw"], lines=60)
    write_corpus(root / "others", ["de", "fr", "hi"], lines=60, seed=1)
    write_corpus(root / "test", ["de", "hi", "th"], lines=4, seed=2)
    return root


@pytest.fixture(scope="module")
def pruned(tiny: Tiny, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pruned") / "model"
    others = str(texts / "others")
    mwanda.prune(tiny("llama"), out=out, calibration=texts / "named", background=others, **FEW)
    return out


def test_it_is_recorded_apart_from_the_languages_named(pruned: Path, texts: Path) -> None:
    made = read_manifest(pruned)
    text = made.calibration
    assert text is not None
    assert (text.background, text.background_source) == (("fr", "hi"), str(texts / "others"))
    assert text.weights == {"de": 0.375, "sw": 0.375, MULTIPLE: 0.25}
    assert (made.seen, background_in(made.calibrations)) == (("de", "sw"), ("fr", "hi"))
    assert made.recipe["languages"] == ["de", "sw"]
    card = (pruned / "README.md").read_text(encoding="utf-8")
    assert "sw (Swahili); and a little, 25% of the weight, of others in: fr, hi" in card
    assert "\n- fr" not in card.split("---")[1]
    assert not mwanda.verify(pruned).problems


def test_the_command_of_the_card_has_it(pruned: Path) -> None:
    (words,) = commands_of(read_manifest(pruned))
    told = dict(itertools.pairwise(words))
    assert told["--languages"] == "de,sw"
    assert (told["--background"], told["--background-weight"]) == ("others", "0.25")
    assert told["--background-windows"] == "3"


def test_its_languages_are_neither_seen_nor_unseen(tiny: Tiny, pruned: Path, texts: Path) -> None:
    found = mwanda.evaluate(pruned, texts / "test")
    assert (found.seen, found.background) == (("de",), ("hi",))
    compared = Comparison.of(mwanda.evaluate(tiny("llama"), texts / "test"), found)
    for rises, tag in ((compared.seen, "de"), (compared.background, "hi"), (compared.unseen, "th")):
        assert [rise.language for rise in rises] == [tag]
    told = compared.as_dict()
    assert told["rise"]["hi"]["background"]
    assert told["summary"]["background"]["languages"] == 1
    rows = [row[0] for row in compared.table()[1]]
    assert {"hi Hindi (background)", "th Thai (unseen)", "mean background"} <= {*rows}


def test_text_of_it_is_refused_for_scoring(pruned: Path, texts: Path) -> None:
    with pytest.raises(InputError, match="hi: expected text that did not calibrate the model"):
        mwanda.evaluate(pruned, texts / "others", languages=["hi"])


def test_statistics_and_windows_carry_it(tiny: Tiny, texts: Path, tmp_path: Path) -> None:
    source, others = tiny("llama"), str(texts / "others")
    saved, windows = tmp_path / "s.safetensors", tmp_path / "w.safetensors"
    mwanda.collect_statistics(
        source, saved, calibration=texts / "named", background=others,
        **{name: value for name, value in FEW.items() if name != "background_weight"},
    )  # fmt: skip
    draw_windows(
        str(source), windows, str(texts / "named"), languages=["de", "sw"], windows=2, length=32,
        background=others, background_windows=3,
    )  # fmt: skip
    assert load_file(windows)[MULTIPLE].shape[0] == 3
    weights = {"background_weight": 0.25}
    given: dict[str, dict[str, Any]] = {
        "text": {"calibration": texts / "named", "background": others, **FEW},
        "statistics": {"statistics": saved, **weights},
        "windows": {"calibration": windows, **weights},
    }
    made = {
        name: mwanda.prune(source, out=tmp_path / name, **WANDA, **fields).manifest
        for name, fields in given.items()
    }
    for name, one in made.items():
        assert one.calibration is not None
        assert one.calibration.background == ("fr", "hi"), name
        for tensor, weight in tensors(tmp_path / "text").items():
            assert torch.equal(weight, tensors(tmp_path / name)[tensor]), name
    for name in ("statistics", "windows"):
        how: dict[str, Any] = {**given[name], **WANDA}
        alone = mwanda.prune(source, out=tmp_path / f"{name} alone", background="none", **how)
        assert alone.manifest.calibration is not None
        assert alone.manifest.calibration.weights == {"de": 0.5, "sw": 0.5}
        assert alone.manifest.calibration.background == ()
        with pytest.raises(InputError, match="--background: expected "):
            mwanda.prune(source, out=tmp_path / "no", background="udhr", **how)


def test_a_plan_counts_it(tiny: Tiny, texts: Path) -> None:
    others = str(texts / "others")
    plan = mwanda.plan(tiny("llama"), calibration=texts / "named", background=others, **FEW)
    assert plan.languages == ("de", "sw")
    alone = mwanda.plan(tiny("llama"), calibration=texts / "named", background="none", **FEW)
    assert plan.tokens > alone.tokens == 2 * 2 * 32


def test_a_background_that_is_not_there_is_told_before_any_work(tiny: Tiny, texts: Path) -> None:
    with pytest.raises(InputError, match="nowhere: expected a folder"):
        mwanda.prune(
            tiny("llama"), out=texts / "no", calibration=texts / "named", background="nowhere"
        )


def test_sizes_of_a_background_without_one_are_refused(
    tiny: Tiny, texts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, saved = str(tiny("llama")), tmp_path / "s.safetensors"
    named, windows = str(texts / "named"), tmp_path / "w.safetensors"
    few: dict[str, Any] = {"windows": 2, "window_length": 32}
    mwanda.collect_statistics(source, saved, calibration=named, **few)
    draw_windows(source, windows, named, languages=["de", "sw"], windows=2, length=32)
    texts_given: list[dict[str, Any]] = [{"calibration": named, **few}, {"calibration": windows}]
    for one in texts_given:
        how: dict[str, Any] = {**WANDA, **one}
        for option, more in (
            ("--background-weight", {"background_weight": 0.2}),
            ("--background-windows", {"background_windows": 3}),
        ):
            with pytest.raises(InputError, match=f"{option}: expected a background, found none"):
                mwanda.plan(source, **{**how, **more})
        # A recipe has sizes for its own background; who does without it is not asked for them.
        mwanda.plan(source, background="none", background_weight=0.2, background_windows=3, **how)
    mwanda.plan(source, statistics=saved, background_weight=0.2, **WANDA)
    assert "--background-weight: no background in the statistics" in caplog.text
