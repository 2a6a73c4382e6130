//! Metrics of an equity curve, of returns and of trades. Mirrors
//! `engines/numba_engine/series_metrics.py`.
//!
//! Every sum is one chain of additions from left to right, and what becomes of the sums is in
//! [`crate::metrics`]: fed with the same numbers, a function here gives what a run gives. `start`
//! is the equity before the first element of a curve.

use crate::metrics::{self, quotient, sharpe, sortino, variance};

/// Return the equity after each trade.
pub fn equity_from_pnl(pnl: &[f64], start: f64) -> Vec<f64> {
    let mut equity = start;
    let after = |pnl: &f64| {
        equity += pnl;
        equity
    };
    pnl.iter().map(after).collect()
}

/// Return the change of each element as a share of the one before.
pub fn returns_from_equity(equity: &[f64], start: f64) -> Vec<f64> {
    let mut before = start;
    let change = |&now: &f64| {
        let change = (now - before) / before;
        before = now;
        change
    };
    equity.iter().map(change).collect()
}

/// Return how far each element is below the running maximum.
pub fn drawdown_series(equity: &[f64], start: f64) -> Vec<f64> {
    let mut peak = start;
    let drawdown = |&now: &f64| {
        peak = if now > peak { now } else { peak };
        peak - now
    };
    equity.iter().map(drawdown).collect()
}

/// Return how far each element is below the running maximum, in percent of it.
pub fn drawdown_pct_series(equity: &[f64], start: f64) -> Vec<f64> {
    let mut peak = start;
    let drawdown = |&now: &f64| {
        peak = if now > peak { now } else { peak };
        100.0 * ((peak - now) / peak)
    };
    equity.iter().map(drawdown).collect()
}

/// Return the largest fall below the peak.
pub fn max_drawdown(equity: &[f64], start: f64) -> f64 {
    let mut peak = start;
    let mut largest = 0.0;
    for &now in equity {
        peak = if now > peak { now } else { peak };
        let drawdown = peak - now;
        largest = if drawdown > largest { drawdown } else { largest };
    }
    largest
}

/// Return the largest fall below the peak, in percent of the peak.
pub fn max_drawdown_pct(equity: &[f64], start: f64) -> f64 {
    let mut peak = start;
    let mut largest = 0.0;
    for &now in equity {
        peak = if now > peak { now } else { peak };
        let ratio = (peak - now) / peak;
        largest = if ratio > largest { ratio } else { largest };
    }
    100.0 * largest
}

/// Return the change of the whole curve in percent of the start, per year, not compounded.
pub fn annual_return_pct(equity: &[f64], start: f64, periods_per_year: f64) -> f64 {
    let total = equity.last().map_or(0.0, |last| last - start);
    quotient(100.0 * total / start * periods_per_year, equity.len() as f64)
}

/// Return the annual return over the largest drawdown, both in percent.
pub fn calmar_ratio(equity: &[f64], start: f64, periods_per_year: f64) -> f64 {
    let annual_pct = annual_return_pct(equity, start, periods_per_year);
    quotient(annual_pct, max_drawdown_pct(equity, start))
}

/// Return the standard deviation of the returns, annualised.
pub fn volatility(returns: &[f64], periods_per_year: f64) -> f64 {
    let (total, squares) = sums_of(returns);
    variance(total, squares, returns.len()).sqrt() * periods_per_year.sqrt()
}

/// Return the mean excess return over the standard deviation, annualised.
pub fn sharpe_ratio(returns: &[f64], rf: f64, periods_per_year: f64) -> f64 {
    if returns.len() < 2 {
        return f64::NAN;
    }
    let (total, squares) = sums_of(returns);
    sharpe(total, squares, returns.len(), rf, periods_per_year)
}

/// Return the mean excess return over the downside deviation of all periods, annualised.
///
/// A return that is not below `rf` adds 0.0: a branch would be mispredicted half of the time.
pub fn sortino_ratio(returns: &[f64], rf: f64, periods_per_year: f64) -> f64 {
    let n = returns.len();
    let (mut total, mut downside_squares) = (0.0, 0.0);
    for &r in returns {
        total += r;
        let x = r - rf;
        downside_squares += if x < 0.0 { x * x } else { 0.0 };
    }
    sortino(total, downside_squares, n, n, rf, periods_per_year)
}

/// Return the sum and the sum of squares.
fn sums_of(values: &[f64]) -> (f64, f64) {
    let (mut total, mut squares) = (0.0, 0.0);
    for &value in values {
        total += value;
        squares += value * value;
    }
    (total, squares)
}

