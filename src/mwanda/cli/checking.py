"""The commands that look at finished prunes: verify, diff."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result

if TYPE_CHECKING:
    from mwanda.pruned.diff import Diff
    from mwanda.pruned.mask_overlap import MaskOverlap
    from mwanda.pruned.verify import Verification

SHOWN = 10
"""Linears that ``diff`` prints; all are in its JSON."""


def add_commands(app: typer.Typer) -> None:
    """Give the application these commands."""
    app.command()(verify)
    app.command()(diff)


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that mwanda wrote.")],
    against: Annotated[
        str | None,
        typer.Option("--against", help="The source: all that is not pruned has to equal it."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="The masks of the same prune, of --masks-only."),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Check a pruned folder: files whole, zeros and sparsity as the manifest says, rest as in the
    source."""
    early.check_pruned(folder)
    early.check_model(against)
    early.check_file(mask, kind="masks")
    from mwanda.pruned.verify import verify as run

    found = run(folder, against=against, masks=mask)
    print_result(_verify_json(found), _verify_text(found), as_json)
    found.raise_for_problems(folder)


def diff(
    first: Annotated[Path, typer.Argument(help="A pruned folder, or a file of masks.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    as_json: opt.AsJson = False,
) -> None:
    """Say where the masks of two pruned models differ, by block and by linear."""
    for path in (first, second):
        early.check_masks(path)
    from mwanda.pruned.diff import diff as run

    found = run(first, second)
    print_result(found.as_dict(), _diff_text(found), as_json)


def _verify_json(found: Verification) -> dict[str, Any]:
    return {
        "problems": list(found.problems),
        "notes": list(found.notes),
        "totals": found.manifest.totals.model_dump(),
        "linears": {
            item.name: {
                "sparsity": item.record.sparsity,
                "zeros": item.zeros,
                "problem": item.problem,
            }
            for item in found.linears
        },
    }


def _verify_text(found: Verification) -> str:
    from mwanda.system.text_tables import plain

    rows = [
        [
            item.name,
            f"{item.record.sparsity:.4f}",
            f"{item.record.pruned:,}",
            f"{item.zeros:,}",
            f"{item.record.source_zeros:,}",
            "ok" if item.problem is None else "WRONG",
        ]
        for item in found.linears
    ]
    totals = found.manifest.totals
    end = (
        f"{len(found.manifest.files)} files whole; sparsity {totals.sparsity:.4%} over the pruned "
        f"linears, {totals.model_sparsity:.4%} over the model, by mask positions"
    )
    header = ["linear", "sparsity", "removed", "zeros", "zero in source", ""]
    lines = [plain(header, rows), *(f"note: {note}" for note in found.notes)]
    return "\n".join([*lines, end if not found.problems else "not as the manifest says"])


def _diff_text(found: Diff) -> str:
    from mwanda.system.text_tables import plain

    header = ["weights", "differ", "overlap", "kept in A", "kept in B", "rows", "columns"]
    most = sorted(found.linears, key=lambda row: (-row.masks.share, row.block))[:SHOWN]
    tables = [
        ("block", [[str(block), *_row(masks)] for block, masks in found.blocks.items()]),
        ("kind", [[kind, *_row(masks)] for kind, masks in found.kinds.items()]),
        ("most different", [[row.name, *_row(row.masks)] for row in most if row.masks.differing]),
    ]
    total = found.total
    lines = [
        f"A {found.first}",
        f"B {found.second}",
        f"{total.differing:,} of {total.weights:,} positions in {len(found.linears)} linears "
        f"differ ({total.share:.4%}); overlap of the kept weights {total.overlap:.4f}",
    ]
    for name, rows in tables:
        if rows:
            lines += ["", plain([name, *header], rows)]
    for what, names in (
        ("only in A", found.only_first),
        ("only in B", found.only_second),
        ("of other shapes", found.reshaped),
    ):
        if names:
            lines += ["", f"{len(names)} linears {what}: {', '.join(names[:3])}"]
    lines += [
        "",
        "overlap: weights kept in both, of those kept in either; rows, columns: outputs and inputs "
        "with a difference",
    ]
    return "\n".join(lines)


def _row(masks: MaskOverlap) -> list[str]:
    return [
        f"{masks.weights:,}",
        f"{masks.share:.4%}",
        f"{masks.overlap:.4f}",
        f"{masks.first / masks.weights:.4%}" if masks.weights else "",
        f"{masks.second / masks.weights:.4%}" if masks.weights else "",
        f"{masks.rows} of {masks.of_rows}",
        f"{masks.columns} of {masks.of_columns}",
    ]
