"""Prunes and scores on an accelerator: what the CPU gives, to the bit on the pretend one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import RunOptions
from mwanda.methods.registry import RECONSTRUCTIONS
from mwanda.pruning.block_pruner import BlockPruner
from tests.pruning.pipeline.helpers import Tiny, shard_bytes, windows_file, windows_object
from tests.support.accelerators import KIND, Accelerator, assert_alike, on_it

UNIFORM = {"criterion": "wanda", "allocation": "uniform"}
LATE, SPILLED = {"delayed": True}, {"activation_memory": 0}
Fields = dict[str, Any]

CASES: dict[str, tuple[str, Fields, Fields, Fields]] = {
    "defaults": ("llama", {}, LATE, {}),
    "admm": ("llama", {"reconstruction": "admm", "allocation": "owl"}, LATE, {}),
    "admm-gradual": (
        "llama", {"reconstruction": "admm-gradual", "allocation": "dlp"}, LATE, {}
    ),
    "sparsegpt": ("gpt2", {"reconstruction": "sparsegpt", **UNIFORM}, {}, SPILLED),
    "sparsegpt-update": (
        "llama", {"reconstruction": "sparsegpt-update", "mode": "sequential", **UNIFORM}, LATE, {}
    ),
    "spilled": ("gemma3", {"mode": "sequential", "pattern": "4:8", **UNIFORM}, LATE, SPILLED),
    "no-float64": ("llama", {"criterion": "m-ria", "allocation": "alpha"}, {"float64": False}, {}),
    "no-pinned": ("llama", UNIFORM, {"pinned": False}, {"activation_memory": 4000}),
    "experts": ("mixtral", {"allocation": "cwl"}, {}, {}),
    "whole-matrix": (
        "llama", {"criterion": "ria", "pattern": "unstructured-matrix", "allocation": "uniform"},
        {}, {},
    ),
}  # fmt: skip

Run = Callable[..., dict[str, bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(model, device, fields, **options)``: the shards that a prune writes."""
    windows, numbers = windows_file(tmp_path), iter(range(99))

    def prune(model: Path, device: str, fields: Fields, **options: Any) -> dict[str, bytes]:
        out = tmp_path / f"out{next(numbers)}"
        given = RunOptions(device=device, **({"batch_tokens": 48} | options))
        mwanda.prune(model, out=out, calibration=windows, options=given, **fields)
        return shard_bytes(out)

    return prune


def test_every_reconstruction_is_among_the_cases() -> None:
    assert {fields.get("reconstruction") for _, fields, _, _ in CASES.values()} >= {
        *RECONSTRUCTIONS
    }


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_the_cpus(accelerator: Accelerator, tiny: Tiny, run: Run, case: str) -> None:
    family, fields, machine, options = CASES[case]
    model = tiny(family)
    found, _ = on_it(accelerator, lambda: run(model, KIND, fields, **options), **machine)
    assert_alike(found, run(model, "cpu", fields, **options))


def test_bf16_is_multiplied_there(accelerator: Accelerator, tiny: Tiny, run: Run) -> None:
    model = tiny("llama", dtype=torch.bfloat16)
    found, _ = on_it(accelerator, lambda: run(model, KIND, UNIFORM))
    assert_alike(found, run(model, "cpu", UNIFORM, compute_dtype="bfloat16"))


def test_bf16_is_float32_where_there_is_none(
    accelerator: Accelerator, tiny: Tiny, run: Run
) -> None:
    model = tiny("llama", dtype=torch.bfloat16)
    found, _ = on_it(accelerator, lambda: run(model, KIND, UNIFORM), bfloat16=False)
    assert_alike(found, run(model, "cpu", UNIFORM, compute_dtype="float32"))


def test_statistics_masks_and_scores(accelerator: Accelerator, tiny: Tiny, tmp_path: Path) -> None:
    model, windows = tiny("llama"), windows_file(tmp_path)
    texts = {"de": ["Ein Satz.", "Noch einer."], "sw": ["Sentensi moja."]}

    def work(device: str) -> list[Any]:
        options, place = RunOptions(device=device), tmp_path / device
        place.mkdir()
        saved, masks = place / "sums.safetensors", place / "masks.safetensors"
        mwanda.collect_statistics(model, saved, calibration=windows, gram=True, options=options)
        mwanda.prune(
            model, out=masks, statistics=saved, masks_only=True, options=options,
            allocation="owl", reconstruction=None,
        )  # fmt: skip
        scored = mwanda.evaluate(model, texts, options=options)
        losses = {tag: list(result.sentence_nll) for tag, result in scored.languages.items()}
        return [load_file(saved), load_file(masks), losses]

    found, _ = on_it(accelerator, lambda: work(KIND), delayed=True)
    assert_alike(found, work("cpu"))


def test_a_model_in_memory(accelerator: Accelerator, tiny: Tiny) -> None:
    def work(device: str) -> dict[str, torch.Tensor]:
        model = AutoModelForCausalLM.from_pretrained(tiny("llama")).to(device)
        mwanda.prune(model, calibration=windows_object(), options=RunOptions(), **UNIFORM)
        return {name: tensor.cpu() for name, tensor in model.state_dict().items()}

    found, copies = on_it(accelerator, lambda: work(KIND))
    assert_alike(found, work("cpu"))
    assert copies.at("to device", "copies.py") == copies.at("to host", "copies.py") == (0, 0)


def test_an_unfinished_run_goes_on(
    accelerator: Accelerator, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, out, calls = windows_file(tmp_path), tmp_path / "out", []
    prune = BlockPruner.prune

    def stop(self: BlockPruner, *given: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        prune(self, *given)

    def work() -> dict[str, bytes]:
        options = RunOptions(device=KIND, activation_memory=4000)
        given = {"calibration": windows, "options": options, **UNIFORM, "mode": "sequential"}
        with monkeypatch.context() as patched:
            patched.setattr(BlockPruner, "prune", stop)
            with pytest.raises(KeyboardInterrupt):
                mwanda.prune(tiny("llama"), out=out, **given)
        mwanda.prune(tiny("llama"), out=out, **given)
        mwanda.prune(tiny("llama"), out=tmp_path / "whole", **given)
        return shard_bytes(out)

    found, _ = on_it(accelerator, work, delayed=True)
    assert_alike(found, shard_bytes(tmp_path / "whole"))
