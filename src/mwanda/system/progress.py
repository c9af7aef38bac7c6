"""Progress on stderr when it is a terminal, nothing otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What long work reports to."""

    def stage(self, name: str, blocks: int) -> None:
        """A new stage of so many blocks begins."""

    def block(self, tokens: int) -> None:
        """One more block is done, for which so many tokens were computed."""


class Silent:
    """Reports to nobody."""

    def stage(self, name: str, blocks: int) -> None:
        """Nothing."""

    def block(self, tokens: int) -> None:
        """Nothing."""


def speaks() -> bool:
    """Whether this process shows progress and results: of several that share a run, the first."""
    return os.environ.get("RANK", "0") == "0"


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
def progress_bar(enabled: bool | None = None) -> Iterator[Progress]:
    """Block k of n, tokens per second and time left, by rich.

    Args:
        enabled: None shows it exactly when stderr is a terminal.
    """
    if not (sys.stderr.isatty() if enabled is None else enabled):
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("block"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield _Shown(shown)


class _Shown:
    def __init__(self, shown: object) -> None:
        from rich.progress import Progress as RichProgress

        if not isinstance(shown, RichProgress):
            raise TypeError("expected a rich progress display")
        self._shown = shown
        self._task: object = None
        self._tokens = 0

    def stage(self, name: str, blocks: int) -> None:
        self._task = self._shown.add_task(name, total=blocks, speed="")
        self._tokens = 0

    def block(self, tokens: int) -> None:
        self._tokens += tokens
        task = self._shown.tasks[-1]
        elapsed = task.elapsed or 0.0
        speed = f"{self._tokens / elapsed:,.0f} tokens/s" if tokens and elapsed else ""
        self._shown.update(task.id, advance=1, speed=speed)
