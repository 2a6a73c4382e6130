"""A sweep: checked, let through the gate, computed, and kept while it is computed."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack

from backtest_py.data.source import source_of
from backtest_py.engines import resolve
from backtest_py.engines.layouts import SEMANTICS_VERSION
from backtest_py.errors import ConfigError, ParityError, StorageError
from backtest_py.fingerprints import package_code_hash
from backtest_py.monitoring.sweeps import kept, watched, with_verdict
from backtest_py.provenance import market_of, package_version, signals_hash
from backtest_py.sweep.compute.evaluator import DIRECT_COMBOS, Evaluator
from backtest_py.sweep.compute.forecast import Forecast
from backtest_py.sweep.compute.shards import LAYOUT, Shards
from backtest_py.sweep.compute.signals_check import require_same_signals
from backtest_py.sweep.executors.interrupts import Interrupts
from backtest_py.sweep.executors.thread import run_in_thread
from backtest_py.sweep.executors.work import MAX_MEMORY, Resources, Work
from backtest_py.sweep.gate.gate import GATE_COMBOS, pass_gate
from backtest_py.sweep.result.verdict import stored_verdict
from backtest_py.sweep.spec import BLOCKS, SweepSettings, SweepSpec, check_names
from backtest_py.sweep.store.store import KEPT_BLOCKS, SweepStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Engine
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.result.result import SweepResult

__all__ = ["Question", "identity_of", "plan_sweep", "sweep"]

StoreT = TypeVar("StoreT", bound=SweepStore)

NO_IDENTITY: Final = frozenset({"level", "levels"})
"""Facts of a build that cannot change a result."""


@watched
def sweep(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
    grid: Mapping[str, object] | None = None,
    *,
    engine: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    threads: int = 0,
    processes: int = 0,
    max_memory: int = MAX_MEMORY,
    gate: int | None = GATE_COMBOS,
    progress: Callable[[Progress], None] | None = None,
    source: Mapping[str, Any] | None = None,
    **settings: Unpack[SweepSettings],
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
    engine : str
        As :func:`backtest_py.run` takes it.
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
    gate : int or None
        Number of combinations beyond which ``engine="rust"`` must first agree with the reference
        engine on a sample; None skips it, which the manifest records.
    progress : callable, optional
        Called with a :class:`Progress` some times a second.
    source : mapping, optional
        Arguments by which :func:`backtest_py.load_bars` reads the bars again, kept for
        :meth:`SweepResult.replay`; without them, what ``bars.report`` tells.
    **settings
        ``where`` (str): a condition between parameters, such as
        ``"rules.target > rules.stop"``.
        ``invalid`` (``"refuse"`` or ``"skip"``): what to do with combinations that the settings'
        own rules refuse.
        ``sample`` (Sample, optional): draw combinations instead of taking all.
        ``rules``, ``contract``, ``metrics`` and ``range``: as :func:`backtest_py.run` takes them.
        ``scenarios`` (bool): compute every metric for both ways to settle ambiguous bars.
        ``blocks`` (int): cut the days into so many blocks, 16 by default, and keep the sums of
        the daily returns of each, from which :meth:`SweepResult.verdict` tells the probability of
        overfitting; 0 keeps none. Of more than 10,000 combinations a sample is kept.

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
    resources = Resources(threads, processes, max_memory, progress)
    check_names(settings, "sweep")
    settings.setdefault("blocks", BLOCKS)
    spec, job = SweepSpec.with_job(bars, strategy, grid, **settings)
    question = Question(spec, job.signals, *resolve(engine, job, sweep=True))
    facts: dict[str, Any] = {"data": source_of(bars) if source is None else dict(source)}
    if out is None:
        with Interrupts() as interrupts, interrupts.raised():
            return _in_memory(question, resources, gate, facts, interrupts)
    manifest = question.manifest(facts)
    with Interrupts() as interrupts:
        held = question.held_in(SweepStore, out, manifest, resources, interrupts, resume=resume)
        with held as store:
            with interrupts.raised():
                store.update({"gate": question.pass_gate(gate, resources)})
                how = spec, question.engine, resources, store.done, interrupts
                work = run_in_thread(lambda: Work(*how, packed=True))
                work.do(lambda shard, table: store.write(shard.number, table))
                verdict = run_in_thread(lambda: _verdict(store, question))
            done = {"status": "complete", "seconds": round(work.meter.seconds, 3)}
            store.update(done | {"verdict": verdict})
            interrupts.check()
        from backtest_py.sweep.result.result import SweepResult  # noqa: PLC0415 - with pyarrow

        return SweepResult.open(out, bars=bars, grid=spec.grid)


def _verdict(store: SweepStore, question: Question) -> dict[str, Any]:
    """Return the verdict on a sweep of which every shard is written, for its manifest."""
    from backtest_py.sweep.result.result import SweepResult  # noqa: PLC0415 - with pyarrow

    spec = question.spec
    return stored_verdict(SweepResult.open(store.path, bars=spec.bars, grid=spec.grid))


def _ended_by(error: BaseException) -> dict[str, Any]:
    """Return what the manifest says of a sweep that an error ended."""
    if isinstance(error, ParityError):
        return {"status": "refused", "gate": {"verdict": "disagreed", "reason": str(error)}}
    return {"status": "interrupted"}


def _in_memory(
    question: Question,
    resources: Resources,
    gate: int | None,
    facts: dict[str, Any],
    interrupts: Interrupts,
) -> SweepResult:
    """Sweep, and keep the tables."""
    from backtest_py.sweep.result.result import SweepResult  # noqa: PLC0415 - it comes with pyarrow

    spec, engine = question.spec, question.engine
    needed = 8 * spec.n_values * spec.grid.size
    if needed > resources.max_memory:
        raise ConfigError(
            f"the results of {spec.grid.size:,} combinations take {needed:,} bytes in memory, more "
            f"than max_memory = {resources.max_memory:,}; give out, a directory for them"
        )
    facts["gate"] = question.pass_gate(gate, resources)
    if spec.grid.size <= DIRECT_COMBOS and resources.progress is None:
        # threads and columns would take longer than the runs
        evaluator = Evaluator(spec, engine, max_memory=resources.max_memory)
        began = time.monotonic()
        shards = Shards(spec.grid).in_working_order(by_exits=False)
        later = [evaluator.work_out(shard) for shard in shards]
        facts["seconds"] = round(time.monotonic() - began, 3)
        kept(spec.n_combos, len(later))

        def ordered() -> list[pa.Table]:
            return [table() for table in later]
    else:
        tables: dict[int, pa.Table] = {}
        work = run_in_thread(lambda: Work(spec, engine, resources, {}, interrupts, packed=False))
        work.do(lambda shard, table: tables.update({shard.number: table}))
        facts["seconds"] = round(work.meter.seconds, 3)

        def ordered() -> list[pa.Table]:
            return [tables[number] for number in sorted(tables)]

    return SweepResult.of_tables(
        ordered, lambda: question.manifest(facts), bars=spec.bars, grid=spec.grid
    )


def plan_sweep(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
    grid: Mapping[str, object] | None = None,
    *,
    engine: str = "auto",
    threads: int = 0,
    max_memory: int = MAX_MEMORY,
    **settings: Unpack[SweepSettings],
) -> Forecast:
    """Say what a sweep would do, after a probe of some combinations.

    Parameters
    ----------
    bars, strategy, grid
        As :func:`sweep` takes them.
    engine, threads, max_memory
        As :func:`sweep` takes them.
    **settings
        ``where``, ``invalid``, ``sample``, ``rules``, ``contract``, ``metrics``, ``range``,
        ``scenarios`` and ``blocks``, as :func:`sweep` takes them.

    Returns
    -------
    Forecast
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
    check_names(settings, "plan_sweep")
    settings.setdefault("blocks", BLOCKS)
    resources = Resources(threads, max_memory=max_memory)
    spec, job = SweepSpec.with_job(bars, strategy, grid, **settings)
    runner, _ = resolve(engine, job, sweep=True)
    return Forecast.of(spec, runner, threads=resources.threads, max_memory=resources.max_memory)


