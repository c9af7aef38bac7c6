"""What a reconstruction takes at its peak, against what ``plan`` says of it."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mwanda.methods.registry import RECONSTRUCTIONS
from mwanda.pruning.forecast.memory import update_bytes

SCRIPT = """
import sys
from pathlib import Path
import torch
from mwanda.methods.reconstruction import admm, sparsegpt

torch.set_num_threads(1)
out, features = int(sys.argv[1]), int(sys.argv[2])


def solve(out, features):
    gram = torch.empty(features, features).fill_(0.01)
    gram.diagonal().fill_(1.0)
    weight, mask = torch.empty(out, features).uniform_(-1, 1), torch.ones(out, features).bool()
    if sys.argv[3] == "sparsegpt":
        sparsegpt.prune(weight, gram, 0.5, 1, 1)
    elif sys.argv[3] == "sparsegpt-update":
        sparsegpt.reconstruct(weight, mask, gram)
    elif sys.argv[3] == "admm":
        admm.reconstruct(weight, mask, gram, iterations=2)
    else:
        admm.prune(weight, gram, 0.5, 1, 1, iterations=2)


def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


solve(64, 64)
before = most()
solve(out, features)
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts as Linux does")
@pytest.mark.parametrize("method", ["sparsegpt", "sparsegpt-update", "admm", "admm-gradual"])
@pytest.mark.parametrize("shape", [(128, 2000), (3000, 500), (1000, 1000)])
def test_no_reconstruction_takes_more_than_is_planned(method: str, shape: tuple[int, int]) -> None:
    command = [sys.executable, "-c", SCRIPT, *map(str, shape), method]
    found = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    linear = SimpleNamespace(rows=shape[0], columns=shape[1], size=shape[0] * shape[1])
    chosen: Any = SimpleNamespace(linears=lambda: [linear])
    buffers = 4 << 20  # of the matrix library, once
    assert found < 1.1 * update_bytes(RECONSTRUCTIONS[method], chosen, 4) + buffers
    assert found > 3 * shape[1] ** 2 * 4  # it was seen at all
