"""What was found in a finished model, and what was made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mwanda.cli.views import View, removed, took
from mwanda.system.junit import Case, junit_xml
from mwanda.system.text_tables import plain

if TYPE_CHECKING:
    from mwanda.pruned.diff import Diff, MaskOverlap
    from mwanda.pruned.gguf_check import GgufCheck
    from mwanda.pruned.mask_files import Extracted
    from mwanda.pruned.pack import PackResult
    from mwanda.pruned.push import Pushed
    from mwanda.pruned.quantise import QuantiseResult
    from mwanda.pruned.verify import Verification
    from mwanda.pruning.manifest_parts import PruneResult

SHOWN = 10
"""Linears that a diff prints; all are in its JSON."""


def verified(found: Verification, *, every: bool) -> View:
    """Whether a folder is as its manifest says.

    Args:
        every: linears without a problem too, and the findings where they are a wrong source's.
    """
    totals, linears, rows = found.manifest.totals, {}, []
    for item in found.linears:
        record = item.record
        linears[item.name] = {
            "sparsity": record.sparsity, "zeros": item.zeros, "problem": item.problem,
        }  # fmt: skip
        counts = (f"{count:,}" for count in (record.pruned, item.zeros, record.source_zeros))
        state = "ok" if item.problem is None else "WRONG"
        if every or item.problem is not None:
            rows.append([item.name, f"{record.sparsity:.4f}", *counts, state])
    data = {"other_base": found.other_base, "problems": list(found.problems),
            "notes": list(found.notes), "totals": totals.model_dump(),
            "linears": linears}  # fmt: skip
    if found.other_base is not None and not every:
        return data, ""
    end = (
        f"{len(found.manifest.files)} files whole, {len(found.linears)} linears as they were "
        f"written; sparsity {totals.sparsity:.4%} over the pruned "
        f"linears, {totals.model_sparsity:.4%} over the model, by mask positions"
    )
    header = ["linear", "sparsity", "removed", "zeros", "zero in source", ""]
    lines = [plain(header, rows)] if rows else []
    lines += [f"note: {note}" for note in found.notes]
    if found.other_base is not None:
        lines = [found.other_base, *found.problems, *lines]
    return data, "\n".join([*lines, end if not found.problems else "not as the manifest says"])


def verified_xml(folder: Path, found: Verification) -> str:
    """A test case for every linear, before them one for all else."""
    own = [Case(one.name, one.problem is None, one.problem or f"{one.zeros:,} zeros")
           for one in found.linears]  # fmt: skip
    told = {f"{one.name}: {one.problem}" for one in found.linears}
    other = [] if found.other_base is None else [found.other_base]
    rest = other + [problem for problem in found.problems if problem not in told]
    files = Case("files", not rest, "; ".join(rest) or f"{len(found.manifest.files)} whole")
    return junit_xml("verify", folder, {"base": found.manifest.base}, [files, *own], "MwandaError")


def compared(found: Diff) -> View:
    """Where two masks differ."""
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
    return found.as_dict(), "\n".join(lines)


def _row(masks: MaskOverlap) -> list[str]:
    both = (masks.first, masks.second)
    kept = [f"{one / masks.weights:.4%}" if masks.weights else "" for one in both]
    lines = (f"{masks.rows} of {masks.of_rows}", f"{masks.columns} of {masks.of_columns}")
    return [f"{masks.weights:,}", f"{masks.share:.4%}", f"{masks.overlap:.4f}", *kept, *lines]


def extracted(made: Extracted) -> View:
    """A file of masks, taken out of a folder."""
    totals = made.manifest.totals
    data = {"masks": str(made.path), "bytes": made.size, "totals": totals.model_dump(),
            "zero_before": made.zero_before, "updated_by": made.updated}  # fmt: skip
    lines = [
        f"{made.path}: {made.size / 1e6:,.1f} MB, masks of {totals.linears} linears, "
        f"{totals.sparsity:.4%} of {totals.weights:,} weights removed"
    ]
    if made.zero_before:
        lines.append(
            f"{made.zero_before:,} of them were zero before the prune and not in its masks: in a "
            "folder they look alike"
        )
    if made.updated is not None:
        lines.append(
            f"the weights kept were changed by {made.updated}: masks alone do not bring them back"
        )
    return data, "\n".join(lines)


def applied(made: PruneResult) -> View:
    """A folder that masks were applied to."""
    manifest = made.manifest
    said = manifest.model_dump(include={"mask_file", "totals", "dtype", "seconds"})
    data = {"folder": str(made.folder)}
    data |= {name: said[name] for name in ("mask_file", "totals", "dtype", "seconds")}
    text = f"{made.folder}: {removed(manifest.totals)}, written in {manifest.dtype}"
    return data, f"{text}\n{took(manifest.seconds)}"


def packed(made: PackResult) -> View:
    """An archive, or what was unpacked of one."""
    share = made.stored / made.raw if made.raw else 1.0
    return made.as_dict(), (
        f"{made.files} files with {made.tensors} tensors: {made.raw / 1e6:,.1f} MB unpacked, "
        f"{made.stored / 1e6:,.1f} MB packed ({share:.3f}), "
        f"{made.raw / 1e6 / made.seconds:,.0f} MB/s"
    )


def quantised(made: QuantiseResult) -> View:
    """A folder with the weights of a GGUF."""
    lines = [
        f"{made.folder}: {made.tensors} matrices in {made.type}; all weights take "
        f"{made.bytes / 1e6:,.1f} MB in GGUF, {made.source_bytes / 1e6:,.1f} MB before; "
        f"{made.zeros_lost:,} zeros lost; written in float32"
    ]
    lines += [f"as it was: {name}, {why}" for name, why in made.kept.items()]
    return made.as_dict(), "\n".join(lines)


def zeros_kept(found: GgufCheck) -> View:
    """Which zeros a GGUF kept, by type."""
    sums: dict[str, list[int]] = {}
    for row in found.tensors.values():
        before = sums.get(row.type, [0, 0, 0])
        sums[row.type] = [a + b for a, b in zip(before, (1, row.zeros, row.kept), strict=True)]
    rows = [
        [kind, f"{count:,}", f"{zeros:,}", f"{kept:,}", f"{kept / zeros:.4%}" if zeros else ""]
        for kind, (count, zeros, kept) in sorted(sums.items())
    ]
    text = plain(["type", "matrices", "zeros", "kept", "share"], rows)
    return found.as_dict(), f"{text}\n{found.share:.4%} of the zeros kept"


def pushed(made: Pushed) -> View:
    """Where a folder went."""
    who = "private" if made.private else "public"
    text = f"{made.url}: {len(made.files)} files, {made.bytes / 1e6:,.1f} MB, {who}"
    return made.as_dict(), text
