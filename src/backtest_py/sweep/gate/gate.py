"""The parity gate: before the Rust engine runs a large sweep, the reference engine agrees with it.

Both run a sample of this very grid on these very bars, one combination at a time, as
:func:`backtest_py.run` would; and what the sweep itself gives for the same combinations must equal
that, because the sweep takes shortcuts that a single run does not. Trades must agree bit for bit,
metrics within a relative 1e-5. That they agree bit for bit, too, is expected, and a warning tells
where they do not.

A verdict is kept on disk and holds for the same question: bars, grid, settings, range and builds of
both engines. One on a user's own function is not kept, for what the function calls may change.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from os import cpu_count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.engines import reference
from backtest_py.engines.base import EngineOutput, Job
from backtest_py.engines.layouts import SEMANTICS_VERSION, TRADE_DTYPE
from backtest_py.errors import BacktestWarning, EngineUnavailableError, ParityError
from backtest_py.metrics.catalogue import CATALOGUE
from backtest_py.parity import AGREED_RTOL, Difference, compare
from backtest_py.provenance import canonical_json, sha256
from backtest_py.rules import Intrabar
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.gate.stratify import STRATA, draw, stratify
from backtest_py.sweep.gate.verdicts import recall, remember

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine
    from backtest_py.sweep.compute.evaluator import SweepJob
    from backtest_py.sweep.gate.stratify import Stratified

    Row = tuple[int, list[int]]

__all__ = ["GATE_COMBOS", "gate_text", "pass_gate"]

GATE_COMBOS: Final = 1_000
"""Combinations beyond which a sweep of the Rust engine passes the gate first."""

_FORMAT: Final = 1
"""Goes up when a verdict says something else than before, so that none is taken from disk."""
_EXACT: Final = {info.name for info in CATALOGUE.values() if info.kind != "number"}
_NO_TRADES: Final = {name: np.zeros(0, dtype) for name, dtype in TRADE_DTYPE.items()}
_MAX_WORKERS: Final = 16
_KEPT_SIGNALS: Final = 8


def pass_gate(
    job: SweepJob, engine: Engine, *, threads: int = 0, max_memory: int = 1 << 30
) -> dict[str, Any]:
    """Let a sweep pass if both engines agree on a sample of it.

    Parameters
    ----------
    job : SweepJob
        What is swept.
    engine : Engine
        The engine that sweeps.
    threads : int
        Threads to use, 0 for one per processor.
    max_memory : int
        Bytes that the outcomes of trades may take.

    Returns
    -------
    dict
        The verdict, ready for JSON: ``verdict`` (``"agreed"``), ``bit_for_bit``,
        ``largest_difference`` (relative), ``first_difference`` (text), ``n_combos``, ``n_trades``,
        ``sample`` (numbers of combinations by stratum), ``builds`` (of both engines), ``key``,
        ``reused``, ``seconds``.

    Raises
    ------
    ParityError
        With the first divergent event and its combination.
    EngineUnavailableError
        If Numba cannot be loaded.

    Examples
    --------
    >>> import backtest_py as bt
    >>> from backtest_py.engines import resolve
    >>> from backtest_py.sweep.compute.evaluator import SweepJob
    >>> from backtest_py.sweep.space.grid import Grid
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> axes = {"strategy.lookback": [5, 10], "rules.stop": [1.0, 2.0]}
    >>> grid = Grid.build(bt.BarraElefante(), bt.ExitRules(), bt.Contract(), axes)
    >>> job = SweepJob(bars, grid, bt.MetricSettings(), 0, len(bars))
    >>> verdict = pass_gate(job, resolve("rust")[0])
    >>> verdict["verdict"], verdict["bit_for_bit"], verdict["n_combos"]
    ('agreed', True, 4)
    """
    began = time.perf_counter()
    trusted = _reference()
    builds = {each.name: dict(each.build) for each in (trusted, engine)}
    key = sha256(canonical_json(_identity(job, builds)))
    keep = not isinstance(job.grid.strategy, FunctionStrategy)
    known = recall(key) if keep else None
    verdict = known or _Gate(job, trusted, engine).verdict(threads, max_memory)
    if keep and known is None:
        remember(key, verdict)
    if not verdict["bit_for_bit"]:
        warnings.warn(
            f"the engines agree on {verdict['n_combos']} combinations of this sweep, but not bit "
            f"for bit: metrics differ by up to a relative {verdict['largest_difference']:.1e}, "
            f"first in {verdict['first_difference']}; please report it",
            BacktestWarning,
            stacklevel=4,
        )
    return {
        **verdict,
        "builds": builds,
        "key": key,
        "reused": known is not None,
        "seconds": round(time.perf_counter() - began, 3),
    }


def gate_text(verdict: Mapping[str, Any]) -> str:
    """Say in one line what the gate of a sweep found, as its manifest has it.

    Parameters
    ----------
    verdict : mapping
        What :func:`pass_gate` returned, or ``{"verdict": "skipped", "reason": …}``.

    Examples
    --------
    >>> gate_text({"verdict": "skipped", "reason": "the caller asked to skip it"})
    'parity gate: skipped, the caller asked to skip it'
    """
    if verdict["verdict"] != "agreed":
        return f"parity gate: {verdict['verdict']}, {verdict['reason']}"
    exactly = "bit for bit"
    if not verdict["bit_for_bit"]:
        exactly = f"metrics within a relative {verdict['largest_difference']:.1e}"
    strata = ", ".join(f"{len(verdict['sample'][name])} {name}" for name in STRATA)
    how = "reused" if verdict["reused"] else f"{verdict['seconds']:.1f} s"
    return (
        f"parity gate: both engines agree on {verdict['n_combos']} combinations ({strata}) and "
        f"{verdict['n_trades']:,} trades, {exactly}; {how}"
    )


def _reference() -> Engine:
    try:
        return reference()
    except EngineUnavailableError as error:
        raise EngineUnavailableError(
            "a large sweep begins with a check against the reference engine, but "
            f"{error}, or skip the check by gate=None (--skip-gate), which the results record"
        ) from error


def _identity(job: SweepJob, builds: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a verdict depends on."""
    return {
        "format": _FORMAT,
        "tolerance": AGREED_RTOL,
        "bars": job.bars.content_hash,
        "grid": job.grid.to_mapping(),
        "metrics": job.metrics.to_mapping(),
        "range": [job.first, job.last],
        "scenarios": job.scenarios,
        "semantics": SEMANTICS_VERSION,
        "builds": builds,
    }


