"""One block's linears, from statistics at hand to masks, new weights and records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from mwanda.errors import DataError, InputError
from mwanda.methods.gram import GramSums
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.kinds import Pattern, Reconstruction, options_of
from mwanda.methods.reconstruction.factor import NotPositiveError, Reconstructed
from mwanda.methods.registry import find_criterion
from mwanda.model.run.structure import Block, Linear
from mwanda.pruning.masks import choose_mask, count_zeros, record
from mwanda.pruning.outcome import MaskSink, Outcome, Sink
from mwanda.pruning.statistics.capture import BlockSums
from mwanda.pruning.statistics.routed import inputs_of, tokens_seen
from mwanda.pruning.task import Task
from mwanda.system.finite import is_finite, narrowed

REMEDIES = "use more calibration text, more damping or shrinkage, or no reconstruction"

log = logging.getLogger("mwanda")


@dataclass(frozen=True)
class BlockPruner:
    """Prunes the linears of a block, in the model and in the copy that its forward uses.

    The processes share a block's linears; sink and mask sink are given all of them in each.
    """

    task: Task
    sink: Sink
    outcome: Outcome
    keep_mask: MaskSink = lambda _linear, _mask: None

    def prune(
        self,
        block: Block,
        sparsities: Mapping[str, float],
        sums: BlockSums | None,
        find_gram: Callable[[str], GramSums | None],
    ) -> None:
        """Make, apply and hand on the masks and updates, each by the process it belongs to. There
        are no sums where no text is needed, and no Gram matrix where a linear has none."""
        weights, minimum = self.task.evidence.weights, self.task.recipe.expert_tokens
        for place, linear in enumerate(block.linears):
            name, inputs = linear.name, None
            if sums is not None:
                entries = sums.get(name, {})
                inputs = inputs_of(name, entries, weights, minimum)
                if inputs is None:
                    self.outcome.fallbacks[name] = tokens_seen(entries, weights)
            owner = self.task.ranks.owner(place)
            self._prune_linear(linear, owner, sparsities[name], inputs, find_gram)

    def _prune_linear(
        self,
        linear: Linear,
        owner: int,
        sparsity: float,
        inputs: InputStatistics | None,
        find_gram: Callable[[str], GramSums | None],
    ) -> None:
        decoder, recipe, ranks = self.task.decoder, self.task.recipe, self.task.ranks
        weight = decoder.source_weight(linear)
        row = recipe.reconstruction_row() if self._removes(linear, sparsity) else None
        mask, update = torch.empty(weight.shape, dtype=torch.bool, device=weight.device), weight
        damping = torch.zeros(1, dtype=torch.float64)
        if ranks.rank == owner:
            if row is None or row.prune is None:
                mask = self.choose(linear, weight, inputs, sparsity)
            method = recipe.reconstruction
            if row is not None and method is not None:
                name, pattern, gram = linear.name, recipe.pattern_row(), find_gram(linear.name)
                if gram is None:
                    raise InputError(f"linear {name}", expected="a Gram matrix of its inputs")
                made = update_weight(
                    name, weight, mask, gram, row, method.options, pattern, sparsity
                )
                mask, update, damping[0] = made.mask, made.weight, made.damping
        mask = ranks.send(mask, owner)
        self.keep_mask(linear, mask)
        source_zeros = count_zeros(weight)
        if row is not None:
            weight.copy_(ranks.send(update, owner))
            decoder.use_weight(linear, weight)
            self.outcome.damping[linear.name] = float(ranks.send(damping, owner))
        removed = ~mask
        weight.masked_fill_(removed, 0)
        decoder.mask_used(linear, weight, removed)
        self.outcome.records[linear.name] = record(mask, self.sink(linear, weight), source_zeros)

    def _removes(self, linear: Linear, sparsity: float) -> bool:
        """Whether anything goes from this linear."""
        recipe = self.task.recipe
        removed = recipe.pattern_row().removed(linear.rows, linear.columns, sparsity)
        return bool(recipe.sparsity) and removed > 0

    def choose(
        self, linear: Linear, weight: torch.Tensor, inputs: InputStatistics | None, sparsity: float
    ) -> torch.Tensor:
        """The criterion's keep mask ``bool [out, in]`` of one weight; no inputs where it needs
        none, or where an expert saw too little for it."""
        recipe = self.task.recipe
        if not self._removes(linear, sparsity):
            return torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
        criterion, options = recipe.criterion_row(), recipe.criterion.options
        if inputs is None and criterion.needs:  # an expert that saw too few tokens
            criterion, options = find_criterion("magnitude"), {}
        pattern = recipe.pattern_row()
        return choose_mask(linear.name, weight, inputs, criterion, options, pattern, sparsity)


def update_weight(
    name: str,
    weight: torch.Tensor,
    mask: torch.Tensor | None,
    gram: GramSums,
    row: Reconstruction,
    options: Mapping[str, Any],
    pattern: Pattern,
    sparsity: float,
) -> Reconstructed:
    """Reconstruct one weight ``[out, in]``, which is not changed, in its own dtype. The mask, bool
    ``[out, in]``, is the criterion's; a method that chooses its own by pattern and sparsity does
    not look at it."""
    matrix, what = gram.matrix.to(weight.device), f"linear {name}, reconstruction {row.name}"
    try:
        if row.prune is not None:
            share = sparsity if pattern.fixed is None else pattern.fixed
            keep = round(pattern.group * (1 - share))
            own = options_of(row.prune, options)
            made = row.prune(weight, matrix, share, keep, pattern.group, **own)
        else:
            made = row.reconstruct(weight, mask, matrix, **options_of(row.reconstruct, options))
    except NotPositiveError as error:
        raise DataError(
            what,
            expected="a Gram matrix of its inputs that damping makes invertible",
            found=str(error),
            fix="use more calibration text, --compute-dtype float32, or no reconstruction",
        ) from error
    if not is_finite(made.weight):
        raise DataError(what, expected="finite weights", found="NaN or infinity", fix=REMEDIES)
    fix = f"{REMEDIES}; or give the model in bfloat16 or float32"
    stored = narrowed(what, made.weight, weight.dtype, fix)
    if made.raised:
        log.warning(
            "linear %s: its Gram matrix was not positive definite; %s went on with damping of "
            "%g mean diagonals",
            name, row.name, made.damping,
        )  # fmt: skip
    return replace(made, weight=stored)
