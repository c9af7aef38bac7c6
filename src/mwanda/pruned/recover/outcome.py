"""What a recovery gained, as it goes on and in the end: told, and refused where it is none."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from mwanda.errors import DataError, GateError, InputError, MwandaError
from mwanda.pruning.recipe.recovery import Settings
from mwanda.text.languages import MULTIPLE

log = logging.getLogger("mwanda")

Losses = Mapping[str, float]
"""Language -> mean divergence from the dense model, nats a token."""

# The same command would go on with the journal, and another one is refused beside it.
_ANEW = "begin anew with --restart"


NEAREST = 1e-6
"""Nats a token between two models that are the same, by rounding in float32."""

MANY = 12
"""Passes over a text after which another one brings less than other text would."""


def warn_of_many_passes(passes: Mapping[str, float]) -> None:
    """Name what is learnt from so often that more text would bring more.

    Args:
        passes: language -> how often each of its windows is learnt from.
    """
    often = {tag: count for tag, count in passes.items() if count > MANY}
    if often:
        told = ", ".join(f"{tag} {count:.0f} times" for tag, count in often.items())
        more = f"; of {MULTIPLE} by --background-windows" if MULTIPLE in often else ""
        log.warning(
            "each window is learnt from again and again, of %s: more text brings more than more "
            "passes%s", told, more,
        )  # fmt: skip


def tell(step: int, steps: int, mean: float, losses: Losses, before: Losses) -> None:
    """One line of how far the model is from the dense one on what is held out."""
    each = ", ".join(f"{tag} {loss:.3f}" for tag, loss in losses.items())
    worse = _worse(before, losses)
    named = f"; worse than before: {', '.join(worse)}" if worse else ""
    log.info("step %d of %d: held out %.4f nats a token: %s%s", step, steps, mean, each, named)


def check_start(before: Losses, mean: float) -> None:
    """Refuse a model that is not finite, or that has nothing to learn.

    Args:
        mean: over languages by weight, nats a token.

    Raises:
        DataError: a divergence that is not finite.
        InputError: a model that computes what the dense one does.
    """
    odd = [tag for tag, loss in before.items() if not math.isfinite(loss)]
    if odd:
        raise DataError(
            f"the pruned model on what is held out, {', '.join(odd)}",
            expected="a finite divergence from the dense one", found=f"{before[odd[0]]}",
            fix=f"{_ANEW} and --compute-dtype float32, or check its weights",
        )  # fmt: skip
    if mean < NEAREST:
        raise InputError(
            "the pruned model", expected="one that differs from the dense model",
            found=f"{mean:.1g} nats a token between them", fix="it needs no recovery",
        )  # fmt: skip


def tell_rate(asked: Settings, taken: Settings, mean: float) -> None:
    """Say so where the default learning rate is a lower one, near the dense model.

    Args:
        mean: nats a token that it begins with.
    """
    highest, far = asked.default_rate or (0.0, 0.0)
    if mean < far:
        log.info(
            "learning rate %g in place of %g: the model begins %.3f nats a token from the dense "
            "one, under %g", taken.learning_rate, highest, mean, far,
        )  # fmt: skip


def check_gain(
    before: Losses, after: Losses, mean_before: float, mean_after: float, settings: Settings
) -> None:
    """Refuse a result that is no gain; name languages that lost.

    Args:
        mean_before, mean_after: over languages by weight, nats a token.

    Raises:
        MwandaError: the mean did not fall.
        GateError: with ``never_worse``, a language that ended worse than it began.
    """
    if not mean_after < mean_before:
        raise MwandaError(
            "what is held out",
            expected=f"a model nearer to the dense one than the {mean_before:.4f} nats a token "
            "that it began with",
            found=f"{mean_after:.4f}",
            fix=f"{_ANEW} and a lower --learning-rate, or with more text or steps",
        )
    worse = _worse(before, after)
    if not worse:
        return
    told = ", ".join(f"{tag} {before[tag]:.4f} to {after[tag]:.4f}" for tag in worse)
    if settings.never_worse:
        raise GateError(
            "--never-worse", expected="no language further from the dense model than before",
            found=told,
            fix=f"leave --never-worse out to have it as it is, or {_ANEW} and more text or weight "
            "for these languages, or a lower --learning-rate",
        )  # fmt: skip
    log.warning("further from the dense model than before, in nats a token: %s", told)


def _worse(before: Losses, losses: Losses) -> list[str]:
    """Named languages that are further from the dense model than before."""
    return [tag for tag, loss in losses.items() if loss > before[tag] and tag != MULTIPLE]
