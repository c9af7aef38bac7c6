"""Checkpoints of a recovery, as a later run finds them."""

from __future__ import annotations

import json
from pathlib import Path

from mwanda.pruned.recover.training import BEST, STATE, WHOLE, _last_checkpoint


def checkpoint(work: Path, step: int, *, best: str | None, whole: bool = True) -> Path:
    made = work / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / STATE).write_text(json.dumps({BEST: best, "global_step": step}), encoding="utf-8")
    if whole:
        (made / WHOLE).touch()
    return made


def test_the_best_state_is_found_where_the_folder_was_moved(tmp_path: Path) -> None:
    work = tmp_path / "here"
    checkpoint(work, 2, best=None)
    last = checkpoint(work, 10, best="/gone/checkpoint-2")
    assert _last_checkpoint(work) == last
    state = json.loads((last / STATE).read_text(encoding="utf-8"))
    assert state == {BEST: str(work / "checkpoint-2"), "global_step": 10}


def test_a_checkpoint_that_is_not_on_the_disk_is_passed_over(tmp_path: Path) -> None:
    first = checkpoint(tmp_path, 9, best=None)
    checkpoint(tmp_path, 10, best=None, whole=False)
    assert _last_checkpoint(tmp_path) == first
    assert _last_checkpoint(tmp_path / "none") is None
