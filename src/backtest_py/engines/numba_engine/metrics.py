"""From trades to metrics: semantics section 5. Mirrors ``engine_rust/src/metrics.rs``.

Passes over the trades and over their days accumulate every sum in trade order; each metric is then
a small function of the sums.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.layouts import Metric
from backtest_py.engines.numba_engine.types import N_METRICS, N_REASONS, reader
from backtest_py.errors import EngineError

__all__ = [
    "DaySums",
    "PnlSums",
    "Sums",
    "accumulate",
    "add_day",
    "add_pnl",
    "block_ends",
    "counted_days",
    "days_of",
    "finish",
    "finish_blocks",
    "measure",
    "no_days",
    "no_pnl",
    "quotient",
    "read_day_sums",
    "read_pnl_sums",
    "sharpe",
    "sortino",
    "sqn",
    "sum_days",
    "variance",
]

NEGLIGIBLE = 1e-9
"""A variance up to this share of its mean square is rounding and counts as zero."""
NO_DAY = np.iinfo(np.int32).max
"""The end of a range's last block of days: no day is after it."""


class PnlSums(NamedTuple):
    """Sums over the pnl of trades: what a run and the lanes of a sweep add up alike.

    Each is a number, or one for each lane.
    """

    total: float
    squares: float


class DaySums(NamedTuple):
    """Sums over the days on which trades were closed, numbers or one for each lane.

    ``S1``, ``S2`` and ``D`` of the daily returns, and ``k``, the number of such days.
    """

    returns: float
    squares: float
    downside: float
    exit_days: float


class Sums(NamedTuple):
    """What one pass over the trades accumulates: semantics section 5."""

    of_pnl: PnlSums
    of_days: DaySums
    gain: float
    loss: float
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
    ruined: bool


read_pnl_sums = reader(PnlSums, by_name=False)
read_day_sums = reader(DaySums, by_name=False)


@kernel(allocates=False)
def no_pnl(zero):
    """Return the sums of no trade; ``zero`` is 0.0, or that for each lane."""
    return PnlSums(zero, zero)


@kernel(allocates=False)
def add_pnl(sums, pnl):
    """Add a trade; a lane that takes none adds 0.0, which changes no bit."""
    return PnlSums(sums.total + pnl, sums.squares + pnl * pnl)


@kernel(allocates=False)
def no_days(zero):
    """Return the sums of no day; ``zero`` is 0.0, or that for each lane."""
    return DaySums(zero, zero, zero, zero)


@kernel(allocates=False)
def add_day(sums, r, below_squared, one):
    """Add the return of a day; ``below_squared`` is that of ``r - rf``, 0.0 unless below 0.

    A lane that closes no day adds 0.0 to each sum.
    """
    return DaySums(
        sums.returns + r, sums.squares + r * r, sums.downside + below_squared, sums.exit_days + one
    )


@kernel
def days_of(exit_bar, day):
    """Return the day of each exit, from the day of every bar."""
    exit_day = np.empty(len(exit_bar), np.int32)
    for k in range(len(exit_bar)):
        exit_day[k] = day[exit_bar[k]]
    return exit_day


@kernel
def measure(trades, exit_day, contract, settings, span, n_bars):
    """Return the metrics of as many trades as there are exit days, see :func:`accumulate`.

    ``n_bars`` is the number of bars in the range.
    """
    reasons = np.empty(N_REASONS, np.int64)
    sums = accumulate(trades, exit_day, contract, settings, span, reasons)
    metrics = np.empty(N_METRICS)
    finish(sums, reasons, contract, settings, n_bars, metrics)
    return metrics


@kernel(allocates=False)
def accumulate(trades, exit_day, contract, settings, span, reasons):
    """Return the sums of trades in order; fill ``reasons`` with exits by reason.

    ``exit_day`` has the day of each exit, and ``span`` the first and the last day of the range.
    """
    rf = settings.risk_free_rate / settings.periods_per_year
    of_days = sum_days(trades, exit_day, contract.initial_capital, rf, None, None)
    count = len(exit_day)
    of_pnl = no_pnl(0.0)
    gain = loss = 0.0
    equity = peak = contract.initial_capital
    max_drawdown = max_drawdown_ratio = 0.0
    best, worst = -np.inf, np.inf
    wins = losses = longs = win_streak = loss_streak = max_win_streak = max_loss_streak = 0
    bars_held = ambiguous = 0
    for k in range(N_REASONS):
        reasons[k] = 0
    for k in range(count):
        pnl = trades.pnl[k]
        of_pnl = add_pnl(of_pnl, pnl)
        equity += pnl
        if pnl > 0.0:
            gain += pnl
            wins += 1
            win_streak += 1
            loss_streak = 0
        elif pnl < 0.0:
            loss += pnl
            losses += 1
            loss_streak += 1
            win_streak = 0
        else:
            win_streak = loss_streak = 0
        max_win_streak = max(max_win_streak, win_streak)
        max_loss_streak = max(max_loss_streak, loss_streak)
        peak = equity if equity > peak else peak
        drawdown = peak - equity
        ratio = drawdown / peak
        max_drawdown = drawdown if drawdown > max_drawdown else max_drawdown
        max_drawdown_ratio = ratio if ratio > max_drawdown_ratio else max_drawdown_ratio
        best = pnl if pnl > best else best
        worst = pnl if pnl < worst else worst
        longs += trades.side[k] > 0
        bars_held += trades.exit_bar[k] - trades.entry_bar[k]
        ambiguous += trades.ambiguous[k]
        reasons[trades.reason[k]] += 1
    ruined = equity <= 0.0
    first_day, last_day = span
    last_exit = exit_day[count - 1] if count > 0 else last_day
    return Sums(
        of_pnl,
        of_days,
        gain,
        loss,
        max_drawdown,
        max_drawdown_ratio,
        best,
        worst,
        count,
        wins,
        losses,
        longs,
        max_win_streak,
        max_loss_streak,
        bars_held,
        ambiguous,
        counted_days(first_day, last_day, last_exit, ruined),
        ruined,
    )


