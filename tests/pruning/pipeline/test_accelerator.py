"""Prunes on a pretend accelerator: the CPU's bytes, and as few copies as there can be."""

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
from mwanda.model.stored import background_io
from mwanda.pruning.block_pruner import BlockPruner
from mwanda.system.copies import Coming
from tests.pruning.pipeline.helpers import Tiny, shard_bytes, windows_file, windows_object
from tests.support.pretend.device import KIND, Copies, Pretend

UNIFORM = {"criterion": "wanda", "allocation": "uniform"}
SPILLED = {"activation_memory": 0}
Run = Callable[..., dict[str, bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(model, device, fields, **options)``: the shards that a prune writes."""
    windows, numbers = windows_file(tmp_path), iter(range(99))

    def prune(model: Path, device: str, fields: dict[str, Any], **options: Any) -> dict[str, bytes]:
        out = tmp_path / f"out{next(numbers)}"
        given = RunOptions(device=device, **({"batch_tokens": 48} | options))
        mwanda.prune(model, out=out, calibration=windows, options=given, **fields)
        return shard_bytes(out)

    return prune


def on_it(accelerator: Pretend, work: Callable[[], Any], **machine: Any) -> tuple[Any, Copies]:
    """What some work gives where the accelerator is there, and its copies; no fault is made."""
    with accelerator.there(**machine), accelerator.counted() as copies:
        made = work()
    assert not copies.faults, accelerator.fault
    return made, copies


@pytest.mark.parametrize(
    ("family", "fields", "machine", "options"),
    [
        ("llama", {}, {"delayed": True}, {}),
        ("llama", {"reconstruction": "admm", "allocation": "owl"}, {"delayed": True}, {}),
        ("gpt2", {"reconstruction": "sparsegpt", **UNIFORM}, {}, SPILLED),
        ("gemma3", {"mode": "sequential", "pattern": "2:4", **UNIFORM}, {"delayed": True}, SPILLED),
        ("llama", {"criterion": "m-ria", "allocation": "alpha"}, {"float64": False}, {}),
        ("llama", UNIFORM, {"pinned": False}, {"activation_memory": 4000}),
        ("mixtral", UNIFORM, {}, {}),
    ],
    ids=["defaults", "admm", "conv1d", "spilled", "no-float64", "no-pinned", "experts"],
)  # fmt: skip
def test_the_bytes_are_the_cpus(
    accelerator: Pretend, tiny: Tiny, run: Run, family: str, fields: dict[str, Any],
    machine: dict[str, Any], options: dict[str, Any],
) -> None:  # fmt: skip
    model = tiny(family)
    found, _ = on_it(accelerator, lambda: run(model, KIND, fields, **options), **machine)
    assert found == run(model, "cpu", fields, **options)


def test_bf16_is_multiplied_there(accelerator: Pretend, tiny: Tiny, run: Run) -> None:
    model = tiny("llama", dtype=torch.bfloat16)
    found, _ = on_it(accelerator, lambda: run(model, KIND, UNIFORM))
    assert found == run(model, "cpu", UNIFORM, compute_dtype="bfloat16")
    without, _ = on_it(accelerator, lambda: run(model, KIND, UNIFORM), bfloat16=False)
    assert without == run(model, "cpu", UNIFORM, compute_dtype="float32")


def test_weights_go_in_once_and_out_once(accelerator: Pretend, tiny: Tiny, run: Run) -> None:
    model, fields = tiny("llama"), UNIFORM | {"mode": "dense"}
    _, copies = on_it(accelerator, lambda: run(model, KIND, fields))
    weights = load_file(model / "model.safetensors")
    linears = sum(w.nbytes for name, w in weights.items() if "_proj" in name)
    used = sum(w.nbytes for name, w in weights.items() if "lm_head" not in name)
    read, sent = copies.at("to device", "conversion.py"), copies.at("to device", "copies.py")
    assert read[1] + sent[1] == used
    assert sent[0] == 2 * 9  # the second and the third block's, beside the work
    assert copies.at("to host", "copies.py:fetch") == (21, linears)
    assert copies.at("to device", "hidden_states.py") == (0, 0)
    # An eighth of a byte a weight for its mask, and one for its zeros; and sums, once a block.
    packed = 2 * linears // 4 // 8
    assert copies.at("to host", "masks.py")[1] == packed
    assert copies.at("to host", "input_statistics.py")[0] == 3
    assert copies.to_host == 21 + 42 + 3


def test_activations_go_in_and_out_once_a_block(accelerator: Pretend, tiny: Tiny, run: Run) -> None:
    fields = UNIFORM | {"mode": "dense"}
    model = tiny("llama")
    _, copies = on_it(accelerator, lambda: run(model, KIND, fields, activation_memory=0))
    states = (5 * 24 + 2 * 20) * 48 * 4
    assert copies.at("to device", "hidden_states.py") == (3 * 4, 3 * states)
    assert copies.at("to host", "hidden_states.py") == (2 * 4, 2 * states)  # none of the last block
    assert copies.at("to host", "device.py:to_host") == (4, states)  # embedded
    assert copies.pinned_peak >= states


def test_no_value_is_read_in_a_loop_over_batches(
    accelerator: Pretend, tiny: Tiny, run: Run
) -> None:
    """More batches, and not one read more but where they are embedded, and masks are made."""
    counts, apart = [], ("block_calls.py", "operations.py")  # the embedding; and a timing
    model = tiny("llama")
    for batch in (48, 24):
        work = lambda size=batch: run(model, KIND, {}, batch_tokens=size)  # noqa: E731
        _, copies = on_it(accelerator, work)
        counts.append(copies.reads - sum(copies.at("read", place)[0] for place in apart))
    assert counts[0] == counts[1]


def test_statistics_masks_and_evaluation(accelerator: Pretend, tiny: Tiny, tmp_path: Path) -> None:
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
        return [
            *({n: t.numpy().tobytes() for n, t in load_file(f).items()} for f in (saved, masks)),
            {tag: result.sentence_nll for tag, result in scored.languages.items()},
        ]

    found, _ = on_it(accelerator, lambda: work(KIND), delayed=True)
    assert found == work("cpu")


def test_a_model_in_memory_of_an_accelerator(accelerator: Pretend, tiny: Tiny) -> None:
    def work(device: str) -> dict[str, torch.Tensor]:
        model = AutoModelForCausalLM.from_pretrained(tiny("llama")).to(device)
        mwanda.prune(model, calibration=windows_object(), options=RunOptions(), **UNIFORM)
        return {name: tensor.cpu() for name, tensor in model.state_dict().items()}

    found, copies = on_it(accelerator, lambda: work(KIND))
    assert all(torch.equal(tensor, found[name]) for name, tensor in work("cpu").items())
    assert copies.at("to device", "copies.py") == copies.at("to host", "copies.py") == (0, 0)


def test_an_unfinished_run_goes_on(
    accelerator: Pretend, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert found == shard_bytes(tmp_path / "whole")


def test_a_mask_left_on_the_host_is_caught(
    accelerator: Pretend, tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = BlockPruner.choose
    monkeypatch.setattr(BlockPruner, "choose", lambda self, *given: choose(self, *given).cpu())
    with accelerator.there(), pytest.raises(RuntimeError, match="all tensors on one device"):
        run(tiny("llama"), KIND, UNIFORM, journal=False)


def test_weights_written_before_they_are_there_are_caught(
    accelerator: Pretend, tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(tensor: torch.Tensor) -> Coming:
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        return lambda: pinned

    model, fields = tiny("llama"), {"criterion": "magnitude", "allocation": "uniform"}
    monkeypatch.setattr(background_io, "fetch", hasty)
    with accelerator.there(delayed=True):
        assert run(model, KIND, fields) != run(model, "cpu", fields)
