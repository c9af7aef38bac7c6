"""How a tokenizer begins a text, found by tokenising: its BOS token, another, several, or none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mwanda.text.tokens import Tokenizes, token_ids

log = logging.getLogger("mwanda")

PROBES = ("a b", "1. Ж я", "文 字")
"""Texts that a tokenizer is tried on: it may not know the letters of one, or go by the text."""


def start_of(tokenizer: Tokenizes) -> tuple[int, ...]:
    """The ids that the tokenizer itself puts before every text; what it puts after is left out."""
    found = [start for probe in PROBES if (start := _before(tokenizer, probe)) is not None]
    common: list[int] = []
    for ids in zip(*found, strict=False):
        if len(set(ids)) > 1:
            break
        common.append(ids[0])
    if any(len(start) != len(common) for start in found):
        log.warning("the tokenizer begins texts differently; what all have in common is used")
    return tuple(common)


def shown_start(start: Sequence[int], where: str) -> str:
    """``first token of every window: id 1``, ``… ids 64790, 64792``, or ``none``."""
    ids = ", ".join(map(str, start))
    return f"{where}: id{'s' if len(start) > 1 else ''} {ids}" if start else "none"


def start_settings(tokenizer: Any, start: Sequence[int]) -> dict[str, Any]:
    """How texts begin: in words, and as tokens, which a trim of the vocabulary renumbers."""
    return {
        "bos": shown_start(start, "before every text"),
        "start": [str(t) for t in tokenizer.convert_ids_to_tokens(list(start))] if start else [],
    }


def _before(tokenizer: Tokenizes, text: str) -> tuple[int, ...] | None:
    """What comes before this text's own tokens; None where it has none to tell by."""
    own = token_ids(tokenizer, text)
    whole = list(tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"])
    places = [at for at in range(len(whole)) if own and whole[at : at + len(own)] == own]
    if places:  # several only where the text's tokens are the start's too, as an unknown one can be
        return tuple(whole[: places[-1]])
    special = getattr(tokenizer, "all_special_ids", ())
    start = next((at for at, token in enumerate(whole) if token not in special), None)
    return None if start is None or not own else tuple(whole[:start])
