"""From kept cells to tables: rises over the dense model, and ratios to the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cells import Cell, Text
from grids import FRESH, REFERENCE, Fields
from mwanda.evaluation.articles import clusters_of
from mwanda.evaluation.paired import Ratio, ratio
from studies import SEEN, UNSEEN

HEADER = ["variant", "seeds", "seen", "× wanda", "unseen", "× wanda", "worst", "× wanda"]


def rises(
    dense: Mapping[str, Any], found: Mapping[str, Any], languages: Sequence[str]
) -> dict[str, float]:
    """Language -> relative rise in NLL over the dense model, on the same sentences."""
    return {
        tag: sum(found["languages"][tag]) / sum(dense["languages"][tag]) - 1 for tag in languages
    }


@dataclass(frozen=True)
class Grid:
    """Where to look for cells: one model, one text, one dtype, one sparsity or pattern."""

    results: Path
    model: str
    text: Text
    scored_in: str
    fields: Mapping[str, Any]

    def table(self, variants: Mapping[str, Fields], seeds: Sequence[int]) -> list[list[str]]:
        """One row a variant that was run with any of the seeds the reference was run with."""
        rows = []
        dense = self.dense()
        for name, variant in variants.items():
            pairs = {
                seed: (reference, found)
                for seed in seeds
                if (reference := self.read(REFERENCE, seed)) is not None
                and (found := self.read(variant, seed)) is not None
            }
            if dense is not None and pairs:
                rows.append(self._row(name, dense, pairs))
        return rows

    def by_language(self, variants: Mapping[str, Fields], seed: int) -> list[list[str]]:
        """A row of names, then one a language: its rise under each variant that was run, and that
        over its rise under the first of them."""
        dense = self.dense()
        found = {
            name: cell for name, variant in variants.items() if (cell := self.read(variant, seed))
        }
        if dense is None or not found:
            return []
        tags = list(dense["languages"])
        each = {name: rises(dense, cell, tags) for name, cell in found.items()}
        first, *others = each
        header = [
            "language",
            first,
            *(column for name in others for column in (name, "× " + first)),
        ]
        rows = [header]
        for tag in sorted(tags, key=[*SEEN, *UNSEEN, *FRESH].index):
            base = each[first][tag]
            row = [tag if tag in SEEN else f"{tag} (unseen)", f"{base:+.2%}"]
            for name in others:
                row += [f"{each[name][tag]:+.2%}", f"{each[name][tag] / base:.3f}"]
            rows.append(row)
        return rows

    def dense(self) -> dict[str, Any] | None:
        """What was measured of the dense model."""
        return Cell.dense(self.model, self.text, scored_in=self.scored_in).read(self.results)

    def read(self, variant: Fields, seed: int) -> dict[str, Any] | None:
        """What was measured of a variant."""
        cell = Cell.of(
            self.model, self.text, variant, seed, scored_in=self.scored_in, **self.fields
        )
        return cell.read(self.results)

    def _row(
        self,
        name: str,
        dense: Mapping[str, Any],
        pairs: Mapping[int, tuple[dict[str, Any], dict[str, Any]]],
    ) -> list[str]:
        row = [name, " ".join(map(str, pairs))]
        there = list(dense["languages"])
        seen = [tag for tag in SEEN if tag in there]
        others = [tag for tag in [*UNSEEN, *FRESH] if tag in there]
        for languages in (seen, others):
            losses = [rises(dense, found, languages) for _, found in pairs.values()]
            mean = sum(sum(loss.values()) for loss in losses) / len(losses) / len(languages)
            row += [f"{mean:+.2%}", self._ratio(dense, pairs, languages, worst=False)]
        losses = [rises(dense, found, seen) for _, found in pairs.values()]
        together = {tag: sum(loss[tag] for loss in losses) / len(losses) for tag in seen}
        worst = max(together, key=together.__getitem__)
        row += [f"{worst} {together[worst]:+.2%}", self._ratio(dense, pairs, seen, worst=True)]
        return row

    def _ratio(
        self,
        dense: Mapping[str, Any],
        pairs: Mapping[int, tuple[dict[str, Any], dict[str, Any]]],
        languages: Sequence[str],
        *,
        worst: bool,
    ) -> str:
        base = [dense["languages"][tag] for tag in languages]
        # Where languages have texts of their own, each text stands for itself.
        clusters = list(range(len(base[0]))) if dense["ids"] is None else clusters_of(dense["ids"])
        reference, found = (
            [[pair[side]["languages"][tag] for tag in languages] for pair in pairs.values()]
            for side in (0, 1)
        )
        made = ratio(base, found, reference, clusters=clusters, worst=worst)
        return shown(made)


def shown(found: Ratio) -> str:
    """``0.951 (0.930 to 0.972)``."""
    if found.reason:
        return f"{found.value:.3f} (no interval)"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
