"""The join of a sweep: eight combinations as lanes of a vector over one list of signals.

Mirrors ``engine_rust/src/sweep/lanes.rs``. Eight exits share the signals. The list is visited once,
in order; a lane takes a signal when its position is flat. Each lane adds in trade order, one number
at a time, as the single run does: an idle lane adds ``+0.0``, which changes no bit. The sums become
metrics by the same ``finish``. What differs: counts are packed into one word per lane, and the list
ends early once no account is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.metrics import (
    DaySums,
    PnlSums,
    Sums,
    add_day,
    add_pnl,
    counted_days,
    finish,
    finish_blocks,
    no_days,
    no_pnl,
    read_day_sums,
    read_pnl_sums,
)
from backtest_py.engines.numba_engine.sweep.outcomes import (
    AMBIGUOUS,
    FIELD_BITS,
    LONGS,
    LOSSES,
    MOST_COUNTED,
    N_FIELDS,
    WINS,
)
from backtest_py.engines.numba_engine.sweep.vectors import (
    LANES,
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
from backtest_py.engines.numba_engine.types import N_METRICS, N_REASONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SignalList", "empty_lane_sums", "join", "numbers_of_lane"]

# Rows of the sums of lanes: first those of the pnl, then those of days, then the others.
DAY_SUMS = len(PnlSums._fields)
OTHER_SUMS = DAY_SUMS + len(DaySums._fields)
N_SUMS = OTHER_SUMS + 11
(
    GAIN,
    LOSS,
    MAX_DRAWDOWN,
    MAX_DRAWDOWN_RATIO,
    BEST,
    WORST,
    LONGEST_WIN,
    LONGEST_LOSS,
    HELD,
    EQUITY,
    LAST_EXIT,
) = range(OTHER_SUMS, N_SUMS)


class SignalList(NamedTuple):
    """A list of signals over a table of candidates.

    ``rows`` are candidates that signal, in the order of their bars; ``bar`` is that of every
    candidate, ``day`` that of every bar.
    """

    rows: NDArray[np.uint32]
    bar: NDArray[np.uint32]
    day: NDArray[np.int32]


class LaneSums(NamedTuple):
    """What ``join`` finds for eight exits, a column each.

    ``counts`` has a row for each field of a tally, ``blocks`` two for each block of days: ``S1``,
    ``S2``. ``numbers``, of shape (8, n_numbers), is what becomes of them: the metrics, then ``S1``,
    ``S2`` and days of each block.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    blocks: NDArray[np.float64]
    reasons: NDArray[np.int64]
    numbers: NDArray[np.float64]


class Days(NamedTuple):
    """Sums per lane that change when a day closes."""

    equity_before: Any
    sums: DaySums
    block_returns: Any
    block_squares: Any


@kernel
def empty_lane_sums(n_blocks):
    """Return unfilled sums of lanes."""
    return LaneSums(
        np.empty((N_SUMS, LANES)),
        np.empty((N_FIELDS, LANES), np.int64),
        np.empty((2 * n_blocks, LANES)),
        np.empty(N_REASONS, np.int64),
        np.empty((LANES, N_METRICS + 3 * n_blocks)),
    )


@kernel(allocates=False)
def close_day(days, mask, day_pnl, equity, rf, blocks):
    """Close the day of the lanes of ``mask``, whose equity is ``equity`` by now."""
    r = keep(mask, day_pnl / days.equity_before)
    x = r - rf
    below = mask & (splat(0.0) > x)
    block_returns, block_squares = days.block_returns, days.block_squares
    if blocks is not None:
        block_returns = block_returns + r
        block_squares = block_squares + r * r
    return Days(
        select(mask, equity, days.equity_before),
        add_day(days.sums, r, keep(below, x * x), keep(mask, splat(1.0))),
        block_returns,
        block_squares,
    )


@kernel(allocates=False)
def end_block(days, open_day, exit_day, end, day_pnl, equity, rf, block, blocks):
    """End the block before day ``end``: close the days in it that are open, and store its sums.

    Signals from that day on can neither add to these days nor have closed a later one. So all lanes
    pass from block to block together. Return the sums, what is open and the pnl of open days.
    """
    zero = splat(0.0)
    passed = open_day & (splat(float(end)) > exit_day)
    days = close_day(days, passed, day_pnl, equity, rf, blocks)
    store(blocks, 2 * block, days.block_returns)
    store(blocks, 2 * block + 1, days.block_squares)
    begun = Days(days.equity_before, days.sums, zero, zero)
    return begun, open_day & ~passed, select(passed, zero, day_pnl)


