"""The search for m-wanda's constants on real models: studies of what ``study_files/constants.yaml``
lists, and the tables of ``docs/``.

``measure`` runs the methods of ``--questions`` at ``--sparsities`` and ``--seeds``, in float32, and
adds their nats to a file of ``results/constants``; it goes on where it was. ``table`` writes what
was found into the pages, between these, each on a line of its own::

    <!-- constants: QUESTION [sparsity=0.5] [model=gemma3-270m] [text=tuning] [sentences=12]
    [scored=bfloat16] [seeds=0,1,2] -->
    <!-- end of constants -->

``by-language`` is the finalists, a row for each language.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness import RESULTS
from mwanda.evaluation.articles import clusters_of
from mwanda.study.report.data import StudyResults
from mwanda.system.text_tables import markdown
from real_models import SEEN, add_model_option, dense_model
from studies import placed, read_file, run_study
from study_tables import nats, ratio

FILE = read_file("constants")
METHODS: Mapping[str, dict[str, Any]] = FILE["methods"]
QUESTIONS: Mapping[str, dict[str, str]] = {
    question: {
        k: v for row in rows for k, v in ([(row, row)] if isinstance(row, str) else row.items())
    }
    for question, rows in FILE["questions"].items()
}
"""Question -> name of a row -> method."""
REFERENCE = "wanda, uniform"
FOUND = RESULTS / "constants"
PAGES = [Path("docs/constants-tables.md"), Path("docs/constants-at-other-sparsities.md")]
PLACE = re.compile(
    r"(<!-- constants: ([a-z-]+)((?: [a-z]+=\S+)*) -->\n).*?(<!-- end of constants -->\n)",
    re.DOTALL,
)
Nats = Mapping[str, Sequence[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["measure", "table"])
    parser.add_argument("--data", type=Path, help="folder with gnome/, flores/ and udhr/")
    parser.add_argument("--work", type=Path, default=Path("out/constants"), help="where models go")
    add_model_option(parser)
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--sparsities", nargs="+", default=["0.5"], help="shares, or N:M")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--text", choices=list(FILE["texts"]), default="tuning", help="to score")
    parser.add_argument("--sentences", type=int, help="a language; default: the text's")
    given = parser.parse_args()
    if given.command == "table":
        for page in PAGES:
            page.write_text(filled(page.read_text(encoding="utf-8"), FOUND), "utf-8")
        return
    if given.data is None:
        parser.error("--data is needed")
    name, fields = study(given)
    Measured.of(FOUND / f"{name}-float32.json").add(run_study(fields, given.work / name))


def study(given: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The name of what is scored, and the fields of ``study.yaml``."""
    names = [REFERENCE, *(m for q in given.questions for m in QUESTIONS[q].values())]
    part = dict(FILE["texts"][given.text])
    part["sentences"] = given.sentences or part["sentences"]
    return f"{given.model}-{given.text}-{part['sentences']}", placed(
        {
            "models": {given.model: str(dense_model(given.model, given.work))},
            "calibration": "gnome",
            "languages": FILE["languages"],
            "methods": {
                f"{one}, {kind}": {"languages": "fifteen", **METHODS[one], **asked(kind)}
                for kind in given.sparsities
                for one in dict.fromkeys(alike(name, kind) for name in names)
            },
            "seeds": given.seeds,
            "recipe": FILE["recipe"],
            "evaluation": part,
            "run": {"compute_dtype": "float32"},
        },
        given.data,
    )


def asked(kind: str) -> dict[str, Any]:
    """A sparsity, or a pattern, with which every allocation is uniform."""
    if ":" not in kind:
        return {"sparsity": float(kind)}
    return {"pattern": kind, "allocation": "uniform", "allocation_level": "block"}


@cache
def alike(method: str, kind: str) -> str:
    """The first of the methods that do the same: with a pattern, those of other allocations."""
    made = METHODS[method] | asked(kind)
    return next(one for one, fields in METHODS.items() if fields | asked(kind) == made)


