"""The executor that most sweeps use: one thread, so that the main one can hear signals."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, TypeVar

from backtest_py.sweep.executors.base import POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

    from backtest_py.sweep.compute.evaluator import Evaluator
    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.executors.base import Computed

__all__ = ["ThreadExecutor", "run_in_thread"]

ResultT = TypeVar("ResultT")

STOP_SECONDS: Final = 0.5
"""How long to wait for a cancelled engine, which stops at the end of its current task."""


class ThreadExecutor:
    """Computes shards in one worker thread, one shard ahead; the engine has threads of its own."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def compute(self, shards: Iterable[Shard], report: Callable[[int | None], None]) -> Computed:
        """Compute the shards in order; see :class:`~.base.Executor`."""
        worker = ThreadPoolExecutor(1, "backtest-py-sweep")
        ahead: deque[tuple[Shard, Future[pa.Table]]] = deque()
        try:
            for shard in shards:
                ahead.append((shard, worker.submit(self._evaluator.evaluate, shard)))
                if len(ahead) > 1:
                    yield ahead[0][0], self._awaited(ahead[0][1], report)
                    ahead.popleft()
            for last, future in ahead:
                yield last, self._awaited(future, report)
        finally:
            self._evaluator.cancel()
            worker.shutdown(wait=False, cancel_futures=True)
            wait([future for _, future in ahead], STOP_SECONDS)

    def _awaited(self, future: Future[pa.Table], report: Callable[[int | None], None]) -> pa.Table:
        while not wait([future], POLL_SECONDS).done:
            report(self._evaluator.done)
        return future.result()


def run_in_thread(work: Callable[[], ResultT]) -> ResultT:
    """Return what a function returns, while a signal can still interrupt this thread.

    An interrupted function runs to its end in its own thread, without being waited for.
    """
    worker = ThreadPoolExecutor(1, "backtest-py-work")
    try:
        future = worker.submit(work)
        while not wait([future], POLL_SECONDS).done:
            pass
        return future.result()
    finally:
        worker.shutdown(wait=False)
