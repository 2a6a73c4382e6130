"""Computing the shards of a sweep, in a thread or in processes, until it is done or stopped."""

from __future__ import annotations

import signal
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_py.engines import resolve
from backtest_py.errors import SweepCancelled
from backtest_py.sweep.evaluate import Evaluator
from backtest_py.sweep.progress import Meter
from backtest_py.sweep.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.evaluate import SweepJob
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.shards import Shard

__all__ = ["Means", "ShardTask", "Work"]

POLL_SECONDS: Final = 0.1
AHEAD: Final = 2
"""Shards that are computed but not written yet, beside the one that is being written."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a sweep may use, none of which changes a bit.

    Attributes
    ----------
    threads : int
        Threads of the engine, 0 for one per processor.
    processes : int
        Processes that compute shards, each with one thread; 0 for none but this one.
    max_memory : int
        Bytes to take, beside the bars.
    progress : callable, optional
        Called with a :class:`~backtest_py.sweep.progress.Progress` some times a second.
    """

    threads: int
    processes: int
    max_memory: int
    progress: Callable[[Progress], None] | None


class Work:
    """The shards of a sweep that are missing.

    Parameters
    ----------
    job : SweepJob
        What is asked.
    engine : Engine
        Who computes.
    means : Means
        What it may use.
    done : mapping of int to int
        Rows of the shards that are done already.
    """

    def __init__(
        self, job: SweepJob, engine: Engine, means: Means, done: Mapping[int, int]
    ) -> None:
        self._job, self._means = job, means
        shards = Shards(job.grid)
        self._evaluator = Evaluator(
            job, engine, threads=means.threads, max_memory=means.max_memory
        )
        by_exits = self._evaluator.sources.shared
        self._missing = [each for each in shards.in_working_order(by_exits) if each.number not in done]
        self.meter = Meter(job.grid.count(), len(shards), done, means.progress)
        self._stopped = False

    def do(self, keep: Callable[[Shard, pa.Table], None]) -> None:
        """Compute the missing shards, and hand each to ``keep``, which another thread calls.

        Raises
        ------
        KeyboardInterrupt
            On Control-C or SIGTERM; what was handed over is kept.
        """
        with self._stoppable(), ThreadPoolExecutor(1, "backtest-py-keeper") as keeper:
            waiting: deque[tuple[int, Future[None]]] = deque()
            try:
                for shard, table in self._tables():
                    waiting.append((table.num_rows, keeper.submit(keep, shard, table)))
                    if len(waiting) > AHEAD:
                        self._finish(*waiting.popleft())
                while waiting:
                    self._finish(*waiting.popleft())
                if not self._missing:
                    self.meter.tell(0)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Make what is running stop soon."""
        self._stopped = True
        self._evaluator.cancel()

    def _finish(self, rows: int, kept: Future[None]) -> None:
        kept.result()
        self.meter.finish(rows)

    def _tables(self) -> Iterator[tuple[Shard, pa.Table]]:
        if self._means.processes:
            return self._of_processes()
        return self._of_thread()

    def _of_thread(self) -> Iterator[tuple[Shard, pa.Table]]:
        """Compute one shard ahead in a thread, so that signals reach this one."""
        with ThreadPoolExecutor(1, "backtest-py-sweep") as worker:
            ahead: tuple[Shard, Future[pa.Table]] | None = None
            for shard in (*self._missing, None):
                following = shard and (shard, worker.submit(self._evaluator.evaluate, shard))
                if ahead is not None:
                    yield ahead[0], self._awaited(ahead[1])
                ahead = following

    def _awaited(self, future: Future[pa.Table]) -> pa.Table:
        while True:
            try:
                return future.result(timeout=POLL_SECONDS)
            except FutureTimeoutError:
                self.meter.tell(self._evaluator.done)

    def _of_processes(self) -> Iterator[tuple[Shard, pa.Table]]:
        """Compute in processes; every shard is a unit that any of them can do."""
        from joblib import Parallel, delayed  # noqa: PLC0415 - only where it is used

        n = self._means.processes
        task = ShardTask(self._job, self._evaluator.engine.name, self._means.max_memory // n)
        parallel = Parallel(n_jobs=n, batch_size=1, return_as="generator_unordered")
        for found in parallel(delayed(task)(shard) for shard in self._missing):
            if self._stopped:  # where the exception of the signal got lost
                raise KeyboardInterrupt
            yield found

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM; those that follow do not disturb the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, frame: object) -> None:
            for each in before:
                signal.signal(each, signal.SIG_IGN)
            self.stop()
            raise KeyboardInterrupt

        before: dict[signal.Signals, Any] = {}
        try:
            for each in (signal.SIGINT, signal.SIGTERM):
                before[each] = signal.signal(each, interrupt)
            yield
        except SweepCancelled as error:
            raise KeyboardInterrupt from error
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


@dataclass(frozen=True)
class ShardTask:
    """One sweep as any process can work on it: call it with a shard, get the shard's table.

    Attributes
    ----------
    job : SweepJob
        What is asked.
    engine : str
        Name of the engine.
    max_memory : int
        Bytes to take, beside the bars.
    """

    job: SweepJob
    engine: str
    max_memory: int

    def __call__(self, shard: Shard) -> tuple[Shard, pa.Table]:
        """Compute a shard; what shards share is kept between calls of one process."""
        key = ...
        return shard, evaluator.evaluate(shard)
