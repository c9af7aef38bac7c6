"""Every row of the table keeps the contract of its kind: a new method is tested by existing."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mwanda.errors import InputError
from mwanda.methods.allocation.budget import CEILING
from mwanda.methods.allocation.comparison import Curves
from mwanda.methods.input_statistics import FeatureSums, InputStatistics, summarise
from mwanda.methods.kinds import (
    Allocation,
    Criterion,
    Pattern,
    Reconstruction,
    Signal,
    defaults_of,
    measure_block,
    option_problems,
    options_of,
)
from mwanda.methods.registry import (
    ALLOCATIONS,
    CRITERIA,
    PATTERNS,
    RECONSTRUCTIONS,
    find_allocation,
    find_criterion,
    find_pattern,
    find_reconstruction,
)
from mwanda.pruning import masks
from mwanda.pruning.masks import choose_mask

CRITERION_ROWS = [pytest.param(row, id=name) for name, row in CRITERIA.items()]
ALLOCATION_ROWS = [pytest.param(row, id=name) for name, row in ALLOCATIONS.items()]
COMPARING_ROWS = [pytest.param(r, id=n) for n, r in ALLOCATIONS.items() if r.probe is not None]
PATTERN_ROWS = [pytest.param(row, id=name) for name, row in PATTERNS.items()]
RECONSTRUCTION_ROWS = [pytest.param(row, id=name) for name, row in RECONSTRUCTIONS.items()]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def weight_of(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def statistics_of(columns: int, row: Criterion | Allocation, seed: int = 0) -> InputStatistics:
    """Of three languages, and only what the row says it needs."""
    generator = torch.Generator().manual_seed(seed)
    sums = {
        tag: FeatureSums.of(torch.randn(20, columns, generator=generator), row.needs)
        for tag in ("de", "hi", "sw")
    }
    return summarise(sums, {"de": 2.0, "hi": 1.0, "sw": 0.5})


def frozen(statistics: InputStatistics) -> list[torch.Tensor]:
    held = (statistics.weights, statistics.mean_square, statistics.activity)
    return [tensor.clone() for tensor in held if tensor is not None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", CRITERION_ROWS)
def test_a_criterion_scores(row: Criterion, dtype: torch.dtype) -> None:
    weight, statistics = weight_of(12, 16).to(dtype), statistics_of(16, row)
    before, seen = weight.clone(), frozen(statistics)
    scores = row.score(weight, statistics)
    assert scores.shape == weight.shape
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert (scores >= 0).all()
    assert torch.equal(scores, row.score(weight, statistics))
    assert torch.equal(weight, before)
    assert all(torch.equal(a, b) for a, b in zip(frozen(statistics), seen, strict=True))
    if row.rowwise:
        pieces = [row.score(part, statistics) for part in weight.split(5)]
        assert torch.equal(torch.cat(pieces), scores)
    turned = weight.t().contiguous().t()
    assert torch.equal(row.score(turned, statistics), scores)
    assert (row.score(torch.zeros_like(weight), statistics) == 0).all()


@pytest.mark.parametrize("name", ["unstructured", "unstructured-matrix", "2:4"])
@pytest.mark.parametrize("row", CRITERION_ROWS)
def test_the_size_of_the_pieces_does_not_matter(
    row: Criterion, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, statistics = weight_of(13, 16), statistics_of(16, row)

    def choose() -> torch.Tensor:
        return choose_mask("x", weight, statistics, row, {}, PATTERNS[name], 0.5)

    whole = choose()
    for piece in (1, 16, 50, 10_000):
        monkeypatch.setattr(masks, "PIECE", piece)
        assert torch.equal(choose(), whole)


@pytest.mark.parametrize("row", ALLOCATION_ROWS)
def test_an_allocation_measures(row: Allocation) -> None:
    weights = [weight_of(12, 16), weight_of(8, 24, seed=1)]
    statistics = [statistics_of(16, row), statistics_of(24, row, seed=1)]
    before = [weight.clone() for weight in weights]
    seen = [frozen(one) for one in statistics]
    signal = measure_block(row, weights, statistics, defaults_of(row))
    assert isinstance(signal, float)
    assert math.isfinite(signal)
    assert signal == measure_block(row, weights, statistics, {})
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    for one, other in zip(statistics, seen, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(frozen(one), other, strict=True))


def signals_of(row: Allocation, values: Sequence[float], target: float) -> list[Signal]:
    """These values, or curves of two languages that rise with them."""
    if row.probe is None:
        return list(values)
    points = row.probe(target).sparsities
    weights = {"de": 2.0, "sw": 1.0}
    return [
        Curves(points, {tag: tuple(v * (1 + w * p) for p in points) for tag, w in weights.items()},
               weights)
        for v in values
    ]  # fmt: skip


@pytest.mark.parametrize("target", [0.0, 0.01, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("row", ALLOCATION_ROWS)
def test_an_allocation_meets_the_budget(row: Allocation, target: float) -> None:
    signals, sizes = signals_of(row, [0.3, 0.1, 0.8, 0.4], target), [100, 4000, 50, 900]
    options = options_of(row.allocate, defaults_of(row))
    before = copy.deepcopy((signals, sizes))
    found = row.allocate(signals, sizes, target, **options)
    assert found == row.allocate(signals, sizes, target)
    assert (signals, sizes) == before
    assert all(0 <= value <= max(0.95, target) for value in found)
    mean = sum(s * v for s, v in zip(sizes, found, strict=True)) / sum(sizes)
    assert abs(mean - target) < 1e-12
    assert row.allocate(signals_of(row, [0.5], target), [10], target) == [target]
    alike = signals_of(row, [0.5] * 3, target)
    assert row.allocate(alike, [10, 7, 3], target) == [target] * 3


@pytest.mark.parametrize("target", [0.01, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("row", COMPARING_ROWS)
def test_an_allocation_that_compares_asks_what_can_be_answered(
    row: Allocation, target: float
) -> None:
    assert row.measure is None
    assert row.probe is not None
    probe = row.probe(target)
    points = probe.sparsities
    assert points == tuple(sorted({*points}))
    assert 0 <= points[0] <= points[-1] <= max(CEILING, target)
    assert probe.windows >= 0
    # Errors at the others follow from that at the one.
    assert probe.compared == points or (len(probe.compared) == 1 and {*probe.compared} <= {*points})
    assert probe.compared[-1] > 0


@pytest.mark.parametrize("row", COMPARING_ROWS)
def test_a_block_that_no_text_reached_gets_the_target(row: Allocation) -> None:
    found = row.allocate(signals_of(row, [0.3, 0.0, 0.8], 0.5), [100, 70, 50], 0.5)
    assert found[1] == pytest.approx(0.5)
    assert found[0] > 0.5 > found[2]
    assert row.allocate(signals_of(row, [0.0, 0.0], 0.5), [10, 7], 0.5) == [0.5, 0.5]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("row", PATTERN_ROWS)
def test_a_pattern_selects_exactly(row: Pattern, sparsity: float) -> None:
    scores = weight_of(7, 48).abs()
    before = scores.clone()
    mask = row.select(scores, sparsity)
    assert mask.shape == scores.shape
    assert mask.dtype == torch.bool
    gone = int(48 * (sparsity if row.fixed is None else row.fixed))
    assert int((~mask).sum()) == row.removed(7, 48, sparsity)
    assert torch.equal(mask, row.select(scores, sparsity))
    assert torch.equal(scores, before)
    if row.rowwise:
        assert (~mask).sum(dim=1).tolist() == [gone] * 7
        rows = [row.select(part, sparsity) for part in scores.split(1)]
        assert torch.equal(torch.cat(rows), mask)
    else:
        assert int((~mask).sum()) == int(7 * 48 * sparsity)


def gram_of(columns: int, seed: int = 0) -> torch.Tensor:
    """Of 40 inputs whose features go together: all follow three that are hidden."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(40, 3, generator=generator) @ torch.randn(3, columns, generator=generator)
    x = hidden + torch.randn(40, columns, generator=generator)
    return (x.t() @ x / 40).contiguous()


