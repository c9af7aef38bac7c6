"""Every wrong input is refused in words, at once, and nothing is written or run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mwanda.errors import MwandaError
from tests.bad_input.case import Case
from tests.bad_input.place import Place
from tests.bad_input.table import CASES
from tests.cli.helpers import Bench, check_refusal, run_process, tree


@pytest.fixture(scope="module")
def untouched(good: Place) -> Iterator[None]:
    before = tree(good.good)
    yield
    assert tree(good.good) == before


def test_each_has_a_name_of_its_own() -> None:
    assert [name for name, n in Counter(case.name for case in CASES).items() if n > 1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.usefixtures("as_it_was", "untouched")
def test_what_is_wrong_is_refused(
    good: Place, case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = good.at(tmp_path)
    made = case.make(place)
    before = tree(tmp_path)
    if isinstance(made, list):
        ran = Bench(good.good / "model", good.good / "text", tmp_path, capsys).run(*made)
        check_refusal(ran, *case.parts(place), code=case.code, lines=case.lines)
        said = ran.err.splitlines()
    else:
        with pytest.raises(MwandaError) as caught:
            made()
        said = list(caught.value.problems)
        assert (caught.value.exit_code, len(said)) == (case.code, case.lines)
        assert [part for part in case.parts(place) if part not in " ".join(said)] == [], said
    assert tree(tmp_path) == before
    assert all(len(line) < 1200 and line.isprintable() for line in said)


@pytest.mark.parametrize("kind", ["header", "recipe", "xcopa"])
def test_the_same_as_a_process(good: Place, kind: str, tmp_path: Path) -> None:
    """One that needs torch, one that does not, one that needs lm-eval."""
    case = next(case for case in CASES if case.name.startswith(f"{kind}:"))
    place = good.at(tmp_path)
    words = case.make(place)
    assert isinstance(words, list)
    before = tree(tmp_path)
    ran = run_process(*words, "-q", cwd=tmp_path)
    check_refusal(ran, *case.parts(place), lines=case.lines)
    assert tree(tmp_path) == before


def test_sound_files_are_sound(
    good: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table would prove nothing if these were refused too."""
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
        place.evaluate("--text", good.good / "other"),
    ):
        assert bench.run(*words).code == 0, words
