"""What the benchmarks share: timed child processes, medians and ratios, the machine, results."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from mwanda.system.text_tables import plain

__all__ = [
    "RESULTS",
    "Bar",
    "Process",
    "Table",
    "add_options",
    "bar",
    "environment",
    "kept",
    "machine",
    "mask_difference",
    "mwanda",
    "mwanda_split",
    "pairwise",
    "run",
    "save",
    "spread",
]

RESULTS = Path("benchmarks/results")
SAMPLING = 0.02
"""Seconds between two looks at a child's memory."""

LOADING, SAVING = ("open",), ("finish writing", "hashes and companions")
"""mwanda's stages that load and save; every other one is the prune itself."""


@dataclass(frozen=True)
class Process:
    """One child process, seen from outside.

    Attributes:
        seconds: from before its start to after its end.
        resident: high-water mark of resident memory in bytes, as the kernel counted it; of the
            largest process where it had children of its own.
        anonymous: most anonymous resident memory seen, bytes, sampled, children included.
        mapped: most resident file pages seen, bytes, sampled, children included.
        output: the JSON it printed, or None.
    """

    seconds: float
    resident: int
    anonymous: int
    mapped: int
    output: Any

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    data_limit: int | None = None,
) -> Process:
    """Run a command to its end.

    Args:
        command: whose standard output is JSON, or empty.
        env: the whole environment of the child; this process's own by default.
        data_limit: most bytes of private writable memory (``RLIMIT_DATA``), set in the child
            before it starts the command.

    Raises:
        RuntimeError: the command failed.
    """

    def limit() -> None:
        if data_limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (data_limit, data_limit))

    # Files instead of pipes: a full pipe would stop the child while nobody reads.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command],
            stdout=out,
            stderr=errors,
            env=None if env is None else dict(env),
            preexec_fn=limit if data_limit is not None else None,
        )
        anonymous = mapped = 0
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            memory = _memory(child.pid)
            anonymous = max(anonymous, memory.get("RssAnon", 0))
            mapped = max(mapped, memory.get("RssFile", 0))
            time.sleep(SAMPLING)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        text = out.read().decode(errors="replace").strip()
        if child.returncode:
            tail = "\n".join(errors.read().decode(errors="replace").splitlines()[-30:])
            shown = " ".join(map(str, command))
            raise RuntimeError(f"{shown} ended with {child.returncode}:\n{text[-2000:]}\n{tail}")
    return Process(seconds, usage.ru_maxrss * 1024, anonymous, mapped, _last_json(text))


