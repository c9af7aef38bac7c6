"""How many windows of how many tokens: as asked for, or by default what context and text have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mwanda.errors import InputError

log = logging.getLogger("mwanda")

WINDOWS, LENGTH = 128, 2048
"""What is drawn of each language by default."""

NO_BACKGROUND, UDHR = "none", "udhr"
"""Instead of a background's source: there is none; half of the Universal Declaration, bundled."""

BACKGROUND_WINDOWS, BACKGROUND_LENGTH, BACKGROUND_PIECES = 44, 256, 4
"""Windows of all its languages together; tokens in one, or the context; languages in one."""

BACKGROUND_WEIGHT = 0.3
"""Its share of the weight of all languages."""

FLOOR = 1024
"""Tokens of a language below which a default does not shrink by itself."""

SHORTEST = 128
"""Tokens of a window below which a default does not shrink for want of text."""

SEVERAL, HANDY = 8, 256
"""Where neither size is asked for, short text is cut into so many windows or more, or into as few
as have no more tokens than that: an allocation that compares outputs does it on one window of a
language, and on one that is all of the text it would take several times as long as all else."""

NAMED = 8
"""Languages that one line of a log names."""


@dataclass(frozen=True)
class Sizes:
    """Of each language."""

    windows: int = WINDOWS
    length: int = LENGTH  # tokens in each, those the tokenizer begins a text with included
    loose: frozenset[str] = frozenset()  # of these two, what nobody asked for: it may shrink
    allow_short: bool = False  # take any text there is, whatever was asked for

    @classmethod
    def of(cls, windows: int | None, length: int | None, *, allow_short: bool = False) -> Sizes:
        """What was asked for, None where the default is meant."""
        given = {"windows": windows, "length": length}
        asked = {name: value for name, value in given.items() if value is not None}
        return cls(**asked, loose=frozenset(given.keys() - asked), allow_short=allow_short)

    def within(self, context: int | None) -> Sizes:
        """Not longer than the model's context."""
        if context is None or self.length <= context:
            return self
        if "length" not in self.loose:
            expected = f"at most the model's context of {context} tokens"
            fix = f"pass --window-length {context}, or leave it out"
            raise InputError("--window-length", expected=expected, found=str(self.length), fix=fix)
        return replace(self, length=context)

    def fitted(self, have: int, start: int) -> tuple[int, int] | None:
        """Windows, and tokens of text in each, that a language gives.

        The length shrinks only where the number of windows need not do alone, and then so little
        that all of the text is used. Where it would shrink too far, there are fewer windows if
        short text is allowed. None where there is too little text.

        Args:
            have: tokens of its text.
            start: tokens before the text of every window.
        """
        room = self.length - start
        if have >= self.windows * room:
            return self.windows, room
        windows, rest = self.windows, room
        if {"windows", "length"} <= self.loose:
            room = min(room, max(HANDY - start, have // SEVERAL))
            windows = -(-have // room)
        elif "windows" in self.loose:
            windows = have // room
        if "length" in self.loose and windows:
            rest = min(room, have // windows)
        enough = self.allow_short or have >= min(FLOOR, self.windows * room)
        shortest = min(SHORTEST, room // 2)
        if self.loose and windows * rest and enough and rest >= shortest:
            return windows, rest
        if not self.allow_short or have < max(1, 2 - start):
            return None
        if "length" in self.loose:
            windows = max(1, have // max(1, shortest))
            return windows, min(room, have // windows)
        return (have // room, room) if have >= room else (1, have)

    def least(self, start: int) -> int:
        """The fewest tokens of text of which :meth:`fitted` makes windows."""
        room = self.length - start
        floor, shortest = min(FLOOR, self.windows * room), min(SHORTEST, room // 2)
        if self.allow_short:
            return max(1, 2 - start)
        if not self.loose:
            return self.windows * room
        if "windows" in self.loose:
            return max(floor, shortest if "length" in self.loose else room)
        return max(floor, self.windows * max(1, shortest))

    def too_little(self, have: Mapping[str, int], start: int, others: list[str]) -> InputError:
        """What to say of languages that have too few tokens of text, beside others with enough, and
        what to paste to go on."""
        room = self.length - start
        need = self.windows * room
        least = min(have.values())
        fixes = ["add text"]
        if not self.allow_short:
            windows, rest = (least // room, room) if least >= room else (1, least)
            if rest + start >= 2 and rest:
                fixes.append(
                    f"take less of all: --windows {windows} --window-length {rest + start}"
                )
            if others:
                fixes.append(f"leave out those with too little: --languages {','.join(others)}")
            fixes.append(
                "pass --allow-short, in Python RunOptions(allow_short=True), to take what each "
                "language has"
            )
        floor = f", or by default at least {self.least(start)}" if self.loose else ""
        fix = " or ".join([", ".join(fixes[:-1]) + ",", fixes[-1]] if fixes[1:] else fixes)
        return InputError.several(
            str(InputError(
                f"language {language!r}",
                expected=f"{need} tokens of text for {self.windows} windows of {self.length}"
                + floor,
                found=str(found),
                fix=fix,
            ))
            for language, found in have.items()
        )  # fmt: skip


def say_shrunk(asked: Sizes, used: Sizes, drawn: Mapping[str, tuple[int, ...]]) -> None:
    """One line where less was drawn than the defaults are: the sizes asked for, those that the
    model's context leaves, and each language's number and length of windows."""
    parts = []
    if used.length < asked.length:
        parts.append(f"the model's context is {used.length} tokens")
    short = [
        f"{language} has text for {count} window{'s' * (count != 1)} of {length} tokens"
        for language, (count, length) in drawn.items()
        if (count, length) != (used.windows, used.length)
    ]
    more = [f"{len(short) - NAMED} more languages have less text too"] if short[NAMED:] else []
    parts += short[:NAMED] + more
    if parts:
        log.warning(
            "calibration windows: fewer than %d of %d tokens a language: %s",
            asked.windows, asked.length, "; ".join(parts),
        )  # fmt: skip
