"""Prunes, plans and windows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join

from mwanda.cli.views import DRAWN, View, drawn_row, named, removed, took
from mwanda.pruning.folder.card import allotted_by, chosen_by
from mwanda.pruning.folder.experts_table import expert_summary, language_table
from mwanda.pruning.folder.manifest import seen_in
from mwanda.pruning.forecast.planned import Plan
from mwanda.pruning.manifest_parts import PruneResult
from mwanda.system.files import amount
from mwanda.system.text_tables import plain as table
from mwanda.text.sources import open_source
from mwanda.text.window_files import Windows

SECOND = "bundled:udhr/second"
"""What may be scored of the bundled text when the first half has calibrated."""


def pruned(result: PruneResult) -> View:
    """What a prune made."""
    made, experts, peak = result.manifest, result.manifest.experts, _peak()
    data = {
        "folder": None if result.folder is None else str(result.folder),
        "masks": None if result.masks is None else str(result.masks),
        "recipe": made.recipe,
        "totals": made.totals.model_dump(),
        "compute_dtype": made.compute_dtype,
        "signals": made.model_dump(include={"signals"})["signals"],
        "experts": None
        if experts is None
        else experts.model_dump() | {"routing": experts.counts()},
        "seconds": made.seconds,
        "limit": None if result.limit is None else result.limit.as_dict(),
        "spilled_bytes": result.spilled,
        "peak_resident_bytes": peak,
    }
    recipe, saved = made.recipe, made.statistics_file
    written = made.dtype if result.masks is None else "bits, the masks alone"
    lines = [
        f"{result.folder or result.masks}: {removed(made.totals)}",
        f"{chosen_by(recipe)}, {allotted_by(recipe)}, "
        f"pattern {recipe['pattern']}, statistics {made.statistics}"
        + ("" if saved is None else f" from {saved.name}")
        + f", forward in {made.compute_dtype}, written in {written}",
    ]
    if made.calibration is not None:
        weights, languages = made.calibration.weights, made.calibration.languages
        rows = [[*drawn_row(tag, draw), f"{weights[tag]:.3f}"] for tag, draw in languages.items()]
        lines += ["", table(["calibration", *DRAWN, "weight"], rows)]
    if made.earlier:
        lines += ["", f"calibrated by earlier prunes, and seen: {', '.join(seen_in(made.earlier))}"]
    if experts is not None:
        lines += ["", expert_summary(experts), table(*language_table(experts))]
    size = ""
    if result.folder is not None:
        files = result.folder.glob("*.safetensors")
        size = f"; {amount(sum(file.stat().st_size for file in files))} of weights written"
    lines += ["", f"{took(made.seconds)}; peak resident memory {peak / 1e9:.2f} GB{size}"]
    return data, "\n".join(lines)


def followed_by(shown: View, name: str, then: View) -> View:
    """A prune, and what was done to its result in the same go."""
    return {**shown[0], name: then[0]}, f"{shown[1]}\n\n{then[1]}"


def go_on(
    model: str, out: Path, languages: Sequence[str], *, score: bool = True, check: bool = True
) -> str:
    """The commands that come next, to paste into a shell; empty where there are none.

    Args:
        model: what was pruned, as it was named.
        out: where to.
        languages: that calibrated; none where no text did.
        score: whether both can be scored on the same tokens.
        check: whether it is a folder, with a manifest.
    """
    there = open_source(SECOND, tell=False).languages()
    known = ",".join(tag for tag in languages if tag in there)
    words = ["--text", SECOND, *(["--languages", known] if known else []), "--sentences", "24"]
    lines = []
    if score:
        line = join(["mwanda", "eval", str(out), "--baseline", model, *words])
        lines.append(f"  {line}  # or text of your own")
    if check:
        lines.append(f"  {join(['mwanda', 'verify', str(out), '--against', model])}")
    return "\n".join(["next:", *lines]) if lines else ""


def drawn(made: Windows) -> View:
    """Windows that were drawn."""
    data, rows = {}, []
    for tag, ids in made.tokens.items():
        draw = made.draws[tag]
        data[tag] = {"shape": list(ids.shape), "sha256": draw.window_sha256}
        told = (*ids.shape, draw.documents, draw.duplicates_dropped, draw.english_lines_dropped)
        rows.append([named(tag), *map(str, told)])
    header = ["language", "windows", "length", "documents", "duplicates", "English"]
    return data, table(header, rows)


def planned(made: Plan) -> View:
    """What a prune would do and need."""
    languages = ", ".join(made.languages) or "no text needed"
    return made.as_dict(), f"{made.model}: {languages}\n" + table(["plan", ""], made.table())


def _peak() -> int:
    """High-water mark of resident memory, bytes."""
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