@dataclass(frozen=True, slots=True)
class _Split:
    """Where two sides differ, and at which bar the trade ended on the first of them."""

    difference: Difference
    sides: tuple[str, str]
    exit_bar: int | None


@dataclass(frozen=True, slots=True)
class _Compared:
    """How two sides differ: the first difference that is not tolerated, the first one at all."""

    wrong: _Split | None = None
    first: _Split | None = None
    largest: float = 0.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What both engines gave for one combination in one scenario."""

    combo_id: int
    scenario: int
    comparison: _Compared
    metrics: NDArray[np.float64]
    n_trades: int


class _Gate:
    """One question to both engines, and what has been found so far."""

    def __init__(self, job: SweepJob, reference: Engine, engine: Engine) -> None:
        self._job, self._reference, self._engine = job, reference, engine
        self._metrics: dict[tuple[int, int], NDArray[np.float64]] = {}
        self._n_trades = 0
        self._largest = 0.0
        self._first = ""

    def verdict(self, threads: int, max_memory: int) -> dict[str, Any]:
        """Compare a sample, the rows of the sweep while the engines run."""
        job = self._job
        drawn = draw(job.grid, int(sha256(canonical_json(job.grid.to_mapping()))[:16], 16))
        workers = min(threads or cpu_count() or 1, _MAX_WORKERS)
        with (
            ThreadPoolExecutor(1, "backtest-py-gate-sweep") as beside,
            ThreadPoolExecutor(workers, "backtest-py-gate-run") as pool,
        ):
            sweeping = beside.submit(
                stratify, job, self._engine, drawn, threads=threads, max_memory=max_memory
            )
            if isinstance(job.grid.strategy, FunctionStrategy):
                sweeping.result()  # a user's function need not bear two threads at once
            certain = slice(drawn.n_certain)
            self._run(
                zip(drawn.combo_ids[certain].tolist(), drawn.digits[certain].tolist(), strict=True),
                pool,
                2 * workers,
            )
            sample = sweeping.result()
            every = zip(sample.combo_ids.tolist(), sample.digits.tolist(), strict=True)
            self._run([row for row in every if (row[0], 0) not in self._metrics], pool, 2 * workers)
        self._compare_sweep(sample)
        return {
            "verdict": "agreed",
            "bit_for_bit": not self._first,
            "largest_difference": self._largest,
            "first_difference": self._first,
            "n_combos": len(sample.combo_ids),
            "n_trades": self._n_trades,
            "sample": sample.strata,
        }

    def _run(self, rows: Iterable[Row], pool: ThreadPoolExecutor, ahead: int) -> None:
        """Run combinations on both engines, a few of them at a time."""
        waiting: deque[Future[_Answer]] = deque()
        try:
            for combo_id, scenario, single in self._jobs(rows):
                if len(waiting) == ahead:
                    self._take(waiting.popleft().result())
                waiting.append(pool.submit(self._ask, combo_id, scenario, single))
            while waiting:
                self._take(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()

    def _jobs(self, rows: Iterable[Row]) -> Iterator[tuple[int, int, Job]]:
        """Yield what both engines shall run: every combination, in every scenario."""
        job = self._job
        compute = lru_cache(_KEPT_SIGNALS)(lambda strategy: strategy.compute(job.bars))
        for combo_id, digits in rows:
            strategy, rules, contract = job.grid.settings_at(digits)
            signals = compute(strategy) if isinstance(strategy, FunctionStrategy) else None
            base = Job(
                job.bars, strategy, signals, rules, contract, job.metrics, job.first, job.last
            )
            for scenario in range(job.n_scenarios):
                settled = replace(rules, intrabar=_intrabar(Intrabar[rules.intrabar], scenario))
                yield combo_id, scenario, replace(base, rules=settled)

    def _ask(self, combo_id: int, scenario: int, single: Job) -> _Answer:
        expected, found = self._reference.run(single), self._engine.run(single)
        sides = (self._reference.name, self._engine.name)
        comparison = _compared(expected, found, sides)
        return _Answer(combo_id, scenario, comparison, found.metrics, len(found.trades["side"]))

    def _take(self, answer: _Answer) -> None:
        self._note(answer.combo_id, answer.scenario, answer.comparison)
        self._metrics[answer.combo_id, answer.scenario] = answer.metrics
        self._n_trades += answer.n_trades

    def _compare_sweep(self, sample: Stratified) -> None:
        """Compare the rows of the sweep with the single runs of the same engine."""
        sides = (f"{self._engine.name}'s single run", f"{self._engine.name}'s sweep")
        for row, combo_id in enumerate(sample.combo_ids.tolist()):
            for scenario, metrics in enumerate(sample.metrics):
                alone = EngineOutput(_NO_TRADES, self._metrics[combo_id, scenario])
                swept = EngineOutput(_NO_TRADES, np.ascontiguousarray(metrics[:, row]))
                self._note(combo_id, scenario, _compared(alone, swept, sides))

    def _note(self, combo_id: int, scenario: int, comparison: _Compared) -> None:
        """Take note of a comparison, and refuse what is not tolerated."""
        self._largest = max(self._largest, comparison.largest)
        if comparison.wrong is not None:
            raise ParityError(
                "the engines disagree, so the sweep has not begun: "
                f"{self._event(combo_id, scenario, comparison.wrong)}; please report it, and sweep "
                f'with engine="{self._reference.name}" meanwhile, which is the reference'
            )
        if comparison.first is not None and not self._first:
            self._first = self._event(combo_id, scenario, comparison.first)

    def _event(self, combo_id: int, scenario: int, split: _Split) -> str:
        """Say where two sides differ, and which combination shows it again."""
        grid, bars = self._job.grid, self._job.bars
        values = ", ".join(f"{key} = {value!r}" for key, value in grid.values(combo_id).items())
        _, rules, _ = grid.settings(combo_id)
        where = "".join(
            f"; {name} at bar {bar}, {bars.time_text(bar)}"
            for name, bar in (("signal", split.difference.bar), ("exit", split.exit_bar))
            if bar is not None
        )
        return (
            f"combination {combo_id} ({values}), {_intrabar(Intrabar[rules.intrabar], scenario)}: "
            f"{split.difference.describe(*split.sides)}{where}"
        )


def _intrabar(code: int, scenario: int) -> str:
    """Return how a scenario settles ambiguous bars; the first one as the rules ask."""
    return Intrabar(code if scenario == 0 else 1 - code).name


def _compared(left: EngineOutput, right: EngineOutput, sides: tuple[str, str]) -> _Compared:
    """Compare two sides: trades and counts exactly, other metrics with the tolerance."""
    exact = compare(left, right)
    if exact.same:
        return _Compared()
    wrong = [item for item in exact.differences if item.trade is not None or item.field in _EXACT]
    wrong += compare(left, right, rtol=AGREED_RTOL).differences
    splits = [
        _Split(item, sides, _exit_bar(left, item)) for item in (exact.differences[0], *wrong[:1])
    ]
    return _Compared(splits[1] if wrong else None, splits[0], exact.largest)


def _exit_bar(left: EngineOutput, difference: Difference) -> int | None:
    exits = left.trades["exit_bar"]
    if difference.trade is None or difference.trade >= len(exits):
        return None
    return int(exits[difference.trade])
