"""Figures: their rows, marks and ends, and what is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import pytest

from mwanda import Comparison, InputError
from mwanda.evaluation.figures import plot_against_sparsity, short_names
from tests.evaluation.test_shown import COMPARED, DENSE, PRUNED, evaluation

mpl.use("agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def marks(axes: Any) -> dict[str, list[float]]:
    """Row -> places of its marks."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    found: dict[str, list[float]] = {}
    for line in axes.lines:
        if line.get_marker() != "None":
            found.setdefault(names[int(line.get_ydata()[0])], []).append(line.get_xdata()[0])
    return found


def test_a_comparison_has_a_row_a_language_and_the_mean() -> None:
    axes = COMPARED.plot()
    found = {name: round(places[0], 6) for name, places in marks(axes).items()}
    assert found == {"mean": pytest.approx(10 / 3), "German": -25, "Swahili": 10, "Hindi": 25}
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["mean", "calibrated", "Swahili", "German", "not calibrated", "Hindi"]
    assert axes.get_legend() is None
    assert axes.get_xlabel().endswith("no 95 % interval for any language: too little text")


def test_models_beside_each_other_are_told_apart() -> None:
    other = Comparison.of(DENSE, replace(PRUNED, model="some/where/other"))
    axes = COMPARED.plot(other)
    assert len(marks(axes)["Hindi"]) == 2
    assert axes.get_legend().get_texts()[1].get_text() == "other"
    assert DENSE.plot(PRUNED).get_xlim()[0] == 0
    with pytest.raises(InputError, match="the same texts"):
        DENSE.plot(replace(PRUNED, text_sha256="another"))


@pytest.mark.parametrize("draw", [lambda: COMPARED.plot([COMPARED]), lambda: COMPARED.plot(DENSE),
                                  lambda: DENSE.plot(COMPARED)])  # fmt: skip
def test_what_cannot_stand_beside_is_refused(draw: Any) -> None:
    with pytest.raises(InputError, match=r"further results of the kind .*a\.plot\(\*several\)"):
        draw()


def test_one_model_has_its_intervals() -> None:
    ids = {tag: range(0, 900, 30) for tag in DENSE.languages}
    base, raised = (replace(evaluation("m", by, texts=30), ids=ids) for by in (0.0, 5.0))
    rows = {tag: replace(row, sentence_nll=tuple(n + k % 3 for k, n in enumerate(row.sentence_nll)))
            for tag, row in raised.languages.items()}  # fmt: skip
    compared = Comparison.of(base, replace(raised, languages=rows))
    low, high = compared.intervals["hi"].low, compared.intervals["hi"].high
    spans = [[*line.get_xdata()] for line in compared.plot().lines if len(line.get_xdata()) == 2]
    assert pytest.approx([100 * low, 100 * high]) in spans


def test_a_figure_is_drawn_where_it_is_told() -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    assert COMPARED.plot(axes=axes) is axes
    assert pyplot.get_fignums() == [figure.number]


def test_panels_share_their_axes() -> None:
    lines = {"first": [(0.0, 0.0), (30.0, 5.0)], "second": [(0.0, 0.0), (30.0, 4.0)]}
    figure = plot_against_sparsity({f"L{n}": lines for n in range(5)}, "x", "y")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [f"L{n}" for n in range(5)]
    assert len({axes.get_ylim() for axes in shown}) == 1


def test_names_of_models_stay_apart() -> None:
    assert short_names(["org/gemma", "out/pruned"]) == ["gemma", "pruned"]
    assert short_names(["a/m", "b/m"]) == ["1 a/m", "2 b/m"]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"plot: .*pip install 'mwanda\[figures\]'"):
        COMPARED.plot()
