//! From trades to metrics: semantics section 5. Mirrors `engines/numba_engine/metrics.py`.
//!
//! Passes over the trades and over their days accumulate every sum in trade order; each metric is then
//! a small function of the sums.

use crate::contract::Contract;
use crate::error::{EngineError, EngineResult};
use crate::simd::Number;
use crate::types::{MetricSettings, N_REASONS, Range, Reason, Trades};

/// A variance up to this share of its mean square is rounding and counts as zero.
const NEGLIGIBLE: f64 = 1e-9;

/// Declare the metrics in the order of `metrics/catalogue.py`, those of exits between two parts.
macro_rules! metrics {
    ([$($name:ident,)*] exits [$($last:ident,)*]) => {
        /// The metrics by name; one that is not set is an error of the compiler.
        struct Metrics {
            $($name: f64,)*
            exits: [f64; N_REASONS],
            $($last: f64,)*
        }

        /// Number of metrics.
        pub const N_METRICS: usize =
            [$(stringify!($name),)* $(stringify!($last),)*].len() + N_REASONS;

        /// Return the names of the metrics in order.
        pub fn names() -> Vec<String> {
            let mut names: Vec<String> = vec![$(stringify!($name).to_string(),)*];
            names.extend(Reason::NAMES.iter().map(|reason| format!("exits_{reason}")));
            names.extend([$(stringify!($last).to_string(),)*]);
            names
        }

        impl Metrics {
            fn to_array(&self) -> [f64; N_METRICS] {
                let (before, after) = ([$(self.$name,)*], [$(self.$last,)*]);
                let mut values = [0.0; N_METRICS];
                let (first, rest) = values.split_at_mut(before.len());
                let (middle, last) = rest.split_at_mut(N_REASONS);
                first.copy_from_slice(&before);
                middle.copy_from_slice(&self.exits);
                last.copy_from_slice(&after);
                values.map(canonical)
            }
        }
    };
}

metrics! {
    [
        total_trades,
        winning_trades,
        losing_trades,
        long_trades,
        short_trades,
        days,
        total_return,
        total_return_pct,
        win_rate,
        expectancy,
        avg_win,
        avg_loss,
        gross_profit,
        gross_loss,
        profit_factor,
        payoff_ratio,
        max_consecutive_wins,
        max_consecutive_losses,
        best_trade,
        worst_trade,
        max_drawdown,
        max_drawdown_pct,
        sharpe,
        sortino,
        annual_return_pct,
        calmar,
        recovery_factor,
        sqn,
        exposure,
        avg_bars_held,
        ambiguous_trades,
    ]
    exits
    [
        ruined,
    ]
}

/// Declare sums that a run and the eight lanes of a sweep add up alike: each is a number, or one for
/// each lane.
macro_rules! sums {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$field_doc:meta])* $field:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<T> {
            $($(#[$field_doc])* pub $field: T,)*
        }

        impl<T: Copy> $name<T> {
            /// The sums of nothing; `zero` is 0.0, or that for each lane.
            #[inline(always)]
            pub fn new(zero: T) -> Self {
                Self { $($field: zero,)* }
            }

            /// What becomes of each sum.
            #[inline(always)]
            pub fn map<U>(&self, f: impl Fn(T) -> U) -> $name<U> {
                $name { $($field: f(self.$field),)* }
            }
        }
    };
}

pub(crate) use sums;

sums! {
    /// Sums over the pnl of trades.
    pub struct PnlSums {
        /// Sum of the pnl.
        total,
        /// `P2`: sum of its squares.
        squares,
    }
}

impl<T: Number> PnlSums<T> {
    /// Add a trade; a lane that takes none adds 0.0, which changes no bit.
    #[inline(always)]
    pub fn add(&mut self, pnl: T) {
        self.total = self.total.plus(pnl);
        self.squares = self.squares.plus(pnl.times(pnl));
    }
}

