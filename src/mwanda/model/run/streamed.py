"""A causal model whose weights stay in its checkpoint until they are used, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Linear
from mwanda.model.stored.background_io import ReadAhead
from mwanda.model.stored.conversion import Sources
from mwanda.model.stored.parts import Part, Place, find_place, read_box, span, whole
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.stored_names import compute_dtypes, separate, shared_names
from mwanda.model.stored.unread import refuse_more_blocks, unread_tensors
from mwanda.system.device import HOST, holds


class StreamedDecoder(Decoder):
    """A model whose weights stay in its checkpoint until they are used; see :class:`Decoder`.

    Args:
        model: a skeleton, see :func:`mwanda.model.run.skeleton.build_skeleton`.

    Attributes:
        untied: pairs of names that the config ties, and that are stored with different values.
        unread: stored names that no part of the model is made of.
    """

    def __init__(
        self, model: Any, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(model, device, dtype)
        self.checkpoint = checkpoint
        self._ahead = ReadAhead(checkpoint, device)
        self._sources = Sources(model, checkpoint, self._ahead.take)
        self._dtypes = compute_dtypes(model, dtype)
        self.untied: list[tuple[str, str]] = []
        self._aliases = self._untie()
        self._stored = self._locate()
        self._places = {linear.name: self._place(linear) for linear in self.structure.linears()}
        self._load_buffers()
        used = {piece.stored for part in self._stored.values() for piece in part.pieces}
        self.unread = unread_tensors(model, self._sources.targets, used)
        refuse_more_blocks(
            model,
            [block.name for block in self.structure.blocks],
            self._sources.targets,
            self.unread,
            str(checkpoint.folder),
        )
        self._inside = tuple(f"{block.name}." for block in self.structure.blocks)
        self._owners = [
            [names for names in self._aliases.values() if names[0].startswith(prefix)]
            for prefix in self._inside
        ]
        head = model.get_output_embeddings()
        embedding = model.get_input_embeddings()
        untied = head is not None and head.weight is not embedding.weight
        self._head = {id(p) for p in head.parameters()} if untied else set()

    def place(self, linear: Linear) -> Place:
        """Where a linear's weight lies in the checkpoint."""
        return self._places[linear.name]

    def stored_names(self, parameter: str) -> list[str]:
        """The stored tensors that a parameter is made of, and those that are stored for it beside
        them, as a tied head may be."""
        used = {piece.stored for piece in self._stored[parameter].pieces}
        beside = {name for name, target in self._sources.targets.items() if target == parameter}
        return sorted(used | beside)

    def part(self, name: str) -> Part:
        """Which stored tensors a parameter is made of by this name: one that is stored twice has
        others by its other name."""
        return self._sources.find(name) or self._stored[name]

    @contextmanager
    def outside(self, *, head: bool, tokens: torch.Tensor | None = None) -> Iterator[None]:
        owners = [
            names
            for key, names in self._aliases.items()
            if not names[0].startswith(self._inside) and (head or key not in self._head)
        ]
        with self._filled(owners, None if head else tokens):
            yield

    def close(self) -> None:
        """Stop reading ahead; the checkpoint may be closed after that."""
        self._ahead.close()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All weights but those of towers are there inside, as a model in memory has them."""
        with ExitStack() as held:
            held.enter_context(self.outside(head=True))
            for index in range(len(self.blocks)):
                held.enter_context(self.block(index))
            yield

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        with self._filled(self._owners[index]):
            if index + 1 < len(self._owners):
                coming = (self._stored[names[0]].pieces for names in self._owners[index + 1])
                self._ahead.expect(p.stored for pieces in coming for p in pieces if p.all_of_it)
            module = self.blocks[index]
            module.to(self.device)  # buffers follow the weights
            yield module

    def expect(self, linears: Iterable[Linear]) -> None:
        places = map(self.place, linears)
        self._ahead.expect(place.stored for place in places if place.box is None)

    def source_weight(self, linear: Linear) -> torch.Tensor:
        used, place = self.linear_weight(linear), self.place(linear)
        if used.is_meta:
            return self._read(linear, place)
        dtype = self.checkpoint.tensors[place.stored].dtype
        if dtype == used.dtype:
            return used
        if torch.promote_types(dtype, used.dtype) == used.dtype:
            # It was widened, so the way back is exact.
            return used.to(dtype) if holds(self.device, dtype) else used.to(HOST).to(dtype)
        return self._read(linear, place)

    def _read(self, linear: Linear, place: Place) -> torch.Tensor:
        if place.box is None:
            stored = self._ahead.take(place.stored)
        else:
            stored = read_box(self.checkpoint, place.stored, place.box)
        shape = (linear.rows, linear.columns)
        if holds(self.device, stored.dtype):
            stored = stored.to(self.device)
        return stored.view(shape[::-1]).t() if place.transposed else stored.view(shape)

    def _untie(self) -> dict[int, list[str]]:
        """Parameter -> its names; those with different values in the checkpoint are untied."""
        tied: dict[int, list[str]] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            if not name.startswith(self.structure.towers):  # never run here, copied as stored
                tied.setdefault(id(parameter), []).append(name)
        found: dict[int, list[str]] = {}
        for names in tied.values():
            groups = shared_names(self.model, names, self._sources, self.checkpoint)
            for number, group in enumerate(groups):
                if number:
                    separate(self.model, group)
                    self.untied.append((group[0], groups[0][0]))
                stored = next((n for n in group if self._sources.find(n) is not None), group[0])
                self._dtypes |= dict.fromkeys(group, self._dtypes[stored])
                found[id(self.model.get_parameter(group[0]))] = group
        return found

    def _locate(self) -> dict[str, Part]:
        stored: dict[str, Part] = {}
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for names in self._aliases.values():
            part = self._sources.require(names)
            info = self.checkpoint.tensors[part.pieces[0].stored]
            wanted = parameters[names[0]].shape
            if part.shape != tuple(wanted):
                raise InputError(
                    f"{info.file}: tensor {info.name}",
                    expected=f"shape {list(wanted)} of {names[0]} as config.json says",
                    found=f"{list(part.shape)}",
                    fix="config and weights belong to different models",
                )
            stored.update(dict.fromkeys(names, part))
        return stored

    def _place(self, linear: Linear) -> Place:
        part = self._stored[linear.parameter]
        box = whole(part.shape) if linear.fused is None else linear.fused.box
        rows = len(box) - 1 if linear.transposed else len(box) - 2
        for piece in part.pieces:
            shape = self.checkpoint.tensors[piece.stored].shape
            place = find_place(piece, box, rows, shape)
            if place is not None and span(shape, place.box or whole(shape)) is not None:
                return place
        raise InputError(
            f"{self.checkpoint.folder}: {linear.name}",
            expected="a linear that is one stored tensor, or one stretch of it",
            found=f"{len(part.pieces)} pieces, the first of tensor {part.pieces[0].stored}",
            fix="what is pruned could not be written back under the source's own names",
        )

    def _load_buffers(self) -> None:
        """Buffers that the checkpoint does hold replace the constructor's; they are small."""
        kept = self.model.state_dict().keys() - self._stored.keys()
        for name in sorted(kept):
            if name.startswith(self.structure.towers):
                continue
            part = self._sources.find(name)
            if part is not None:
                path, _, leaf = name.rpartition(".")
                module = self.model.get_submodule(path)
                if module._buffers.get(leaf) is not None:
                    module._buffers[leaf] = self._sources.read(part, self._dtypes[name], HOST)

    @contextmanager
    def _filled(
        self, owners: Iterable[list[str]], tokens: torch.Tensor | None = None
    ) -> Iterator[None]:
        """Parameters (by all their names) hold real weights inside, and none after; of the token
        embedding these rows are enough."""
        changed: list[tuple[nn.Module, str, nn.Parameter]] = []
        try:
            for names in owners:
                part, rows = self._stored[names[0]], self._rows(names[0], tokens)
                dtype = self._dtypes[names[0]]
                if rows is None:
                    weight = self._sources.read(part, dtype, self.device)
                else:
                    stored = part.pieces[0].stored
                    weight = self.checkpoint.read_scattered(stored, rows, dtype)
                filled = nn.Parameter(weight.to(self.device), requires_grad=False)
                del weight
                for name in names:
                    path, _, leaf = name.rpartition(".")
                    module = self.model.get_submodule(path)
                    changed.append((module, leaf, module._parameters[leaf]))
                    module._parameters[leaf] = filled
            if changed:
                self._move_outer_buffers()
            yield
        finally:
            for module, leaf, empty in reversed(changed):
                module._parameters[leaf] = empty

    def _rows(self, name: str, tokens: torch.Tensor | None) -> torch.Tensor | None:
        """The rows of a weight that are enough; None where it is needed whole."""
        embedding = self.model.get_input_embeddings()
        if tokens is None or self.model.get_parameter(name) is not embedding.weight:
            return None
        rows = tokens.unique()
        enough = self.embedded_rows(len(rows)) < len(embedding.weight)
        return rows if enough and self._stored[name].plain else None

    def _move_outer_buffers(self) -> None:
        for module in self.model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.device != self.device:
                    module._buffers[name] = buffer.to(self.device)
