"""How a model calls its blocks: recorded from its own forward, never rebuilt.

The backbone's forward runs with every block replaced by a pass-through, so it computes the
embedding, the masks, the rotary tables or alibi, and hands each block exactly the arguments it
would get; no block's weights are needed. The same trick turned round puts hidden states of ours in
the place of the last block's output and lets the model's own norm and head finish the work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.call_tensors import CallTensors, tensors_of

SHARED = (
    "this family passes more than hidden states from block to block, so it cannot be pruned block "
    "by block; leave it whole"
)

_PLAIN = (torch.Tensor, torch.dtype, bool, int, float, str)


@dataclass(frozen=True)
class BlockCall:
    """The arguments of one block beside its hidden states, for inputs of one shape."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    hidden_by_name: bool

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BlockCall:
        """The same call with other arguments."""
        return BlockCall(args, kwargs, self.hidden_by_name)

    def run(self, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """The block's output hidden states ``[batch, tokens, width]``."""
        if self.hidden_by_name:
            output = block(*self.args, hidden_states=hidden, **self.kwargs)
        else:
            output = block(hidden, *self.args, **self.kwargs)
        return first_tensor(output)


def first_tensor(output: Any) -> torch.Tensor:
    """The hidden states of a block's or backbone's output, tuple or not."""
    found = output if isinstance(output, torch.Tensor) else output[0]
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"expected hidden states, found {type(found).__name__}")
    return found


class _Beside:
    """What a block returns beside its hidden states: it is not known, so nothing may use it."""


class _ReturnsTupleError(Exception):
    """The model takes element 0 of what a block returns."""


