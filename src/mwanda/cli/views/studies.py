"""Searches, studies and reports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import join

from mwanda.cli.views import View
from mwanda.evaluation.gate import percent
from mwanda.study.search_result import SearchResult
from mwanda.study.status import STATES, Status
from mwanda.system.files import amount
from mwanda.system.progress import duration
from mwanda.system.text_tables import plain
from mwanda.text.languages import display_name


def searched(found: SearchResult) -> View:
    """The highest sparsity that passed, and all that were tried."""
    rows = [
        [f"{trial.sparsity:g}", f"{trial.reached:.4f}", "passed" if trial.passed else "failed",
         f"{trial.mean:+.1%}", f"{display_name(trial.worst)} {percent(trial.worst_rise, '+')}",
         ", ".join(trial.failed) or "none", f"{trial.seconds:.1f}"]
        for trial in found.trials
    ]  # fmt: skip
    header = ["sparsity", "reached", "", "mean rise", "worst", "lost too much", "seconds"]
    lines = [plain(header, rows)]
    if found.sparsity is None:
        lines.append("no sparsity passed")
    else:
        next_one = found.lowest_failed
        end = f"{next_one:g} failed" if next_one is not None else "nothing higher was tried"
        lines.append(f"{found.sparsity:g} is the highest tried that passed; {end}")
    for one in found.alternatives:
        lines.append(
            f"{one.name}: {'passed' if one.passed else 'failed'}, mean {one.mean:+.1%}, worst "
            f"{display_name(one.worst)} {percent(one.worst_rise, '+')}, {amount(one.bytes)} of "
            f"{amount(one.source_bytes)}"
        )
    if found.folder is not None:
        lines.append(f"{found.folder}: the model at {found.sparsity:g}")
    return found.as_dict(), "\n".join(lines)


def status_of(found: Status) -> View:
    """How far a study is."""
    names = {}
    for entry in reversed(found.entries):
        seed = "" if entry["seed"] is None else f", seed {entry['seed']}"
        names[entry["key"]] = f"{entry['model']}, {entry['method']}, {entry['sparsity']:g}{seed}"
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    left = found.seconds_left
    more = f"; about {duration(left)} left" if left else ""
    lines = [plain(["model", "method", *STATES], found.rows())] if found.entries else []
    lines += [f"{found.folder}: {len(found.cells)} cells, {counts}{more}"]
    lines += [
        f"failed: {names[key]}: {problem}"
        for key, problems in found.failures.items()
        for problem in problems
    ]
    return found.as_dict(), "\n".join(lines)


def go_on(study: Path) -> str:
    """The command that comes next, to paste into a shell."""
    again = ["--overwrite"] if (study / "report").exists() else []
    return f"next:\n  {join(['mwanda', 'report', str(study), *again])}"


def reported(made: Iterable[Path]) -> View:
    """The files of a report."""
    sizes = {str(path): path.stat().st_size for path in made}
    return sizes, "\n".join(f"{path}: {size / 1e3:,.0f} kB" for path, size in sizes.items())
