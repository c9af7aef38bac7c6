"""Norms, activity by sign and first tokens left out, through the whole pipeline: every mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mwanda
from mwanda import InputError, Recipe, RunOptions
from mwanda.methods.reconstruction import admm
from tests.pruning.pipeline.helpers import (
    SHARE,
    TIE,
    WEIGHTS,
    Tiny,
    dense_inputs,
    masks_of,
    same_masks,
    shard_bytes,
    tensors,
    token_windows,
    windows_file,
    windows_object,
)
from tests.pruning.pipeline.test_modes import cwl_signals
from tests.support import oracle
from tests.support.forked import Several

CRITERION = {
    "name": "m-wanda",
    "dispersion_weight": 1.5,
    "activity_weight": 0.7,
    "activity": "sign",
    "norms": "normalised",
}
SCORE = oracle.m_wanda(1.5, 0.7, sign=True, normalised=True)


def prune(folder: Path, out: Path, **fields: Any) -> Any:
    given = {"criterion": CRITERION, "allocation": "uniform", "language_weights": WEIGHTS} | fields
    options = RunOptions(compute_dtype="float64", batch_tokens=48)
    return mwanda.prune(
        folder, out=out, calibration=windows_file(out.parent), options=options, **given
    )


@pytest.mark.parametrize("skip", [0, 1, 3])
@pytest.mark.parametrize("family", ["gemma3", "gpt2"])
def test_sequential_is_the_oracle(tiny: Tiny, tmp_path: Path, family: str, skip: int) -> None:
    expected = oracle.prune(
        tiny(family), token_windows(), WEIGHTS, score=SCORE, keep=oracle.rows(0.5), skip=skip
    )
    assert expected.margin > TIE
    result = prune(tiny(family), tmp_path / "out", mode="sequential", skip_first_tokens=skip)
    same_masks(masks_of(tmp_path / "out"), expected.masks)
    assert result.manifest.recipe["skip_first_tokens"] == skip
    assert result.manifest.recipe["criterion"]["options"] == CRITERION_RESOLVED


CRITERION_RESOLVED = {"dispersion": "variance-ratio"} | {
    name: value for name, value in CRITERION.items() if name != "name"
}


@torch.no_grad()
def test_dense_with_a_survey_and_a_store(tiny: Tiny, tmp_path: Path) -> None:
    """Counts by sign come back from the store, and an allocation leaves the first token out too."""
    model, inputs = dense_inputs(tiny("llama"), 1)
    result = prune(tiny("llama"), tmp_path / "out", allocation="cwl", skip_first_tokens=1)
    assert result.manifest.signals == pytest.approx(cwl_signals(model, inputs), rel=1e-6)
    masks = masks_of(tmp_path / "out")
    for name, module in oracle.linears_of(model):
        record = result.manifest.linears[name]
        share = record.pruned / record.shape[0] / record.shape[1] + 1e-9
        scores = SCORE(oracle.matrix(module), inputs[name])
        assert torch.equal(masks[name], oracle.rows(share)(scores))


def test_a_gram_matrix_leaves_them_out(tiny: Tiny, tmp_path: Path) -> None:
    model, inputs = dense_inputs(tiny("gpt2"), 2)
    fields: dict[str, Any] = {"reconstruction": "admm", "skip_first_tokens": 2}
    prune(tiny("gpt2"), tmp_path / "out", **fields)
    windows, written = token_windows(), tensors(tmp_path / "out")
    names = [name for name, _ in oracle.linears_of(model)][:4]
    for name in names:
        gram: Any = 0
        rows: list[torch.Tensor] = []
        handle = model.get_submodule(name).register_forward_pre_hook(
            lambda _m, args, to=rows: to.append(args[0][0, 2:])
        )
        for tag, ids in windows.items():
            rows.clear()
            with torch.no_grad():
                for window in ids:
                    model(window[None], use_cache=False)
            x = torch.cat(rows)
            gram = gram + SHARE[tag] * x.t() @ x / len(x)
        handle.remove()
        weight = oracle.matrix(model.get_submodule(name))
        mask = oracle.rows(0.5)(SCORE(weight, inputs[name]))
        expected = admm.reconstruct(weight, mask, gram).weight
        found = written[f"{name}.weight"].t().double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["dense", "sequential"])
def test_several_processes_leave_out_the_same(tiny: Tiny, tmp_path: Path, mode: str) -> None:
    source = tiny("gemma3")
    prune(source, tmp_path / "one", mode=mode, skip_first_tokens=1)
    words = ["prune", source, "--out", "many", "--calibration", tmp_path / "windows.safetensors"]
    words += ["--criterion", "m-wanda", "--allocation", "uniform", "--mode", mode]
    for name, value in CRITERION_RESOLVED.items():
        words += ["--criterion-option", f"{name}={value}"]
    words += ["--language-weights", "de=3,sw=1", "--skip-first-tokens", 1]
    words += ["--compute-dtype", "float64", "--batch-tokens", 48, "--device", "cpu"]
    with Several(2, *words, cwd=tmp_path) as running:
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert shard_bytes(tmp_path / "many") == shard_bytes(tmp_path / "one")


def test_each_changes_the_masks(tiny: Tiny, tmp_path: Path) -> None:
    """Otherwise the comparisons above would say little."""
    plain = CRITERION | {"activity": "magnitude", "norms": "raw"}
    made = {}
    for name, fields in {
        "plain": {"criterion": plain},
        "sign": {"criterion": plain | {"activity": "sign"}},
        "norms": {"criterion": plain | {"norms": "normalised"}},
        "skip": {"criterion": plain, "skip_first_tokens": 1},
    }.items():
        prune(tiny("llama"), tmp_path / name, **fields)
        made[name] = masks_of(tmp_path / name)
    for name in ("sign", "norms", "skip"):
        assert any(not torch.equal(made[name][x], mask) for x, mask in made["plain"].items()), name


@pytest.mark.parametrize("skip", [20, 24])
def test_windows_of_nothing_but_first_tokens_are_refused(
    tiny: Tiny, tmp_path: Path, skip: int
) -> None:
    """The shorter of the two languages has windows of 20 tokens."""
    message = r"--skip-first-tokens: expected fewer than the 20 tokens"
    recipe = Recipe.build({"skip_first_tokens": skip})
    for calibration in (windows_file(tmp_path), windows_object()):
        with pytest.raises(InputError, match=message):
            mwanda.plan(tiny("llama"), recipe=recipe, calibration=calibration)
        with pytest.raises(InputError, match=message):
            mwanda.prune(
                tiny("llama"), out=tmp_path / "out", recipe=recipe, calibration=calibration
            )
    with pytest.raises(InputError, match="skip_first_tokens: expected fewer than the 16 tokens"):
        Recipe.build({"skip_first_tokens": skip, "window_length": 16})


def test_a_plan_is_the_same_with_and_without(tiny: Tiny, tmp_path: Path) -> None:
    calibration = windows_file(tmp_path)
    one, other = (
        mwanda.plan(
            tiny("llama"),
            recipe=Recipe.build({"skip_first_tokens": skip}),
            calibration=calibration,
        ).as_dict()
        for skip in (0, 1)
    )
    for name in ("tokens", "passes", "flops", "removed", "bytes_read", "bytes_written", "disk"):
        assert one[name] == other[name]
