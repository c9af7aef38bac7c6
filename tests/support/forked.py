"""Commands in forked processes, where all is imported already: a new one takes seconds for that."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch


class Forked:
    """``mwanda`` with these words in a process of its own, as :class:`subprocess.Popen` shows one.

    Args:
        before: called in it first.
    """

    def __init__(
        self,
        *words: object,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        before: Callable[[], Any] = lambda: None,
    ) -> None:
        self.returncode: int | None = None
        self._streams = [os.memfd_create(name) for name in ("out", "err")]
        self.pid = os.fork()
        if self.pid == 0:
            _become([str(word) for word in words], cwd, env or {}, before, self._streams)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        for stream in self._streams:
            os.close(stream)

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self, timeout: float = 120) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("mwanda", timeout)
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What it said on either stream, once it has ended."""
        self.wait(timeout)
        out, err = map(_text, self._streams)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, how)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Several:
    """The same words in several processes that share the work, as torchrun starts them."""

    def __init__(self, size: int, *words: object, cwd: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self._each = [
            Forked(*words, cwd=cwd, env=shared | {"RANK": str(n), "LOCAL_RANK": str(n)})
            for n in range(size)
        ]

    def __enter__(self) -> Several:
        return self

    def __exit__(self, *how: Any) -> None:
        for one in self._each:
            one.__exit__(*how)

    @property
    def returncode(self) -> int:
        """0 where all ended so, else the first other one."""
        return next((code for one in self._each if (code := one.wait())), 0)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What all said together."""
        out, err = zip(*(one.communicate(timeout) for one in self._each), strict=True)
        return "".join(out), "".join(err)


def torchrun(size: int, *words: object, cwd: Path) -> subprocess.Popen[str]:
    """The same by the launcher itself, in new processes.

    For what learns, too: autograd refuses to work in a fork once a device's thread of it runs.
    """
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(size), "-m", "mwanda", *map(str, words)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _become(
    words: list[str],
    cwd: Path,
    env: Mapping[str, str],
    before: Callable[[], Any],
    streams: Sequence[int],
) -> None:
    """Run a command, and never come back."""
    code = 99
    try:
        os.chdir(cwd)
        os.environ.update(env)
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        # Not pytest's: what it holds back, its handlers of signals and log lines, its filters.
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        logging.getLogger().handlers.clear()
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        before()
        from mwanda.cli import main

        main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _text(stream: int) -> str:
    return os.pread(stream, os.fstat(stream).st_size, 0).decode()
