"""What the kernels are given and give back. Mirrors ``engine_rust/src/types.rs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backtest_py.records import METRICS, AtrMethod, BarColumns, Intrabar, Reason, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.contract import Contract, MetricSettings
    from backtest_py.rules import ExitRules

__all__ = [
    "ContractView",
    "Outcome",
    "RulesView",
    "SettingsView",
    "Settlement",
    "Sums",
    "Trades",
    "bar_columns",
    "contract_view",
    "rules_view",
    "settings_view",
]

STOP_LOSS = int(Reason.stop_loss)
TRAILING_STOP = int(Reason.trailing_stop)
TAKE_PROFIT = int(Reason.take_profit)
SESSION_CLOSE = int(Reason.session_close)
SESSION_END = int(Reason.session_end)
MAX_BARS = int(Reason.max_bars)
END_OF_DATA = int(Reason.end_of_data)
N_REASONS = len(Reason)
N_METRICS = len(METRICS)

UNIT_ATR = int(Unit.atr)
UNIT_POINTS = int(Unit.points)
UNIT_PERCENT = int(Unit.percent)
UNIT_STRATEGY = int(Unit.strategy)

TARGET_FIRST = int(Intrabar.target_first)
WILDER = int(AtrMethod.wilder)


class RulesView(NamedTuple):
    """The numbers of :class:`~backtest_py.rules.ExitRules`."""

    stop: float
    target: float
    target_r: float
    trail: float
    unit: int
    round_to_tick: bool
    target_through_ticks: float
    close_minute: int
    max_bars: int
    intrabar: int


class ContractView(NamedTuple):
    """The numbers of :class:`~backtest_py.contract.Contract`."""

    tick_size: float
    point_value: float
    quantity: float
    fee_per_side: float
    fee_rate: float
    slippage_ticks: float
    initial_capital: float


class SettingsView(NamedTuple):
    """The numbers of :class:`~backtest_py.contract.MetricSettings`."""

    risk_free_rate: float
    periods_per_year: float


class Outcome(NamedTuple):
    """How a trade that starts at a signal ends; ``exit_bar`` is -1 where there is no trade."""

    exit_bar: int
    entry_price: float
    exit_price: float
    stop_price: float
    target_price: float
    mae: float
    mfe: float
    reason: int
    ambiguous: bool


class Settlement(NamedTuple):
    """What a trade earned: points, and fees and gain in money."""

    points: float
    fees: float
    pnl: float


class Trades(NamedTuple):
    """The columns of ``records.TRADE_DTYPE``."""

    signal_bar: NDArray[np.int64]
    entry_bar: NDArray[np.int64]
    exit_bar: NDArray[np.int64]
    side: NDArray[np.int8]
    entry_price: NDArray[np.float64]
    exit_price: NDArray[np.float64]
    stop_price: NDArray[np.float64]
    target_price: NDArray[np.float64]
    points: NDArray[np.float64]
    pnl: NDArray[np.float64]
    fees: NDArray[np.float64]
    mae: NDArray[np.float64]
    mfe: NDArray[np.float64]
    reason: NDArray[np.uint8]
    ambiguous: NDArray[np.bool_]


class Sums(NamedTuple):
    """What one pass over the trades accumulates: semantics section 5."""

    total: float
    gain: float
    loss: float
    pnl_squares: float
    day_returns: float
    day_squares: float
    downside_squares: float
    max_drawdown: float
    max_drawdown_ratio: float
    best: float
    worst: float
    trades: int
    wins: int
    losses: int
    longs: int
    max_win_streak: int
    max_loss_streak: int
    bars_held: int
    ambiguous: int
    days: int
    exit_days: int
    ruined: bool


def bar_columns(bars: Bars) -> BarColumns:
    """Return the columns of bars, uncopied."""
    return BarColumns(
        bars.open, bars.high, bars.low, bars.close, bars.volume, bars.minute, bars.day
    )


def rules_view(rules: ExitRules) -> RulesView:
    """Return the numbers of exit rules."""
    return RulesView(
        rules.stop,
        rules.target,
        rules.target_r,
        rules.trail,
        rules.unit_code,
        rules.round_to_tick,
        rules.target_through_ticks,
        rules.close_minute,
        rules.max_bars,
        rules.intrabar_code,
    )


def contract_view(contract: Contract) -> ContractView:
    """Return the numbers of a contract."""
    return ContractView(
        contract.tick_size,
        contract.point_value,
        contract.quantity,
        contract.fee_per_side,
        contract.fee_rate,
        contract.slippage_ticks,
        contract.initial_capital,
    )


def settings_view(settings: MetricSettings) -> SettingsView:
    """Return the numbers of metric settings."""
    return SettingsView(settings.risk_free_rate, settings.periods_per_year)
