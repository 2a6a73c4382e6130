//! From trades to metrics: semantics section 5. Mirrors `engines/numba_engine/metrics.py`.
//!
//! Passes over the trades and over their days accumulate every sum in trade order; each metric is then
//! a small function of the sums.

use crate::error::{EngineError, EngineResult};
use crate::types::{Contract, N_METRICS, N_REASONS, Range, Settings, Sums, Trades};

/// A variance up to this share of its mean square is rounding and counts as zero.
const NEGLIGIBLE: f64 = 1e-9;

/// Return the sums of trades in order.
pub fn accumulate(
    trades: &Trades,
    day: &[i32],
    contract: &Contract,
    settings: &Settings,
    range: Range,
) -> Sums {
    let rf = settings.risk_free_rate / settings.periods_per_year;
    let days = sum_days(trades, day, contract.initial_capital, rf, &[], &mut []);
    let count = trades.len();
    let mut sums = Sums {
        total: 0.0,
        gain: 0.0,
        loss: 0.0,
        pnl_squares: 0.0,
        day_returns: days.returns,
        day_squares: days.squares,
        downside_squares: days.downside,
        max_drawdown: 0.0,
        max_drawdown_ratio: 0.0,
        best: f64::NEG_INFINITY,
        worst: f64::INFINITY,
        trades: count,
        wins: 0,
        losses: 0,
        longs: 0,
        max_win_streak: 0,
        max_loss_streak: 0,
        bars_held: 0,
        ambiguous: 0,
        days: 0,
        exit_days: days.exit_days,
        ruined: false,
        reasons: [0; N_REASONS],
    };
    let mut equity = contract.initial_capital;
    let mut peak = equity;
    let (mut win_streak, mut loss_streak) = (0, 0);
    for k in 0..count {
        let pnl = trades.pnl[k];
        sums.total += pnl;
        equity += pnl;
        sums.pnl_squares += pnl * pnl;
        if pnl > 0.0 {
            sums.gain += pnl;
            sums.wins += 1;
            win_streak += 1;
            loss_streak = 0;
        } else if pnl < 0.0 {
            sums.loss += pnl;
            sums.losses += 1;
            loss_streak += 1;
            win_streak = 0;
        } else {
            (win_streak, loss_streak) = (0, 0);
        }
        sums.max_win_streak = sums.max_win_streak.max(win_streak);
        sums.max_loss_streak = sums.max_loss_streak.max(loss_streak);
        peak = if equity > peak { equity } else { peak };
        let drawdown = peak - equity;
        let ratio = drawdown / peak;
        sums.max_drawdown = larger(drawdown, sums.max_drawdown);
        sums.max_drawdown_ratio = larger(ratio, sums.max_drawdown_ratio);
        sums.best = larger(pnl, sums.best);
        sums.worst = if pnl < sums.worst { pnl } else { sums.worst };
        sums.longs += usize::from(trades.side[k] > 0);
        sums.bars_held += (trades.exit_bar[k] - trades.entry_bar[k]) as usize;
        sums.ambiguous += usize::from(trades.ambiguous[k]);
        sums.reasons[usize::from(trades.reason[k])] += 1;
    }
    sums.ruined = equity <= 0.0;
    let (first_day, last_day) = (day[range.first], day[range.last - 1]);
    let last_exit = trades.exit_bar.last().map_or(first_day, |bar| day[*bar as usize]);
    sums.days = counted_days(first_day, last_day, last_exit, sums.ruined);
    sums
}

/// Sums over the days on which trades were closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct DaySums {
    /// `S1`: sum of the daily returns.
    pub returns: f64,
    /// `S2`: sum of their squares.
    pub squares: f64,
    /// `D`: sum of the squares of returns below the risk-free one.
    pub downside: f64,
    /// `k`: number of days with an exit.
    pub exit_days: usize,
}

