"""The measured allocation against a plain float64 loop, its traces, and sparsities per linear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import DataError, RunOptions
from mwanda.methods.allocation.comparison import Curves
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.kinds import measure_block, options_of
from mwanda.methods.registry import ALLOCATIONS, find_allocation
from mwanda.pruning.calibration_passes import Passes
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.resolved import resolve
from tests.pruning.pipeline.helpers import (
    WEIGHTS,
    Tiny,
    dense_inputs,
    tensors,
    token_windows,
    windows_file,
)
from tests.pruning.pipeline.helpers import windows_object as in_memory
from tests.support import oracle

GRID = [0.4, 0.45, 0.5, 0.55, 0.6]
EVERY = {"name": "measured", "reach": 0.1, "steps": 2, "compare": "every"}


def prune(model: Any, compute: str = "float32", **fields: Any) -> Any:
    given: dict[str, Any] = {"criterion": "wanda", "allocation": EVERY, "allocation_level": "block"}
    given |= {"language_weights": WEIGHTS} | fields
    options = RunOptions(compute_dtype=compute, batch_tokens=48)
    return mwanda.prune(model, calibration=in_memory(), options=options, **given)


def groups(model: Any, level: str) -> list[tuple[str, list[str]]]:
    """Block and names of the linears that have one sparsity in common."""
    found = []
    for block in oracle.blocks_of(model):
        names = [name for name, _ in oracle.linears_of(model) if name.startswith(f"{block}.")]
        found += [(block, [n]) for n in names] if level == "linear" else [(block, names)]
    return found


@torch.no_grad()
def outputs(model: Any, block: str, window: torch.Tensor) -> torch.Tensor:
    """What the block gives in the model's ordinary forward: ``[tokens, width]``."""
    seen: list[Any] = []
    handle = model.get_submodule(block).register_forward_hook(lambda _m, _a, out: seen.append(out))
    model(window[None], use_cache=False)
    handle.remove()
    return (seen[0] if isinstance(seen[0], torch.Tensor) else seen[0][0])[0]


def expected_curves(
    folder: Path, level: str, windows: int, sparsities: Sequence[float]
) -> list[dict[str, list[float]]]:
    model, inputs = dense_inputs(folder)
    found = []
    for block, names in groups(model, level):
        matrices = {name: oracle.matrix(model.get_submodule(name)) for name in names}
        originals = {name: matrix.clone() for name, matrix in matrices.items()}
        curves: dict[str, list[float]] = {tag: [] for tag in token_windows()}
        for sparsity in sparsities:
            for tag, ids in token_windows().items():
                shares = []
                for window in ids[:windows]:
                    dense = outputs(model, block, window)
                    for name, matrix in matrices.items():
                        keep = oracle.rows(sparsity)
                        matrix *= keep(oracle.wanda(originals[name], inputs[name]))
                    masked = outputs(model, block, window)
                    for name, matrix in matrices.items():
                        matrix.copy_(originals[name])
                    for y, z in zip(dense, masked, strict=True):
                        shares.append(float(((z - y) ** 2).sum() / (y**2).sum()))
                curves[tag].append(sum(shares) / len(shares))
        found.append(curves)
    return found


@pytest.mark.parametrize(
    ("family", "level", "windows"),
    [("llama", "block", 3), ("gpt2", "block", 1), ("gemma3", "linear", 1)],
)
def test_the_errors_are_those_of_a_plain_loop(
    tiny: Tiny, tmp_path: Path, family: str, level: str, windows: int
) -> None:
    """Three windows are one batch and a part of the next."""
    allocation = EVERY | {"windows": windows}
    out = tmp_path / "out"
    result = prune(tiny(family), "float64", out=out, allocation=allocation, allocation_level=level)
    expected = expected_curves(tiny(family), level, windows, GRID)
    signals = result.manifest.signals
    assert len(signals) == len(expected)
    for signal, curves in zip(signals, expected, strict=True):
        assert signal.sparsities == pytest.approx(GRID)
        assert signal.weights == {"de": 0.75, "sw": 0.25}
        assert signal.errors.keys() == curves.keys()
        for tag, errors in curves.items():
            assert signal.errors[tag] == pytest.approx(errors, rel=1e-5)
            assert min(errors) > 1e-4
    assert mwanda.verify(out).manifest.signals == signals  # through JSON and back


