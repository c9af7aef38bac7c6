"""Files of statistics."""

from __future__ import annotations

from mwanda.cli.views import DRAWN, View, drawn_row, known, named, took
from mwanda.pruning.statistics.collect import Collected
from mwanda.pruning.statistics.show import StatisticsView
from mwanda.system.text_tables import plain as table


def collected(made: Collected) -> View:
    """Statistics that were saved."""
    record, text = made.record, made.record.calibration
    size = 0 if made.path is None else made.path.stat().st_size
    data = {
        "file": str(made.path),
        "bytes": size,
        "model": record.model.model_dump(),
        "settings": record.settings,
        "needs": list(record.needs),
        "linears": len(record.shapes),
        "inputs": len(record.inputs),
        "files": record.files,
        "calibration": {
            "source": text.source,
            "seed": text.seed,
            "length": text.length,
            "weights": text.weights,
            "languages": {
                tag: {"windows": draw.windows, "tokens": draw.tokens}
                for tag, draw in text.languages.items()
            },
        },
        "seconds": record.seconds,
        "spilled_bytes": made.spilled,
    }
    header = ["language", *DRAWN]
    rows = [drawn_row(tag, draw) for tag, draw in text.languages.items()]
    if record.gram:
        header.append("weight")
        for row, weight in zip(rows, text.weights.values(), strict=True):
            row.append(f"{weight:.3f}")
    lines = [
        f"{made.path}: statistics of {record.model.name}, {len(record.shapes)} linears fed by "
        f"{len(record.inputs)} different inputs{', with Gram matrices' if record.gram else ''}; "
        f"{size / 1e6:.1f} MB",
        table(header, rows),
    ]
    return data, "\n".join([*lines, took(record.seconds)] if record.seconds else lines)


def looked_into(view: StatisticsView) -> View:
    """What a file of statistics says of blocks and languages."""
    marks = dict.fromkeys(view.most_shared, "shared")
    marks |= dict.fromkeys(view.most_specific, "language-specific")
    blocks = [
        [str(one.block), str(one.linears), known(one.agreement, ".4f"), marks.get(one.block, "")]
        for one in view.blocks
    ]
    header = ["language", "windows", "tokens", "active", "agrees"]
    rows = [
        [named(tag), str(one.windows), f"{one.tokens:,}", known(one.activity, ".1%"),
         known(one.agreement, ".4f")]
        for tag, one in view.languages.items()
    ]  # fmt: skip
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
        shared = ", ".join(map(str, view.most_shared))
        specific = ", ".join(map(str, view.most_specific))
        lines += [
            "",
            f"most shared by the languages: blocks {shared}; most "
            f"language-specific: blocks {specific}",
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
    return view.as_dict(), "\n".join(lines)
