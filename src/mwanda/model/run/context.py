"""How many tokens a model takes at once, whatever its config calls that."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

from torch import nn

from mwanda.errors import InputError
from mwanda.model.run.discovery import find_structure, in_tower

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions", "n_ctx",
         "max_sequence_length", "max_seq_length", "model_max_length", "seq_length",
         "context_length")  # fmt: skip
"""What configs call the longest input, the name that most of them use first."""

_POSITIONS = re.compile(r"(^|_)pos(ition)?s?(_|$)|^wpe$")


def context_length(config: Any, backbone: nn.Module | None = None) -> int | None:
    """Longest input in tokens, None where nothing says one.

    A limit of the config holds whether the forward would fail beyond it (a table of positions) or
    only go where the model was never trained (rotary positions, alibi). A table of learned
    positions can hold fewer than the config says: those of RoBERTa begin after the padding's row.

    Args:
        config: of the whole model.
        backbone: the module that runs the blocks; its own config goes before the whole model's.
    """
    text = config.get_text_config(decoder=True)
    named = (_named(one) for one in (getattr(backbone, "config", None), text, config))
    limits = [next((limit for limit in named if limit is not None), None)]
    if backbone is not None:
        limits += [
            _rows(module)
            for name, module in backbone.named_modules()
            if _is_table(module, name) and not in_tower(backbone, name)
        ]
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)


def _named(config: Any) -> int | None:
    for name in NAMES:
        value = getattr(config, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _is_table(module: nn.Module, name: str) -> TypeGuard[nn.Embedding]:
    last = name.rpartition(".")[2]
    named = _POSITIONS.search(last) is not None and "relative" not in last
    return named and isinstance(module, nn.Embedding)


def _rows(table: nn.Embedding) -> int:
    """Tokens that a table of positions has rows for."""
    offset = getattr(table, "offset", None)  # OPT, BART: the first rows are never used
    if isinstance(offset, int):
        return table.num_embeddings - offset
    first = 0 if table.padding_idx is None else table.padding_idx + 1
    return table.num_embeddings - first


def context_of(model: Any) -> int | None:
    """:func:`context_length` of a model in memory, whichever it is."""
    try:
        backbone = model.get_submodule(find_structure(model).backbone)
    except InputError:  # cannot be pruned, but may well be evaluated
        backbone = None
    return context_length(model.config, backbone)
