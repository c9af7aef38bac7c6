"""What long work says of how far it is, where there is no terminal and where there is one."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from mwanda.system.progress import (
    PERIOD,
    Bar,
    First,
    Lines,
    Silent,
    duration,
    progress_bar,
    speaks,
    watched,
)


class Clock:
    """Stands still until it is put forward."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_hears_at_most_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(PERIOD, clock)
    lines.stage("prune", 24)
    for _ in range(12):  # 96 seconds
        clock.now += 8
        lines.block(1600)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "prune: block 4 of 24, 200 tokens/s, 3 min left",
        "prune: block 8 of 24, 200 tokens/s, 2 min left",
        "prune: block 12 of 24, 200 tokens/s, 2 min left",
    ]


def test_the_time_left_is_by_the_blocks_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(0.0, clock)
    lines.stage("prune", 24, done=20)
    clock.now += 15
    lines.block(0)  # one of this run in 15 s, and 3 to come: not the 21 that are done
    assert capsys.readouterr().err == "prune: block 21 of 24, 45 s left\n"
    lines.stage("evaluate", 2)  # the next stage knows nothing of the one before
    clock.now += 40
    lines.block(80)
    clock.now += 40
    lines.block(80)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: block 1 of 2, 2 tokens/s, 40 s left",
        "evaluate: block 2 of 2, 2 tokens/s",
    ]


def test_the_time_left_is_that_of_the_whole_job(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(0.0, clock)

    def blocks(count: int, seconds: float) -> None:
        for _ in range(count):
            clock.now += seconds
            told.block(0)

    for told in (First(lines), lines):  # two runs alike
        told.stage("evaluate", 2, after=1.0)
        blocks(2, 10)
        told.stage("vocabulary", 4, unit="batch")  # as long as one block in all
        blocks(4, 2.5)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate, 1 of 2: block 1 of 2, 50 s left",
        "evaluate, 1 of 2: block 2 of 2, 40 s left",
        "vocabulary, 1 of 2: batch 1 of 4, 38 s left",
        "vocabulary, 1 of 2: batch 2 of 4, 35 s left",
        "vocabulary, 1 of 2: batch 3 of 4, 32 s left",
        "vocabulary, 1 of 2: batch 4 of 4, 30 s left",
        "evaluate: block 1 of 2, 20 s left",
        "evaluate: block 2 of 2, 10 s left",
        "vocabulary: batch 1 of 4, 8 s left",
        "vocabulary: batch 2 of 4, 5 s left",
        "vocabulary: batch 3 of 4, 2 s left",
        "vocabulary: batch 4 of 4",
    ]


def test_what_is_counted_has_its_own_word(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(0.0, clock)
    for item in watched(["a", "b"], "diff", lines):
        clock.now += 10
        assert item in "ab"
    assert capsys.readouterr().err.splitlines() == [
        "diff: linear 1 of 2, 10 s left", "diff: linear 2 of 2",
    ]  # fmt: skip
    assert [*watched([1], "diff", None)] == [1]


def test_a_bar_shows_one_stage_and_where_it_began() -> None:
    shown = RichProgress(console=Console(file=io.StringIO()))
    bar = Bar(shown)
    bar.stage("dense pass", 4)
    bar.block(100)
    bar.stage("prune", 24, done=10)
    bar.block(100)
    (task,) = shown.tasks
    assert (task.description, task.completed, task.total) == ("prune", 11, 24)
    assert task.fields["pace"].endswith("left")


def test_who_hears_what(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mwanda")
    with progress_bar("gemma") as said:
        assert isinstance(said, Lines)  # no terminal
    assert caplog.messages == ["opening gemma"]
    with progress_bar("gemma", quiet=True) as said:
        assert isinstance(said, Silent)
    monkeypatch.setenv("RANK", "1")  # alone, however something else has numbered it
    assert speaks()
    monkeypatch.setenv("WORLD_SIZE", "2")  # another of several processes speaks
    assert not speaks()
    with progress_bar("gemma") as said:
        assert isinstance(said, Silent)
    assert len(caplog.messages) == 1
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar() as said:
        assert isinstance(said, Bar)
    with progress_bar(verbose=True) as said:
        assert isinstance(said, Lines)


def test_durations() -> None:
    assert [duration(s) for s in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]
