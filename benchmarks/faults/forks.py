"""Runs of mwanda in forked processes, which need no imports of their own, and what they leave."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))  # the other benchmarks' modules

from safetensors import safe_open
from safetensors.torch import save_file

from harness import options_of
from mwanda.cli import main
from mwanda.pruning import journal
from mwanda.pruning.draw_windows import draw_windows
from mwanda.system import durable
from mwanda.system.run_options import RunOptions
from real_models import add_model_option, dense_model
from studies import SEEN


class Child:
    """One command of mwanda, in a process of its own.

    Args:
        words: of the command.
        log: where what it prints goes.
        before: called in the process first.
    """

    def __init__(
        self, words: Sequence[object], log: Path, before: Callable[[], None] = lambda: None
    ) -> None:
        sys.stdout.flush()
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid:
            return
        try:
            sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            # What started this may ignore Ctrl-C, as a shell's background job does.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            before()
            main([str(word) for word in words])
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        finally:
            os._exit(99)

    def wait(self) -> int:
        """Its exit code; minus the signal's number where one ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def until(self, there: Callable[[], object]) -> None:
        """Wait until something is there, or the process ended."""
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not there() and not os.waitid(os.P_PID, self.pid, ended):
            time.sleep(0.002)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send it a signal, and wait."""
        os.kill(self.pid, number)
        return self.wait()


def fault_options(
    description: str | None, results: str, languages: str = ",".join(SEEN)
) -> argparse.ArgumentParser:
    """A parser with the options that all of these scripts have."""
    parser = options_of(description, results)
    add_model_option(parser)
    parser.add_argument("--models", type=Path, help="where the models are; --work by default")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--languages", default=languages)
    return parser


def prune_words(
    given: argparse.Namespace, blocks: int | None, shape: tuple[int, int]
) -> list[object]:
    """A prune of a known model, or of its first blocks, on so many windows of such a length of
    ``DATA/gnome`` in each of ``--languages``; without ``--out``."""
    given.work.mkdir(parents=True, exist_ok=True)
    model = cut_model(given.model, given.models or given.work, blocks)
    count, length = shape
    languages = given.languages.split(",")
    path = given.work / f"{model.name}-{len(languages)}x{count}x{length}.safetensors"
    if not path.is_file():
        draw_windows(str(model), path, str(given.data / "gnome"), languages=languages,
                     windows=count, length=length, seed=0)  # fmt: skip
    return ["prune", model, "--calibration", path, "--device", "cpu"]


def undisturbed(words: Sequence[object], folder: Path, log: Path) -> Path:
    """The output of a command that nothing happens to."""
    whole = fresh(folder) / "out"
    if Child([*words, "--out", whole], log).wait():
        raise RuntimeError(log.read_text())
    return whole


def pace(share: float | None, patience: float | None) -> None:
    """How often the journal gets an entry in every run from here on; None leaves it as it is."""
    journal.SHARE = journal.SHARE if share is None else share
    journal.PATIENCE = journal.PATIENCE if patience is None else patience


def counted(stop: int, note: Path | None = None) -> Callable[[], None]:
    """Kill the process at a sync or rename, by number; or write down how many there were."""
    seen = 0

    def reached(step: str, path: Path) -> None:
        nonlocal seen
        seen += 1
        if note is not None:
            note.write_text(str(seen))
        if seen == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    def before() -> None:
        durable.reached = reached

    return before


def partial_of(out: Path) -> Path:
    return out.parent / f".{out.name}.partial"


def entries_of(out: Path) -> dict[str, int]:
    """Blocks that the journal beside an output says are finished, by stage."""
    path = partial_of(out) / "work" / "journal.json"
    try:
        body = path.read_text(encoding="utf-8").partition("\n")[2]
    except FileNotFoundError:
        return {}
    stages: dict[str, int] = json.loads(body)["stages"]
    return stages


def hashes(out: Path) -> dict[str, str]:
    """SHA-256 of every file; of the manifest, without the times of its stages."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        if path.name == "mwanda.json":
            raw = json.dumps(json.loads(raw) | {"seconds": {}}, sort_keys=True).encode()
        found[path.relative_to(out).as_posix()] = hashlib.sha256(raw).hexdigest()
    return found


def cut_model(name: str, work: Path, blocks: int | None) -> Path:
    """A known model as a folder, or its first blocks only: a small model of real weights."""
    whole = dense_model(name, work, RunOptions(journal=False))
    if blocks is None:
        return whole
    folder = work / f"{name}-{blocks}-blocks"
    if (folder / "config.json").is_file():
        return folder
    folder.mkdir(exist_ok=True)
    tensors = {}
    for shard in sorted(whole.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            for tensor in file.keys():  # noqa: SIM118
                number = re.search(r"layers\.(\d+)\.", tensor)
                if number is None or int(number[1]) < blocks:
                    tensors[tensor] = file.get_tensor(tensor)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for path in whole.iterdir():
        if path.suffix in (".json", ".jinja", ".txt", ".model") and path.name != "mwanda.json":
            shutil.copyfile(path, folder / path.name)
    config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = blocks
    if "layer_types" in config:
        config["layer_types"] = config["layer_types"][:blocks]
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def fields(**given: Any) -> dict[str, Any]:
    """What a log keeps of a run: numbers short."""
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in given.items()}
