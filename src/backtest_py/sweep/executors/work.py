"""Computing the shards of a sweep, in a thread or in processes, until it is done or stopped."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

from backtest_py.engines import resolve
from backtest_py.errors import ConfigError, SweepCancelled
from backtest_py.sweep.compute.evaluator import DIRECT_COMBOS, Evaluator
from backtest_py.sweep.compute.shards import Shards
from backtest_py.sweep.progress import Meter
from backtest_py.sweep.store.store import Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    import pyarrow as pa

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.spec import SweepSpec

    Found = Generator[tuple[Shard, pa.Table | Packed], None, None]

__all__ = ["MAX_MEMORY", "Means", "ShardTask", "Work", "listening"]

MAX_MEMORY: Final = 1 << 30
"""Bytes that a sweep takes at most, unless more or less are given."""
ResultT = TypeVar("ResultT")

MAX_WORKERS: Final = 1_024
"""Threads or processes beyond which somebody has mistyped."""
POLL_SECONDS: Final = 0.1
STOP_SECONDS: Final = 0.5
"""How long an engine may take to notice that it shall stop."""
AHEAD: Final = 2
"""Shards that are computed but not kept yet, beside the one that is being kept."""
WAVE: Final = 8
"""Shards for each process, after which results are waited for."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a sweep may use, none of which changes a bit of its results.

    Attributes
    ----------
    threads : int
        Threads of the engine, 0 for one per processor.
    processes : int
        Processes that compute shards, each with one thread; 0 for this one with all of them.
    max_memory : int
        Bytes to take, beside the bars, in each of them.
    progress : callable, optional
        Called with a :class:`~backtest_py.sweep.progress.Progress` some times a second.
    """

    threads: int = 0
    processes: int = 0
    max_memory: int = MAX_MEMORY
    progress: Callable[[Progress], None] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        for name, least in (("threads", 0), ("processes", 0), ("max_memory", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"{name} = {value!r} is not allowed; give a whole number of at least {least}"
                )
            if name != "max_memory" and value > MAX_WORKERS:
                raise ConfigError(
                    f"{name} = {value:,} is not allowed; give at most {MAX_WORKERS:,}, or 0 for "
                    "what the machine has"
                )


class Work:
    """The shards of a sweep that are missing, and what computes them.

    Parameters
    ----------
    job : SweepSpec
        What is asked.
    engine : Engine
        Who computes.
    means : Means
        What it may use.
    done : mapping of int to int
        Rows of the shards that are done already.
    packed : bool
        Whether other processes give the bytes of files instead of tables.

    Attributes
    ----------
    meter : Meter
        How far it is.
    """

    def __init__(
        self,
        job: SweepSpec,
        engine: Engine,
        means: Means,
        done: Mapping[int, int],
        *,
        packed: bool,
    ) -> None:
        self._job, self._means, self._packed = job, means, packed
        threads = 1 if means.processes else means.threads
        self._evaluator = Evaluator(job, engine, threads=threads, max_memory=means.max_memory)
        shards = Shards(job.grid)
        by_exits = len(shards) > 1 and self._evaluator.sources.shared
        order = shards.in_working_order(by_exits=by_exits)
        self._missing = (shard for shard in order if shard.number not in done)
        self.meter = Meter(job.n_combos, len(shards), done, means.progress)
        self._stopped = False

    def do(self, keep: Callable[[Shard, Any], None]) -> None:
        """Compute the missing shards, and have another thread hand each to ``keep``.

        Raises
        ------
        KeyboardInterrupt
            On Control-C or SIGTERM, as soon as what was computed is kept.
        """
        if self._job.grid.size <= DIRECT_COMBOS:  # to start threads would take longer
            for shard in self._missing:
                table = self._evaluator.evaluate(shard)
                keep(shard, table)
                self.meter.finish(table.num_rows)
            self.meter.tell(0)
            return
        with (
            self._stoppable(),
            ThreadPoolExecutor(1, "backtest-py-keeper") as keeper,
            closing(self._tables()) as tables,
        ):
            waiting: deque[tuple[int, Future[None]]] = deque()
            for shard, table in tables:
                waiting.append((table.num_rows, keeper.submit(keep, shard, table)))
                if len(waiting) > AHEAD:
                    self._finish(*waiting.popleft())
            while waiting:
                self._finish(*waiting.popleft())
            self.meter.tell(0)

    def _finish(self, rows: int, kept: Future[None]) -> None:
        kept.result()
        self.meter.finish(rows)

    def _tables(self) -> Found:
        # one process is this one
        return self._of_processes() if self._means.processes > 1 else self._of_thread()

    def _of_thread(self) -> Found:
        """Compute one shard ahead in a thread, so that signals reach this one."""
        worker = ThreadPoolExecutor(1, "backtest-py-sweep")
        ahead: deque[tuple[Shard, Future[pa.Table]]] = deque()
        try:
            for shard in self._missing:
                ahead.append((shard, worker.submit(self._evaluator.evaluate, shard)))
                if len(ahead) > 1:
                    yield ahead[0][0], self._awaited(ahead[0][1])
                    ahead.popleft()
            for last, future in ahead:
                yield last, self._awaited(future)
        finally:
            # an engine that is deep in its work ends soon after, but nobody waits for it
            self._evaluator.cancel()
            worker.shutdown(wait=False, cancel_futures=True)
            wait([future for _, future in ahead], STOP_SECONDS)

    def _awaited(self, future: Future[pa.Table]) -> pa.Table:
        while not wait([future], POLL_SECONDS).done:
            self.meter.tell(self._evaluator.done)
        return future.result()

    def _of_processes(self) -> Found:
        """Compute in processes; every shard is a unit that any of them can do."""
        from joblib import Parallel, delayed  # noqa: PLC0415 - only where it is used

        means, engine = self._means, self._evaluator.engine.name
        task = ShardTask(
            self._job, engine, means.max_memory, self._packed, uuid4().hex, os.getpid()
        )
        with Parallel(means.processes, batch_size=1, return_as="generator_unordered") as parallel:
            # a wave at a time, because joblib does not wait for who takes its results
            while wave := list(itertools.islice(self._missing, WAVE * means.processes)):
                found = parallel(delayed(task)(shard) for shard in wave)
                try:
                    for item in found:
                        if self._stopped:  # and the exception got lost, as in a destructor
                            raise KeyboardInterrupt
                        yield item
                finally:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # that tasks are dropped is intended
                        found.close()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Stop on the first Control-C or SIGTERM; those that follow do not disturb the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[signal.Signals, Any] = {}

        def interrupt(_: int, __: object) -> None:
            for each in before:
                signal.signal(each, signal.SIG_IGN)
            self._stopped = True
            self._evaluator.cancel()
            raise KeyboardInterrupt

        try:
            for each in (signal.SIGINT, signal.SIGTERM):
                before[each] = signal.getsignal(each) or signal.SIG_DFL
                signal.signal(each, interrupt)
            yield
        except SweepCancelled as error:
            raise KeyboardInterrupt from error
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def listening(work: Callable[[], ResultT]) -> ResultT:
    """Return what a function gives, while this thread hears Control-C.

    After one the function runs to its end, but nobody waits for it.
    """
    worker = ThreadPoolExecutor(1, "backtest-py-work")
    try:
        future = worker.submit(work)
        while not wait([future], POLL_SECONDS).done:
            pass
        return future.result()
    finally:
        worker.shutdown(wait=False)


@dataclass(frozen=True)
class ShardTask:
    """One sweep as any process can work on it: call it with a shard, get the shard's table.

    Attributes
    ----------
    job : SweepSpec
        What is asked.
    engine : str
        Name of the engine, which uses one thread.
    max_memory : int
        Bytes to take, beside the bars.
    packed : bool
        Whether to give the bytes of the shard's file instead of its table.
    key : str
        Tells sweeps apart: what shards share is kept between calls with one key.
    owner : int
        Number of the process that sweeps, without which its children need not go on.
    """

    job: SweepSpec
    engine: str
    max_memory: int
    packed: bool
    key: str
    owner: int

    def __call__(self, shard: Shard) -> tuple[Shard, pa.Table | Packed]:
        """Compute a shard."""
        if getattr(_KEPT, "key", "") != self.key:
            engine, _ = resolve(self.engine)
            _KEPT.evaluator = Evaluator(self.job, engine, threads=1, max_memory=self.max_memory)
            _KEPT.key = self.key
            if os.getppid() == self.owner:
                _follow(self.owner)
        table = _KEPT.evaluator.evaluate(shard)
        return shard, Packed.of(table) if self.packed else table


_KEPT = threading.local()
"""The evaluator of this worker, for the sweep that it worked on last."""


def _follow(owner: int) -> None:
    """Let this process live and die with its parent, whatever a terminal sends to both."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()


def _end_with(owner: int) -> None:
    """End this process soon after its parent was killed; joblib's workers wait for minutes."""
    while os.getppid() == owner:
        time.sleep(1.0)
    os._exit(1)
