"""How a number is written in the tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from mwanda.evaluation.loss_tables import label
from mwanda.evaluation.paired import FEWEST, Difference
from mwanda.study.report.data import Loss, ModelResults
from mwanda.text.languages import display_name, seen_among

HEADLINE = 0.5
"""Of the sparsities that were tried, tables are shown unfolded for the one nearest to this."""

UNSURE = "°"
MARK = (
    f"{UNSURE} marks what is not significant: the paired 95 % interval over articles (over "
    "sentences, where no articles are told apart) holds 0. It covers the choice of sentences, not "
    f"that of models or calibration text; text of fewer than {FEWEST} articles has none."
)


def headline(model: ModelResults) -> float:
    """The sparsity whose tables are unfolded."""
    return min(model.sparsities, key=lambda sparsity: abs(sparsity - HEADLINE))


def label_of(model: ModelResults, tag: str) -> str:
    """A language by tag and name, marked where it calibrated nothing, or as background alone; one
    of a task need not be scored."""
    seen = tag in model.seen_by_any
    if tag not in model.languages:
        recipes = [c["settings"]["recipe"] for g in model.groups.values() for c in g.cells.values()]
        seen = bool(seen_among([tag], {t for one in recipes for t in one.get("languages") or ()}))
    return label(tag, seen, tag in model.background_of_any)


def rise_of(found: Difference, digits: int = 1) -> str:
    """A difference, marked where it is not significant."""
    return f"{found.mean:+.{digits}%}" + ("" if found.significant else UNSURE)


def rises_by_language(
    model: ModelResults, losses: Sequence[Loss], digits: int = 1
) -> list[list[str]]:
    """A row for every language with its differences."""
    return [
        [label_of(model, tag), *(rise_of(loss.languages[tag], digits) for loss in losses)]
        for tag in model.order
    ]


def worst_of(loss: Loss) -> str:
    """The language that lost most, and what it lost."""
    return f"{display_name(loss.worst)} {loss.languages[loss.worst].mean:+.1%}"


def numbers_of(found: Difference) -> list[float | bool | None]:
    """Mean, ends of the interval where there is one, and whether it leaves out 0."""
    told = found.as_dict()
    return [told["mean"], told["low"], told["high"], found.significant]


def mean_of(values: Sequence[float]) -> str:
    """The arithmetic mean, two digits after the point."""
    return f"{sum(values) / len(values):.2f}"
