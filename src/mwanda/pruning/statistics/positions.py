"""Which tokens of a batch count: the first of a window can be left out of all statistics."""

from __future__ import annotations

import torch

from mwanda.errors import InputError
from mwanda.model.run.structure import expert_of


def counted_tokens(
    name: str, inputs: torch.Tensor, windows: tuple[int, int], skip: int
) -> torch.Tensor:
    """Inputs without the first ``skip`` tokens of every window.

    Args:
        name: of the linear, or of the module that routes all tokens to its experts.
        inputs: ``[windows, tokens, ..., in]``, or flat, ``[windows · tokens, in]``, window after
            window.
        windows: number and length of the batch's windows.
        skip: 0 takes them all, and asks nothing of the shape.

    Returns:
        ``inputs`` itself or ``[windows, tokens - skip, ..., in]``, flat again if it was flat.
    """
    if not skip:
        return inputs
    count, length = windows
    flat = inputs.dim() == 2 and len(inputs) == count * length
    whole = flat or (inputs.dim() > 2 and inputs.shape[:2] == windows)
    if not whole or expert_of(name) is not None:
        raise InputError(
            f"{name}, --skip-first-tokens {skip}",
            expected=f"inputs of every token, {count} windows of {length}",
            found=f"inputs of shape {list(inputs.shape)}, whose positions are not known",
            fix="leave it out with --exclude, or count all tokens",
        )
    if not flat:
        return inputs[:, skip:]
    counted: torch.Tensor = inputs.unflatten(0, windows)[:, skip:].flatten(0, 1)
    return counted
