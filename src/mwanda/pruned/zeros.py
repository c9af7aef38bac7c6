"""Zeros that stay zero while a pruned model is trained further."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from mwanda.errors import DataError, InputError
from mwanda.model.run.discovery import find_structure
from mwanda.model.run.in_memory import no_model
from mwanda.model.run.structure import Linear, Structure, matrix_in
from mwanda.pruned.mask_bits import clear, pack
from mwanda.pruned.zeros_adapters import guard_merges, inside, unguard, without_adapters, wrappers
from mwanda.pruning.folder.manifest import MANIFEST, read_manifest
from mwanda.pruning.folder.manifest_records import LinearRecord
from mwanda.system.arguments import path_given
from mwanda.system.device import dtype_name
from mwanda.system.surroundings import undisturbed


class Masks:
    """Where the weights of a model are to stay zero: one bit a weight, on the weight's device.
    ``zeros`` is how many."""

    def __init__(self, kept: Mapping[nn.Parameter, torch.Tensor]) -> None:
        # Weak: a handle that nobody removed is not to keep the model alive.
        self._masks = {id(p): (weakref.ref(p), pack(mask)) for p, mask in kept.items()}
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
            clear(parameter, bits)

    def bits_of(self, parameter: nn.Parameter) -> torch.Tensor | None:
        """The packed mask of a parameter; None for one without zeros to keep."""
        held = self._masks.get(id(parameter))
        return None if held is None or held[0]() is not parameter else held[1]


class KeptZeros:
    """What :func:`keep_zeros` gives: a context, or a handle to :meth:`remove`, and its masks."""

    def __init__(self, masks: Masks, model: nn.Module) -> None:
        self.masks, self._model = masks, weakref.ref(model)
        guard_merges(model, masks.bits_of)
        self._handle = register_optimizer_step_post_hook(
            lambda optimizer, *_: masks.apply(optimizer)
        )

    def remove(self) -> None:
        """From now on zeros are trained like other weights, and merges of adapters fill them."""
        self._handle.remove()
        model = self._model()
        if model is not None:
            unguard(model)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._handle.remove()


def keep_zeros(model: nn.Module, folder: str | Path | None = None) -> KeptZeros:
    """After every step of any torch optimizer, set the weights that are zero now to zero again.

    It does not matter whether an optimizer was made before or after, nor what it adds: momentum,
    weight decay. Gradients are left alone, so a clipped norm counts those of the zeros too.

    With adapters of peft around its linears, the adapters train freely, and the zeros of the
    weights under them are zero again after every merge, also one after the context: what adapters
    added there is lost. ``remove`` ends that too.

    Args:
        model: a pruned causal model, on whatever device.
        folder: that mwanda wrote; None for where the model was loaded from. With a ``mwanda.json``
            there, the linears that it names are compared with it. The zeros of every linear in the
            blocks are kept: others may have been pruned before.

    Returns:
        A handle, also a context.

    Raises:
        InputError: no zeros to keep, no blocks, a manifest of another model, or weights that are
            quantised.
        DataError: fewer zeros than the manifest says: they are lost already.
    """
    return KeptZeros(find_masks(model, folder), model)


@undisturbed()
def find_masks(model: nn.Module, folder: str | Path | None = None) -> Masks:
    """The masks of :func:`keep_zeros`, for a training loop that applies them itself."""
    if not isinstance(model, nn.Module):
        raise no_model(model)
    model = inside(model)
    structure = find_structure(model)
    there = _by_place(model, structure)
    records = _records(model, folder)
    _check_named(there, records)
    kept: dict[nn.Parameter, torch.Tensor] = {}
    for place, linear in there.items():
        parameter = model.get_parameter(linear.parameter)
        if parameter.is_meta:
            what = f"linear {linear.name}"
            raise InputError(what, expected="weights in memory", found="parameters on meta")
        if not parameter.is_floating_point():
            found = f"{dtype_name(parameter.dtype)}, quantised"
            raise InputError(
                f"linear {linear.name}", expected="weights in floating point", found=found,
                fix="train adapters on the model before it is quantised",
            )  # fmt: skip
        if parameter not in kept:
            kept[parameter] = torch.ones_like(parameter, dtype=torch.bool)
        nonzero = matrix_in(parameter.detach(), linear) != 0
        matrix_in(kept[parameter], linear).copy_(nonzero)
        record = records.get(place)
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


def _records(model: nn.Module, folder: str | Path | None) -> dict[_Key, LinearRecord]:
    place = getattr(model, "name_or_path", "") if folder is None else path_given("folder", folder)
    if not place or (folder is None and not (Path(place) / MANIFEST).is_file()):
        return {}
    found = {}
    for name, record in read_manifest(Path(place)).linears.items():
        found[record.block, name.partition(f".{record.block}.")[2]] = record
    return found


def _by_place(model: nn.Module, structure: Structure) -> dict[_Key, Linear]:
    """Every linear but those of adapters, by where it was before these were put around it."""
    wrapped = [path for path, _ in wrappers(model)]
    found = {}
    for block in structure.blocks:
        for linear in block.linears:
            name = without_adapters(linear.name, wrapped)
            if name is not None:
                found[block.index, name[len(block.name) + 1 :]] = linear
    return found


def _check_named(there: Mapping[_Key, Linear], records: Mapping[_Key, LinearRecord]) -> None:
    for key, record in records.items():
        linear = there.get(key)
        if linear is None or (linear.rows, linear.columns) != record.shape:
            raise InputError(
                f"{MANIFEST}: tensor {record.tensor}",
                expected=f"a linear of shape {list(record.shape)} in the model",
                found="none" if linear is None else f"[{linear.rows}, {linear.columns}]",
                fix="give the folder that this model was loaded from",
            )
