"""Which stored tensors make which parameter, by transformers' own rules for names and fusing.

A checkpoint's names need not be the module's: on load transformers renames tensors and fuses some
(experts stored one by one live as one three-dimensional parameter). Its own conversion mapping is
read here, never a list of families, and followed on shapes (:mod:`mwanda.model.stored.parts`), so
what is written goes back under the checkpoint's own names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.stored.parts import Part, read_box
from mwanda.model.stored.reader import Checkpoint


class NameMap:
    """From a parameter's name in the module to its name in the checkpoint.

    A checkpoint saved from the bare backbone lacks the prefix that the causal model puts before it
    (GPT-2 and BLOOM on the hub: ``h.0...`` for ``transformer.h.0...``); the reverse happens too.

    Args:
        prefix: transformers' ``base_model_prefix`` (``model``, ``transformer``).
        source: what to call the checkpoint in messages.
    """

    def __init__(self, checkpoint: Collection[str], prefix: str, source: str) -> None:
        self._names = checkpoint
        self._prefix = f"{prefix}." if prefix else ""
        self._source = source

    def find(self, name: str) -> str | None:
        """The checkpoint's name for one module parameter, None when it is not stored."""
        candidates = (name, f"{self._prefix}{name}", name.removeprefix(self._prefix))
        return next((c for c in candidates if c in self._names), None)

    def require(self, names: Iterable[str]) -> str:
        """The checkpoint's name for one weight that may go by several names (tied weights)."""
        aliases = list(names)
        for found in map(self.find, aliases):
            if found is not None:
                return found
        example = next(iter(self._names), "nothing")
        raise InputError(
            f"{self._source}: tensor {aliases[0]}",
            expected="every weight of the model class to be stored",
            found=f"no tensor of that name (stored names look like {example})",
            fix="the folder may be incomplete or belong to another architecture",
        )


class Sources:
    """From a parameter's name in the module to what it is made of in the checkpoint.

    Args:
        model: a skeleton, of which only names and shapes are looked at.
        take: gives a stored tensor by name, in the stored dtype or the one asked for.

    Attributes:
        targets: stored name -> what transformers calls it, whether the model has that or not.

    What cannot be followed is refused when it is asked for, and not before: a vision tower's
    conversions do not concern a text decoder.
    """

    def __init__(
        self,
        model: Any,
        checkpoint: Checkpoint,
        take: Callable[[str, torch.dtype | None], torch.Tensor],
    ) -> None:
        self._checkpoint = checkpoint
        self._take = take
        self._names = NameMap(checkpoint.tensors, model.base_model_prefix, str(checkpoint.folder))
        shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
        self._converted, self.targets = _converted(model, shapes, str(checkpoint.folder))

    def find(self, name: str) -> Part | None:
        """What one parameter or buffer is made of, None when nothing of it is stored."""
        if name in self._converted:
            return self._known(name)
        stored = self._names.find(name)
        return None if stored is None else self._stored(stored)

    def require(self, names: Iterable[str]) -> Part:
        """What a parameter that goes by several names (tied weights) is made of."""
        aliases = list(names)
        for name in aliases:
            if name in self._converted:
                return self._known(name)
        return self._stored(self._names.require(aliases))

    def read(self, part: Part, dtype: torch.dtype | None, device: torch.device) -> torch.Tensor:
        """A parameter's values, floating ones in ``dtype`` if it is given."""
        first = part.pieces[0]
        stored = self._checkpoint.tensors[first.stored]
        wanted = dtype if dtype is not None and stored.dtype.is_floating_point else stored.dtype
        if part.plain:
            return self._take(first.stored, wanted).to(device)
        made = torch.empty(part.shape, dtype=wanted, device=device)
        for piece in part.pieces:
            if piece.all_of_it:
                values = self._take(piece.stored, None)
            else:
                values = read_box(self._checkpoint, piece.stored, piece.source)
            order = sorted(range(values.dim()), key=piece.axes.__getitem__)
            into = made[tuple(slice(*sides) for sides in piece.target)]
            into.copy_(values.permute(order).reshape(into.shape))
        return made

    def _known(self, name: str) -> Part:
        found = self._converted[name]
        if isinstance(found, InputError):
            raise found
        return found

    def _stored(self, name: str) -> Part:
        return Part.stored(name, self._checkpoint.tensors[name].shape)


