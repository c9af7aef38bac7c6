"""Zeros that stay zero while a pruned model is trained further."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from mwanda.errors import DataError, InputError
from mwanda.model.run.discovery import find_structure
from mwanda.model.run.in_memory import refuse_adapters
from mwanda.model.run.structure import Linear, Structure, matrix_in
from mwanda.pruning.folder.manifest import MANIFEST, read_manifest
from mwanda.pruning.folder.manifest_records import LinearRecord
from mwanda.system.arguments import path_given
from mwanda.system.surroundings import undisturbed

PIECE = 1 << 22
"""Weights whose mask is unpacked at a time."""


class Masks:
    """Where the weights of a model are to stay zero: one bit a weight, on the weight's device.
    ``zeros`` is how many."""

    def __init__(self, kept: Mapping[nn.Parameter, torch.Tensor]) -> None:
        # Weak: a handle that nobody removed is not to keep the model alive.
        self._masks = {id(p): (weakref.ref(p), _pack(mask)) for p, mask in kept.items()}
        self.zeros = sum(mask.numel() - int(torch.count_nonzero(mask)) for mask in kept.values())

    @property
    def nbytes(self) -> int:
        """Bytes that the masks take: an eighth of one a weight of every linear with zeros."""
        return sum(bits.numel() for _, bits in self._masks.values())

    @torch.no_grad()
    def apply(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set them to zero, whatever stands there, NaN too; of an optimizer those that it has."""
        groups = [] if optimizer is None else optimizer.param_groups
        given = [id(parameter) for group in groups for parameter in group["params"]]
        for key in list(self._masks) if optimizer is None else given:
            held = self._masks.get(key)
            parameter = None if held is None else held[0]()
            if held is None or parameter is None or id(parameter) != key:
                continue
            bits = held[1]
            if bits.device != parameter.device:
                bits = bits.to(parameter.device)
                self._masks[key] = (held[0], bits)
            _clear(parameter, bits)


class KeptZeros:
    """What :func:`keep_zeros` gives: a context, or a handle to :meth:`remove`, and its masks."""

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self._handle = register_optimizer_step_post_hook(
            lambda optimizer, *_: masks.apply(optimizer)
        )

    def remove(self) -> None:
        """From now on zeros are trained like other weights."""
        self._handle.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.remove()


def keep_zeros(model: nn.Module, folder: str | Path | None = None) -> KeptZeros:
    """After every step of any torch optimizer, set the weights that are zero now to zero again.

    It does not matter whether an optimizer was made before or after, nor what it adds: momentum,
    weight decay. Gradients are left alone, so a clipped norm counts those of the zeros too.

    Args:
        model: a pruned causal model, on whatever device.
        folder: that mwanda wrote; None for where the model was loaded from. With a ``mwanda.json``
            there, the zeros of the linears that it names are kept, else the zeros of every linear
            in the blocks.

    Returns:
        A handle, also a context.

    Raises:
        InputError: no zeros to keep, no blocks, a manifest of another model, or a model with
            adapters, which do not change the zeros while they are trained, and fill them when they
            are merged.
        DataError: fewer zeros than the manifest says: they are lost already.
    """
    return KeptZeros(find_masks(model, folder))


@undisturbed()
def find_masks(model: nn.Module, folder: str | Path | None = None) -> Masks:
    """The masks of :func:`keep_zeros`, for a training loop that applies them itself."""
    refuse_adapters(model)
    structure = find_structure(model)
    records = _records(model, folder)
    chosen = list(structure.linears()) if records is None else list(_named(structure, records))
    kept: dict[nn.Parameter, torch.Tensor] = {}
    for linear in chosen:
        parameter = model.get_parameter(linear.parameter)
        if parameter.is_meta:
            what = f"linear {linear.name}"
            raise InputError(what, expected="weights in memory", found="parameters on meta")
        if parameter not in kept:
            kept[parameter] = torch.ones_like(parameter, dtype=torch.bool)
        nonzero = matrix_in(parameter.detach(), linear) != 0
        matrix_in(kept[parameter], linear).copy_(nonzero)
        record = None if records is None else records[_place(structure, linear)]
        zeros = nonzero.numel() - int(torch.count_nonzero(nonzero))
        if record is not None and zeros < record.pruned:
            raise DataError(
                f"linear {linear.name}",
                expected=f"at least the {record.pruned} zeros of {MANIFEST}",
                found=f"{zeros}",
                fix="call keep_zeros before the first step, on the model as it was written",
            )
    kept = {p: mask for p, mask in kept.items() if not bool(mask.all())}
    if not kept:
        raise InputError(
            f"model class {type(model).__name__}", expected="linears with zeros to keep",
            found="none", fix="give a pruned model",
        )  # fmt: skip
    return Masks(kept)


_Key = tuple[int, str]
"""A linear's block, and its path inside it: the same for a bare backbone and for a causal model."""


def _records(model: nn.Module, folder: str | Path | None) -> dict[_Key, LinearRecord] | None:
    place = getattr(model, "name_or_path", "") if folder is None else path_given("folder", folder)
    if not place or (folder is None and not (Path(place) / MANIFEST).is_file()):
        return None
    found = {}
    for name, record in read_manifest(Path(place)).linears.items():
        found[record.block, name.partition(f".{record.block}.")[2]] = record
    return found


def _place(structure: Structure, linear: Linear) -> _Key:
    block = next(b for b in structure.blocks if linear.name.startswith(f"{b.name}."))
    return block.index, linear.name[len(block.name) + 1 :]


def _named(structure: Structure, records: Mapping[_Key, LinearRecord]) -> Iterator[Linear]:
    there = {_place(structure, linear): linear for linear in structure.linears()}
    for key, record in records.items():
        linear = there.get(key)
        if linear is None or (linear.rows, linear.columns) != record.shape:
            raise InputError(
                f"{MANIFEST}: tensor {record.tensor}",
                expected=f"a linear of shape {list(record.shape)} in the model",
                found="none" if linear is None else f"[{linear.rows}, {linear.columns}]",
                fix="give the folder that this model was loaded from",
            )
        yield linear


def _pack(kept: torch.Tensor) -> torch.Tensor:
    """``uint8 [ceil(n / 8)]`` of a bool tensor, low bit first."""
    flat = kept.reshape(-1)
    shifts = torch.arange(8, dtype=torch.uint8, device=flat.device)
    bits = torch.zeros(-(-flat.numel() // 8), dtype=torch.uint8, device=flat.device)
    for start in range(0, flat.numel(), PIECE):
        part = flat[start : start + PIECE]
        part = nn.functional.pad(part.to(torch.uint8), (0, -part.numel() % 8)).view(-1, 8)
        into = bits[start // 8 : start // 8 + len(part)]
        torch.sum(part << shifts, 1, dtype=torch.uint8, out=into)
    return bits


def _clear(parameter: nn.Parameter, bits: torch.Tensor) -> None:
    whole = parameter.data
    flat = whole.view(-1) if whole.is_contiguous() else whole.reshape(-1)
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    for start in range(0, flat.numel(), PIECE):
        part = flat[start : start + PIECE]
        packed = bits[start // 8 : (start + part.numel() + 7) // 8]
        removed = ((packed[:, None] >> shifts) & 1).reshape(-1)[: part.numel()] == 0
        part.masked_fill_(removed, 0)
    if not whole.is_contiguous():
        whole.copy_(flat.view(whole.shape))
