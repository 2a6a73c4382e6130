"""From signals to trades: semantics section 4. Mirrors ``engine_rust/src/backtest_engine.rs``.

Every formula is written once for both sides: ``s`` is +1.0 for a long and -1.0 for a short, and a
product with it is exact.
"""

from __future__ import annotations

import math

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.contract import settle
from backtest_py.engines.numba_engine.metrics import days_of, measure
from backtest_py.engines.numba_engine.types import Course, Outcome, Position, Trades
from backtest_py.rules import Intrabar, Reason, Unit

__all__ = [
    "admits_entry",
    "backtest",
    "begin",
    "count_signals",
    "empty_trades",
    "first_trades",
    "simulate",
    "tick_denominator",
    "to_tick",
    "trade_outcome",
]

BLOCK = 64
"""Bars without a signal that are skipped at once."""
QUIET = 4
"""Bars that are skipped together; trades are short."""


@kernel(allocates=False)
def tick_denominator(tick_size):
    """Return ``m`` where tick ``k`` costs ``k/m``, or 0.0 where it costs ``k*tick_size``."""
    m = np.rint(1.0 / tick_size)
    if m >= 1.0 and 1.0 / m == tick_size:
        return m
    return 0.0


@kernel(allocates=False)
def to_tick(price, up, tick_size, denominator):
    """Round a finite price up or down to the tick grid; other prices stay as they are."""
    if not math.isfinite(price):
        return price
    if up:
        k = np.ceil(price / tick_size - 1e-9)
    else:
        k = np.floor(price / tick_size + 1e-9)
    return k / denominator if denominator > 0.0 else k * tick_size


@kernel(allocates=False)
def unit_size(unit, atr, reference_price, risk):
    """Return how many points one unit is: ``u`` and ``w`` of the semantics."""
    if unit == Unit.atr:
        return atr
    if unit == Unit.points:
        return 1.0
    if unit == Unit.percent:
        return abs(reference_price) / 100.0
    return risk


@kernel(allocates=False)
def admits_entry(bars, rules, i):
    """Tell whether a signal at bar ``i`` may be acted on at bar ``i + 1``."""
    e = i + 1
    if e >= len(bars.open):
        return False
    if rules.close_time < 0:
        return True
    return bars.day[e] == bars.day[i] and bars.minute[e] < rules.close_time


@kernel(allocates=False)
def skip_quiet(bars, close_minute, below, above, j, last, highest, lowest):
    """Skip bars from ``j`` on at which a position with fixed levels cannot end.

    In whole blocks that lie between the levels, within the session and before ``last``; the
    extremes are all that such bars change. Return the next bar and the extremes.
    """
    day = bars.day[j]
    while j + QUIET < last:
        top, bottom, late = highest, lowest, False
        for k in range(j, j + QUIET):
            high, low = bars.high[k], bars.low[k]
            top = high if high > top else top
            bottom = low if low < bottom else bottom
            late |= bars.minute[k] >= close_minute
        over = close_minute >= 0 and (late or bars.day[j + QUIET] != day)
        if bottom <= below or top >= above or over:
            break
        highest, lowest = top, bottom
        j += QUIET
    return j, highest, lowest


@kernel(allocates=False, inlined=True)
def flat():
    """Return no position: its side is 0."""
    return Position(0, 0, 0, np.nan, 0.0, 0.0, 0.0, 0.0, -np.inf, np.inf, moved=False)


@kernel(allocates=False, inlined=True)
def no_outcome():
    """Return that there is no trade, or none yet: its exit bar is -1."""
    return Outcome(-1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, Reason.stop_loss, ambiguous=False)


@kernel(allocates=False, inlined=True)
def enter(bars, atr, signal_risk, rules, contract, i, side):
    """Return the position of a signal at bar ``i``, entered at the next bar's open.

    ``atr`` may be empty where nothing is measured in it; ``signal_risk`` is nan where the strategy
    gives none. The position is flat where the signal is dropped.
    """
    if not admits_entry(bars, rules, i):
        return flat()
    e = i + 1
    s = float(side)
    slip = contract.slippage_ticks * contract.tick_size
    denominator = tick_denominator(contract.tick_size) if rules.round_to_tick else 0.0
    entry = bars.open[e] + s * slip
    stop, target = -s * np.inf, s * np.inf
    if rules.stop > 0.0 or rules.target > 0.0:
        signal_atr = atr[i] if len(atr) > 0 else np.nan
        u = unit_size(rules.unit, signal_atr, entry, signal_risk)
        if math.isnan(u):
            return flat()
        distance = rules.stop * u
        if rules.stop > 0.0:
            stop = entry - s * distance
        if rules.target > 0.0:
            target = entry + s * (rules.target * u)
        elif rules.target_r > 0.0:
            target = entry + s * (rules.target_r * distance)
        if rules.round_to_tick:
            stop = to_tick(stop, side < 0, contract.tick_size, denominator)
            target = to_tick(target, side > 0, contract.tick_size, denominator)
    return Position(
        e,
        e,
        1 if side > 0 else -1,
        signal_risk,
        entry,
        stop,
        target,
        stop,
        -np.inf,
        np.inf,
        moved=False,
    )


