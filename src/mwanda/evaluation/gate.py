"""How much the languages may lose: a limit for all, others for some."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any

from mwanda.errors import GateError, InputError, shown
from mwanda.evaluation.language import LanguageRise
from mwanda.evaluation.results import Comparison
from mwanda.text.languages import canonical

DECIDES = {"point": "the rise itself", "upper": "the upper end of its 95 % interval"}


@dataclass(frozen=True)
class Judgement:
    """What a gate says of one language.

    Attributes:
        relative, low, high: rise in NLL per sentence, and its 95 % interval; ±inf where there is
            none, for the ``reason``.
        limit: the largest that is let through.
        margin: the limit less what decides; below 0 fails.
    """

    language: str
    relative: float
    low: float
    high: float
    limit: float
    margin: float
    reason: str

    @property
    def passed(self) -> bool:
        return self.margin >= 0  # a NaN is not

    @property
    def interval(self) -> str:
        """In words."""
        if self.reason:
            return f"no interval: {self.reason}"
        return f"95 % interval {percent(self.low, '+')} to {percent(self.high, '+')}"

    def __str__(self) -> str:
        said = "PASS" if self.passed else "FAIL"
        limit, margin = percent(self.limit), percent(self.margin, "+")
        rise = f"{percent(self.relative, '+')}, {self.interval}"
        return f"{said} {self.language}: {rise}; limit {limit}, margin {margin}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: None for what is not there."""
        found = {k: v if isinstance(v, str) or math.isfinite(v) else None
                 for k, v in asdict(self).items()}  # fmt: skip
        del found["language"]
        return found | {"passed": self.passed}


@dataclass(frozen=True)
class Gate:
    """The largest relative rise in NLL per sentence that is let through.

    Attributes:
        limit: of every language not named: 0.05, ``"5%"`` or ``"500%"``; None lets them pass.
        languages: tag -> its own limit.
        on: what may not be above the limit: ``point``, the rise measured, or ``upper``, the upper
            end of its interval; then a language without one fails.
    """

    limit: float | None = None
    languages: Mapping[str, float] = field(default_factory=dict)
    on: str = "point"

    def __post_init__(self) -> None:
        problems, limit, languages = _on_problems(self.on, "on"), None, {}
        given: Any = self.languages
        if not isinstance(given, Mapping):
            found = shown(repr(given))
            raise InputError("languages", expected='limits such as {"sw": 0.02}', found=found)
        with _told(problems):
            limit = None if self.limit is None else share_given(self.limit, "limit")
        with _told(problems):
            languages = _language_shares(given.items(), "languages")
        if problems:
            raise InputError.several(problems)
        object.__setattr__(self, "limit", limit)
        object.__setattr__(self, "languages", languages)

    @classmethod
    def parse(
        cls, limit: str | None, languages: Sequence[str], option: str, on: str = "point"
    ) -> Gate | None:
        """From ``5%`` and ``["sw=2%"]``; None where there is neither.

        Raises:
            InputError: all that is not a share or a language.
        """
        problems = _on_problems(on, "--gate-on")
        if limit is None and not languages and on != "point":
            wanted = f"a limit, {option} or --language"
            problems.append(str(InputError("--gate-on", expected=wanted, found="none")))
        with _told(problems):
            if limit is not None:
                parse_share(limit, option)
        with _told(problems):
            parse_language_shares(languages, "--language")
        if problems:
            raise InputError.several(problems)
        share: Any = limit
        shares: Any = dict(item.split("=", 1) for item in languages)
        return None if limit is None and not languages else cls(share, shares, on)

    def check_languages(self, scored: Iterable[str]) -> None:
        """Refuse a limit for a language that nothing is known of.

        Raises:
            InputError: naming them.
        """
        there = list(scored)
        strange = [tag for tag in self.languages if tag not in there]
        if strange:
            wanted = f"languages of the text: {', '.join(there)}"
            raise InputError("--language", expected=wanted, found=", ".join(strange))

    def of(self, language: str) -> float | None:
        """A language's limit; None for one that may lose anything."""
        return self.languages.get(language, self.limit)

    def judge(self, comparison: Comparison) -> tuple[Judgement, ...]:
        """Every language that has a limit.

        Raises:
            InputError: a limit for a language that is not there.
        """
        self.check_languages(comparison.pruned.languages)
        found = []
        for rise in comparison.rises:
            if (limit := self.of(rise.language)) is None:
                continue
            interval = comparison.intervals[rise.language]
            decides = rise.relative if self.on == "point" else interval.high
            found.append(
                Judgement(rise.language, rise.relative, interval.low, interval.high, limit,
                          limit - decides, interval.reason)
            )  # fmt: skip
        return tuple(found)

    def failed(self, comparison: Comparison) -> tuple[LanguageRise, ...]:
        """The languages that lost more than they may; a NaN is more than anything."""
        tags = {one.language for one in self.judge(comparison) if not one.passed}
        return tuple(rise for rise in comparison.rises if rise.language in tags)

    def as_dict(self, comparison: Comparison) -> dict[str, Any]:
        judged = {one.language: one.as_dict() for one in self.judge(comparison)}
        return {
            "limit": self.limit,
            "languages": dict(self.languages),
            "on": self.on,
            "passed": all(one["passed"] for one in judged.values()),
            "judged": judged,
            "failed": {tag: {"relative": one["relative"], "limit": one["limit"]}
                       for tag, one in judged.items() if not one["passed"]},
        }  # fmt: skip

    def text(self, comparison: Comparison, is_base: bool | None = True) -> str:
        """A line for every language, and one for all.

        Args:
            is_base: whether the baseline is the model's base; None where that is not known.
        """
        judged = self.judge(comparison)
        failed = [one.language for one in judged if not one.passed]
        said = f"FAIL: {', '.join(failed)}" if failed else "PASS"
        how = f"{len(judged)} language{'s' * (len(judged) != 1)} judged by {DECIDES[self.on]}"
        lines = [*map(str, judged), f"gate: {said} ({how})"]
        within = [o.language for o in judged if not o.reason and o.low < o.limit < o.high]
        if within and self.on == "point":
            lines.append(f"the limit is inside the interval of {', '.join(within)}: other text may "
                         "be judged otherwise; score more, or --gate-on upper")  # fmt: skip
        if is_base is None:
            lines.append("the baseline could not be checked: no manifest says what "
                         f"{comparison.pruned.model} was pruned from")  # fmt: skip
        return "\n".join(lines)

    def check(self, comparison: Comparison) -> None:
        """Fail when a language's relative rise in nats per sentence is above its limit.

        Raises:
            GateError: naming every language that failed.
        """
        failed = [one for one in self.judge(comparison) if not one.passed]
        if not failed:
            return
        expected = "no language to lose more than it may"
        if self.limit is not None:
            expected = f"no language to lose more than {percent(self.limit)}"
        own = ", ".join(f"{tag} {percent(limit)}" for tag, limit in self.languages.items())
        told = [f"{one.language} {percent(one.relative, '+')}" for one in failed]
        if self.on == "upper":
            told = [f"{line} ({one.interval})" for line, one in zip(told, failed, strict=True)]
        raise GateError(
            f"{comparison.pruned.model}",
            expected=f"{expected} in NLL per sentence" + (f" ({own})" if own else ""),
            found=", ".join(told),
        )


