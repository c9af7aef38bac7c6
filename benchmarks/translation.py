"""What pruning and quantising cost in translation: BLEU and chrF++ on FLORES sentences.

Every model translates the same ``DATA/flores`` sentences with ids ≥ 1000 after the same five
examples with lower ids. Models are given as ``--made NAME=FOLDER``, or made by pruning the dense
one as ``languages.py`` does. Each model's direction is kept in ``--work`` when it is done, so a run
can be stopped anywhere, or made in pieces with ``--minutes``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness import Table, kept, parsed, save
from mwanda.evaluation.parallel import ParallelText, read_parallel
from mwanda.evaluation.texts import parse_ids
from mwanda.evaluation.translate import translate
from mwanda.evaluation.translation import bleu_tokenizer, parse_direction
from mwanda.model.gguf.types import TYPES
from mwanda.pruned.quantise import quantise
from mwanda.pruning.folder.manifest import MANIFEST
from mwanda.pruning.prune import prune
from mwanda.study.report.translation_table import HEADER, direction_row
from mwanda.system.output import QUANTISED
from mwanda.system.progress import progress_bar
from mwanda.system.run_options import RunOptions
from performance_table import fill_page
from real_models import (
    add_comparing_options,
    add_model_option,
    dense_model,
    folders_given,
    piece_of,
)
from studies import LENGTH, METHODS

DIRECTIONS = ["en-de", "de-en", "en-hi", "hi-en"]
SAMPLES = 1000
"""Bootstrap samples of sentences."""
CERTAIN = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    add_comparing_options(parser, "translation")
    parser.add_argument("--methods", nargs="*", default=["wanda, English", "m-wanda"],
                        choices=list(METHODS), help="what is pruned without --made")  # fmt: skip
    parser.add_argument("--quantised", nargs="*", default=[], choices=TYPES, metavar="TYPE",
                        help="also the dense model in these GGUF types")  # fmt: skip
    add_model_option(parser)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--mode", choices=["sequential", "dense"], default="dense")
    parser.add_argument("--directions", nargs="+", default=DIRECTIONS)
    parser.add_argument("--sentences", type=int, default=60)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--ids", default="1000:")
    parser.add_argument("--device", default="auto")
    given = parsed(parser)
    end = time.monotonic() + 60 * given.minutes
    directions = [parse_direction(one) for one in given.directions]
    parallel, _ = read_parallel(
        given.data / "flores", directions, sentences=given.sentences, shots=given.shots,
        ids=parse_ids(given.ids), seed=given.seed,
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    with progress_bar() as progress:
        options = RunOptions(
            overwrite=True, compute_dtype="float32", device=given.device, progress=progress
        )
        for name, folder in models(given, options).items():
            for direction in map(str, directions):
                told = [direction, parallel.sha256, parallel.shots, parallel.scored]
                piece = given.work / piece_of(name, folder(), direction, told)
                if not piece.is_file() and time.monotonic() > end:
                    print("stopped by --minutes; run again to go on")
                    return
                measure = partial(_measure, folder(), parallel, direction, options)
                found.setdefault(name, {})[direction] = kept(piece, measure)
                print(f"{name}, {direction}: done", flush=True)
    data = {
        "model": given.model, "sparsity": given.sparsity, "sentences": given.sentences,
        "shots": list(parallel.shots), "ids": list(parallel.scored), "seed": given.seed,
        "text_sha256": parallel.sha256, "models": found,
    }  # fmt: skip
    save(given.results, data, tables=tables(found, list(map(str, directions))))
    if given.page.is_file() and given.results.name == "translation.json":
        fill_page(given.page, given.results.parent)


def models(given: argparse.Namespace, options: RunOptions) -> dict[str, Callable[[], Path]]:
    """Name -> folder, made when it is first asked for."""
    if given.dense is not None:
        dense: Callable[[], Path] = lambda: given.dense  # noqa: E731
    else:
        dense = partial(dense_model, given.model, given.work, options)
    named: dict[str, Callable[[], Path]] = {"dense": dense}
    for name, folder in folders_given(given.made).items():
        named[name] = partial(Path, folder)
    if not given.made:
        for name in given.methods:
            named[f"{name}, {given.sparsity:.0%}"] = partial(_pruned, name, dense, given, options)
    for kind in given.quantised:
        named[f"dense in {kind}"] = partial(_quantised, kind, dense, given, options)
    return named


def _pruned(
    name: str, dense: Callable[[], Path], given: argparse.Namespace, options: RunOptions
) -> Path:
    folder: Path = given.work / f"{given.model}-{name.replace(', ', '-')}-{given.sparsity:g}"
    if not (folder / MANIFEST).is_file():  # written last, so the folder is whole
        prune(
            dense(), out=folder, calibration=given.data / "gnome", sparsity=given.sparsity,
            mode=given.mode, window_length=LENGTH, seed=given.seed, options=options,
            **METHODS[name],
        )  # fmt: skip
    return folder


def _quantised(
    kind: str, dense: Callable[[], Path], given: argparse.Namespace, options: RunOptions
) -> Path:
    folder: Path = given.work / f"{given.model}-{kind}"
    if not (folder / QUANTISED).is_file():
        quantise(dense(), folder, kind, options=options)
    return folder


def _measure(
    folder: Path, parallel: ParallelText, direction: str, options: RunOptions
) -> dict[str, Any]:
    start = time.perf_counter()
    # Only the sentences of this direction matter to its overlap check; they are all read.
    result = translate(folder, parallel, [direction], options=options)
    made = result.directions[direction].as_dict()
    return made | {"settings": dict(result.settings), "seconds": time.perf_counter() - start}


def tables(found: Mapping[str, Mapping[str, Any]], directions: Sequence[str]) -> list[Table]:
    """Scores, and the first sentence as each model has it."""
    rows, shown = [], []
    for direction in directions:
        certain = _certain({name: rows[direction] for name, rows in found.items()}, direction)
        for name, by_direction in found.items():
            row = direction_row(by_direction[direction])
            for place, kind in ((0, "BLEU"), (1, "chrF++")):
                row[place] += "" if certain.get((name, kind), True) else "°"
            rows.append([direction, name, *row])
        first = next(iter(found.values()))[direction]["sentences"][0]
        shown.append([direction, "a person", first["reference"]])
        shown += [
            [direction, name, by_direction[direction]["sentences"][0]["output"]]
            for name, by_direction in found.items()
        ]
    return [
        Table(["direction", "model", *HEADER], rows),
        Table(["direction", "by", "the first sentence"], [_safe(row) for row in shown]),
    ]


def _safe(row: Sequence[str]) -> list[str]:
    """Without what would end a cell of a Markdown table, and not longer than a line or two."""
    return [cell.replace("|", "/").replace("<", "‹")[:200] for cell in row]


def _certain(found: Mapping[str, Mapping[str, Any]], direction: str) -> dict[tuple[str, str], bool]:
    """(model, metric) -> whether its difference from the first model is more than the choice of
    sentences explains: sacrebleu's paired bootstrap, p < 0.05."""
    from sacrebleu.metrics import BLEU, CHRF
    from sacrebleu.significance import PairedTest

    if len(found) < 2:
        return {}
    systems = [(name, [one["output"] for one in row["sentences"]]) for name, row in found.items()]
    first = next(iter(found.values()))
    references = [[one["reference"] for one in first["sentences"]]]
    target = parse_direction(direction).target
    metrics = {"BLEU": BLEU(tokenize=bleu_tokenizer(target), references=references),
               "chrF++": CHRF(word_order=2, references=references)}  # fmt: skip
    test = PairedTest(
        systems, metrics, references=None, test_type="bs", n_samples=SAMPLES, n_jobs=1
    )
    _, scores = test()
    certain = {}
    for kind in metrics:
        key = next(key for key in scores if key.lower().startswith(kind.lower()[:4]))
        for (name, outputs), result in zip(systems[1:], scores[key][1:], strict=True):
            # Of two systems that are the same it says 1 / (samples + 1).
            differs = outputs != systems[0][1]
            certain[name, kind] = differs and result.p_value < CERTAIN
    return certain


if __name__ == "__main__":
    main()
