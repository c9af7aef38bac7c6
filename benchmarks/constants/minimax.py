"""Language weights moved step by step toward the languages that lose most: an experiment.

Every round is a cell of its own: the weights of the round before, times ``exp(step · (rise /
mean rise − 1))`` for each language's rise on the tuning text, scaled to a mean of 1. The
statistics stay those of the dense model, so a round costs a prune and an evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cells import SCORED_IN, Cell, Text
from comparisons import rises
from grids import Fields
from studies import SEEN

if TYPE_CHECKING:
    from runner import Runner

STEP = 0.5
ROUNDS = 4


def rounds(
    runner: Runner, model: str, text: Text, variant: Fields, seed: int, **fields: Any
) -> list[Cell]:
    """The cells of as many rounds as there is time for, the first with equal weights."""
    cells: list[Cell] = []
    weights: dict[str, float] = {}
    dense = Cell.dense(model, text, scored_in=fields.get("scored_in", SCORED_IN))
    for _ in range(ROUNDS + 1):
        given = variant | ({"language_weights": weights} if weights else {})
        cells.append(Cell.of(model, text, given, seed, **fields))
        if not runner.run([dense, cells[-1]]):
            return cells[:-1]
        base, found = dense.read(runner.results), cells[-1].read(runner.results)
        if base is None or found is None:
            return cells
        weights = moved(weights, rises(base, found, SEEN))
    return cells


def moved(weights: Mapping[str, float], losses: Mapping[str, float]) -> dict[str, float]:
    """The weights of the next round, rounded to four digits so that a round can be named."""
    mean = sum(losses.values()) / len(losses)
    made = {
        tag: weights.get(tag, 1.0) * math.exp(STEP * (loss / mean - 1))
        for tag, loss in losses.items()
    }
    scale = len(made) / sum(made.values())
    return {tag: float(f"{value * scale:.4g}") for tag, value in made.items()}
