"""What a trim of a vocabulary leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from langcodes import Language

from mwanda.cli.views import View
from mwanda.system.files import amount
from mwanda.system.text_tables import plain
from mwanda.text.languages import display_name

if TYPE_CHECKING:
    from mwanda.evaluation.trim_loss import TrimLoss
    from mwanda.pruned.trim.plan import TrimPlan
    from mwanda.pruned.trim.trim import TrimResult

SCRIPTS = 12
"""Scripts that the table shows; all are in its JSON."""


def planned(plan: TrimPlan) -> View:
    """What a trim would leave."""
    return plan.as_dict(), "\n".join(_lines(plan))


def trimmed(result: TrimResult, losses: Mapping[str, TrimLoss]) -> View:
    """What a trim has left, and what it costs where it costs anything."""
    lines = _lines(result.plan)
    if losses:
        header = ["", "nats a line", "whole", "tokenisation", "softmax", "total"]
        rows = [
            [tag, display_name(tag), f"{one.whole:.2f}", f"{one.tokenisation:+.2f}",
             f"{one.softmax:+.2f}", f"{one.total:+.2f}"]
            for tag, one in losses.items()
        ]  # fmt: skip
        lines += ["", plain(header, rows)]
    if result.checked:
        lines.append(f"{result.checked:,} paragraphs of the Declaration: all have the same tokens")
    data = result.as_dict() | {
        "losses": {tag: asdict(one) | {"total": one.total} for tag, one in losses.items()}
    }
    return data, "\n".join([*lines, f"wrote {result.out} in {result.seconds:.1f} s"])


def _lines(plan: TrimPlan) -> list[str]:
    rows = [
        [script, Language.make(script=script).script_name(), f"{before:,}", f"{after:,}"]
        for script, (before, after) in [*plan.by_script.items()][:SCRIPTS]
    ]
    more = [*plan.by_script.values()][SCRIPTS:]
    if more:
        before, after = (f"{sum(column):,}" for column in zip(*more, strict=True))
        rows.append([f"{len(more)} more", "", before, after])
    lines = [
        plain(["script", "", "tokens", "kept"], rows),
        f"rows {plan.rows:,} to {plan.kept:,}, of which {plan.structural:,} stay for any language; "
        f"cut in {', '.join(plan.tensors)}",
        f"weights {plan.weights:,}, {plan.share:.1%} of them the vocabulary's, to "
        f"{plan.kept_weights:,} (-{plan.saved:.1%}); {plan.stored} {amount(plan.bytes)} to "
        f"{amount(plan.kept_bytes)} (-{plan.saved_bytes:.1%})",
    ]
    if plan.coverage:
        told = [
            [tag, display_name(tag), f"{one.texts:,}", f"{one.share:.1%}", f"{one.growth:.3f}"]
            for tag, one in plan.coverage.items()
        ]
        lines += ["", plain(["", "held-out lines", "", "same tokens", "x tokens"], told)]
    if plan.by == "script":
        lines.append(f"text in {', '.join(plan.scripts)} keeps its tokens and their logits")
    elif plan.by == "letters":
        lines.append("text of the same letters keeps its tokens and their logits")
    lines.append(f"a character that has no token is written as {plan.others}")
    return lines