sums! {
    /// Sums over the days on which trades were closed.
    pub struct DaySums {
        /// `S1`: sum of the daily returns.
        returns,
        /// `S2`: sum of their squares.
        squares,
        /// `D`: sum of the squares of returns below the risk-free one.
        downside,
        /// `k`: number of days with an exit.
        exit_days,
    }
}

impl<T: Number> DaySums<T> {
    /// Add the return of a day; `below_squared` is that of `r - rf`, 0.0 unless below 0.
    ///
    /// A lane that closes no day adds 0.0 to each sum.
    #[inline(always)]
    pub fn add(&mut self, r: T, below_squared: T, one: T) {
        self.returns = self.returns.plus(r);
        self.squares = self.squares.plus(r.times(r));
        self.downside = self.downside.plus(below_squared);
        self.exit_days = self.exit_days.plus(one);
    }
}

/// What one pass over the trades accumulates: semantics section 5.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// Sums over the pnl of trades.
    pub of_pnl: PnlSums<f64>,
    /// Sums over the days on which trades were closed.
    pub of_days: DaySums<f64>,
    /// Sum of the positive pnl.
    pub gain: f64,
    /// Sum of the negative pnl.
    pub loss: f64,
    /// Largest fall of the equity below its peak.
    pub max_drawdown: f64,
    /// Largest fall as a share of the peak.
    pub max_drawdown_ratio: f64,
    /// Largest pnl.
    pub best: f64,
    /// Smallest pnl.
    pub worst: f64,
    /// Number of trades.
    pub trades: usize,
    /// Number of trades with a positive pnl.
    pub wins: usize,
    /// Number of trades with a negative pnl.
    pub losses: usize,
    /// Number of long trades.
    pub longs: usize,
    /// Longest run of wins.
    pub max_win_streak: usize,
    /// Longest run of losses.
    pub max_loss_streak: usize,
    /// Bars held in all.
    pub bars_held: usize,
    /// Number of ambiguous trades.
    pub ambiguous: usize,
    /// `n`: number of days.
    pub days: usize,
    /// Whether the account was ruined.
    pub ruined: bool,
    /// Number of exits by reason.
    pub reasons: [usize; N_REASONS],
}

/// Return the day of each exit, from the day of every bar.
pub fn days_of(exit_bar: &[i64], day: &[i32]) -> Vec<i32> {
    exit_bar.iter().map(|bar| day[*bar as usize]).collect()
}

/// Return the metrics of trades, see [`accumulate`]; `n_bars` is the number of bars in the range.
pub fn measure(
    trades: &Trades,
    exit_day: &[i32],
    contract: &Contract,
    settings: &MetricSettings,
    span: (i32, i32),
    n_bars: usize,
) -> [f64; N_METRICS] {
    let sums = accumulate(trades, exit_day, contract, settings, span);
    finish(&sums, contract, settings, n_bars)
}

