"""What is said beforehand of a recovery, against what a forward saves and a run does."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import mwanda
from mwanda.model.opening import open_decoder
from mwanda.model.source import open_model
from mwanda.pruned.recover import plan as planning
from mwanda.pruned.recover.learner import count_learning, learning, matrices_of
from mwanda.pruned.recover.low_rank import low_rank
from mwanda.pruned.recover.saved_memory import saved_bytes
from mwanda.pruning.recipe.recovery import Settings
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny, pruned
from tests.support.models import HIDDEN
from tests.support.pretend.device import KIND, Pretend

SHAPE = (2, 24)


@pytest.mark.parametrize("family", ["llama", "gemma3", "mixtral"])
def test_what_a_forward_saves(family: str, tiny: Tiny) -> None:
    with (
        open_model(str(tiny(family))) as source,
        open_decoder(source, mwanda.RunOptions(compute_dtype="float32", device="cpu")) as decoder,
    ):
        told = saved_bytes(decoder, SHAPE)
        saved: dict[int, tuple[torch.Tensor, int]] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = (tensor, storage.nbytes())
            return tensor

        with decoder.whole(), torch.enable_grad():
            for parameter in learning(decoder, Settings()):
                parameter.requires_grad_(True)
            own = {p.untyped_storage()._cdata for p in decoder.model.parameters()}
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                made = decoder.calls.run(torch.ones(SHAPE, dtype=torch.int64))
        found = sum(size for key, (_, size) in saved.items() if key not in own)
        assert made[0].requires_grad
    assert told is not None
    assert sum(told) == pytest.approx(found, rel=0.25 if family == "mixtral" else 0.1)


def test_numbers_that_learn(tiny: Tiny) -> None:
    with (
        open_model(str(tiny("mixtral"))) as source,
        open_decoder(source, mwanda.RunOptions(compute_dtype="float32", device="cpu")) as decoder,
        decoder.whole(),
    ):
        settings = Settings(low_rank=3)
        for parameter in decoder.model.parameters():
            parameter.requires_grad_(False)
        for parameter in learning(decoder, settings):
            parameter.requires_grad_(True)
        with low_rank(decoder.model, matrices_of(decoder), 3, seed=0):
            found = sum(p.numel() for p in decoder.model.parameters() if p.requires_grad)
        assert count_learning(decoder, settings) == found


def test_a_plan_is_what_a_run_does(tiny: Tiny, tmp_path: Path) -> None:
    source = pruned(tiny, tmp_path / "pruned")
    text = windows_file(tmp_path, counts={"de": (24, 20), "sw": (16, 16)}, seed=5)
    plan = mwanda.plan_recover(source, calibration=text)
    assert (plan.windows, plan.held_out, plan.steps) == (35, 5, 140)
    assert plan.languages == ("de", "sw")
    assert plan.anonymous > plan.states + (plan.saved or 0)
    assert plan.compute_seconds * plan.matmul_rate == pytest.approx(plan.flops)
    assert dict(plan.table())["learning"] == "140 steps of 1 window"

    def other(**how: Any) -> Any:
        return mwanda.plan_recover(source, calibration=text, **how)

    assert other(optimizer="adam-8bit").states == plan.states - 6 * plan.learning
    assert other(low_rank=2).learning < plan.learning / 2
    assert other(gradient_checkpointing=True).saved < plan.saved
    assert other(steps=280).flops > 1.5 * plan.flops
    with pytest.raises(mwanda.InputError, match="expected text to learn from"):
        mwanda.plan_recover(source, calibration=None)
    for says, how in (
        ("de: expected at least 25 windows: 24 held out", {"held_out": 24}),
        ("learning_rate: expected a number above 0", {"learning_rate": -1.0}),
        ("objective: expected 'mean' or 'worst'", {"objective": "best"}),
    ):
        with pytest.raises(mwanda.InputError, match=says):
            other(**how)
    with pytest.raises(mwanda.InputError, match="with zeros in its linears, found no zero"):
        mwanda.plan_recover(tiny("llama"), calibration=text)


@pytest.mark.parametrize(
    "how",
    [{}, {"gradient_checkpointing": True}, {"low_rank": 4}, {"at_once": 2, "batch": 8}],
    ids=lambda how: next(iter(how), "defaults"),
)
def test_a_plan_foresees_the_devices_memory(
    how: dict[str, Any], counting: Pretend, tiny: Tiny, tmp_path: Path
) -> None:
    source, dense = pruned(tiny, tmp_path / "pruned"), tiny("llama")
    given: dict[str, Any] = {
        "calibration": windows_file(tmp_path, counts={"de": (8, 64), "sw": (8, 64)}, seed=5),
        "steps": 2, "learning_rate": 2e-3, **how,
        "options": mwanda.RunOptions(device=KIND, compute_dtype="float32"),
    }  # fmt: skip
    with counting.there():
        plan = mwanda.plan_recover(source, **given)
        with counting.counted() as copies:
            mwanda.recover(source, tmp_path / "out", dense=dense, **given)
    assert plan.device_memory == pytest.approx(copies.peak, rel=0.3)
    assert "peak memory, accelerator" in dict(plan.table())
    given["options"] = mwanda.RunOptions(device="cpu", compute_dtype="float32")
    here = mwanda.plan_recover(source, **given)
    assert (here.saved, here.device_memory) == (plan.saved, None)
    assert "peak memory, accelerator" not in dict(here.table())


@pytest.mark.parametrize("family", ["llama", "mixtral"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_weights_with_low_rank_updates_are_counted(
    family: str, checkpointing: bool, counting: Pretend, tiny: Tiny, tmp_path: Path
) -> None:
    source = pruned(tiny, tmp_path / "pruned", family)
    given: dict[str, Any] = {
        "calibration": windows_file(tmp_path, counts={"de": (8, 2)}, seed=5),
        "steps": 2, "learning_rate": 2e-3, "low_rank": 1, "gradient_checkpointing": checkpointing,
        "options": mwanda.RunOptions(device=KIND, compute_dtype="float32"),
    }  # fmt: skip
    with counting.there():
        plan = mwanda.plan_recover(source, **given)
        # So short a text need not teach anything.
        with counting.counted() as copies, suppress(mwanda.MwandaError):
            mwanda.recover(source, tmp_path / "out", dense=tiny(family), **given)
    assert plan.device_memory == pytest.approx(copies.peak, rel=0.06)


@pytest.mark.parametrize(
    ("family", "dtype", "each"),
    [
        ("llama", torch.float32, 4 + 1), ("llama", torch.bfloat16, 2 + 1),
        ("mixtral", torch.float32, 4 + 1), ("mixtral", torch.bfloat16, 2 + 1 + 4),
    ],
)  # fmt: skip
def test_what_a_low_rank_forward_keeps_of_every_weight(
    family: str, dtype: torch.dtype, each: int, tiny: Tiny
) -> None:
    options = mwanda.RunOptions(compute_dtype="float32", device="cpu")
    with open_model(str(tiny(family))) as source, open_decoder(source, options) as decoder:
        sizes = [sum(one.size for one in block.linears) for block in decoder.structure.blocks]
        assert planning._merged(decoder, Settings(low_rank=1), dtype) == each * sum(sizes)
        twice = Settings(low_rank=1, gradient_checkpointing=True)
        alone = each - (4 if each == 7 else 0)
        assert planning._merged(decoder, twice, dtype) == alone * max(sizes)


@pytest.mark.parametrize(
    ("sampled", "learns", "dtype", "copies"),
    [
        (0, False, torch.float32, 0),
        (0, False, torch.bfloat16, 1),
        (0, True, torch.bfloat16, 2 + 2),  # the gradient of one has twice as many bytes
        (10, False, torch.float32, 2 * 20 / 300),
        (10, False, torch.bfloat16, 1 + 2 * 20 / 300),
        (10, True, torch.bfloat16, 1 + (2 + 2) * 20 / 300),
    ],
)
def test_heads_are_counted(
    sampled: int, learns: bool, dtype: torch.dtype, copies: float, tiny: Tiny,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(planning, "_rows", lambda *_: 20 if sampled else 300)
    settings = Settings(sampled=sampled, train_embeddings=learns)
    options = mwanda.RunOptions(compute_dtype="float32", device="cpu")
    with open_model(str(tiny("llama"))) as source, open_decoder(source, options) as decoder:
        found = planning._heads(decoder, settings, dtype, 64)
    assert found == pytest.approx(copies * 300 * HIDDEN * dtype.itemsize)
