"""Copies between the host and a pretend accelerator, counted; and faults put in on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mwanda.model.stored import background_io
from mwanda.pruning.block_pruner import BlockPruner
from mwanda.system.copies import Coming
from tests.pruning.pipeline.helpers import Tiny
from tests.pruning.pipeline.test_accelerator import SPILLED, UNIFORM, Run, run
from tests.support.accelerators import on_it
from tests.support.pretend.device import KIND, Pretend

__all__ = ["run"]

DENSE = UNIFORM | {"mode": "dense"}

NOT_OURS = ("block_calls.py:run", "operations.py")
"""transformers' own look at positions, once a batch that is embedded; and a timing."""


def nbytes(model: Path, part: str) -> int:
    """Of all weights with this in their name, but the head's: it is not used."""
    weights = load_file(model / "model.safetensors")
    return sum(w.nbytes for name, w in weights.items() if part in name and "lm_head" not in name)


def test_weights_go_in_once_and_out_once(counting: Pretend, tiny: Tiny, run: Run) -> None:
    model = tiny("llama")
    _, copies = on_it(counting, lambda: run(model, KIND, DENSE))
    linears = nbytes(model, "_proj")
    read, sent = copies.at("to device", "conversion.py"), copies.at("to device", "copies.py")
    assert read[1] + sent[1] == nbytes(model, "")
    assert sent[0] == 2 * 9  # the second and the third block's, beside the work
    assert copies.at("to host", "copies.py:fetch") == (21, linears)
    assert copies.at("to device", "hidden_states.py") == (0, 0)
    # An eighth of a byte a weight for its mask, and one for its zeros; and sums, once a block.
    packed = 2 * linears // 4 // 8
    assert copies.at("to host", "masks.py")[1] == packed
    assert copies.at("to host", "input_statistics.py")[0] == 3
    assert copies.to_host == 21 + 42 + 3


def test_weights_go_in_twice_where_all_blocks_are_looked_at_first(
    counting: Pretend, tiny: Tiny, run: Run
) -> None:
    """By the defaults: no block can be masked before the last one was looked at. And more batches
    are not one read of ours more."""
    model, reads = tiny("llama"), []
    for batch in (48, 24):
        work = lambda size=batch: run(model, KIND, {}, batch_tokens=size)  # noqa: E731
        _, copies = on_it(counting, work)
        read, sent = copies.at("to device", "conversion.py"), copies.at("to device", "copies.py")
        assert read[1] + sent[1] == nbytes(model, "") + nbytes(model, "_proj")
        assert copies.at("to host", "copies.py:fetch") == (21, nbytes(model, "_proj"))
        assert copies.at("to device", "hidden_states.py") == (0, 0)
        reads.append(copies.reads - sum(copies.at("read", place)[0] for place in NOT_OURS))
    assert reads[0] == reads[1]


def test_activations_go_in_and_out_once_a_block(counting: Pretend, tiny: Tiny, run: Run) -> None:
    _, copies = on_it(counting, lambda: run(tiny("llama"), KIND, DENSE, **SPILLED))
    states = (5 * 24 + 2 * 20) * 48 * 4
    assert copies.at("to device", "hidden_states.py") == (3 * 4, 3 * states)
    assert copies.at("to host", "hidden_states.py") == (2 * 4, 2 * states)  # none of the last block
    assert copies.at("to host", "device.py:to_host") == (4, states)  # embedded
    assert copies.pinned_peak >= states


def test_experts_are_asked_for_together(counting: Pretend, tiny: Tiny, run: Run) -> None:
    """Where their tokens are: twice a batch and block, not once an expert."""
    _, copies = on_it(counting, lambda: run(tiny("mixtral"), KIND, DENSE))
    passes = 3 * 4
    assert copies.at("read", "experts.py")[0] == passes
    assert copies.at("to host", "experts.py")[0] == passes
    assert copies.at("read", "capture.py") == copies.at("to host", "capture.py") == (0, 0)


def test_no_other_device_is_touched(counting: Pretend, tiny: Tiny, run: Run) -> None:
    """On the second one nothing is put on the first, not even to try what the kind can do."""
    found, copies = on_it(counting, lambda: run(tiny("llama"), f"{KIND}:1", UNIFORM))
    assert copies.peak == 0
    assert found == run(tiny("llama"), "cpu", UNIFORM)


def _on_the_host(mask: torch.Tensor) -> torch.Tensor:
    return mask.cpu()


def _by_chance(mask: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(mask.shape, generator=generator, device=mask.device) > 0.5


@pytest.mark.parametrize(
    ("fault", "caught"),
    [
        (_on_the_host, "all tensors on one device"),
        (_by_chance, "a generator of the device, found one of the CPU"),
    ],
)
def test_faults_put_in_on_purpose_are_caught(
    counting: Pretend, tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[torch.Tensor], torch.Tensor], caught: str,
) -> None:  # fmt: skip
    choose = BlockPruner.choose
    monkeypatch.setattr(BlockPruner, "choose", lambda self, *given: fault(choose(self, *given)))
    with counting.there(), pytest.raises(RuntimeError, match=caught):
        run(tiny("llama"), KIND, UNIFORM, journal=False)


def test_weights_written_before_they_are_there_are_caught(
    counting: Pretend, tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing wait."""

    def hasty(tensor: torch.Tensor) -> Coming:
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        return lambda: pinned

    model, fields = tiny("llama"), {"criterion": "magnitude", "allocation": "uniform"}
    monkeypatch.setattr(background_io, "fetch", hasty)
    with counting.there(delayed=True):
        assert run(model, KIND, fields) != run(model, "cpu", fields)
