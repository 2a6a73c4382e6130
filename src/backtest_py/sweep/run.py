"""A sweep: checked, let through the gate, computed, and kept while it is computed."""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from backtest_py.backtest.run import as_strategy, check_job, expect, prepare
from backtest_py.bars import Bars
from backtest_py.contract import Contract, MetricSettings
from backtest_py.data.source import source_of
from backtest_py.engines import resolve
from backtest_py.engines.layouts import SEMANTICS_VERSION
from backtest_py.errors import ConfigError, ParityError, StorageError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.provenance import code_hash, package_version, signals_hash
from backtest_py.rules import ExitRules
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.compute.evaluator import DIRECT_COMBOS, Evaluator, SweepJob
from backtest_py.sweep.compute.plan import Plan
from backtest_py.sweep.compute.shards import LAYOUT, Shards
from backtest_py.sweep.executors.work import MAX_MEMORY, Means, Work, listening
from backtest_py.sweep.gate.gate import GATE_COMBOS, pass_gate
from backtest_py.sweep.space.sample import Sample, SampledGrid, build_grid
from backtest_py.sweep.store.store import SweepStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    import pyarrow as pa

    from backtest_py.engines.base import Engine
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.result.result import SweepResult
    from backtest_py.sweep.space.grid import Grid

    Moment = str | date | None

__all__ = ["plan_sweep", "sweep"]

NO_IDENTITY: Final = frozenset({"level", "levels"})
"""Facts of a build that change no bit of a result."""


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
    source: Mapping[str, Any] | None = None,
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
        Bytes to take, beside the bars, in each process; kept by smaller batches, or refused.
    scenarios : bool
        Compute every metric for both ways to settle ambiguous bars.
    gate : int or None
        Number of combinations beyond which ``engine="rust"`` must first agree with the reference
        engine on a sample; None skips it, which the manifest records.
    progress : callable, optional
        Called with a :class:`Progress` some times a second.
    source : mapping, optional
        Arguments by which :func:`backtest_py.load_bars` reads the bars again, kept for
        :meth:`SweepResult.replay`; without them, what ``bars.report`` tells.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        If grid, settings or directory are not allowed, before any work.
    ParityError
        If the engines disagree on the sample.
    StorageError
        If results cannot be written, as on a full disk; the sweep can be resumed.
    KeyboardInterrupt
        On Control-C and SIGTERM; the sweep can be resumed.

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
    means = Means(threads, processes, max_memory, progress)
    settings = (strategy, grid, where, invalid, sample, rules, contract, metrics, range)
    asked = _Asked.of(bars, *settings, engine, scenarios=scenarios)
    facts: dict[str, Any] = {"data": source_of(bars) if source is None else dict(source)}
    if out is None:
        return _in_memory(asked, means, gate, facts)
    Evaluator(asked.job, asked.engine, max_memory=means.max_memory)  # refuses what cannot be done
    manifest = asked.manifest(facts)
    opened = SweepStore.resume(out, manifest) if resume else SweepStore.create(out, manifest)
    with opened as store:
        try:
            store.update({"gate": asked.pass_gate(gate, means)})
            work = Work(asked.job, asked.engine, means, store.done, packed=True)
            work.do(lambda shard, table: store.write(shard.number, table))
        except BaseException as error:
            with suppress(StorageError):  # a full disk takes no note either
                store.update(_ended_by(error))
            raise
        store.update({"status": "complete", "seconds": round(work.meter.seconds, 3)})
    from backtest_py.sweep.result.result import SweepResult  # noqa: PLC0415 - it comes with pyarrow

    return SweepResult.open(out, bars=bars, grid=asked.job.grid)


def _ended_by(error: BaseException) -> dict[str, Any]:
    """Return what the manifest says of a sweep that an error ended."""
    if isinstance(error, ParityError):
        return {"status": "refused", "gate": {"verdict": "disagreed", "reason": str(error)}}
    return {"status": "interrupted"}


