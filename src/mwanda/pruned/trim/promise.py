"""Whether text is split as before: tried on real text, promised or only measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from mwanda.errors import DataError, MwandaError
from mwanda.pruned.trim.choice import Choice, Chosen
from mwanda.pruned.trim.plan import Coverage
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


@dataclass(frozen=True)
class Trial:
    """Texts, split by the tokenizer before a trim; that one need not be kept for it.

    Attributes:
        old_ids: new id -> old id.
        promised: language -> texts of the characters that stay, and their ids: all as before.
        held_out: language -> texts that chose nothing, and their ids.
    """

    old_ids: tuple[int, ...]
    promised: Mapping[str, list[tuple[str, list[int]]]]
    held_out: Mapping[str, list[tuple[str, list[int]]]]

    @classmethod
    def of(cls, chosen: Chosen, choice: Choice, tokenizer: Any) -> Trial:
        """Paragraphs of the Declaration for a choice by characters, and the texts held out."""

        def split(texts: Iterable[str]) -> list[tuple[str, list[int]]]:
            return [(text, token_ids(tokenizer, text)) for text in texts]

        promised = {}
        if chosen.characters is not None:
            bundled, covers = open_source(TRIED), chosen.characters.issuperset
            for tag in sorted({*bundled.languages()} & {*choice.languages}):
                texts = (document.text for document in bundled.documents(tag))
                promised[tag] = split(filter(covers, texts))
        held_out = {tag: split(texts) for tag, texts in chosen.held_out.items()}
        return cls(chosen.rows, promised, held_out)

    def check(self, tokenizer: Any) -> int:
        """Refuse to go on where a text is split otherwise that should not be.

        Returns:
            How many texts were tried.
        """
        for tag, texts in self.promised.items():
            for text, ids in texts:
                if ids != self._split(tokenizer, text):
                    raise DataError(
                        f"trimmed tokenizer, {tag}", expected="the tokens that a text had before",
                        found=f"others in {text[:60]!r}",
                        fix="do not use it; this tokenizer does what mwanda does not know",
                    )  # fmt: skip
        return sum(map(len, self.promised.values()))

    def coverage(self, tokenizer: Any) -> dict[str, Coverage]:
        """Language -> how its held-out texts fare."""
        found = {}
        for tag, texts in self.held_out.items():
            made = [self._split(tokenizer, text) for text, _ in texts]
            found[tag] = Coverage(
                texts=len(texts),
                same=sum(new == old for new, (_, old) in zip(made, texts, strict=True)),
                tokens=sum(len(ids) for _, ids in texts),
                kept_tokens=sum(map(len, made)),
            )
        return found

    def foreseen(self, vocabulary: Vocabulary, chosen: Chosen) -> dict[str, Coverage]:
        """The same before there is a trimmed tokenizer."""
        return self.coverage(Restricted(vocabulary, chosen)) if self.held_out else {}

    def _split(self, tokenizer: Any, text: str) -> list[int]:
        return [self.old_ids[one] for one in token_ids(tokenizer, text)]


def refuse_loss(coverage: Mapping[str, Coverage], allow_loss: bool) -> None:
    """Refuse a choice by which text is split otherwise, unless that was allowed."""
    low = {tag: one for tag, one in coverage.items() if not one.texts or one.share < COVERED}
    if low and not allow_loss:
        told = ", ".join(
            f"{tag} {one.share:.1%} ({one.growth:.3f} x the tokens)"
            if one.texts
            else f"{tag} without a line to try it on"
            for tag, one in low.items()
        )
        raise MwandaError(
            "trim", expected=f"at least {COVERED:.0%} of each language's held-out lines with their "
            "old tokens", found=told, fix="give more text or a larger budget, keep by script, or "
            "pass --allow-loss",
        )  # fmt: skip
