//! From signals to trades: semantics section 4. Mirrors `engines/numba_engine/backtest_engine.py`.
//!
//! Every formula is written once for both sides: `s` is +1.0 for a long and -1.0 for a short, and a
//! product with it is exact.

use crate::contract::{Contract, settle};
use crate::metrics::{N_METRICS, days_of, measure};
use crate::types::{
    Bars, Course, Intrabar, MetricSettings, Outcome, Position, Range, Reason, Rules, SignalColumns,
    Trades, Unit,
};

/// Return `m` where tick `k` costs `k/m`, or 0.0 where it costs `k*tick_size`.
pub fn tick_denominator(tick_size: f64) -> f64 {
    let m = (1.0 / tick_size).round_ties_even();
    if m >= 1.0 && 1.0 / m == tick_size { m } else { 0.0 }
}

/// Round a finite price up or down to the tick grid; other prices stay as they are.
pub fn to_tick(price: f64, up: bool, tick_size: f64, denominator: f64) -> f64 {
    if !price.is_finite() {
        return price;
    }
    let k = if up { (price / tick_size - 1e-9).ceil() } else { (price / tick_size + 1e-9).floor() };
    if denominator > 0.0 { k / denominator } else { k * tick_size }
}

/// Return how many points one unit is: `u` and `w` of the semantics.
#[inline(always)]
fn unit_size(unit: Unit, atr: f64, reference_price: f64, risk: f64) -> f64 {
    match unit {
        Unit::Atr => atr,
        Unit::Points => 1.0,
        Unit::Percent => reference_price.abs() / 100.0,
        Unit::Strategy => risk,
    }
}

/// Tell whether a signal at bar `i` may be acted on at bar `i + 1`.
#[inline(always)]
pub fn admits_entry(bars: &Bars<'_>, rules: &Rules, i: usize) -> bool {
    let e = i + 1;
    if e >= bars.len() {
        return false;
    }
    rules.close_time < 0 || (bars.day[e] == bars.day[i] && bars.minute[e] < rules.close_time)
}

/// Bars that are skipped together; trades are short.
const QUIET: usize = 4;

/// Skip bars from `j` on at which a position with fixed levels cannot end.
///
/// In whole blocks that lie between the levels, within the session and before `last`; the extremes
/// are all that such bars change. Return the next bar and the extremes.
#[inline(always)]
fn skip_quiet(
    bars: &Bars<'_>,
    close_minute: i32,
    (below, above): (f64, f64),
    mut j: usize,
    last: usize,
    (mut highest, mut lowest): (f64, f64),
) -> (usize, f64, f64) {
    let day = bars.day[j];
    while j + QUIET < last {
        let (mut top, mut bottom, mut late) = (highest, lowest, false);
        for k in j..j + QUIET {
            let (high, low) = (bars.high[k], bars.low[k]);
            top = if high > top { high } else { top };
            bottom = if low < bottom { low } else { bottom };
            late |= bars.minute[k] >= close_minute;
        }
        let over = close_minute >= 0 && (late || bars.day[j + QUIET] != day);
        if bottom <= below || top >= above || over {
            break;
        }
        (highest, lowest) = (top, bottom);
        j += QUIET;
    }
    (j, highest, lowest)
}

/// No position: its side is 0.
fn flat() -> Position {
    Position {
        entry_bar: 0,
        next_bar: 0,
        side: 0,
        risk: f64::NAN,
        entry_price: 0.0,
        stop_price: 0.0,
        target_price: 0.0,
        stop: 0.0,
        highest: f64::NEG_INFINITY,
        lowest: f64::INFINITY,
        moved: false,
    }
}

/// Return the position of a signal at bar `i`, entered at the next bar's open.
///
/// `atr` may be empty where nothing is measured in it; `signal_risk` is nan where the strategy gives
/// none. The position is flat where the signal is dropped.
#[inline(always)]
fn enter(
    bars: &Bars<'_>,
    atr: &[f64],
    signal_risk: f64,
    rules: &Rules,
    contract: &Contract,
    i: usize,
    side: i8,
) -> Position {
    if !admits_entry(bars, rules, i) {
        return flat();
    }
    let e = i + 1;
    let long = side > 0;
    let s = f64::from(side);
    let slip = contract.slippage_ticks * contract.tick_size;
    let denominator = if rules.round_to_tick { tick_denominator(contract.tick_size) } else { 0.0 };
    let entry = bars.open[e] + s * slip;
    let (mut stop, mut target) = (-s * f64::INFINITY, s * f64::INFINITY);
    if rules.stop > 0.0 || rules.target > 0.0 {
        let signal_atr = atr.get(i).copied().unwrap_or(f64::NAN);
        let u = unit_size(rules.unit, signal_atr, entry, signal_risk);
        if u.is_nan() {
            return flat();
        }
        let distance = rules.stop * u;
        if rules.stop > 0.0 {
            stop = entry - s * distance;
        }
        if rules.target > 0.0 {
            target = entry + s * (rules.target * u);
        } else if rules.target_r > 0.0 {
            target = entry + s * (rules.target_r * distance);
        }
        if rules.round_to_tick {
            stop = to_tick(stop, !long, contract.tick_size, denominator);
            target = to_tick(target, long, contract.tick_size, denominator);
        }
    }
    Position {
        entry_bar: e as i64,
        next_bar: e as i64,
        side,
        risk: signal_risk,
        entry_price: entry,
        stop_price: stop,
        target_price: target,
        stop,
        ..flat()
    }
}

