"""A study in a notebook: its frame is the report's file, its figure the report's."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import pytest

import mwanda
from mwanda import InputError
from tests.study.report.helpers import GRID, NASTY, study

mpl.use("agg")


def test_a_study_read_back(tmp_path: Path) -> None:
    found = mwanda.read_study(study(tmp_path, GRID).path)
    assert repr(found) == f"<Study: {tmp_path / 'study'}, tiny, 5 of 5 cells done>"
    frame = found.to_frame()
    mwanda.write_report(tmp_path / "study", tmp_path / "report")
    with (tmp_path / "report" / "languages.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [*frame.columns] == list(rows[0])
    assert [*frame["relative_rise"]] == [float(row["relative_rise"]) for row in rows]
    page = found._repr_html_()
    assert page.count('style="width:') == len(GRID)
    assert "Hindi +40.0%" in page


def test_its_figure_has_a_picture_a_language(tmp_path: Path) -> None:
    from matplotlib import pyplot

    found = mwanda.read_study(study(tmp_path, GRID).path)
    figure = found.plot()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["German", "Hindi", "Swahili"]
    assert [*figure.axes[1].lines[0].get_ydata()] == pytest.approx([0, 20, 40], abs=0.1)
    pyplot.close(figure)
    with pytest.raises(InputError, match="model: expected one of the study, found other"):
        found.plot("other")


def test_a_study_without_results_says_so(tmp_path: Path) -> None:
    folder = study(tmp_path, {("m", 0.5, 0): GRID["first", 0.3, 0]}, dense=False, model=NASTY)
    found = mwanda.read_study(folder.path)
    assert "<img" not in found._repr_html_()
    with pytest.raises(InputError, match="finish the study"):
        found.plot()
