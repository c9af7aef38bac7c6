"""Puts the tables of the search into a page, between their markers.

``<!-- constants: QUESTION [sparsity=0.5] [model=gemma3-270m] [scored=bfloat16] -->`` and
``<!-- end of constants -->``, each on a line of its own; QUESTION is a list of ``grids.py``,
``minimax``, or ``finalists`` or ``by-language`` (the same, a row for each language) with
``text=flores`` or ``text=udhr`` and, where they are not 48 a language, ``sentences=491``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cells import SCORED_IN, TUNING, confirming, distinct
from comparisons import HEADER, Grid, rises
from grids import FINALISTS, QUESTIONS, REFERENCE, Fields
from minimax import ROUNDS, moved
from mwanda.system.text_tables import markdown
from studies import SEEN

SEEDS = (0, 1, 2)
CONFIRMED = 48

_PLACE = re.compile(
    r"(<!-- constants: ([a-z-]+)((?: [a-z]+=\S+)*) -->\n).*?(<!-- end of constants -->\n)",
    re.DOTALL,
)


def write_page(page: Path, results: Path) -> None:
    """Make every marked table of the page anew."""

    def table(match: re.Match[str]) -> str:
        given = dict(item.split("=", 1) for item in match[3].split())
        header, rows, missing = _rows(match[2], given, results)
        parts = [markdown(header, rows)] if rows else []
        parts += [f"Not measured: {'; '.join(missing)}."] if missing else []
        return "\n".join([match[1], "\n\n".join(parts), "", match[4]])

    page.write_text(_PLACE.sub(table, page.read_text(encoding="utf-8")), encoding="utf-8")


def _rows(
    question: str, given: dict[str, str], results: Path
) -> tuple[list[str], list[list[str]], list[str]]:
    """A question's header and rows, and the names of the variants that were not run."""
    kind = given.get("sparsity", "0.5")
    fields: dict[str, Any] = {"pattern": kind} if ":" in kind else {"sparsity": float(kind)}
    text = TUNING
    if "text" in given:
        sentences = int(given.get("sentences", CONFIRMED))
        text = next(one for one in confirming(sentences) if one.source == given["text"])
    scored_in = given.get("scored", SCORED_IN)
    grid = Grid(results, given.get("model", "gemma3-270m"), text, scored_in, fields)
    if question == "by-language":
        header, *rows = grid.by_language(FINALISTS, SEEDS[0]) or [[]]
        return header, rows, []
    if question == "minimax":
        rows = [row for seed in SEEDS for row in grid.table(_rounds(grid, seed), [seed])]
        names = [f"round {number}" for number in range(ROUNDS + 1)]
    else:
        variants = distinct(FINALISTS if question == "finalists" else QUESTIONS[question], fields)
        rows = grid.table(variants, SEEDS)
        names = list(variants)
    there = {row[0] for row in rows}
    return HEADER, rows, [name for name in names if name not in there]


def _rounds(grid: Grid, seed: int) -> dict[str, Fields]:
    """The rounds that were run, their weights followed from one to the next."""
    found: dict[str, Fields] = {}
    weights: dict[str, float] = {}
    dense = grid.dense()
    for number in range(ROUNDS + 1):
        variant = REFERENCE | ({"language_weights": weights} if weights else {})
        cell = grid.read(variant, seed)
        if dense is None or cell is None:
            break
        found[f"round {number}"] = variant
        weights = moved(weights, rises(dense, cell, SEEN))
    return found