@dataclass(frozen=True, slots=True)
class Question:
    """A sweep's question, and the engine that answers it.

    ``signals`` are those of a user's function before anything varies, None for other strategies.
    """

    spec: SweepSpec
    signals: Signals | None
    engine: Engine
    reason: str

    @with_verdict
    def pass_gate(self, gate: int | None, resources: Resources) -> dict[str, Any]:
        """Refuse a large sweep whose engine disagrees with the reference on a sample."""
        spec, engine = self.spec, self.engine
        if engine.is_reference:
            return {"verdict": "not needed", "reason": "the reference engine itself sweeps"}
        if gate is None:
            return {"verdict": "skipped", "reason": "the caller asked to skip it"}
        if spec.grid.size <= gate:
            return {"verdict": "not needed", "reason": f"at most {gate:,} combinations are swept"}
        how = {"threads": resources.threads, "max_memory": resources.max_memory}
        return run_in_thread(lambda: pass_gate(spec, engine, **how))

    def manifest(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the sweep says of itself; ``identity`` holds all that decides a number."""
        spec, build = self.spec, self.engine.build
        identity = identity_of(spec, self.engine, self.signals) | {"layout": LAYOUT}
        return {
            "identity": identity,
            "engine_reason": self.reason,
            "level": build.get("level", ""),
            "version": package_version(),
            "market": market_of(spec.bars),
            "n_bars": len(spec.bars),
            "n_combos": spec.n_combos,
            "n_shards": len(Shards(spec.grid, len(spec.ranges))),
            KEPT_BLOCKS: {"asked": spec.blocks, "n_blocks": spec.kept_blocks},
            **facts,
        }

    @contextmanager
    def held_in(
        self,
        kind: type[StoreT],
        out: str | Path,
        manifest: Mapping[str, Any],
        resources: Resources,
        interrupts: Interrupts,
        *,
        resume: bool,
    ) -> Iterator[StoreT]:
        """Hold a directory while the question is answered; its manifest notes how that ends.

        Parameters
        ----------
        kind : type
            The store.
        out, manifest
            As the store takes them.
        resources, interrupts
            How the question is answered.
        resume : bool
            Whether what is done already counts.

        Raises
        ------
        ConfigError, StorageError, KeyboardInterrupt
            As :func:`sweep`; what does not fit into memory is refused before the directory is made.
        """
        Evaluator(self.spec, self.engine, max_memory=resources.max_memory)
        if resume:

            def accept(done: Mapping[int, str]) -> None:
                with interrupts.raised():
                    require_same_signals(self.spec, done)

            opened = kind.resume(out, manifest, accept=accept, check=interrupts.check)
        else:
            opened = kind.create(out, manifest)
        with opened as store:
            try:
                yield store
            except BaseException as error:
                with suppress(StorageError):  # a full disk cannot take the note either
                    store.update(_ended_by(error))
                raise


def identity_of(spec: SweepSpec, engine: Engine, signals: Signals | None) -> dict[str, Any]:
    """Return all that decides a number of a sweep, but for how it is cut, ready for JSON.

    ``signals`` are those of a user's function before anything varies, None for other strategies.
    """
    identity = spec.to_mapping() | {
        "semantics_version": SEMANTICS_VERSION,
        "engine": engine.name,
        "build": {name: fact for name, fact in engine.build.items() if name not in NO_IDENTITY},
        "package_code": package_code_hash(),
    }
    if signals is not None:
        identity["signals"] = signals_hash(signals)
    if code := spec.grid.strategy.code_fingerprint():
        identity["code"] = code
    return identity
