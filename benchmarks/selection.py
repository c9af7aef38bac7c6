"""Choosing a matrix's mask: mwanda's selection against torch's stable sort and its kthvalue.

One float32 score matrix, every method in turn, round by round; the masks are compared position by
position, on random scores, on the same rounded to bfloat16 (some ties) and rounded to a few values
(hardly anything but ties).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from harness import Table, bar, options_of, pairwise, save, spread
from mwanda.methods.registry import CRITERIA, PATTERNS
from mwanda.pruning.masks import choose_mask

Select = Callable[[torch.Tensor, float], torch.Tensor]
OURS, ALONE, SORT, KTH = "mwanda", "mwanda, one thread", "stable sort", "kthvalue"


def by_sort(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Full stable ascending order of every row; the first ``int(in · sparsity)`` go."""
    count = int(scores.shape[1] * sparsity)
    order = torch.sort(scores, dim=1, stable=True).indices
    return torch.ones_like(scores, dtype=torch.bool).scatter_(1, order[:, :count], False)


def by_kthvalue(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """All at or below the k-th smallest go: on ties too many, which is why it cannot be used so."""
    count = int(scores.shape[1] * sparsity)
    return scores > torch.kthvalue(scores, count, dim=1, keepdim=True).values


def by_pattern(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """The pattern's function on the whole matrix, which uses one thread."""
    return PATTERNS["unstructured"].select(scores, sparsity)


def by_mwanda(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """What a prune does: score, check and select, pieces of rows shared out among threads.

    The criterion ``magnitude`` gives non-negative weights back as their own scores.
    """
    row = CRITERIA["magnitude"]
    return choose_mask("scores", scores, None, row, {}, PATTERNS["unstructured"], sparsity)


METHODS: dict[str, Select] = {
    OURS: by_mwanda, ALONE: by_pattern, SORT: by_sort, KTH: by_kthvalue
}  # fmt: skip


def compare(scores: torch.Tensor, sparsity: float, rounds: int) -> dict[str, Any]:
    """Seconds of every method, interleaved, ratios to ours, and whether the mask is sort's."""
    masks = {name: method(scores, sparsity) for name, method in METHODS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(rounds):
        for name, method in METHODS.items():
            start = time.perf_counter()
            method(scores, sparsity)
            seconds[name].append(time.perf_counter() - start)
    return {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "speedup": {
            name: pairwise(values, seconds[OURS])
            for name, values in seconds.items()
            if name != OURS
        },
        "positions_unlike_sort": {
            name: int(torch.count_nonzero(mask ^ masks[SORT])) for name, mask in masks.items()
        },
    }


def main() -> None:
    parser = options_of(__doc__, "selection")
    parser.add_argument("--rows", type=int, default=14336)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--levels", type=int, default=64, help="values of the rounded scores")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(given.rows, given.columns, generator=generator).abs_()
    cases = {
        "random": random,
        "bfloat16": random.bfloat16().float(),
        "few values": (random * (given.levels / random.max())).round_(),
    }
    with torch.no_grad():
        found = {name: compare(s, given.sparsity, given.rounds) for name, s in cases.items()}
    rows = [
        [f"{case}, {name}", f"{data['seconds'][name]['median']:.2f} s",
         f"{data['speedup'][name]['median']:.1f} x" if name != OURS else "",
         str(data["positions_unlike_sort"][name])]
        for case, data in found.items()
        for name in METHODS
    ]  # fmt: skip
    header = ["scores, method", "median", "mwanda is faster by", "positions unlike sort"]
    speedup = found["random"]["speedup"][SORT]
    bars = [bar("stable sort's time over mwanda's, random scores", speedup, least=4)]
    for case, data in found.items():
        for name in (OURS, ALONE):
            claim = f"positions of {name} unlike the stable sort's mask, {case}"
            bars.append(bar(claim, data["positions_unlike_sort"][name], most=0))
    whole = {"shape": [given.rows, given.columns], "threads": given.threads,
             "sparsity": given.sparsity, "cases": found}  # fmt: skip
    save(given.results, whole, tables=[Table(header, rows)], bars=bars)


if __name__ == "__main__":
    main()
