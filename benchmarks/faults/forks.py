"""Runs of mwanda in forked processes, which need no imports of their own, and what they leave."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.extend(map(str, Path(__file__).parents[1:3]))  # the other benchmarks, and the tests

from tests.pruning.resume.helpers import made
from tests.support.forked import Forked
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from harness import options_of
from mwanda.pruning import journal
from real_models import SEEN, add_model_option, dense_model, windows_file

LONG = 3600.0
"""Seconds that nothing here takes."""


class Trial:
    """A prune that nothing happens to, and then others of the same command that something does.

    Attributes:
        words: of the command, without ``--out``.
        first, last: seconds from its start to the first entry of the journal, and to its output.
        wanted: the hashes that every other one has to end in.
    """

    def __init__(self, words: list[object], folder: Path) -> None:
        self.words, self.folder = words, folder
        out = self.fresh()
        start = time.monotonic()
        with self.run(out) as child:
            until(child, partial(entries_of, out))
            self.first = time.monotonic() - start
            until(child, out.exists)
            self.last = time.monotonic() - start
            if child.wait(LONG):
                raise RuntimeError(said(child))
        self.size = sum(path.stat().st_size for path in out.iterdir())
        self.wanted = hashes(out)

    def fresh(self) -> Path:
        """Where the next output goes; what there was is removed."""
        return fresh(self.folder) / "out"

    def run(self, out: Path, before: Callable[[], None] = lambda: None) -> Any:
        """The command in a process of its own, in which ``before`` is called first."""
        return Forked(*self.words, "--out", out, cwd=Path.cwd(), before=before)

    def goes_on(self, out: Path) -> bool:
        """Whether the command, given again, ends as it should, and leaves nothing else; an output
        that is there already is only looked at."""
        if not out.exists():
            with self.run(out) as child:
                if child.wait(LONG) or os.listdir(out.parent) != [out.name]:
                    return False
        return hashes(out) == self.wanted


def until(child: Any, there: Callable[[], object]) -> None:
    """Wait until something is there, or the process ended."""
    while not there() and child.poll() is None:
        time.sleep(0.002)


def said(child: Any) -> str:
    """What a process said on either stream, once it has ended."""
    return "".join(child.communicate(LONG)).strip()


def counted(
    runs: Sequence[dict[str, Any]], key: str, *tests: Callable[[dict[str, Any]], object]
) -> list[list[str]]:
    """A row for each value of a key: runs that have it, and those of them that pass each test."""
    groups = {one[key]: [run for run in runs if run[key] == one[key]] for one in runs}
    return [
        [value, str(len(some)), *(str(sum(bool(test(run)) for run in some)) for test in tests)]
        for value, some in groups.items()
    ]


def fault_options(
    description: str | None, results: str, languages: str = ",".join(SEEN)
) -> argparse.ArgumentParser:
    """A parser with the options that all of these scripts have."""
    parser = options_of(description, results, "gnome/, and flores/ for a study")
    add_model_option(parser)
    parser.add_argument("--models", type=Path, help="where the models are; --work by default")
    parser.add_argument("--languages", default=languages)
    return parser


def prune_words(
    given: argparse.Namespace, blocks: int | None, shape: tuple[int, int] = (2, 64)
) -> list[object]:
    """A prune of a known model, or of its first blocks, on so many windows of such a length of
    ``DATA/gnome`` in each of ``--languages``; without ``--out``."""
    model = cut_model(given.model, given.models or given.work, blocks)
    windows = windows_file(given, model, *shape, given.languages.split(","))
    return ["prune", model, "--calibration", windows, "--device", "cpu"]


def cut_model(name: str, work: Path, blocks: int | None) -> Path:
    """A known model as a folder, or its first blocks only: a small model of real weights."""
    whole = dense_model(name, work)
    folder = work / f"{name}-{blocks}-blocks"
    if blocks is None or (folder / "model.safetensors").is_file():
        return whole if blocks is None else folder
    config = AutoConfig.from_pretrained(whole)
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:blocks]
    model = AutoModelForCausalLM.from_pretrained(whole, config=config, dtype="auto")
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def pace(share: float = 0.0, patience: float = 0.0) -> None:
    """How often the journal gets an entry in every run from here on; 0 for every block."""
    journal.SHARE, journal.PATIENCE = share, patience


def entries_of(out: Path) -> dict[str, int]:
    """Blocks that the journal beside an output says are finished, by stage."""
    path = out.parent / f".{out.name}.partial" / "work" / "journal.json"
    try:
        body = path.read_text(encoding="utf-8").partition("\n")[2]
    except FileNotFoundError:
        return {}
    stages: dict[str, int] = json.loads(body)["stages"]
    return stages


def hashes(out: Path) -> dict[str, Any]:
    """SHA-256 of every file; the manifest itself, without the times of its stages."""
    return {
        name: hashlib.sha256(found).hexdigest() if isinstance(found, bytes) else found
        for name, found in made(out).items()
    }


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