@kernel(allocates=False, inlined=True)
def hold(bars, atr, rules, contract, position, until):
    """Follow a position to its end; it depends on nothing else.

    Return it with its outcome. Where no bar before ``until`` ends it there is no outcome, and what
    is returned goes on from there. ``until`` is the number of bars, or one less where others
    follow: what ends a day, and what ends the data, is known of a bar by the next one.
    """
    n = len(bars.open)
    e, side, entry = position.entry_bar, position.side, position.entry_price
    s = float(side)
    slip = contract.slippage_ticks * contract.tick_size
    through = rules.target_through_ticks * contract.tick_size
    denominator = tick_denominator(contract.tick_size) if rules.round_to_tick else 0.0
    stop, target, moved = position.stop, position.target_price, position.moved
    trigger = target + s * through
    ambiguous = False
    highest, lowest = position.highest, position.lowest
    j = position.next_bar
    if rules.trail == 0.0 and j < until:
        below, above = (stop, trigger) if side > 0 else (trigger, stop)
        last = min(until, e + rules.max_bars) if rules.max_bars > 0 else until
        j, highest, lowest = skip_quiet(
            bars, rules.close_time, below, above, j, last, highest, lowest
        )
    exit_price, reason = 0.0, Reason.end_of_data
    ended = False
    while j < until:
        stop_reason = Reason.trailing_stop if moved else Reason.stop_loss
        ended = True
        if j > e:
            price = bars.open[j]
            if rules.close_time >= 0 and bars.minute[j] >= rules.close_time:
                exit_price, reason = price - s * slip, Reason.session_close
                break
            if rules.max_bars > 0 and j == e + rules.max_bars:
                exit_price, reason = price - s * slip, Reason.max_bars
                break
            if price <= stop if side > 0 else price >= stop:
                exit_price, reason = price - s * slip, stop_reason
                break
            if price >= trigger if side > 0 else price <= trigger:
                exit_price, reason = price, Reason.take_profit
                break
        high, low = bars.high[j], bars.low[j]
        hit_stop = low <= stop if side > 0 else high >= stop
        hit_target = high >= trigger if side > 0 else low <= trigger
        if hit_stop or hit_target:
            ambiguous = hit_stop and hit_target
            if hit_target and (not hit_stop or rules.intrabar == Intrabar.target_first):
                exit_price, reason = target, Reason.take_profit
            else:
                exit_price, reason = stop - s * slip, stop_reason
            break
        highest = high if high > highest else highest
        lowest = low if low < lowest else lowest
        if j == n - 1:
            exit_price, reason = bars.close[j] - s * slip, Reason.end_of_data
            break
        if rules.close_time >= 0 and bars.day[j + 1] != bars.day[j]:
            exit_price, reason = bars.close[j] - s * slip, Reason.session_end
            break
        if rules.trail > 0.0:
            bar_atr = atr[j] if len(atr) > 0 else np.nan
            w = unit_size(rules.unit, bar_atr, bars.close[j], position.risk)
            if not math.isnan(w):
                level = bars.close[j] - s * (rules.trail * w)
                if rules.round_to_tick:
                    level = to_tick(level, side < 0, contract.tick_size, denominator)
                if level > stop if side > 0 else level < stop:
                    stop = level
                    moved = True
        ended = False
        j += 1
    if not ended:
        later = Position(
            e,
            j,
            side,
            position.risk,
            entry,
            position.stop_price,
            target,
            stop,
            highest,
            lowest,
            moved,
        )
        return later, no_outcome()
    points = exit_price - entry if side > 0 else entry - exit_price
    mae = points if points < 0.0 else 0.0
    mfe = points if points > 0.0 else 0.0
    adverse = lowest - entry if side > 0 else entry - highest
    favourable = highest - entry if side > 0 else entry - lowest
    mae = adverse if adverse < mae else mae
    mfe = favourable if favourable > mfe else mfe
    return flat(), Outcome(
        j,
        entry + 0.0,
        exit_price + 0.0,
        position.stop_price + 0.0,
        target + 0.0,
        mae + 0.0,
        mfe + 0.0,
        reason,
        ambiguous,
    )


