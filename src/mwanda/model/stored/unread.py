"""Stored tensors that no part of the model is made of: transformers calls them unexpected.

Some are leftovers, and a class names those. Others show that config and weights are two models':
then what runs is not the model that was stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from mwanda.errors import InputError

SHOWN = 3
"""Names that a message shows."""


def unread_tensors(model: Any, targets: Mapping[str, str], used: set[str]) -> list[str]:
    """Stored names that nothing reads, and that the class does not say to pass over.

    Args:
        targets: stored name -> what transformers calls it in the model.
        used: stored names that are read whatever they are called.
    """
    known = model.state_dict().keys()
    unknown = {name: target for name, target in targets.items() if target not in known}
    left = SimpleNamespace(missing_keys=set(), unexpected_keys=set(unknown.values()))
    model._adjust_missing_and_unexpected_keys(left)
    return sorted(
        name
        for name, target in unknown.items()
        if target in left.unexpected_keys and name not in used
    )


def refuse_more_blocks(
    model: Any,
    blocks: Sequence[str],
    targets: Mapping[str, str],
    unread: Sequence[str],
    folder: str,
) -> None:
    """Refuse a checkpoint that holds more blocks than the config says.

    A block with tensors that no other block has predicts later tokens (MTP): it is none of them.
    """
    path = blocks[0].rpartition(".")[0]
    inner = path.removeprefix(f"{model.base_model_prefix}.")  # which may not be stored with it
    block = re.compile(rf"(?:^|\.){re.escape(inner)}\.(\d+)\.(.+)$")
    leaves: dict[int, set[str]] = {}
    for name in targets:
        if found := block.search(targets[name]):
            leaves.setdefault(int(found[1]), set()).add(found[2])
    left = {int(found[1]) for name in unread if (found := block.search(targets[name]))}
    ordinary = set().union(*(leaves.get(number, set()) for number in range(len(blocks))))
    more = [n for n in sorted(left) if n >= len(blocks) and leaves[n] <= ordinary]
    if more:
        raise InputError(
            f"{folder}/config.json",
            expected=f"as many layers as are stored, {len(blocks) + len(more)}",
            found=f"{len(blocks)}; nothing reads {path}.{more[0]}"
            + (f" to {path}.{more[-1]}" if len(more) > 1 else ""),
            fix="config.json is not this model's, or delete the tensors that are too many",
        )


def said_of(unread: Sequence[str], model: Any, folder: str) -> str:
    """One line for somebody who may not know that they are there."""
    names = ", ".join(unread[:SHOWN]) + (", …" if len(unread) > SHOWN else "")
    tensors = "1 stored tensor is" if len(unread) == 1 else f"{len(unread)} stored tensors are"
    return (
        f"{folder}: {tensors} read by nothing in {type(model).__name__}: {names}; "
        "check that config.json belongs to these weights"
    )
