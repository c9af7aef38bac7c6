"""The rows that the charts and the table of a page are made from: plain values, by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mwanda.evaluation.paired import Difference
from mwanda.study.records import DENSE
from mwanda.study.report.data import Group, Loss, ModelResults, StudyResults
from mwanda.study.report.language_families import families, family_of, script_name
from mwanda.study.report.sizes import sizes_of
from mwanda.text.languages import display_name

Row = dict[str, Any]

FEW = 4
"""Of so many methods each is compared with each; of more with the first."""


def data_of(results: StudyResults) -> dict[str, list[Row]]:
    """Name -> rows, of what there is; see :mod:`mwanda.study.report.chart_specs`."""
    found: dict[str, list[Row]] = {}
    for model in results.models:
        if model.dense is None:
            continue
        made = {
            "rises": rises(model),
            "against": against(model),
            "sizes": sizes(model),
            "blocks": blocks(model),
            "agreement": agreement(results.views.get(model.name, {})),
        }
        for name, rows in made.items():
            found.setdefault(name, []).extend({"model": model.name} | row for row in rows)
    return {name: rows for name, rows in found.items() if rows}


def rises(model: ModelResults) -> Iterator[Row]:
    """Every language and the mean, which has no tag, under every method at every sparsity."""
    for group in model.in_order:
        start = {"method": group.method, "order": model.methods.index(group.method),
                 "sparsity": group.sparsity}  # fmt: skip
        yield from rise_rows(model.loss(group), group, start)


def rise_rows(loss: Loss, group: Group, start: Mapping[str, Any]) -> Iterator[Row]:
    for tag, one in loss.with_mean.items():
        row = {**start, **language(tag, standing(tag, group)), "rise": number(one.mean),
               **ends(one)}  # fmt: skip
        if tag:
            found = group.results[tag]
            row |= {"perplexity": number(found.perplexity), "bits": number(found.bits_per_byte)}
        yield row


def standing(tag: str, group: Group) -> str:
    """How a language stands to a method: a key of ``STANDINGS``."""
    other = "background" if tag in group.background else "unseen"
    return "seen" if not tag or tag in group.seen else other


def language(tag: str, standing: str) -> Row:
    """A language's names; those of the mean where there is no tag."""
    if not tag:
        return {"tag": "", "language": "mean", "standing": standing}
    return {"tag": tag, "language": display_name(tag), "script": script_name(tag),
            "family": family_of(tag, families()), "standing": standing}  # fmt: skip


def ends(one: Difference) -> Row:
    """Its interval; none where none can be given."""
    if one.reason:
        return {}
    return {"low": number(one.low), "high": number(one.high)}


def against(model: ModelResults) -> Iterator[Row]:
    """Every method less another one."""
    for sparsity in model.sparsities:
        groups = model.at(sparsity)
        bases = groups if len(groups) <= FEW else groups[:1]
        for second in bases:
            for first in groups:
                if first is second:
                    continue
                for tag, one in model.against(first, second).with_mean.items():
                    yield {
                        "method": first.method, "second": second.method, "sparsity": sparsity,
                        "tag": tag, "language": display_name(tag) if tag else "mean",
                        "difference": number(one.mean), **ends(one),
                    }  # fmt: skip


def sizes(model: ModelResults) -> Iterator[Row]:
    """Every form of the model by what its weights take; none where nothing was quantised."""
    found = list(sizes_of(model))
    if not found:
        return
    whole = found[0].size / found[0].share / 1e6
    places = [one.size / 1e6 for one in found] + [whole]
    least, most = min(places), max(places)

    def side(place: float) -> str:
        """How a name stands so that it stays within the picture."""
        share = (place - least) / ((most - least) or 1.0)
        return "left" if share < 0.15 else "right" if share > 0.85 else "center"

    # Of neighbours among the names one stands above its point and one below.
    sizes = sorted([one.size / 1e6 for one in found if one.method is None] + [whole])
    yield {"name": DENSE, "form": DENSE, "method": DENSE, "pruned": False, "trimmed": False,
           "sparsity": 0.0, "above": sizes.index(whole) % 2 == 0, "side": side(whole),
           "bytes": number(whole), "share": 1.0, "mean": 0.0, "worst": 0.0}  # fmt: skip
    for one in found:
        loss, pruned = model.loss(one.group), one.method is not None
        yield {
            "name": one.name, "form": one.group.method, "method": one.method or one.name,
            "pruned": pruned, "trimmed": one.trimmed and pruned, "sparsity": one.group.sparsity,
            "above": not pruned and sizes.index(one.size / 1e6) % 2 == 0,
            "side": side(one.size / 1e6), "bytes": number(one.size / 1e6),
            "share": number(one.share), "mean": number(loss.mean.mean), **ends(loss.mean),
            "worst": number(loss.languages[loss.worst].mean),
            "worst_language": display_name(loss.worst),
        }  # fmt: skip


def blocks(model: ModelResults) -> Iterator[Row]:
    """Sparsity of every block, of methods that treat blocks unequally."""
    for method in uneven(model):
        for group in model.of(method):
            for block, share in group.blocks.items():
                yield {"method": method, "sparsity": group.sparsity, "block": block,
                       "share": number(share)}  # fmt: skip


def uneven(model: ModelResults) -> list[str]:
    """Methods that gave some block more than others."""
    # A row keeps a whole number of weights, so that narrow linears differ by rounding.
    return [m for m in model.methods if any(_spread(g.blocks) > 0.005 for g in model.of(m))]


def _spread(found: Mapping[int, float]) -> float:
    return max(found.values()) - min(found.values())


def agreement(views: Mapping[str, Any]) -> Iterable[Row]:
    """How alike two languages use the features that enter a block, mean over pairs."""
    for methods, view in views.items():
        for block in view["blocks"]:
            if block["agreement"] is not None:
                yield {"methods": methods, "block": block["block"],
                       "correlation": number(block["agreement"])}  # fmt: skip


def number(value: float) -> float | None:
    """For JSON, six digits; None for what is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