def _in_memory(asked: _Asked, means: Means, gate: int | None, facts: dict[str, Any]) -> SweepResult:
    """Sweep, and keep the tables."""
    from backtest_py.sweep.result.result import SweepResult  # noqa: PLC0415 - it comes with pyarrow

    job = asked.job
    needed = 8 * len(METRICS) * job.n_scenarios * job.grid.size
    if needed > means.max_memory:
        raise ConfigError(
            f"the results of {job.grid.size:,} combinations take {needed:,} bytes in memory, more "
            f"than max_memory = {means.max_memory:,}; give out, a directory for them"
        )
    facts["gate"] = asked.pass_gate(gate, means)
    if job.grid.size <= DIRECT_COMBOS and means.progress is None:
        # threads and columns would take longer than the runs
        evaluator = Evaluator(job, asked.engine, max_memory=means.max_memory)
        began = time.monotonic()
        shards = Shards(job.grid).in_working_order(by_exits=False)
        later = [evaluator.work_out(shard) for shard in shards]
        facts["seconds"] = round(time.monotonic() - began, 3)

        def ordered() -> list[pa.Table]:
            return [table() for table in later]
    else:
        tables: dict[int, pa.Table] = {}
        work = Work(job, asked.engine, means, {}, packed=False)
        work.do(lambda shard, table: tables.update({shard.number: table}))
        facts["seconds"] = round(work.meter.seconds, 3)

        def ordered() -> list[pa.Table]:
            return [tables[number] for number in sorted(tables)]

    return SweepResult.of_tables(
        ordered, lambda: asked.manifest(facts), bars=job.bars, grid=job.grid
    )


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
    """Say what a sweep would do, after a probe of some combinations.

    Parameters
    ----------
    bars, strategy, grid, where, invalid, sample, rules, contract, metrics, range, engine
        As :func:`sweep` takes them.
    threads, max_memory, scenarios
        As :func:`sweep` takes them.

    Returns
    -------
    Plan
        Counts of what is shared, and estimates of time and memory.

    Raises
    ------
    ConfigError
        As :func:`sweep`.

    Examples
    --------
    >>> import backtest_py as bt
    >>> plan = bt.plan_sweep(bt.synthetic_bars(n_days=40), grid={"rules.stop": [1.0, 2.0]})
    >>> plan.combos, plan.signal_sets, plan.exits
    (2, 1, 2)
    """
    means = Means(threads, max_memory=max_memory)
    settings = (strategy, grid, where, invalid, sample, rules, contract, metrics, range)
    asked = _Asked.of(bars, *settings, engine, scenarios=scenarios)
    return Plan.of(asked.job, asked.engine, threads=means.threads, max_memory=means.max_memory)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A sweep whose settings have been checked.

    ``signals`` are those of a user's function before anything varies, None for other strategies.
    """

    job: SweepJob
    engine: Engine
    reason: str
    signals: Signals | None

    @classmethod
    def of(
        cls,
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
    ) -> _Asked:
        """Check settings, and find the engine; arguments as :func:`sweep` takes them."""
        rules = ExitRules() if rules is None else rules
        contract = Contract() if contract is None else contract
        for name, value, kind in (
            ("bars", bars, Bars),
            ("rules", rules, ExitRules),
            ("contract", contract, Contract),
        ):
            expect(name, value, kind)
        base, varied = as_strategy(strategy), {} if grid is None else grid
        space = build_grid(base, rules, contract, varied, sample, where=where, invalid=invalid)
        if scenarios and "rules.intrabar" in space.keys:
            raise ConfigError(
                "scenarios computes both ways to settle ambiguous bars, and the grid's "
                '"rules.intrabar" varies them; leave one of the two out'
            )
        signals = base.compute(bars) if isinstance(base, FunctionStrategy) else None
        some, *others = _extremes(space, bars)
        first = prepare(bars, some[0], signals, some[1], some[2], metrics, span)
        for each in others:
            check_job(replace(first, strategy=each[0], rules=each[1], contract=each[2]))
        runner, reason = resolve(engine, first, sweep=True)
        job = SweepJob(bars, space, first.metrics, first.first, first.last, scenarios=scenarios)
        return cls(job, runner, reason, signals)

    def pass_gate(self, gate: int | None, means: Means) -> dict[str, Any]:
        """Let a large sweep begin only where its engine agrees with the reference."""
        job, engine = self.job, self.engine
        if engine.is_reference:
            return {"verdict": "not needed", "reason": "the reference engine itself sweeps"}
        if gate is None:
            return {"verdict": "skipped", "reason": "the caller asked to skip it"}
        if job.grid.size <= gate:
            return {"verdict": "not needed", "reason": f"at most {gate:,} combinations are swept"}
        how = {"threads": means.threads, "max_memory": means.max_memory}
        return listening(lambda: pass_gate(job, engine, **how))

    def _own_code(self) -> dict[str, str]:
        """Return what tells whether a user's own strategy changed under its name."""
        strategy = self.job.grid.strategy
        if isinstance(strategy, FunctionStrategy) and self.signals is not None:
            code = code_hash(type(strategy).function)
            return {"signals": signals_hash(self.signals), "code": code}
        kernel = type(strategy).kernel
        if kernel is not None and not kernel.__module__.startswith("backtest_py."):
            return {"code": code_hash(kernel.py_func)}
        return {}

    def manifest(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the sweep says of itself; ``identity`` holds all that decides a number."""
        job, build = self.job, self.engine.build
        identity = {
            "grid": job.grid.to_mapping(),
            "metrics": job.metrics.to_mapping(),
            "range": [job.first, job.last],
            "scenarios": job.scenarios,
            "bars_hash": job.bars.content_hash,
            "semantics_version": SEMANTICS_VERSION,
            "engine": self.engine.name,
            "build": {name: fact for name, fact in build.items() if name not in NO_IDENTITY},
            "layout": LAYOUT,
        }
        identity |= self._own_code()
        return {
            "identity": identity,
            "engine_reason": self.reason,
            "level": build.get("level", ""),
            "version": package_version(),
            "n_bars": len(job.bars),
            "n_combos": job.n_combos,
            "n_shards": len(Shards(job.grid)),
            **facts,
        }


def _extremes(
    space: Grid | SampledGrid, bars: Bars
) -> Iterator[tuple[Strategy, ExitRules, Contract]]:
    """Yield combinations, one for each demand that settings can make on the bars.

    Units and averages make theirs together; of a strategy's parameters the ends tell, but where
    bars have no volume every value is asked.
    """
    choices = [at for at in space.rules_axes if space.axes[at].parameter.kind == "choice"]
    values = (range(len(space.axes[at])) for at in choices)
    if space.size == 1 and not isinstance(space, SampledGrid):
        yield space.settings(0)
        return
    places = [dict(zip(choices, row, strict=True)) for row in itertools.product(*values)]
    for at in space.strategy_axes:
        last = len(space.axes[at]) - 1
        if last > 0:
            asked = {0, last} if bars.has_volume else range(last + 1)
            places += [{at: digit} for digit in asked]
    found = (space.first_with(fixed) for fixed in places)
    for combo_id in dict.fromkeys(found):
        if combo_id is not None:
            yield space.settings(combo_id)
