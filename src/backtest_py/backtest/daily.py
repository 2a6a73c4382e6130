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

__all__ = [
    "DailyAccount",
    "DailyColumns",
    "daily_account",
    "daily_columns",
    "daily_returns",
    "returns_by_day",
]

_DAY = 86_400_000_000_000


class DailyAccount(NamedTuple):
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
    """

    date: NDArray[np.datetime64]
    pnl: NDArray[np.float64]
    returns: NDArray[np.float64]
    equity: NDArray[np.float64]


class DailyColumns(NamedTuple):
    """A :class:`DailyAccount`, and what its open positions are worth.

    Attributes
    ----------
    equity_marked : ndarray of float64, shape (n_days,)
        ``equity``, with a position that is still open valued at the day's last close.
    drawdown : ndarray of float64, shape (n_days,)
        How far that lies below its highest value so far, the start included; at least 0.
    """

    date: NDArray[np.datetime64]
    pnl: NDArray[np.float64]
    returns: NDArray[np.float64]
    equity: NDArray[np.float64]
    equity_marked: NDArray[np.float64]
    drawdown: NDArray[np.float64]


def daily_columns(job: Job, trades: Columns, n_days: int) -> DailyColumns:
    """Return a backtest by day.

    Parameters
    ----------
    job : Job
        What was run.
    trades : mapping of str to ndarray
        The columns of its trades.
    n_days : int
        The metric ``days``.
    """
    span, capital = (job.first, job.last), job.contract.initial_capital
    account = daily_account(job.bars, span, trades, capital, n_days)
    days, _ = _days(job.bars, span, trades, n_days)
    marked = account.equity + _open_profit(job, trades, days)
    peak = np.maximum.accumulate(np.append(capital, marked))[1:]
    return DailyColumns(*account, marked, peak - marked)


def daily_account(
    bars: Bars, span: tuple[int, int], trades: Columns, initial_capital: float, n_days: int
) -> DailyAccount:
    """Return an account by day.

    Parameters
    ----------
    bars : Bars
        The market.
    span : tuple of int
        First bar that counts, and the one after the last.
    trades : mapping of str to ndarray
        The columns of the trades.
    initial_capital : float
        What the account begins with.
    n_days : int
        The metric ``days``.
    """
    days, row = _days(bars, span, trades, n_days)
    returns = returns_by_day(trades["pnl"], row, n_days, initial_capital)
    pnl = np.bincount(row, weights=trades["pnl"], minlength=n_days).astype(np.float64)
    balance = np.cumsum(np.append(initial_capital, trades["pnl"]))
    equity = balance[np.cumsum(np.bincount(row, minlength=n_days))]
    return DailyAccount(bars.session_dates[days], pnl, returns, equity)


def daily_returns(job: Job, trades: Columns, n_days: int) -> NDArray[np.float64]:
    """Return the daily returns alone; parameters as :func:`daily_columns`."""
    _, row = _days(job.bars, (job.first, job.last), trades, n_days)
    return returns_by_day(trades["pnl"], row, n_days, job.contract.initial_capital)


def returns_by_day(
    pnl: NDArray[Any],
    exit_days: NDArray[np.integer[Any]],
    n_days: int,
    initial_capital: float,
) -> NDArray[np.float64]:
    """Return the daily returns of trades as the contract defines them: docs/semantics.md, 5.

    Parameters
    ----------
    pnl : ndarray of float64, shape (n_trades,)
        Of the trades in order.
    exit_days : ndarray of int, shape (n_trades,)
        Day of each exit, counted from the first day of the range. One after the last day of the
        range is the day that follows it, whichever it is.
    n_days : int
        The metric ``days``.
    initial_capital : float
        What the account begins with.

    Returns
    -------
    ndarray of float64, shape (n_days,)
        As fractions of the account's balance before the day; 0 on a day without an exit.

    Examples
    --------
    >>> returns_by_day(np.array([100.0, -50.0, 210.0]), np.array([1, 1, 3]), 4, 1000.0)
    array([0.  , 0.05, 0.  , 0.2 ])
    """
    day = np.minimum(exit_days, n_days - 1)
    before = np.cumsum(np.append(initial_capital, pnl))[:-1]
    opening = np.full(n_days, initial_capital)
    opening[day[::-1]] = before[::-1]  # of equal days the first trade is set last
    # bincount adds one number after the other, in the order of the trades
    returns = np.bincount(day, weights=pnl, minlength=n_days).astype(np.float64)
    returns /= opening
    return returns


def _days(
    bars: Bars, span: tuple[int, int], trades: Columns, n_days: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the days that count, and the place among them of each exit.

    They are the days with a bar in the range, up to the ruin, and a later one on which a trade of
    the range exits: positions are held one after another, so that only the last can.
    """
    first_day, last_day = _day_of(bars, np.array([span[0], span[1] - 1])).tolist()
    exit_day = _day_of(bars, trades["exit_bar"])
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
