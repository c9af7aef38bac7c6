"""The arguments of blocks, kept once for inputs of many lengths and given back as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from mwanda.model.run import call_tensors
from mwanda.model.run.call_tensors import Part, mapped, tensors_of
from mwanda.model.run.decoder import MemoryDecoder
from tests.support.models import tiny_config

LENGTHS = (100, 90, 71, 70, 52, 40, 33)


def decoder_of(family: str) -> MemoryDecoder:
    model = AutoModelForCausalLM.from_config(
        tiny_config(family), **({} if family == "bloom" else {"attn_implementation": "eager"})
    )
    return MemoryDecoder(model.eval())


def kept_bytes(calls: Any) -> int:
    """Bytes of all memory that a book of calls holds."""
    found = {}

    def note(tensor: torch.Tensor) -> None:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()

    for blocks in calls._calls.values():
        for call in blocks:
            arguments = (call.args, call.kwargs)
            mapped(arguments, torch.Tensor, note)
            mapped(arguments, Part, lambda part: note(part.whole))
    return sum(found.values())


@pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "gpt2", "cohere"])
def test_masks_of_many_lengths_are_kept_once(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_tensors, "SMALL", 1 << 10)
    decoder = decoder_of(family)
    with torch.no_grad():
        decoder.embed(torch.ones(1, LENGTHS[0], dtype=torch.int64))
        once = kept_bytes(decoder.calls)
        for rows, length in enumerate(LENGTHS, start=1):
            decoder.embed(torch.ones(rows, length, dtype=torch.int64))
    masks = sum(4 * rows * length**2 for rows, length in enumerate(LENGTHS, start=1))
    assert kept_bytes(decoder.calls) < once + 0.35 * masks


@pytest.mark.parametrize("room", [0, 1 << 30])
@pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "gpt2"])
def test_every_call_is_the_one_recorded(
    family: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_tensors, "SMALL", 1)
    monkeypatch.setattr(call_tensors, "ROOM", room)
    decoder = decoder_of(family)
    shapes = [(2, 60), (1, 100), (3, 60), (3, 33), (5, 7)]
    with torch.no_grad():
        for shape in shapes:
            decoder.embed(torch.ones(shape, dtype=torch.int64))
        for shape in shapes:
            tokens = torch.ones(shape, dtype=torch.int64)
            _, plain = decoder.calls._record(tokens)
            for block, wanted in enumerate(plain):
                given = decoder.calls.call(block, shape)
                ours = tensors_of((given.args, given.kwargs))
                theirs = tensors_of((wanted.args, wanted.kwargs))
                for left, right in zip(ours, theirs, strict=True):
                    assert torch.equal(left, right)
                    assert left.is_contiguous() == right.is_contiguous()


def test_what_is_no_corner_of_anything_is_kept_whole() -> None:
    tensors = call_tensors.CallTensors()
    first, second = torch.randn(1, 200, 200), torch.randn(2, 150, 200)
    kept = [tensors.take(0, ([tensor], {"plain": 3}), {}) for tensor in (first, second)]
    for one, tensor in zip(kept, (first, second), strict=True):
        found, more = tensors.give(one)
        assert torch.equal(found[0], tensor)
        assert more == {"plain": 3}
