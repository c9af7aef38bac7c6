"""The output folder: there whole under its final name, or not there; never what is not ours."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mwanda.errors import InputError
from mwanda.system.files import amount, check_disk_space, parse_size, sha256_of
from mwanda.system.output import OutputFolder

MANIFEST = '{"files": {"weights": "its hash"}}'


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def make(target: Path, text: str = "new", *, overwrite: bool = False) -> None:
    output = OutputFolder(target, overwrite=overwrite)
    output.check()
    with output as folder:
        (folder / "weights").write_text(text)
        (folder / "mwanda.json").write_text(MANIFEST)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    make(tmp_path / "out", "old")
    return tmp_path / "out"


def refuse(target: Path, *says: str, source: Path | None = None, overwrite: bool = False) -> None:
    parent = target.parent
    before = sorted(os.walk(parent))
    with pytest.raises(InputError) as caught:
        OutputFolder(target, overwrite=overwrite).check(source)
    for part in ("expected", "found", *says):
        assert part in str(caught.value)
    assert sorted(os.walk(parent)) == before


def test_a_clean_exit_leaves_the_final_name_only(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "out", overwrite=False)
    output.check()
    assert list(tmp_path.iterdir()) == []
    with output as folder:
        assert folder == tmp_path / ".out.partial" / "output"
        assert not (tmp_path / "out").exists()
        (folder / "a").write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert contents(tmp_path / "out") == {"a": b"x"}


def test_a_relative_target_stays_where_it_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    output = OutputFolder(Path("out"), overwrite=False)
    monkeypatch.chdir(tmp_path)
    with output as folder:
        (folder / "a").touch()
    assert (tmp_path / "one" / "out" / "a").exists()


ERRORS = [ValueError("x"), KeyboardInterrupt(), SystemExit(143), OSError("x")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_exception_removes_what_was_begun(
    tmp_path: Path, error: BaseException, overwrite: bool
) -> None:
    if overwrite:
        make(tmp_path / "out", "old")
    output = OutputFolder(tmp_path / "out", overwrite=overwrite)

    def go() -> None:
        with output as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "a").write_text("x")
            raise error

    with pytest.raises(type(error)):
        go()
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if overwrite else [])
    if overwrite:
        assert contents(tmp_path / "out")["weights"] == b"old"


def test_what_exists_is_refused(tmp_path: Path, ours: Path) -> None:
    refuse(ours, str(ours), "existing", "--overwrite")
    (tmp_path / "file").touch()
    refuse(tmp_path / "file", "existing file", "another --out")
    (tmp_path / "dangling").symlink_to("nowhere")
    refuse(tmp_path / "dangling", "existing")


def test_an_output_of_ours_is_replaced(tmp_path: Path, ours: Path) -> None:
    (ours / "README.md").touch()
    make(ours, overwrite=True)
    assert contents(ours) == {"weights": b"new", "mwanda.json": MANIFEST.encode()}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_output_of_ours_with_somebodys_file_in_it_is_left_alone(ours: Path) -> None:
    (ours / "calibration.txt").write_text("years")
    refuse(ours, "mwanda did not write: calibration.txt", overwrite=True)
    assert contents(ours)["weights"] == b"old"
    assert contents(ours)["calibration.txt"] == b"years"


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    refuse(tmp_path / "out", "--overwrite")
    make(tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out")["weights"] == b"new"


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling"])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, ours: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "folder":
        target.mkdir()
        (target / "thesis.tex").write_text("years")
    elif kind == "file":
        target.write_text("years")
    else:
        target.symlink_to(ours if kind == "link" else "nowhere")
    refuse(target, "mwanda.json", "mwanda did not write", overwrite=True)
    assert contents(target) == {"thesis.tex": b"years"} if kind == "folder" else True
    assert contents(ours)["weights"] == b"old"


def test_what_came_into_being_meanwhile_is_left_alone(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "out", overwrite=False)
    output.check()

    def go() -> None:
        with output as folder:
            (folder / "a").touch()
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").write_text("x")

    with pytest.raises(InputError, match="existing"):
        go()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert contents(tmp_path / "out") == {"theirs": b"x"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_source_is_never_written_over(tmp_path: Path, overwrite: bool) -> None:
    source = tmp_path / "models" / "source"
    source.mkdir(parents=True)
    (source / "mwanda.json").write_text("{}")
    (tmp_path / "link").symlink_to(source)
    refuse(source, "source", "the same", source=source, overwrite=overwrite)
    refuse(source.parent, "source", "holds it", source=source, overwrite=overwrite)
    refuse(source, "source", "the same", source=tmp_path / "link", overwrite=overwrite)
    refuse(tmp_path / "link", "source", "the same", source=source, overwrite=overwrite)
    refuse(source, "source", source=source / "mwanda.json", overwrite=overwrite)
    OutputFolder(tmp_path / "models" / "source2", overwrite=overwrite).check(source)
    OutputFolder(source / "pruned", overwrite=overwrite).check(source)


def test_a_parent_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    refuse(tmp_path / "no" / "out", f"{tmp_path / 'no'}:", "no such folder", "make the folder")
    assert not (tmp_path / "no").exists()
    (tmp_path / "file").touch()
    refuse(tmp_path / "file" / "out", f"{tmp_path / 'file'}:", "found a file", "another --out")


@pytest.mark.parametrize("length", [240, 255, 256, 5000])
def test_a_name_too_long_is_refused(tmp_path: Path, length: int) -> None:
    refuse(tmp_path / ("x" * length), "long")


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_to_write(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse_to_write)
    refuse(tmp_path / "out", str(tmp_path), "Read-only file system", "another --out")
    OutputFolder(tmp_path / "out", overwrite=False).check(write=False)


class Renames:
    """``os.rename`` that fails at its n-th call, before or after it did its work."""

    def __init__(self, which: int, error: BaseException, *, after: bool = False) -> None:
        self.calls, self.which, self.error, self.after = 0, which, error, after
        self.real = os.rename

    def __call__(self, source: Any, target: Any) -> None:
        self.calls += 1
        if self.calls == self.which and not self.after:
            raise self.error
        self.real(source, target)
        if self.calls == self.which:
            raise self.error


@pytest.mark.parametrize("error", [OSError("x"), KeyboardInterrupt(), SystemExit(143)], ids=repr)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("which", [1, 2])
def test_a_rename_that_fails_keeps_the_old_or_the_new(
    tmp_path: Path,
    ours: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: int,
    after: bool,
    error: BaseException,
) -> None:
    monkeypatch.setattr(os, "rename", Renames(which, error, after=after))
    with pytest.raises(type(error)):
        make(ours, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert contents(ours)["weights"] == (b"new" if (which, after) == (2, True) else b"old")


def test_a_first_rename_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "rename", Renames(1, OSError("x")))
    with pytest.raises(OSError, match="x"):
        make(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_disk_must_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    check_disk_space(tmp_path, 3_000_000_000, "the model")
    with pytest.raises(InputError) as caught:
        check_disk_space(tmp_path, 3_010_000_000, "the model")
    for part in (str(tmp_path), "3.01 GB", "the model", "found 3.00 GB", "free some space"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("5GB", 5 * 10**9),
        ("5 gb", 5 * 10**9),
        ("512MiB", 512 * 2**20),
        ("1.5K", 1500),
        ("2Ki", 2048),
        ("1T", 10**12),
        ("1TiB", 2**40),
        (" 7B ", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "--x") == size


def test_small_amounts_are_megabytes() -> None:
    sizes = (1_234_000, 253_113_024, 999_400_000, 1_254_000_000)
    assert [*map(amount, sizes)] == ["1.2 MB", "253 MB", "999 MB", "1.25 GB"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "GB",
        "1X",
        "1.2.3",
        "1e9",
        "nan",
        "inf",
        "0.4",
        "5 G B",
        "1I",
        "1\n2",
        "9" * 400,
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--x: expected a size such as 5GB or 512MiB, found") as e:
        parse_size(text, "--x")
    assert len(str(e.value)) < 200


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x").startswith("ba7816bf8f01cfea")