/// Follow a position to its end; it depends on nothing else.
///
/// Where no bar before `until` ends it there is no outcome, and the position goes on from there.
/// `until` is the number of bars, or one less where others follow: what ends a day, and what ends the
/// data, is known of a bar by the next one. Every bar from `position.next_bar` on is at hand.
#[inline(always)]
fn hold(
    bars: &Bars<'_>,
    atr: &[f64],
    rules: &Rules,
    contract: &Contract,
    position: &mut Position,
    until: usize,
) -> Option<Outcome> {
    let n = bars.len();
    let Position { entry_bar, side, risk, entry_price: entry, target_price: target, .. } =
        *position;
    let long = side > 0;
    let s = f64::from(side);
    let slip = contract.slippage_ticks * contract.tick_size;
    let through = rules.target_through_ticks * contract.tick_size;
    let denominator = if rules.round_to_tick { tick_denominator(contract.tick_size) } else { 0.0 };
    let (mut stop, mut moved) = (position.stop, position.moved);
    let trigger = target + s * through;
    let mut ambiguous = false;
    let (mut highest, mut lowest) = (position.highest, position.lowest);
    let mut j = position.next_bar as usize;
    let end = if rules.max_bars > 0 { entry_bar.saturating_add(rules.max_bars as i64) } else { -1 };
    if rules.trail == 0.0 && j < until {
        let levels = if long { (stop, trigger) } else { (trigger, stop) };
        let last = if rules.max_bars > 0 { until.min(end as usize) } else { until };
        let extremes = (highest, lowest);
        (j, highest, lowest) = skip_quiet(bars, rules.close_time, levels, j, last, extremes);
    }
    let (exit_price, reason) = loop {
        if j >= until {
            *position = Position { next_bar: j as i64, stop, highest, lowest, moved, ..*position };
            return None;
        }
        let stop_reason = if moved { Reason::TrailingStop } else { Reason::StopLoss };
        if j as i64 > entry_bar {
            let price = bars.open[j];
            if rules.close_time >= 0 && bars.minute[j] >= rules.close_time {
                break (price - s * slip, Reason::SessionClose);
            }
            if rules.max_bars > 0 && j as i64 == end {
                break (price - s * slip, Reason::MaxBars);
            }
            if if long { price <= stop } else { price >= stop } {
                break (price - s * slip, stop_reason);
            }
            if if long { price >= trigger } else { price <= trigger } {
                break (price, Reason::TakeProfit);
            }
        }
        let (high, low) = (bars.high[j], bars.low[j]);
        let hit_stop = if long { low <= stop } else { high >= stop };
        let hit_target = if long { high >= trigger } else { low <= trigger };
        if hit_stop || hit_target {
            ambiguous = hit_stop && hit_target;
            if hit_target && (!hit_stop || rules.intrabar == Intrabar::TargetFirst) {
                break (target, Reason::TakeProfit);
            }
            break (stop - s * slip, stop_reason);
        }
        highest = if high > highest { high } else { highest };
        lowest = if low < lowest { low } else { lowest };
        if j == n - 1 {
            break (bars.close[j] - s * slip, Reason::EndOfData);
        }
        if rules.close_time >= 0 && bars.day[j + 1] != bars.day[j] {
            break (bars.close[j] - s * slip, Reason::SessionEnd);
        }
        if rules.trail > 0.0 {
            let bar_atr = atr.get(j).copied().unwrap_or(f64::NAN);
            let w = unit_size(rules.unit, bar_atr, bars.close[j], risk);
            if !w.is_nan() {
                let mut level = bars.close[j] - s * (rules.trail * w);
                if rules.round_to_tick {
                    level = to_tick(level, !long, contract.tick_size, denominator);
                }
                if if long { level > stop } else { level < stop } {
                    stop = level;
                    moved = true;
                }
            }
        }
        j += 1;
    };
    #[cfg(feature = "planted-difference")]
    let exit_price =
        if j.is_multiple_of(101) { exit_price + contract.tick_size } else { exit_price };
    let points = if long { exit_price - entry } else { entry - exit_price };
    let mut mae = if points < 0.0 { points } else { 0.0 };
    let mut mfe = if points > 0.0 { points } else { 0.0 };
    let adverse = if long { lowest - entry } else { entry - highest };
    let favourable = if long { highest - entry } else { entry - lowest };
    mae = if adverse < mae { adverse } else { mae };
    mfe = if favourable > mfe { favourable } else { mfe };
    Some(Outcome {
        exit_bar: j,
        entry_price: entry + 0.0,
        exit_price: exit_price + 0.0,
        stop_price: position.stop_price + 0.0,
        target_price: target + 0.0,
        mae: mae + 0.0,
        mfe: mfe + 0.0,
        reason,
        ambiguous,
    })
}

