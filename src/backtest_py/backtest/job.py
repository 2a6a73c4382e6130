"""A backtest before it runs: its settings checked against the bars and against each other."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from backtest_py.bars import Bars
from backtest_py.contract import Contract, MetricSettings
from backtest_py.engines.base import Job
from backtest_py.errors import BacktestWarning, ConfigError
from backtest_py.rules import ExitRules

if TYPE_CHECKING:
    from datetime import date

    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy

    Moment = str | date | None

__all__ = ["check_job", "expect", "prepare"]

OFF_GRID_SHARE = 0.001
"""Share of prices off the tick grid above which there is a warning."""


def prepare(
    bars: Bars,
    strategy: Strategy | None,
    signals: Signals | None,
    rules: ExitRules | None,
    contract: Contract | None,
    metrics: MetricSettings | None,
    span: tuple[Moment, Moment] | None,
    *,
    market: str = "",
) -> Job:
    """Check that bars and settings fit together, warn of likely mistakes, and return the job.

    Warnings name the market where several are run.

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
    _warn(job, f"{market}: " if market else "")
    return job


def expect(name: str, value: object, kind: type) -> None:
    """Refuse an argument of the wrong class, and say how to make one of the right class.

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


def check_job(job: Job) -> None:
    """Refuse settings that do not fit the bars or each other.

    Raises
    ------
    ConfigError
        With what to do.
    """
    strategy, rules, bars = job.strategy, job.rules, job.bars
    if strategy is not None and strategy.uses_volume and not bars.has_volume:
        raise ConfigError(_no_volume(strategy))
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


def _no_volume(strategy: Strategy) -> str:
    """Say that a strategy needs volume, and which of its parameters asks for it."""
    missing = "but the bars have no volume (absent, or zero throughout)"
    name = strategy.volume_parameter
    if not name:
        return f"strategy {strategy.name!r} needs volume, {missing}; load bars with volume"
    return (
        f"strategy.{name} = {getattr(strategy, name)!r} needs volume, {missing}; "
        f"set {name} = 0 or load bars with volume"
    )


def _warn(job: Job, prefix: str) -> None:
    bars, tick_size = job.bars, job.contract.tick_size
    share = bars.off_grid_share(tick_size)
    if share > OFF_GRID_SHARE:
        warnings.warn(
            f"{prefix}{100 * share:.1f} % of the prices are off the tick grid of {tick_size:g}: "
            "the tick size is wrong, or the series is ratio-adjusted, so that percentages are "
            "right but points and money are not",
            BacktestWarning,
            stacklevel=4,
        )
    if job.metrics.periods_per_year == 252 and bars.trades_weekends:
        warnings.warn(
            f"{prefix}metrics.periods_per_year = 252, but the market trades on weekends; 365 is "
            "usual there",
            BacktestWarning,
            stacklevel=4,
        )
