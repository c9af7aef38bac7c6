"""A run that is killed anywhere and started again ends in the bytes of an undisturbed one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda.system import durable
from tests.model.run.experts.helpers import granite
from tests.pruning.pipeline.helpers import Tiny, windows_file
from tests.pruning.resume.helpers import Task, kill_and_go_on, made, steps_of
from tests.support.failpoints import Steps, eager, killed_at

DENSE: dict[str, Any] = {"mode": "dense", "allocation": "owl", "criterion": "m-wanda"}
SEQUENTIAL: dict[str, Any] = {"mode": "sequential", "allocation": "uniform", "criterion": "wanda"}

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "one pass": ("llama", {"mode": "dense", "allocation": "uniform", "criterion": "wanda"}),
    "sequential after a survey": ("llama", {"mode": "sequential", "allocation": "cwl"}),
    "measured": ("gemma3", {"allocation": "measured", "mode": "dense"}),
    "by linear": ("llama", {"allocation": "owl", "allocation_level": "linear"}),
    "no text": ("llama", {"criterion": "magnitude", "allocation": "alpha"}),
    "experts": ("qwen3_moe", {"mode": "sequential", "allocation": "owl"}),
    "fused experts": ("granite", {"mode": "dense", "allocation": "owl"}),
    "transposed, another dtype": ("gpt2", {"mode": "sequential", "dtype": "bfloat16"}),
    "sparsegpt": ("llama", {"reconstruction": "sparsegpt", "mode": "sequential"}),
    "admm of a dense pass": ("llama", {"reconstruction": "admm", "mode": "dense"}),
    "2:4": ("llama", {"pattern": "2:4", "mode": "sequential"}),
}


def prune_task(
    tiny: Tiny, folder: Path, family: str, fields: dict[str, Any], *, layers: int = 3, **how: Any
) -> Task:
    folder.mkdir(exist_ok=True)
    text = {} if fields.get("criterion") == "magnitude" else {"calibration": windows_file(folder)}
    source = granite(folder / family) if family == "granite" else tiny(family, layers=layers)
    return Task(mwanda.prune, source, text | fields, how)


@pytest.mark.parametrize("fields", [DENSE, SEQUENTIAL], ids=["dense", "sequential"])
def test_at_every_sync_and_rename(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    eager(monkeypatch)
    how: dict[str, Any] = {"layers": 2, "max_shard_size": 200_000}
    task = prune_task(tiny, tmp_path / "text", "llama", fields, **how)
    steps = steps_of(task, tmp_path / "undisturbed", monkeypatch)
    wanted = made(tmp_path / "undisturbed")
    assert sum(step == "renamed" for step, _ in steps) >= 5
    for stop in range(1, len(steps) + 1):
        place = tmp_path / str(stop)
        place.mkdir()
        assert kill_and_go_on(task, place, stop) == wanted, steps[stop - 1]
        shutil.rmtree(place)


@pytest.mark.parametrize("name", OTHERS)
def test_in_every_way_to_prune(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    eager(monkeypatch)
    task = prune_task(tiny, tmp_path / "text", *OTHERS[name])
    steps = steps_of(task, tmp_path / "undisturbed", monkeypatch)
    wanted = made(tmp_path / "undisturbed")
    written = [number for number, step in enumerate(steps, 1) if step[0] == "renamed"]
    for stop in written[:-1:3]:
        place = tmp_path / str(stop)
        place.mkdir()
        assert kill_and_go_on(task, place, stop) == wanted, steps[stop - 1]


@pytest.mark.parametrize("kind", ["masks", "statistics", "from statistics"])
def test_of_files(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    eager(monkeypatch)
    source, windows = tiny("llama"), windows_file(tmp_path)
    if kind == "masks":
        task = Task(
            mwanda.prune, source, DENSE | {"calibration": windows, "masks_only": True}, {},
            "out.safetensors",
        )  # fmt: skip
    elif kind == "statistics":
        fields = {"calibration": windows, "gram": True}
        task = Task(mwanda.collect_statistics, source, fields, {}, "out.safetensors")
    else:
        file = tmp_path / "statistics.safetensors"
        mwanda.collect_statistics(source, file, calibration=windows)
        task = Task(mwanda.prune, source, {"allocation": "owl", "statistics": file}, {})
    (tmp_path / "undisturbed").mkdir()
    steps = steps_of(task, tmp_path / "undisturbed" / task.name, monkeypatch)
    wanted = made(tmp_path / "undisturbed" / task.name)
    for stop in range(1, len(steps) + 1, 7):
        place = tmp_path / str(stop)
        place.mkdir()
        assert kill_and_go_on(task, place, stop) == wanted, steps[stop - 1]


def test_finished_blocks_are_not_done_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run gets one block further; what was written stays as it is."""
    eager(monkeypatch)
    task = prune_task(tiny, tmp_path / "text", "llama", SEQUENTIAL)
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    steps = steps_of(task, tmp_path / "undisturbed", monkeypatch)
    entries = [
        n
        for n, (step, path) in enumerate(steps, 1)
        if (step, path.name) == ("renamed", "journal.json")
    ]
    assert len(entries) == 3
    for _ in entries:
        assert killed_at(entries[0], lambda: task(out))
    task(out)
    assert made(out) == made(tmp_path / "undisturbed")


@pytest.mark.parametrize("stop", range(6))
def test_an_older_output_is_there_until_the_new_one_is(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Killed around the last renames, with an output of ours in the place."""
    task = prune_task(tiny, tmp_path / "text", "llama", SEQUENTIAL)
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "place" / "out"
    out.parent.mkdir()
    task(undisturbed)
    shutil.copytree(undisturbed, out)
    with monkeypatch.context() as patched:
        steps = Steps()
        patched.setattr(durable, "reached", steps)
        task(out, overwrite=True)
    assert killed_at(len(steps.seen) - stop, lambda: task(out, overwrite=True))
    task(out, overwrite=True)
    assert made(out) == made(undisturbed)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
