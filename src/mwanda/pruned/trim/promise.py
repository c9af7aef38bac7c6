"""Whether text is split as before: tried on real text, promised or only measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from mwanda.errors import DataError, MwandaError
from mwanda.pruned.trim.choice import Choice, Chosen
from mwanda.pruned.trim.plan import Coverage, cover
from mwanda.pruned.trim.token_ids import map_tokenizer
from mwanda.pruned.trim.vocabulary import Vocabulary
from mwanda.text.sources import open_source
from mwanda.text.tokens import token_ids

COVERED = 0.99
"""Share of a language's held-out texts that a lossy choice has to split as before."""

TRIED = "bundled:udhr"
"""Text on which the promise of a choice by characters is tried."""


class Restricted:
    """A trimmed tokenizer that was written nowhere."""

    def __init__(self, vocabulary: Vocabulary, chosen: Chosen) -> None:
        self._tokenizer = Tokenizer.from_str(json.dumps(map_tokenizer(vocabulary, chosen.new_ids)))

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=False).ids}


def coverage_of(chosen: Chosen, before: Any, after: Any) -> dict[str, Coverage]:
    """Language -> how its held-out texts fare.

    Args:
        before, after: tokenizers.
    """
    return {
        tag: cover(
            texts, lambda text: token_ids(before, text), lambda text: token_ids(after, text),
            chosen.rows,
        )
        for tag, texts in chosen.held_out.items()
    }  # fmt: skip


def refuse_loss(coverage: Mapping[str, Coverage], allow_loss: bool) -> None:
    """Refuse a choice by which text is split otherwise, unless that was allowed."""
    low = {tag: one for tag, one in coverage.items() if one.share < COVERED}
    if low and not allow_loss:
        told = ", ".join(
            f"{tag} {one.share:.1%} ({one.growth:.3f} x the tokens)" for tag, one in low.items()
        )
        raise MwandaError(
            "trim", expected=f"at least {COVERED:.0%} of each language's held-out lines with their "
            "old tokens", found=told, fix="give more text or a larger budget, keep by script, or "
            "pass --allow-loss",
        )  # fmt: skip


def check_promise(chosen: Chosen, choice: Choice, before: Any, after: Any) -> int:
    """Split real text by both tokenizers, and refuse to go on where it should be alike and is not.

    Returns:
        How many texts were tried: paragraphs of the Declaration that are of these characters alone.
    """
    characters, tried = chosen.characters, 0
    if characters is None:
        return tried
    bundled = open_source(TRIED)
    for tag in sorted({*bundled.languages()} & {*choice.languages}):
        for document in bundled.documents(tag):
            if not characters.issuperset(document.text):
                continue
            tried += 1
            old = token_ids(before, document.text)
            if old != [chosen.rows[one] for one in token_ids(after, document.text)]:
                raise DataError(
                    f"trimmed tokenizer, {tag}", expected="the tokens that a text had before",
                    found=f"others in {document.text[:60]!r}",
                    fix="do not use it; this tokenizer does what mwanda does not know",
                )  # fmt: skip
    return tried
