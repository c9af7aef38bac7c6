"""A pruned model and the dense one, and whether they belong together."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mwanda.errors import InputError
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import ModelSource, load_tokenizer
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.masks import count_zeros
from mwanda.system.run_options import RunOptions

log = logging.getLogger("mwanda")


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        files: name -> SHA-256, of what it is read from.
    """

    source: ModelSource
    decoder: StreamedDecoder
    files: Mapping[str, str]


def known_pruned(manifest: Manifest | None) -> bool:
    """Whether a folder's manifest says that weights of it were pruned."""
    return manifest is not None and bool(manifest.totals.pruned)


def check_zeros(name: str, decoder: StreamedDecoder, manifest: Manifest | None) -> None:
    """Refuse a model without a zero in its linears.

    Args:
        name: the model as the user named it.
        manifest: of its folder; None where it has none.

    Raises:
        InputError: no zero.
    """
    if known_pruned(manifest):
        return
    for block in decoder.structure.blocks:
        decoder.expect(block.linears)
        for linear in block.linears:
            if bool((decoder.source_weight(linear) == 0).any()):
                return
    raise _not_pruned(name, "no zero")


def check_more_zeros(
    name: str, pruned: StreamedDecoder, dense: StreamedDecoder, zeros: Mapping[str, int]
) -> None:
    """Refuse a model with no more zeros than the dense one has: its zeros are chance, as in weights
    that were rounded to few levels.

    A linear that the dense model has in another shape, or not at all, cannot be compared; any zero
    in it counts.

    Args:
        name: the pruned model as the user named it.
        zeros: linear -> zeros that the dense model has in it.

    Raises:
        InputError: no linear with more zeros.
    """
    shapes = {one.name: (one.rows, one.columns) for one in dense.structure.linears()}
    for block in pruned.structure.blocks:
        pruned.expect(block.linears)
        for linear in block.linears:
            alike = shapes.get(linear.name) == (linear.rows, linear.columns)
            chance = zeros[linear.name] if alike else 0
            if count_zeros(pruned.source_weight(linear)) > chance:
                return
    raise _not_pruned(name, "no more zeros than the dense model has in any of them")


def common_tokenizer(pruned: Side, dense: Side, options: RunOptions) -> Any:
    """The tokenizer of both models.

    Raises:
        InputError: another vocabulary, or another tokenizer.
    """
    sizes = (pruned.decoder.vocabulary, dense.decoder.vocabulary)
    if sizes[0] != sizes[1]:
        raise InputError(
            dense.source.name,
            expected=f"the vocabulary of {pruned.source.name}, {sizes[0]} entries",
            found=f"{sizes[1]}",
            fix="give the model that it was pruned from",
        )
    ours, theirs = (
        load_tokenizer(side.source.folder, trust_remote_code=options.trust_remote_code)
        for side in (pruned, dense)
    )
    one, other = ours.get_vocab(), theirs.get_vocab()
    if one != other:
        differ = {token for token, _ in {*one.items()} ^ {*other.items()}}
        raise InputError(
            dense.source.name,
            expected=f"the tokenizer of {pruned.source.name}",
            found=f"one in which {len(differ)} tokens have other numbers",
            fix="give the model that it was pruned from",
        )
    return ours


def warn_of_another(name: str, dense: str, manifest: Manifest | None, side: Side) -> None:
    """Say so where the dense model is not the one that was pruned, by its files."""
    if manifest is not None and not set(manifest.base_files.values()) <= {*side.files.values()}:
        log.warning(
            "%s was not pruned from %s, by its files; its distribution is learnt all the same",
            name, dense,
        )  # fmt: skip


def _not_pruned(name: str, found: str) -> InputError:
    return InputError(
        name, expected="a pruned model, with zeros in its linears", found=found,
        fix="prune it first: mwanda prune",
    )  # fmt: skip
