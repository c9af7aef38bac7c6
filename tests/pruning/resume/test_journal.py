"""A journal goes on with its own run only, and says what is different about another."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mwanda
from mwanda import InputError, Recipe, RunOptions
from mwanda.pruning import journal
from mwanda.pruning.journal import Journal
from mwanda.system import durable
from tests.pruning.pipeline.helpers import Tiny, windows_file
from tests.pruning.resume.helpers import Task, made
from tests.support.failpoints import Steps, eager, stop_with

FIELDS: dict[str, Any] = {"mode": "sequential", "allocation": "uniform", "criterion": "wanda"}


@pytest.fixture
def source(tiny: Tiny, tmp_path: Path) -> Path:
    """A model that a test may write to."""
    return Path(shutil.copytree(tiny("llama"), tmp_path / "source"))


@pytest.fixture
def task(source: Path, tmp_path: Path) -> Task:
    return Task(mwanda.prune, source, FIELDS | {"calibration": windows_file(tmp_path)}, {})


@pytest.fixture
def out(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output whose run was stopped after its second block."""
    eager(monkeypatch)
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    entries = 0

    def stop(step: str, path: Path) -> None:
        nonlocal entries
        entries += (step, path.name) == ("renamed", "journal.json")
        if entries == 2:
            raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "reached", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            task(out)
    assert journal_of(out)["stages"] == {"prune": 2}
    return out


def work_of(out: Path) -> Path:
    return out.parent / f".{out.name}.partial" / "work"


def journal_of(out: Path) -> dict[str, Any]:
    return json.loads((work_of(out) / "journal.json").read_text().partition("\n")[2])


def refuse(task: Task, out: Path, *says: str, **options: Any) -> None:
    """The run is refused, and the journal stays as it is."""
    before = (work_of(out) / "journal.json").read_bytes()
    with pytest.raises(InputError) as caught:
        task(out, **options)
    for part in (*says, "--restart"):
        assert part in str(caught.value)
    assert not out.exists()
    assert (work_of(out) / "journal.json").read_bytes() == before


def changed(task: Task, **fields: Any) -> Task:
    return Task(task.run, task.source, task.fields | fields, task.options)


def test_another_recipe_is_named(task: Task, out: Path) -> None:
    refuse(changed(task, sparsity=0.6), out, "recipe.sparsity (0.5 there, 0.6 now)")
    refuse(changed(task, skip_first_tokens=1), out, "recipe.skip_first_tokens (0 there, 1 now)")


