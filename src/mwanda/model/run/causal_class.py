"""The causal class around a backbone: its head is run, and nothing else of it may matter.

Blocks run on what the backbone gives them, and the head on what the backbone makes of them. A class
that scales its own embeddings, or has a head that looks at positions, would be another model: a
few tokens through the class's own forward, its blocks replaced, show whether it is one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.block_calls import CallBook, first_tensor, forward_replaced
from mwanda.model.run.call_tensors import tensors_of
from mwanda.system.device import widened

PROBED = 8
"""Tokens that are put through the class's own forward, once a model."""

ROUNDING = 64.0
"""Roundings of float32 by which products of other shapes may differ."""

BROKEN = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError)
"""What a forward may raise whose assumptions about its inputs or its backbone do not hold."""


def apply_head(
    model: nn.Module, backbone: nn.Module, output: Any, normed: torch.Tensor
) -> torch.Tensor:
    """Logits ``[positions, vocabulary]`` of ``normed`` ``[positions, width]``, by the model's own
    head: scaling and soft capping included. What the backbone returned is the template."""
    replaced: Any = (normed[None], *output[1:]) if isinstance(output, tuple) else None
    if replaced is None:
        replaced = type(output)(**{**output, "last_hidden_state": normed[None]})
    dummy = torch.zeros((1, normed.shape[0]), dtype=torch.int64, device=normed.device)
    with forward_replaced(backbone, lambda *_, **__: replaced):
        return _logits(model, dummy)[0]


def check_inputs(model: nn.Module, calls: CallBook, input_ids: torch.Tensor) -> None:
    """Refuse a class whose blocks get other arguments than the backbone alone gives them, by a few
    tokens of ``int64 [batch, tokens]``. No head is needed."""
    ids = input_ids[:1, :PROBED]
    alone = _arguments(calls, lambda: calls.run(ids))
    with _unbroken(model):
        within = _arguments(calls, lambda: _logits(model, ids))
    if len(alone) != len(within) or not all(map(_same, alone, within)):
        backbone = type(calls.backbone).__name__
        _refuse(model, f"its blocks get other inputs than {backbone} gives them")


def check_outputs(
    model: nn.Module, calls: CallBook, input_ids: torch.Tensor, hidden: torch.Tensor
) -> None:
    """Refuse a class whose logits are no function of the backbone's output, position by position,
    by a few tokens ``int64 [batch, tokens]`` and what the last block made of them."""
    ids, hidden = input_ids[:1, :PROBED], hidden[:1, :PROBED]
    with _unbroken(model):
        with calls.last_block_gives(hidden):
            logits = _logits(model, ids)
        output = calls.finish(ids, hidden)
        # Other neighbours, and in another order: nothing but the position itself may count.
        places = [*range(ids.shape[1] - 1, -1, -2)]
        ours = apply_head(model, calls.backbone, output, first_tensor(output)[0, places])
    if logits.shape[:2] != ids.shape or ours.shape != logits[0, places].shape:
        _refuse(model, f"logits of shape {list(logits.shape)} for {ids.shape[1]} tokens")
    theirs = widened(logits[0, places])
    off = max(ROUNDING * torch.finfo(torch.float32).eps, 4 * torch.finfo(hidden.dtype).eps)
    near = float(theirs.abs().nan_to_num().median())  # atol may be no NaN
    if not torch.isclose(widened(ours), theirs, off, 8 * off * near, equal_nan=True).all():
        _refuse(model, "its logits are others than its head gives at the same position alone")


class _EnteredError(Exception):
    """The last block was reached; nothing after it is wanted."""


def _arguments(calls: CallBook, run: Callable[[], Any]) -> list[torch.Tensor]:
    """Every tensor that blocks are called with, hidden states among them, each once."""
    found: dict[int, torch.Tensor] = {}

    def note(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        found.update((id(tensor), tensor) for tensor in tensors_of((args, kwargs)))
        if index == len(calls.blocks) - 1:
            raise _EnteredError
        return first_tensor(args[0] if args else kwargs["hidden_states"])

    with calls.passing_through(note), suppress(_EnteredError):
        run()
    return [tensor for tensor in found.values() if not _causal(tensor)]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal in every number; broken weights make NaN of both, and are told by what they score."""
    return one.shape == other.shape and bool(torch.isclose(one, other, 0, 0, equal_nan=True).all())


def _causal(tensor: torch.Tensor) -> bool:
    """Whether it is the mask that no mask stands for: every token sees itself and those before."""
    if tensor.dim() != 4 or tensor.shape[-1] != tensor.shape[-2]:
        return False
    seen = tensor if tensor.dtype == torch.bool else tensor == 0
    return torch.equal(seen, seen.new_ones(seen.shape).tril())


def _logits(model: nn.Module, input_ids: torch.Tensor) -> torch.Tensor:
    """What the causal class makes of tokens, ``[batch, tokens, vocabulary]``."""
    accepted = inspect.signature(type(model).forward).parameters
    any_name = any(one.kind is one.VAR_KEYWORD for one in accepted.values())
    cacheless = {"use_cache": False} if any_name or "use_cache" in accepted else {}
    output = model(input_ids=input_ids, **cacheless)
    found = getattr(output, "logits", output[0] if isinstance(output, tuple) else output)
    if not isinstance(found, torch.Tensor) or found.dim() != 3:
        _refuse(model, f"a {type(found).__name__} where logits should be")
    return found


@contextmanager
def _unbroken(model: nn.Module) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        text = " ".join(str(error).split())[:120]
        _refuse(model, f"{type(error).__name__}: {text}", error)


def _refuse(model: nn.Module, found: str, cause: Exception | None = None) -> NoReturn:
    raise InputError(
        f"model class {type(model).__name__}",
        expected="a forward that gives tokens to its backbone, and a head to what comes out",
        found=found,
        fix="a causal class that changes its inputs or outputs around the backbone cannot be run "
        "block by block; leave this model whole",
    ) from cause
