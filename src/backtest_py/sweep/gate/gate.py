"""The parity gate: before the Rust engine runs a large sweep, the reference engine agrees with it.

Both engines run a sample of this grid on these bars, one combination at a time, as
:func:`backtest_py.run` would. The sweep takes shortcuts that a single run does not, so the rows of
the same combinations must equal those runs in every way in which the sweep may compute a row: by
outcome tables, combination by combination, or as plain runs. Trades must agree bit for bit, metrics
within a relative 1e-5. Metrics are expected to agree bit for bit too, and a warning says where they
do not.

A verdict is kept on disk and holds for the same question, answered by the same code: bars, grid,
settings, range, the builds of both engines, and the sources of this package. A verdict on a user's
own function is not kept, because what the function calls may change.
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
from backtest_py.fingerprints import canonical_json, package_code_hash, sha256
from backtest_py.metrics.catalogue import CATALOGUE
from backtest_py.parameters import counted
from backtest_py.parity import AGREED_RTOL, Difference, compare
from backtest_py.rules import Intrabar
from backtest_py.sweep.gate.sample import STRATA, draw, sweep_sample
from backtest_py.sweep.gate.verdicts import recall, remember

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine
    from backtest_py.rules import ExitRules
    from backtest_py.sweep.gate.sample import Sampled
    from backtest_py.sweep.spec import SweepSpec

    Place = tuple[int, int, int]
    """Number of a combination, scenario, range."""

__all__ = ["GATE_COMBOS", "gate_text", "pass_gate"]

GATE_COMBOS: Final = 1_000
"""Combinations beyond which a sweep of the Rust engine passes the gate first."""

_EXACT: Final = {info.name for info in CATALOGUE.values() if info.kind != "number"}
_NO_TRADES: Final = {name: np.zeros(0, dtype) for name, dtype in TRADE_DTYPE.items()}
_MAX_WORKERS: Final = 16
_KEPT_SIGNALS: Final = 8


def pass_gate(
    spec: SweepSpec, engine: Engine, *, threads: int = 0, max_memory: int = 1 << 30
) -> dict[str, Any]:
    """Check that both engines agree on a sample of a sweep.

    Parameters
    ----------
    spec : SweepSpec
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
        ``sample`` (numbers of combinations by stratum), ``paths`` (in which ways rows were
        computed), ``builds`` (of both engines), ``key``, ``reused``, ``seconds``.

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
    >>> from backtest_py.sweep.spec import SweepSpec
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> axes = {"strategy.lookback": [5, 10], "rules.stop": [1.0, 2.0]}
    >>> spec = SweepSpec.of(bars, "barra_elefante", axes)
    >>> verdict = pass_gate(spec, resolve("rust")[0])
    >>> verdict["verdict"], verdict["bit_for_bit"], verdict["n_combos"]
    ('agreed', True, 4)
    """
    began = time.perf_counter()
    trusted = _reference()
    builds = {each.name: dict(each.build) for each in (trusted, engine)}
    key = sha256(canonical_json(_question(spec, builds)))
    keep = not spec.grid.strategy.computes_signals
    known = recall(key) if keep else None
    verdict = known or _Gate(spec, trusted, engine).verdict(threads, max_memory)
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
    combos = counted(verdict["n_combos"], "combination")
    return (
        f"parity gate: both engines agree on {combos} ({strata}) and "
        f"{counted(verdict['n_trades'], 'trade')}, {exactly}; {how}"
    )


def _reference() -> Engine:
    try:
        return reference()
    except EngineUnavailableError as error:
        raise EngineUnavailableError(
            "a large sweep begins with a check against the reference engine, but "
            f"{error}, or skip the check by gate=None (--skip-gate), which the results record"
        ) from error


def _question(spec: SweepSpec, builds: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a verdict depends on."""
    return {
        "tolerance": AGREED_RTOL,
        "spec": spec.to_mapping(),
        "semantics": SEMANTICS_VERSION,
        "builds": builds,
        "package_code": package_code_hash(),
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
    """What both engines gave for one combination in one scenario and range."""

    place: Place
    comparison: _Compared
    metrics: NDArray[np.float64]
    n_trades: int


class _Gate:
    """One question to both engines, and what has been found so far."""

    def __init__(self, spec: SweepSpec, reference: Engine, engine: Engine) -> None:
        self._spec, self._reference, self._engine = spec, reference, engine
        self._metrics: dict[Place, NDArray[np.float64]] = {}
        self._n_trades = 0
        self._largest = 0.0
        self._first = ""

    def verdict(self, threads: int, max_memory: int) -> dict[str, Any]:
        """Compare a sample; the sweep's rows are computed while both engines run."""
        spec = self._spec
        drawn = draw(spec, int(sha256(canonical_json(spec.grid.to_mapping()))[:16], 16))
        workers = min(threads or cpu_count() or 1, _MAX_WORKERS)
        with (
            ThreadPoolExecutor(1, "backtest-py-gate-sweep") as beside,
            ThreadPoolExecutor(workers, "backtest-py-gate-run") as pool,
        ):
            sweeping = beside.submit(
                sweep_sample, spec, self._engine, drawn, threads=threads, max_memory=max_memory
            )
            if spec.grid.strategy.computes_signals:
                sweeping.result()  # a user's function may not be safe to call from two threads
            self._run(drawn.combo_ids[: drawn.n_certain], pool, 2 * workers)
            sample = sweeping.result()
            done = {combo_id for combo_id, _, _ in self._metrics}
            swept = np.unique(np.concatenate([rows.combo_ids for rows in sample.rows]))
            self._run(swept[~np.isin(swept, list(done))], pool, 2 * workers)
        self._compare_sweep(sample)
        return {
            "verdict": "agreed",
            "bit_for_bit": not self._first,
            "largest_difference": self._largest,
            "first_difference": self._first,
            "n_combos": len(sample.combo_ids),
            "n_trades": self._n_trades,
            "sample": sample.strata,
            "paths": [path.value for path in sample.paths],
        }

    def _run(self, combo_ids: NDArray[np.int64], pool: ThreadPoolExecutor, ahead: int) -> None:
        """Run combinations on both engines, a few of them at a time."""
        waiting: deque[Future[_Answer]] = deque()
        try:
            for place, single in self._jobs(combo_ids.tolist()):
                if len(waiting) == ahead:
                    self._take(waiting.popleft().result())
                waiting.append(pool.submit(self._ask, place, single))
            while waiting:
                self._take(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()

    def _jobs(self, combo_ids: Iterable[int]) -> Iterator[tuple[Place, Job]]:
        """Yield what both engines run: every combination, in every scenario and range."""
        spec = self._spec
        compute = lru_cache(_KEPT_SIGNALS)(lambda strategy: strategy.compute(spec.bars))
        for combo_id in combo_ids:
            strategy, rules, contract = spec.grid.settings(combo_id)
            signals = compute(strategy)
            for scenario in range(spec.n_scenarios):
                settled = replace(rules, intrabar=_intrabar(rules, scenario))
                for number, (first, last) in enumerate(spec.ranges):
                    yield (
                        (combo_id, scenario, number),
                        Job(
                            spec.bars,
                            strategy,
                            signals,
                            settled,
                            contract,
                            spec.metrics,
                            first,
                            last,
                        ),
                    )

    def _ask(self, place: Place, single: Job) -> _Answer:
        expected, found = self._reference.run(single), self._engine.run(single)
        sides = (self._reference.name, self._engine.name)
        comparison = _compared(expected, found, sides)
        return _Answer(place, comparison, found.metrics, len(found.trades["side"]))

    def _take(self, answer: _Answer) -> None:
        self._note(answer.place, answer.comparison)
        self._metrics[answer.place] = answer.metrics
        self._n_trades += answer.n_trades

    def _compare_sweep(self, sample: Sampled) -> None:
        """Compare the rows of the sweep with the single runs of the same engine."""
        name = self._engine.name
        for rows in sample.rows:
            sides = (f"{name}'s single run", f"{name}'s {rows.how}")
            for row, combo_id in enumerate(rows.combo_ids.tolist()):
                for scenario, number in np.ndindex(*rows.metrics.shape[:2]):
                    place = (combo_id, scenario, number)
                    alone = EngineOutput(_NO_TRADES, self._metrics[place])
                    values = np.ascontiguousarray(rows.metrics[scenario, number, :, row])
                    swept = EngineOutput(_NO_TRADES, values)
                    self._note(place, _compared(alone, swept, sides))

    def _note(self, place: Place, comparison: _Compared) -> None:
        """Take note of a comparison, and refuse what is not tolerated."""
        self._largest = max(self._largest, comparison.largest)
        if comparison.wrong is not None:
            raise ParityError(
                "the engines disagree, so the sweep has not begun: "
                f"{self._event(place, comparison.wrong)}; please report it, and sweep "
                f'with engine="{self._reference.name}" meanwhile, which is the reference'
            )
        if comparison.first is not None and not self._first:
            self._first = self._event(place, comparison.first)

    def _event(self, place: Place, split: _Split) -> str:
        """Say where two sides differ, and which combination shows it again."""
        combo_id, scenario, number = place
        grid, bars = self._spec.grid, self._spec.bars
        values = ", ".join(f"{key} = {value!r}" for key, value in grid.values(combo_id).items())
        _, rules, _ = grid.settings(combo_id)
        where = "".join(
            f"; {name} at bar {bar}, {bars.time_text(bar)}"
            for name, bar in (("signal", split.difference.bar), ("exit", split.exit_bar))
            if bar is not None
        )
        span = f", range {number}" if len(self._spec.ranges) > 1 else ""
        return (
            f"combination {combo_id} ({values}), {_intrabar(rules, scenario)}{span}: "
            f"{split.difference.describe(*split.sides)}{where}"
        )


def _intrabar(rules: ExitRules, scenario: int) -> str:
    """Return how a scenario settles ambiguous bars; the first one as the rules ask."""
    code = Intrabar[rules.intrabar]
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
