"""The join of a sweep: eight combinations as lanes of a vector over one list of signals.

Mirrors ``engine_rust/src/lanes.rs``. Eight exits share the signals. The list is visited once, in
order; a lane takes a signal when its position is flat. Each lane adds in trade order, one number
at a time, as the single run does: an idle lane adds ``+0.0``, which changes no bit. The sums become
metrics by the same ``finish``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.metrics import finish
from backtest_py.engines.numba_engine.outcomes import (
    AMBIGUOUS,
    FIELD_BITS,
    LONGS,
    LOSSES,
    MOST_COUNTED,
    N_FIELDS,
    WINS,
)
from backtest_py.engines.numba_engine.types import N_REASONS, Sums
from backtest_py.engines.numba_engine.vectors import (
    any_lane,
    keep,
    larger,
    load,
    select,
    smaller,
    splat,
    store,
    to_float,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["N_SUMS", "SignalList", "join", "metrics_of_lane"]

N_SUMS = 17
"""Rows that ``join`` sets: the sums in the order in which ``metrics_of_lane`` reads them."""


class SignalList(NamedTuple):
    """A list of signals over a table of candidates.

    ``rows`` are candidates that signal, in the order of their bars; ``bar`` is that of every
    candidate, ``day`` that of every bar.
    """

    rows: NDArray[np.uint32]
    bar: NDArray[np.uint32]
    day: NDArray[np.int32]


class Days(NamedTuple):
    """Sums per lane that change when a day closes."""

    equity_before: Any
    returns: Any
    squares: Any
    downside: Any
    closed: Any


@kernel(allocates=False)
def close_day(days, mask, day_pnl, equity, rf):
    """Close the day of the lanes of ``mask``, whose equity is ``equity`` by now."""
    r = keep(mask, day_pnl / days.equity_before)
    x = r - rf
    below = mask & (splat(0.0) > x)
    return Days(
        select(mask, equity, days.equity_before),
        days.returns + r,
        days.squares + r * r,
        days.downside + keep(below, x * x),
        days.closed + keep(mask, splat(1.0)),
    )


@kernel(allocates=False)
def join(signals, cells, capital, block, rf, same_day, sums, counts):
    """Walk a list of signals for eight exits and set the sums and counts of each.

    ``same_day`` tells that every position closes on the day of its signal. ``counts`` has a row for
    each field of a tally.
    """
    zero, one, never, dropped = splat(0.0), splat(1.0), splat(np.inf), splat(-1.0)
    rf_lanes = splat(rf)
    equity = peak = load(capital, block)
    days = Days(equity, zero, zero, zero, zero)
    day_pnl = total = gain = loss = pnl_squares = zero
    max_drawdown = max_ratio = fall = held = zero
    streak = longest_win = longest_loss = zero
    best, worst = splat(-np.inf), never
    free, exit_day, ruin_bar = zero, splat(-1.0), zero
    no_lane = open_day = splat(False)  # noqa: FBT003 - a lane's truth value
    tally, tallied = splat(0), 0
    for field in range(N_FIELDS):
        store(counts, field, tally)
    signal_day = -1
    k, end = 0, len(signals.rows)
    while k < end:
        row = signals.rows[k]
        k += 1
        bar = signals.bar[row]
        day = signals.day[bar]
        entry_bar = splat(float(bar) + 1.0)
        bars_held = to_float(load(cells.bars_held, row))
        exit_bar = entry_bar + bars_held
        take = (entry_bar > free) & (bars_held > dropped)
        if same_day:
            if day != signal_day:
                days = close_day(days, open_day, day_pnl, equity, rf_lanes)
                day_pnl = select(open_day, zero, day_pnl)
                open_day = no_lane
                signal_day = day
        else:
            exit_at = splat(float(day)) + to_float(load(cells.days, row))
            later = take & open_day & (exit_at > exit_day)
            # A branch would be a guess: closing no lane costs less than a wrong one.
            days = close_day(days, later, day_pnl, equity, rf_lanes)
            day_pnl = select(later, zero, day_pnl)
            exit_day = select(take, exit_at, exit_day)
        open_day = open_day | take
        pnl = keep(take, load(cells.pnl, row))
        won, lost = pnl > zero, zero > pnl
        total = total + pnl
        equity = equity + pnl
        day_pnl = day_pnl + pnl
        pnl_squares = pnl_squares + pnl * pnl
        gain = select(won, gain + pnl, gain)
        loss = select(lost, loss + pnl, loss)
        held = select(take, held + bars_held, held)
        tally = tally + select(take, load(cells.tally, row), splat(0))
        # Peaks only rise: a fall has the largest ratio to its peak only if it is deeper than all
        # before, and among the falls below one peak the deepest counts. So both wait for a new one.
        higher = equity > peak
        deeper = higher & (fall > max_drawdown)
        ruined = take & (equity <= zero)
        if any_lane(deeper | ruined):
            max_drawdown = select(deeper, fall, max_drawdown)
            max_ratio = larger(keep(deeper, fall / peak), max_ratio)
            ruin_bar = select(ruined, exit_bar, ruin_bar)
            exit_bar = select(ruined, never, exit_bar)
            if not any_lane(never > select(take, exit_bar, free)):
                end = k
        free = select(take, exit_bar, free)
        peak = select(higher, equity, peak)
        fall = select(higher, zero, larger(peak - equity, fall))
        best = select(take, larger(pnl, best), best)
        worst = select(take, smaller(pnl, worst), worst)
        longer_win = larger(streak, zero) + one
        longer_loss = keep(lost, smaller(streak, zero) - one)
        streak = select(take, select(won, longer_win, longer_loss), streak)
        longest_win = larger(streak, longest_win)
        longest_loss = smaller(streak, longest_loss)
        tallied += 1
        if tallied == MOST_COUNTED:
            count(counts, tally)
            tally, tallied = splat(0), 0
    count(counts, tally)
    days = close_day(days, open_day, day_pnl, equity, rf_lanes)
    store(sums, 0, total)
    store(sums, 1, gain)
    store(sums, 2, loss)
    store(sums, 3, pnl_squares)
    store(sums, 4, days.returns)
    store(sums, 5, days.squares)
    store(sums, 6, days.downside)
    store(sums, 7, larger(fall, max_drawdown))
    store(sums, 8, larger(fall / peak, max_ratio))
    store(sums, 9, best)
    store(sums, 10, worst)
    store(sums, 11, longest_win)
    store(sums, 12, longest_loss)
    store(sums, 13, held)
    store(sums, 14, days.closed)
    store(sums, 15, equity)
    store(sums, 16, select(never > free, free, ruin_bar))


@kernel(allocates=False)
def count(counts, tally):
    """Move the counts of a tally, a few bits each, to wide ones."""
    for field in range(N_FIELDS):
        found = (tally >> splat(FIELD_BITS * field)) & splat(MOST_COUNTED)
        store(counts, field, load(counts, field) + found)


@kernel(allocates=False)
def metrics_of_lane(sums, counts, lane, day, contract, settings, first, last, reasons, out):
    """Set ``out`` to the metrics of one lane, and ``reasons`` to its exits by reason."""
    trades = 0
    for k in range(N_REASONS):
        reasons[k] = counts[k, lane]
        trades += counts[k, lane]
    first_day, last_day = int(day[first]), int(day[last - 1])
    ruined = sums[15, lane] <= 0.0
    last_exit = int(day[int(sums[16, lane])])
    # A range's positions are held one after another: only the last can close behind it.
    later_days = 1 if trades > 0 and last_exit > last_day else 0
    days = last_day - first_day + 1 + later_days
    if ruined and later_days == 0:
        days = last_exit - first_day + 1
    found = Sums(
        sums[0, lane],
        sums[1, lane],
        sums[2, lane],
        sums[3, lane],
        sums[4, lane],
        sums[5, lane],
        sums[6, lane],
        sums[7, lane],
        sums[8, lane],
        sums[9, lane],
        sums[10, lane],
        trades,
        counts[WINS, lane],
        counts[LOSSES, lane],
        counts[LONGS, lane],
        int(sums[11, lane]),
        -int(sums[12, lane]),
        int(sums[13, lane]),
        counts[AMBIGUOUS, lane],
        days,
        int(sums[14, lane]),
        ruined,
    )
    finish(found, reasons, contract, settings, first, last, out)
