"""The implementations behind one face: a case goes in, an answer comes out.

The reference's lists become the columns that the engines return, so that one comparator serves
all. Engines are asked through the public functions ``run`` and ``run_signals``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import backtest_py as bt
from backtest_py.engines import resolve
from backtest_py.engines.layouts import TRADE_DTYPE
from backtest_py.errors import BacktestWarning
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import Reason
from backtest_py.strategies.base import get_strategy
from parity import reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.strategies.base import Strategy
    from parity.cases import Case

ENGINES = ("numba", "rust")
IMPLEMENTATIONS = (*ENGINES, "reference")
DTYPES: dict[str, Any] = dict(TRADE_DTYPE)


@dataclass(frozen=True)
class Answer:
    """What an implementation says of a case; ``side`` and ``risk`` are the signals of all bars."""

    trades: Mapping[str, NDArray[Any]]
    metrics: NDArray[np.float64]
    side: NDArray[np.int8]
    risk: NDArray[np.float64] | None

    def __len__(self) -> int:
        """Return the number of trades."""
        return len(self.trades["side"])

    def metric(self, name: str) -> float:
        """Return one metric by its name."""
        return float(self.metrics[METRICS.index(name)])


def ask(implementation: str, case: Case, bars: bt.Bars | None = None) -> Answer:
    """Put a case to an implementation; an engine can be given bars that were built before."""
    if implementation == "reference":
        return to_answer(reference.run(case.bars, case.config, case.side, case.risk))
    return ask_engine(implementation, case, to_bars(case.bars) if bars is None else bars)


def to_answer(result: reference.Result) -> Answer:
    """Lay out a result of the reference as an engine does."""
    columns = {**result.trades, "reason": [Reason[name] for name in result.trades["reason"]]}
    return Answer(
        trades={name: np.array(columns[name], DTYPES[name]) for name in DTYPES},
        metrics=np.array([float(result.metrics[name]) for name in METRICS]),
        side=np.array(result.side, np.int8),
        risk=None if result.risk is None else np.array(result.risk),
    )


def ask_engine(engine: str, case: Case, bars: bt.Bars) -> Answer:
    """Put a case to an engine."""
    result = run_engine(engine, case, bars)
    signals = result.job.signals
    if signals is None:
        strategy = to_strategy(case.config["strategy"])
        signals = resolve(engine)[0].signals(bars, strategy)
    return Answer(result.output.trades, result.output.metrics, signals.side, signals.risk)


def run_engine(engine: str, case: Case, bars: bt.Bars) -> bt.BacktestResult:
    """Run a case as a user would."""
    config = case.config
    span = config.get("range", {})
    options: dict[str, Any] = {
        "rules": bt.ExitRules(**config.get("rules", {})),
        "contract": bt.Contract(**config.get("contract", {})),
        "metrics": bt.MetricSettings(**config.get("metrics", {})),
        "range": (span.get("start") or None, span.get("end") or None),
        "engine": engine,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)
        if case.side is None:
            return bt.run(bars, to_strategy(config["strategy"]), **options)
        side = np.array(case.side, np.int8)
        risk = None if case.risk is None else np.array(case.risk)
        return bt.run_signals(bars, side, risk=risk, **options)


def to_strategy(section: dict[str, Any]) -> Strategy:
    """Return the strategy of a [strategy] section."""
    return get_strategy(section["name"], section.get("params", {}))


def to_bars(bars: reference.Bars) -> bt.Bars:
    """Return the package's bars of the reference's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)
        return bt.Bars(
            np.array(bars.time, "M8[ns]"),  # not integers: those near 1970 pass for another unit
            np.array(bars.open),
            np.array(bars.high),
            np.array(bars.low),
            np.array(bars.close),
            np.array(bars.volume),
            atr=None if bars.atr is None else np.array(bars.atr),
            session_timezone=bars.session_timezone,
        )
