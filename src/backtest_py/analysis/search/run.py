"""One search."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack, cast

import numpy as np

from backtest_py.analysis.search.evaluation import evaluated
from backtest_py.analysis.search.explore import Exploration
from backtest_py.analysis.search.guide import sampler_of, versions
from backtest_py.analysis.search.objectives import objectives_of, trade_metrics
from backtest_py.analysis.search.result import (
    SearchResult,
    front_places,
    trials_bytes,
    trials_table,
)
from backtest_py.analysis.search.settings import SearchSettings
from backtest_py.analysis.search.store import KIND, SearchStore
from backtest_py.analysis.search.untried import LISTED
from backtest_py.backtest.run import as_strategy
from backtest_py.contract import Contract
from backtest_py.engines.registry import resolve
from backtest_py.errors import ArgumentError, ConfigError, ParityError
from backtest_py.parameters import unknown_name
from backtest_py.provenance import market_of, package_version
from backtest_py.rules import ExitRules
from backtest_py.sweep.executors.interrupts import Interrupts
from backtest_py.sweep.executors.thread import run_in_thread
from backtest_py.sweep.executors.work import Resources
from backtest_py.sweep.gate.gate import GATE_COMBOS, pass_gate
from backtest_py.sweep.progress import Progress
from backtest_py.sweep.run import identity_of
from backtest_py.sweep.space.grid import Grid
from backtest_py.sweep.space.sample import Sample
from backtest_py.sweep.spec import SweepSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date
    from pathlib import Path

    from numpy.typing import NDArray

    from backtest_py.analysis.search.explore import Explored
    from backtest_py.analysis.search.objectives import Objective
    from backtest_py.bars import Bars
    from backtest_py.contract import MetricSettings
    from backtest_py.engines.base import Engine, Job
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy

    Moment = str | date | None

__all__ = ["SearchDetails", "search"]


class SearchDetails(TypedDict, total=False):
    """What a search may be asked beside; see :func:`search`."""

    where: str
    rules: ExitRules | None
    contract: Contract | None
    metrics: MetricSettings | None
    range: tuple[Moment, Moment] | None
    batch: int
    threads: int
    gate: int | None
    progress: Callable[[Progress], None] | None


CHECKED: Final = Sample(n=256)
"""Combinations of a large grid that are checked against the bars before the search."""
ASKED: Final[tuple[str, ...]] = ("where", "rules", "contract", "metrics", "range")
"""Those of them that a sweep's question takes."""


