"""The work of a sweep: its missing shards, computed by an executor and kept as they come."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest_py.errors import ConfigError
from backtest_py.monitoring.sweeps import counted
from backtest_py.sweep.compute.evaluator import Evaluator
from backtest_py.sweep.compute.shards import Shards
from backtest_py.sweep.executors.base import POLL_SECONDS
from backtest_py.sweep.executors.factory import executor_for
from backtest_py.sweep.executors.inline import InlineExecutor
from backtest_py.sweep.progress import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.compute.shards import Shard
    from backtest_py.sweep.compute.tabulate import Tabulate
    from backtest_py.sweep.executors.interrupts import Interrupts
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.spec import SweepSpec

__all__ = ["MAX_MEMORY", "Resources", "Work"]

MAX_MEMORY: Final = 1 << 30
"""Default limit of the memory of a sweep, in bytes."""
MAX_WORKERS: Final = 1_024
"""The most threads or processes; more must be a typing mistake."""
AHEAD: Final = 2
"""Shards that may wait to be stored while another is being stored."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources that a sweep may use; none of them changes its results.

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
        """Check that the numbers are whole and in range."""
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
    """The shards of a sweep that are missing, and the executor that computes them.

    Parameters
    ----------
    spec : SweepSpec
        What is swept.
    engine : Engine
        The engine that computes.
    resources : Resources
        What it may use.
    done : mapping of int to int
        Rows of the shards that are done already.
    interrupts : Interrupts
        Hears Control-C and SIGTERM while the work goes on.
    packed : bool
        Whether other processes give the bytes of files instead of tables.
    tabulate : callable, optional
        What is kept of a shard; see :class:`~backtest_py.sweep.compute.evaluator.Evaluator`.

    Attributes
    ----------
    meter : Meter
        How far the work has come.
    """

    def __init__(
        self,
        spec: SweepSpec,
        engine: Engine,
        resources: Resources,
        done: Mapping[int, int],
        interrupts: Interrupts,
        *,
        packed: bool,
        tabulate: Tabulate | None = None,
    ) -> None:
        evaluator = Evaluator(
            spec,
            engine,
            threads=1 if resources.processes else resources.threads,
            max_memory=resources.max_memory,
            tabulate=tabulate,
        )
        shards = Shards(spec.grid, len(spec.ranges))
        by_exits = len(shards) > 1 and evaluator.sources.shared
        order = shards.in_working_order(by_exits=by_exits)
        self._missing = (shard for shard in order if shard.number not in done)
        self._executor = executor_for(
            evaluator,
            processes=resources.processes,
            n_shards=len(shards) - len(done),
            packed=packed,
        )
        self._interrupts = interrupts
        self.meter = Meter(spec.n_combos, len(shards), done, resources.progress)

    def do(self, keep: Callable[[Shard, Any], None]) -> None:
        """Compute the missing shards, and have another thread hand each to ``keep``.

        Raises
        ------
        KeyboardInterrupt
            On Control-C or SIGTERM, as soon as what was computed is kept.
        """
        keep = counted(keep)
        if isinstance(self._executor, InlineExecutor):  # starting a thread would take longer
            for shard, rows in self._executor.compute(self._missing, lambda _: None):
                keep(shard, rows)
                self.meter.finish(rows.num_rows)
                self.meter.tell(0)
            self.meter.tell(0)
            return
        with (
            self._interrupts.held(),
            ThreadPoolExecutor(1, "backtest-py-keeper") as keeper,
            closing(self._executor.compute(self._missing, self._report)) as computed,
        ):
            waiting: deque[tuple[int, Future[None]]] = deque()
            for shard, rows in computed:
                waiting.append((rows.num_rows, keeper.submit(keep, shard, rows)))
                if len(waiting) > AHEAD:
                    self._finish(*waiting.popleft())
            while waiting:
                self._finish(*waiting.popleft())
            self._report(0)

    def _finish(self, n_rows: int, kept: Future[None]) -> None:
        while not wait([kept], POLL_SECONDS).done:
            self._interrupts.check()
        kept.result()
        self.meter.finish(n_rows)
        self._report(0)

    def _report(self, computed: int | None) -> None:
        """Report progress; the user's callback may take long, so a signal interrupts it."""
        with self._interrupts.raised():
            if computed is not None:
                self.meter.tell(computed)
