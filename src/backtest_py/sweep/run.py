"""A sweep: shards computed one after another, written while the next is computed."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from backtest_py.contract import Contract, MetricSettings
from backtest_py.engines import resolve
from backtest_py.errors import ConfigError
from backtest_py.provenance import canonical_json, package_version
from backtest_py.records import SEMANTICS_VERSION
from backtest_py.rules import ExitRules
from backtest_py.run import as_strategy, check_job, prepare
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.evaluate import Evaluator, SweepJob
from backtest_py.sweep.gate import GATE_COMBOS, pass_gate
from backtest_py.sweep.plan import Plan
from backtest_py.sweep.sample import Sample, SampledGrid, build_grid
from backtest_py.sweep.shards import Shards
from backtest_py.sweep.store import SweepStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    import pyarrow as pa

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.grid import Grid
    from backtest_py.sweep.result import SweepResult
    from backtest_py.sweep.shards import Shard

    Moment = str | date | None

__all__ = ["Progress", "plan_sweep", "sweep"]

MAX_MEMORY: Final = 1 << 30
"""Bytes that outcomes may take by default."""
MAX_IN_MEMORY: Final = 4_000_000
"""Combinations of a sweep that is not written to a directory."""
POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is.

    Attributes
    ----------
    combos, total_combos : int
        Combinations done, those of earlier runs included, and in all.
    shards, total_shards : int
        Shards that are done, and in all.
    seconds : float
        Time since the first shard began.
    combos_per_second : float
        Of this run.
    seconds_left : float
        Estimate, nan before the first combination.
    """

    combos: int
    total_combos: int
    shards: int
    total_shards: int
    seconds: float
    combos_per_second: float
    seconds_left: float


