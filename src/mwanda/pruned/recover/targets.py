"""What the dense model makes of every window: the hidden states under its head, kept on disk.

Its next-token distribution is its head times these, exactly and over the whole vocabulary, at
``width`` numbers a token instead of one for every entry of the vocabulary. The model is streamed
block by block, so that it need not fit in memory, nor be there while the other one learns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open

from mwanda.errors import DataError, InputError
from mwanda.model.run.block_calls import first_tensor
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.head_form import PlainHead, plain_head
from mwanda.model.run.hidden_states import ActivationStore
from mwanda.model.stored.shards import Shard
from mwanda.model.stored.writer import ShardWriter
from mwanda.pruned.recover.divergence import only
from mwanda.pruned.recover.lessons import Window
from mwanda.system.device import HOST
from mwanda.system.durable import put
from mwanda.system.finite import is_finite
from mwanda.system.progress import Progress
from mwanda.system.ranks import Ranks
from mwanda.system.run_options import RunOptions

LIKELY = 32
"""Entries of the vocabulary that are kept of every position: the likeliest."""

SPREAD = 4
"""Of so many positions one is compared with the whole vocabulary."""

LOGIT_BYTES = 96 << 20
"""Logits of the whole vocabulary that are held at once."""

PROBED = 16
"""Tokens that are put through a model to see its head."""

FILE, DONE = "targets-{}.safetensors", "targets-{}.done"
"""Of each process: the windows it took, in their order."""


class Targets:
    """The dense model's hidden states, read window by window.

    Args:
        folder: that :func:`take_targets` wrote into.
        processes: among which the windows of every language went round.
    """

    def __init__(self, folder: Path, processes: int = 1) -> None:
        self._processes = processes
        paths = {rank: folder / FILE.format(rank) for rank in range(processes)}
        self._files = {
            rank: safe_open(path, framework="pt") for rank, path in paths.items() if path.is_file()
        }

    def hidden(self, window: Window) -> torch.Tensor:
        """Of every token, ``[length, width]``."""
        return self._row(window, "hidden")

    def likely(self, window: Window) -> torch.Tensor:
        """The likeliest tokens after every token, ``int32 [length, LIKELY]``."""
        return self._row(window, "likely")

    def _row(self, window: Window, what: str) -> torch.Tensor:
        tag, place = window
        row, rank = divmod(place, self._processes)
        found: torch.Tensor = self._files[rank].get_slice(f"{tag}.{what}")[row]
        return found


@torch.no_grad()
def take_targets(
    decoder: Decoder,
    tokens: Mapping[str, torch.Tensor],
    head: PlainHead,
    folder: Path,
    ranks: Ranks,
    options: RunOptions,
    *,
    likely: bool,
    after: float = 0.0,
) -> None:
    """Run the dense model over this process's windows, unless that was done before.

    Args:
        tokens: language -> ``int64 [windows, length]``, of all processes.
        head: the model's, see :func:`find_head`.
        folder: where the result goes, and what is spilled meanwhile.
        ranks: the processes; the windows of every language go round them.
        likely: keep the likeliest entries of the vocabulary too.
        after: what comes after it, in its blocks, for the time left.
    """
    name, done = FILE.format(ranks.rank), folder / DONE.format(ranks.rank)
    parts = {tag: ids[ranks.rank :: ranks.size] for tag, ids in tokens.items()}
    own = {tag: ids for tag, ids in parts.items() if len(ids)}
    if done.is_file() or not own:
        return
    (folder / name).unlink(missing_ok=True)
    spilled = folder / f"spilled-{ranks.rank}"
    spilled.mkdir(exist_ok=True)
    batches = list(_batches(own, options.batch_tokens))
    blocks, total = decoder.structure.blocks, sum(ids.numel() for ids in own.values())
    head_blocks = max(1.0, decoder.head_in_blocks * likely / SPREAD)
    options.progress.stage("dense model", len(blocks), after=head_blocks + after)
    with ActivationStore(options.activation_memory, spilled, decoder.device) as states:
        with decoder.outside(head=False):
            for _, rows in batches:
                states.append(decoder.embed(rows))
        for block in blocks:
            with decoder.block(block.index) as module:
                for index in range(len(batches)):
                    states[index] = decoder.run_block(block.index, module, states[index])
            options.progress.block(total)
        with decoder.outside(head=False):
            most = min(LIKELY, len(head.weight)) * likely
            options.progress.stage(
                "dense model, vocabulary", len(own), unit="language",
                after=after * len(own) / head_blocks,
            )  # fmt: skip
            _write(
                folder / name, decoder, own, tokens, batches, states, head, most, options.progress
            )
    put(done, b"")


@torch.no_grad()
def find_head(decoder: Decoder, tokens: Mapping[str, torch.Tensor]) -> PlainHead:
    """A model's head, told by a few of these tokens; its weight stays.

    Raises:
        InputError: a head that is more than a product, scales and a soft cap.
    """
    ids = next(iter(tokens.values()))[:1, :PROBED]
    with decoder.outside(head=True):
        hidden = decoder.embed(ids)
        for block in decoder.structure.blocks:
            with decoder.block(block.index) as module:
                hidden = decoder.run_block(block.index, module, hidden)
        output = decoder.finish(ids, hidden)
        head = plain_head(decoder, output, first_tensor(output)[0])
    if head is None:
        raise InputError(
            f"head of model class {type(decoder.model).__name__}",
            expected="one matrix, with at most scales and a soft cap around it",
            found="something else",
            fix="recover this model with another program, and mwanda.keep_zeros around its steps",
        )
    bias = None if head.bias is None else head.bias.detach()
    return replace(head, weight=head.weight.detach(), bias=bias)


def _batches(
    tokens: Mapping[str, torch.Tensor], most: int
) -> Iterator[tuple[Sequence[Window], torch.Tensor]]:
    """Windows of one language together, so many tokens at a time."""
    for tag, ids in tokens.items():
        step = max(1, most // ids.shape[1])
        for start in range(0, len(ids), step):
            rows = ids[start : start + step]
            yield [(tag, start + row) for row in range(len(rows))], rows


def _write(
    path: Path,
    decoder: Decoder,
    own: Mapping[str, torch.Tensor],
    tokens: Mapping[str, torch.Tensor],
    batches: Sequence[tuple[Sequence[Window], torch.Tensor]],
    states: ActivationStore,
    head: PlainHead,
    most: int,
    progress: Progress,
) -> None:
    """The hidden states of a process's own windows, and so many of the likeliest entries."""
    width, dtype = head.weight.shape[1], head.weight.dtype
    plan: list[tuple[str, torch.dtype, tuple[int, ...]]] = []
    for tag, ids in own.items():
        plan.append((f"{tag}.hidden", dtype, (*ids.shape, width)))
        if most:
            plan.append((f"{tag}.likely", torch.int32, (*ids.shape, most)))
    with ShardWriter(path.parent, [Shard(path.name, tuple(plan))]) as writer:
        for tag, ids in own.items():
            made = [
                first_tensor(decoder.finish(rows, states[index]))
                for index, (windows, rows) in enumerate(batches)
                if windows[0][0] == tag
            ]
            hidden = torch.cat(made).to(HOST)
            if not is_finite(hidden):
                raise DataError(
                    f"the dense model's hidden states, language {tag}", expected="finite values",
                    found="NaN or infinity", fix="compute in float32",
                )  # fmt: skip
            writer.write(f"{tag}.hidden", hidden.to(dtype))
            if most:
                flat = torch.cat([one.flatten(0, 1) for one in made])
                likely = _likely_in_language(head, flat, tokens[tag], most)
                writer.write(f"{tag}.likely", likely.view(*ids.shape, most))
            progress.block(ids.numel())
        writer.sync()


def _likely_in_language(
    head: PlainHead, hidden: torch.Tensor, ids: torch.Tensor, most: int
) -> torch.Tensor:
    """The likeliest tokens after every token, ``int32 [positions, most]``, among those that the
    language's text has, and those that are likely at some of its positions.

    Logits over a large vocabulary take more time than a small model's blocks. A token that is
    missed is one of the others, for which a few are drawn: the sums over the vocabulary stay
    right on average.
    """
    some = _likeliest(head, hidden[::SPREAD], most)
    words = torch.cat([ids.flatten().to(HOST), some.flatten()]).long().unique()
    places = _likeliest(only(head, words.to(head.weight.device)), hidden, most)
    found: torch.Tensor = words[places.long()].to(torch.int32)
    return found


def _likeliest(head: PlainHead, hidden: torch.Tensor, most: int) -> torch.Tensor:
    """``int32 [positions, most]``."""
    step = max(1, LOGIT_BYTES // (4 * len(head.weight)))
    found = [head.logits(part).topk(most, sorted=False).indices for part in hidden.split(step)]
    return torch.cat(found).to(HOST, torch.int32)
