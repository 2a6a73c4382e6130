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

__all__ = [
    "check_job",
    "check_units",
    "check_volume",
    "expect",
    "pair",
    "prepare",
    "settings_of",
    "warn_of_mistakes",
]

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
    expect("bars", bars, Bars)
    settings = settings_of(rules, contract, metrics)
    first, last = bars.bounds(*pair(span))
    job = Job(bars, strategy, signals, *settings, first, last)
    check_job(job)
    warn_of_mistakes(job, f"{market}: " if market else "")
    return job


def settings_of(
    rules: ExitRules | None, contract: Contract | None, metrics: MetricSettings | None
) -> tuple[ExitRules, Contract, MetricSettings]:
    """Return the settings, those that are left out with their defaults.

    Raises
    ------
    ConfigError
        If one is of the wrong class.
    """
    rules = ExitRules() if rules is None else rules
    contract = Contract() if contract is None else contract
    metrics = MetricSettings() if metrics is None else metrics
    expect("rules", rules, ExitRules)
    expect("contract", contract, Contract)
    expect("metrics", metrics, MetricSettings)
    return rules, contract, metrics


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


def pair(span: object) -> tuple[Moment, Moment]:
    """Return start and end of a range, both None where there is none.

    Raises
    ------
    ConfigError
        If it is no pair.
    """
    if span is None:
        return None, None
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
    check_volume(job)
    check_units(job)


def check_volume(job: Job) -> None:
    """Refuse a strategy that looks at volumes where there are none.

    Raises
    ------
    ConfigError
        With what to do.
    """
    strategy = job.strategy
    if strategy is not None and strategy.uses_volume and not job.bars.has_volume:
        raise ConfigError(_no_volume(strategy))


def check_units(job: Job) -> None:
    """Refuse rules that measure in what is not there.

    Raises
    ------
    ConfigError
        With what to do.
    """
    strategy, rules = job.strategy, job.rules
    if rules.unit == "atr" and rules.atr_method == "column" and job.bars.atr_column is None:
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


def warn_of_mistakes(job: Job, prefix: str = "") -> None:
    """Warn of likely mistakes on behalf of the caller's caller's caller."""
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
