"""Tasks in order, errors where they are wanted, and no interrupt that leaves a thread waiting."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

import pytest

from mwanda.threads import Worker, run_all


def test_tasks_are_done_in_order_and_give_what_they_made() -> None:
    worker, seen = Worker(), []
    tasks = [worker.submit(lambda k=k: (seen.append(k), k * k)[1]) for k in range(50)]
    assert [task.result() for task in tasks] == [k * k for k in range(50)]
    assert seen == list(range(50))
    worker.close()
    worker.close()  # a second time is nothing


def test_an_error_belongs_to_its_task() -> None:
    worker = Worker()
    bad, good = worker.submit(lambda: 1 // 0), worker.submit(lambda: 2)
    assert good.result() == 2
    assert bad.done
    with pytest.raises(ZeroDivisionError):
        bad.result()
    worker.close()


def test_dropped_tasks_are_not_begun() -> None:
    worker, seen = Worker(), []
    worker.submit(lambda: time.sleep(0.2))
    worker.submit(lambda: seen.append("dropped")).dropped = True
    kept = worker.submit(lambda: seen.append("kept"))
    kept.result()
    worker.submit(lambda: time.sleep(0.2))
    worker.submit(lambda: seen.append("too late"))
    worker.close(drop=True)
    assert seen == ["kept"]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_every_item_once(threads: int, count: int) -> None:
    seen: list[int] = []
    run_all(seen.append, range(count), threads)
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_ends_it(threads: int) -> None:
    seen: list[int] = []

    def work(item: int) -> None:
        seen.append(item)
        if item == 3:
            raise KeyError(item)
        time.sleep(0.001)

    with pytest.raises(KeyError):
        run_all(work, range(1000), threads)
    assert len(seen) < 20


class _InterruptError(Exception):
    pass


def until_interrupted(after: float, work: Callable[[], object]) -> None:
    """Do it over and over, until an exception comes somewhere in it, as Ctrl-C makes one."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise _InterruptError

    old = signal.signal(signal.SIGALRM, leave)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        while True:
            work()
    except _InterruptError:
        pass
    finally:
        signal.signal(signal.SIGALRM, old)


def test_an_interrupt_at_any_moment_leaves_nobody_waiting() -> None:
    """With the standard executor this hangs within a few hundred tries."""
    for attempt in range(400):
        after, worker = 1e-6 + attempt * 2e-6, Worker()
        until_interrupted(after, lambda w=worker: w.submit(lambda: None).result())
        worker.close(drop=True)
        until_interrupted(after, lambda: run_all(lambda _: None, range(5), 2))
