//! What the engine is given and gives back. Mirrors `rules.py`, `engines/layouts.py` and
//! `engines/numba_engine/types.py`.

use crate::error::{EngineError, EngineResult};
use crate::schema::{choices, settings};

/// Version of the contract in docs/semantics.md that every number follows.
pub const SEMANTICS_VERSION: i64 = 1;

/// The columns of bars, borrowed, each with one element per bar.
#[derive(Clone, Copy, Debug)]
pub struct Bars<'a> {
    /// Price of the first trade.
    pub open: &'a [f64],
    /// Highest price.
    pub high: &'a [f64],
    /// Lowest price.
    pub low: &'a [f64],
    /// Price of the last trade.
    pub close: &'a [f64],
    /// Traded volume.
    pub volume: &'a [f64],
    /// Minute of the day on the session's clock.
    pub minute: &'a [i32],
    /// Number of the trading day.
    pub day: &'a [i32],
}

impl Bars<'_> {
    /// Number of bars.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is no bar.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Check that there is a bar, and that all columns are equally long.
    ///
    /// # Errors
    /// [`EngineError::NoBars`] or [`EngineError::Length`].
    pub fn check(&self) -> EngineResult<()> {
        let n = self.len();
        if n == 0 {
            return Err(EngineError::NoBars);
        }
        check_length("high", self.high, n)?;
        check_length("low", self.low, n)?;
        check_length("close", self.close, n)?;
        check_length("volume", self.volume, n)?;
        check_length("minute", self.minute, n)?;
        check_length("day", self.day, n)
    }
}

/// Check that a column has one element per bar.
///
/// # Errors
/// [`EngineError::Length`].
pub fn check_length<T>(name: &'static str, column: &[T], n_bars: usize) -> EngineResult<()> {
    if column.len() == n_bars {
        return Ok(());
    }
    Err(EngineError::Length { name, expected: n_bars, found: column.len() })
}

/// What a strategy says of every bar, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct SignalColumns<'a> {
    /// 1 to go long, -1 to go short, 0 for nothing.
    pub side: &'a [i8],
    /// Risk in points, nan where undefined; empty if the strategy gives none.
    pub risk: &'a [f64],
}

impl SignalColumns<'_> {
    /// Check that every side is one: strategies of the engine set no other, own signals may.
    ///
    /// # Errors
    /// [`EngineError::Value`].
    pub fn check(&self) -> EngineResult<()> {
        let largest =
            self.side.iter().fold(0, |largest: u8, side| largest.max(side.unsigned_abs()));
        if largest <= 1 {
            return Ok(());
        }
        let found = self.side.iter().find(|side| side.unsigned_abs() > 1);
        let value = found.copied().map_or(f64::NAN, f64::from);
        Err(EngineError::Value { name: "side", value, allowed: "-1, 0 or 1" })
    }
}

choices! {
    /// What stops, targets and trails are multiples of.
    pub enum Unit {
        /// The average true range.
        Atr = "atr",
        /// One point.
        Points = "points",
        /// One percent of the price.
        Percent = "percent",
        /// The risk that the strategy gave.
        Strategy = "strategy",
    }
}

choices! {
    /// How the average true range is computed.
    pub enum AtrMethod {
        /// Wilder's average.
        Wilder = "wilder",
        /// The simple mean.
        Sma = "sma",
        /// A column of the bars.
        Column = "column",
    }
}

choices! {
    /// Which exit counts when a bar reaches stop and target.
    pub enum Intrabar {
        /// The stop.
        StopFirst = "stop_first",
        /// The target.
        TargetFirst = "target_first",
    }
}

