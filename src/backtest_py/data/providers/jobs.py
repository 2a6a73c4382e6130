"""Jobs in a few threads, each of which may lead to more; results as they come."""

from __future__ import annotations

import atexit
import queue
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar
from weakref import WeakSet

from backtest_py.data.providers.transport import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Done", "run_jobs"]

T = TypeVar("T")
POLL_SECONDS: Final = 0.2
NAME: Final = "backtest-py fetching"
"""Of the threads: the command line does not take the interpreter down under them."""
LAST_SECONDS: Final = 3.0
_workers: WeakSet[threading.Thread] = WeakSet()


class Done(NamedTuple, Generic[T]):
    """What a job found, and the jobs that it leads to."""

    results: list[T]
    more: list[Callable[[threading.Event], Done[T]]]


class _Outcome(NamedTuple, Generic[T]):
    done: Done[T] | None
    error: BaseException | None


def run_jobs(jobs: Iterable[Callable[[threading.Event], Done[T]]], n_threads: int) -> Iterator[T]:
    """Do jobs, and those that they lead to; yield results in the order in which they come.

    Every job is given an event that is set when its result is wanted no longer. After an error no
    job begins any more, what the running ones find is yielded, and the error is raised. Whoever
    closes the iterator, or interrupts it, does not wait for anything: threads are left to end by
    themselves, which a job does with its present request at the latest.
    """
    todo: queue.SimpleQueue[Callable[[threading.Event], Done[T]] | None] = queue.SimpleQueue()
    out: queue.Queue[_Outcome[T]] = queue.Queue(2 * n_threads)  # a slow reader slows the jobs
    stop, abandoned = threading.Event(), threading.Event()
    n_open = n_started = 0
    error: BaseException | None = None
    try:
        more = list(jobs)
        while True:
            for job in more:
                todo.put(job)
            n_open += len(more)
            while n_started < min(n_threads, n_open):
                worker = threading.Thread(
                    target=_work, args=(todo, out, stop, abandoned), name=NAME, daemon=True
                )
                worker.start()
                _workers.add(worker)
                n_started += 1
            if not n_open:
                break
            try:
                outcome = out.get(timeout=POLL_SECONDS)  # so that Control-C is heard everywhere
            except queue.Empty:
                more = []
                continue
            n_open -= 1
            more = []
            if outcome.done is not None:
                yield from outcome.done.results
                more = [] if error else outcome.done.more
            elif error is None or isinstance(error, Stopped):
                error = outcome.error
                stop.set()
    finally:
        stop.set()
        abandoned.set()
        for _ in range(n_started):
            todo.put(None)
    if error is not None:
        raise error


def _work(
    todo: queue.SimpleQueue[Callable[[threading.Event], Done[T]] | None],
    out: queue.Queue[_Outcome[T]],
    stop: threading.Event,
    abandoned: threading.Event,
) -> None:
    """Do jobs until there is none; hand every outcome over unless nobody wants it any more."""
    while (job := todo.get()) is not None:
        outcome: _Outcome[T]
        if stop.is_set():
            outcome = _Outcome(Done([], []), None)
        else:
            try:
                outcome = _Outcome(job(stop), None)
            except BaseException as error:  # noqa: BLE001 - raised where the results are read
                outcome = _Outcome(None, error)
        while not abandoned.is_set():
            try:
                out.put(outcome, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            break


@atexit.register
def _wait_for_the_last() -> None:
    """Let threads end that nobody waited for: an interpreter that ends under Arrow's code aborts.

    One that still waits for a server does no harm, so that it is not waited for any longer.
    """
    until = time.monotonic() + LAST_SECONDS
    for worker in list(_workers):
        worker.join(max(0.0, until - time.monotonic()))
