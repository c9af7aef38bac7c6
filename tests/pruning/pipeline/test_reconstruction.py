"""Reconstructions end to end, against Gram matrices made by hooks on the plain forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import DataError, InputError, RunOptions
from mwanda.methods.gram import GramSums
from mwanda.methods.reconstruction.factor import Reconstructed
from mwanda.methods.registry import RECONSTRUCTIONS
from tests.pruning.pipeline.helpers import (
    SHARE,
    WEIGHTS,
    Tiny,
    masks_of,
    same_masks,
    token_windows,
    windows_file,
    windows_object,
)
from tests.support import oracle


def prune(folder: Path, out: Path, compute: str = "float64", **fields: Any) -> Any:
    given = {"criterion": "wanda", "allocation": "uniform", "language_weights": WEIGHTS} | fields
    calibration = windows_file(out.parent)
    options = RunOptions(compute_dtype=compute, batch_tokens=48)
    return mwanda.prune(folder, out=out, calibration=calibration, options=options, **given)


@torch.no_grad()
def grams_of(model: Any, names: list[str]) -> dict[str, torch.Tensor]:
    """Σ w_ℓ (1/T_ℓ) Σ x xᵀ by linear."""
    found: dict[str, Any] = dict.fromkeys(names, 0)
    for tag, ids in token_windows().items():
        for name in names:

            def note(
                _m: Any,
                args: Any,
                _o: Any,
                name: str = name,
                factor: float = SHARE[tag] / ids.numel(),
            ) -> None:
                x = args[0].reshape(-1, args[0].shape[-1])
                found[name] = found[name] + factor * x.t() @ x

            handle = model.get_submodule(name).register_forward_hook(note)
            for window in ids:
                model(window[None], use_cache=False)
            handle.remove()
    return found


def update(kind: str, weight: torch.Tensor, gram: torch.Tensor, inputs: Any) -> Reconstructed:
    row = RECONSTRUCTIONS[kind]
    if row.prune is not None:
        return row.prune(weight, gram, 0.5, 1, 1)
    return row.reconstruct(weight, oracle.rows(0.5)(oracle.wanda(weight, inputs)), gram)


@torch.no_grad()
def expected(folder: Path, kind: str, mode: str) -> tuple[dict[str, torch.Tensor], set[float]]:
    """Every linear's weight after a plain run in float64, and the damping."""
    damping = set()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    blocks = oracle.blocks_of(model)
    names = [name for name, _ in oracle.linears_of(model)]
    groups = [names] if mode == "dense" else [[n for n in names if f"{b}." in n] for b in blocks]
    for group in groups:
        grams = grams_of(model, group)
        inputs = oracle.measure(model, group, token_windows(), SHARE)
        for name in group:
            weight = oracle.matrix(model.get_submodule(name))
            made = update(kind, weight, grams[name], inputs[name])
            weight.copy_(made.weight)
            damping.add(made.damping)
    return {name: oracle.matrix(module) for name, module in oracle.linears_of(model)}, damping


