"""Every row of the table on a pretend accelerator gives what it gives on the CPU, to the bit; with
float64 there and without, and by operations that torch has on mps too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from mwanda.methods.allocation.comparison import relative_errors, removed_share
from mwanda.methods.kinds import defaults_of, measure_block, options_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA, PATTERNS, RECONSTRUCTIONS
from mwanda.pruning.masks import choose_mask
from tests.methods.test_registry import statistics_of, weight_of
from tests.support.accelerators import KIND, Accelerator, assert_alike, on_it
from tests.support.pretend.operations import missing_on_mps

Give = Callable[[torch.Tensor], torch.Tensor]
"""Puts a tensor where the work is to be done."""

Work = Callable[[Give], list[torch.Tensor]]


def _criterion(name: str) -> Work:
    row = CRITERIA[name]
    return lambda give: [row.score(give(weight_of(12, 16)), statistics_of(16, row))]


def _allocation(name: str) -> Work:
    row = ALLOCATIONS[name]

    def work(give: Give) -> list[torch.Tensor]:
        weights = [give(weight_of(12, 16)), give(weight_of(8, 24, seed=1))]
        statistics = [statistics_of(16, row), statistics_of(24, row, seed=1)]
        return [torch.tensor(measure_block(row, weights, statistics, defaults_of(row)))]

    return work


def _pattern(name: str) -> Work:
    """With ties across the border."""
    row, ties = PATTERNS[name], weight_of(12, 16).mul(2).round().div(2)
    return lambda give: [row.select(give(score), 0.5) for score in (weight_of(12, 16), ties)]


def _reconstruction(name: str) -> Work:
    row = RECONSTRUCTIONS[name]
    inputs = weight_of(64, 16, seed=2)
    inputs[:, 3] = 0  # a feature that never fires
    keep, given = PATTERNS["2:4"], defaults_of(row)

    def work(give: Give) -> list[torch.Tensor]:
        weight, gram = give(weight_of(12, 16)), give(inputs.t() @ inputs / 64)
        mask = keep.select(weight.abs(), 0.5)
        made = [row.reconstruct(weight, mask, gram, **options_of(row.reconstruct, given))]
        if row.prune is not None:
            own = options_of(row.prune, given)
            made += [row.prune(weight, gram, 0.5, n, m, **own) for n, m in ((1, 1), (2, 4))]
        return [tensor for one in made for tensor in (one.weight, one.mask)]

    return work


def _comparison(give: Give) -> list[torch.Tensor]:
    weight, removed = give(weight_of(12, 16)), give(weight_of(12, 16, seed=1) > 0)
    share = removed_share(weight, removed, statistics_of(16, CRITERIA["wanda"]))
    return [torch.tensor(share), relative_errors(weight, weight.masked_fill(removed, 0))]


def _whole_mask(give: Give) -> list[torch.Tensor]:
    row, pattern = CRITERIA["wanda"], PATTERNS["unstructured"]
    return [
        choose_mask("x", give(weight_of(12, 16)), statistics_of(16, row), row, {}, pattern, 0.4)
    ]


def _rows() -> Iterator[tuple[str, Work]]:
    yield from ((name, _criterion(name)) for name in CRITERIA)
    yield from ((name, _allocation(name)) for name in ALLOCATIONS)
    yield from ((name, _pattern(name)) for name in PATTERNS)
    yield from ((name, _reconstruction(name)) for name in RECONSTRUCTIONS)
    yield "comparison", _comparison
    yield "mask", _whole_mask


@pytest.mark.parametrize("float64", [True, False], ids=["float64", "no-float64"])
@pytest.mark.parametrize("work", [pytest.param(work, id=name) for name, work in _rows()])
def test_a_method_on_a_device(accelerator: Accelerator, work: Work, float64: bool) -> None:
    def there() -> list[torch.Tensor]:
        with missing_on_mps() as missing:
            made = work(lambda tensor: tensor.to(KIND))
        assert float64 or not missing  # mps has no float64 either
        return [tensor.cpu() for tensor in made]

    found, _ = on_it(accelerator, there, float64=float64)
    assert_alike(found, work(lambda tensor: tensor))
