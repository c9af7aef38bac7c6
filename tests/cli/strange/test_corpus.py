"""Every wrong input is refused in words, at once, and nothing is written or run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import as_it_was
from tests.cli.helpers import Bench, check_refusal, run_process, tree
from tests.cli.strange.case import Case
from tests.cli.strange.corpus import CASES
from tests.cli.strange.place import Place

__all__ = ["as_it_was"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Sound files of every kind. Do not write in it."""
    return Place.make(tmp_path_factory.mktemp("good") / "files")


@pytest.fixture(scope="module")
def untouched(good: Place) -> Iterator[None]:
    before = tree(good.good)
    yield
    assert tree(good.good) == before


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.usefixtures("as_it_was", "untouched")
def test_what_is_wrong_is_refused(
    good: Place, case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = good.at(tmp_path)
    words = case.make(place)
    bench = Bench(good.good / "model", good.good / "text", tmp_path, capsys)
    ran = bench.refuse(words, *case.says, lines=case.lines)
    assert all(len(line) < 1200 for line in ran.err.splitlines())
    assert ran.err.replace("\n", "").isprintable()


@pytest.mark.parametrize("kind", ["header", "index", "config", "recipe", "archive"])
def test_the_same_as_a_process(good: Place, kind: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name.startswith(f"{kind}:"))
    words = case.make(good.at(tmp_path))
    before = tree(tmp_path)
    check_refusal(run_process(*words, cwd=tmp_path), *case.says, lines=case.lines)
    assert tree(tmp_path) == before


def test_sound_files_are_sound(
    good: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The corpus would prove nothing if these were refused too."""
    place = good.at(tmp_path)
    bench = Bench(good.good / "model", good.good / "text", tmp_path, capsys)
    for words in (
        place.prune(),
        [*place.prune_with("--calibration", good.good / "windows.safetensors"), "--overwrite"],
        [*place.prune_with("--statistics", good.good / "statistics.safetensors"), "--overwrite"],
        [*place.magnitude(good.good / "model.gguf"), "--overwrite"],
        ["verify", good.good / "pruned"],
        ["diff", good.good / "masks.safetensors", good.good / "pruned"],
        ["stats", "show", good.good / "statistics.safetensors"],
        ["unpack", good.good / "pruned.mwz", "--out", place.out, "--overwrite"],
        place.translate(),
    ):
        assert bench.run(*words).code == 0, words