settings! {
    /// How a position is closed; a distance of 0 is off, and so is a close time of -1.
    pub struct Rules {
        /// Distance of the stop, in units.
        stop: f64,
        /// Distance of the target, in units.
        target: f64,
        /// Distance of the target, in multiples of the stop.
        target_r: f64,
        /// Distance of the trailing stop, in units.
        trail: f64,
        /// What distances are multiples of.
        unit: Unit,
        /// Bars in the average true range.
        atr_period: usize,
        /// How the average true range is computed.
        atr_method: AtrMethod,
        /// Whether stops and targets move to the tick grid.
        round_to_tick: bool,
        /// Ticks that the price must trade beyond a target.
        target_through_ticks: f64,
        /// Minute of the day from which positions are closed.
        close_time: i32,
        /// Bars after which a position is closed, 0 for never.
        max_bars: usize,
        /// Which exit counts when a bar reaches stop and target.
        intrabar: Intrabar,
    }
}

impl Rules {
    /// Check that what the distances are measured in was given.
    ///
    /// # Errors
    /// [`EngineError::Column`].
    pub fn check(&self, atr: &[f64], has_risk: bool) -> EngineResult<()> {
        let column = match self.unit {
            Unit::Atr if atr.is_empty() => "atr",
            Unit::Strategy if !has_risk => "risk",
            _ => return Ok(()),
        };
        if self.stop == 0.0 && self.target == 0.0 && self.trail == 0.0 {
            return Ok(());
        }
        Err(EngineError::Column { unit: Unit::NAMES[self.unit as usize], column })
    }
}

settings! {
    /// Settings of the annualised metrics.
    pub struct MetricSettings {
        /// Annual risk-free return, as a fraction.
        risk_free_rate: f64,
        /// Trading days a year.
        periods_per_year: f64,
    }
}

/// Bars of `[first, last)` whose signals count.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// First bar.
    pub first: usize,
    /// Bar after the last.
    pub last: usize,
}

impl Range {
    /// Check that the range holds a bar and lies within the data.
    ///
    /// # Errors
    /// [`EngineError::Range`].
    pub fn check(self, n_bars: usize) -> EngineResult<()> {
        if self.first < self.last && self.last <= n_bars {
            return Ok(());
        }
        Err(EngineError::Range { first: self.first, last: self.last, n_bars })
    }
}

choices! {
    /// Why a trade was closed; the number is what the trade's column holds.
    pub enum Reason {
        /// The stop, where it was first set.
        StopLoss = "stop_loss",
        /// The stop, after it had moved.
        TrailingStop = "trailing_stop",
        /// The target.
        TakeProfit = "take_profit",
        /// The first bar at or after the close time.
        SessionClose = "session_close",
        /// The last bar of the day, before the close time.
        SessionEnd = "session_end",
        /// The allowed number of bars had passed.
        MaxBars = "max_bars",
        /// The last bar of the data.
        EndOfData = "end_of_data",
    }
}

/// Number of reasons.
pub const N_REASONS: usize = Reason::ALL.len();

/// How a trade that starts at a signal ends.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Bar at which it ends.
    pub exit_bar: usize,
    /// Entry price.
    pub entry_price: f64,
    /// Exit price.
    pub exit_price: f64,
    /// First stop, infinitely far where there is none.
    pub stop_price: f64,
    /// Target, infinitely far where there is none.
    pub target_price: f64,
    /// Worst excursion from the entry in points, at most 0.
    pub mae: f64,
    /// Best excursion from the entry in points, at least 0.
    pub mfe: f64,
    /// Why it was closed.
    pub reason: Reason,
    /// Whether the last bar reached both stop and target.
    pub ambiguous: bool,
}

/// A position as it stands before `next_bar`; `side` is 0 where there is none.
///
/// A bar may lie before the first of the bars at hand: then its number is below 0.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Bar of the entry.
    pub entry_bar: i64,
    /// The first bar that it has not been held through.
    pub next_bar: i64,
    /// 1 for a long, -1 for a short, 0 for none.
    pub side: i8,
    /// Risk of the signal in points, nan where undefined.
    pub risk: f64,
    /// Entry price.
    pub entry_price: f64,
    /// First stop, infinitely far where there is none.
    pub stop_price: f64,
    /// Target, infinitely far where there is none.
    pub target_price: f64,
    /// The present stop.
    pub stop: f64,
    /// Highest price of the bars that it was held through.
    pub highest: f64,
    /// Lowest price of the bars that it was held through.
    pub lowest: f64,
    /// Whether the stop has moved.
    pub moved: bool,
}