@pytest.mark.parametrize("level", ["block", "role"])
def test_from_the_target_on_errors_follow_the_linears_own(
    tiny: Tiny, tmp_path: Path, level: str
) -> None:
    """By the shares of their outputs' energy that go, inputs uncorrelated, summed over linears."""
    allocation = {"name": "measured", "steps": 2}
    fields = {"allocation": allocation, "allocation_level": level}
    signals = prune(tiny("llama"), "float64", out=tmp_path / "out", **fields).manifest.signals
    each = "linear" if level == "role" else level
    at_target = expected_curves(tiny("llama"), each, 1, [0.5])
    model, inputs = dense_inputs(tiny("llama"))
    for signal, curves, (_, names) in zip(signals, at_target, groups(model, each), strict=True):
        assert signal.sparsities == pytest.approx((0.3, 0.4, 0.5, 0.6, 0.7))
        shares = dict.fromkeys(signal.sparsities, 0.0)
        for name in names:
            scores = oracle.wanda(oracle.matrix(model.get_submodule(name)), inputs[name])
            for sparsity in shares:
                gone = (scores * ~oracle.rows(sparsity)(scores).bool()).square().sum()
                shares[sparsity] += float(gone / scores.square().sum())
        for tag, (error,) in curves.items():
            expected = [error * share / shares[0.5] for share in shares.values()]
            assert signal.errors[tag] == pytest.approx(expected, rel=1e-5)


def test_first_tokens_that_are_left_out_are_not_compared(tiny: Tiny, tmp_path: Path) -> None:
    """With magnitude, whose masks do not depend on which tokens count."""
    fields = {"criterion": "magnitude", "allocation": EVERY}
    found = [
        prune(tiny("llama"), out=tmp_path / str(skip), skip_first_tokens=skip, **fields)
        for skip in (0, 3)
    ]
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"), dtype=torch.float32).eval()
    block = oracle.blocks_of(model)[0]
    window = token_windows()["de"][0]
    dense = outputs(model, block, window)
    for name in [name for name, _ in oracle.linears_of(model) if name.startswith(f"{block}.")]:
        matrix = oracle.matrix(model.get_submodule(name))
        matrix *= oracle.rows(0.5)(matrix.abs())
    share = ((outputs(model, block, window) - dense) ** 2).sum(dim=1) / (dense**2).sum(dim=1)
    for skip, result in zip((0, 3), found, strict=True):
        error = result.manifest.signals[0].errors["de"][2]
        assert error == pytest.approx(float(share[skip:].mean()), rel=1e-4)
    assert float(share.mean()) != pytest.approx(float(share[3:].mean()), rel=1e-2)


def check_sparsities(result: Any, groups: Sequence[tuple[str, list[str]]]) -> None:
    """Every linear has the sparsity that the allocation makes of the signals."""
    manifest = result.manifest
    recipe = resolve(Recipe.build(manifest.recipe))
    row = find_allocation(recipe.allocation.name)
    size = {name: record.shape[0] * record.shape[1] for name, record in manifest.linears.items()}
    values = row.allocate(
        manifest.signals or [0.0] * len(groups),
        [sum(size[name] for name in names) for _, names in groups],
        recipe.sparsity,
        **options_of(row.allocate, recipe.allocation.options),
    )
    assert len(set(values)) > 1
    for value, (_, names) in zip(values, groups, strict=True):
        for name in names:
            rows, columns = manifest.linears[name].shape
            assert manifest.linears[name].pruned == rows * int(columns * value)
    assert abs(manifest.totals.sparsity - 0.5) < 1 / 48