def environment(threads: int) -> dict[str, str]:
    """This process's environment with so many threads in every library, and no hub."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "HF_HUB_OFFLINE": "1"}


def mwanda(python: str | Path) -> list[str]:
    """The command line of mwanda under an interpreter."""
    return [str(python), "-m", "mwanda"]


def mwanda_split(process: Process) -> dict[str, float]:
    """A prune's wall time as load, prune, save, and what is left: start, imports and exit."""
    stages: dict[str, float] = process.output["seconds"]
    load = sum(stages.get(name, 0.0) for name in LOADING)
    kept = sum(stages.get(name, 0.0) for name in SAVING)
    whole = sum(stages.values())
    return {
        "import": process.seconds - whole,
        "load": load,
        "prune": whole - load - kept,
        "save": kept,
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest and largest, and the values themselves."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def pairwise(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, Any]:
    """The ratios pair by pair: each round's own two figures, so that a slow round counts for both.

    Raises:
        ValueError: different numbers of rounds.
    """
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


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
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(measure()))
        partial.replace(path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def mask_difference(first: Path, second: Path, *, suffix: str = "_proj.weight") -> dict[str, Any]:
    """Where two folders' linears are zero, compared.

    Args:
        first, second: checkpoint folders with the same tensor names.
        suffix: of the names of the tensors to compare.

    Returns:
        ``weights`` compared, ``differing`` positions zero in one and not in the other, their
        ``share``, and each folder's ``sparsity``.

    Raises:
        ValueError: different linears.
    """
    places = [_tensors(folder, suffix) for folder in (first, second)]
    if not places[0] or places[0].keys() != places[1].keys():
        odd = sorted(places[0].keys() ^ places[1].keys())[:3]
        raise ValueError(f"{first} and {second} do not have the same linears: {odd}")
    weights = differing = 0
    zeros = [0, 0]
    for name in places[0]:
        masks = []
        for which, files in enumerate(places):
            with safe_open(files[name], "pt") as file:
                masks.append(file.get_tensor(name) == 0)
            zeros[which] += int(torch.count_nonzero(masks[which]))
        weights += masks[0].numel()
        differing += int(torch.count_nonzero(masks[0] ^ masks[1]))
    return {
        "linears": len(places[0]),
        "weights": weights,
        "differing": differing,
        "share": differing / weights,
        "sparsity": [count / weights for count in zeros],
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on, read now."""
    cpu = platform.processor()
    total = 0
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), cpu)
        memory = Path("/proc/meminfo").read_text().splitlines()
        total = next(int(x.split()[1]) * 1024 for x in memory if x.startswith("MemTotal"))
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory": total,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vector": torch.backends.cpu.get_cpu_capability(),
    }


def save(
    path: Path, data: Mapping[str, Any], *, tables: Sequence[Table] = (), bars: Sequence[Bar] = ()
) -> None:
    """Print a benchmark's tables and bars, and write its JSON with the machine and the command.

    Tables without rows are left out: a run of some of the tools has no ratios.
    """
    tables = [table for table in tables if table.rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "command": _command(sys.argv),
        "machine": machine(),
        "tables": [asdict(one) for one in tables],
        "bars": [asdict(one) for one in bars],
        **data,
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    path.write_text(placeless(text, sys.argv) + "\n", encoding="utf-8")
    for table in tables:
        print(plain(table.header, table.rows))
    for one in bars:
        verdict = "met   " if one.met else "MISSED"
        print(f"{verdict} {one.claim}: {one.value:.3g}, {one.sense} {one.limit:g}")


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """The options every benchmark has."""
    parser.add_argument("--work", type=Path, default=Path("out") / name, help="where models go")
    parser.add_argument("--results", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument(
        "--python",
        default=os.environ.get("MWANDA_PYTHON", sys.executable),
        help="interpreter that has mwanda; MWANDA_PYTHON gives it too",
    )
    parser.add_argument("--threads", type=int, default=2)


def _command(line: Sequence[str]) -> str:
    """The command as another machine would give it: whole paths become their option's name, and
    ``FOLDER`` in ``NAME=PATH``."""
    shown = ["python"]
    for before, part in zip(["", *line], line, strict=False):
        label, _, path = part.partition("=")
        told = f"{label}=FOLDER" if path.startswith("/") else part
        shown.append(_name(before) if _whole(before, part) else shlex.quote(told))
    return " ".join(shown)


def placeless(text: str, line: Sequence[str]) -> str:
    """JSON without the machine's folders: the paths of the command become their option's name."""
    names = {
        json.dumps(part, ensure_ascii=False)[1:-1]: _name(before)
        for before, part in itertools.pairwise(line)
        if _whole(before, part)
    }
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(path, names[path])
    return text


def _whole(before: str, part: str) -> bool:
    """Whether a part of a command is an option's whole path."""
    return before.startswith("--") and part.startswith("/")


def _name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_").upper()


def _memory(pid: int) -> dict[str, int]:
    """Resident bytes by kind, of a process and all it started."""
    found: dict[str, int] = {}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended between two looks
        return found
    for line in lines:
        if line.startswith(("RssAnon:", "RssFile:")):
            found[line.split(":")[0]] = int(line.split()[1]) * 1024
    for child in children:
        for kind, size in _memory(int(child)).items():
            found[kind] = found.get(kind, 0) + size
    return found


def _last_json(text: str) -> Any:
    """The JSON object that ends the output; other tools print lines of their own before it."""
    at = 0 if text.startswith("{") else text.rfind("\n{") + 1
    try:
        return json.loads(text[at:]) if text else None
    except ValueError:
        return None


def _tensors(folder: Path, suffix: str) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found.update({name: path for name in file.keys() if name.endswith(suffix)})  # noqa: SIM118
    return found
