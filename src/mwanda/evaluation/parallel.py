"""Parallel sentences: those to translate, and the examples of every prompt."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.texts import TextSet, digest_of, ids_given, within
from mwanda.evaluation.translation import Direction, parse_direction
from mwanda.system.arguments import several_given, whole_given
from mwanda.system.shown import Shown
from mwanda.text.given import open_text
from mwanda.text.text_source import check_languages, held_documents

SHOTS = 5
"""Examples in a prompt, unless told otherwise."""


@dataclass(frozen=True, repr=False)
class ParallelText(Shown):
    """Sentences to translate, and the examples in every prompt.

    Attributes:
        source: as the user wrote it.
        sentences: language -> id -> sentence, of all ids below.
        scored, shots: ids, in the order of the text; none in both.
        seed: of both draws.
    """

    source: str
    sentences: Mapping[str, Mapping[int | str, str]]
    scored: tuple[int | str, ...]
    shots: tuple[int | str, ...]
    seed: int

    def _summary(self) -> str:
        return (
            f"{self.source}, {', '.join(self.sentences)}, {len(self.scored)} sentences after "
            f"{len(self.shots)} examples"
        )

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"id": one, **{tag: rows[one] for tag, rows in self.sentences.items()}}
            for one in (*self.shots, *self.scored)
        ]

    @property
    def sha256(self) -> str:
        """Of every sentence, the shots first."""
        return self.texts.sha256

    @property
    def texts(self) -> TextSet:
        """All sentences, as an evaluation would read them."""
        ids = (*self.shots, *self.scored)
        found = {tag: [rows[one] for one in ids] for tag, rows in self.sentences.items()}
        own = dict.fromkeys(found, ids)
        return TextSet(self.source, found, self.seed, digest_of(found), ids, own)


def read_parallel(
    text: str | Path | Mapping[str, Any],
    directions: str | Sequence[str | Direction],
    *,
    sentences: int | None = None,
    shots: int = SHOTS,
    ids: tuple[int, int | None] | str | None = None,
    seed: int = 0,
) -> tuple[ParallelText, list[Direction]]:
    """Read the sentences to translate, once for every model that is compared on them.

    Args:
        text: a source whose records have an id that is the same in every language.
        directions: ``en-de`` and the like.
        sentences: size of a seeded subset, None for all.
        shots: examples in a prompt, drawn from ids outside ``ids``, or where no range is given
            from those that are not scored.
        ids: lowest and highest id that is scored.

    Raises:
        InputError: unreadable text, no ids, a missing language, or too few sentences.
    """
    chosen = directions_of(directions)
    for name, value, least in (("sentences", sentences, 1), ("shots", shots, 0), ("seed", seed, 0)):
        if value is not None:
            whole_given(name, value, least)
    if not chosen:
        raise InputError("--direction", expected="at least one, e.g. en-de", found="none")
    ids, source = ids_given(ids), open_text(text)
    tags = list(dict.fromkeys(tag for d in chosen for tag in (d.source, d.target)))
    check_languages(source, tags)
    found: dict[str, dict[int | str, str]] = {}
    problems = []
    for tag in tags:
        documents = held_documents(source, tag, draw=(sentences, ids) != (None, None))
        found[tag] = {d.id: d.text for d in documents if d.id is not None}
        if len(found[tag]) < len(documents):
            problems.append(
                f"{source.name}, {tag}: expected parallel text, an id of its own in every record, "
                f"found {len(found[tag])} ids in {len(documents)} records"
            )
        elif ids is not None and not all(isinstance(one, int) for one in found[tag]):
            problems.append(f"{source.name}, {tag}: --ids needs an integer id in every record")
    if problems:
        raise InputError.several(problems)
    common = [one for one in found[tags[0]] if all(one in rows for rows in found.values())]
    inside = [one for one in common if within(one, ids)]
    least = 1 if sentences is None else sentences
    if len(inside) < least:
        raise InputError(
            source.name, expected=f"{least} sentences with one id in {', '.join(tags)}",
            found=str(len(inside)), fix="ask for fewer --sentences, or for other --ids",
        )  # fmt: skip
    scored = set(inside if sentences is None else _drawn(inside, sentences, seed))
    rest = [one for one in common if one not in (scored if ids is None else set(inside))]
    if len(rest) < shots:
        raise InputError(
            f"{source.name}: --shots", expected=f"{shots} sentences that are not scored",
            found=str(len(rest)), fix="score fewer sentences, or give fewer --shots",
        )  # fmt: skip
    examples = set(_drawn(rest, shots, seed))
    return ParallelText(
        source.name, found, tuple(one for one in common if one in scored),
        tuple(one for one in common if one in examples), seed,
    ), chosen  # fmt: skip


def directions_of(given: str | Sequence[str | Direction]) -> list[Direction]:
    """Every direction given; text is one, or more with commas between."""
    several = several_given("directions", given, '["en-de", "de-en"]')
    return [d if isinstance(d, Direction) else parse_direction(str(d)) for d in several]


def _drawn(pool: Sequence[int | str], count: int, seed: int) -> list[int | str]:
    return random.Random(seed).sample(sorted(pool, key=str), count)
