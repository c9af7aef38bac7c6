"""What background text saves in languages that nobody named, and what it costs the others.

``python benchmarks/background.py --data DATA`` prunes Gemma 3 270M at 50 % on the first windows of
GNOME in fifteen languages, with and without a little of the Declaration beside them. Rises over
dense are shares of Wanda's, on FLORES ids below 1000, the first sentences of a seeded draw. No
language that is scored as unseen or held out, and no near relative of one held out, is in any text.
Seconds are the processor's, as other work may share the machine.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import mwanda
from harness import Table, kept, options_of, parsed, save
from mwanda.evaluation.results import Comparison
from mwanda.text.background import open_background
from mwanda.text.window_sizes import UDHR
from real_models import dense_folder
from recovery import run, share
from studies import SEEN

SCORED = {
    "seen": ("de", "ru", "ja", "fi"),
    "unseen": ("ar", "sw", "th", "pl"),
    "held out": ("tr", "he", "yo"),
}
RELATIVES = {
    "ar": "mt am ti aii", "he": "yi", "pl": "cs sk hsb", "th": "lo shn blt kkh",
    "tr": "az tk uz kk ky tt ug sah cv", "yo": "ig fon ee",
}  # fmt: skip
"""Left out of the background, beside the languages scored."""

PLAIN = ["--criterion", "wanda", "--allocation", "uniform"]
RECIPES: dict[str, list[str]] = {
    "wanda": PLAIN, "defaults": [], "best-quality": ["--recipe", "best-quality"],
}  # fmt: skip


def background_folder(folder: Path) -> Path:
    """The bundled text without languages that are scored, and their relatives."""
    source, out = open_background(UDHR), {tag for tags in SCORED.values() for tag in tags}
    out |= {tag for tags in RELATIVES.values() for tag in tags.split()}
    folder.mkdir(parents=True, exist_ok=True)
    for tag in source.languages():
        if tag.split("-")[0] not in out:
            rows = [json.dumps({"text": one.text}) for one in source.documents(tag)]
            (folder / f"{tag}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def measured(given: argparse.Namespace, dense: Path, words: list[str]) -> dict[str, Any]:
    """Pruned and scored: language -> nats a sentence over dense."""
    folder = given.work / "pruned"
    made = run(
        given, "prune", dense, "--out", folder, "--sparsity", "0.5", "--calibration",
        given.data / "gnome", "--languages", ",".join(SEEN), "--windows", given.windows,
        "--window-length", given.length, *words, "--overwrite", "--no-journal",
    )  # fmt: skip
    languages = [tag for tags in SCORED.values() for tag in tags]
    found = [
        mwanda.evaluate(
            path, given.data / "flores", languages=languages, ids=(0, 999),
            sentences=given.sentences, cache=given.work / "scores",
        )
        for path in (dense, folder)
    ]  # fmt: skip
    rises = {rise.language: rise.rise for rise in Comparison.of(*found).rises}
    return {"processor": made["processor"], "rises": rises}


def main() -> None:
    parser = options_of(__doc__, "background")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dense", type=Path)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--weights", nargs="+", default=["0.3"], help="of the background")
    parser.add_argument("--background-windows", nargs="+", default=["44"])
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--sentences", type=int, default=12)
    given = parsed(parser)
    dense, others = dense_folder(given), background_folder(given.work / "text")
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(["wanda", *given.recipes]):
        variants = {name: ["--background", "none"]}
        for windows in given.background_windows if name != "wanda" else ():
            for weight in given.weights:
                variants[f"{name}, {windows} windows, weight {weight}"] = [
                    "--background", str(others), "--background-windows", windows,
                    "--background-weight", weight,
                ]  # fmt: skip
        for key, words in variants.items():
            measure = partial(measured, given, dense, [*RECIPES[name], *words])
            found[key] = kept(given.work / f"{key}.json", measure)
    wanda = found["wanda"]["rises"]
    rows = [
        [key, *(f"{share(one['rises'], wanda, tags):.3f}" for tags in SCORED.values()),
         f"{one['processor']:,.0f}"]
        for key, one in found.items()
    ]  # fmt: skip
    table = Table(["", *SCORED, "processor seconds"], rows)
    save(given.results, {"models": found}, tables=[table])


if __name__ == "__main__":
    main()
