"""A causal model as the pipeline sees it: blocks that are there only while they are used.

:class:`MemoryDecoder` wraps a model that is whole in memory;
:class:`~mwanda.model.run.streamed.StreamedDecoder` fills one block at a time from a checkpoint.
Both run the model's own forward, so any decoder transformers can run takes the same loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.block_calls import CallBook
from mwanda.model.run.causal_class import apply_head, check_inputs, check_outputs
from mwanda.model.run.context import context_length
from mwanda.model.run.discovery import find_structure
from mwanda.model.run.plain_outputs import PlainOutputs
from mwanda.model.run.skeleton import refuse_encoder_in_memory
from mwanda.model.run.structure import Linear, Structure, matrix_in
from mwanda.system.surroundings import alone_with

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
        self._plainly = PlainOutputs(model)
        self._unchecked: set[Callable[..., None]] = {check_inputs, check_outputs}

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
    def head_in_blocks(self) -> float:
        """What a token costs in the head, in average blocks: it goes through every weight once."""
        head, blocks = self.model.get_output_embeddings(), self.structure.blocks
        inside = sum(block.size for block in blocks)
        return 0.0 if head is None or not inside else len(blocks) * head.weight.numel() / inside

    @property
    def context_length(self) -> int | None:
        """Longest input in tokens, see :func:`mwanda.model.run.context.context_length`."""
        return context_length(self.config, self.backbone)

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
        if not used.is_meta and used.data_ptr() != weight.data_ptr():
            used.copy_(weight)

    def linear_weight(self, linear: Linear) -> torch.Tensor:
        """A view ``[out, in]`` of the weight the forward uses; only inside :meth:`block`."""
        return matrix_in(self.model.get_parameter(linear.parameter).data, linear)

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """First hidden states ``[batch, tokens, width]``; inside :meth:`outside`."""
        ids = input_ids.to(self.device)
        with self._plainly():
            hidden = self.calls.enter(ids)
            self._check_once(check_inputs, ids)
        return hidden

    def run_block(self, index: int, module: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """One block's forward on ``[batch, tokens, width]``, called as the model calls it."""
        with self._plainly():
            return self.calls.call(index, hidden.shape[:2]).run(module, hidden)

    def finish(self, input_ids: torch.Tensor, hidden: torch.Tensor) -> Any:
        """The backbone's output for the last block's ``hidden``; inside :meth:`outside`."""
        ids = input_ids.to(self.device)
        with self._plainly():
            self._check_once(check_outputs, ids, hidden)
            return self.calls.finish(ids, hidden)

    def logits(self, output: Any, normed: torch.Tensor) -> torch.Tensor:
        """Logits ``[positions, vocabulary]`` by the model's own head."""
        with self._plainly():
            return apply_head(self.model, self.backbone, output, normed)

    def _check_once(self, check: Callable[..., None], *tensors: torch.Tensor) -> None:
        """The causal class against what is run of it here, with the first text there is."""
        if check in self._unchecked:
            check(self.model, self.calls, *tensors)
            self._unchecked.remove(check)


class MemoryDecoder(Decoder):
    """A transformers model that is whole in memory."""

    def __init__(self, model: Any) -> None:
        first = next(model.parameters())
        if first.is_meta:
            found = "parameters on meta"
            fix = "load it without device_map, or give its folder, which is read block by block"
            raise InputError("the model given", expected="weights in memory", found=found, fix=fix)
        if hasattr(model, "prompt_encoder"):
            raise InputError(
                "the model given", expected="a model of which the blocks are all",
                found=f"one with trained prompts in front ({type(model).__name__})",
                fix="give its base model: model.get_base_model()",
            )  # fmt: skip
        refuse_encoder_in_memory(model)
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
    """No dropout inside, and no other thread; every module's own mode is put back after."""
    with alone_with(model):
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
