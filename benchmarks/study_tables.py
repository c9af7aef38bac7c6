"""The tables of the studies in ``study_files``, and what is said of two models side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from harness import Table
from mwanda.cli.demo.packages import find_weights
from mwanda.evaluation import paired
from mwanda.evaluation.translation import bleu_tokenizer, parse_direction
from mwanda.study.report.cells import rise_of, worst_of
from mwanda.study.report.data import StudyResults, points_with
from mwanda.study.report.other_sections import quantised
from mwanda.study.report.score_tables import HEADER, accuracy, direction_row, mean_accuracy
from mwanda.study.report.side_by_side import evaluation_of, method_rows
from mwanda.text.languages import display_name
from real_models import SEEN

MODES = ("dense", "sequential")
SAMPLES = 1000
"""Bootstrap samples of sentences."""
CERTAIN = 0.05


def costs(results: StudyResults) -> list[Table]:
    """Every method at every sparsity in a row; what each language lost with half of the weights;
    and what the last method loses beside all that is as small."""
    (model,) = results.models
    rows = []
    for group in model.in_order:
        loss, draws = model.loss(group), model.seeds_apart(group)
        seen, unseen = (loss.over(tags) or 0.0 for tags in (model.seen_by_any, model.unseen_by_all))
        rows.append([
            f"{group.sparsity:.0%}", group.method, rise_of(loss.mean), loss.mean.bounds(),
            "one" if draws is None else " to ".join(f"{one:+.1%}" for one in draws),
            f"{seen:+.1%}", f"{unseen:+.1%}", worst_of(loss),
            f"{loss.certain} of {len(model.languages)}",
        ])  # fmt: skip
    header = ["sparsity", "method", "mean rise", "95 % interval", "draws", "seen", "unseen",
              "worst", "languages worse"]  # fmt: skip
    half = {group.method: evaluation_of(results, group) for group in model.at(0.5)}
    languages = Table(*method_rows(evaluation_of(results, None), half, SEEN))
    return [Table(header, rows), languages, *sizes(results, model.methods[-1])]


def sizes(results: StudyResults, method: str = "") -> list[Table]:
    """What the weights of each form take, and what it loses, of the pruned ones those of a method:
    the report's own table."""
    section: Any = quantised(results)
    if section is None:
        return []
    ((_, (first, *_)),) = section.groups
    chosen = [row for row in first.rows if not row[1] or row[0].startswith(method)]
    return [Table(first.header, chosen)]


def modes(results: StudyResults) -> list[Table]:
    """Dense against sequential statistics, method by method and by sparsity."""
    rows = []
    for model in results.models:
        for method in dict.fromkeys(name.rpartition(", ")[0] for name in model.methods):
            for pair in zip(*(model.of(f"{method}, {mode}") for mode in MODES), strict=True):
                losses, found = [model.loss(group) for group in pair], model.against(*pair).mean
                bounds = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
                rows.append([
                    find_weights(model.name).title, method, f"{pair[0].sparsity:.0%}",
                    *(f"{loss.mean.mean:+.2%}" for loss in losses),
                    f"{100 * found.mean:+.2f} ({'no interval' if found.reason else bounds})",
                    verdict(found, *MODES), *map(worst_of, losses),
                ])  # fmt: skip
    header = ["model", "method", "sparsity", *MODES, "dense − sequential, points", "better",
              *(f"worst, {mode}" for mode in MODES)]  # fmt: skip
    return [Table(header, rows)]


def finalists(results: StudyResults) -> list[Table]:
    """Accuracy by language and model, a table a task; then translation, its scores and the first
    sentence as each model has it."""
    made = _named(results, "tasks")
    tasks = next(iter(made.values()))
    found = [task_table(t, {name: one[t] for name, one in made.items()}) for t in tasks]
    return found + translation_tables(_named(results, "translation"))


