"""Names and layouts that both engines share. Mirrors ``engine_rust/src/types.rs``."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "COUNT_METRICS",
    "METRICS",
    "SEMANTICS_VERSION",
    "TRADE_DTYPE",
    "AtrMethod",
    "BarColumns",
    "Intrabar",
    "Reason",
    "Unit",
]

SEMANTICS_VERSION: Final = 1
"""Version of the contract in docs/semantics.md that every number follows."""


class BarColumns(NamedTuple):
    """The columns of bars that kernels see, each of shape (n_bars,)."""

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    minute: NDArray[np.int32]
    day: NDArray[np.int32]


class Reason(IntEnum):
    """Why a trade was closed; the number is what the engines store."""

    stop_loss = 0
    trailing_stop = 1
    take_profit = 2
    session_close = 3
    session_end = 4
    max_bars = 5
    end_of_data = 6


class Unit(IntEnum):
    """What stops, targets and trails are multiples of."""

    atr = 0
    points = 1
    percent = 2
    strategy = 3


class AtrMethod(IntEnum):
    """How the average true range is computed."""

    wilder = 0
    sma = 1
    column = 2


class Intrabar(IntEnum):
    """Which exit counts when a bar reaches stop and target."""

    stop_first = 0
    target_first = 1


TRADE_DTYPE: Final = {
    "signal_bar": np.dtype(np.int64),
    "entry_bar": np.dtype(np.int64),
    "exit_bar": np.dtype(np.int64),
    "side": np.dtype(np.int8),
    "entry_price": np.dtype(np.float64),
    "exit_price": np.dtype(np.float64),
    "stop_price": np.dtype(np.float64),
    "target_price": np.dtype(np.float64),
    "points": np.dtype(np.float64),
    "pnl": np.dtype(np.float64),
    "fees": np.dtype(np.float64),
    "mae": np.dtype(np.float64),
    "mfe": np.dtype(np.float64),
    "reason": np.dtype(np.uint8),
    "ambiguous": np.dtype(np.bool_),
}
"""The columns that an engine returns, in order. Times and bars_held are derived from them."""

METRICS: Final = (
    "total_trades",
    "winning_trades",
    "losing_trades",
    "long_trades",
    "short_trades",
    "days",
    "total_return",
    "total_return_pct",
    "win_rate",
    "expectancy",
    "avg_win",
    "avg_loss",
    "gross_profit",
    "gross_loss",
    "profit_factor",
    "payoff_ratio",
    "max_consecutive_wins",
    "max_consecutive_losses",
    "best_trade",
    "worst_trade",
    "max_drawdown",
    "max_drawdown_pct",
    "sharpe",
    "sortino",
    "annual_return_pct",
    "calmar",
    "recovery_factor",
    "sqn",
    "exposure",
    "avg_bars_held",
    "ambiguous_trades",
    "exits_stop_loss",
    "exits_trailing_stop",
    "exits_take_profit",
    "exits_session_close",
    "exits_session_end",
    "exits_max_bars",
    "exits_end_of_data",
    "ruined",
)
"""Metric names in the order of the vector that an engine returns."""

COUNT_METRICS: Final = frozenset(
    {
        "total_trades",
        "winning_trades",
        "losing_trades",
        "long_trades",
        "short_trades",
        "days",
        "max_consecutive_wins",
        "max_consecutive_losses",
        "ambiguous_trades",
        *(f"exits_{reason.name}" for reason in Reason),
    }
)
"""Metrics that are whole numbers; ``ruined`` is a bool, the rest are float64."""
