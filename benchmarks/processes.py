"""Child processes, timed and watched from outside."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MWANDA = (sys.executable, "-m", "mwanda")
SAMPLING = 0.02
"""Seconds between two looks at a process's memory."""

LOADING, SAVING = ("open",), ("finish writing", "hashes and companions")
"""mwanda's stages that load and save; every other one is the prune itself."""


@dataclass(frozen=True)
class Process:
    """One child process, seen from outside.

    Attributes:
        seconds: from before its start to after its end.
        processor: seconds that it and its children took of processors.
        resident: high-water mark of resident memory in bytes, as the kernel counted it; of the
            largest process where it had children of its own. Sampled: what ``wait4`` says is never
            below this process's own.
        anonymous: most anonymous resident memory seen, bytes, sampled, children included.
        mapped: most resident file pages seen, bytes, sampled, children included.
        output: the JSON it printed, or None.
    """

    seconds: float
    processor: float
    resident: int
    anonymous: int
    mapped: int
    output: Any


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    data_limit: int | None = None,
) -> Process:
    """Run a command, whose standard output is JSON or empty, to its end.

    Args:
        env: the whole environment of the child; this process's own by default.
        data_limit: most bytes of private writable memory (``RLIMIT_DATA``), set in the child
            before it starts the command.
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
        most = {"VmHWM": 0, "RssAnon": 0, "RssFile": 0}
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            for kind, size in _memory(child.pid).items():
                most[kind] = max(most[kind], size)
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
    processor = usage.ru_utime + usage.ru_stime
    peaks = most["VmHWM"], most["RssAnon"], most["RssFile"]
    return Process(seconds, processor, *peaks, _last_json(text))


def environment(threads: int) -> dict[str, str]:
    """This process's environment with so many threads in every library, and no hub."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "HF_HUB_OFFLINE": "1"}


def call(given: argparse.Namespace, *words: object, data_limit: int | None = None) -> Process:
    """One command of mwanda, with the threads of :func:`harness.options_of`."""
    line = [*MWANDA, *map(str, words)]
    return run(line, env=environment(given.threads), data_limit=data_limit)


def mwanda_split(process: Process) -> dict[str, float]:
    """A prune's wall time as load, prune, save, and what is left: start, imports and exit."""
    stages: dict[str, float] = process.output["seconds"]
    load = sum(stages.get(name, 0.0) for name in LOADING)
    kept = sum(stages.get(name, 0.0) for name in SAVING)
    whole = sum(stages.values())
    own = process.seconds - whole
    return {"import": own, "load": load, "prune": whole - load - kept, "save": kept}


def _memory(pid: int) -> dict[str, int]:
    """Resident bytes by kind, of a process and all it started."""
    found: dict[str, int] = {}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended between two looks
        return found
    for line in lines:
        if line.startswith(("RssAnon:", "RssFile:", "VmHWM:")):
            found[line.split(":")[0]] = int(line.split()[1]) * 1024
    for child in children:
        for kind, size in _memory(int(child)).items():
            before = found.get(kind, 0)
            found[kind] = max(before, size) if kind == "VmHWM" else before + size
    return found


def _last_json(text: str) -> Any:
    """The JSON object that ends the output; other tools print lines of their own before it."""
    at = 0 if text.startswith("{") else text.rfind("\n{") + 1
    try:
        return json.loads(text[at:]) if text else None
    except ValueError:
        return None
