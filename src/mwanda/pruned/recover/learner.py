"""The pruned model as it learns: windows in, the divergence from the dense model out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.data import Dataset

from mwanda.errors import InputError
from mwanda.model.run.block_calls import first_tensor
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.head_form import PlainHead
from mwanda.pruned.recover.divergence import divergence, in_dtype, only
from mwanda.pruned.recover.lessons import Window
from mwanda.pruned.recover.targets import Targets
from mwanda.pruning.recipe.recovery import Settings


class Learner(nn.Module):
    """Backbone and head of a model whose weights are all there.

    It stays in evaluation mode, so that nothing is dropped out: the dense model's distribution is
    without dropout too.

    Args:
        decoder: its blocks and what is outside of them hold real weights, in float32.
        head: its head, by :func:`mwanda.pruned.recover.targets.find_head`.
        teacher: the dense model's.
        dtype: of products; float32 for no narrower one.
        settings: which of the parameters learn, and by how much of the vocabulary.
    """

    def __init__(
        self,
        decoder: Decoder,
        head: PlainHead,
        teacher: PlainHead,
        dtype: torch.dtype,
        settings: Settings,
    ) -> None:
        super().__init__()
        module = decoder.model.get_output_embeddings()
        self.backbone = decoder.backbone
        self._blocks = [decoder.blocks[block.index] for block in decoder.structure.blocks]
        self._calls, self._device, self._dtype = decoder.calls, decoder.device, dtype
        self._sampled = sampled_of(settings, len(head.weight))
        self._checkpointing = settings.gradient_checkpointing
        self._cached = once_a_forward(decoder, settings)
        for parameter in decoder.model.parameters():
            parameter.requires_grad_(False)
        for parameter in learning(decoder, settings):
            parameter.requires_grad_(True)
        head = replace(head, weight=module.weight, bias=module.bias)
        same = torch.equal(head.weight, teacher.weight.to(head.weight.dtype))
        self._teacher = in_dtype(teacher, dtype)
        if settings.train_embeddings:
            own = {id(parameter) for parameter in self.backbone.parameters()}
            for name, parameter in module.named_parameters():
                if id(parameter) not in own:
                    self.register_parameter(f"head_{name}", parameter)
            self._head = head
        else:
            self._head = in_dtype(head, dtype)
            if same:  # one of the two is enough
                self._teacher = replace(self._teacher, weight=self._head.weight.detach())
        self._twice = _checkpointed(decoder.model, self._blocks) if self._checkpointing else []

    def train(self, mode: bool = True) -> Learner:
        """Nothing but the recomputation of blocks knows of training."""
        super().train(False)
        for block in self._twice if mode else ():
            block.training = True
        return self

    def forward(
        self,
        ids: torch.Tensor,
        targets: torch.Tensor,
        shares: torch.Tensor,
        draw: torch.Tensor,
        likely: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Mean over windows of their mean divergence from the dense model, in nats a token.

        Args:
            ids: ``int64 [windows, length]``, padded on the right.
            targets: the dense model's hidden states, ``[windows, length, width]``.
            shares: what a position counts in its window, ``[windows, length]``; 0 for padding.
            draw: decides which entries of the vocabulary stand for others, ``int64 [windows]``.
            likely: those that stand for themselves, ``[windows, length, …]``; None for all.

        Returns:
            ``loss``, a number, and ``windows``, that of each.
        """
        narrow = self._dtype != torch.float32
        cached = parametrize.cached() if self._cached else nullcontext()
        with cached, torch.autocast(self._device.type, self._dtype, enabled=narrow):
            hidden = first_tensor(self._calls.run(ids))
        student, teacher, offsets = self._head, self._teacher, None
        with torch.autocast(self._device.type, enabled=False):
            if likely is not None:
                rows, offsets = self._rows(torch.cat([ids[..., None], likely], -1), int(draw[0]))
                student, teacher = only(student, rows), only(teacher, rows)
            if student.weight.dtype != self._dtype:
                student = in_dtype(student, self._dtype)
            counted = (shares.flatten() > 0).nonzero()[:, 0]
            loss, each = divergence(
                student,
                teacher,
                hidden.flatten(0, 1)[counted],
                targets.flatten(0, 1)[counted],
                shares.flatten()[counted] / len(ids),
                offsets,
            )
        found = torch.zeros(shares.numel(), dtype=each.dtype, device=each.device)
        found[counted] = each * shares.flatten()[counted]
        return {"loss": loss, "windows": found.view(shares.shape).sum(dim=1)}

    def _rows(self, likely: torch.Tensor, draw: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Entries of the vocabulary to compare, and the ln of how many each stands for.

        Those left out are stood for by a few of them, drawn evenly: the sums over the vocabulary
        are right on average.
        """
        size = len(self._teacher.weight)
        chosen = torch.zeros(size, dtype=torch.bool, device=likely.device)
        chosen[likely.flatten().long()] = True
        sure = chosen.nonzero().flatten()
        generator = torch.Generator().manual_seed(draw)
        others = torch.randperm(size, generator=generator).to(likely.device)
        others = others[~chosen[others]][: self._sampled]
        stood_for = (size - len(sure)) / max(1, len(others))
        offsets = torch.zeros(len(sure) + len(others), device=likely.device)
        offsets[len(sure) :] = math.log(max(1.0, stood_for))
        return torch.cat([sure, others]), offsets


class Course(Dataset[dict[str, torch.Tensor]]):
    """Windows in an order, each with what the dense model makes of it.

    Args:
        order: the windows; another one of as many may take its place.
        tokens: language -> ``int64 [windows, length]``.
        seed: of what is drawn from the vocabulary, together with a window's place.
        likely: give the likely entries of the vocabulary too.
    """

    def __init__(
        self,
        order: Sequence[Window],
        tokens: Mapping[str, torch.Tensor],
        targets: Targets,
        *,
        seed: int,
        likely: bool,
    ) -> None:
        self.order, self._tokens, self._targets = order, tokens, targets
        self._seed, self._likely = seed, likely

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        tag, number = window = self.order[place]
        ids = self._tokens[tag][number]
        found = {
            "ids": ids,
            "targets": self._targets.hidden(window),
            "shares": torch.full((len(ids),), 1 / len(ids)),
            "draw": torch.tensor(self._seed + place),
        }
        return found | ({"likely": self._targets.likely(window)} if self._likely else {})


def together(rows: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Windows as one batch, the shorter ones padded on the right, where a causal model does not
    look, with shares of 0."""
    return {
        name: nn.utils.rnn.pad_sequence([row[name] for row in rows], batch_first=True)
        if rows[0][name].ndim
        else torch.stack([row[name] for row in rows])
        for name in rows[0]
    }


def learning(decoder: Decoder, settings: Settings) -> list[nn.Parameter]:
    """The parameters that learn: those that linears lie in, and norms, biases and the like.

    A module with a matrix that is none of these stays whole: a router, a convolution, a state
    space. So do embeddings, unless they are to learn.
    """
    model = decoder.model
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    outside = {id(p) for table in tables if table is not None for p in table.parameters()}
    matrices = {id(parameter) for parameter in matrices_of(decoder)}
    found: dict[int, nn.Parameter] = {}
    for module in [*decoder.backbone.modules(), *tables[1].modules()]:
        own = [one for one in module.parameters(recurse=False) if one.is_floating_point()]
        inside = any(id(one) in matrices for one in own) or all(one.ndim < 2 for one in own)
        for one in own:
            if settings.train_embeddings if id(one) in outside else inside:
                found[id(one)] = one
    return list(found.values())


def matrices_of(decoder: Decoder) -> list[nn.Parameter]:
    """The parameters that linears lie in."""
    names = dict.fromkeys(linear.parameter for linear in decoder.structure.linears())
    return [decoder.model.get_parameter(name) for name in names]


def count_learning(decoder: Decoder, settings: Settings) -> int:
    """Numbers that learn."""
    whole = {id(parameter): parameter for parameter in learning(decoder, settings)}
    factors = 0
    for matrix in matrices_of(decoder) if settings.low_rank else ():
        if whole.pop(id(matrix), None) is not None:
            rank = min(settings.low_rank or 0, *matrix.shape[-2:])
            factors += math.prod(matrix.shape[:-2]) * rank * sum(matrix.shape[-2:])
    return factors + sum(parameter.numel() for parameter in whole.values())


def learnt_names(model: nn.Module) -> list[str]:
    """Names of the parameters that learn, from the model's root, each by all that it goes by."""
    named = model.named_parameters(remove_duplicate=False)
    return [name for name, parameter in named if parameter.requires_grad]


def sampled_of(settings: Settings, vocabulary: int) -> int:
    """Entries to draw; 0 where that would not be much less than all."""
    return settings.sampled if settings.sampled * 4 <= vocabulary else 0


def once_a_forward(decoder: Decoder, settings: Settings) -> bool:
    """Whether low-rank updates are made once a forward and kept until its end: where all experts of
    a block lie in one parameter, each would make it anew. Blocks that run twice keep nothing."""
    fused = any(linear.fused is not None for linear in decoder.structure.linears())
    return settings.low_rank is not None and fused and not settings.gradient_checkpointing


def heads_kept(settings: Settings, products: torch.dtype) -> int:
    """Whole heads in the products' dtype that a learner keeps beside the weights that learn, where
    both models' heads are the same. A head that stays is one for both models; one that learns is a
    weight, and the dense model's is another."""
    return int(settings.train_embeddings or products.itemsize < torch.float32.itemsize)


def _checkpointed(model: Any, blocks: Sequence[nn.Module]) -> list[nn.Module]:
    """Let blocks forget what their backward pass needs, and run twice: those that do so where they
    are told that they train."""
    refusal = InputError(
        "--gradient-checkpointing",
        expected="a model class that can do it",
        found=type(model).__name__,
        fix="leave it out, or learn from shorter windows",
    )
    try:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    except (ValueError, AttributeError) as error:
        raise refusal from error
    found = [block for block in blocks if hasattr(block, "_gradient_checkpointing_func")]
    if not found:
        raise refusal
    for block in found:
        _evaluate_inside(block)
    return found


def _evaluate_inside(block: Any) -> None:
    """Have a block that is told that it trains do its own sums as one that does not: some drop out
    by what they are told themselves, not by a module of their own."""
    checkpoint = block._gradient_checkpointing_func

    def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def evaluated(*given: Any, **named: Any) -> Any:
            was, block.training = block.training, False
            try:
                return function(*given, **named)
            finally:
                block.training = was

        return checkpoint(evaluated, *args, **kwargs)

    block._gradient_checkpointing_func = run
