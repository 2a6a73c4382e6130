"""One backtest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from backtest_py.bars import Bars
from backtest_py.contract import Contract, MetricSettings
from backtest_py.engines.base import Job
from backtest_py.engines.registry import resolve
from backtest_py.errors import BacktestWarning, ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import ExitRules
from backtest_py.strategies.base import Strategy, get_strategy

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from backtest_py.backtest.result import BacktestResult
    from backtest_py.signals import Signals

    Moment = str | date | None

__all__ = ["as_strategy", "check_job", "expect", "prepare", "run", "run_signals"]

_TOTAL_RETURN: Final = METRICS.index("total_return")
OFF_GRID_SHARE = 0.001
"""A larger share of prices off the tick grid is worth a warning."""


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
    from backtest_py.strategies.user import FunctionStrategy  # noqa: PLC0415 - quick import

    chosen = as_strategy(strategy)
    signals = chosen.compute(bars) if isinstance(chosen, FunctionStrategy) else None
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
    side : ndarray of int8, shape (n_bars,)
        1 to go long at the next bar's open, -1 to go short, 0 for nothing. ``side[i]`` may use
        bars up to ``i``, no later one.
    risk : array of float, shape (n_bars,), optional
        Risk of each signal in points, for ``unit = "strategy"``; nan where undefined.
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
    from backtest_py.backtest.result import BacktestResult  # noqa: PLC0415 - quick import

    runner, reason = resolve(engine, job)
    output = runner.run(job)
    if not isfinite(output.metrics[_TOTAL_RETURN]):
        warnings.warn(
            f"the total return is {output.metrics[_TOTAL_RETURN]}: prices, quantity or point value "
            "are so large that the equity overflows, and metrics that build on it mean nothing",
            BacktestWarning,
            stacklevel=3,
        )
    return BacktestResult(job, output, runner, reason)


def prepare(
    bars: Bars,
    strategy: Strategy | None,
    signals: Signals | None,
    rules: ExitRules | None,
    contract: Contract | None,
    metrics: MetricSettings | None,
    span: tuple[Moment, Moment] | None,
) -> Job:
    """Check that bars and settings fit together, warn of likely mistakes, and return the job.

    Raises
    ------
    ConfigError
        If they do not fit.
    """
    rules = ExitRules() if rules is None else rules
    contract = Contract() if contract is None else contract
    metrics = MetricSettings() if metrics is None else metrics
    for name, value, kind in (
        ("bars", bars, Bars),
        ("rules", rules, ExitRules),
        ("contract", contract, Contract),
        ("metrics", metrics, MetricSettings),
    ):
        expect(name, value, kind)
    first, last = (0, len(bars)) if span is None else bars.bounds(*_pair(span))
    job = Job(bars, strategy, signals, rules, contract, metrics, first, last)
    check_job(job)
    _warn(job)
    return job


def expect(name: str, value: object, kind: type) -> None:
    """Refuse an argument of another class, with the way to one of the right class.

    Raises
    ------
    ConfigError
        If it is.
    """
    if isinstance(value, kind):
        return
    given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    wanted = f"bt.{kind.__name__}"
    advice = f"give {wanted}(...)"
    if kind is Bars:
        advice = "make bars of it: bt.Bars.from_frame(frame), or bt.load_bars(path) for a file"
    elif isinstance(value, Mapping):
        advice = f"give {wanted}(**{name}), if its keys are parameters"
    elif {kind, type(value)} == {ExitRules, Contract}:
        advice = "the rules come first, then the contract; or name both: rules=..., contract=..."
    raise ConfigError(f"{name} is {given}, not {wanted}; {advice}")


def _pair(span: object) -> tuple[Moment, Moment]:
    if isinstance(span, (tuple, list)) and len(span) == 2:
        return span[0], span[1]
    raise ConfigError(
        f"range = {span!r} is not allowed; give its start and end, None where it is open, as in "
        'range=("2023-03-01", None)'
    )


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


def check_job(job: Job) -> None:
    """Refuse settings that do not fit the bars or each other.

    Raises
    ------
    ConfigError
        With what to do.
    """
    strategy, rules, bars = job.strategy, job.rules, job.bars
    if strategy is not None and strategy.uses_volume and not bars.has_volume:
        raise ConfigError(
            "strategy.min_volume_mult is above 0, but the bars have no volume (absent, or zero "
            "throughout); set min_volume_mult = 0 or load bars with volume"
        )
    if rules.unit == "atr" and rules.atr_method == "column" and bars.atr_column is None:
        raise ConfigError(
            'rules.atr_method = "column", but the bars have no column "atr"; add one, or use '
            '"wilder" or "sma"'
        )
    gives_risk = job.signals.risk is not None if job.signals else strategy and strategy.gives_risk
    if rules.unit == "strategy" and not gives_risk:
        source = f"strategy {strategy.name!r}" if strategy else "run_signals without risk"
        raise ConfigError(
            f'rules.unit = "strategy", but {source} gives no risk; use another unit, or a '
            "strategy that gives one"
        )


def _warn(job: Job) -> None:
    bars, tick_size = job.bars, job.contract.tick_size
    share = bars.off_grid_share(tick_size)
    if share > OFF_GRID_SHARE:
        warnings.warn(
            f"{100 * share:.1f} % of the prices are off the tick grid of {tick_size:g}: the tick "
            "size is wrong, or the series is ratio-adjusted, so that percentages are right but "
            "points and money are not",
            BacktestWarning,
            stacklevel=4,
        )
    if job.metrics.periods_per_year == 252 and bars.trades_weekends:
        warnings.warn(
            "metrics.periods_per_year = 252, but the market trades on weekends; 365 is usual there",
            BacktestWarning,
            stacklevel=4,
        )
