//! From trades to metrics: semantics section 5. Mirrors `engines/numba_engine/metrics.py`.
//!
//! One pass accumulates every sum in trade order; each metric is then a small function of the sums.

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
    let count = trades.len();
    let mut sums = Sums {
        total: 0.0,
        gain: 0.0,
        loss: 0.0,
        pnl_squares: 0.0,
        day_returns: 0.0,
        day_squares: 0.0,
        downside_squares: 0.0,
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
        exit_days: 0,
        ruined: false,
        reasons: [0; N_REASONS],
    };
    let mut equity = contract.initial_capital;
    let mut equity_before = equity;
    let mut peak = equity;
    let mut day_pnl = 0.0;
    let (mut win_streak, mut loss_streak) = (0, 0);
    let mut later_days = 0;
    let (first_day, last_day) = (day[range.first], day[range.last - 1]);
    let mut previous_day = i32::MIN;
    for k in 0..count {
        let exit_day = day[trades.exit_bar[k] as usize];
        if k > 0 && exit_day > previous_day {
            close_day(&mut sums, day_pnl, equity_before, rf);
            equity_before = equity;
            day_pnl = 0.0;
        }
        if k == 0 || exit_day > previous_day {
            sums.exit_days += 1;
            later_days += usize::from(exit_day > last_day);
        }
        previous_day = exit_day;
        let pnl = trades.pnl[k];
        sums.total += pnl;
        equity += pnl;
        day_pnl += pnl;
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
    if count > 0 {
        close_day(&mut sums, day_pnl, equity_before, rf);
    }
    sums.ruined = equity <= 0.0;
    sums.days = (last_day - first_day) as usize + 1 + later_days;
    if sums.ruined && later_days == 0 {
        sums.days = (previous_day - first_day) as usize + 1;
    }
    sums
}

/// Add the return of a day on which trades were closed.
fn close_day(sums: &mut Sums, day_pnl: f64, equity_before: f64, rf: f64) {
    let r = day_pnl / equity_before;
    sums.day_returns += r;
    sums.day_squares += r * r;
    let x = r - rf;
    if x < 0.0 {
        sums.downside_squares += x * x;
    }
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
    for value in &mut out {
        *value = if value.is_nan() { f64::NAN } else { *value + 0.0 };
    }
    out
}
