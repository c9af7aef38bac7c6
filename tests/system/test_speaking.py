"""A public function speaks on stderr, and leaves the log as it was."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mwanda
from mwanda.system.progress import PERIOD, Lines
from mwanda.system.speaking import log, speaking


@speaking
def work(model: str, *, options: mwanda.RunOptions | None = None) -> Any:
    log.info("dropped 130 of 1298")
    assert options is not None
    return options.progress


@speaking
def look(folder: str, *, progress: Any = None) -> Any:
    log.info("looked at %s", folder)
    return progress


Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def unconfigure(monkeypatch: Patch) -> None:
    """As in a notebook: nobody has configured logging. Called in the test, where pytest has."""
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "level", logging.NOTSET)
    log._cache.clear()  # type: ignore[attr-defined]


def test_lines_and_progress_reach_stderr(capsys: Capture, monkeypatch: Patch) -> None:
    unconfigure(monkeypatch)
    for function, said in ((work, "dropped 130 of 1298"), (look, "looked at tiny")):
        progress = function("tiny")
        assert isinstance(progress, Lines)
        assert progress._period == PERIOD
        told = capsys.readouterr()
        assert (told.out, told.err) == ("", f"opening tiny\n{said}\n")
        assert (log.handlers, log.level) == ([], logging.NOTSET)
    given = Lines(0.0)
    assert work("tiny", options=mwanda.RunOptions(progress=given)) is given
    assert capsys.readouterr().err == "dropped 130 of 1298\n"


def test_one_line_silences_a_call_or_all(capsys: Capture, monkeypatch: Patch) -> None:
    unconfigure(monkeypatch)
    silent = mwanda.Silent()
    assert work("tiny", options=mwanda.RunOptions(progress=silent)) is silent
    assert look("tiny", progress=silent) is silent
    log.setLevel(logging.WARNING)
    assert isinstance(work("tiny"), mwanda.Silent)
    assert isinstance(look("tiny"), mwanda.Silent)
    assert capsys.readouterr().err == ""


def test_a_handler_of_the_caller_is_left_alone(capsys: Capture, monkeypatch: Patch) -> None:
    unconfigure(monkeypatch)
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel(logging.INFO)
    work("tiny")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("dropped 130 of 1298\n", "")


def test_an_error_says_how_python_writes_the_options_it_names() -> None:
    @speaking
    def outer(window_length: int, *, options: mwanda.RunOptions | None = None) -> None:
        inner(window_length)

    @speaking
    def inner(window_length: int, *, progress: Any = None) -> None:
        fix = "pass --allow-short, leave --window-length out, or llama-gguf-split --merge A"
        raise mwanda.InputError("--window-length", expected="8", found="9", fix=fix)

    with pytest.raises(mwanda.InputError) as caught:
        outer(9)
    assert caught.value.__notes__ == [
        "in Python --window-length is window_length=, "
        "--allow-short is options=RunOptions(allow_short=…)"
    ]
    assert "in Python" not in str(caught.value)  # the command line prints that


def test_fields_of_a_recipe_are_written_as_parameters(tiny: Callable[[str], Path]) -> None:
    model = tiny("llama")
    with pytest.raises(mwanda.InputError, match="--language-weights") as caught:
        mwanda.plan(model, calibration={"de": ["eins"]}, language_weights={"fr": 1.0})
    assert caught.value.__notes__ == ["in Python --language-weights is language_weights="]
