"""Which names go by one weight, and in which dtype each is computed: the checkpoint decides.

transformers ties weights by its config, and unties those of which the checkpoint holds different
values; a merged adapter often leaves such a head. It also keeps some modules in float32 in a model
of a narrower dtype. Both rules are followed here as ``from_pretrained`` has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from mwanda.model.stored.conversion import Sources
from mwanda.model.stored.parts import Part
from mwanda.model.stored.reader import PIECE, Checkpoint
from mwanda.system.device import NOWHERE


def shared_names(
    model: Any, names: Sequence[str], sources: Sources, checkpoint: Checkpoint
) -> list[list[str]]:
    """Names of one weight in the model, in groups that the checkpoint has one value for.

    A name that is not stored goes with what the others are tied to, or with the first that is.
    """
    if len(names) == 1:
        return [list(names)]
    groups: list[tuple[Part, list[str]]] = []
    absent: list[str] = []
    for name in _tied_order(model, names):
        part = sources.find(name)
        if part is None:
            absent.append(name)
            continue
        alike = (group for known, group in groups if _same(part, known, checkpoint))
        if (group := next(alike, None)) is None:
            groups.append((part, [name]))
        else:
            group.append(name)
    if not groups:
        return [list(names)]
    groups[0][1].extend(absent)
    return [sorted(group, key=names.index) for _, group in groups]


def separate(model: nn.Module, names: Iterable[str]) -> None:
    """Give a skeleton's parameters a weight of their own, which they share by these names."""
    own: nn.Parameter | None = None
    for name in names:
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if own is None:
            old = module.get_parameter(leaf)
            own = nn.Parameter(torch.empty_like(old, device=NOWHERE), requires_grad=False)
        module._parameters[leaf] = own


def compute_dtypes(model: Any, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Parameter or stored buffer -> the dtype that ``from_pretrained(dtype=dtype)`` loads it in; a
    skeleton built in ``dtype`` departs from it by itself here and there."""
    plan: dict[str, torch.dtype] = model._get_dtype_plan(dtype)
    patterns = [(re.compile(key.replace("*", ".*")), kept) for key, kept in plan.items()]
    return {
        name: next((kept for pattern, kept in patterns if pattern.search(name)), tensor.dtype)
        for name, tensor in model.state_dict().items()
    }


def _tied_order(model: Any, names: Sequence[str]) -> list[str]:
    """What others are tied to first, then what is tied to it, in transformers' own order."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    targets = list(tied)
    return sorted(names, key=lambda n: (n in tied, targets.index(n) if n in tied else 0))


def _same(one: Part, other: Part, checkpoint: Checkpoint) -> bool:
    """Whether two stored weights are equal; those stored in different forms count as different."""
    if one == other:
        return True
    if not (one.plain and other.plain) or one.shape != other.shape:
        return False
    first, second = (checkpoint.tensors[part.pieces[0].stored] for part in (one, other))
    if first.dtype != second.dtype:
        return False
    ours, theirs = bytearray(PIECE), bytearray(PIECE)
    for start in range(0, first.nbytes, PIECE):
        size = min(PIECE, first.nbytes - start)
        for info, room in ((first, ours), (second, theirs)):
            checkpoint.read_bytes(info.name, start, memoryview(room)[:size])
        if memoryview(ours)[:size] != memoryview(theirs)[:size]:
            return False
    return True