@pytest.mark.parametrize("level", ["block", "linear"])
@pytest.mark.parametrize("objective", ["mean", "worst"])
@pytest.mark.parametrize("mode", ["dense", "sequential"])
def test_nothing_is_left_of_the_masks_that_were_tried(
    tiny: Tiny, tmp_path: Path, mode: str, objective: str, level: str
) -> None:
    allocation = EVERY | {"objective": objective}
    fields = {"mode": mode, "allocation": allocation, "allocation_level": level}
    model = AutoModelForCausalLM.from_pretrained(tiny("gpt2"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = prune(model, **fields)
    assert result.manifest.totals.source_zeros == 0
    changed = {record.tensor for record in result.manifest.linears.values()}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.where(tensor == 0, 0, before[name]))
        assert torch.equal(tensor, before[name]) is (name not in changed)
    folder = prune(tiny("gpt2"), out=tmp_path / "out", **fields)
    assert folder.manifest.linears == result.manifest.linears
    check_sparsities(result, groups(model, level))
    stored = tensors(tiny("gpt2"))
    for name, tensor in tensors(tmp_path / "out").items():
        assert torch.equal(tensor, torch.where(tensor == 0, 0, stored[name]))


def test_a_failure_in_between_leaves_the_weights_as_they_were(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    original, calls = Passes.compare, []

    def failing(self: Passes, visit: Any) -> torch.Tensor:
        calls.append(visit.block.index)
        found = original(self, visit)
        return found * float("nan") if len(calls) == 8 else found

    monkeypatch.setattr(Passes, "compare", failing)
    wanted = r"block 1, allocation measured: expected finite outputs of the masked block"
    with pytest.raises(DataError, match=wanted):
        prune(model)
    assert calls == [0] * 5 + [1] * 5
    monkeypatch.setattr(Passes, "compare", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prune(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_what_is_compared_is_the_unpruned_model_in_both_modes(tiny: Tiny, tmp_path: Path) -> None:
    signals = [
        prune(tiny("llama"), out=tmp_path / mode, mode=mode).manifest.signals
        for mode in ("dense", "sequential")
    ]
    assert signals[0] == signals[1]


@pytest.mark.parametrize("criterion", ["magnitude", "m-ria"])
def test_the_criterion_chooses_the_masks_that_are_tried(
    tiny: Tiny, tmp_path: Path, criterion: str
) -> None:
    wanda = prune(tiny("llama"), out=tmp_path / "wanda").manifest.signals
    other = prune(tiny("llama"), out=tmp_path / "other", criterion=criterion).manifest
    assert other.signals != wanda
    assert other.totals.sparsity == pytest.approx(0.5, abs=1 / 48)
    # Magnitude itself looks at no text.
    wants = "allocation measured" if criterion == "magnitude" else f"criterion {criterion}"
    with pytest.raises(mwanda.InputError, match=f"calibration: expected text for {wants}"):
        mwanda.prune(
            tiny("llama"), out=tmp_path / "none", criterion=criterion, allocation="measured"
        )


def test_a_program_without_a_solution_is_reported(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failed:
        success, message = False, "out of luck"

    monkeypatch.setattr("scipy.optimize.linprog", lambda *_given, **_more: Failed())
    with pytest.raises(mwanda.DataError, match=r"allocation measured: .* found out of luck"):
        prune(tiny("llama"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_own_masks_of_a_reconstruction(tiny: Tiny, tmp_path: Path) -> None:
    """The criterion's masks stand for those of sparsegpt, which come later."""
    result = prune(tiny("llama"), out=tmp_path / "out", reconstruction="sparsegpt")
    plain = prune(tiny("llama"), out=tmp_path / "plain")
    assert result.manifest.signals == plain.manifest.signals
    assert result.manifest.totals.sparsity == pytest.approx(0.5, abs=1 / 48)


@pytest.mark.parametrize("sparsity", [0, 0.01, 0.95])
def test_sparsities_at_the_ends(tiny: Tiny, tmp_path: Path, sparsity: float) -> None:
    result = prune(tiny("llama"), out=tmp_path / "out", sparsity=sparsity)
    assert result.manifest.totals.sparsity == pytest.approx(sparsity, abs=1 / 48)
    assert bool(result.manifest.signals) is (sparsity > 0)


@pytest.mark.parametrize("name", [name for name, row in ALLOCATIONS.items() if row.probe is None])
def test_every_linear_has_a_sparsity_of_its_own(tiny: Tiny, tmp_path: Path, name: str) -> None:
    result = mwanda.prune(
        tiny("llama"),
        out=tmp_path / "out",
        calibration=windows_file(tmp_path),
        criterion="wanda",
        allocation=name,
        allocation_level="linear",
        language_weights=WEIGHTS,
    )
    model, inputs = dense_inputs(tiny("llama"))
    row, signals = find_allocation(name), result.manifest.signals
    names = [linear for _, (linear,) in groups(model, "linear")]
    assert list(result.manifest.linears) == names
    if row.measure is None:
        assert signals == []
        assert {record.sparsity for record in result.manifest.linears.values()} == {0.5}
        return
    assert len(signals) == 21
    for linear, signal in zip(names, signals, strict=True):
        weight = oracle.matrix(model.get_submodule(linear)).float()
        means = list(inputs[linear].mean_square.values())
        seen = InputStatistics(torch.tensor([0.75, 0.25]).double(), torch.stack(means))
        assert signal == pytest.approx(measure_block(row, [weight], [seen], {}), rel=1e-4)
    check_sparsities(result, groups(model, "linear"))


@pytest.mark.parametrize("name", [name for name, row in ALLOCATIONS.items() if row.probe])
def test_what_compares_meets_the_target_linear_by_linear(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    result = prune(tiny("llama"), out=tmp_path / "out", allocation=name, allocation_level=None)
    assert result.manifest.recipe["allocation_level"] == "role"
    assert result.manifest.totals.sparsity == pytest.approx(0.5, abs=1 / 48)
    records = result.manifest.linears.values()
    assert len(result.manifest.signals) == len(records) == 21
    assert len({record.sparsity for record in records}) > 1


def test_a_level_is_written_down(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = prune(tiny("llama"), out=out, allocation="owl", allocation_level="linear")
    assert result.manifest.recipe["allocation_level"] == "linear"
    assert "allocation: owl, a linear each" in (out / "README.md").read_text()
    assert not any(isinstance(signal, Curves) for signal in result.manifest.signals)