def error_of(new: torch.Tensor, weight: torch.Tensor, gram: torch.Tensor) -> float:
    change = new.double() - weight.double()
    return float(((change @ gram.double()) * change).sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", RECONSTRUCTION_ROWS)
def test_a_reconstruction_updates_what_a_mask_keeps(
    row: Reconstruction, dtype: torch.dtype
) -> None:
    weight, gram = weight_of(12, 16).to(dtype), gram_of(16)
    mask = weight_of(12, 16, seed=1) > 0
    before = weight.clone(), gram.clone(), mask.clone()
    made = row.reconstruct(weight, mask, gram)
    assert made.weight.shape == weight.shape
    assert made.weight.dtype == torch.float32
    assert torch.isfinite(made.weight).all()
    assert torch.equal(made.mask, mask)
    assert (made.weight[~mask] == 0).all()
    assert not made.raised
    assert torch.equal(made.weight, row.reconstruct(weight, mask, gram).weight)
    for tensor, old in zip((weight, gram, mask), before, strict=True):
        assert torch.equal(tensor, old)
    # Features that go together can make up for one another, so the error falls.
    left = error_of(made.weight, weight, gram) / error_of(weight * mask, weight, gram)
    assert left < 0.95, f"left {left:.1%} of the error"
    everything = row.reconstruct(weight, torch.ones_like(mask), gram).weight
    torch.testing.assert_close(everything, weight.float(), rtol=1e-4, atol=1e-4)
    # Another text, other weights: a language's share in the Gram matrix counts.
    other = row.reconstruct(weight, mask, 0.5 * gram + 0.5 * gram_of(16, seed=2)).weight
    assert not torch.allclose(other, made.weight, atol=1e-2)


@pytest.mark.parametrize("row", RECONSTRUCTION_ROWS)
@pytest.mark.parametrize(("sparsity", "keep", "group"), [(0.5, 2, 4), (0.3, 1, 1), (0.75, 2, 8)])
def test_a_mask_of_its_own_is_exact(
    row: Reconstruction, sparsity: float, keep: int, group: int
) -> None:
    if row.prune is None:
        return
    weight, gram = weight_of(7, 48), gram_of(48)
    before = weight.clone()
    made = row.prune(weight, gram, sparsity, keep, group)
    # Of the whole matrix or of every row.
    assert int((~made.mask).sum()) in (int(7 * 48 * sparsity), 7 * int(48 * sparsity))
    if group > 1:
        assert (made.mask.reshape(7, -1, group).sum(dim=2) == keep).all()
    assert (made.weight[~made.mask] == 0).all()
    assert torch.equal(weight, before)
    again = row.prune(weight, gram, sparsity, keep, group)
    assert torch.equal(again.weight, made.weight)


@pytest.mark.parametrize("name", ["sparsegpt", "admm-gradual"])
@pytest.mark.parametrize(("sparsity", "keep", "group"), [(0.25, 1, 1), (0.25, 3, 4)])
def test_weights_that_no_text_reaches_go_first_and_no_more_than_the_mask_says(
    name: str, sparsity: float, keep: int, group: int
) -> None:
    prune = RECONSTRUCTIONS[name].prune
    assert prune is not None
    weight, gram = weight_of(7, 48), gram_of(48)
    gram[:, 12:] = gram[12:] = 0  # three of four features never fire
    made = prune(weight, gram, sparsity, keep, group)
    assert made.mask[:, :12].all() or group > 1
    assert int((made.weight == 0).sum()) == int(7 * 48 * sparsity)
    assert torch.equal(made.weight[:, 12:], weight[:, 12:].float() * made.mask[:, 12:])


@pytest.mark.parametrize(
    "row", [*CRITERION_ROWS, *ALLOCATION_ROWS, *PATTERN_ROWS, *RECONSTRUCTION_ROWS]
)
def test_a_row_says_what_and_whose_it_is(
    row: Criterion | Allocation | Pattern | Reconstruction,
) -> None:
    assert row.formula
    assert row.source
    if isinstance(row, Pattern):
        return
    for function in row.functions:
        assert inspect.getdoc(function)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                assert parameter.default is not inspect.Parameter.empty
    assert option_problems("method", row, defaults_of(row)) == []


@pytest.mark.parametrize("table", [CRITERIA, ALLOCATIONS, PATTERNS, RECONSTRUCTIONS])
def test_the_table_is_keyed_by_name_and_cannot_be_written(table: Any) -> None:
    assert all(name == row.name for name, row in table.items())
    with pytest.raises(TypeError):
        table["new"] = next(iter(table.values()))


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        (find_criterion, "wnada", r"criterion: .*'wnada'; did you mean 'wanda'\?"),
        (find_criterion, "m_wanda", r"did you mean 'm-wanda'\?"),
        (find_allocation, "unifrom", r"allocation: .*did you mean 'uniform'\?"),
        (find_allocation, "zzz", f"choose one of {', '.join(sorted(ALLOCATIONS))}"),
        (find_reconstruction, "amdm", r"reconstruction: .*did you mean 'admm'\?"),
        (find_pattern, "unstructred", r"pattern: .*did you mean 'unstructured'\? .*any N:M"),
        (find_pattern, "5:4", r"N:M with 1 ≤ N ≤ M ≤ 1024, N the weights kept, found 5:4"),
        (find_pattern, "0:4", r"N:M with 1 ≤ N"),
        (find_pattern, "2:2048", r"N:M with 1 ≤ N"),
        (find_pattern, "2:4:8", r"pattern: expected a known name"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(find: Any, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(name)


@pytest.mark.parametrize(
    ("name", "gone"), [("1:4", 0.75), ("3:4", 0.25), ("16:32", 0.5), ("4:4", 0)]
)
def test_any_n_of_m_is_a_pattern(name: str, gone: float) -> None:
    row = find_pattern(name)
    assert (row.name, row.fixed) == (name, gone)
    mask = row.select(weight_of(3, 96), 0.1)
    assert int((~mask).sum()) == 3 * 96 * gone


def test_option_errors_come_all_at_once() -> None:
    wrong = {
        "dispersion": "spread",
        "dispersion_weight": -1,
        "activity_weight": float("nan"),
        "activty_weight": 1.0,
    }
    found = option_problems("criterion", CRITERIA["m-wanda"], wrong)
    assert len(found) == 4
    assert "one of variance-ratio, deviation, variance, found 'spread'" in found[0]
    assert "dispersion_weight: expected a finite number ≥ 0, found -1" in found[1]
    assert "found nan" in found[2]
    assert "did you mean 'activity_weight'?" in found[3]
    for value in (True, "1", None, float("inf")):
        assert option_problems("criterion", CRITERIA["m-wanda"], {"activity_weight": value})
    for value in (0, 1, 0.5):
        assert not option_problems("criterion", CRITERIA["m-wanda"], {"activity_weight": value})
    assert "it takes no options" in option_problems("c", CRITERIA["magnitude"], {"x": 1})[0]
    wrong = {"iterations": 3.5, "rho": "x"}
    found = option_problems("reconstruction", RECONSTRUCTIONS["admm"], wrong)
    assert "iterations: expected a whole number ≥ 0, found 3.5" in found[0]
    assert "rho: expected a finite number ≥ 0" in found[1]
    # An allocation's options are those of both its functions.
    assert not option_problems("allocation", ALLOCATIONS["owl"], {"outlier": 3, "width": 0.1})


@pytest.mark.parametrize("row", CRITERION_ROWS)
def test_the_needs_of_the_defaults_are_those_of_the_row(row: Criterion) -> None:
    assert row.needs_of({}) == row.needs


@pytest.mark.parametrize("name", ["m-wanda", "m-ria"])
def test_needs_follow_from_the_options(name: str) -> None:
    row = CRITERIA[name]
    assert row.needs_of({"activity": "sign"}) == ("square", "activity-sign")
    assert row.needs_of({"activity_weight": 0, "activity": "sign"}) == ("square",)
    assert row.needs_of({"norms": "normalised"}) == ("square", "activity")