def sweep(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
    grid: Mapping[str, object] | None = None,
    *,
    where: str = "",
    invalid: str = "refuse",
    sample: Sample | None = None,
    rules: ExitRules | None = None,
    contract: Contract | None = None,
    metrics: MetricSettings | None = None,
    range: tuple[Moment, Moment] | None = None,  # noqa: A002
    engine: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    threads: int = 0,
    processes: int = 0,
    max_memory: int = MAX_MEMORY,
    scenarios: bool = False,
    gate: int | None = GATE_COMBOS,
    progress: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Backtest every combination of a grid of parameters.

    Every row equals :func:`backtest_py.run` of the same engine, bit for bit.

    Parameters
    ----------
    bars : Bars
        The market.
    strategy : Strategy, str or callable
        A strategy, the name of one, or a function; its values are the base of the grid.
    grid : mapping
        Full keys, as ``"rules.stop"``, and for each a list of values or a range.
    where : str
        A condition between parameters, such as ``"rules.target > rules.stop"``.
    invalid : {"refuse", "skip"}
        What happens to combinations that the settings' own rules refuse.
    sample : Sample, optional
        Draw combinations instead of taking all.
    rules, contract, metrics, range, engine
        As :func:`backtest_py.run` takes them.
    out : str or Path, optional
        A directory for the results; without one a small sweep is kept in memory.
    resume : bool
        Continue the sweep in ``out``.
    threads : int
        Threads of the engine, 0 for one per processor.
    processes : int
        Compute shards in so many processes (by joblib) instead, each with one thread.
    max_memory : int
        Bytes that the outcomes of trades may take.
    scenarios : bool
        Compute every metric for both ways to settle ambiguous bars.
    gate : int or None
        Number of combinations from which on ``engine="rust"`` must first agree with the reference
        engine on a sample; None skips it, which the manifest records.
    progress : callable, optional
        Called with a :class:`Progress` some times a second.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        If grid, settings or directory are not allowed, before any work.
    ParityError
        If the engines disagree on the sample.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=40)
    >>> result = bt.sweep(
    ...     bars, grid={"strategy.lookback": [5, 10, 20], "rules.stop": [1.0, 2.0]}
    ... )
    >>> len(result)
    6
    """
    job, runner, reason = prepare_sweep(
        bars, strategy, grid, where, invalid, sample, rules, contract, metrics, range, engine,
        scenarios=scenarios,
    )
    if out is None and job.grid.size > MAX_IN_MEMORY:
        raise ConfigError(
            f"{job.grid.size:,} combinations are too many to keep in memory (at most "
            f"{MAX_IN_MEMORY:,}); give out, a directory"
        )
    manifest = _manifest(job, runner, reason)
    if out is None:
        return _in_memory(
            job, runner, manifest, threads, processes, max_memory, gate, progress
        )
    opened = SweepStore.resume(out, manifest) if resume else SweepStore.create(out, manifest)
    with opened as store:
        _gated(job, runner, gate, store.manifest, store.update, threads, max_memory)
        run = _Run(job, runner, threads, max_memory, progress, dict(store.done))
        with ThreadPoolExecutor(1, "backtest-py-writer") as writer:
            pending: list[Future[None]] = []
            try:
                for shard, table in run.tables(processes):
                    if len(pending) > 1:
                        pending.pop(0).result()
                    pending.append(writer.submit(store.write, shard.number, table))
                for write in pending:
                    write.result()
            except BaseException:
                run.cancel()
                store.update({"status": "interrupted"})
                raise
        store.update({"status": "complete", "seconds": run.seconds})
    from backtest_py.sweep.result import SweepResult  # noqa: PLC0415 - imports pyarrow

    return SweepResult.open(out, bars=bars, grid=job.grid)


def plan_sweep(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
    grid: Mapping[str, object] | None = None,
    *,
    where: str = "",
    invalid: str = "refuse",
    sample: Sample | None = None,
    rules: ExitRules | None = None,
    contract: Contract | None = None,
    metrics: MetricSettings | None = None,
    range: tuple[Moment, Moment] | None = None,  # noqa: A002
    engine: str = "auto",
    threads: int = 0,
    max_memory: int = MAX_MEMORY,
    scenarios: bool = False,
) -> Plan:
    """Say what a sweep would do, without doing it; arguments as :func:`sweep` takes them."""
    job, runner, _ = prepare_sweep(
        bars, strategy, grid, where, invalid, sample, rules, contract, metrics, range, engine,
        scenarios=scenarios,
    )
    return Plan.of(job, runner, threads=threads, max_memory=max_memory)


def prepare_sweep(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any],
    grid: Mapping[str, object] | None,
    where: str,
    invalid: str,
    sample: Sample | None,
    rules: ExitRules | None,
    contract: Contract | None,
    metrics: MetricSettings | None,
    span: tuple[Moment, Moment] | None,
    engine: str,
    *,
    scenarios: bool,
) -> tuple[SweepJob, Engine, str]:
    """Check everything that a sweep needs, and return the job, its engine and why that one."""
    base = as_strategy(strategy)
    rules, contract = rules or ExitRules(), contract or Contract()
    space = build_grid(
        base, rules, contract, grid or {}, sample, where=where, invalid=invalid
    )
    chosen = _representatives(space)
    signals = base.compute(bars) if isinstance(base, FunctionStrategy) else None
    first = prepare(bars, chosen[0][0], signals, *chosen[0][1:], metrics, span)
    for other in chosen[1:]:
        check_job(replace(first, strategy=other[0], rules=other[1], contract=other[2]))
    runner, reason = resolve(engine, first)
    job = SweepJob(bars, space, first.metrics, first.first, first.last, scenarios=scenarios)
    return job, runner, reason


def _representatives(
    space: Grid | SampledGrid,
) -> list[tuple[Strategy, ExitRules, Contract]]:
    """Return settings in which every axis takes its ends, for the checks against the bars."""
    n_axes = len(space.axes)
    start = list(space.digits[0]) if isinstance(space, SampledGrid) else [0] * n_axes
    places = [start]
    for at, axis in enumerate(space.axes):
        places += [[*start[:at], end, *start[at + 1 :]] for end in (0, len(axis) - 1)]
    found = []
    for digits in places:
        try:
            found.append(space.settings_at(digits))
        except ConfigError:  # an invalid combination, which the grid leaves out
            continue
    return found or [(space.strategy, space.rules, space.contract)]


class _Run:
    """The shards that are missing, computed in order, watched from the main thread."""

    def __init__(
        self,
        job: SweepJob,
        engine: Engine,
        threads: int,
        max_memory: int,
        progress: Callable[[Progress], None] | None,
        done: dict[int, int],
    ) -> None:
        self.job = job
        self.shards = Shards(job.grid)
        self.seconds = 0.0
        self._evaluator = Evaluator(job, engine, threads=threads, max_memory=max_memory)
        self._progress = progress
        self._done = done
        self._combos_before = sum(done.values())
        self._total = job.grid.count() if hasattr(job.grid, "count") else job.grid.size
        self._began = 0.0

    def cancel(self) -> None:
        """Make what is running stop soon."""
        self._evaluator.cancel()

    def tables(self, processes: int) -> Iterator[tuple[Shard, pa.Table]]:
        """Yield the missing shards with their tables as they are done."""
        missing = [
            shard for shard in self.shards.in_working_order() if shard.number not in self._done
        ]
        self._began = time.monotonic()
        with _terminated_as_interrupt():
            found = self._here(missing) if processes == 0 else self._spread(missing, processes)
            for shard, table in found:
                self._done[shard.number] = table.num_rows
                self._report(0)
                yield shard, table
        self.seconds = time.monotonic() - self._began

    def _here(self, missing: list[Shard]) -> Iterator[tuple[Shard, pa.Table]]:
        """Compute in a thread, so that signals reach this one and the bar moves."""
        with ThreadPoolExecutor(1, "backtest-py-sweep") as worker:
            ahead: tuple[Shard, Future[pa.Table]] | None = None
            for shard in (*missing, None):
                following = (
                    (shard, worker.submit(self._evaluator.evaluate, shard)) if shard else None
                )
                if ahead is not None:
                    yield ahead[0], self._awaited(ahead[1])
                ahead = following

    def _awaited(self, future: Future[pa.Table]) -> pa.Table:
        while True:
            try:
                return future.result(timeout=POLL_SECONDS)
            except FutureTimeoutError:
                self._report(self._evaluator.done)
            except BaseException:
                self.cancel()
                raise

    def _spread(self, missing: list[Shard], processes: int) -> Iterator[tuple[Shard, pa.Table]]:
        """Compute in processes; every shard is a unit that any of them can do."""
        from joblib import Parallel, delayed  # noqa: PLC0415 - only where it is used

        task = ShardTask(self.job, self._evaluator.engine.name, self._evaluator.max_memory)
        parallel = Parallel(n_jobs=processes, return_as="generator_unordered")
        yield from parallel(delayed(task)(shard) for shard in missing)

    def _report(self, running: int) -> None:
        if self._progress is None:
            return
        seconds = time.monotonic() - self._began
        finished = sum(self._done.values())
        combos = max(finished, self._combos_before + running)
        rate = (combos - self._combos_before) / seconds if seconds > 0 else 0.0
        self._progress(
            Progress(
                combos=min(combos, self._total),
                total_combos=self._total,
                shards=len(self._done),
                total_shards=len(self.shards),
                seconds=seconds,
                combos_per_second=rate,
                seconds_left=(self._total - combos) / rate if rate > 0 else float("nan"),
            )
        )


@dataclass(frozen=True)
class ShardTask:
    """One sweep as any process can work on it: call it with a shard, get the shard's table."""

    job: SweepJob
    engine: str
    max_memory: int

    def __call__(self, shard: Shard) -> tuple[Shard, pa.Table]:
        """Compute a shard; what shards share is kept between calls of one process."""
        key = (self.job.bars.content_hash, canonical_json(self.job.grid.to_mapping()), self.engine)
        if _KEPT.get("key") != key:
            engine, _ = resolve(self.engine)
            _KEPT["evaluator"] = Evaluator(
                self.job, engine, threads=1, max_memory=self.max_memory
            )
            _KEPT["key"] = key
        return shard, _KEPT["evaluator"].evaluate(shard)