def search(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any] = "barra_elefante",
    grid: Mapping[str, object] | None = None,
    *,
    objective: object = "sharpe",
    n_trials: int = 1_000,
    sampler: str = "auto",
    seed: int = 0,
    min_trades: int = 30,
    engine: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    **details: Unpack[SearchDetails],
) -> SearchResult:
    """Search the good combinations of a grid that is too large to sweep.

    A sampler of optuna proposes combinations in batches and learns from what they give; a batch is
    evaluated as a sweep evaluates its rows, so that every number equals :func:`backtest_py.run`,
    bit for bit. The same question and seed give the same trials, on either engine, with any number
    of threads, and whether the search was interrupted or not.

    Parameters
    ----------
    bars : Bars
        The market.
    strategy : Strategy, str or callable
        As :func:`backtest_py.sweep` takes it.
    grid : mapping
        As :func:`backtest_py.sweep` takes it, of up to 2**62 combinations. Only its own values are
        tried. Combinations that the settings' own rules refuse are left out.
    objective : str, ColumnMetric, TradeMetric, callable, mapping or list
        A metric, which shall be large or small as is good for it; a function of the columns; or
        several of these as a list, or as a mapping to ``"max"`` and ``"min"``.
    n_trials : int
        Combinations to evaluate, each once; fewer if the grid has no more.
    sampler : {"auto", "tpe", "nsga2", "random"}
        ``"tpe"`` takes one objective; ``"auto"`` is ``"tpe"`` for one and ``"nsga2"`` for several.
    seed : int
        0 to 2**32 - 1.
    min_trades : int
        With fewer trades a combination cannot be the best.
    engine : {"auto", "numba", "rust"}
        As :func:`backtest_py.sweep` takes it.
    out : str or Path, optional
        A directory, in which every batch is kept.
    resume : bool
        Continue the search in ``out``, or begin one. It may be given more trials than before.
    where : str, default ""
        A condition between parameters; what it leaves out is not evaluated.
    rules, contract, metrics, range
        As :func:`backtest_py.run` takes them.
    batch : int, default 25
        Combinations that are proposed together; a generation of ``"nsga2"``.
    threads : int, default 0
        Threads of the engine, 0 for one per processor.
    gate : int or None, default 1000
        Number of trials beyond which ``engine="rust"`` must first agree with the reference engine
        on a sample of the grid; None skips it, which the manifest records.
    progress : callable, optional
        Called with a :class:`Progress` after each batch.

    Returns
    -------
    SearchResult

    Raises
    ------
    ConfigError
        If an argument or the directory is not allowed, or optuna is not installed:
        ``pip install "backtest-py[search]"``.
    ParityError
        If the engines disagree on the sample.
    StorageError
        If a batch cannot be written, as on a full disk; the search can be resumed.
    KeyboardInterrupt
        On Control-C and SIGTERM; with ``out`` the search can be resumed.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=40)
    >>> axes = {"rules.stop": {"start": 0.5, "stop": 5.0, "step": 0.01},
    ...         "rules.target": {"start": 0.5, "stop": 9.0, "step": 0.01}}
    >>> found = bt.search(bars, "barra_elefante", axes, n_trials=60, min_trades=5, seed=1)
    >>> found.n_trials
    60
    >>> replayed = found.replay(int(found.best["combo_id"]))
    >>> bool(replayed.metrics.sharpe == found.best["sharpe"])
    True
    """
    for name in details:
        if name not in SearchDetails.__annotations__:
            known = SearchDetails.__annotations__
            raise unknown_name("argument of search", name, known, ArgumentError)
    settings = SearchSettings(
        n_trials=n_trials,
        batch=details.get("batch", SearchSettings().batch),
        sampler=sampler,
        seed=seed,
        min_trades=min_trades,
    )
    if resume and out is None:
        raise ConfigError("resume continues the search of a directory; name it in out")
    given: dict[str, Any] = dict(details)
    question = {name: given[name] for name in ASKED if name in given}
    spec, job = _question(bars, strategy, {} if grid is None else grid, question)
    objectives = objectives_of(objective, spec.grid.keys)
    sampler_of(settings, objectives)
    versions()  # refuses where optuna is not installed, before any work
    asked = _Search(
        spec,
        *resolve(engine, job, sweep=True),
        signals=job.signals,
        settings=settings,
        objectives=objectives,
        threads=Resources(details.get("threads", 0)).threads,
        gate=details.get("gate", GATE_COMBOS),
        progress=details.get("progress"),
    )
    with Interrupts() as interrupts:
        if out is None:
            return asked.run(None, interrupts)
        with SearchStore(out, asked.manifest(), resume=resume) as store:
            return asked.run(store, interrupts)


def _question(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any],
    grid: Mapping[str, object],
    question: dict[str, Any],
) -> tuple[SweepSpec, Job]:
    """Return the checked question of the whole grid, and one of its backtests.

    Of a large grid some combinations are checked: to go through all of them, as a sweep does, may
    take forever where ``where`` joins many parameters.
    """
    asked = {**question, "invalid": "skip"}
    rules, contract = question.get("rules"), question.get("contract")
    if isinstance(rules, ExitRules | None) and isinstance(contract, Contract | None):
        whole = Grid.build(
            as_strategy(strategy),
            rules or ExitRules(),
            contract or Contract(),
            grid,
            where=question.get("where", ""),
            invalid="skip",
        )
        if whole.size > LISTED:
            # where so few cannot be drawn, the whole grid is looked through for them
            with suppress(ConfigError):
                some, job = SweepSpec.with_job(bars, strategy, grid, sample=CHECKED, **asked)
                return replace(some, grid=whole), job
    return SweepSpec.with_job(bars, strategy, grid, **asked)


