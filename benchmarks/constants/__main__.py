"""The search for m-wanda's constants on real models.

``search`` runs the grids of ``grids.py`` on ``DATA/flores`` ids below 1000, ``minimax`` moves the
language weights on the same text, ``confirm`` runs the finalists on text and languages that no
choice was made on, and ``table`` writes what was found into the pages of ``docs/``. Calibration is
on ``DATA/gnome``, pruning in float32. A cell that was measured is not measured again;
``--minutes`` begins no cell after so long.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))  # the other benchmarks' modules

from cells import RESULTS, SCORED_IN, TUNING, Cell, confirming
from grids import FINALISTS, QUESTIONS, REFERENCE
from minimax import ROUNDS, rounds
from pages import write_page
from real_models import add_model_option
from runner import Runner

PAGES = [Path("docs/constants-tables.md"), Path("docs/constants-at-other-sparsities.md")]
STOPPED = "stopped by --minutes; run again to go on"


def main() -> None:
    given = _arguments()
    if given.command == "table":
        for page in given.pages:
            write_page(page, given.results)
        return
    runner = Runner(given.data, given.work, given.results, time.monotonic() + 60 * given.minutes)
    given.work.mkdir(parents=True, exist_ok=True)
    texts = [TUNING]
    if given.command == "confirm":
        texts = [text for text in confirming(given.sentences) if text.source in given.texts]
    variants = list(FINALISTS.values())
    if given.command == "search":
        variants = [one for name in given.questions for one in QUESTIONS[name].values()]
    for kind in given.sparsities:
        fields: dict[str, Any] = {"sparsity": float(kind)} if ":" not in kind else {"pattern": kind}
        fields["scored_in"] = given.scored_in
        for text in texts:
            if given.command == "minimax":
                made = [
                    rounds(runner, given.model, text, REFERENCE, seed, **fields)
                    for seed in given.seeds
                ]
                if any(len(cells) <= ROUNDS for cells in made):
                    print(STOPPED)
                    return
                continue
            cells = [Cell.dense(given.model, text, scored_in=given.scored_in)]
            cells += [
                Cell.of(given.model, text, variant, seed, **fields)
                for seed in given.seeds
                for variant in (REFERENCE, *variants)
            ]
            if not runner.run(cells):
                print(STOPPED)
                return


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["search", "minimax", "confirm", "table"])
    parser.add_argument("--data", type=Path, help="folder with gnome/, flores/ and udhr/")
    parser.add_argument("--work", type=Path, default=Path("out/constants"), help="where models go")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--pages", nargs="+", type=Path, default=PAGES)
    add_model_option(parser)
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--sparsities", nargs="+", default=["0.5"], help="shares, or N:M")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sentences", type=int, default=48, help="a language, to confirm on")
    parser.add_argument("--texts", nargs="+", default=["flores", "udhr"], help="to confirm on")
    parser.add_argument("--scored-in", choices=["bfloat16", "float32"], default=SCORED_IN)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no cell after these")
    given = parser.parse_args()
    if given.data is None and given.command != "table":
        parser.error("--data is needed")
    return given


if __name__ == "__main__":
    main()
