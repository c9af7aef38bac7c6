"""The report of one model: what ``mwanda eval`` found, as a page, as Markdown and as JUnit XML."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mwanda.evaluation.gate import DECIDES, Gate
from mwanda.evaluation.language import LanguageRise, mean
from mwanda.evaluation.loss_tables import label
from mwanda.evaluation.results import Comparison, Evaluation
from mwanda.pruning.folder.made_with import commands_of, short_name, short_source
from mwanda.pruning.folder.manifest import Manifest, find_manifest, versions
from mwanda.study.report.chart_data import ends, language, number
from mwanda.study.report.chart_specs import losses
from mwanda.study.report.elements import Chart, Choice, Number, Page, Section, Table
from mwanda.study.report.page import MADE_BY, page_html, page_markdown
from mwanda.study.report.score_tables import CHECKED, check_row
from mwanda.study.report.study_page import names_and_kinds
from mwanda.system.junit import Case, junit_xml
from mwanda.system.output import OutputFile
from mwanda.text.languages import display_name


@dataclass(frozen=True)
class Found:
    """What there is to report.

    Attributes:
        model: that was scored.
        compared: it against a baseline; None without one.
        gate: that was set.
        is_base: whether the baseline is the model's base; None where that is not known.
    """

    model: Evaluation
    compared: Comparison | None = None
    gate: Gate | None = None
    is_base: bool | None = None


def write_reports(files: Mapping[str, OutputFile], found: Found) -> None:
    """Every report that was asked for: ``html``, ``markdown``, or ``junit``, which has a gate."""
    page = page_of(found)
    made: dict[str, Callable[[], str]] = {
        "html": lambda: page_html(page),
        "markdown": lambda: f"{MADE_BY}\n\n{page_markdown(page)}",
    }
    if found.gate is not None and found.compared is not None:
        made["junit"] = partial(gate_xml, found.compared, found.gate)
    for kind, output in files.items():
        output.write(made[kind]())


def page_of(found: Found) -> Page:
    """All there is to show of a model; what it lost as a chart, where there is a baseline."""
    name, sections = _name(found.model), sections_of(found)
    compared = found.compared
    if compared is None:
        return Page(f"What {name} scores in every language", sections)
    worst, average = compared.worst, mean(rise.relative for rise in compared.rises)
    count, rows = len(compared.rises), list(_rows(compared, found.gate, name))
    start = {"model": name, "sparsity": 0.0}
    chart = Chart(
        "losses", "Languages", "What each language lost",
        "A row for every language, that with the largest loss first; the mean stands above. The "
        "line through a mark is its 95% interval. A hollow mark is a language whose text pruning "
        "did not read."
        + ("" if found.gate is None else " A tick is the gate's limit."),
        losses([name], *names_and_kinds(rows), limits=found.gate is not None),
    )  # fmt: skip
    return Page(
        f"{name}: loss {average:+.1%} in the mean of {count} languages, "
        f"{display_name(worst.language)} {worst.relative:+.1%}",
        sections,
        lede=[*_verdict(compared, found.gate),
              f"Loss is the negative log-likelihood (NLL) per sentence, against "
              f"{_name(compared.baseline)} on the same text. Lower is better."],
        numbers=_numbers(compared, found.gate, average),
        notices=_notices(found),
        charts=[chart],
        data={"rises": rows},
        choices={name: Choice(name, [(value, "")], value) for name, value in start.items()},
    )  # fmt: skip


def gate_xml(compared: Comparison, gate: Gate) -> str:
    """A test suite of all languages: one that lost more than it may fails, one without a limit is
    skipped.
    """
    judged = {one.language: one for one in gate.judge(compared)}
    facts = {"baseline": compared.baseline.model, "text": compared.pruned.text,
             "text_sha256": compared.pruned.text_sha256, "judged by": DECIDES[gate.on]}  # fmt: skip
    cases = []
    for rise in compared.rises:
        name, one = f"{rise.language} {display_name(rise.language)}", judged.get(rise.language)
        passed, said = (None, "no limit") if one is None else (one.passed, str(one))
        cases.append(Case(name, passed, said))
    return junit_xml("eval", compared.pruned.model, facts, cases, "GateError")


def _rows(compared: Comparison, gate: Gate | None, name: str) -> Iterator[dict[str, Any]]:
    limits = {} if gate is None else {one.language: one.limit for one in gate.judge(compared)}
    start = {"model": name, "method": name, "order": 0, "sparsity": 0.0}
    rises = [rise.relative for rise in compared.rises]
    yield {**start, **language("", "seen"), "rise": number(mean(rises))}
    for rise in compared.rises:
        tag, result = rise.language, compared.pruned.languages[rise.language]
        standing = "background" if rise.background else "unseen"
        standing = "seen" if rise.seen or not compared.pruned.calibrated else standing
        row = {**start, **language(tag, standing), "rise": number(rise.relative),
               **ends(compared.intervals[tag]), "perplexity": number(result.perplexity),
               "bits": number(result.bits_per_byte)}  # fmt: skip
        yield row | ({"limit": limits[tag]} if tag in limits else {})


def _numbers(compared: Comparison, gate: Gate | None, average: float) -> list[Number]:
    worst, count = compared.worst, len(compared.rises)
    interval = compared.intervals[worst.language]
    bounds = "" if interval.reason else f"95% interval {interval.bounds()}"
    made = [
        Number(f"{average:+.1%}", "", f"loss in the mean of {count} languages"),
        Number(f"{worst.relative:+.1%}", bounds, f"for {display_name(worst.language)}, which "
               "loses most"),
    ]  # fmt: skip
    if gate is not None:
        failed = len(gate.failed(compared))
        return [*made, Number(f"{failed} of {count}", "", "languages fail the gate")]
    sure = sum(not one.reason and one.low > 0 for one in compared.intervals.values())
    return [*made, Number(f"{sure} of {count}", "", "languages are significantly worse")]


def _verdict(compared: Comparison, gate: Gate | None) -> list[str]:
    if gate is None:
        return []
    failed = ", ".join(display_name(one.language) for one in gate.failed(compared))
    return [f"The gate is not met: {failed}." if failed else "The gate is met."]


def _notices(found: Found) -> list[str]:
    if found.is_base is False:
        return ["The baseline is not the model that this one was pruned from."]
    return []


def sections_of(found: Found) -> list[Section]:
    """All there is to show, in order."""
    compared = found.compared
    sections = [_in_short(found)]
    if compared is not None and found.gate is not None:
        sections.append(_gate(compared, found.gate))
    sections.append(_languages(found.model) if compared is None else _losses(compared))
    sections += [one for one in (_generated(found.model), _continued(found.model)) if one]
    return [*sections, _provenance(found)]


def _in_short(found: Found) -> Section:
    model, count, compared = found.model, len(found.model.languages), found.compared
    if compared is None:
        average = mean(one.nll_per_sentence for one in model.languages.values())
        start = f"{count} languages of {short_source(model.text)}."
        said = f"{start} Mean: {average:.2f} nats per sentence."
        return Section("short", "In short", [("", [said])])
    start = f"{count} languages of {short_source(model.text)}, against {_name(compared.baseline)}."
    lines = [_mean_line(f"all {count} languages", compared.rises)]
    parts = {
        "that calibrated": compared.seen,
        "of the background": compared.background,
        "that did not": compared.unseen,
    }
    there = {which: rises for which, rises in parts.items() if rises}
    for which, rises in there.items() if len(there) > 1 else ():
        lines.append(_mean_line(f"the {len(rises)} {which}", rises))
    lines += [
        f"Worst: {display_name(compared.worst.language)}, {compared.worst.relative:+.1%}.",
        _sure_line(compared),
    ]
    return Section("short", "In short", [("", [start, tuple(lines)])])


def _sure_line(compared: Comparison) -> str:
    """How many languages are worse beyond doubt; without an interval none can be told to be."""
    lows = [one.low for one in compared.intervals.values() if math.isfinite(one.low)]
    if not lows:
        return "Too little text to be sure of any language: none has a 95 % interval."
    worse, some = sum(low > 0 for low in lows), len(lows) < len(compared.intervals)
    among = f"{len(lows)} languages" + (" that have a 95 % interval" if some else "")
    return f"{worse} of {among} are significantly worse: their 95 % interval is above 0."


def _mean_line(which: str, rises: Sequence[LanguageRise]) -> str:
    return f"Mean of {which}: {mean(one.relative for one in rises):+.1%} NLL per sentence."


def _gate(compared: Comparison, gate: Gate) -> Section:
    rows = [
        [label(one.language, True), "pass" if one.passed else "FAIL", f"{one.relative:+.2%}",
         "none" if one.reason else f"{one.low:+.2%} to {one.high:+.2%}", f"{one.limit:.2%}",
         f"{one.margin:+.2%}"]
        for one in sorted(gate.judge(compared), key=lambda one: one.passed)
    ]  # fmt: skip
    header = ["language", "verdict", "rise", "95 % interval", "limit", "margin"]
    table = Table(
        "What every language may lose, and lost: rise in NLL per sentence",
        header, rows, words=("verdict",),
        note=f"Judged by {DECIDES[gate.on]}. A margin below 0 fails.",
    )  # fmt: skip
    return Section("gate", "The gate", [("", [table])])


def _losses(compared: Comparison) -> Section:
    rows = []
    for rise in compared.rises:
        tag, result = rise.language, compared.pruned.languages[rise.language]
        interval = compared.intervals[tag]
        rows.append([
            label(tag, rise.seen or not compared.pruned.calibrated, rise.background),
            f"{rise.relative:+.1%}", interval.bounds(), f"{rise.baseline:.2f}",
            f"{rise.pruned:.2f}", result.perplexity_shown, f"{result.bits_per_byte:.4f}",
        ])  # fmt: skip
    average = mean(rise.relative for rise in compared.rises)
    before, after = (
        mean(getattr(rise, name) for rise in compared.rises) for name in ("baseline", "pruned")
    )
    rows.append(["mean", f"{average:+.1%}", "", f"{before:.2f}", f"{after:.2f}", "", ""])
    header = ["language", "rise", "95 % interval", "baseline", "pruned", "perplexity",
              "bits per byte"]  # fmt: skip
    table = Table(
        "Nats per sentence of both models, and the rise over the baseline", header, rows, totals=1,
        note="The interval is of the choice of sentences, over articles. Perplexity compares only "
        "within a language and tokeniser.",
    )  # fmt: skip
    return Section("languages", "What each language lost", [("", [table])])


def _languages(model: Evaluation) -> Section:
    header, rows = model.table()
    table = Table("Every language under the model", header, rows, totals=1)
    return Section("languages", "Every language", [("", [table])])


def _generated(model: Evaluation) -> Section | None:
    rows = [
        [label(tag, True), str(made.outputs.texts), *check_row(made.as_dict())]
        for tag, made in model.generated.items()
    ]
    table = Table("Continuations, checked", ["language", "continuations", *CHECKED], rows)
    return Section("generated", "Generated text", [("", [table])]) if rows else None


def _continued(model: Evaluation) -> Section | None:
    rows = [
        [label(tag, True), " ".join(one.prompt.split()), " ".join(one.text.split()),
         "yes" if one.repetitive else ""]
        for tag, one in model.continuations.items()
    ]  # fmt: skip
    header = ["language", "prompt", "the model goes on", "only repeats itself"]
    table = Table("One continuation a language", header, rows, words=header)
    return Section("continuations", "Continuations", [("", [table])]) if rows else None


def _provenance(found: Found) -> Section:
    model, manifest = found.model, find_manifest(Path(found.model.model))
    facts = {
        "model": _name(model),
        "baseline": "none" if found.compared is None else _name(found.compared.baseline),
        **({} if manifest is None else _made(manifest)),
        "text scored": short_source(model.text),
        "its SHA-256": model.text_sha256,
        **{name: str(value) for name, value in model.settings.items()},
        **{f"{name} version": value for name, value in versions().items()},
    }
    rows = [[name, value] for name, value in facts.items()]
    table = Table("What the numbers depend on", ["what", "value"], rows, words=("value",))
    return Section("provenance", "Provenance", [("", [table])])


def _made(manifest: Manifest) -> dict[str, Any]:
    return {
        "sparsity": f"{manifest.totals.sparsity:.2%} of the pruned linears",
        "made by": " && ".join(map(shlex.join, commands_of(manifest))),
        "SHA-256 of its manifest": manifest.sha256 or "unknown",
    }


def _name(model: Evaluation) -> str:
    return short_name(model.model)
