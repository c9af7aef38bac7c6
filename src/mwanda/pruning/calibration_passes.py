"""Passes of the calibration windows over a model's blocks, one block after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from mwanda.errors import DataError
from mwanda.methods.allocation.comparison import relative_errors
from mwanda.methods.gram import GramSums
from mwanda.methods.input_statistics import Need
from mwanda.model.run.hidden_states import ActivationStore
from mwanda.model.run.structure import Block
from mwanda.pruning.statistics.capture import Capture
from mwanda.pruning.task import Task
from mwanda.system.device import HOST
from mwanda.system.finite import is_finite
from mwanda.system.heap import trim


@dataclass(frozen=True)
class Visit:
    """One block while its weights are there. ``activations`` go into it, batch by batch, and are
    replaced by what comes out; ``probed`` are kept of the batches to compare on, if there are any.
    """

    block: Block
    module: torch.nn.Module
    activations: ActivationStore
    probed: ActivationStore
    last: bool


@dataclass(frozen=True)
class _Batch:
    language: str
    input_ids: torch.Tensor
    probed: bool = False
    """Whether masked blocks are compared with dense ones on it."""


class Passes:
    """The windows of every process, the blocks they go through, and the sums they leave.

    Args:
        windows: language -> token ids ``int64 [windows, length]``, the same in every process.
        probed: windows of each language to compare masked blocks on; 0 for all, None for none.
    """

    def __init__(
        self, task: Task, windows: Mapping[str, torch.Tensor], probed: int | None = None
    ) -> None:
        self._task, self._decoder, weights = task, task.decoder, task.evidence.weights
        self._skip = task.recipe.skip_first_tokens
        self.languages = tuple(windows)
        """Whose windows there are, in order."""
        self._tokens = sum(ids.numel() for ids in windows.values())
        total = sum(weights[tag] for tag in windows)
        self._factors = {
            tag: weights[tag] / total / ids[:, self._skip :].numel() for tag, ids in windows.items()
        }
        # Shared out by batch and not by window, so that the batches are those of one process.
        self._batches = task.ranks.share(_batches(windows, task.options.batch_tokens, probed))
        self._probes = [index for index, batch in enumerate(self._batches) if batch.probed]
        self.probed_tokens = sum(self._batches[at].input_ids.numel() for at in self._probes)
        """This process's tokens to compare masked blocks on."""
        self.spilled = 0
        """Most bytes of activations that were on disk at once."""

    def visit(
        self, stage: str, work: Callable[[Visit], int], *, probing: bool = False, after: float = 0.0
    ) -> None:
        """Do some work at every block, while its weights are there; not at those that the journal
        says are finished.

        Args:
            work: gives the tokens that it ran on top of the windows, for the progress.
            probing: keep the inputs of the probed windows beside, for :meth:`compare`; the work
                must keep the block's outputs, those of the last one too.
            after: what comes after it, in its blocks, for the time left.
        """
        blocks, done = self._task.chosen.blocks, self._task.journal.done(stage)
        if done >= len(blocks):
            return
        self._task.options.progress.stage(stage, len(blocks), done, after=after)
        with self._embedded(probing, resumed=done > 0) as (activations, probed):
            for block in blocks[done:]:
                for place in range(len(probed)):
                    probed[place] = activations[self._probes[place]]
                last = block.index == len(blocks) - 1
                with self._decoder.block(block.index) as module:
                    more = work(Visit(block, module, activations, probed, last))
                trim()
                states = None if last else activations
                self._task.journal.finished(stage, block.index + 1, states, last=last)
                self._task.options.progress.block(self._tokens + more)

    def statistics(self, visit: Visit, needs: tuple[Need, ...], *, keep_outputs: bool) -> Capture:
        """Sums of one block's inputs over the windows of every process. Outputs that are kept
        replace the inputs, for the block after it."""
        linears, decoder = visit.block.linears, self._decoder
        for linear in linears:  # what would spoil everything after, where the name is still its own
            if not is_finite(decoder.linear_weight(linear)):
                what = f"block {visit.block.index}, linear {linear.name}"
                fix = "the source is damaged, or --compute-dtype too narrow for it"
                raise DataError(what, expected="finite weights", found="NaN or infinity", fix=fix)
        model, factors = decoder.model, self._factors
        with Capture(model, linears, needs, factors, self._skip) as capture:
            capture.expect(linears, self.languages, decoder.device)
            for index, batch in enumerate(self._batches):
                count, length = batch.input_ids.shape
                forward = partial(self._run, visit, index, keep=keep_outputs)
                capture.run(forward, batch.language, (count, length), whole=keep_outputs)
        capture.settle()
        if self._task.ranks.size > 1:
            self._add_up(visit.block, capture, needs)
        capture.drop_unseen()
        capture.check(visit.block.index)
        return capture

    def compare(self, visit: Visit) -> torch.Tensor:
        """How far the block as it is now is from the outputs that were kept of it:
        :func:`relative_errors` of this process's probed windows, float64 ``[languages, 2]``."""
        found: dict[str, torch.Tensor] = {}
        for place, index in enumerate(self._probes):
            batch, hidden = self._batches[index], visit.probed[place]
            output = self._decoder.run_block(visit.block.index, visit.module, hidden)
            dense = visit.activations[index][:, self._skip :]
            errors = relative_errors(dense, output[:, self._skip :])
            found[batch.language] = found.get(batch.language, 0) + errors
        nothing = torch.zeros(2, dtype=torch.float64)
        if found:  # all come to the host at once, when the last is there
            sums = dict(zip(found, torch.stack([*found.values()]).to(HOST), strict=True))
        else:
            sums = {}
        return torch.stack([sums.get(tag, nothing) for tag in self.languages])

    def advance(self, visit: Visit) -> None:
        """Replace a block's inputs by its outputs."""
        for index in range(len(self._batches)):
            self._run(visit, index, keep=True)

    def _run(self, visit: Visit, index: int, *, keep: bool) -> None:
        hidden = visit.activations[index]
        output = self._decoder.run_block(visit.block.index, visit.module, hidden)
        if keep:
            visit.activations[index] = output

    def _add_up(self, block: Block, capture: Capture, needs: tuple[Need, ...]) -> None:
        """Replace this process's sums by those over all; it may have met some languages only."""
        every = [
            capture.sums[linear.name][tag] for linear in block.linears for tag in self.languages
        ]
        counts = torch.tensor([sums.tokens for sums in every], dtype=torch.float64)
        self._task.ranks.total([counts, *(part for sums in every for part in sums.tensors)])
        for sums, count in zip(every, counts.tolist(), strict=True):
            sums.tokens = int(count)
        if "gram" in needs:
            capture.check_sharing()
            wide = torch.empty(0, dtype=self._decoder.dtype, device=self._decoder.device)
            for linear in (every for every in block.linears if every.expert is None):
                # One each from here on: a process without a batch does not know which are shared.
                mine = capture.grams.get(linear.name) or GramSums.empty(linear.columns, wide)
                whole = GramSums(mine.lower.clone())
                self._task.ranks.total([whole.lower])
                capture.grams[linear.name], capture.leaders[linear.name] = whole, linear.name

    @contextmanager
    def _embedded(
        self, probing: bool, *, resumed: bool
    ) -> Iterator[tuple[ActivationStore, ActivationStore]]:
        """The first block's inputs of every batch, or those that the journal kept of a later one;
        and room for those of the probed windows, if that is done."""
        task = self._task
        place = task.options.activation_memory, task.scratch, task.decoder.device
        with (
            ActivationStore(*place) as activations,
            ActivationStore(*place, beside=activations) as probed,
        ):
            ids = [batch.input_ids for batch in self._batches]
            tokens = torch.cat([torch.empty(0, dtype=torch.int64), *map(torch.flatten, ids)])
            with self._decoder.outside(head=False, tokens=tokens):
                if resumed:
                    # One of each shape is embedded all the same: it shows how blocks are called.
                    for shown in {batch.shape: batch for batch in ids}.values():
                        self._decoder.embed(shown)
                    task.journal.restore(activations, [tuple(batch.shape) for batch in ids])
                else:
                    for batch in ids:
                        activations.append(self._decoder.embed(batch))
            for index in self._probes if probing else ():
                probed.append(activations[index])
            self.spilled = max(self.spilled, activations.spilled + probed.spilled)
            yield activations, probed


def _batches(
    windows: Mapping[str, torch.Tensor], batch_tokens: int, probed: int | None
) -> list[_Batch]:
    """Those to be compared are batches of their own: in a batch of another shape a product rounds
    otherwise, and a part that no token of theirs reaches would have an error."""
    batches = []
    for language, ids in windows.items():
        step = max(1, batch_tokens // ids.shape[1])
        wanted = 0 if probed is None else probed or len(ids)
        for chosen, of_them in ((True, ids[:wanted]), (False, ids[wanted:])):
            batches += [_Batch(language, part, chosen) for part in of_them.split(step) if len(part)]
    return batches