/// Return the sum of the wins, the sum of the losses, and how many there are of each.
fn sides_of(pnl: &[f64]) -> (f64, f64, usize, usize) {
    let (mut gain, mut loss) = (0.0, 0.0);
    let (mut wins, mut losses) = (0, 0);
    for &value in pnl {
        gain += if value > 0.0 { value } else { 0.0 };
        loss += if value < 0.0 { value } else { 0.0 };
        wins += usize::from(value > 0.0);
        losses += usize::from(value < 0.0);
    }
    (gain, loss, wins, losses)
}

/// Return the share of the trades that win.
pub fn win_rate(pnl: &[f64]) -> f64 {
    let wins = sides_of(pnl).2;
    quotient(wins as f64, pnl.len() as f64)
}

/// Return the mean result of a trade.
pub fn expectancy(pnl: &[f64]) -> f64 {
    quotient(sums_of(pnl).0, pnl.len() as f64)
}

/// Return the mean of the wins.
pub fn avg_win(pnl: &[f64]) -> f64 {
    let (gain, _, wins, _) = sides_of(pnl);
    quotient(gain, wins as f64)
}

/// Return the mean of the losses, negative.
pub fn avg_loss(pnl: &[f64]) -> f64 {
    let (_, loss, _, losses) = sides_of(pnl);
    quotient(loss, losses as f64)
}

/// Return gross profit over gross loss, inf with a win and no loss.
pub fn profit_factor(pnl: &[f64]) -> f64 {
    let (gain, loss, wins, losses) = sides_of(pnl);
    metrics::profit_factor(gain, loss, wins, losses)
}

/// Return the mean win over the mean loss.
pub fn payoff_ratio(pnl: &[f64]) -> f64 {
    let (gain, loss, wins, losses) = sides_of(pnl);
    quotient(quotient(gain, wins as f64), 0.0 - quotient(loss, losses as f64))
}

/// Return the system quality number.
pub fn sqn(pnl: &[f64]) -> f64 {
    let (total, squares) = sums_of(pnl);
    metrics::sqn(total, squares, pnl.len())
}

/// Return the sum of the results over the largest drawdown of the equity they make.
pub fn recovery_factor(pnl: &[f64], start: f64) -> f64 {
    quotient(sums_of(pnl).0, max_drawdown(&equity_from_pnl(pnl, start), start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETURNS: [f64; 8] = [0.01, -0.02, 0.03, -0.005, 0.0, 0.015, -0.01, 0.02];

    #[test]
    fn ratios_are_those_of_empyrical() {
        assert!((sharpe_ratio(&RETURNS, 0.0, 252.0) - 4.755_563_543_407_302).abs() < 1e-12);
        assert!((sortino_ratio(&RETURNS, 0.0, 252.0) - 9.797_958_971_132_712).abs() < 1e-12);
    }

    #[test]
    fn the_start_counts() {
        assert_eq!(drawdown_series(&[90.0, 95.0, 120.0, 60.0], 100.0), [10.0, 5.0, 0.0, 60.0]);
        assert_eq!(drawdown_pct_series(&[90.0, 120.0, 60.0], 100.0), [10.0, 0.0, 50.0]);
        assert_eq!(max_drawdown(&[90.0, 95.0], 100.0), 10.0);
        assert_eq!(max_drawdown_pct(&[90.0, 95.0], 100.0), 10.0);
        assert_eq!(returns_from_equity(&[110.0, 55.0], 100.0), [0.1, -0.5]);
        assert_eq!(equity_from_pnl(&[1.0, -2.0], 10.0), [11.0, 9.0]);
    }

    #[test]
    fn trades_are_counted_by_sign() {
        let pnl = [30.0, -10.0, 0.0, -20.0];
        assert_eq!(win_rate(&pnl), 0.25);
        assert_eq!(expectancy(&pnl), 0.0);
        assert_eq!((avg_win(&pnl), avg_loss(&pnl)), (30.0, -15.0));
        assert_eq!((profit_factor(&pnl), payoff_ratio(&pnl)), (1.0, 2.0));
        assert_eq!(recovery_factor(&[10.0, -5.0, 10.0], 100.0), 3.0);
        assert_eq!(profit_factor(&[1.0]), f64::INFINITY);
    }

    #[test]
    fn what_is_undefined_is_nan() {
        for metric in [win_rate, expectancy, avg_win, avg_loss, profit_factor, payoff_ratio, sqn] {
            assert!(metric(&[]).is_nan());
        }
        assert!(sharpe_ratio(&[0.01; 50], 0.0, 252.0).is_nan());
        assert!(sortino_ratio(&[0.01, 0.02], 0.0, 252.0).is_nan());
        assert!(volatility(&[0.01], 252.0).is_nan());
        assert!(calmar_ratio(&[110.0], 100.0, 252.0).is_nan());
        assert!(annual_return_pct(&[], 100.0, 252.0).is_nan());
        assert!(recovery_factor(&[1.0], 100.0).is_nan());
    }
}
