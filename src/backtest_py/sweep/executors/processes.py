"""The executor of ``processes=N``: worker processes of joblib's loky, each with one thread."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from backtest_py.errors import StorageError, WorkerError
from backtest_py.sweep.executors.base import POLL_SECONDS
from backtest_py.sweep.executors.worker import Parcel, begin, collect, compute, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.executors.base import Computed, ShardTask

__all__ = ["ProcessExecutor", "in_workers"]

ResultT = TypeVar("ResultT")

TRIES: Final = 2
"""How many times a shard is tried when the process that computes it dies."""
END_SECONDS: Final = 10.0
"""How long to wait for killed workers to end."""
ONE_THREAD: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""Libraries that a user's function may call would start a thread per processor in each worker."""


class ProcessExecutor:
    """Computes shards in processes; every shard is a unit that any of them can do.

    The bars are written once, to a file that all workers map. A worker that dies takes the others
    with it, as loky has it; what they had begun is tried once more in new ones.

    Parameters
    ----------
    task : ShardTask
        The sweep.
    n_workers : int
        Processes.
    """

    def __init__(self, task: ShardTask, n_workers: int) -> None:
        self._task = task
        self._n_workers = n_workers

    def compute(self, shards: Iterable[Shard], report: Callable[[int | None], None]) -> Computed:
        """Compute the shards; see :class:`~.base.Executor`.

        Raises
        ------
        WorkerError
            If workers end before they are done with a shard, twice.
        StorageError
            If the bars, or results, cannot be written to the directory of temporary files.
        """
        with _own_folder() as folder:
            parcel = _parcel(self._task, folder)
            todo, lost = iter(shards), Counter[int]()
            while True:
                unfinished: list[Shard] = []
                with _Pool(parcel, self._n_workers) as pool:
                    for shard, num_rows in pool.compute(todo, unfinished, report):
                        yield shard, collect(folder, shard, num_rows, packed=self._task.packed)
                if not unfinished:
                    return
                # workers take shards in order, so the first ones are those that had begun
                begun = unfinished[: self._n_workers]
                lost.update(shard.number for shard in begun)
                _require_tries(lost)
                todo = chain(unfinished, todo)


class _Pool:
    """Workers until one of them dies; as a context manager it ends them all."""

    def __init__(self, parcel: Parcel, n_workers: int) -> None:
        self._n_workers = n_workers
        self._owner = os.getpid()
        self._pool = _workers(n_workers, begin, (parcel, self._owner))

    def compute(
        self, todo: Iterator[Shard], unfinished: list[Shard], report: Callable[[int | None], None]
    ) -> Iterator[tuple[Shard, int]]:
        """Yield shards with their numbers of rows; those that a death leaves go on the list."""
        given: dict[Future[int], Shard] = {}
        broken = False
        while not broken:
            broken = self._give(todo, given)
            if not given:
                return
            done, _ = wait(given, POLL_SECONDS, FIRST_COMPLETED)
            report(None)
            for future in done:
                if isinstance(future.exception(), BrokenExecutor):
                    broken = True
                else:
                    yield given.pop(future), future.result()
        unfinished += given.values()

    def _give(self, todo: Iterator[Shard], given: dict[Future[int], Shard]) -> bool:
        """Hand out shards, one per worker and one in reserve; return whether workers died."""
        for shard in islice(todo, 2 * self._n_workers - len(given)):
            try:
                with _without_control_c():  # the workers that this starts inherit it
                    future = self._pool.submit(compute, shard)
            except BrokenExecutor as error:
                future = Future()
                future.set_exception(error)
            given[future] = shard
            if future.done() and isinstance(future.exception(), BrokenExecutor):
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._owner:  # a forked child unwinds, but the workers are its parent's
            return
        _end(self._pool)


def _workers(n_workers: int, initializer: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
    """Return processes of joblib's loky, each with one thread."""
    from joblib.externals.loky import ProcessPoolExecutor  # noqa: PLC0415 - only here

    return ProcessPoolExecutor(
        n_workers,
        initializer=initializer,
        initargs=arguments,
        env={name: os.environ.get(name, "1") for name in ONE_THREAD},
    )


def _end(pool: Any) -> None:
    """End workers, in a thread, so that nothing that loky waits for holds up the caller."""
    end = threading.Thread(
        target=pool.shutdown, kwargs={"wait": True, "kill_workers": True}, daemon=True
    )
    end.start()
    end.join(END_SECONDS)


@contextmanager
def in_workers(
    n_workers: int, work: Callable[..., ResultT], tasks: Mapping[str, tuple[Any, ...]]
) -> Iterator[dict[str, Future[ResultT]]]:
    """Give what a function will return for each task, worked out in processes.

    Every task is given to some process at once; when the block is left, for whatever reason, all
    processes end.

    Raises
    ------
    WorkerError
        If a process died before its task was done.
    """
    owner = os.getpid()
    pool = _workers(n_workers, follow, (owner,))
    try:
        with _without_control_c():  # the workers that this starts inherit it
            running = {name: pool.submit(work, *task) for name, task in tasks.items()}
        yield running
    except BrokenExecutor as error:
        raise WorkerError(
            "a worker process ended before it was done: it was killed, ran out of memory, or "
            "crashed in the strategy's own code; give fewer processes"
        ) from error
    finally:
        if os.getpid() == owner:  # a forked child unwinds, but the workers are its parent's
            _end(pool)


def _require_tries(lost: Counter[int]) -> None:
    twice = sorted(number for number, times in lost.items() if times >= TRIES)
    if twice:
        some = ", ".join(map(str, twice[:10])) + (", …" if len(twice) > 10 else "")
        raise WorkerError(
            f"worker processes ended twice while they computed shard {some}: they were killed, ran "
            "out of memory, or crashed in the strategy's own code; give fewer processes or less "
            "max_memory, and resume the sweep (--resume): what is done is kept"
        )


def _parcel(task: ShardTask, folder: str) -> Parcel:
    try:
        return Parcel.packed(task, folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot hold the bars for the processes: {error.strerror or error}; free "
            "some space, or set TMPDIR to another directory"
        ) from error


@contextmanager
def _own_folder() -> Iterator[str]:
    """Give a temporary directory, deleted afterwards even if this process is killed."""
    from joblib.externals.loky.backend import resource_tracker  # noqa: PLC0415 - only here

    owner = os.getpid()
    folder = tempfile.mkdtemp(prefix="backtest-py-")
    resource_tracker.register(folder, "folder")
    try:
        yield folder
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                resource_tracker.unregister(folder, "folder")


@contextmanager
def _without_control_c() -> Iterator[None]:
    """Block SIGINT in this thread: a terminal sends it to new workers before they can ignore it."""
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker  # noqa: PLC0415 - only where processes are used

    resource_tracker.ensure_running()  # which would unblock it again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
