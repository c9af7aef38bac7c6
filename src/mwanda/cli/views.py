"""Results as text for a person and as JSON for a machine."""

from __future__ import annotations

import sys
from typing import Any

from mwanda.errors import InputError, nearest
from mwanda.evaluation.loss_tables import comparison_rows, comparison_table, evaluation_table
from mwanda.evaluation.results import Comparison, Evaluation
from mwanda.model.classes import tried_classes
from mwanda.pruning.folder.card import allotted_by, chosen_by
from mwanda.pruning.folder.experts_table import expert_summary, language_table
from mwanda.pruning.folder.manifest import seen_in
from mwanda.pruning.forecast.operations import Limit
from mwanda.pruning.forecast.plan import Plan
from mwanda.pruning.manifest_parts import PruneResult
from mwanda.study.report.bibliography import KINDS, methods_page, rows_of
from mwanda.study.report.class_table import model_rows, models_page
from mwanda.study.report.translation_table import CHECKED, check_row
from mwanda.system.text_tables import markdown
from mwanda.system.text_tables import plain as table
from mwanda.text.languages import display_name
from mwanda.text.window_files import Windows


def prune_json(result: PruneResult) -> dict[str, Any]:
    made = result.manifest
    return {
        "folder": None if result.folder is None else str(result.folder),
        "masks": None if result.masks is None else str(result.masks),
        "recipe": made.recipe,
        "totals": made.totals.model_dump(),
        "compute_dtype": made.compute_dtype,
        "signals": made.model_dump(include={"signals"})["signals"],
        "experts": None
        if made.experts is None
        else made.experts.model_dump() | {"routing": made.experts.counts()},
        "seconds": made.seconds,
        "limit": None if result.limit is None else result.limit.as_dict(),
        "spilled_bytes": result.spilled,
        "peak_resident_bytes": _peak(),
    }


def prune_text(result: PruneResult) -> str:
    made, totals = result.manifest, result.manifest.totals
    recipe, saved = made.recipe, made.statistics_file
    written = made.dtype if result.masks is None else "bits, the masks alone"
    lines = [
        f"{result.folder or result.masks}: {totals.sparsity:.4%} of {totals.weights:,} weights in "
        f"{totals.linears} linears removed ({totals.model_sparsity:.2%} of the whole model; "
        f"{totals.source_zeros:,} were zero already)",
        f"{chosen_by(recipe)}, {allotted_by(recipe)}, "
        f"pattern {recipe['pattern']}, statistics {made.statistics}"
        + ("" if saved is None else f" from {saved.name}")
        + f", forward in {made.compute_dtype}, written in {written}",
    ]
    if made.calibration is not None:
        rows = [
            [
                f"{tag} {display_name(tag)}",
                str(d.windows),
                f"{d.tokens:,}",
                str(d.documents),
                str(d.duplicates_dropped),
                str(d.english_lines_dropped),
                f"{made.calibration.weights[tag]:.3f}",
            ]
            for tag, d in made.calibration.languages.items()
        ]
        header = [
            "calibration",
            "windows",
            "tokens",
            "documents",
            "duplicates",
            "English",
            "weight",
        ]
        lines += ["", table(header, rows)]
    if made.earlier:
        lines += ["", f"calibrated by earlier prunes, and seen: {', '.join(seen_in(made.earlier))}"]
    if made.experts is not None:
        lines += ["", expert_summary(made.experts), table(*language_table(made.experts))]
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in made.seconds.items())
    lines += ["", f"{took}; peak resident memory {_peak() / 1e9:.2f} GB"]
    if result.limit is not None:
        lines.append(_limit_text(result.limit))
    return "\n".join(lines)


def _limit_text(limit: Limit) -> str:
    return (
        f"of {limit.wall:.1f} s the work alone takes {limit.share:.0%} at this machine's rates: "
        f"{limit.flops / 1e12:.3f} TFLOP at {limit.matmul_rate / 1e9:,.0f} GFLOP/s "
        f"{limit.compute_seconds:.1f} s; {limit.bytes_read / 1e9:.2f} GB read at "
        f"{limit.read_rate / 1e9:.2f} GB/s and {limit.bytes_written / 1e9:.2f} GB written at "
        f"{limit.write_rate / 1e9:.2f} GB/s {limit.disk_seconds:.1f} s"
    )


def evaluation_text(result: Evaluation) -> str:
    return "\n".join([evaluation_table(result), *_continuations(result), *_generated(result)])


def evaluation_markdown(result: Evaluation) -> str:
    rows = [
        [f"{tag} {display_name(tag)}", f"{r.nll_per_sentence:.2f}", r.perplexity_shown,
         f"{r.bits_per_byte:.4f}"]
        for tag, r in result.languages.items()
    ]  # fmt: skip
    return markdown(["language", "nll/sentence", "perplexity", "bits/byte"], rows)