/// Close the days of trades in order; add their returns up over all days and over those of each block.
///
/// `ends` are [`block_ends`], and `blocks` gets `S1` and `S2` of each; both may be empty.
pub fn sum_days(
    trades: &Trades,
    day: &[i32],
    capital: f64,
    rf: f64,
    ends: &[i32],
    blocks: &mut [[f64; 2]],
) -> DaySums {
    let mut sums = DaySums::default();
    let mut equity = capital;
    let (mut k, mut block) = (0, 0);
    while k < trades.len() {
        let exit_day = day[trades.exit_bar[k] as usize];
        let equity_before = equity;
        let mut day_pnl = 0.0;
        while k < trades.len() && day[trades.exit_bar[k] as usize] == exit_day {
            equity += trades.pnl[k];
            day_pnl += trades.pnl[k];
            k += 1;
        }
        let r = day_pnl / equity_before;
        sums.returns += r;
        sums.squares += r * r;
        let x = r - rf;
        if x < 0.0 {
            sums.downside += x * x;
        }
        sums.exit_days += 1;
        if !ends.is_empty() {
            while exit_day >= ends[block] {
                block += 1;
            }
            blocks[block][0] += r;
            blocks[block][1] += r * r;
        }
    }
    sums
}

/// Return how many days count: those of the range, a later one with an exit, none after ruin.
pub fn counted_days(first_day: i32, last_day: i32, last_exit: i32, ruined: bool) -> usize {
    // A range's positions are held one after another: only the last can close behind it.
    let later = usize::from(last_exit > last_day);
    let last = if ruined && later == 0 { last_exit } else { last_day };
    (last - first_day) as usize + 1 + later
}

/// Return the day after each of `n_blocks` runs into which the days of a range are cut.
///
/// Of `D` days, run `b` begins with day `D*b/n_blocks`. The last run takes later days, too: no day is
/// after it.
///
/// # Errors
/// [`EngineError::Value`] if there are more runs than days.
pub fn block_ends(day: &[i32], range: Range, n_blocks: usize) -> EngineResult<Vec<i32>> {
    let (first_day, last_day) = (day[range.first], day[range.last - 1]);
    let n_days = (last_day - first_day) as usize + 1;
    if n_blocks > n_days {
        let allowed = "0, or at most one for each day of a range";
        return Err(EngineError::Value { name: "n_blocks", value: n_blocks as f64, allowed });
    }
    let end = |block| first_day + (n_days * block / n_blocks) as i32;
    let mut ends: Vec<i32> = (1..=n_blocks).map(end).collect();
    if let Some(last) = ends.last_mut() {
        *last = i32::MAX;
    }
    Ok(ends)
}

/// Return the larger of two numbers, the second if they cannot be compared.
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// Return the quotient, nan over zero.
pub fn quotient(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { f64::NAN } else { numerator / denominator }
}

/// Return the sample variance of `n` values from their sums, nan below two values.
///
/// One that is not above [`NEGLIGIBLE`] times the mean square is zero.
pub fn variance(total: f64, squares: f64, n: usize) -> f64 {
    if n < 2 {
        return f64::NAN;
    }
    let count = n as f64;
    let var = (squares - total * total / count) / (count - 1.0);
    if var > NEGLIGIBLE * (squares / count) { var } else { 0.0 }
}

/// Return `(total/n - rf)/sqrt(var)*sqrt(periods_per_year)`.
pub fn sharpe(total: f64, squares: f64, n: usize, rf: f64, periods_per_year: f64) -> f64 {
    let deviation = variance(total, squares, n).sqrt();
    quotient(total / n as f64 - rf, deviation) * periods_per_year.sqrt()
}

/// Return `(total/n - rf)/sqrt((D + (n-k)*m*m)/n)*sqrt(periods_per_year)`, `m = min(-rf, 0)`.
///
/// The `n - exit_days` days without an exit return 0 and miss a positive rate by `m`.
pub fn sortino(
    total: f64,
    downside_squares: f64,
    n: usize,
    exit_days: usize,
    rf: f64,
    periods_per_year: f64,
) -> f64 {
    if n < 1 {
        return f64::NAN;
    }
    let m = if rf > 0.0 { -rf } else { 0.0 };
    let downside = ((downside_squares + (n - exit_days) as f64 * m * m) / n as f64).sqrt();
    quotient(total / n as f64 - rf, downside) * periods_per_year.sqrt()
}