@dataclass(frozen=True)
class Measured:
    """What is kept of one model on one text.

    Attributes:
        ids: of the sentences; None where languages have sentences of their own.
        cells: ``METHOD, SPARSITY, seed N`` or ``dense`` -> language -> nats of every sentence.
    """

    path: Path
    text_sha256: str | None
    ids: Sequence[int] | None
    cells: dict[str, Nats]

    @classmethod
    def of(cls, path: Path) -> Measured:
        if not path.is_file():
            return cls(path, None, None, {})
        return cls(path, **json.loads(path.read_text(encoding="utf-8")))

    def add(self, found: StudyResults) -> None:
        """Write the file with what a study has measured, a cell a line."""
        plan = found.plan
        assert self.text_sha256 in (None, plan.text_sha256)
        cells = dict(self.cells)
        for entry in plan.entries:
            seed = "" if entry.method == "dense" else f", seed {entry.seed or 0}"
            cells[entry.method + seed] = nats(found.cells[entry.key])
        head = json.dumps({"text_sha256": plan.text_sha256, "ids": plan.ids})
        rows = [
            f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(cells[key])}"
            for key in sorted(cells)
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = head[:-1] + ', "cells": {\n' + ",\n".join(rows) + "\n}}\n"
        self.path.write_text(text, encoding="utf-8")

    def cell(self, method: str, kind: str, seed: int) -> Nats | None:
        return self.cells.get(f"{alike(method, kind)}, {kind}, seed {seed}")

    def rises(self, cell: Nats) -> dict[str, float]:
        """Language -> relative rise in NLL over the dense model, on the same sentences."""
        dense = self.cells["dense"]
        return {tag: sum(cell[tag]) / sum(dense[tag]) - 1 for tag in dense}

    def over(self, pairs: Sequence[tuple[Nats, Nats]], tags: list[str], *, worst: bool) -> str:
        """``0.951 (0.930 to 0.972)``: rise over the reference's, of runs of both."""
        base = [self.cells["dense"][tag] for tag in tags]
        # Where languages have texts of their own, each text stands for itself.
        clusters = range(len(base[0])) if self.ids is None else clusters_of(self.ids)
        reference, found = (
            [[cell[tag] for tag in tags] for cell in side] for side in zip(*pairs, strict=True)
        )
        one = ratio(base, found, reference, clusters=list(clusters), worst=worst)
        bounds = "no interval" if one.reason else f"{one.low:.3f} to {one.high:.3f}"
        return f"{one.value:.3f} ({bounds})"

    def row(self, name: str, method: str, kind: str, seeds: Sequence[int]) -> Iterator[str]:
        """Of a table: with the seeds that the reference was run with too; nothing without any."""
        runs = {
            seed: (reference, found)
            for seed in seeds
            if (reference := self.cell(REFERENCE, kind, seed))
            and (found := self.cell(method, kind, seed))
        }
        if not runs:
            return
        pairs = list(runs.values())
        losses = [self.rises(found) for _, found in pairs]
        means = {tag: sum(loss[tag] for loss in losses) / len(losses) for tag in losses[0]}
        seen = [tag for tag in SEEN if tag in means]
        yield from (name, " ".join(map(str, runs)))
        for tags in (seen, [tag for tag in means if tag not in seen]):
            yield f"{sum(means[tag] for tag in tags) / len(tags):+.2%}"
            yield self.over(pairs, tags, worst=False)
        worst = max(seen, key=means.__getitem__)
        yield from (f"{worst} {means[worst]:+.2%}", self.over(pairs, seen, worst=True))

    def by_language(self, kind: str, seed: int) -> list[list[str]]:
        """A header, then a language a row: its rise under each finalist that was run, and that over
        its rise under the first of them."""
        cells = {n: self.cell(m, kind, seed) for n, m in QUESTIONS["finalists"].items()}
        each = {name: self.rises(cell) for name, cell in cells.items() if cell is not None}
        first, *others = each
        rows = [["language", first, *(part for name in others for part in (name, "× " + first))]]
        for tag in self.cells["dense"]:
            base = each[first][tag]
            row = [tag if tag in SEEN else f"{tag} (unseen)", f"{base:+.2%}"]
            for name in others:
                row += [f"{each[name][tag]:+.2%}", f"{each[name][tag] / base:.3f}"]
            rows.append(row)
        return rows


HEADER = ["variant", "seeds", "seen", "× wanda", "unseen", "× wanda", "worst", "× wanda"]


def filled(page: str, results: Path) -> str:
    """The page with every marked table made anew."""
    kept = cache(Measured.of)

    def table(match: re.Match[str]) -> str:
        given = dict(item.split("=", 1) for item in match[3].split())
        kind, text = given.get("sparsity", "0.5"), given.get("text", "tuning")
        parts = [given.get("model", "gemma3-270m"), text,
                 given.get("sentences", str(FILE["texts"][text]["sentences"])),
                 given.get("scored", "bfloat16")]  # fmt: skip
        measured = kept(results / f"{'-'.join(parts)}.json")
        if match[2] == "by-language":
            header, *rows = measured.by_language(kind, 0)
            return "\n".join([match[1], markdown(header, rows), "", match[4]])
        seeds = [int(seed) for seed in given.get("seeds", "0,1,2").split(",")]
        variants: dict[str, str] = {}
        for name, method in QUESTIONS[match[2]].items():
            variants.setdefault(alike(method, kind), name)
        made = {name: list(measured.row(name, m, kind, seeds)) for m, name in variants.items()}
        rows = [row for row in made.values() if row]
        missing = [name for name, row in made.items() if not row]
        shown = [markdown(HEADER, rows)] if rows else []
        shown += [f"Not measured: {'; '.join(missing)}."] if missing else []
        return "\n".join([match[1], "\n\n".join(shown), "", match[4]])

    return PLACE.sub(table, page)


if __name__ == "__main__":
    main()
