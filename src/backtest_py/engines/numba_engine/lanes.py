"""The join of a sweep: eight combinations as lanes of a vector over one list of signals.

Mirrors ``engine_rust/src/lanes.rs``. Eight exits share the signals. The list is visited once, in
order; a lane takes a signal when its position is flat. Each lane adds in trade order, one number
at a time, as the single run does: an idle lane adds ``+0.0``, which changes no bit. The sums become
metrics by the same ``finish``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.metrics import finish
from backtest_py.engines.numba_engine.outcomes import AMBIGUOUS_BIT, CODE_BITS
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

__all__ = ["SignalList", "join", "metrics_of_lane"]

FIELD_BITS = 8
FIELD = 255
"""Counts are packed into words, so many bits each, and moved to wide ones before they overflow."""
N_FIELDS = 8
N_CODES = 1 << CODE_BITS
LOSS_SHIFT, LONG_SHIFT = FIELD_BITS, 2 * FIELD_BITS
AMBIGUOUS = N_REASONS
WINS, LOSSES, LONGS = N_FIELDS, N_FIELDS + 1, N_FIELDS + 2
N_COUNTS = N_FIELDS + 3
N_SUMS = 17


class SignalList(NamedTuple):
    """Candidates that signal, in the order of their bars."""

    rows: NDArray[np.uint32]
    bar: NDArray[np.uint32]
    side: NDArray[np.int8]
    day: NDArray[np.int32]


class Days(NamedTuple):
    """Sums per lane that change when a day closes."""

    pnl: object
    equity_before: object
    returns: object
    squares: object
    downside: object
    closed: object


@kernel(allocates=False)
def close_day(days, mask, equity, rf):
    """Close the day of the lanes of ``mask``, whose equity is ``equity`` by now."""
    zero = splat(0.0)
    r = keep(mask, days.pnl / days.equity_before)
    x = r - rf
    below = mask & (zero > x)
    return Days(
        select(mask, zero, days.pnl),
        select(mask, equity, days.equity_before),
        days.returns + r,
        days.squares + r * r,
        days.downside + keep(below, x * x),
        days.closed + keep(mask, splat(1.0)),
    )


@kernel(allocates=False)
def join(signals, cells, capital, block, rf, same_day, sums, counts):
    """Walk a list of signals for eight exits and set the sums and counts of each.

    ``same_day`` tells that every position closes on the day of its signal.
    """
    zero, one = splat(0.0), splat(1.0)
    rf_lanes = splat(rf)
    equity = peak = load(capital, block)
    days = Days(zero, equity, zero, zero, zero, zero)
    total = gain = loss = pnl_squares = zero
    max_drawdown = max_ratio = fall = held = zero
    streak = longest_win = longest_loss = zero
    best, worst = splat(-np.inf), splat(np.inf)
    free, exit_day = zero, splat(-1.0)
    nothing = open_day = splat(False)  # noqa: FBT003 - a lane's truth value
    first_word = second_word = splat(0)
    for field in range(N_COUNTS):
        store(counts, field, splat(0))
    uncounted = 0
    signal_day = -1
    for k in range(len(signals.rows)):
        row = signals.rows[k]
        bar_number = signals.bar[row]
        day = signals.day[bar_number]
        bar = splat(float(bar_number))
        exit_bar = to_float(load(cells.exit_bar, row))
        ending = load(cells.ending, row)
        take = (free <= bar) & (exit_bar > bar)
        exit_at = splat(float(day))
        # Branches on lanes would be guesses: a close that may be empty costs less than a wrong one.
        if same_day:
            if day != signal_day:
                days = close_day(days, open_day, equity, rf_lanes)
                open_day = nothing
                signal_day = day
            open_day = open_day | take
        else:
            exit_at = exit_at + to_float(ending >> splat(CODE_BITS))
            later = take & open_day & (exit_at > exit_day)
            open_day = open_day | take
            days = close_day(days, later, equity, rf_lanes)
        exit_day = select(take, exit_at, exit_day)
        pnl = keep(take, load(cells.pnl, row))
        total = total + pnl
        equity = equity + pnl
        days = Days(
            days.pnl + pnl,
            days.equity_before,
            days.returns,
            days.squares,
            days.downside,
            days.closed,
        )
        pnl_squares = pnl_squares + pnl * pnl
        gain = gain + larger(pnl, zero)
        loss = loss + smaller(pnl, zero)
        # Below one peak the deepest fall has the largest ratio, so that ratios wait for a new peak.
        higher = equity > peak
        deep = higher & (fall > zero) & (max_ratio * peak <= fall)
        if any_lane(deep):
            max_ratio = larger(keep(deep, fall / peak), max_ratio)
        peak = select(higher, equity, peak)
        drawdown = peak - equity
        max_drawdown = larger(drawdown, max_drawdown)
        fall = select(higher, zero, larger(drawdown, fall))
        best = select(take, larger(pnl, best), best)
        worst = select(take, smaller(pnl, worst), worst)
        held = held + keep(take, exit_bar - (bar + one))
        won, lost = pnl > zero, zero > pnl
        longer_win = larger(streak, zero) + one
        longer_loss = keep(lost, smaller(streak, zero) - one)
        streak = select(take, select(won, longer_win, longer_loss), streak)
        longest_win = larger(streak, longest_win)
        longest_loss = smaller(streak, longest_loss)
        ended = splat(1) << ((ending & splat(N_FIELDS - 1)) << splat(3))
        ended = ended + ((ending & splat(AMBIGUOUS_BIT)) << splat(53))
        first_word = first_word + select(take, ended, splat(0))
        second_word = second_word + select(won, splat(1), splat(0))
        second_word = second_word + select(lost, splat(1 << LOSS_SHIFT), splat(0))
        long = splat((1 << LONG_SHIFT) if signals.side[row] > 0 else 0)
        second_word = second_word + select(take, long, splat(0))
        free = select(take, exit_bar, free)
        ruined = take & (equity <= zero)
        if any_lane(ruined):
            free = select(ruined, splat(np.inf), free)
            if not any_lane(splat(np.inf) > free):
                break
        uncounted += 1
        if uncounted == FIELD:
            flush(counts, first_word, second_word)
            first_word = second_word = splat(0)
            uncounted = 0
    flush(counts, first_word, second_word)
    days = close_day(days, open_day, equity, rf_lanes)
    max_ratio = larger(fall / peak, max_ratio)
    store(sums, 0, total)
    store(sums, 1, gain)
    store(sums, 2, loss)
    store(sums, 3, pnl_squares)
    store(sums, 4, days.returns)
    store(sums, 5, days.squares)
    store(sums, 6, days.downside)
    store(sums, 7, max_drawdown)
    store(sums, 8, max_ratio)
    store(sums, 9, best)
    store(sums, 10, worst)
    store(sums, 11, longest_win)
    store(sums, 12, longest_loss)
    store(sums, 13, held)
    store(sums, 14, days.closed)
    store(sums, 15, equity)
    store(sums, 16, exit_day)


@kernel(allocates=False)
def flush(counts, first_word, second_word):
    """Move the packed counts to the wide ones."""
    for field in range(N_COUNTS):
        word, place = (first_word, field) if field < N_FIELDS else (second_word, field - N_FIELDS)
        count = (word >> splat(FIELD_BITS * place)) & splat(FIELD)
        store(counts, field, load(counts, field) + count)


@kernel(allocates=False)
def metrics_of_lane(sums, counts, lane, day, contract, settings, first, last, reasons, out):
    """Set ``out`` to the metrics of one lane, ``reasons`` to its exits by reason."""
    trades = 0
    for k in range(N_REASONS):
        reasons[k] = counts[k, lane]
        trades += counts[k, lane]
    first_day, last_day = int(day[first]), int(day[last - 1])
    ruined = sums[15, lane] <= 0.0
    last_exit = int(sums[16, lane])
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
