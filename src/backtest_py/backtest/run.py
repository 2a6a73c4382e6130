"""One backtest."""

from __future__ import annotations

import warnings
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from backtest_py.backtest.job import expect, prepare
from backtest_py.bars import Bars
from backtest_py.engines.registry import resolve
from backtest_py.errors import BacktestWarning, ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.strategies.base import Strategy, get_strategy

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from backtest_py.backtest.result import BacktestResult
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.engines.base import Engine, EngineOutput, Job
    from backtest_py.rules import ExitRules

    Moment = str | date | None

__all__ = ["answered", "as_strategy", "run", "run_signals"]

_TOTAL_RETURN: Final = METRICS.index("total_return")


def run(
    bars: Bars,
    strategy: str | Strategy | Callable[..., Any],
    rules: ExitRules | None = None,
    contract: Contract | None = None,
    *,
    metrics: MetricSettings | None = None,
    range: tuple[Moment, Moment] | None = None,  # noqa: A002
    engine: str = "auto",
) -> BacktestResult:
    """Run one backtest.

    Parameters
    ----------
    bars : Bars
        The market.
    strategy : Strategy, str or callable
        A strategy, the name of one (with its defaults), or a function as
        :func:`~backtest_py.register_strategy` takes it.
    rules : ExitRules, optional
        How positions are closed.
    contract : Contract, optional
        What is traded, and what it costs.
    metrics : MetricSettings, optional
        Settings of the annualised metrics.
    range : pair of str, date or None, optional
        Half-open span of signals on the session's wall clock; ``None`` is no bound.
    engine : {"auto", "numba", "rust"}
        Both engines give the same bits; ``auto`` takes rust where it is available and can do the
        job, else numba, and the provenance says why.

    Returns
    -------
    BacktestResult

    Raises
    ------
    ConfigError
        If an argument is of the wrong kind, or settings contradict each other or the bars.
    EngineUnavailableError
        If the engine cannot be loaded.
    UnsupportedError
        If it has no code for the strategy.

    Examples
    --------
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> result = bt.run(bars, bt.BarraElefante(lookback=10), bt.ExitRules(close_time="17:00"))
    >>> result.metrics.total_trades > 0
    True
    """
    expect("bars", bars, Bars)  # before a user's function meets them
    chosen = as_strategy(strategy)
    signals = chosen.compute(bars)
    return _run(prepare(bars, chosen, signals, rules, contract, metrics, range), engine)


def run_signals(
    bars: Bars,
    side: object,
    rules: ExitRules | None = None,
    contract: Contract | None = None,
    *,
    risk: object = None,
    metrics: MetricSettings | None = None,
    range: tuple[Moment, Moment] | None = None,  # noqa: A002
    engine: str = "auto",
) -> BacktestResult:
    """Run one backtest on signals of your own.

    Parameters
    ----------
    bars : Bars
        The market.
    side : array-like of -1, 0 and 1, shape (n_bars,)
        1 to go long at the next bar's open, -1 to go short, 0 for nothing; integers, bools or
        whole floats. ``side[i]`` may use bars up to ``i``, no later one. A Series must have the
        bars' own index, that of ``bars.to_frame()``.
    risk : array-like of float, shape (n_bars,), optional
        Risk of each signal in points, for ``unit = "strategy"``; nan where undefined. Of a Series
        the same holds.
    rules, contract, metrics, range, engine
        As in :func:`run`.

    Returns
    -------
    BacktestResult

    Raises
    ------
    ConfigError
        If sides, risks or settings are not allowed.
    EngineUnavailableError
        If the engine cannot be loaded.

    Examples
    --------
    >>> import backtest_py as bt
    >>> import numpy as np
    >>> bars = bt.synthetic_bars(n_days=20)
    >>> side = np.zeros(len(bars), np.int8)
    >>> side[::50] = 1
    >>> bt.run_signals(bars, side, bt.ExitRules(max_bars=5)).metrics.long_trades > 0
    True
    """
    from backtest_py.signals import checked_signals  # noqa: PLC0415 - quick import

    expect("bars", bars, Bars)
    signals = checked_signals(bars, side, risk)
    return _run(prepare(bars, None, signals, rules, contract, metrics, range), engine)


def _run(job: Job, engine: str) -> BacktestResult:
    runner, reason = resolve(engine, job)
    return answered(job, runner.run(job), runner, reason)


def answered(
    job: Job, output: EngineOutput, engine: Engine, reason: str, prefix: str = ""
) -> BacktestResult:
    """Return the result of a job, and warn where its numbers mean nothing."""
    from backtest_py.backtest.result import BacktestResult  # noqa: PLC0415 - quick import

    total = output.metrics[_TOTAL_RETURN]
    if not isfinite(total):
        warnings.warn(
            f"{prefix}the total return is {total}: prices, quantity or point value are so large "
            "that the equity overflows, and metrics that build on it mean nothing",
            BacktestWarning,
            stacklevel=4,
        )
    return BacktestResult(job, output, engine, reason)


def as_strategy(strategy: str | Strategy | Callable[..., Any]) -> Strategy:
    """Return the strategy that a name, a class, an instance or a function stands for.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    if isinstance(strategy, Strategy):
        return strategy
    if isinstance(strategy, str):
        return get_strategy(strategy)
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return strategy()
    if callable(strategy):
        from backtest_py.strategies.user import function_strategy  # noqa: PLC0415 - quick import

        return function_strategy(strategy)()
    raise ConfigError(
        f"strategy = {strategy!r} is not allowed; give a strategy, its name or a function of bars"
    )
