"""How much the languages may lose: a limit for all, others for some."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mwanda.errors import GateError, InputError
from mwanda.evaluation.results import Comparison, LanguageRise
from mwanda.text.languages import canonical

__all__ = ["Gate", "parse_language_shares", "parse_share"]


@dataclass(frozen=True)
class Gate:
    """The largest relative rise in NLL per sentence that is let through.

    Attributes:
        limit: of every language not named; None lets them pass.
        languages: tag -> its own limit.
    """

    limit: float | None = None
    languages: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, limit: str | None, languages: Sequence[str], option: str) -> Gate | None:
        """From ``5%`` and ``["sw=2%"]``; None where there is neither.

        Raises:
            InputError: all that is not a share or a language.
        """
        problems: list[str] = []
        share, shares = None, {}
        try:
            share = None if limit is None else parse_share(limit, option)
        except InputError as error:
            problems += error.problems
        try:
            shares = parse_language_shares(languages, "--language")
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError.several(problems)
        return None if share is None and not shares else cls(share, shares)

    def check_languages(self, scored: Iterable[str]) -> None:
        """Refuse a limit for a language that nothing is known of.

        Raises:
            InputError: naming them.
        """
        there = list(scored)
        strange = [tag for tag in self.languages if tag not in there]
        if strange:
            raise InputError(
                "--language",
                expected=f"languages of the text: {', '.join(there)}",
                found=", ".join(strange),
            )

    def of(self, language: str) -> float | None:
        """A language's limit; None for one that may lose anything."""
        return self.languages.get(language, self.limit)

    def failed(self, comparison: Comparison) -> tuple[LanguageRise, ...]:
        """The languages that lost more than they may; a NaN is more than anything."""
        return tuple(
            rise
            for rise in comparison.rises
            if (limit := self.of(rise.language)) is not None and not rise.relative <= limit
        )

    def as_dict(self, comparison: Comparison) -> dict[str, Any]:
        failed = self.failed(comparison)
        return {
            "limit": self.limit,
            "languages": dict(self.languages),
            "passed": not failed,
            "failed": {r.language: {"relative": r.relative, "limit": self.of(r.language)}
                       for r in failed},
        }  # fmt: skip

    def check(self, comparison: Comparison) -> None:
        """Fail when a language's relative rise in nats per sentence is above its limit.

        Raises:
            GateError: naming every language that failed.
        """
        failed = self.failed(comparison)
        if not failed:
            return
        expected = "no language to lose more than it may"
        if self.limit is not None:
            expected = f"no language to lose more than {self.limit:.1%}"
        own = ", ".join(f"{tag} {limit:.1%}" for tag, limit in self.languages.items())
        raise GateError(
            f"{comparison.pruned.model}",
            expected=f"{expected} in NLL per sentence" + (f" ({own})" if own else ""),
            found=", ".join(f"{rise.language} +{rise.relative:.1%}" for rise in failed),
        )


def parse_share(text: str, option: str) -> float:
    """``5%`` or ``0.05`` -> 0.05.

    Raises:
        InputError: not a finite number ≥ 0.
    """
    number = text.strip()
    try:
        value = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        value = math.nan
    plain_above_one = value > 1 and not number.endswith("%")
    if plain_above_one or not (math.isfinite(value) and value >= 0):
        raise InputError(option, expected="a share such as 5% or 0.05", found=text)
    return value


def parse_language_shares(given: Sequence[str], option: str) -> dict[str, float]:
    """``["sw=2%", "de=0.1"]`` -> tag -> share.

    Raises:
        InputError: all that is wrong with it.
    """
    found: dict[str, float] = {}
    problems: list[str] = []
    for item in given:
        tag, equals, share = item.partition("=")
        try:
            if not equals:
                raise InputError(option, expected="TAG=SHARE such as sw=2%", found=item)
            language = canonical(tag.strip())
            if language in found:
                raise InputError(option, expected="each language once", found=item)
            found[language] = parse_share(share, f"{option} {language}")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.several(problems)
    return found