@kernel(allocates=False)
def sum_days(trades, exit_day, capital, rf, ends, blocks):
    """Close the days of trades in order; add up their returns, over all and over those of a block.

    ``ends`` are one range's of :func:`block_ends`, and ``blocks`` gets ``S1`` and ``S2`` of each
    block, one after another; None for neither.
    """
    sums = no_days(0.0)
    equity = capital
    k = block = 0
    count = len(exit_day)
    while k < count:
        day = exit_day[k]
        equity_before = equity
        day_pnl = 0.0
        while k < count and exit_day[k] == day:
            equity += trades.pnl[k]
            day_pnl += trades.pnl[k]
            k += 1
        r = day_pnl / equity_before
        x = r - rf
        sums = add_day(sums, r, x * x if x < 0.0 else 0.0, 1.0)
        if blocks is not None:
            while day >= ends[block]:
                block += 1
            blocks[2 * block] += r
            blocks[2 * block + 1] += r * r
    return sums


@kernel(allocates=False)
def counted_days(first_day, last_day, last_exit, ruined):
    """Return how many days count: those of the range, a later one with an exit, none after ruin."""
    # A range's positions are held one after another: only the last can close behind it.
    later = 1 if last_exit > last_day else 0
    last = last_exit if ruined and later == 0 else last_day
    return last - first_day + 1 + later


def block_ends(day, ranges, n_blocks):
    """Return the day after each of the runs into which the days of ranges are cut.

    Of ``D`` days, run ``b`` begins with day ``D*b//n_blocks``. The last run takes later days, too:
    no day is after it.

    Parameters
    ----------
    day : ndarray of int32
        The day of every bar.
    ranges : ndarray of int64, shape (n_ranges, 2)
        First and last of each range.
    n_blocks : int
        Number of runs.

    Returns
    -------
    ndarray of int64, shape (n_ranges, n_blocks)

    Raises
    ------
    EngineError
        If a range has fewer days.
    """
    first_day = day[ranges[:, 0]].astype(np.int64)
    n_days = day[ranges[:, 1] - 1] - first_day + 1
    if not 0 <= n_blocks <= n_days.min(initial=NO_DAY):
        raise EngineError(
            f"n_blocks = {n_blocks} is not allowed; give 0, or at most one for each day of a range"
        )
    ends = first_day[:, None] + n_days[:, None] * np.arange(1, n_blocks + 1) // max(1, n_blocks)
    ends[:, -1:] = NO_DAY
    return ends


@kernel(allocates=False)
def quotient(numerator, denominator):
    """Return the quotient, nan over zero."""
    if denominator == 0.0:
        return np.nan
    return numerator / denominator


@kernel(allocates=False)
def variance(total, squares, n):
    """Return the sample variance of ``n`` values from their sums, nan below two values.

    One that is not above ``NEGLIGIBLE`` times the mean square is zero.
    """
    if n < 2:
        return np.nan
    count = float(n)
    var = (squares - total * total / count) / (count - 1.0)
    if var > NEGLIGIBLE * (squares / count):
        return var
    return 0.0


@kernel(allocates=False)
def sharpe(total, squares, n, rf, periods_per_year):
    """Return ``(total/n - rf)/sqrt(var)*sqrt(periods_per_year)``."""
    deviation = math.sqrt(variance(total, squares, n))
    return quotient(total / float(n) - rf, deviation) * math.sqrt(periods_per_year)


