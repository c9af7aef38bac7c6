"""Small files: seen whole, whoever writes them, and whatever a kill has left of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mwanda.errors import InputError, MwandaError
from mwanda.study.folder import FOLDERS, StudyFolder
from mwanda.system import durable
from mwanda.system.output import OutputFolder
from tests.support.failpoints import Steps, killed_at, stop_with

LEFT = "0123456789abcdef.new"


def test_two_that_write_one_file_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "card"

    def other() -> None:  # as the first is about to rename what it wrote
        monkeypatch.setattr(durable, "reached", Steps())
        durable.put(path, b"other")

    monkeypatch.setattr(durable, "reached", Steps(2, other))
    durable.put(path, b"first")
    assert path.read_bytes() == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["card"]


@pytest.mark.parametrize("step", [1, 2])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    (tmp_path / "card").write_bytes(b"old")
    monkeypatch.setattr(durable, "reached", Steps(step, stop_with(OSError("full"))))
    with pytest.raises(MwandaError, match="card"):
        durable.put(tmp_path / "card", b"new")
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"card": b"old"}


def test_what_a_kill_leaves_is_known(tmp_path: Path) -> None:
    assert killed_at(2, lambda: durable.put(tmp_path / "card.md", b"x"))
    (left,) = tmp_path.iterdir()
    assert durable.meant_for(left.name) == durable.meant_for("card.md.new") == "card.md"
    assert durable.meant_for("card.md") is durable.meant_for(".new") is None


def test_a_study_cleans_up_what_nobody_writes_any_more(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    (folder.path / f"plan.json.{LEFT}").touch()
    folder.check()
    folder.make()
    folder.write_plan({})
    left = [folder.path / "cells" / f"{key}.json.{LEFT}" for key in ("a", "b")]
    for path in left:
        path.touch()
    with folder.claim("b"):  # somebody is just writing it
        folder.tidy()
    assert [path.exists() for path in left] == [False, True]
    assert {p.name for p in folder.path.iterdir()} == {*FOLDERS, "plan.json"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"thesis.{LEFT}").touch()
    with pytest.raises(InputError, match="thesis"):
        StudyFolder(tmp_path / "other").check()


def test_an_output_of_ours_may_have_such_a_file_of_its_card(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mwanda.json").write_text('{"files": {}}')
    (out / f"README.md.{LEFT}").touch()
    OutputFolder(out, overwrite=True).check()
    (out / f"thesis.{LEFT}").touch()
    with pytest.raises(InputError, match="thesis"):
        OutputFolder(out, overwrite=True).check()


def test_a_run_that_goes_on_removes_them(tmp_path: Path) -> None:
    unfinished = tmp_path / ".out.partial"
    for name in ("output", "work", "scratch"):
        (unfinished / name).mkdir(parents=True)
    (unfinished / "work" / "journal.json").touch()
    (unfinished / "output" / f"README.md.{LEFT}").touch()
    (unfinished / "output" / "weights").touch()
    with OutputFolder(tmp_path / "out", overwrite=False, resume=True) as folder:
        assert [path.name for path in folder.iterdir()] == ["weights"]