def translation_tables(made: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Args: model -> direction -> what a cell says."""
    rows: list[list[str]] = []
    shown: list[list[str]] = []
    for direction, first in next(iter(made.values())).items():
        certain = certain_scores({name: one[direction] for name, one in made.items()}, direction)
        for name, by_direction in made.items():
            row = direction_row(by_direction[direction])
            for place, kind in ((0, "BLEU"), (1, "chrF++")):
                row[place] += "" if certain.get((name, kind), True) else "°"
            rows.append([direction, name, *row])
        written = {"a person": first["sentences"][0]["reference"]}
        written |= {n: one[direction]["sentences"][0]["output"] for n, one in made.items()}
        # Without what would end a cell of a Markdown table, and not longer than a line or two.
        shown += [
            [direction, by, text.replace("|", "/").replace("<", "‹")[:200]]
            for by, text in written.items()
        ]
    return [
        Table(["direction", "model", *HEADER], rows),
        Table(["direction", "by", "the first sentence"], shown),
    ]


def certain_scores(
    found: Mapping[str, Mapping[str, Any]], direction: str
) -> dict[tuple[str, str], bool]:
    """(model, metric) -> whether its difference from the first model is more than the choice of
    sentences explains: sacrebleu's paired bootstrap, p < 0.05."""
    from sacrebleu.metrics import BLEU, CHRF
    from sacrebleu.significance import PairedTest

    if len(found) < 2:
        return {}
    systems = [(name, [one["output"] for one in row["sentences"]]) for name, row in found.items()]
    references = [[one["reference"] for one in next(iter(found.values()))["sentences"]]]
    split = bleu_tokenizer(parse_direction(direction).target)
    metrics = {"BLEU": BLEU(tokenize=split, references=references),
               "chrF++": CHRF(word_order=2, references=references)}  # fmt: skip
    _, scores = PairedTest(
        systems, metrics, references=None, test_type="bs", n_samples=SAMPLES, n_jobs=1
    )()
    certain = {}
    for kind in metrics:
        key = next(key for key in scores if key.lower().startswith(kind.lower()[:4]))
        for (name, outputs), result in zip(systems[1:], scores[key][1:], strict=True):
            # Of two systems that are the same it says 1 / (samples + 1).
            certain[name, kind] = outputs != systems[0][1] and result.p_value < CERTAIN
    return certain


def task_table(task: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Args: model -> language -> what a cell says; ``*`` marks what :func:`certainly_other` is."""
    first = next(iter(found.values()))
    rows = [
        [f"{display_name(tag)} ({tag})", str(first[tag]["items"]),
         *(accuracy(by[tag]) + " *" * certainly_other(first[tag], by[tag])
           for by in found.values())]
        for tag in sorted(first)
    ]  # fmt: skip
    items = str(sum(row["items"] for row in first.values()))
    rows.append(["mean", items, *(accuracy(mean_accuracy(by)) for by in found.values())])
    return Table([task, "items", *found], rows)


def certainly_other(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a model differs from the first by more than the choice of items explains: the exact
    sign test over items that only one of the two has right (McNemar), p < 0.05."""
    pairs = list(zip(first["correct"], other["correct"], strict=True))
    worse, better = pairs.count((1, 0)), pairs.count((0, 1))
    return bool(worse + better and binomtest(worse, worse + better).pvalue < CERTAIN)


def record(name: str, results: StudyResults) -> dict[str, Any]:
    """What is kept beside the tables: the nats of every sentence, or what was compared."""
    plan = results.plan
    found: dict[str, Any] = {"text_sha256": plan.text_sha256, "ids": plan.ids}
    if name == "modes":
        found["cells"] = {entry.label: nats(results.cells[entry.key]) for entry in plan.entries}
    made = {kind: _without_texts(_named(results, kind)) for kind in ("translation", "tasks")}
    return found | {kind: one for kind, one in made.items() if one}


def _without_texts(told: Any) -> Any:
    """Without what the data has, or what every verdict says again."""
    if isinstance(told, list):
        return [_without_texts(one) for one in told]
    if not isinstance(told, dict):
        return told
    left = {"source", "reference", "log_likelihoods"}
    return {key: _without_texts(value) for key, value in told.items() if key not in left}


def nats(cell: Mapping[str, Any]) -> dict[str, list[float]]:
    """Language -> of every sentence, rounded to what float32 gives."""
    return {
        tag: [round(value, 4) for value in row["sentence_nll"]]
        for tag, row in cell["languages"].items()
    }


def verdict(found: paired.Difference, first: str, second: str) -> str:
    """Which loses less, where the interval leaves out 0; else ``either``, or ``cannot tell``."""
    if found.reason:
        return "cannot tell"
    if found.high < 0:
        return first
    return second if found.low > 0 else "either"


class Ratio(NamedTuple):
    """A share with its 95 % interval: ±inf where none can be given, and the reason."""

    value: float
    low: float
    high: float
    reason: str = ""


@np.errstate(all="ignore")
def ratio(
    baseline: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: Sequence[int],
    worst: bool = False,
) -> Ratio:
    """The first's rise in NLL over the second's, each a mean over languages, then over runs.

    The interval is Fieller's: every ratio r at which first − r · second may be 0. It holds also
    where the second's rise is small, and there is none where that cannot be told from 0.

    Args:
        baseline: nats, ``[languages, sentences]``.
        first, second: nats, ``[runs, languages, sentences]``, the same runs.
        clusters: the article of every sentence, left out as in ``paired.difference``.
        worst: each run's largest rise of a language instead of their mean.
    """
    base = paired.article_sums(baseline, clusters)
    weights = (base / base.sum(axis=1, keepdims=True)).mean(axis=0)

    def losses(model: ArrayLike) -> tuple[Any, Any]:
        whole, without = [], []
        for run in np.asarray(model, float):
            left = paired.Left.of(base, paired.article_sums(run, clusters) - base)
            # The worst language is that of all sentences: which it is, is not resampled.
            tags = [int(left.shares.argmax())] if worst else slice(None)
            whole.append(left.shares[tags].mean())
            without.append(left.without[tags].mean(axis=0))
        return np.mean(whole), np.mean(without, axis=0)

    (one, one_left), (two, two_left) = losses(first), losses(second)
    value, equal = float(one / two), float(1 / (weights**2).sum())
    if not math.isfinite(value) or not math.isfinite(equal):
        return Ratio(value, *paired.EVERYTHING, "nothing scored, or values that are not finite")
    if equal < paired.FEWEST:
        return Ratio(value, *paired.EVERYTHING, paired.too_few(equal))
    scale = paired.t_quantile(equal) ** 2 * (1 - 1 / len(weights))
    a = two**2 - scale * ((two_left - two) ** 2).sum()
    b = one * two - scale * ((one_left - one) * (two_left - two)).sum()
    c = one**2 - scale * ((one_left - one) ** 2).sum()
    if not a > 0:
        return Ratio(value, *paired.EVERYTHING, "the second's rise cannot be told from 0")
    half = math.sqrt(max(0.0, b * b - a * c))
    return Ratio(value, float((b - half) / a), float((b + half) / a))


def _named(results: StudyResults, kind: str) -> dict[str, Any]:
    """Method and sparsity -> what was measured of one kind."""
    return {
        f"{entry.method}, {entry.sparsity:.0%}" if entry.sparsity else entry.method: one
        for entry, one in points_with(results, kind)
    }


TABLES: dict[str, Callable[[StudyResults], Sequence[Table]]] = {
    "study": costs, "modes": modes, "finalists": finalists, "trimmed": sizes,
}  # fmt: skip
