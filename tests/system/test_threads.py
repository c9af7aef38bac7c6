"""Tasks in order, errors where they are wanted, and no interrupt that leaves a thread waiting."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from mwanda.system.threads import Worker, in_order, run_all


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


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_few_items_are_taken_ahead(threads: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    def work(item: int) -> int:
        time.sleep(0.002 if item % 7 == 0 else 0)
        return item * 2

    for place, result in enumerate(in_order(work, items(), threads)):
        assert result == place * 2
        assert taken <= place + 2 * threads


def test_an_error_comes_in_its_turn() -> None:
    made = in_order(lambda item: 10 // (3 - item), range(100), 2)
    assert [next(made), next(made), next(made)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_what_is_left_early_does_no_more_work() -> None:
    seen: list[int] = []
    made = in_order(seen.append, range(1000), 2)
    next(made)
    made.close()
    before = list(seen)
    assert len(before) <= 5
    time.sleep(0.01)
    assert seen == before


def test_an_interrupt_leaves_no_one_who_waits() -> None:
    for attempt in range(100):
        after = 1e-5 + attempt * 1e-5
        until_interrupted(after, lambda: list(in_order(lambda item: item, range(20), 2)))
