"""Progress on stderr: a bar on a terminal, and elsewhere a line every half minute."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

log = logging.getLogger("mwanda")

Item = TypeVar("Item")

PERIOD = 30.0
"""Least seconds from one line to the next, where there is no terminal to draw a bar on."""


class Progress(Protocol):
    """What long work reports to."""

    def stage(
        self, name: str, blocks: int, done: int = 0, unit: str = "block", after: float = 0.0
    ) -> None:
        """A new stage of so many blocks begins, of which an earlier run has done some.

        Args:
            unit: what counts as a block, in words.
            after: what the job still has to do after this stage, in blocks of this one: 18.0 where
                another comes that takes as long as 18 of these.
        """

    def block(self, tokens: int) -> None:
        """One more block is done, for which so many tokens were computed."""


class Silent:
    """Reports to nobody."""

    def stage(
        self, name: str, blocks: int, done: int = 0, unit: str = "block", after: float = 0.0
    ) -> None:
        """Nothing."""

    def block(self, tokens: int) -> None:
        """Nothing."""


class Unasked(Silent):
    """Reports to nobody; a public function reports on stderr instead."""


class ToStderr(logging.Handler):
    """To what is stderr at that time: a bar that is shown has its own, above which lines go."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        print(self.format(record), file=sys.stderr)


def speaks() -> bool:
    """Whether this process shows progress and results: of several that share a run, the first."""
    return "WORLD_SIZE" not in os.environ or os.environ.get("RANK", "0") == "0"


def place_among() -> str:
    """``"process 1 of 4: "`` where several share a run, else nothing; put before a message."""
    rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE", "1")
    return "" if rank is None or size == "1" else f"process {rank} of {size}: "


def quiet_libraries() -> None:
    """Libraries that are imported after this draw no bars of their own and log errors only."""
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("TQDM_DISABLE", "1"),
    ):
        os.environ.setdefault(name, value)


@contextmanager
def progress_bar(
    model: str | None = None, *, quiet: bool = False, verbose: bool = False
) -> Iterator[Progress]:
    """Block k of n, tokens per second and time left: a bar on a terminal, elsewhere a line at most
    every :data:`PERIOD` seconds. Of several processes that share a run, the first reports.

    Args:
        model: what is opened first, which is said at once.
        quiet: report nothing.
        verbose: a line for every block, on a terminal too.
    """
    if quiet or not speaks():
        yield Silent()
        return
    if model is not None:
        log.info("opening %s", model)
    if verbose or not sys.stderr.isatty():
        yield Lines(0.0 if verbose else PERIOD)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[unit]}"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True, expand=True) as shown:
        yield Bar(shown)


class _Pace:
    """How fast one stage goes, and what that says of the whole job. What an earlier run has done
    says nothing of it."""

    def __init__(
        self, name: str, blocks: int, done: int, now: float, unit: str = "block", after: float = 0.0
    ) -> None:
        self.name, self.blocks, self.done, self.unit = name, blocks, done, unit
        self._begun, self._before, self._tokens, self._after = now, done, 0, after

    def block(self, tokens: int) -> None:
        self.done += 1
        self._tokens += tokens

    def words(self, now: float) -> str:
        """``1,234 tokens/s, 12 min left``; what is not known is left out."""
        elapsed, here = now - self._begun, self.done - self._before
        speed = [f"{self._tokens / elapsed:,.0f} tokens/s"] if self._tokens and elapsed > 0 else []
        left = elapsed / here * (self.blocks - self.done + self._after) if here else 0.0
        return ", ".join(speed + ([f"{duration(left)} left"] if left > 0 else []))


class Lines:
    """Reports in lines of text, for a pipe or a log.

    Args:
        period: least seconds between two of them.
        clock: gives the seconds.
    """

    def __init__(self, period: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period, self._clock = period, clock
        self._last = clock()
        self._pace = _Pace("", 0, 0, self._last)

    def stage(
        self, name: str, blocks: int, done: int = 0, unit: str = "block", after: float = 0.0
    ) -> None:
        self._pace = _Pace(name, blocks, done, self._clock(), unit, after)

    def block(self, tokens: int) -> None:
        now, pace = self._clock(), self._pace
        pace.block(tokens)
        if now - self._last < self._period:
            return
        self._last = now
        place = f"{pace.name}: {pace.unit} {pace.done} of {pace.blocks}"
        # Not through the log: a study keeps that of its cells to itself.
        print(", ".join(filter(None, (place, pace.words(now)))), file=sys.stderr, flush=True)


class Bar:
    """Reports on a bar of rich's, a new one for every stage."""

    def __init__(self, shown: Any) -> None:
        self._shown = shown
        self._task: Any = None
        self._pace = _Pace("", 0, 0, 0.0)

    def stage(
        self, name: str, blocks: int, done: int = 0, unit: str = "block", after: float = 0.0
    ) -> None:
        if self._task is not None:
            self._shown.remove_task(self._task)
        self._task = self._shown.add_task(name, total=blocks, completed=done, unit=unit, pace="")
        self._pace = _Pace(name, blocks, done, time.monotonic(), after=after)

    def block(self, tokens: int) -> None:
        self._pace.block(tokens)
        self._shown.update(self._task, advance=1, pace=self._pace.words(time.monotonic()))


class First:
    """Reports the first of two runs alike, of each of which the stages are known as they come: the
    time left is that of both."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._run, self._after = 0.0, 0.0

    def stage(
        self, name: str, blocks: int, done: int = 0, unit: str = "block", after: float = 0.0
    ) -> None:
        # A whole run in blocks of this stage: what the stage before said is left is what there is.
        here = blocks + after
        self._run = self._run * here / self._after if self._after else here
        self._after = after
        self._progress.stage(f"{name}, 1 of 2", blocks, done, unit, after + self._run)

    def block(self, tokens: int) -> None:
        self._progress.block(tokens)


def watched(
    items: Collection[Item], name: str, progress: Progress | None, unit: str = "linear"
) -> Iterator[Item]:
    """The items, each reported when the next one is asked for."""
    progress = progress or Silent()
    progress.stage(name, len(items), unit=unit)
    for item in items:
        yield item
        progress.block(0)


def duration(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