def comparison_text(compared: Comparison) -> str:
    note = (
        "baseline, pruned, rise: nats per sentence; perplexity compares only within a language "
        "and tokeniser"
    )
    made = compared.pruned
    told = [
        comparison_table(compared),
        note,
        *_continuations(made),
        *_generated(compared.baseline),
        *_generated(made),
    ]
    return "\n".join(told)


def comparison_markdown(compared: Comparison) -> str:
    header, rows = comparison_rows(compared)
    note = (
        f"Negative log-likelihood in nats per sentence on {compared.pruned.text}, against "
        f"{compared.baseline.model}."
    )
    return f"{markdown(header, rows)}\n\n{note}"


def _continuations(result: Evaluation) -> list[str]:
    lines = []
    for tag, made in result.continuations.items():
        warning = "  [warning: it only repeats itself]" if made.repetitive else ""
        text = " ".join(made.text.split())
        lines.append(f"{tag}: {' '.join(made.prompt.split())} | {text}{warning}")
    return ["", "continuations (prompt | generated)", *lines] if lines else []


def _generated(result: Evaluation) -> list[str]:
    if not result.generated:
        return []
    rows = [
        [f"{tag} {display_name(tag)}", str(made.outputs.texts), *check_row(made.as_dict())]
        for tag, made in result.generated.items()
    ]
    return ["", result.model, table(["language", "continuations", *CHECKED], rows)]


def windows_json(drawn: Windows) -> dict[str, Any]:
    return {
        tag: {"shape": list(ids.shape), "sha256": drawn.draws[tag].window_sha256}
        for tag, ids in drawn.tokens.items()
    }


def windows_text(drawn: Windows) -> str:
    rows = []
    for tag, ids in drawn.tokens.items():
        made = drawn.draws[tag]
        told = (*ids.shape, made.documents, made.duplicates_dropped, made.english_lines_dropped)
        rows.append([f"{tag} {display_name(tag)}", *map(str, told)])
    return table(["language", "windows", "length", "documents", "duplicates", "English"], rows)


def plan_text(made: Plan) -> str:
    languages = ", ".join(made.languages) or "no text needed"
    rows = [
        ["blocks", f"{made.blocks:,}"],
        ["linears to prune", f"{made.linears:,}"],
        ["weights in them", f"{made.weights:,}"],
        ["weights to remove", f"{made.removed:,}"],
        ["weights of the model", f"{made.model_weights:,}"],
        ["calibration tokens", f"{made.tokens:,}"],
        ["block passes", f"{made.passes:,}"],
        *([["tokens through masked blocks", f"{made.compared:,}"]] if made.compared else []),
        ["matrix work", f"{made.flops / 1e12:.3f} TFLOP in {made.compute_dtype}"],
        ["matrix time, at least", _least(made)],
        ["read", f"{made.bytes_read / 1e9:.2f} GB"],
        ["written", f"{made.bytes_written / 1e9:.2f} GB in {made.dtype}"],
        ["free disk needed", f"{made.disk / 1e9:.2f} GB"],
        ["peak memory, anonymous", f"{made.anonymous / 1e9:.2f} GB"],
        ["peak memory, resident", f"{made.high_water / 1e9:.2f} GB"],
    ]
    return f"{made.model}: {languages}\n" + table(["plan", ""], rows)


def _least(made: Plan) -> str:
    if made.matmul_rate is None:
        return "none"
    return f"{made.compute_seconds:,.1f} s at {made.matmul_rate / 1e9:,.0f} GFLOP/s"


def listing(what: str) -> list[dict[str, Any]]:
    """The rows of one table, or of all."""
    if what == "models":
        return model_rows(tried_classes())
    if what == "methods":
        return [{"kind": kind, **row} for kind in KINDS for row in rows_of(kind)]
    if what not in KINDS:
        raise InputError(
            "ls", expected="something to list", found=repr(what),
            fix=nearest(what, [*KINDS, "methods", "models"]),
        )  # fmt: skip
    return [dict(row) for row in rows_of(what)]


def page(what: str) -> str:
    """The page of the docs that lists these, empty where there is none."""
    if what == "models":
        return models_page(tried_classes())
    return methods_page() if what == "methods" else ""


def listing_text(rows: list[dict[str, Any]]) -> str:
    blocks = []
    for row in rows:
        rest = [f"    {key}: {value}" for key, value in row.items() if key != "name"]
        blocks.append("\n".join([str(row["name"]), *rest]))
    return "\n".join(blocks)


def _peak() -> int:
    """High-water mark of resident memory, bytes."""
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