@kernel(allocates=False)
def trade_outcome(bars, atr, signal_risk, rules, contract, i, side):
    """Follow the trade of a signal at bar ``i`` to its end, as :func:`enter` and :func:`hold`."""
    position = enter(bars, atr, signal_risk, rules, contract, i, side)
    if position.side == 0:
        return no_outcome()
    return hold(bars, atr, rules, contract, position, len(bars.open))[1]


@kernel(allocates=False)
def set_trade(trades, k, i, side, outcome, settled):
    """Set trade ``k``, that of a signal at bar ``i``."""
    trades.signal_bar[k] = i
    trades.entry_bar[k] = i + 1
    trades.exit_bar[k] = outcome.exit_bar
    trades.side[k] = side
    trades.entry_price[k] = outcome.entry_price
    trades.exit_price[k] = outcome.exit_price
    trades.stop_price[k] = outcome.stop_price
    trades.target_price[k] = outcome.target_price
    trades.points[k] = settled.points
    trades.pnl[k] = settled.pnl
    trades.fees[k] = settled.fees
    trades.mae[k] = outcome.mae
    trades.mfe[k] = outcome.mfe
    trades.reason[k] = outcome.reason
    trades.ambiguous[k] = outcome.ambiguous


@kernel(allocates=False)
def next_signal(signal_side, start, last):
    """Return the first signal of ``[start, last)``, or ``last``; empty blocks are skipped whole."""
    i = start
    while i + BLOCK <= last:
        found = np.int8(0)
        for sign in signal_side[i : i + BLOCK]:
            found |= sign
        if found != 0:
            break
        i += BLOCK
    while i < last and signal_side[i] == 0:
        i += 1
    return i


@kernel(allocates=False)
def begin(contract, first):
    """Return where a backtest stands before its first bar."""
    return Course(contract.initial_capital, first, flat())


@kernel(allocates=False)
def simulate(bars, atr, signal_side, risk, rules, contract, last, until, course, trades):
    """Go on from a course through the signals before ``last``, and fill the trades that end.

    Return the course at bar ``until``, see :func:`hold`, and the number of trades. ``trades`` needs
    room for every signal, and for the position that is held at the start.
    """
    count = 0
    equity, i, position = course.equity, course.next_bar, course.position
    stop = min(last, until)
    while True:
        if equity <= 0.0:
            break
        if position.side == 0:
            i = next_signal(signal_side, i, stop)
            if i >= stop:
                break
            signal_risk = risk[i] if len(risk) > 0 else np.nan
            position = enter(bars, atr, signal_risk, rules, contract, i, signal_side[i])
            if position.side == 0:
                i += 1
                continue
        side, entry_bar = position.side, position.entry_bar
        position, outcome = hold(bars, atr, rules, contract, position, until)
        if outcome.exit_bar < 0:
            break
        settled = settle(outcome, side, contract)
        set_trade(trades, count, entry_bar - 1, side, outcome, settled)
        count += 1
        equity += settled.pnl
        i = outcome.exit_bar
    return Course(equity, i, position), count


@kernel(allocates=False)
def count_signals(signal_side, first, last):
    """Return how many bars of ``[first, last)`` signal."""
    count = 0
    for sign in signal_side[first:last]:
        count += sign != 0
    return count


@kernel
def empty_trades(n):
    """Return unfilled columns for ``n`` trades."""
    return Trades(
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int8),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n, np.uint8),
        np.empty(n, np.bool_),
    )


@kernel
def first_trades(trades, n):
    """Return copies of the first ``n`` rows, so that unused room is freed."""
    return Trades(
        trades.signal_bar[:n].copy(),
        trades.entry_bar[:n].copy(),
        trades.exit_bar[:n].copy(),
        trades.side[:n].copy(),
        trades.entry_price[:n].copy(),
        trades.exit_price[:n].copy(),
        trades.stop_price[:n].copy(),
        trades.target_price[:n].copy(),
        trades.points[:n].copy(),
        trades.pnl[:n].copy(),
        trades.fees[:n].copy(),
        trades.mae[:n].copy(),
        trades.mfe[:n].copy(),
        trades.reason[:n].copy(),
        trades.ambiguous[:n].copy(),
    )


@kernel
def backtest(bars, atr, signal_side, risk, rules, contract, settings, first, last):
    """Simulate the signals of ``[first, last)``; return the trades and the metrics."""
    trades = empty_trades(count_signals(signal_side, first, last))
    course, until = begin(contract, first), len(bars.open)
    count = simulate(bars, atr, signal_side, risk, rules, contract, last, until, course, trades)[1]
    exit_day = days_of(trades.exit_bar[:count], bars.day)
    span = (bars.day[first], bars.day[last - 1])
    metrics = measure(trades, exit_day, contract, settings, span, last - first)
    return first_trades(trades, count), metrics
