"""Threads that an interrupt cannot leave waiting for one another.

A signal becomes an exception anywhere in the main thread: in the middle of taking a lock, too, and
then that lock is never given back. The standard executors, futures and events take such locks in
Python, so a Ctrl-C at the wrong moment left a worker, and with it the whole program, waiting for
ever. Here nothing is shared but queues whose operations are single steps of the interpreter.
"""

from __future__ import annotations

from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from itertools import count
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


class Task(Generic[Value]):
    """Something another thread does; made by :meth:`Worker.submit`."""

    def __init__(self, work: Callable[[], Value]) -> None:
        self._work = work
        self._outcome: SimpleQueue[tuple[Value | None, BaseException | None]] = SimpleQueue()
        self.dropped = False
        """Set to say that nobody waits for this any more: if it has not begun it never will."""

    def run(self) -> None:
        """Do it, in the worker's thread."""
        try:
            self._outcome.put((self._work(), None))
        except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to who asked
            self._outcome.put((None, error))

    @property
    def done(self) -> bool:
        """Whether :meth:`result` would not have to wait."""
        return not self._outcome.empty()

    def result(self) -> Value:
        """Wait for the end, once: its value, or what it raised."""
        value, error = self._outcome.get()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # a value where there is no error


class Worker:
    """One thread that does tasks in the order they were submitted."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task[object] | None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._dropped = False
        self._running = True
        start_new_thread(self._loop, ())

    def submit(self, work: Callable[[], Value]) -> Task[Value]:
        """Have ``work()`` done after all that was submitted before."""
        task = Task(work)
        self._tasks.put(task)  # type: ignore[arg-type]  # its value is not looked at there
        return task

    def close(self, *, drop: bool = False) -> None:
        """Wait until everything is done; with ``drop``, only for what has begun."""
        self._dropped = self._dropped or drop
        if self._running:
            self._tasks.put(None)
            self._ended.get()
            self._running = False

    def _loop(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not (self._dropped or task.dropped):
                task.run()
            del task  # what it holds is not to live until the next one comes
        self._ended.put(None)


def run_all(work: Callable[[Item], object], items: Sequence[Item], threads: int) -> None:
    """Call ``work(item)`` for every item, in this thread and ``threads - 1`` more."""
    numbers, ended = count(), SimpleQueue[None]()
    errors: list[BaseException] = []
    started = 0

    def loop() -> None:
        try:
            while not errors and (number := next(numbers)) < len(items):
                work(items[number])
        except BaseException as error:  # noqa: BLE001  raised again below
            errors.append(error)

    def background() -> None:
        loop()
        ended.put(None)

    try:
        for _ in range(min(threads, len(items)) - 1):
            start_new_thread(background, ())
            started += 1
        loop()
    except BaseException as error:
        errors.append(error)
        raise
    finally:
        for _ in range(started):
            ended.get()
    if errors:
        raise errors[0]


def in_order(
    work: Callable[[Item], Value], items: Iterable[Item], threads: int
) -> Generator[Value, None, None]:
    """What ``work(item)`` gives for every item, in their order, made by so many threads.

    At most two items a thread are taken ahead of what has been given out, so the memory they hold
    is bounded. When this is closed early, what has not begun never will.
    """
    workers = [Worker() for _ in range(threads)]
    coming: deque[Task[Value]] = deque()
    try:
        for number, item in enumerate(items):
            coming.append(workers[number % threads].submit(partial(work, item)))
            if len(coming) >= 2 * threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        for worker in workers:
            worker.close(drop=True)