def _converted(
    model: Any, shapes: Mapping[str, Sequence[int]], source: str
) -> tuple[dict[str, Part | InputError], dict[str, str]]:
    """Parameter -> what it is made of, or why that cannot be told; only those with another name.
    And stored name -> its name in the model."""
    from transformers import core_model_loading as loading
    from transformers.conversion_mapping import get_model_conversion_mapping

    transforms = get_model_conversion_mapping(model)
    renamings = [entry for entry in transforms if isinstance(entry, loading.WeightRenaming)]
    converters = [entry for entry in transforms if isinstance(entry, loading.WeightConverter)]
    by_pattern = {pattern: entry for entry in converters for pattern in entry.source_patterns}
    known = model.state_dict()
    found: dict[str, Part | InputError] = {}
    gathered: dict[str, tuple[Any, dict[str, list[Part]]]] = {}
    targets: dict[str, str] = {}
    for stored in sorted(shapes, key=loading.dot_natural_key):
        name, pattern = loading.rename_source_key(
            stored, renamings, converters, model.base_model_prefix, known
        )
        targets[stored] = name
        if name not in known:
            continue
        part = Part.stored(stored, shapes[stored])
        if pattern is None:
            if name != stored:
                found.setdefault(name, part)
            continue
        _, lists = gathered.setdefault(name, (by_pattern[pattern], {}))
        lists.setdefault(pattern, []).append(part)
    for name, (converter, lists) in gathered.items():
        try:
            found |= _apply(converter, name, lists, model.config)
        except _UnknownConversionError as error:
            found[name] = InputError(
                f"{source}: tensors that make {name}",
                expected="stacking, joining, splitting and transposing, whose way back is known",
                found=f"transformers' {error}",
                fix="its weights could not be written back as they are stored; leave this model "
                "whole",
            )
        except ValueError as error:
            found[name] = InputError(
                f"{source}: tensors that make {name}",
                expected="ones that fit together",
                found=str(error),
                fix="the checkpoint may be incomplete; download it again",
            )
    return found, targets


class _UnknownConversionError(ValueError):
    """A step on the way from stored tensors to a parameter whose way back is not known."""


def _apply(
    converter: Any, name: str, lists: Mapping[str, list[Part]], config: Any
) -> dict[str, Part]:
    """Follow a converter's operations on the parts gathered under its patterns."""
    from transformers.core_model_loading import Chunk, Concatenate, MergeModulelist, Transpose

    targets = list(converter.target_patterns)
    # Kept in the order of the converter's patterns: joining depends on it.
    now = {p: list(lists[p]) for p in converter.source_patterns if p in lists}
    for operation in converter.operations:
        if type(operation) is MergeModulelist:
            now = {p: [Part.stack(parts, operation.dim)] for p, parts in now.items()}
        elif type(operation) is Concatenate:
            joined = [part for parts in now.values() for part in parts]
            now = {targets[0]: [Part.join(joined, operation.dim)]}
        elif type(operation) is Chunk and len(now) == 1:
            (parts,) = now.values()
            names = operation.get_target_patterns(targets, config=config)
            pieces = parts[0].split(len(names), operation.dim)
            now = {p: [piece] for p, piece in zip(names, pieces, strict=True)}
        elif type(operation) is Transpose and not operation.check_dims:
            now = {
                p: [part.turned(operation.dim0, operation.dim1) for part in parts]
                for p, parts in now.items()
            }
        else:
            raise _UnknownConversionError(f"conversion {operation!r}")
    if len(now) == 1 and len(targets) == 1:
        (parts,) = now.values()
        return {name: parts[0]}
    pattern = next((p for p in now if p in name), None)
    if pattern is None:
        raise ValueError(f"parts named {', '.join(now)}")
    before, _, after = name.partition(pattern)
    return {f"{before}{p}{after}": parts[0] for p, parts in now.items()}