/// Where a backtest stands between two bars: what goes over the edge of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Balance of the account; one that is not above zero is ruined.
    pub equity: f64,
    /// The first bar whose signal may be acted on once nothing is held.
    pub next_bar: i64,
    /// What is held.
    pub position: Position,
}

/// What a trade earned.
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    /// Gain in points.
    pub points: f64,
    /// Fees in money.
    pub fees: f64,
    /// Gain in money, after fees.
    pub pnl: f64,
}

/// Trades, column by column, in the order of `layouts.TRADE_DTYPE`.
#[derive(Clone, Debug, Default)]
pub struct Trades {
    /// Bar of the signal.
    pub signal_bar: Vec<i64>,
    /// Bar of the entry.
    pub entry_bar: Vec<i64>,
    /// Bar of the exit.
    pub exit_bar: Vec<i64>,
    /// 1 for a long, -1 for a short.
    pub side: Vec<i8>,
    /// Entry price.
    pub entry_price: Vec<f64>,
    /// Exit price.
    pub exit_price: Vec<f64>,
    /// First stop.
    pub stop_price: Vec<f64>,
    /// Target.
    pub target_price: Vec<f64>,
    /// Gain in points.
    pub points: Vec<f64>,
    /// Gain in money, after fees.
    pub pnl: Vec<f64>,
    /// Fees in money.
    pub fees: Vec<f64>,
    /// Worst excursion in points.
    pub mae: Vec<f64>,
    /// Best excursion in points.
    pub mfe: Vec<f64>,
    /// Code of the reason.
    pub reason: Vec<u8>,
    /// Whether the exit bar reached both stop and target.
    pub ambiguous: Vec<bool>,
}

impl Trades {
    /// Number of trades.
    pub fn len(&self) -> usize {
        self.pnl.len()
    }

    /// Whether there is no trade.
    pub fn is_empty(&self) -> bool {
        self.pnl.is_empty()
    }

    /// Move all trades of others behind these.
    pub fn append(&mut self, others: &mut Self) {
        self.signal_bar.append(&mut others.signal_bar);
        self.entry_bar.append(&mut others.entry_bar);
        self.exit_bar.append(&mut others.exit_bar);
        self.side.append(&mut others.side);
        self.entry_price.append(&mut others.entry_price);
        self.exit_price.append(&mut others.exit_price);
        self.stop_price.append(&mut others.stop_price);
        self.target_price.append(&mut others.target_price);
        self.points.append(&mut others.points);
        self.pnl.append(&mut others.pnl);
        self.fees.append(&mut others.fees);
        self.mae.append(&mut others.mae);
        self.mfe.append(&mut others.mfe);
        self.reason.append(&mut others.reason);
        self.ambiguous.append(&mut others.ambiguous);
    }

    /// Append the trade of a signal at bar `signal`.
    pub fn push(&mut self, signal: i64, side: i8, outcome: &Outcome, settled: &Settlement) {
        self.signal_bar.push(signal);
        self.entry_bar.push(signal + 1);
        self.exit_bar.push(outcome.exit_bar as i64);
        self.side.push(side);
        self.entry_price.push(outcome.entry_price);
        self.exit_price.push(outcome.exit_price);
        self.stop_price.push(outcome.stop_price);
        self.target_price.push(outcome.target_price);
        self.points.push(settled.points);
        self.pnl.push(settled.pnl);
        self.fees.push(settled.fees);
        self.mae.push(outcome.mae);
        self.mfe.push(outcome.mfe);
        self.reason.push(outcome.reason as u8);
        self.ambiguous.push(outcome.ambiguous);
    }
}