@kernel(allocates=False)
def sortino(total, downside_squares, n, exit_days, rf, periods_per_year):
    """Return ``(total/n - rf)/sqrt((D + (n-k)*m*m)/n)*sqrt(periods_per_year)``.

    ``m = min(-rf, 0)``; the ``n - exit_days`` days without an exit return 0 and miss a positive
    rate by ``m``.
    """
    if n < 1:
        return np.nan
    m = -rf if rf > 0.0 else 0.0
    downside = math.sqrt((downside_squares + float(n - exit_days) * m * m) / float(n))
    return quotient(total / float(n) - rf, downside) * math.sqrt(periods_per_year)


@kernel(allocates=False)
def sqn(total, squares, n):
    """Return the system quality number ``sqrt(N)*(total/N)/sqrt(var)``."""
    deviation = math.sqrt(variance(total, squares, n))
    return quotient(math.sqrt(float(n)) * quotient(total, float(n)), deviation)


@kernel(allocates=False)
def profit_factor(gain, loss, wins, losses):
    """Return gross profit over gross loss, inf with a win and no loss, nan without either."""
    if losses == 0:
        return np.inf if wins > 0 else np.nan
    return quotient(gain, 0.0 - loss)


@kernel(allocates=False)
def finish(sums, reasons, contract, settings, n_bars, out):
    """Set ``out`` to the metrics in the order of the catalogue."""
    n_trades = float(sums.trades)
    periods = settings.periods_per_year
    rf = settings.risk_free_rate / periods
    of_pnl, of_days = sums.of_pnl, sums.of_days
    total_pct = 100.0 * of_pnl.total / contract.initial_capital
    drawdown_pct = 100.0 * sums.max_drawdown_ratio
    annual_pct = quotient(total_pct * periods, float(sums.days))
    avg_win = quotient(sums.gain, float(sums.wins))
    avg_loss = quotient(sums.loss, float(sums.losses))
    out[Metric.total_trades] = n_trades
    out[Metric.winning_trades] = float(sums.wins)
    out[Metric.losing_trades] = float(sums.losses)
    out[Metric.long_trades] = float(sums.longs)
    out[Metric.short_trades] = float(sums.trades - sums.longs)
    out[Metric.days] = float(sums.days)
    out[Metric.total_return] = of_pnl.total
    out[Metric.total_return_pct] = total_pct
    out[Metric.win_rate] = quotient(float(sums.wins), n_trades)
    out[Metric.expectancy] = quotient(of_pnl.total, n_trades)
    out[Metric.avg_win] = avg_win
    out[Metric.avg_loss] = avg_loss
    out[Metric.gross_profit] = sums.gain
    out[Metric.gross_loss] = 0.0 - sums.loss
    out[Metric.profit_factor] = profit_factor(sums.gain, sums.loss, sums.wins, sums.losses)
    out[Metric.payoff_ratio] = quotient(avg_win, 0.0 - avg_loss)
    out[Metric.max_consecutive_wins] = float(sums.max_win_streak)
    out[Metric.max_consecutive_losses] = float(sums.max_loss_streak)
    out[Metric.best_trade] = sums.best if sums.trades > 0 else np.nan
    out[Metric.worst_trade] = sums.worst if sums.trades > 0 else np.nan
    out[Metric.max_drawdown] = sums.max_drawdown
    out[Metric.max_drawdown_pct] = drawdown_pct
    out[Metric.sharpe] = sharpe(of_days.returns, of_days.squares, sums.days, rf, periods)
    out[Metric.sortino] = sortino(
        of_days.returns, of_days.downside, sums.days, of_days.exit_days, rf, periods
    )
    out[Metric.annual_return_pct] = annual_pct
    out[Metric.calmar] = quotient(annual_pct, drawdown_pct)
    out[Metric.recovery_factor] = quotient(of_pnl.total, sums.max_drawdown)
    out[Metric.sqn] = sqn(of_pnl.total, of_pnl.squares, sums.trades)
    out[Metric.exposure] = quotient(float(sums.bars_held), float(n_bars))
    out[Metric.avg_bars_held] = quotient(float(sums.bars_held), n_trades)
    out[Metric.ambiguous_trades] = float(sums.ambiguous)
    for k in range(N_REASONS):
        out[Metric.exits_stop_loss + k] = float(reasons[k])
    out[Metric.ruined] = 1.0 if sums.ruined else 0.0
    for k in range(len(out)):
        out[k] = canonical(out[k])


@kernel(allocates=False)
def finish_blocks(ends, first_day, days, blocks, out):
    """Set ``out`` to ``S1``, ``S2`` and the number of days of every block, one after another.

    ``days`` of the range count, so that ruin cuts the last blocks short.
    """
    before = 0
    for block in range(len(ends)):
        until = min(days, ends[block] - first_day)
        out[3 * block] = canonical(blocks[2 * block])
        out[3 * block + 1] = canonical(blocks[2 * block + 1])
        out[3 * block + 2] = float(until - before)
        before = until


@kernel(allocates=False)
def canonical(value):
    """Return a number without the bits that tell one nan, or one zero, from another."""
    return np.nan if math.isnan(value) else value + 0.0
