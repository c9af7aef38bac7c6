"""Which rows of a vocabulary stay: by the scripts of the languages, by letters, or by a text."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mwanda.errors import InputError, nearest
from mwanda.pruned.trim.characters import characters_in, characters_of, scripts_of
from mwanda.pruned.trim.vocabulary import Vocabulary, filled
from mwanda.system.arguments import whole_given
from mwanda.text.languages import tags_of
from mwanda.text.sources import open_source
from mwanda.text.text_source import TextSource, check_languages
from mwanda.text.tokens import token_ids

log = logging.getLogger("mwanda")

WAYS = ("script", "letters", "text")
MULTIPLE = 64
HELD_OUT = 10
"""One document in so many chooses nothing, so that the choice can be tried on it."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was asked for.

    Attributes:
        languages: BCP-47 tags.
        by: ``script`` keeps all that can be written in the languages' scripts, ``letters`` in the
            letters that a text uses, ``text`` the tokens that a text has.
        also_scripts: ISO 15924 codes.
        text: a source of text, for letters or tokens.
        budget: rows in all, for ``text``; None takes every token of it.
        keep_texts: texts whose tokens stay whatever else goes.
        multiple: the number of rows is one of this.
    """

    languages: tuple[str, ...]
    by: str = "script"
    also_scripts: tuple[str, ...] = ()
    text: str | None = None
    budget: int | None = None
    keep_texts: tuple[str, ...] = ()
    multiple: int = MULTIPLE

    @classmethod
    def of(cls, languages: Any, **given: Any) -> Choice:
        """With canonical tags; all that is wrong is told at once."""
        made = cls(languages=tuple(tags_of(languages)), **given)
        problems = []
        if made.by not in WAYS:
            problems.append(f"by: found {made.by!r}; {nearest(made.by, WAYS)}")
        if made.by == "script" and made.text is not None:
            problems.append("text: expected none with --by script, which needs none; leave it out")
        if made.by in ("letters", "text") and made.text is None:
            problems.append(f"text: expected a source of text with --by {made.by}, found none")
        if made.budget is not None and made.by in ("script", "letters"):
            problems.append(f"budget: expected none with --by {made.by}, which keeps all it names")
        for name in ("multiple", "budget"):
            try:
                if getattr(made, name) is not None:
                    whole_given(name, getattr(made, name), 1)
            except InputError as error:
                problems += error.problems
        try:
            scripts_of(made.languages, made.also_scripts)
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError.several(problems)
        return made

    @property
    def whole_budget(self) -> int | None:
        """The most rows that are a multiple and within the budget."""
        return None if self.budget is None else self.budget - self.budget % self.multiple

    @property
    def scripts(self) -> tuple[str, ...]:
        return scripts_of(self.languages, self.also_scripts)


@dataclass(frozen=True)
class Chosen:
    """The rows that stay.

    Attributes:
        rows: old ids, ascending.
        structural: those that stay whatever the languages are -> who needs them.
        characters: what a text may be made of for its tokens to be as before; None for a choice by
            tokens.
        held_out: language -> texts that chose nothing; empty for a choice by script.
    """

    rows: tuple[int, ...]
    structural: Mapping[int, str]
    characters: frozenset[str] | None
    held_out: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def new_ids(self) -> dict[int, int]:
        """Old id -> new id."""
        return {old: number for number, old in enumerate(self.rows)}


def choose(
    choice: Choice, vocabulary: Vocabulary, structural: Mapping[int, str], tokenizer: Any, rows: int
) -> Chosen:
    """The rows of the tables that stay.

    Args:
        rows: how many the tables have; tokens beyond have none.
    """
    source = None if choice.text is None else open_source(choice.text)
    if source is not None:
        check_languages(source, choice.languages)
    needed = {one for text in choice.keep_texts for one in token_ids(tokenizer, text)}
    needed |= set(structural)
    characters = characters_in(choice.scripts)
    held_out: dict[str, list[str]] = {}
    used: dict[str, list[str]] = {}
    if source is not None:
        for tag in choice.languages:
            held_out[tag], used[tag] = [], []
            for line in _lines(source, tag):
                (held_out if _held_out(line) else used)[tag].append(line)
    if choice.by == "text":
        found = _most_used(choice, vocabulary, needed, used, tokenizer)
    else:
        if choice.by == "letters":
            every = (text for listed in used.values() for text in listed)
            characters = characters_of(every, characters)
        found = set(vocabulary.within(characters))
        found |= vocabulary.closed(needed - found)
    found = {number for number in found if number < rows}
    found = set(filled(vocabulary, found, choice.multiple, rows))
    covered = None if choice.by == "text" else characters
    return Chosen(tuple(sorted(found)), structural, covered, held_out)


def _most_used(
    choice: Choice,
    vocabulary: Vocabulary,
    needed: set[int],
    texts: Mapping[str, list[str]],
    tokenizer: Any,
) -> set[int]:
    """What has to stay, and tokens with all that they are built from, the most used first: every
    language counts the same, however much text it has."""
    found, budget = set(vocabulary.closed(needed)), choice.whole_budget
    if budget is not None and len(found) > budget:
        raise InputError(
            "budget",
            expected=f"at least the {len(found)} rows that any text needs",
            found=f"{choice.budget}, {budget} in whole {choice.multiple}s",
            fix="they are single bytes, special tokens and what these are built from",
        )
    shares: dict[int, float] = {}
    for listed in texts.values():
        counts = Counter(one for text in listed for one in token_ids(tokenizer, text))
        total = sum(counts.values())
        for number, count in counts.items():
            shares[number] = shares.get(number, 0.0) + count / total
    order = sorted(shares, key=lambda number: (-shares[number], number))
    if budget is None:
        return found | set(vocabulary.closed(order))
    inside = vocabulary.within(characters_in(choice.scripts))
    rest = sorted(inside - shares.keys())
    for place, number in enumerate([*order, *rest]):
        if place == len(order) and len(found) < budget:
            log.info(
                "the text has %d of the %d tokens of the budget; the rest is filled with the "
                "scripts' lowest ids", len(found), budget,
            )  # fmt: skip
        if number not in found:
            more = vocabulary.closed([number]) - found
            if len(found) + len(more) <= budget:
                found |= more
        if len(found) == budget:
            break
    return found


def _lines(source: TextSource, tag: str) -> Iterator[str]:
    """Lines with the line feeds behind them: a tokenizer may have these in one token."""
    for document in source.documents(tag):
        yield from filter(str.strip, re.findall(r"[^\n]+\n*", document.text))


def _held_out(text: str) -> bool:
    """Whether it chooses nothing; the same text always the same way."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] % HELD_OUT == 0