/// Follow the trade of a signal at bar `i` to its end: [`enter`], then [`hold`].
///
/// There is no outcome where the signal is dropped.
pub fn trade_outcome(
    bars: &Bars<'_>,
    atr: &[f64],
    signal_risk: f64,
    rules: &Rules,
    contract: &Contract,
    i: usize,
    side: i8,
) -> Option<Outcome> {
    let mut position = enter(bars, atr, signal_risk, rules, contract, i, side);
    if position.side == 0 {
        return None;
    }
    hold(bars, atr, rules, contract, &mut position, bars.len())
}

/// Return the first signal of `[from, last)`, or `last`; blocks without any are skipped whole.
fn next_signal(side: &[i8], from: usize, last: usize) -> usize {
    const BLOCK: usize = 64;
    let mut i = from;
    while i + BLOCK <= last && side[i..i + BLOCK].iter().fold(0, |any, sign| any | sign) == 0 {
        i += BLOCK;
    }
    while i < last && side[i] == 0 {
        i += 1;
    }
    i
}

/// Where a backtest stands before its first bar.
pub fn begin(contract: &Contract, first: usize) -> Course {
    Course { equity: contract.initial_capital, next_bar: first as i64, position: flat() }
}

/// Go on from a course through the signals before `last`, and append the trades that end.
///
/// The course is then that at bar `until`, which is as in [`hold`].
#[allow(clippy::too_many_arguments)]
pub fn simulate(
    bars: &Bars<'_>,
    atr: &[f64],
    signals: SignalColumns<'_>,
    rules: &Rules,
    contract: &Contract,
    (last, until): (usize, usize),
    course: &mut Course,
    trades: &mut Trades,
) {
    let Course { mut equity, next_bar, mut position } = *course;
    let mut i = next_bar;
    let stop = last.min(until);
    loop {
        if equity <= 0.0 {
            break;
        }
        if position.side == 0 {
            if i >= stop as i64 {
                break;
            }
            let signal = next_signal(signals.side, i as usize, stop);
            i = signal as i64;
            if signal >= stop {
                break;
            }
            let risk = signals.risk.get(signal).copied().unwrap_or(f64::NAN);
            let side = signals.side[signal];
            position = enter(bars, atr, risk, rules, contract, signal, side);
            if position.side == 0 {
                i += 1;
                continue;
            }
        }
        let Some(outcome) = hold(bars, atr, rules, contract, &mut position, until) else { break };
        let side = position.side;
        let settled = settle(&outcome, side, contract);
        trades.push(position.entry_bar - 1, side, &outcome, &settled);
        equity += settled.pnl;
        i = outcome.exit_bar as i64;
        position = flat();
    }
    *course = Course { equity, next_bar: i, position };
}

/// A whole backtest.
#[derive(Clone, Debug)]
pub struct Backtest {
    /// The trades.
    pub trades: Trades,
    /// The metrics in the order of the catalogue.
    pub metrics: [f64; N_METRICS],
}

/// Simulate the signals of the range; return the trades and the metrics.
pub fn backtest(
    bars: &Bars<'_>,
    atr: &[f64],
    signals: SignalColumns<'_>,
    rules: &Rules,
    contract: &Contract,
    settings: &MetricSettings,
    range: Range,
) -> Backtest {
    let mut trades = Trades::default();
    let mut course = begin(contract, range.first);
    let ends = (range.last, bars.len());
    simulate(bars, atr, signals, rules, contract, ends, &mut course, &mut trades);
    let exit_day = days_of(&trades.exit_bar, bars.day);
    let span = (bars.day[range.first], bars.day[range.last - 1]);
    let n_bars = range.last - range.first;
    let metrics = measure(&trades, &exit_day, contract, settings, span, n_bars);
    Backtest { trades, metrics }
}
