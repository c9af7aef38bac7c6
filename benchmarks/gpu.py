"""A prune on an accelerator: the CPU's masks, time, memory of both, copies, evaluation; in minutes.

The suite's tests of accelerators run on it first. Small models are pruned on the accelerator and on
the CPU, and their masks compared; a weight that goes in one of them alone has a score within
rounding of the last one to go. Then a made-up Llama of 8 billion parameters in 36 blocks, in
bfloat16, is pruned with wanda, with the defaults and with the best recipe. Every step starts only
while ``--seconds`` last; what was left out is said.

``--dry`` does all of that, small, on the pretend accelerator of the tests: it shows that the script
runs, and no time of it means anything. Nothing was measured on a real one yet.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

import mwanda
from device_tests import ROOT, TESTS, run_tests
from harness import Bar, Table, bar, machine, mask_difference, options_of, parsed, save
from made_up import llama, make_model, write_text
from mwanda.pruning.forecast.memory import process_memory
from mwanda.system.device import choose_device, device_kind, wait_for
from processes import SAMPLING

TAGS = ("de", "sw")
WANDA = {"criterion": "wanda", "allocation": "uniform", "mode": "dense"}
SMALL: dict[str, dict[str, Any]] = {
    "wanda": WANDA,
    "defaults": {},
    "2:4": {**WANDA, "pattern": "2:4"},
    "sequential": {**WANDA, "mode": "sequential"},
    "admm": {**WANDA, "reconstruction": "admm"},
    "sparsegpt": {**WANDA, "reconstruction": "sparsegpt"},
}
LARGE: dict[str, dict[str, Any]] = {
    "wanda": WANDA,
    "defaults": {},
    "best-quality": {"recipe": "best-quality", "background": "none"},
}
DRY = ("wanda", "admm", "best-quality")
"""What a dry run is content with."""

SIZES = {"device": "auto", "blocks": 36, "width": 4096, "small": 512, "windows": 32, "length": 512,
         "step": 75.0, "testing": 120.0}  # fmt: skip
"""``small`` is the width of the model of two devices; ``step`` the seconds that a prune is taken to
last, ``testing`` those that the tests may take."""

DRY_SIZES = {"device": "pretend", "blocks": 2, "width": 128, "small": 64, "windows": 2,
             "length": 128, "seconds": 7200.0, "step": 1.0, "testing": 3600.0}  # fmt: skip


class Bench:
    """One device, the time that is left, and what was found."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.device = given, choose_device(given.device)
        self.size = {"windows": given.windows, "window_length": given.length}
        self._start = time.perf_counter()
        self.left_out: list[str] = []

    def options(self, device: str | None = None) -> mwanda.RunOptions:
        name = device or str(self.device)
        return mwanda.RunOptions(device=name, overwrite=True, progress=mwanda.Silent())

    def steps(
        self, kind: str, recipes: dict[str, dict[str, Any]], seconds: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The recipes that are wanted, each as long as there is time for it."""
        for name, fields in recipes.items():
            if (not self.given.dry or name in DRY) and self.fits(f"{kind}: {name}", seconds):
                yield name, fields

    def fits(self, step: str, seconds: float) -> bool:
        """Whether a step that takes about so long may start."""
        if time.perf_counter() - self._start + seconds < self.given.seconds:
            return True
        self.left_out.append(step)
        return False

    def measured(self, work: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
        """What some work gives, its seconds, and the most that device and host held."""
        torch.get_device_module(self.device).reset_peak_memory_stats(self.device)
        start, before = time.perf_counter(), process_memory().anonymous
        with _watched() as host:
            made = work()
            wait_for(self.device)
        return made, {
            "seconds": time.perf_counter() - start,
            "device": torch.get_device_module(self.device).max_memory_allocated(self.device),
            "host": max(host[0] - before, 0),
        }

    def prune(self, model: Path, out: Path, device: str | None = None, **fields: Any) -> Any:
        shutil.rmtree(out, ignore_errors=True)
        text, options = self.given.work / "text", self.options(device)
        fields = self.size | fields
        return mwanda.prune(model, out=out, calibration=text, options=options, **fields)


@contextmanager
def _watched() -> Iterator[list[int]]:
    """The most anonymous memory of this process, sampled."""
    most, ended = [process_memory().anonymous], threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLING):
            most[0] = max(most[0], process_memory().anonymous)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def tested(bench: Bench) -> dict[str, Any] | None:
    """The suite's tests of accelerators, on this one."""
    given = bench.given
    there = importlib.util.find_spec("pytest") is not None
    if not given.tests or not there or not bench.fits("tests", given.testing):
        return None
    return run_tests(bench.device.type, given.tests, given.work, given.testing)


def count_copies(work: Callable[[], object], device: torch.device, *, dry: bool) -> dict[str, int]:
    """Copies between host and device of some work, as the pretend device or torch's profiler
    counts them."""
    if dry:
        from tests.support.pretend.device import pretend

        with pretend().counted() as copies:
            work()
        return {"to_device": copies.to_device, "to_host": copies.to_host + copies.reads}
    with torch.profiler.profile() as profile:
        work()
        wait_for(device)
    events, names = profile.key_averages(), {"to_device": "HtoD", "to_host": "DtoH"}
    return {
        key: sum(event.count for event in events if part in event.key)
        for key, part in names.items()
    }


def compare(bench: Bench) -> list[dict[str, Any]]:
    """Masks of small models on the accelerator and on the CPU, and the copies of the first."""
    model, found = bench.given.work / "small", []
    shutil.rmtree(model, ignore_errors=True)
    make_model(model, llama(3, bench.given.small, "float32"))
    for name, fields in bench.steps("masks", SMALL, 15):
        folders = [bench.given.work / place for place in ("small-there", "small-here")]
        work = partial(bench.prune, model, folders[0], **fields)
        copies = count_copies(work, bench.device, dry=bench.given.dry)
        bench.prune(model, folders[1], "cpu", **fields)
        found.append({"recipe": name, **mask_difference(*folders), **copies})
    return found


def prunes(bench: Bench, model: Path) -> list[dict[str, Any]]:
    """The large model, by each recipe."""
    found = []
    for name, fields in bench.steps("large", LARGE, bench.given.step):
        text, options = bench.given.work / "text", bench.options()
        plan = mwanda.plan(model, calibration=text, options=options, **bench.size, **fields)
        out = bench.given.work / f"pruned-{name}"
        result, one = bench.measured(partial(bench.prune, model, out, **fields))
        found.append({
            "recipe": name, **one, "planned_device": plan.device_memory,
            "tflop": result.limit.flops / 1e12, "rate": result.limit.matmul_rate,
            "share": result.limit.compute_seconds / one["seconds"],
            "stages": dict(result.manifest.seconds),
        })  # fmt: skip
        shutil.rmtree(out)
    return found


def evaluate(bench: Bench, model: Path) -> dict[str, Any] | None:
    """Tokens scored a second."""
    if not bench.fits("evaluation", bench.given.step):
        return None
    texts = bench.given.work / "scored"
    write_text(texts, TAGS, bench.given.windows * bench.given.length // 2)
    scored, one = bench.measured(lambda: mwanda.evaluate(model, texts, options=bench.options()))
    tokens = sum(result.tokens for result in scored.languages.values())
    return {**one, "tokens": tokens, "rate": tokens / one["seconds"]}


def tables(found: dict[str, Any]) -> list[Table]:
    small = [
        [one["recipe"], f"{one['weights']:,}", f"{one['differing']:,}", f"{one['share']:.1e}",
         f"{one['to_device']:,}", f"{one['to_host']:,}"]
        for one in found["masks"]
    ]  # fmt: skip
    large = [
        [one["recipe"], f"{one['seconds']:.1f}", f"{one['device'] / 1e9:.3f}",
         f"{one['planned_device'] / 1e9:.3f}", f"{one['host'] / 1e9:.3f}", f"{one['tflop']:.3f}",
         f"{one['rate'] / 1e12:.3f}", f"{one['share']:.0%}"]
        for one in found["prunes"]
    ]  # fmt: skip
    score, suite = found["evaluation"], found["tests"]
    scored = [] if score is None else [[f"{score['tokens']:,}", f"{score['rate']:,.0f}"]]
    ran = [] if suite is None else [
        [str(suite["passed"]), str(len(suite["failed"])), str(suite["skipped"])]
    ]  # fmt: skip
    return [
        Table(["tests passed", "failed", "skipped"], ran),
        Table(["recipe, small model", "weights", "masks differ", "share", "copies in",
               "copies out and reads"], small),
        Table(["recipe", "seconds", "device GB", "planned", "host GB", "TFLOP", "TFLOP/s",
               "share of time"], large),
        Table(["tokens scored", "a second"], scored),
    ]  # fmt: skip


def bars(found: dict[str, Any], dry: bool) -> list[Bar]:
    """On a pretend device masks are the CPU's; on a real one products round otherwise."""
    made = [
        bar(f"share of masks that differ, {one['recipe']}", one["share"], most=0 if dry else 1e-3)
        for one in found["masks"]
    ]
    if found["tests"] is not None:
        failed = len(found["tests"]["failed"])
        made.append(bar("tests of accelerators that fail", failed, most=0))
    for one in found["prunes"]:
        error = abs(one["planned_device"] / one["device"] - 1)
        made.append(bar(f"plan's error, device memory, {one['recipe']}", error, most=0.25))
    return made


def run(given: argparse.Namespace) -> None:
    bench = Bench(given)
    write_text(given.work / "text", TAGS, given.windows * given.length)
    model = given.work / "large"
    shutil.rmtree(model, ignore_errors=True)
    found: dict[str, Any] = {"device": device_kind(bench.device), "dry": given.dry}
    found["tests"] = tested(bench)
    found["masks"] = compare(bench)
    config = llama(
        given.blocks, given.width, "bfloat16", intermediate_size=given.width * 7 // 2,
        num_key_value_heads=max(1, given.width // 512),
    )  # fmt: skip
    found["checkpoint"] = make_model(model, config, device=bench.device)
    found["prunes"] = prunes(bench, model)
    found["evaluation"] = evaluate(bench, model)
    found["left out"] = bench.left_out
    shutil.rmtree(model)
    save(given.results, found, tables=tables(found), bars=bars(found, given.dry))
    print(f"{found['device']}, {machine()['cpu']}; left out: {', '.join(bench.left_out) or 'no'}")


def main() -> None:
    parser = options_of(__doc__, "gpu")
    parser.add_argument("--dry", action="store_true", help="small, on the tests' pretend device")
    parser.add_argument("--seconds", type=float, default=460.0, help="what may be taken in all")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="files of tests to run on it")
    parser.set_defaults(**SIZES)
    given = parsed(parser)
    there: Any = nullcontext()
    if given.dry:
        vars(given).update(DRY_SIZES)
        sys.path.insert(0, str(ROOT))
        from tests.support.pretend.device import pretend

        there = pretend().there()
    with there:
        run(given)


if __name__ == "__main__":
    main()