def percent(share: float, sign: str = "") -> str:
    """0.05 -> ``5%``; as many digits as it takes, so that a small limit is not shown as 0.

    Args:
        sign: ``+`` for a difference, which is rounded to three digits, or to 0.01 % where those
            would be fewer.
    """
    if math.isnan(share):
        return "nan (nothing scored, or not a number)"
    value = 100 * share
    if not sign or not math.isfinite(value):
        return f"{value:{sign}.10g}%"
    digits = 2 if value == 0 else min(12, max(2, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:{sign}.{digits}f}%"


def parse_share(text: str, option: str) -> float:
    """``5%`` or ``0.05`` -> 0.05; 1 and more only with the sign, since 1 may be meant as 1 %."""
    number = text.strip()
    try:
        value = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        value = math.nan
    bare = value >= 1 and not number.endswith("%")
    if bare or not (math.isfinite(value) and value >= 0):
        plain = f"write {number}%, or {percent(value)}" if bare and value < 1e6 else None
        raise InputError(option, expected="a share such as 5% or 0.05", found=text, fix=plain)
    return value


def share_given(value: Any, option: str) -> float:
    """A share from Python; a number below 0 asks for a gain, one of 1 or more may be per cent."""
    if isinstance(value, str):
        return parse_share(value, option)
    number = isinstance(value, Real) and not isinstance(value, bool)
    large = number and 1 <= value < math.inf
    if large or not number or not math.isfinite(value):
        found, wanted = shown(repr(value)), 'a share such as 0.05 or "5%"'
        plain = f'write "{float(value):.10g}%", or "{percent(float(value))}"' if large else None
        raise InputError(option, expected=wanted, found=found, fix=plain)
    return float(value)


def parse_language_shares(given: Sequence[str], option: str) -> dict[str, float]:
    """``["sw=2%", "de=0.1"]`` -> tag -> share."""
    strange = [item for item in given if "=" not in item]
    problems = [
        str(InputError(option, expected="TAG=SHARE such as sw=2%", found=one)) for one in strange
    ]
    found = dict[str, float]()
    with _told(problems):
        pairs = (item.split("=", 1) for item in given if "=" in item)
        found = _language_shares(pairs, option)
    if problems:
        raise InputError.several(problems)
    return found


def _language_shares(given: Iterable[Sequence[Any]], option: str) -> dict[str, float]:
    """Canonical tag -> share."""
    found: dict[str, float] = {}
    problems: list[str] = []
    for tag, share in given:
        with _told(problems):
            if not isinstance(tag, str):
                raise InputError(option, expected="tags as keys", found=shown(repr(tag)))
            language = canonical(tag)
            if language in found:
                raise InputError(option, expected="each language once", found=f"{language} twice")
            found[language] = share_given(share, f"{option} {language}")
    if problems:
        raise InputError.several(problems)
    return found


def _on_problems(on: Any, option: str) -> list[str]:
    if isinstance(on, str) and on in DECIDES:
        return []
    return [str(InputError(option, expected=" or ".join(DECIDES), found=shown(repr(on))))]


@contextmanager
def _told(problems: list[str]) -> Iterator[None]:
    """Note what is wrong, and go on."""
    try:
        yield
    except InputError as error:
        problems += error.problems