@kernel(allocates=False)
def join(signals, cells, capital, rf, same_day, ends, found, blocks):
    """Walk a list of signals for eight exits and set the sums and counts of each.

    ``same_day`` tells that every position closes on the day of its signal. ``blocks`` gets the sums
    of the blocks of days that end at ``ends``, if it is not None.
    """
    sums, counts = found.sums, found.counts
    zero, one, never, dropped = splat(0.0), splat(1.0), splat(np.inf), splat(-1.0)
    rf_lanes = splat(rf)
    equity = peak = capital
    days = Days(equity, no_days(zero), zero, zero)
    of_pnl = no_pnl(zero)
    day_pnl = gain = loss = zero
    max_drawdown = max_ratio = fall = held = zero
    streak = longest_win = longest_loss = zero
    best, worst = splat(-np.inf), never
    free, exit_day, ruin_bar = zero, splat(-1.0), zero
    no_lane = open_day = splat(False)  # noqa: FBT003 - a lane's truth value
    tally, tallied = splat(0), 0
    for field in range(N_FIELDS):
        store(counts, field, tally)
    signal_day, block = -1, 0
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
        if blocks is not None:
            while day >= ends[block]:
                days, open_day, day_pnl = end_block(
                    days, open_day, exit_day, ends[block], day_pnl, equity, rf_lanes, block, blocks
                )
                block += 1
        if same_day:
            if day != signal_day:
                days = close_day(days, open_day, day_pnl, equity, rf_lanes, blocks)
                day_pnl = select(open_day, zero, day_pnl)
                open_day = no_lane
                signal_day = day
        else:
            exit_at = splat(float(day)) + to_float(load(cells.days, row))
            later = take & open_day & (exit_at > exit_day)
            # A branch would be mispredicted: closing no lane costs less than that.
            days = close_day(days, later, day_pnl, equity, rf_lanes, blocks)
            day_pnl = select(later, zero, day_pnl)
            exit_day = select(take, exit_at, exit_day)
        open_day = open_day | take
        pnl = keep(take, load(cells.pnl, row))
        won, lost = pnl > zero, zero > pnl
        of_pnl = add_pnl(of_pnl, pnl)
        equity = equity + pnl
        day_pnl = day_pnl + pnl
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
            move_counts(counts, tally)
            tally, tallied = splat(0), 0
    move_counts(counts, tally)
    if blocks is not None:
        for rest in range(block, len(ends)):
            days, open_day, day_pnl = end_block(
                days, open_day, exit_day, ends[rest], day_pnl, equity, rf_lanes, rest, blocks
            )
    days = close_day(days, open_day, day_pnl, equity, rf_lanes, blocks)
    for k in range(len(of_pnl)):
        store(sums, k, of_pnl[k])
    for k in range(len(days.sums)):
        store(sums, DAY_SUMS + k, days.sums[k])
    store(sums, GAIN, gain)
    store(sums, LOSS, loss)
    store(sums, MAX_DRAWDOWN, larger(fall, max_drawdown))
    store(sums, MAX_DRAWDOWN_RATIO, larger(fall / peak, max_ratio))
    store(sums, BEST, best)
    store(sums, WORST, worst)
    store(sums, LONGEST_WIN, longest_win)
    store(sums, LONGEST_LOSS, longest_loss)
    store(sums, HELD, held)
    store(sums, EQUITY, equity)
    store(sums, LAST_EXIT, select(never > free, free, ruin_bar))


@kernel(allocates=False)
def move_counts(counts, tally):
    """Move the counts of a tally, a few bits each, to wide ones."""
    for field in range(N_FIELDS):
        found = (tally >> splat(FIELD_BITS * field)) & splat(MOST_COUNTED)
        store(counts, field, load(counts, field) + found)


@kernel(allocates=False)
def numbers_of_lane(found, lane, day, contract, settings, first, last, ends):
    """Set the numbers of one lane of ``found`` from its sums and counts."""
    sums, counts, reasons = found.sums, found.counts, found.reasons
    trades = 0
    for k in range(N_REASONS):
        reasons[k] = counts[k, lane]
        trades += counts[k, lane]
    first_day, last_day = int(day[first]), int(day[last - 1])
    ruined = sums[EQUITY, lane] <= 0.0
    last_exit = int(day[int(sums[LAST_EXIT, lane])])
    total = Sums(
        read_pnl_sums(sums[:DAY_SUMS, lane]),
        read_day_sums(sums[DAY_SUMS:OTHER_SUMS, lane]),
        sums[GAIN, lane],
        sums[LOSS, lane],
        sums[MAX_DRAWDOWN, lane],
        sums[MAX_DRAWDOWN_RATIO, lane],
        sums[BEST, lane],
        sums[WORST, lane],
        trades,
        counts[WINS, lane],
        counts[LOSSES, lane],
        counts[LONGS, lane],
        int(sums[LONGEST_WIN, lane]),
        -int(sums[LONGEST_LOSS, lane]),
        int(sums[HELD, lane]),
        counts[AMBIGUOUS, lane],
        counted_days(first_day, last_day, last_exit, ruined),
        ruined,
    )
    out = found.numbers[lane]
    finish(total, reasons, contract, settings, last - first, out[:N_METRICS])
    finish_blocks(ends, first_day, total.days, found.blocks[:, lane], out[N_METRICS:])