/// Return the sums of trades in order.
///
/// `exit_day` has the day of each exit, and `span` the first and the last day of the range.
pub fn accumulate(
    trades: &Trades,
    exit_day: &[i32],
    contract: &Contract,
    settings: &MetricSettings,
    span: (i32, i32),
) -> Sums {
    let rf = settings.risk_free_rate / settings.periods_per_year;
    let count = trades.len();
    let mut sums = Sums {
        of_pnl: PnlSums::new(0.0),
        of_days: sum_days(trades, exit_day, contract.initial_capital, rf, &[], &mut []),
        gain: 0.0,
        loss: 0.0,
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
        ruined: false,
        reasons: [0; N_REASONS],
    };
    let mut equity = contract.initial_capital;
    let mut peak = equity;
    let (mut win_streak, mut loss_streak) = (0, 0);
    for k in 0..count {
        let pnl = trades.pnl[k];
        sums.of_pnl.add(pnl);
        equity += pnl;
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
    let (first_day, last_day) = span;
    let last_exit = exit_day.last().copied().unwrap_or(last_day);
    sums.days = counted_days(first_day, last_day, last_exit, sums.ruined);
    sums
}

/// Close the days of trades in order; add their returns up over all days and over those of each block.
///
/// `ends` are [`block_ends`], and `blocks` gets `S1` and `S2` of each; both may be empty.
pub fn sum_days(
    trades: &Trades,
    exit_day: &[i32],
    capital: f64,
    rf: f64,
    ends: &[i32],
    blocks: &mut [[f64; 2]],
) -> DaySums<f64> {
    let mut sums = DaySums::new(0.0);
    let mut equity = capital;
    let (mut k, mut block) = (0, 0);
    while k < trades.len() {
        let day = exit_day[k];
        let equity_before = equity;
        let mut day_pnl = 0.0;
        while k < trades.len() && exit_day[k] == day {
            equity += trades.pnl[k];
            day_pnl += trades.pnl[k];
            k += 1;
        }
        let r = day_pnl / equity_before;
        let x = r - rf;
        sums.add(r, if x < 0.0 { x * x } else { 0.0 }, 1.0);
        if !ends.is_empty() {
            while day >= ends[block] {
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

/// Return the metrics in the order of the catalogue.
pub fn finish(
    sums: &Sums,
    contract: &Contract,
    settings: &MetricSettings,
    n_bars: usize,
) -> [f64; N_METRICS] {
    let n_trades = sums.trades as f64;
    let periods = settings.periods_per_year;
    let rf = settings.risk_free_rate / periods;
    let (of_pnl, of_days) = (&sums.of_pnl, &sums.of_days);
    let total_pct = 100.0 * of_pnl.total / contract.initial_capital;
    let drawdown_pct = 100.0 * sums.max_drawdown_ratio;
    let annual_pct = quotient(total_pct * periods, sums.days as f64);
    let avg_win = quotient(sums.gain, sums.wins as f64);
    let avg_loss = quotient(sums.loss, sums.losses as f64);
    Metrics {
        total_trades: n_trades,
        winning_trades: sums.wins as f64,
        losing_trades: sums.losses as f64,
        long_trades: sums.longs as f64,
        short_trades: (sums.trades - sums.longs) as f64,
        days: sums.days as f64,
        total_return: of_pnl.total,
        total_return_pct: total_pct,
        win_rate: quotient(sums.wins as f64, n_trades),
        expectancy: quotient(of_pnl.total, n_trades),
        avg_win,
        avg_loss,
        gross_profit: sums.gain,
        gross_loss: 0.0 - sums.loss,
        profit_factor: profit_factor(sums.gain, sums.loss, sums.wins, sums.losses),
        payoff_ratio: quotient(avg_win, 0.0 - avg_loss),
        max_consecutive_wins: sums.max_win_streak as f64,
        max_consecutive_losses: sums.max_loss_streak as f64,
        best_trade: if sums.trades > 0 { sums.best } else { f64::NAN },
        worst_trade: if sums.trades > 0 { sums.worst } else { f64::NAN },
        max_drawdown: sums.max_drawdown,
        max_drawdown_pct: drawdown_pct,
        sharpe: sharpe(of_days.returns, of_days.squares, sums.days, rf, periods),
        sortino: sortino(
            of_days.returns,
            of_days.downside,
            sums.days,
            of_days.exit_days as usize,
            rf,
            periods,
        ),
        annual_return_pct: annual_pct,
        calmar: quotient(annual_pct, drawdown_pct),
        recovery_factor: quotient(of_pnl.total, sums.max_drawdown),
        sqn: sqn(of_pnl.total, of_pnl.squares, sums.trades),
        exposure: quotient(sums.bars_held as f64, n_bars as f64),
        avg_bars_held: quotient(sums.bars_held as f64, n_trades),
        ambiguous_trades: sums.ambiguous as f64,
        exits: sums.reasons.map(|exits| exits as f64),
        ruined: if sums.ruined { 1.0 } else { 0.0 },
    }
    .to_array()
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
