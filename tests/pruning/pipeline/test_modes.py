"""Dense mode, surveys, choices of linears, conversion, zeros that were there before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import mwanda
from mwanda.methods.allocation import alpha
from mwanda.model.run import decoder
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.manifest_parts import PruneResult
from tests.pruning.pipeline.helpers import (
    WEIGHTS,
    Tiny,
    dense_inputs,
    masks_of,
    same_masks,
    tensors,
    windows_file,
)
from tests.support import oracle


def prune(folder: Path, out: Path, **fields: Any) -> PruneResult:
    given = {"criterion": "wanda", "allocation": "uniform", "language_weights": WEIGHTS} | fields
    return mwanda.prune(folder, out=out, calibration=windows_file(out.parent), **given)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_dense_mode_is_one_pass_over_the_unpruned_model(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    model, inputs = dense_inputs(tiny(family))
    keep = oracle.rows(0.5)
    expected = {
        name: keep(oracle.wanda(oracle.matrix(module), inputs[name]))
        for name, module in oracle.linears_of(model)
    }
    result = prune(tiny(family), tmp_path / "out", mode="dense")
    assert result.manifest.statistics == "dense"
    same_masks(masks_of(tmp_path / "out"), expected)
    prune(tiny(family), tmp_path / "sequential", mode="sequential")
    sequential = masks_of(tmp_path / "sequential")
    changed = {name for name in expected if not torch.equal(expected[name], sequential[name])}
    assert changed
    assert not any(".0." in name for name in changed)  # the first block sees the same


def by_block(
    values: Mapping[str, Any], blocks: int = 3, inside: str = "model.layers"
) -> list[list[Any]]:
    return [
        [value for name, value in values.items() if name.startswith(f"{inside}.{block}.")]
        for block in range(blocks)
    ]


def owl_signals(model: Any, inputs: dict[str, oracle.Inputs]) -> list[float]:
    scores = {
        name: oracle.wanda(oracle.matrix(module), inputs[name]).numpy().ravel()
        for name, module in oracle.linears_of(model)
    }
    joined = [np.concatenate(block) for block in by_block(scores)]
    return [float((s > 2.0 * s.mean()).mean()) for s in joined]


def cwl_signals(_model: Any, inputs: dict[str, oracle.Inputs]) -> list[float]:
    agreement = {
        name: np.corrcoef(*(np.sqrt(square.numpy()) for square in given.mean_square.values()))[0, 1]
        for name, given in inputs.items()
    }
    return [float(np.mean(block)) for block in by_block(agreement)]


@pytest.mark.parametrize("mode", ["sequential", "dense"])
@pytest.mark.parametrize(
    ("allocation", "signals", "sign"),
    [
        ({"name": "owl", "outlier": 2.0, "width": 0.1}, owl_signals, -1),
        ({"name": "cwl", "width": 0.1, "direction": "shared-denser"}, cwl_signals, -1),
        ({"name": "cwl", "width": 0.1, "direction": "shared-sparser"}, cwl_signals, 1),
    ],
    ids=["owl", "cwl", "cwl-sparser"],
)
def test_a_survey_measures_the_unpruned_model_and_divides_the_budget(
    tiny: Tiny, tmp_path: Path, mode: str, allocation: dict[str, Any], signals: Any, sign: int
) -> None:
    result = prune(tiny("llama"), tmp_path / "out", mode=mode, allocation=allocation)
    expected = signals(*dense_inputs(tiny("llama")))
    assert result.manifest.signals == pytest.approx(expected, rel=1e-4)
    blocks = [
        {(linear.shape[1], linear.pruned // linear.shape[0]) for linear in block}
        for block in by_block(result.manifest.linears)
    ]
    # In one block every row of one width loses the same number.
    assert [len(block) for block in blocks] == [2, 2, 2]
    removed = [sum(r.pruned for r in block) for block in by_block(result.manifest.linears)]
    assert np.argsort(removed).tolist() == np.argsort(sign * np.array(expected)).tolist()
    assert abs(result.manifest.totals.sparsity - 0.5) < 1 / 48
    masks = masks_of(tmp_path / "out")
    for name, record in result.manifest.linears.items():
        assert int((~masks[name]).sum()) == record.pruned


def test_magnitude_needs_no_text_but_its_survey_does(tiny: Tiny, tmp_path: Path) -> None:
    plain = mwanda.prune(tiny("llama"), out=tmp_path / "a", criterion="magnitude")
    assert plain.windows is None
    assert plain.manifest.statistics == "none"
    weight = tensors(tiny("llama"))["model.layers.1.mlp.up_proj.weight"]
    keep = oracle.rows(0.5)(weight.abs())
    assert torch.equal(masks_of(tmp_path / "a")["model.layers.1.mlp.up_proj"], keep)
    with pytest.raises(mwanda.InputError, match="calibration"):
        mwanda.prune(tiny("llama"), out=tmp_path / "b", criterion="magnitude", allocation="owl")
    prune(tiny("llama"), tmp_path / "b", criterion="magnitude", allocation={"name": "owl"})
    assert len(masks_of(tmp_path / "b")) == 21


@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
@pytest.mark.parametrize("mode", ["sequential", "dense"])
def test_an_allocation_by_weights_alone_costs_no_pass(
    tiny: Tiny, tmp_path: Path, mode: str, criterion: str
) -> None:
    fields = {"criterion": criterion, "mode": mode, "sparsity": 0.4}
    result = prune(tiny("gpt2"), tmp_path / "out", allocation="alpha", **fields)
    model = AutoModelForCausalLM.from_pretrained(tiny("gpt2"), dtype=torch.float64)
    matrices = {n: oracle.matrix(module) for n, module in oracle.linears_of(model)}
    expected = [
        np.mean([alpha.exponent(alpha.spectrum(w)) for w in block])
        for block in by_block(matrices, inside="transformer.h")
    ]
    assert result.manifest.signals == pytest.approx(expected, rel=1e-6)
    assert "dense pass" not in result.manifest.seconds
    assert (result.windows is None) is (criterion == "magnitude")
    removed = [
        sum(r.pruned for r in block)
        for block in by_block(result.manifest.linears, inside="transformer.h")
    ]
    assert np.argsort(removed).tolist() == np.argsort(expected).tolist()
    assert abs(result.manifest.totals.sparsity - 0.4) < 1 / 48
    nothing = prune(tiny("gpt2"), tmp_path / "none", allocation="alpha", sparsity=0)
    assert nothing.manifest.totals.pruned == 0


def test_a_whole_matrix_is_pruned_at_once(tiny: Tiny, tmp_path: Path) -> None:
    fields = {"criterion": "magnitude", "pattern": "unstructured-matrix", "sparsity": 0.3}
    mwanda.prune(tiny("gpt2"), out=tmp_path / "out", **fields)
    model = AutoModelForCausalLM.from_pretrained(tiny("gpt2"))
    expected = {
        name: oracle.rows(0.3)(oracle.matrix(module).abs().reshape(1, -1)).reshape(
            oracle.matrix(module).shape
        )
        for name, module in oracle.linears_of(model)
    }
    same_masks(masks_of(tmp_path / "out"), expected)


@pytest.mark.parametrize("mode", ["sequential", "dense"])
def test_what_is_not_chosen_stays_bit_for_bit(tiny: Tiny, tmp_path: Path, mode: str) -> None:
    out = tmp_path / "out"
    result = prune(
        tiny("llama"),
        out,
        mode=mode,
        allocation="cwl",
        include=["mlp", "q_proj"],
        exclude=["up_proj$"],
        skip_blocks=[1],
    )
    chosen = {
        f"model.layers.{block}.{name}"
        for block in (0, 2)
        for name in ("self_attn.q_proj", "mlp.gate_proj", "mlp.down_proj")
    }
    assert result.manifest.linears.keys() == chosen
    assert len(result.manifest.signals) == 2
    before, after = tensors(tiny("llama")), tensors(out)
    for name, tensor in before.items():
        if name.removesuffix(".weight") in chosen:
            assert bool((after[name] == 0).any())
        else:
            assert torch.equal(after[name], tensor)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sparsity_zero_changes_no_bit_and_needs_no_text(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    result = mwanda.prune(tiny(family), out=tmp_path / "out", sparsity=0)
    before, after = tensors(tiny(family)), tensors(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name].view(torch.int32), tensor.view(torch.int32))
    assert result.manifest.totals.pruned == 0


@pytest.mark.parametrize("sparsity", [0, 0.5])
def test_conversion_to_bfloat16(tiny: Tiny, tmp_path: Path, sparsity: float) -> None:
    source = tiny("gpt2")
    prune(source, tmp_path / "out", sparsity=sparsity, dtype="bfloat16")
    prune(source, tmp_path / "same", sparsity=sparsity)
    before, after = tensors(tmp_path / "same"), tensors(tmp_path / "out")
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor.bfloat16())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert mwanda.verify(tmp_path / "out").problems == ()


def test_what_a_narrow_dtype_takes_to_zero_is_counted(tiny: Tiny, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("llama"), source)
    weights = tensors(source)
    name = "model.layers.1.mlp.up_proj"
    weights[f"{name}.weight"][0, :5] = 1e-30  # not zero, but zero in float16
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    record = prune(source, tmp_path / "out", sparsity=0, dtype="float16").manifest.linears[name]
    assert (record.pruned, record.zeros, record.source_zeros) == (0, 5, 0)
    assert mwanda.verify(tmp_path / "out").problems == ()


@pytest.mark.parametrize(("family", "name"), [("llama", "q_proj"), ("gpt2", "c_fc")])
def test_zeros_of_the_source_are_counted_apart(
    tiny: Tiny, tmp_path: Path, family: str, name: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny(family), source)
    weights = tensors(source)
    tensor = next(key for key in weights if ".1." in key and f"{name}.weight" in key)
    weight = weights[tensor]
    flat = weight.view(-1)
    largest = flat.abs().argsort(descending=True)[:7]
    flat[largest] = 0  # seven that would have stayed
    flat[largest[0]] = -0.0
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    result = prune(source, tmp_path / "out", sparsity=0.25)
    linear = next(r for r in result.manifest.linears.values() if r.tensor == tensor)
    assert linear.source_zeros == 7
    assert linear.pruned == linear.shape[0] * int(linear.shape[1] * 0.25)
    assert linear.zeros == int((tensors(tmp_path / "out")[tensor] == 0).sum())
    assert linear.pruned <= linear.zeros <= linear.pruned + 7
    assert result.manifest.totals.source_zeros == 7
    assert mwanda.verify(tmp_path / "out").problems == ()
    kept = mwanda.prune(source, out=tmp_path / "zero", sparsity=0).manifest
    record = next(r for r in kept.linears.values() if r.tensor == tensor)
    assert (record.pruned, record.zeros, record.source_zeros) == (0, 7, 7)


@pytest.mark.parametrize("family", ["gemma3", "gpt2"])
def test_rows_of_the_embedding_that_no_token_has_are_not_needed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    windows = windows_file(tmp_path, counts={"de": (3, 20), "sw": (2, 16)})
    fields = {"calibration": windows, "sparsity": 0.5}
    mwanda.prune(tiny(family), out=tmp_path / "whole", **fields)
    scattered: list[int] = []
    original = Checkpoint.read_scattered

    def noting(self: Checkpoint, name: str, rows: torch.Tensor, *more: Any) -> torch.Tensor:
        scattered.append(len(rows))
        return original(self, name, rows, *more)

    monkeypatch.setattr(Checkpoint, "read_scattered", noting)
    monkeypatch.setattr(decoder, "SCATTERED", 1)
    plan = mwanda.plan(tiny(family), recipe=mwanda.Recipe.build({}), calibration=windows)
    mwanda.prune(tiny(family), out=tmp_path / "rows", **fields)
    assert tensors(tmp_path / "rows").keys() == tensors(tmp_path / "whole").keys()
    same_masks(masks_of(tmp_path / "rows"), masks_of(tmp_path / "whole"))
    assert scattered
    assert all(0 < rows <= plan.tokens for rows in scattered)
