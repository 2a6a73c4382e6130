"""From signals to trades: semantics section 4. Mirrors ``engine_rust/src/backtest_engine.rs``.

Every formula is written once for both sides: ``s`` is +1.0 for a long and -1.0 for a short, and a
product with it is exact.
"""

from __future__ import annotations

import math

import numpy as np

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.contract import settle
from backtest_py.engines.numba_engine.metrics import accumulate, finish
from backtest_py.engines.numba_engine.types import N_METRICS, N_REASONS, Outcome, Trades
from backtest_py.rules import Intrabar, Reason, Unit

__all__ = [
    "admits_entry",
    "backtest",
    "empty_trades",
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
def skip_quiet(bars, close_minute, below, above, j, last):
    """Skip bars from ``j`` on at which a position with fixed levels cannot end.

    In whole blocks that lie between the levels, within the session and before ``last``; the
    extremes are all that such bars change. Return the next bar and the extremes.
    """
    day = bars.day[j]
    highest, lowest = -np.inf, np.inf
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


@kernel(allocates=False)
def trade_outcome(bars, atr, signal_risk, rules, contract, i, side):
    """Follow the trade of a signal at bar ``i`` to its end; it depends on nothing else.

    ``atr`` may be empty where nothing is measured in it; ``signal_risk`` is nan where the strategy
    gives none. The exit bar is -1 where the signal is dropped.
    """
    n = len(bars.open)
    none = Outcome(-1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, Reason.stop_loss, ambiguous=False)
    if not admits_entry(bars, rules, i):
        return none
    e = i + 1
    s = float(side)
    slip = contract.slippage_ticks * contract.tick_size
    through = rules.target_through_ticks * contract.tick_size
    denominator = tick_denominator(contract.tick_size) if rules.round_to_tick else 0.0
    entry = bars.open[e] + s * slip
    stop, target = -s * np.inf, s * np.inf
    if rules.stop > 0.0 or rules.target > 0.0:
        signal_atr = atr[i] if len(atr) > 0 else np.nan
        u = unit_size(rules.unit, signal_atr, entry, signal_risk)
        if math.isnan(u):
            return none
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
    first_stop = stop
    trigger = target + s * through
    moved = False
    ambiguous = False
    highest, lowest = -np.inf, np.inf
    j = e
    if rules.trail == 0.0:
        below, above = (stop, trigger) if side > 0 else (trigger, stop)
        last = min(n, e + rules.max_bars) if rules.max_bars > 0 else n
        j, highest, lowest = skip_quiet(bars, rules.close_time, below, above, e, last)
    while True:
        stop_reason = Reason.trailing_stop if moved else Reason.stop_loss
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
            w = unit_size(rules.unit, bar_atr, bars.close[j], signal_risk)
            if not math.isnan(w):
                level = bars.close[j] - s * (rules.trail * w)
                if rules.round_to_tick:
                    level = to_tick(level, side < 0, contract.tick_size, denominator)
                if level > stop if side > 0 else level < stop:
                    stop = level
                    moved = True
        j += 1
    points = exit_price - entry if side > 0 else entry - exit_price
    mae = points if points < 0.0 else 0.0
    mfe = points if points > 0.0 else 0.0
    adverse = lowest - entry if side > 0 else entry - highest
    favourable = highest - entry if side > 0 else entry - lowest
    mae = adverse if adverse < mae else mae
    mfe = favourable if favourable > mfe else mfe
    return Outcome(
        j,
        entry + 0.0,
        exit_price + 0.0,
        first_stop + 0.0,
        target + 0.0,
        mae + 0.0,
        mfe + 0.0,
        reason,
        ambiguous,
    )


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
def simulate(bars, atr, signal_side, risk, rules, contract, first, last, trades):
    """Run through the signals of ``[first, last)``, fill the trades and return their number.

    ``trades`` needs room for every signal in the range.
    """
    count = 0
    equity = contract.initial_capital
    i = next_signal(signal_side, first, last)
    while i < last:
        side = signal_side[i]
        signal_risk = risk[i] if len(risk) > 0 else np.nan
        outcome = trade_outcome(bars, atr, signal_risk, rules, contract, i, side)
        if outcome.exit_bar < 0:
            i = next_signal(signal_side, i + 1, last)
            continue
        settled = settle(outcome, side, contract)
        set_trade(trades, count, i, side, outcome, settled)
        count += 1
        equity += settled.pnl
        if equity <= 0.0:
            break
        i = next_signal(signal_side, outcome.exit_bar, last)
    return count


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
    count = simulate(bars, atr, signal_side, risk, rules, contract, first, last, trades)
    reasons = np.empty(N_REASONS, np.int64)
    sums = accumulate(trades, count, bars.day, contract, settings, first, last, reasons)
    metrics = np.empty(N_METRICS)
    finish(sums, reasons, contract, settings, first, last, metrics)
    return first_trades(trades, count), metrics
