"""One block's linears, from statistics at hand to masks, new weights and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from mwanda.errors import InputError
from mwanda.methods.gram import GramSums
from mwanda.methods.input_statistics import InputStatistics
from mwanda.methods.kinds import Reconstruction
from mwanda.methods.recipe.resolved import ResolvedRecipe
from mwanda.methods.registry import find_criterion
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Block, Linear
from mwanda.pruning.masks import choose_mask, count_zeros, record
from mwanda.pruning.outcome import MaskSink, Outcome, Sink
from mwanda.pruning.statistics.capture import BlockSums
from mwanda.pruning.statistics.routed import inputs_of, tokens_seen
from mwanda.pruning.weight_updates import update_weight
from mwanda.system.ranks import Ranks


@dataclass(frozen=True)
class BlockPruner:
    """Prunes the linears of a block.

    Attributes:
        decoder: the model; its weights are masked in the copy the forward uses.
        recipe: what to do.
        weights: language -> weight.
        ranks: the processes that share a block's linears.
        sink: is given every pruned weight.
        outcome: is told what became of each linear.
        keep_mask: is given every mask.
    """

    decoder: Decoder
    recipe: ResolvedRecipe
    weights: Mapping[str, float]
    ranks: Ranks
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
        """Make, apply and hand on the masks and updates, each by the process it belongs to.

        Args:
            sparsities: linear -> share of its weights to go.
            sums: of the block's linears; None where no text is needed.
            find_gram: linear -> the Gram matrix of its inputs, None where it has none.
        """
        known: dict[str, InputStatistics | None] = {}
        if sums is not None:
            for linear in block.linears:
                entries, minimum = sums.get(linear.name, {}), self.recipe.expert_tokens
                known[linear.name] = inputs_of(linear.name, entries, self.weights, minimum)
                if known[linear.name] is None:
                    self.outcome.fallbacks[linear.name] = tokens_seen(entries, self.weights)
        for place, linear in enumerate(block.linears):
            self._prune_linear(
                linear,
                self.ranks.owner(place),
                sparsities[linear.name],
                known.get(linear.name),
                find_gram,
            )

    def _prune_linear(
        self,
        linear: Linear,
        owner: int,
        sparsity: float,
        inputs: InputStatistics | None,
        find_gram: Callable[[str], GramSums | None],
    ) -> None:
        weight = self.decoder.source_weight(linear)
        row = self.recipe.reconstruction_row() if self._removes(linear, sparsity) else None
        mask, update = torch.empty(weight.shape, dtype=torch.bool), weight
        damping = torch.zeros(1, dtype=torch.float64)
        if self.ranks.rank == owner:
            if row is None or row.prune is None:
                mask = self.choose(linear, weight, inputs, sparsity)
            if row is not None:
                gram = find_gram(linear.name)
                mask, update, damping[0] = self._update(linear, weight, mask, gram, row, sparsity)
        mask = self.ranks.send(mask, owner)
        self.keep_mask(linear, mask)
        source_zeros = count_zeros(weight)
        if row is not None:
            weight.copy_(self.ranks.send(update, owner))
            self.decoder.use_weight(linear, weight)
            self.outcome.damping[linear.name] = float(self.ranks.send(damping, owner))
        removed = ~mask.to(weight.device)
        weight.masked_fill_(removed, 0)
        self.decoder.mask_used(linear, weight, removed)
        self.outcome.records[linear.name] = record(mask, self.sink(linear, weight), source_zeros)

    def _removes(self, linear: Linear, sparsity: float) -> bool:
        """Whether anything goes from this linear."""
        removed = self.recipe.pattern_row().removed(linear.rows, linear.columns, sparsity)
        return bool(self.recipe.sparsity) and removed > 0

    def choose(
        self,
        linear: Linear,
        weight: torch.Tensor,
        inputs: InputStatistics | None,
        sparsity: float,
    ) -> torch.Tensor:
        """The criterion's keep mask ``bool [out, in]`` of one weight, on the CPU.

        Args:
            inputs: None where the criterion needs none, or an expert saw too little for it.
        """
        recipe = self.recipe
        if not self._removes(linear, sparsity):
            return torch.ones(weight.shape, dtype=torch.bool)
        criterion, options = recipe.criterion_row(), recipe.criterion.options
        if inputs is None and criterion.needs:  # an expert that saw too few tokens
            criterion, options = find_criterion("magnitude"), {}
        pattern = recipe.pattern_row()
        return choose_mask(linear.name, weight, inputs, criterion, options, pattern, sparsity)

    def _update(
        self,
        linear: Linear,
        weight: torch.Tensor,
        mask: torch.Tensor,
        gram: GramSums | None,
        row: Reconstruction,
        sparsity: float,
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """The mask, the new weight, and the damping it took."""
        method, pattern = self.recipe.reconstruction, self.recipe.pattern_row()
        if gram is None or method is None:
            raise InputError(f"linear {linear.name}", expected="a Gram matrix of its inputs")
        made = update_weight(
            linear.name, weight, mask, gram, row, method.options, pattern, sparsity
        )
        return made.mask.cpu(), made.weight, made.damping