_KEPT: dict[str, Any] = {}
"""The evaluator of a worker process, for the sweep that it worked on last."""


def _in_memory(
    job: SweepJob,
    engine: Engine,
    manifest: dict[str, Any],
    threads: int,
    processes: int,
    max_memory: int,
    gate: int | None,
    progress: Callable[[Progress], None] | None,
) -> SweepResult:
    from backtest_py.sweep.result import SweepResult  # noqa: PLC0415 - imports pyarrow

    _gated(job, engine, gate, manifest, manifest.update, threads, max_memory)
    run = _Run(job, engine, threads, max_memory, progress, {})
    tables = dict(run.tables(processes))
    ordered = [tables[shard] for shard in sorted(tables, key=lambda shard: shard.number)]
    return SweepResult.of_tables(ordered, manifest, bars=job.bars, grid=job.grid)


def _gated(
    job: SweepJob,
    engine: Engine,
    gate: int | None,
    manifest: Mapping[str, Any],
    update: Callable[[dict[str, Any]], None],
    threads: int,
    max_memory: int,
) -> None:
    """Let a large sweep of the Rust engine begin only where it agrees with the reference."""
    if engine.name != "rust":
        return
    if gate is None:
        update({"gate": {"verdict": "skipped", "reason": "the caller asked to skip it"}})
    elif job.grid.size > gate and manifest.get("gate", {}).get("verdict") != "agreed":
        update({"gate": pass_gate(job, engine, threads=threads, max_memory=max_memory)})


def _manifest(job: SweepJob, engine: Engine, reason: str) -> dict[str, Any]:
    """Return what the directory says of itself; ``identity`` holds all that decides a number."""
    bars = job.bars
    return {
        "identity": {
            "grid": job.grid.to_mapping(),
            "metrics": job.metrics.to_mapping(),
            "range": [job.first, job.last],
            "scenarios": job.scenarios,
            "bars_hash": bars.content_hash,
            "semantics_version": SEMANTICS_VERSION,
            "engine": engine.name,
            "build": {name: fact for name, fact in engine.build.items() if name not in _NO_IDENTITY},
        },
        "bars": {"source": str(bars.report.source), "n_bars": len(bars)},
        "engine_reason": reason,
        "version": package_version(),
        "level": engine.build.get("level", ""),
        "n_combos": job.grid.size,
        "n_shards": len(Shards(job.grid)),
    }


_NO_IDENTITY: Final = {"level", "levels"}
"""Facts of a build that change no bit of a result."""


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Control-C while a sweep runs, where signals can be handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
