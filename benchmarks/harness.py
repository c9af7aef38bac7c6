"""What the benchmarks share: medians and ratios, masks compared, the machine, results."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import mwanda
from mwanda.system.text_tables import plain

RESULTS = Path("benchmarks/results")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest and largest, and the values themselves."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def pairwise(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, Any]:
    """The ratios, each of one round's own two figures, so that a slow round counts for both."""
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


def svg_plots() -> Any:
    """matplotlib's pyplot, for pictures that are the same every time."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "mwanda"
    from matplotlib import pyplot

    return pyplot


@dataclass(frozen=True)
class Bar:
    """One claim: a measured figure (with the smallest and largest of its rounds) and its limit."""

    claim: str
    value: float
    sense: str
    limit: float
    met: bool
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Table:
    """A table of measured figures, as it is printed and as docs/performance.md shows it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def bar(
    claim: str,
    found: Mapping[str, Any] | float,
    *,
    most: float | None = None,
    least: float | None = None,
) -> Bar:
    """A figure against ``most``, or against ``least``; a spread counts by its median."""
    if isinstance(found, Mapping):
        value, low, high = float(found["median"]), found["min"], found["max"]
    else:
        value, low, high = float(found), None, None
    if most is not None:
        return Bar(claim, value, "at most", most, value <= most, low, high)
    if least is not None:
        return Bar(claim, value, "at least", least, value >= least, low, high)
    raise ValueError(f"{claim}: a bar needs most or least")


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier run measured, or what is measured now; kept whole or not at all."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(measure()))
        partial.replace(path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def mask_difference(first: Path, second: Path) -> dict[str, Any]:
    """How many weights of linears are zero in one folder and not in another, and their share."""
    found = mwanda.diff(first, second, progress=mwanda.Silent())
    odd = [*found.only_first, *found.only_second, *found.reshaped]
    if odd or not found.linears:
        raise ValueError(f"{first} and {second} do not have the same linears: {odd[:3]}")
    total = found.total
    return {
        "linears": len(found.linears),
        "weights": total.weights,
        "differing": total.differing,
        "share": total.share,
        "sparsity": [1 - kept / total.weights for kept in (total.first, total.second)],
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on, read now."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": next(names, platform.processor()),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vector": torch.backends.cpu.get_cpu_capability(),
    }


def save(
    path: Path, data: Mapping[str, Any], *, tables: Sequence[Table] = (), bars: Sequence[Bar] = ()
) -> None:
    """Print a benchmark's tables and bars, and write its JSON with the machine and the command, but
    without the machine's folders. Tables without rows are left out."""
    tables = [table for table in tables if table.rows]
    whole = {
        "command": _command(sys.argv),
        "machine": machine(),
        "tables": [asdict(one) for one in tables],
        "bars": [asdict(one) for one in bars],
        **data,
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(placeless(text, sys.argv) + "\n", encoding="utf-8")
    for table in tables:
        print(plain(table.header, table.rows))
    for one in bars:
        verdict = "met   " if one.met else "MISSED"
        print(f"{verdict} {one.claim}: {one.value:.3g}, {one.sense} {one.limit:g}")


def options_of(
    description: str | None, name: str, data: str | None = None
) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has, and ``--data``, a folder with this."""
    parser = argparse.ArgumentParser(description=description)
    if data is not None:
        parser.add_argument("--data", type=Path, required=True, help=f"folder with {data}")
    parser.add_argument("--work", type=Path, default=Path("out") / name, help="where models go")
    parser.add_argument("--results", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was given, the folder ``--work`` made."""
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    return given


def _command(line: Sequence[str]) -> str:
    """The command as another machine would give it: whole paths become their option's name, and
    ``FOLDER`` in ``NAME=PATH``."""
    names = _places(line)
    shown = (names.get(part) or re.sub("=/.*", "=FOLDER", part) for part in line)
    return shlex.join(["python", *shown])


def placeless(text: str, line: Sequence[str]) -> str:
    """JSON without the machine's folders: the paths of the command become their option's name."""
    for path, name in sorted(_places(line).items(), key=lambda one: len(one[0]), reverse=True):
        text = text.replace(json.dumps(path, ensure_ascii=False)[1:-1], name)
    return text


def _places(line: Sequence[str]) -> dict[str, str]:
    """Whole path that an option of a command has -> the option's name."""
    return {
        part: option.removeprefix("--").replace("-", "_").upper()
        for option, part in itertools.pairwise(line)
        if option.startswith("--") and part.startswith("/")
    }