/// Return the system quality number `sqrt(N)*(total/N)/sqrt(var)`.
pub fn sqn(total: f64, squares: f64, n: usize) -> f64 {
    let deviation = variance(total, squares, n).sqrt();
    quotient((n as f64).sqrt() * quotient(total, n as f64), deviation)
}

/// Return gross profit over gross loss, inf with a win and no loss, nan without either.
pub fn profit_factor(gain: f64, loss: f64, wins: usize, losses: usize) -> f64 {
    if losses == 0 {
        return if wins > 0 { f64::INFINITY } else { f64::NAN };
    }
    quotient(gain, 0.0 - loss)
}

/// Return the metrics in the order of `records.METRICS`.
pub fn finish(
    sums: &Sums,
    contract: &Contract,
    settings: &Settings,
    range: Range,
) -> [f64; N_METRICS] {
    let n_trades = sums.trades as f64;
    let periods = settings.periods_per_year;
    let rf = settings.risk_free_rate / periods;
    let total_pct = 100.0 * sums.total / contract.initial_capital;
    let drawdown_pct = 100.0 * sums.max_drawdown_ratio;
    let annual_pct = quotient(total_pct * periods, sums.days as f64);
    let avg_win = quotient(sums.gain, sums.wins as f64);
    let avg_loss = quotient(sums.loss, sums.losses as f64);
    let mut out = [0.0; N_METRICS];
    out[0] = n_trades;
    out[1] = sums.wins as f64;
    out[2] = sums.losses as f64;
    out[3] = sums.longs as f64;
    out[4] = (sums.trades - sums.longs) as f64;
    out[5] = sums.days as f64;
    out[6] = sums.total;
    out[7] = total_pct;
    out[8] = quotient(sums.wins as f64, n_trades);
    out[9] = quotient(sums.total, n_trades);
    out[10] = avg_win;
    out[11] = avg_loss;
    out[12] = sums.gain;
    out[13] = 0.0 - sums.loss;
    out[14] = profit_factor(sums.gain, sums.loss, sums.wins, sums.losses);
    out[15] = quotient(avg_win, 0.0 - avg_loss);
    out[16] = sums.max_win_streak as f64;
    out[17] = sums.max_loss_streak as f64;
    out[18] = if sums.trades > 0 { sums.best } else { f64::NAN };
    out[19] = if sums.trades > 0 { sums.worst } else { f64::NAN };
    out[20] = sums.max_drawdown;
    out[21] = drawdown_pct;
    out[22] = sharpe(sums.day_returns, sums.day_squares, sums.days, rf, periods);
    out[23] =
        sortino(sums.day_returns, sums.downside_squares, sums.days, sums.exit_days, rf, periods);
    out[24] = annual_pct;
    out[25] = quotient(annual_pct, drawdown_pct);
    out[26] = quotient(sums.total, sums.max_drawdown);
    out[27] = sqn(sums.total, sums.pnl_squares, sums.trades);
    out[28] = quotient(sums.bars_held as f64, (range.last - range.first) as f64);
    out[29] = quotient(sums.bars_held as f64, n_trades);
    out[30] = sums.ambiguous as f64;
    for (k, exits) in sums.reasons.iter().enumerate() {
        out[31 + k] = *exits as f64;
    }
    out[31 + N_REASONS] = if sums.ruined { 1.0 } else { 0.0 };
    out.map(canonical)
}

/// Return `S1`, `S2` and the number of days of every block, one after another.
///
/// `sums` gives the first two; `days` of the range count, so that ruin cuts the last blocks short.
pub fn finish_blocks(
    ends: &[i32],
    first_day: i32,
    days: usize,
    sums: impl Fn(usize) -> [f64; 2],
) -> impl Iterator<Item = f64> {
    let mut before = 0;
    ends.iter().enumerate().flat_map(move |(block, end)| {
        let until = days.min((end - first_day) as usize);
        let n = until - before;
        before = until;
        let [returns, squares] = sums(block);
        [canonical(returns), canonical(squares), n as f64]
    })
}

/// Return a number without the bits that tell one nan, or one zero, from another.
fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}
