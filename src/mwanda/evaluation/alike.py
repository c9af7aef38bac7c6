"""Whether results can stand beside each other: one kind, the same texts, in order."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mwanda.errors import InputError
from mwanda.evaluation.language import LanguageResult

log = logging.getLogger("mwanda")

Kind = TypeVar("Kind")


class Scored(Protocol):
    """What an evaluation says of itself, see :class:`mwanda.evaluation.results.Evaluation`."""

    @property
    def model(self) -> str: ...
    @property
    def text_sha256(self) -> str: ...
    @property
    def languages(self) -> Mapping[str, LanguageResult]: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


def beside(first: Kind, others: Sequence[Kind]) -> Sequence[Kind]:
    """All of them, which are of one kind."""
    kind = type(first)
    for other in others:
        if not isinstance(other, kind):
            raise InputError(
                "plot, to_frame", expected=f"further results of the kind {kind.__name__}",
                found=f"a {type(other).__name__}",
                fix="write a.plot(b, c), or of a list a.plot(*several)",
            )  # fmt: skip
    return (first, *others)


def check_baselines(first: Scored, other: Scored) -> None:
    """Refuse a baseline whose scores are not those of the first; its name may be another."""
    differ = [
        tag for tag, result in first.languages.items()
        if not math.isclose(result.nll, other.languages[tag].nll, rel_tol=1e-5)
    ]  # fmt: skip
    if differ:
        raise InputError(
            "plot, to_frame", expected="comparisons with one baseline",
            found=f"{first.model} and {other.model}, whose scores of {', '.join(differ)} differ",
            fix="evaluate one baseline and compare every model with it",
        )  # fmt: skip


def check_order(baseline: str, pruned: str) -> None:
    """Warn of a baseline whose manifest names the other model as what it was made of.

    Args:
        baseline, pruned: as the user named them.
    """
    from mwanda.pruning.folder.manifest import find_manifest  # late: it needs torch

    manifest = find_manifest(Path(baseline))
    if manifest is not None and Path(manifest.base).resolve() == Path(pruned).resolve():
        log.warning(
            "the baseline, %s, was made of %s: if that is not meant, swap them: "
            "Comparison.of(dense, pruned), mwanda eval PRUNED --baseline MODEL", baseline, pruned,
        )  # fmt: skip


def check_alike(baseline: Scored, pruned: Scored) -> None:
    """Refuse evaluations of different texts or tokens."""
    both = f"{pruned.model} against {baseline.model}"
    one_tokenizer = "compare models of one tokenizer"

    if baseline.text_sha256 != pruned.text_sha256:
        raise InputError(
            both,
            expected="the same texts for both",
            found="different ones",
            fix="evaluate both with the same --text, --sentences and --seed",
        )
    for tag, result in pruned.languages.items():
        if result.unscored != (left := baseline.languages[tag].unscored):
            raise InputError(
                f"{both}, {tag}",
                expected="the same texts scored by both",
                found=f"{result.unscored} and {left} of which nothing could be scored",
                fix="leave texts of one token out",
            )
        if result.tokens != (count := baseline.languages[tag].tokens):
            raise InputError(
                f"{both}, {tag}",
                expected="the same tokens scored by both",
                found=f"{result.tokens} and {count} of them",
                fix=one_tokenizer,
            )
    own, other = (one.settings.get("start", []) for one in (pruned, baseline))
    if own != other:
        raise InputError(
            both,
            expected="texts that begin alike for both",
            found=" and ".join(" ".join(tokens) or "none" for tokens in (own, other)),
            fix=one_tokenizer,
        )
    lengths = [one.settings.get("strides_of") for one in (pruned, baseline)]
    if len(set(lengths)) > 1:
        raise InputError(
            both,
            expected="long texts cut alike for both",
            found=" and ".join(f"strides of {n} tokens" if n else "none" for n in lengths),
            fix="evaluate both with one --max-length, no more than either model's context",
        )