def test_another_way_to_run_is_named(
    task: Task, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(task, out, "batch_tokens (24 there, 48 now)", batch_tokens=48)
    refuse(task, out, "compute_dtype (float32 there, float64 now)", compute_dtype="float64")
    refuse(task, out, "max_shard_size", max_shard_size=100_000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    refuse(task, out, "threads (1 there, 7 now)")


def test_another_version_is_named(task: Task, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mwanda.pruning.task.versions", lambda: {"torch": "9.9"})
    refuse(task, out, "versions.torch", "9.9 now", "none now")


def test_other_text_is_named(task: Task, out: Path, tmp_path: Path) -> None:
    other = windows_file(tmp_path, seed=2)
    refuse(changed(task, calibration=other), out, "windows.de", "windows.sw")
    refuse(changed(task, calibration=other, languages=["de"]), out, "windows.sw", "none now")


def test_another_model_is_named(task: Task, out: Path, source: Path) -> None:
    path = source / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.2.mlp.up_proj.weight"][0, 0] += 1
    save_file(tensors, path, {"format": "pt"})
    refuse(task, out, "model.model.safetensors")


def test_what_changes_nothing_may_change(task: Task, out: Path, tmp_path: Path) -> None:
    whole = task(tmp_path / "undisturbed")
    rest = task(out, activation_memory=1000, overwrite=True)
    # How long the whole takes is not to be seen from its rest.
    assert whole.limit is not None
    assert rest.limit is None
    assert made(out) == made(tmp_path / "undisturbed")
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_restart_discards_it(task: Task, out: Path, tmp_path: Path) -> None:
    other = changed(task, sparsity=0.6)
    other(tmp_path / "undisturbed")
    other(out, restart=True)
    assert made(out) == made(tmp_path / "undisturbed")
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_is_finished_is_not_lost_without_a_word(task: Task, out: Path) -> None:
    """By a run without a journal, by several processes, or by another command."""
    refuse(task, out, "expected no unfinished run", "the journal of one", journal=False)
    with pytest.raises(InputError, match="the journal of one"):
        mwanda.unpack(_archive(task.source, out.parent.parent), out)
    assert journal_of(out)["stages"] == {"prune": 2}


def _archive(folder: Path, place: Path) -> Path:
    mwanda.pack(folder, place / "a.mwz")
    return place / "a.mwz"


def test_without_a_journal_nothing_is_left(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    (tmp_path / "place").mkdir()
    out = tmp_path / "place" / "out"
    steps = Steps()
    with monkeypatch.context() as patched:
        patched.setattr(durable, "reached", steps)
        task(out, journal=False)
    assert not [path for _, path in steps.seen if path.name == "journal.json"]
    task(tmp_path / "with")
    assert made(out) == made(tmp_path / "with")
    shutil.rmtree(out)
    with monkeypatch.context() as patched:
        stop = Steps(len(steps.seen) - 2, stop_with(RuntimeError("stopped")))
        patched.setattr(durable, "reached", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            task(out, journal=False)
    assert list(out.parent.iterdir()) == []


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _rewrite(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        data = json.loads(path.read_text().partition("\n")[2])
        change(data)
        body = json.dumps(data)
        path.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}\n")

    return apply


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "cut": ("journal.json", _cut, "SHA-256"),
    "flipped": ("journal.json", _flip, "journal.json"),
    "empty": ("journal.json", lambda path: path.write_text(""), "SHA-256"),
    "no text": ("journal.json", lambda path: path.write_bytes(b"\xff\xfe\x00"), "codec"),
    "of tomorrow": ("journal.json", _rewrite(lambda d: d.update(format=2)), "format 2"),
    "no fields": ("journal.json", _rewrite(dict.clear), "Field required"),
    "deep": (
        "journal.json",
        lambda path: path.write_text(
            f"{hashlib.sha256(b'[' * 100_000).hexdigest()}\n{'[' * 100_000}\n"
        ),
        "journal.json",
    ),
    "a name outside": (
        "journal.json",
        _rewrite(lambda d: d["files"].update({"../../x": "0"})),
        "the file name ../../x",
    ),
    "a file too many": ("journal.json", _rewrite(lambda d: d["files"].update(x="0")), "No such"),
    "states flipped": ("states-00002.bin", _flip, "SHA-256"),
    "states cut": ("states-00002.bin", _cut, "SHA-256"),
    "states gone": ("states-00002.bin", Path.unlink, "No such file"),
    "of other batches": (
        "journal.json",
        _rewrite(lambda d: d["states"]["entries"].reverse()),
        "no hidden states of these batches",
    ),
    "huge states": (
        "journal.json",
        _rewrite(lambda d: d["states"]["entries"][0][1].append(2**40)),
        "another size",
    ),
    "odd shards": ("journal.json", _rewrite(lambda d: d["parts"].update(shards=[])), "no shards"),
    "odd dtype": (
        "journal.json",
        _rewrite(lambda d: d["states"]["entries"][0].__setitem__(0, "int9")),
        "the dtype int9",
    ),
    "odd outcome": (
        "journal.json",
        _rewrite(lambda d: d["parts"]["outcome"].update(records=3)),
        "no outcome in it",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_journal_is_refused(task: Task, out: Path, name: str) -> None:
    file, damage, says = DAMAGES[name]
    damage(work_of(out) / file)
    refuse(task, out, says)


def test_damaged_weights_are_refused(task: Task, out: Path) -> None:
    shard = out.parent / ".out.partial" / "output" / "model.safetensors"
    stored = load_file(shard)
    stored["model.layers.1.mlp.up_proj.weight"][3, 4] += 1
    save_file(stored, shard, {"format": "pt"})
    refuse(task, out, "model.layers.1.mlp.up_proj", "others, by their SHA-256")
    shard.unlink()
    refuse(task, out, "others, by their SHA-256")


def test_somebody_elses_folder_is_left_alone(task: Task, tmp_path: Path) -> None:
    partial = tmp_path / "place" / ".out.partial"
    partial.mkdir(parents=True)
    (partial / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"an unfinished run of mwanda left, found thesis\.tex"):
        task(tmp_path / "place" / "out")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        task(tmp_path / "place" / "out", restart=True)
    assert [path.name for path in partial.iterdir()] == ["thesis.tex"]
    partial.rename(tmp_path / "aside")
    partial.symlink_to(tmp_path / "aside")
    with pytest.raises(InputError, match="found no folder"):
        task(tmp_path / "place" / "out")


def test_several_processes_keep_none(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mwanda.pruning.task import keeps_journal
    from mwanda.system.ranks import ALONE, Ranks

    assert keeps_journal(RunOptions(), ALONE)
    assert not keeps_journal(RunOptions(), Ranks(0, 2))
    assert not keeps_journal(RunOptions(journal=False), ALONE)


def test_entries_are_paced_by_what_they_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a second a block and half a second an entry: none at once, then one in 13 blocks; and one
    where a stage ends."""
    now = [0.0]
    monkeypatch.setattr("mwanda.pruning.journal.time.perf_counter", lambda: now[0])
    written: list[int] = []

    def settle() -> tuple[None, tuple[Path, ...]]:
        now[0] += 0.5
        written.append(block)
        return None, ()

    kept = Journal(tmp_path)
    kept.take_part("x", settle)
    for block in range(1, 41):
        now[0] += 1
        kept.finished("prune", block, None, last=block == 40)
    assert written == [2, 15, 28, 40]
    assert journal.SHARE == 25


def test_a_plan_counts_the_journal(tiny: Tiny, tmp_path: Path) -> None:
    recipe, windows = Recipe.build(FIELDS, "x"), windows_file(tmp_path)
    plans = [
        mwanda.plan(
            tiny("llama"), recipe=recipe, calibration=windows, options=RunOptions(journal=on)
        )
        for on in (True, False)
    ]
    states = 160 * 48 * 4
    assert 2 * states < plans[0].disk - plans[1].disk < 2 * states + 3_000_000


def test_what_is_kept_in_words() -> None:
    known = Journal()
    assert known.kept(24) == "nothing kept"
    known.finished("prune", 10, None, last=False)
    assert known.kept(24) == "10 of 24 blocks kept"
    other = Journal()
    other.finished("dense pass", 24, None, last=True)
    other.finished("prune", 10, None, last=False)
    assert other.kept(24) == "24 of 24 blocks of the dense pass, 10 of 24 blocks of the prune kept"
