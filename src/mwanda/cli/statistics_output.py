"""Statistics as text for a person and as JSON for a machine."""

from __future__ import annotations

from typing import Any

from mwanda.pruning.statistics.collect import Collected
from mwanda.pruning.statistics.show import StatisticsView
from mwanda.system.text_tables import plain as table
from mwanda.text.languages import display_name


def collected_json(made: Collected) -> dict[str, Any]:
    record = made.record
    return {
        "file": str(made.path),
        "bytes": _size(made),
        "model": record.model.model_dump(),
        "settings": record.settings,
        "needs": list(record.needs),
        "linears": len(record.shapes),
        "inputs": len(record.inputs),
        "files": record.files,
        "calibration": {
            "source": record.calibration.source,
            "seed": record.calibration.seed,
            "length": record.calibration.length,
            "weights": record.calibration.weights,
            "languages": {
                tag: {"windows": draw.windows, "tokens": draw.tokens}
                for tag, draw in record.calibration.languages.items()
            },
        },
        "seconds": record.seconds,
        "spilled_bytes": made.spilled,
    }


def collected_text(made: Collected) -> str:
    record = made.record
    grams = ", with Gram matrices" if record.gram else ""
    header = ["language", "windows", "tokens", "documents", "duplicates", "English"]
    rows = [
        [
            f"{tag} {display_name(tag)}",
            str(d.windows),
            f"{d.tokens:,}",
            str(d.documents),
            str(d.duplicates_dropped),
            str(d.english_lines_dropped),
        ]
        for tag, d in record.calibration.languages.items()
    ]
    if record.gram:
        header.append("weight")
        for row, weight in zip(rows, record.calibration.weights.values(), strict=True):
            row.append(f"{weight:.3f}")
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in record.seconds.items())
    return "\n".join(
        [
            f"{made.path}: statistics of {record.model.name}, {len(record.shapes)} linears fed by "
            f"{len(record.inputs)} different inputs{grams}; {_size(made) / 1e6:.1f} MB",
            table(header, rows),
            *([took] if took else []),
        ]
    )


def view_text(view: StatisticsView) -> str:
    marks = dict.fromkeys(view.most_shared, "shared")
    marks |= dict.fromkeys(view.most_specific, "language-specific")
    blocks = [
        [
            str(block.block),
            str(block.linears),
            "none" if block.agreement is None else f"{block.agreement:.4f}",
            marks.get(block.block, ""),
        ]
        for block in view.blocks
    ]
    header = ["language", "windows", "tokens", "active", "agrees"]
    rows = [
        [
            f"{tag} {display_name(tag)}",
            str(one.windows),
            f"{one.tokens:,}",
            "none" if one.activity is None else f"{one.activity:.1%}",
            "none" if one.agreement is None else f"{one.agreement:.4f}",
        ]
        for tag, one in view.languages.items()
    ]
    if any(one.weight is not None for one in view.languages.values()):
        header.append("weight")
        for row, one in zip(rows, view.languages.values(), strict=True):
            row.append(f"{one.weight or 0.0:.3f}")
    files = f"{view.files} files of " if view.files > 1 else ""
    lines = [
        f"{view.path}: {files}statistics of {view.model} on {view.source}, "
        f"{', '.join(view.needs)}, forward in {view.compute_dtype}",
        "",
        table(["block", "linears", "agreement", ""], blocks),
    ]
    if marks:
        lines += [
            "",
            f"most shared by the languages: blocks {_listed(view.most_shared)}; most "
            f"language-specific: blocks {_listed(view.most_specific)}",
        ]
    lines += [
        "",
        "agreement: how alike two languages use the features that enter a block, mean correlation "
        "over pairs; 1 is the same use",
        "",
        table(header, rows),
        "",
        "active: share of features above the mean size at a token; agrees: mean correlation with "
        "each other language",
    ]
    return "\n".join(lines)


def _listed(blocks: tuple[int, ...]) -> str:
    return ", ".join(str(block) for block in blocks)


def _size(made: Collected) -> int:
    return 0 if made.path is None else made.path.stat().st_size