@dataclass(frozen=True, slots=True)
class _Search:
    """A search's question, and the engine that answers it."""

    spec: SweepSpec
    engine: Engine
    reason: str
    signals: Signals | None
    settings: SearchSettings
    objectives: tuple[Objective, ...]
    threads: int
    gate: int | None
    progress: Callable[[Progress], None] | None

    def manifest(self) -> dict[str, Any]:
        """Return what the search says of itself; ``identity`` holds all that decides a trial."""
        asked = self.settings.to_mapping()
        del asked["n_trials"]  # a search may be continued for longer
        asked["sampler"] = sampler_of(self.settings, self.objectives)
        asked["objective"] = [each.to_mapping() for each in self.objectives]
        identity = identity_of(self.spec, self.engine, self.signals)
        return {
            "identity": identity | {"search": asked, "versions": versions()},
            "engine_reason": self.reason,
            "version": package_version(),
            "market": market_of(self.spec.bars),
            "n_bars": len(self.spec.bars),
            "grid_size": self.spec.grid.size,
            "n_trials_asked": self.settings.n_trials,
        }

    def run(self, store: SearchStore | None, interrupts: Interrupts) -> SearchResult:
        """Search; what is kept is kept by ``store``."""
        known = store.known if store is not None else {}
        if len(known) > self.settings.n_trials:
            raise ConfigError(
                f"n_trials = {self.settings.n_trials:,} is fewer than the {len(known):,} "
                "combinations that were evaluated in the directory already; give at least as many"
            )
        try:
            with interrupts.raised():
                gate = self._pass_gate(store)
                explored = self._exploration(store, known, interrupts).run()
            outcome = {"gate": gate, "status": "complete", **self._outcome(explored)}
            if store is None:
                manifest = self.manifest() | {"kind": KIND} | outcome
                return SearchResult(self.spec, self.engine, self.objectives, explored, manifest)
            table = trials_table(self.spec, self.objectives, explored)
            store.finish(trials_bytes(table), outcome)
        except BaseException as error:
            if store is not None:
                store.note(_ended_by(error))
            raise
        return SearchResult(self.spec, self.engine, self.objectives, explored, store.manifest)

    def _exploration(
        self,
        store: SearchStore | None,
        known: Mapping[int, NDArray[np.float64]],
        interrupts: Interrupts,
    ) -> Exploration:
        """Return the search, which takes what is known and keeps what is new."""
        own = trade_metrics(self.objectives)
        how = {"threads": self.threads}

        def evaluate(batch: int, combo_ids: NDArray[np.int64]) -> NDArray[np.float64]:
            missing = np.array([each not in known for each in combo_ids.tolist()], np.bool_)
            if missing.all():
                rows = evaluated(self.spec, self.engine, combo_ids, own, **how)
            else:
                rows = np.empty((len(next(iter(known.values()))), len(combo_ids)))
                for place in np.flatnonzero(~missing).tolist():
                    rows[:, place] = known[int(combo_ids[place])]
                if missing.any():
                    new = evaluated(self.spec, self.engine, combo_ids[missing], own, **how)
                    rows[:, missing] = new
            if store is not None:
                with interrupts.held():
                    store.write(batch, combo_ids, rows)
                interrupts.check()
            return rows

        meter = _Meter(self.settings, self.progress)
        grid = cast("Grid", self.spec.grid)  # no sample was asked for
        exploration = Exploration(grid, self.settings, self.objectives, evaluate, meter.tell)
        meter.total = exploration.target
        return exploration

    def _pass_gate(self, store: SearchStore | None) -> dict[str, Any]:
        """Refuse a long search whose engine disagrees with the reference on a sample."""
        n_trials = min(self.settings.n_trials, self.spec.grid.size)
        if self.engine.is_reference:
            return {"verdict": "not needed", "reason": "the reference engine itself searches"}
        if self.gate is None:
            return {"verdict": "skipped", "reason": "the caller asked to skip it"}
        if n_trials <= self.gate:
            reason = f"at most {self.gate:,} combinations are evaluated"
            return {"verdict": "not needed", "reason": reason}
        if store is not None and store.manifest.get("gate", {}).get("verdict") == "agreed":
            passed: dict[str, Any] = store.manifest["gate"]
            return passed
        verdict = run_in_thread(lambda: pass_gate(self.spec, self.engine, threads=self.threads))
        # what differs from one time to the next is left out, so that a manifest is reproducible
        gate = {name: fact for name, fact in verdict.items() if name not in {"reused", "seconds"}}
        if store is not None:
            store.update({"gate": gate})
        return gate

    def _outcome(self, explored: Explored) -> dict[str, Any]:
        """Return what came out, for the manifest."""
        front = front_places(self.objectives, explored)
        ids = explored.combo_ids[front].tolist()
        return {
            "n_trials": len(explored.combo_ids),
            "n_feasible": int(np.count_nonzero(explored.judged.violations == 0)),
            "best": ids[0] if ids else None,
            "front": ids,
        }


def _ended_by(error: BaseException) -> dict[str, Any]:
    """Return what the manifest says of a search that an error ended."""
    if isinstance(error, ParityError):
        return {"status": "refused", "gate": {"verdict": "disagreed", "reason": str(error)}}
    return {"status": "interrupted"}


class _Meter:
    """Tells a callback how far a search is."""

    def __init__(
        self, settings: SearchSettings, callback: Callable[[Progress], None] | None
    ) -> None:
        self._batch, self._callback = settings.batch, callback
        self._began = time.monotonic()
        self.total = settings.n_trials

    def tell(self, trials: int, batches: int) -> None:
        """Tell of so many trials in so many batches."""
        if self._callback is None:
            return
        seconds = time.monotonic() - self._began
        rate = trials / seconds if seconds > 0 else 0.0
        left = (self.total - trials) / rate if rate > 0 else float("nan")
        total_batches = max(batches, -(-self.total // self._batch))
        self._callback(Progress(trials, self.total, batches, total_batches, seconds, rate, left))
