"""What a reconstruction takes at its peak, against what ``plan`` says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mwanda.methods.registry import RECONSTRUCTIONS
from mwanda.pruning.forecast.memory import update_bytes

SHAPES = [(128, 2000), (3000, 500), (1000, 1000)]
SCRIPT = """
import os, sys
from pathlib import Path
import torch
from mwanda.methods.kinds import options_of
from mwanda.methods.registry import RECONSTRUCTIONS

torch.set_num_threads(1)


def solve(row, out, features):
    run = row.prune or row.reconstruct  # what a prune uses
    few = options_of(run, {"iterations": 2})
    gram = torch.empty(features, features).fill_(0.01)
    gram.diagonal().fill_(1.0)
    weight, mask = torch.empty(out, features).uniform_(-1, 1), torch.ones(out, features).bool()
    if row.prune is None:
        run(weight, mask, gram, **few)
    else:
        run(weight, gram, 0.5, 1, 1, **few)


def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


for case in sys.argv[1:]:
    child = os.fork()  # a peak of its own
    if child == 0:
        method, out, features = case.split()
        solve(RECONSTRUCTIONS[method], 64, 64)
        before = most()
        solve(RECONSTRUCTIONS[method], int(out), int(features))
        print(case, most() - before, flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(case)
"""


@pytest.fixture(scope="module")
def peaks() -> dict[tuple[str, tuple[int, int]], int]:
    """Method and shape -> bytes at the peak, all measured by one process and its children."""
    cases = {
        f"{method} {shape[0]} {shape[1]}": (method, shape)
        for method in RECONSTRUCTIONS
        for shape in SHAPES
    }
    # Else the C library keeps what was freed, now more and now less of it.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
    command = [sys.executable, "-c", SCRIPT, *cases]
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    told = (line.rpartition(" ") for line in ran.stdout.splitlines())
    return {cases[case]: int(found) for case, _, found in told}


@pytest.mark.skipif(sys.platform != "linux", reason="counts as Linux does")
@pytest.mark.parametrize("method", RECONSTRUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_reconstruction_takes_more_than_is_planned(
    peaks: dict[tuple[str, tuple[int, int]], int], method: str, shape: tuple[int, int]
) -> None:
    """The Gram matrix and the weight that it is given count too."""
    found = peaks[method, shape]
    linear = SimpleNamespace(rows=shape[0], columns=shape[1], size=shape[0] * shape[1])
    chosen: Any = SimpleNamespace(linears=lambda: [linear])
    planned = update_bytes(RECONSTRUCTIONS[method], chosen, 4)
    buffers = 4 << 20  # of the matrix library, once
    assert planned / 2 < found < 1.1 * planned + buffers
