"""Commands run in this process or in one of their own, and what a refusal must look like."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mwanda.cli import main
from tests.support.forked import Forked

SMALL = ("--windows", "2", "--window-length", "32")


@dataclass(frozen=True)
class Ran:
    """What a command ended with."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


def tree(*folders: Path) -> dict[str, str]:
    """Every name below the folders, and a digest of every file."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            whole = path.is_file() and not path.is_symlink()
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if whole else "other"
    return found


@dataclass(frozen=True)
class Bench:
    """A place to run commands in."""

    source: Path
    corpus: Path
    root: Path
    capture: pytest.CaptureFixture[str]

    @property
    def out(self) -> Path:
        return self.root / "out"

    def run(self, *words: object) -> Ran:
        """One command in this process."""
        self.capture.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        shown = self.capture.readouterr()
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, shown.out, shown.err)

    def prune(self, *words: object, model: object = None, calibrated: bool = True) -> list[object]:
        """The words of a quick prune."""
        text = ["--calibration", self.corpus, *SMALL] if calibrated else []
        return ["prune", model or self.source, "--out", self.out, *text, *words]

    def refuse(self, words: list[object], *says: str, code: int = 2, lines: int = 1) -> Ran:
        """The command stops with ``lines`` errors that say all this, and touches nothing."""
        before = tree(self.root, self.source, self.corpus)
        ran = self.run(*words)
        assert tree(self.root, self.source, self.corpus) == before
        check_refusal(ran, *says, code=code, lines=lines)
        return ran

    def model(self, **config: Any) -> Path:
        """A copy of the source, its config changed."""
        folder = self.root / "model"
        shutil.copytree(self.source, folder)
        if config:
            data = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(data | config))
        return folder

    def reweighted(self, change: Callable[[dict[str, torch.Tensor]], Any], **config: Any) -> Path:
        """A copy of the source, its weights changed."""
        folder = self.model(**config)
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder

    def recipe(self, text: str) -> Path:
        path = self.root / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path


def check_refusal(ran: Ran, *says: str, code: int = 2, lines: int = 1) -> None:
    """So many lines of error, all that is said in them, and nothing else."""
    assert ran.code == code, ran
    assert ran.out == ""
    found = ran.err.splitlines()
    assert len(found) == lines, ran.err
    assert all(line.startswith("error: ") for line in found)
    assert "Traceback" not in ran.err
    for part in says:
        assert part in ran.err


def process(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """``python -m mwanda`` with these words, its outputs piped."""
    return subprocess.Popen(
        [sys.executable, "-m", "mwanda", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        # What started the tests may ignore Ctrl-C (a shell's background job does), and a process
        # that inherits that never hears of it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run_process(*words: object, cwd: Path) -> Ran:
    with process(*words, cwd=cwd) as running:
        out, err = running.communicate(timeout=120)
    return Ran(running.returncode, out, err)


def wait_for(pattern: str, folder: Path, running: subprocess.Popen[str] | Forked) -> None:
    """Until a process has made a file of this pattern in a folder."""
    deadline = time.monotonic() + 60
    while not any(folder.glob(pattern)):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