class CallBook:
    """The calls of every block, one entry for each input shape ``[batch, tokens]``.

    Args:
        model: the causal model; everything outside its blocks must hold real weights while its
            forward runs.
        backbone: the module whose forward runs ``blocks``.
        blocks: in order of execution.
    """

    def __init__(self, model: nn.Module, backbone: nn.Module, blocks: Sequence[nn.Module]) -> None:
        self.backbone, self.blocks = backbone, list(blocks)
        self._name = type(model).__name__
        self._calls: dict[tuple[int, ...], list[BlockCall]] = {}
        self._tensors = CallTensors()
        self._differ: dict[int, torch.Tensor] = {}
        self.returns_tuple = False

    def enter(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embed tokens ``int64 [batch, tokens]`` and record how each block is called; the first
        block's input ``[batch, tokens, width]``."""
        try:
            hidden, calls = self._record(input_ids)
        except _ReturnsTupleError:
            self.returns_tuple = True
            hidden, calls = self._record(input_ids)
        shape = tuple(input_ids.shape)
        if shape in self._calls:
            self._compare(self._calls[shape], calls)
        else:
            seen: dict[int, Any] = {}
            self._calls[shape] = [
                call.of(*self._tensors.take(index, (call.args, call.kwargs), seen))
                for index, call in enumerate(calls)
            ]
        return hidden

    def call(self, block: int, shape: Sequence[int]) -> BlockCall:
        """How block number ``block`` is called for inputs of ``shape`` ``[batch, tokens]``."""
        self._refuse_differences()
        call = self._calls[tuple(shape)][block]
        return call.of(*self._tensors.give((call.args, call.kwargs)))

    def run(self, input_ids: torch.Tensor) -> Any:
        """The backbone on tokens ``int64 [batch, tokens]``, without a cache of keys and values."""
        accepted = inspect.signature(type(self.backbone).forward).parameters
        cacheless = {"use_cache": False} if "use_cache" in accepted else {}
        return self.backbone(input_ids=input_ids, **cacheless)

    def finish(self, input_ids: torch.Tensor, hidden: torch.Tensor) -> Any:
        """The backbone's own output when its last block gives ``hidden`` ``[batch, tokens, width]``
        for these tokens: the final norm applied."""
        with self.last_block_gives(hidden):
            return self.run(input_ids)

    def last_block_gives(self, hidden: torch.Tensor) -> AbstractContextManager[None]:
        """Inside, the last block returns ``hidden`` ``[batch, tokens, width]``; none computes."""
        last = len(self.blocks) - 1

        def give(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
            if index == last:
                return hidden
            return first_tensor(args[0] if args else kwargs["hidden_states"])

        return self.passing_through(give)

    @contextmanager
    def passing_through(
        self, receive: Callable[[int, tuple[Any, ...], dict[str, Any]], torch.Tensor]
    ) -> Iterator[None]:
        """Inside, block k returns ``receive(k, args, kwargs)`` and computes nothing."""
        returns_tuple = self.returns_tuple

        def stand_in(index: int) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                hidden = receive(index, args, kwargs)
                return (hidden, _Beside()) if returns_tuple else hidden

            return forward

        with ExitStack() as replaced:
            for index, block in enumerate(self.blocks):
                replaced.enter_context(forward_replaced(block, stand_in(index)))
            yield

    def _record(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, list[BlockCall]]:
        calls: list[BlockCall] = []
        inputs: list[torch.Tensor] = []
        version: list[int] = []

        def note(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
            by_name = not args
            hidden: object = kwargs.pop("hidden_states", None) if by_name else args[0]
            if len(calls) != index or not isinstance(hidden, torch.Tensor):
                found = f"a call on {type(hidden).__name__} after {len(calls)} other calls"
                self._refuse(index, "blocks run once each, in order, on hidden states", found)
            if not calls and (hidden.dim() != 3 or hidden.shape[:2] != input_ids.shape):
                # Before anything is made of a tuple: it would be said of the wrong thing.
                self._refuse(
                    index,
                    "hidden states [batch, tokens, width], one a token",
                    f"shape {list(hidden.shape)} for tokens {list(input_ids.shape)}",
                    fix="this family puts more than one hidden state a token through its blocks; "
                    "leave it whole",
                )
            if inputs and (hidden is not inputs[0] or hidden._version != version[0]):
                if hidden.shape != inputs[0].shape and not self.returns_tuple:
                    raise _ReturnsTupleError
                self._refuse(index, "the hidden states of the block before", "changed ones")
            inputs.append(hidden)
            version.append(hidden._version)  # counts changes in place
            calls.append(BlockCall(tuple(args[1:]), kwargs, by_name))
            self._check_values(index, (args[1:], kwargs))
            return hidden

        with self.passing_through(note):
            try:
                output = self.run(input_ids)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                if not self.returns_tuple:
                    raise _ReturnsTupleError from error
                found = f"{type(error).__name__}: {str(error)[:80]}"
                expected = "a block to give hidden states, alone or first in a pair"
                self._refuse(max(0, len(calls) - 1), expected, found, error)
        if len(calls) != len(self.blocks):
            self._refuse(len(calls), f"{len(self.blocks)} blocks to run", f"{len(calls)}")
        if first_tensor(output).shape[:-1] != inputs[0].shape[:-1] and not self.returns_tuple:
            raise _ReturnsTupleError
        return inputs[0], calls

    def _check_values(self, index: int, value: Any) -> None:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for item in value:
                self._check_values(index, item)
        elif isinstance(value, _Beside):
            self._refuse(
                index,
                "hidden states alone from the block before",
                "a second value of its, which this block takes as an argument",
            )
        elif value is not None and not isinstance(value, _PLAIN):
            self._refuse(index, "tensors and plain values as arguments", type(value).__name__)

    def _compare(self, known: list[BlockCall], new: list[BlockCall]) -> None:
        """Note where arguments differ, on the device that they lie on: nobody waits for it here."""
        seen: set[tuple[int, int]] = set()
        # All at once: what is compared must stay, or another tensor may get its identity.
        kept = self._tensors.give([(call.args, call.kwargs) for call in known])
        for index, (a, b) in enumerate(zip(kept, new, strict=True)):
            ours, theirs = tensors_of(a), tensors_of((b.args, b.kwargs))
            if len(ours) != len(theirs):
                self._refuse(index, "the same arguments for every text", "others")
            for left, right in zip(ours, theirs, strict=True):
                if (id(left), id(right)) in seen:
                    continue
                seen.add((id(left), id(right)))
                if left.shape != right.shape:
                    self._refuse_text(index)
                differ = (left != right).any()
                self._differ[index] = differ | self._differ.get(index, differ)

    def _refuse_differences(self) -> None:
        """Once for all texts that were embedded, before a block runs on what is known of them."""
        noted, self._differ = self._differ, {}
        for index, differ in noted.items():
            if bool(differ):
                self._refuse_text(index)

    def _refuse_text(self, index: int) -> NoReturn:
        self._refuse(index, "arguments that depend on the shape only", "text in them")

    def _refuse(
        self,
        index: int,
        expected: str,
        found: str,
        cause: Exception | None = None,
        fix: str = SHARED,
    ) -> NoReturn:
        what = f"{self._name}, block {index}"
        raise InputError(what, expected=expected, found=found, fix=fix) from cause


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    # A forward of the instance's own (a device-placement hook, say) is the user's: put it back.
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own
