"""A causal model as the pipeline sees it: blocks that are there only while they are used.

:class:`StreamedDecoder` fills one block at a time from a checkpoint; :class:`MemoryDecoder` wraps a
model that is whole in memory. Both run the model's own forward, so any decoder transformers can
run takes the same loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.calls import CallBook, apply_head, finish
from mwanda.model.names import NameMap
from mwanda.model.overlap import ReadAhead
from mwanda.model.reader import Checkpoint
from mwanda.model.structure import Linear, Structure, as_matrix, find_structure

__all__ = ["Decoder", "MemoryDecoder", "StreamedDecoder", "evaluation_mode"]

SCATTERED = 1 << 24
"""Weights of an embedding from which on only the rows that the text needs are read."""


class Decoder(ABC):
    """Embedding, blocks and head of one causal model.

    Attributes:
        model: the transformers model; its parameters may be on the meta device.
        structure: its blocks and every linear in them.
        device, dtype: where and in what the forward runs.
    """

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model
        self.device = device
        self.dtype = dtype
        self.structure: Structure = find_structure(model)
        self.backbone: nn.Module = model.get_submodule(self.structure.backbone)
        self.blocks: list[nn.Module] = [
            model.get_submodule(block.name) for block in self.structure.blocks
        ]
        self.calls = CallBook(model, self.backbone, self.blocks)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def vocabulary(self) -> int:
        """Number of token ids the embedding knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def embedded_rows(self, tokens: int) -> int:
        """Rows of the embedding that are read to embed ``tokens`` different tokens: of a large
        one that is only looked up, no more than there are tokens."""
        embedding = self.model.get_input_embeddings()
        rows, size = len(embedding.weight), embedding.weight.numel()
        if not isinstance(embedding, nn.Embedding) or size < SCATTERED or 2 * tokens > rows:
            return rows
        return tokens

    @property
    def context_length(self) -> int | None:
        """Longest input in tokens that the positions allow, None when the config does not say."""
        text = self.config.get_text_config(decoder=True)
        length = getattr(text, "max_position_embeddings", None)
        return int(length) if isinstance(length, int) else None

    @abstractmethod
    def outside(self, *, head: bool, tokens: torch.Tensor | None = None) -> Any:
        """Context in which everything outside the blocks holds real weights.

        Args:
            head: the language-model head too, not only embedding and norms.
            tokens: the only token ids that will be embedded, int64 of any shape; None for any.
        """

    @abstractmethod
    def block(self, index: int) -> Any:
        """Context giving block ``index`` with real weights, in the compute dtype."""

    @abstractmethod
    def source_weight(self, linear: Linear) -> torch.Tensor:
        """The weight ``[out, in]`` as the source stores it, to be changed in place."""

    @abstractmethod
    def expect(self, linears: Iterable[Linear]) -> None:
        """Say whose :meth:`source_weight` comes next, outside :meth:`block`."""

    def mask_used(self, linear: Linear, pruned: torch.Tensor, removed: torch.Tensor) -> None:
        """Make the forward see the mask where ``pruned`` is not the weight it uses itself."""
        used = self.linear_weight(linear)
        if not used.is_meta and used.data_ptr() != pruned.data_ptr():
            used.masked_fill_(removed.to(used.device), 0)

    def use_weight(self, linear: Linear, weight: torch.Tensor) -> None:
        """Make the forward use this weight where it is not the one it uses itself."""
        used = self.linear_weight(linear)
        if used.device.type != "meta" and used.data_ptr() != weight.data_ptr():
            used.copy_(weight)

    def linear_weight(self, linear: Linear) -> torch.Tensor:
        """A view ``[out, in]`` of the weight the forward uses; only inside :meth:`block`."""
        module = self.model.get_submodule(linear.name)
        return as_matrix(module.weight.data, linear)

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """First hidden states ``[batch, tokens, width]``; inside :meth:`outside`."""
        return self.calls.enter(input_ids.to(self.device))

    def run_block(self, index: int, module: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """One block's forward on ``[batch, tokens, width]``, called as the model calls it."""
        return self.calls.call(index, hidden.shape[:2]).run(module, hidden)

    def finish(self, input_ids: torch.Tensor, hidden: torch.Tensor) -> Any:
        """The backbone's output for the last block's ``hidden``; inside :meth:`outside`."""
        ids = input_ids.to(self.device)
        return finish(self.backbone, self.blocks, ids, hidden, self.calls.returns_tuple)

    def logits(self, output: Any, normed: torch.Tensor) -> torch.Tensor:
        """Logits ``[positions, vocabulary]`` by the model's own head."""
        return apply_head(self.model, self.backbone, output, normed)


class MemoryDecoder(Decoder):
    """A transformers model that is whole in memory."""

    def __init__(self, model: Any) -> None:
        first = next(model.parameters())
        if first.is_meta:
            raise InputError(
                "the model given", expected="weights in memory", found="parameters on meta"
            )
        super().__init__(model, first.device, first.dtype)

    @contextmanager
    def outside(self, *, head: bool, tokens: torch.Tensor | None = None) -> Iterator[None]:
        yield

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        yield self.blocks[index]

    def source_weight(self, linear: Linear) -> torch.Tensor:
        return self.linear_weight(linear)

    def expect(self, linears: Iterable[Linear]) -> None:
        pass  # it is all there


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No dropout inside; every module's own mode is put back after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class StreamedDecoder(Decoder):
    """A model whose weights stay in its checkpoint until they are used.

    Args:
        model: a skeleton, see :func:`mwanda.model.skeleton.build_skeleton`.
        checkpoint: an open checkpoint that holds the weights.
        device, dtype: where and in what the forward runs.

    Raises:
        InputError: a weight the model class needs is not stored, or has another shape.
    """

    def __init__(
        self, model: Any, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(model, device, dtype)
        self.checkpoint = checkpoint
        self._names = NameMap(
            checkpoint.tensors.keys(), model.base_model_prefix, str(checkpoint.folder)
        )
        self._aliases: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self._aliases.setdefault(id(parameter), []).append(name)
        self._stored = self._locate()
        self._load_buffers()
        self._ahead = ReadAhead(checkpoint)
        self._inside = tuple(f"{block.name}." for block in self.structure.blocks)
        self._owners = [
            [names for names in self._aliases.values() if names[0].startswith(prefix)]
            for prefix in self._inside
        ]
        head = model.get_output_embeddings()
        embedding = model.get_input_embeddings()
        untied = head is not None and head.weight is not embedding.weight
        self._head = {id(p) for p in head.parameters()} if untied else set()

    def stored_name(self, linear: Linear) -> str:
        """The checkpoint's name of a linear's weight."""
        return self._stored[linear.parameter]

    @contextmanager
    def outside(self, *, head: bool, tokens: torch.Tensor | None = None) -> Iterator[None]:
        with self._filled(self._outside(head), None if head else tokens):
            yield

    def close(self) -> None:
        """Stop reading ahead; the checkpoint may be closed after that."""
        self._ahead.close()

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        with self._filled(self._owners[index]):
            if index + 1 < len(self._owners):
                self._ahead.expect(self._stored[names[0]] for names in self._owners[index + 1])
            module = self.blocks[index]
            module.to(self.device)  # buffers follow the weights
            yield module

    def expect(self, linears: Iterable[Linear]) -> None:
        self._ahead.expect(self.stored_name(linear) for linear in linears)

    def source_weight(self, linear: Linear) -> torch.Tensor:
        used, stored = self.linear_weight(linear), self.stored_name(linear)
        if used.is_meta:
            return as_matrix(self._ahead.take(stored), linear)
        dtype = self.checkpoint.tensors[stored].dtype
        if dtype == used.dtype:
            return used
        if torch.promote_types(dtype, used.dtype) == used.dtype:
            return used.to(dtype)  # it was widened, so the way back is exact
        return as_matrix(self.checkpoint.read(stored), linear)

    def _outside(self, head: bool) -> list[list[str]]:
        return [
            names
            for key, names in self._aliases.items()
            if not names[0].startswith(self._inside) and (head or key not in self._head)
        ]

    def _locate(self) -> dict[str, str]:
        stored: dict[str, str] = {}
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for names in self._aliases.values():
            place = self._names.require(names)
            info, wanted = self.checkpoint.tensors[place], parameters[names[0]].shape
            if tuple(info.shape) != tuple(wanted):
                raise InputError(
                    f"{info.file}: tensor {place}",
                    expected=f"shape {list(wanted)} as config.json says",
                    found=f"{list(info.shape)}",
                    fix="config and weights belong to different models",
                )
            stored.update(dict.fromkeys(names, place))
        return stored

    def _load_buffers(self) -> None:
        """Buffers that the checkpoint does hold replace the constructor's; they are small."""
        kept = self.model.state_dict().keys() - self._stored.keys()
        for name in sorted(kept):
            place = self._names.find(name)
            if place is not None:
                path, _, leaf = name.rpartition(".")
                module = self.model.get_submodule(path)
                if module._buffers.get(leaf) is not None:
                    module._buffers[leaf] = self.checkpoint.read(place)

    @contextmanager
    def _filled(
        self, owners: Iterable[list[str]], tokens: torch.Tensor | None = None
    ) -> Iterator[None]:
        """Parameters (by all their names) hold real weights inside, and none after.

        Args:
            tokens: rows of the token embedding that are enough.
        """
        changed: list[tuple[nn.Module, str, nn.Parameter]] = []
        try:
            for names in owners:
                stored = self._stored[names[0]]
                dtype, rows = self._dtype_of(stored), self._rows(names[0], tokens)
                if rows is None:
                    weight = self._ahead.take(stored, dtype)
                else:
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
            for module, leaf, empty in changed:
                module._parameters[leaf] = empty

    def _rows(self, name: str, tokens: torch.Tensor | None) -> torch.Tensor | None:
        """The rows of a weight that are enough; None where it is needed whole."""
        embedding = self.model.get_input_embeddings()
        if tokens is None or self.model.get_parameter(name) is not embedding.weight:
            return None
        rows = tokens.unique()
        return rows if self.embedded_rows(len(rows)) < len(embedding.weight) else None

    def _dtype_of(self, stored: str) -> torch.dtype:
        dtype = self.checkpoint.tensors[stored].dtype
        return self.dtype if dtype.is_floating_point else dtype

    def _move_outer_buffers(self) -> None:
        for module in self.model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.device != self.device:
                    module._buffers[name] = buffer.to(self.device)