@pytest.mark.parametrize("mode", ["sequential", "dense"])
@pytest.mark.parametrize("kind", RECONSTRUCTIONS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_the_plain_run(tiny: Tiny, tmp_path: Path, family: str, kind: str, mode: str) -> None:
    result = prune(tiny(family), tmp_path / "out", mode=mode, reconstruction=kind)
    wanted, damping = expected(tiny(family), kind, mode)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for name, module in oracle.linears_of(model):
        found = oracle.matrix(module)
        assert torch.equal(found == 0, wanted[name] == 0), name
        torch.testing.assert_close(found.double(), wanted[name], rtol=2e-3, atol=2e-5)
    assert mwanda.verify(tmp_path / "out").problems == ()
    assert result.manifest.statistics == mode
    assert abs(result.manifest.totals.sparsity - 0.5) < 1 / 48
    assert {record.damping for record in result.manifest.linears.values()} == damping
    own = RECONSTRUCTIONS[kind].prune is not None
    card = (tmp_path / "out" / "README.md").read_text()
    assert (f"masks and kept weights by {kind}" in card) is own
    assert (f"criterion: wanda, kept weights updated by {kind}" in card) is not own


@pytest.mark.parametrize("mode", ["sequential", "dense"])
def test_a_criterions_mask_is_left_as_it_is_in_the_first_block(
    tiny: Tiny, tmp_path: Path, mode: str
) -> None:
    fields = {"mode": mode, "allocation": "cwl", "criterion": "m-wanda"}
    prune(tiny("llama"), tmp_path / "plain", **fields)
    prune(
        tiny("llama"), tmp_path / "out", reconstruction={"name": "admm", "penalty": 0.1}, **fields
    )
    plain, out = masks_of(tmp_path / "plain"), masks_of(tmp_path / "out")
    inside = "model.layers" if mode == "dense" else "model.layers.0."
    same_masks(*({n: m for n, m in one.items() if inside in n} for one in (plain, out)))


def test_it_goes_with_a_pattern_and_without_a_criterion_that_reads(
    tiny: Tiny, tmp_path: Path
) -> None:
    for number, fields in enumerate(
        (
            {"pattern": "2:4", "reconstruction": "sparsegpt"},
            {"pattern": "2:4", "reconstruction": "admm", "criterion": "magnitude"},
        )
    ):
        result = prune(tiny("gpt2"), tmp_path / str(number), "float32", **fields)
        assert result.manifest.statistics == "sequential"
        for mask in masks_of(tmp_path / str(number)).values():
            assert (mask.reshape(-1, 4).sum(dim=1) <= 2).all()
        assert result.manifest.totals.sparsity == 0.5
    nothing = prune(tiny("gpt2"), tmp_path / "nothing", sparsity=0, reconstruction="admm")
    assert nothing.windows is None
    assert nothing.manifest.totals.pruned == 0


def test_a_model_in_memory_gets_the_same_weights(tiny: Tiny, tmp_path: Path) -> None:
    fields = {"reconstruction": "admm", "allocation": "owl"}
    prune(tiny("gemma3"), tmp_path / "out", "float32", **fields)
    model = AutoModelForCausalLM.from_pretrained(tiny("gemma3"))
    given = {"criterion": "wanda", "language_weights": {"de": 3}, **fields}
    options = RunOptions(batch_tokens=48)
    mwanda.prune(model, calibration=windows_object(), options=options, **given)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, written[name], rtol=1e-5, atol=1e-6)


def test_a_matrix_beyond_help_is_an_error_that_names_the_linear(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = {"by": 0.6}

    def matrix(self: GramSums) -> torch.Tensor:
        whole = self.lower.tril() + self.lower.tril(-1).t()
        off = broken["by"] * whole.diagonal().mean() * torch.ones_like(whole).fill_diagonal_(0)
        return whole - off

    monkeypatch.setattr(GramSums, "matrix", property(matrix))
    with pytest.raises(DataError, match=r"q_proj, reconstruction sparsegpt: .*invertible, found"):
        prune(tiny("llama"), tmp_path / "out", reconstruction="sparsegpt")
    assert not (tmp_path / "out").exists()
    broken["by"] = 0.05
    result = prune(tiny("llama"), tmp_path / "out", reconstruction="sparsegpt")
    raised = [n for n, r in result.manifest.linears.items() if (r.damping or 0) > 0.011]
    assert raised
    assert f"linear {raised[0]}: its Gram matrix was not positive definite" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("amdm", r"reconstruction: .*did you mean 'admm'\?"),
        ({"name": "admm", "iterations": 2.5}, r"iterations: expected a whole number"),
        ({"name": "sparsegpt", "damp": 1}, r"damp: .*did you mean 'damping'\?"),
    ],
)
def test_mistakes_are_named(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mwanda.Recipe.build({"reconstruction": given})
    assert mwanda.Recipe.build({"reconstruction": "none"}).reconstruction is None
