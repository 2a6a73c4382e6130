"""A backtest by trading day: the daily returns that its metrics are made of, and the equity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest_py.bars.streamed import StreamedBars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Job

    Columns = Mapping[str, NDArray[Any]]

__all__ = ["DailyColumns", "daily_columns", "daily_returns"]

_DAY = 86_400_000_000_000


class DailyColumns(NamedTuple):
    """One number for each day that counts.

    Attributes
    ----------
    date : ndarray of datetime64[D], shape (n_days,)
        Calendar date on the session's clock.
    pnl : ndarray of float64, shape (n_days,)
        Result of the trades that exit on the day, in money.
    returns : ndarray of float64, shape (n_days,)
        That, over the account before the day's first exit.
    equity : ndarray of float64, shape (n_days,)
        Account after the day's exits.
    equity_marked : ndarray of float64, shape (n_days,)
        The same, with a position that is still open valued at the day's last close.
    drawdown : ndarray of float64, shape (n_days,)
        How far that lies below its highest value so far, the start included; at least 0.
    """

    date: NDArray[np.datetime64]
    pnl: NDArray[np.float64]
    returns: NDArray[np.float64]
    equity: NDArray[np.float64]
    equity_marked: NDArray[np.float64]
    drawdown: NDArray[np.float64]


def daily_columns(
    job: Job, trades: Columns, balance: NDArray[np.float64], n_days: int
) -> DailyColumns:
    """Return a backtest by day.

    Parameters
    ----------
    job : Job
        What was run.
    trades : mapping of str to ndarray
        The columns of its trades.
    balance : ndarray of float64, shape (n_trades + 1,)
        The account at the start and after each exit.
    n_days : int
        The metric ``days``.
    """
    days, row = _days(job, trades, n_days)
    pnl, returns, after = _by_day(row, trades["pnl"], balance, len(days))
    equity = balance[after]
    marked = equity + _open_profit(job, trades, days)
    peak = np.maximum.accumulate(np.append(balance[0], marked))[1:]
    dates = job.bars.session_dates[days]
    return DailyColumns(dates, pnl, returns, equity, marked, peak - marked)


def daily_returns(
    job: Job, trades: Columns, balance: NDArray[np.float64], n_days: int
) -> NDArray[np.float64]:
    """Return the daily returns alone, for which closes are not needed."""
    days, row = _days(job, trades, n_days)
    return _by_day(row, trades["pnl"], balance, len(days))[1]


def _by_day(
    row: NDArray[np.int64], pnl: NDArray[np.float64], balance: NDArray[np.float64], n_days: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return result, return and number of trades up to its end, of every day."""
    # bincount adds one number after the other, in the order of the trades
    total = np.bincount(row, weights=pnl, minlength=n_days).astype(np.float64)
    exits = np.bincount(row, minlength=n_days)
    after = np.cumsum(exits)
    return total, total / balance[after - exits] + 0.0, after


def _days(job: Job, trades: Columns, n_days: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the days that count, and the place among them of each exit.

    They are the days with a bar in the range, up to the ruin, and a later one on which a trade of
    the range exits: positions are held one after another, so that only the last can.
    """
    first_day, last_day = _day_of(job.bars, np.array([job.first, job.last - 1])).tolist()
    exit_day = _day_of(job.bars, trades["exit_bar"])
    later = exit_day[-1:][exit_day[-1:] > last_day]
    days = np.append(first_day + np.arange(n_days - len(later)), later)
    return days, np.searchsorted(days, exit_day)


def _day_of(bars: Bars, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers of the trading days of bars."""
    if not isinstance(bars, StreamedBars):
        return bars.day[rows].astype(np.int64)
    dates = (bars.wall_at(rows) // _DAY).astype("M8[D]")
    return np.searchsorted(bars.session_dates, dates).astype(np.int64)


def _open_profit(job: Job, trades: Columns, days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what a position that is open at the end of each day would be worth at its close.

    What it cost to open it is paid: slippage lies in the entry price, and the fees of the entry are
    taken off. What closing it will cost is not known yet.
    """
    profit = np.zeros(len(days))
    entry_day, exit_day = (_day_of(job.bars, trades[name]) for name in ("entry_bar", "exit_bar"))
    held = np.flatnonzero(entry_day < exit_day)
    if not held.size:
        return profit
    contract, day = job.contract, job.bars.day
    last_bar = np.searchsorted(day, days, "right") - 1
    begins, ends = (np.searchsorted(days, each[held]).tolist() for each in (entry_day, exit_day))
    for trade, begin, end in zip(held.tolist(), begins, ends, strict=True):
        rows = slice(begin, end)
        entry = trades["entry_price"][trade]
        points = (job.bars.close[last_bar[rows]] - entry) * trades["side"][trade]
        size = contract.point_value * contract.quantity
        fees = contract.fee_per_side * contract.quantity + contract.fee_rate * abs(entry) * size
        profit[rows] = points * size - fees
    return profit
