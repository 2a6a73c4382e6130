//! A backtest whose bars come chunk by chunk. Mirrors `engines/numba_engine/stream.py`.

use crate::backtest_engine::{Backtest, begin, simulate};
use crate::contract::Contract;
use crate::error::{EngineError, EngineResult};
use crate::indicators::{atr_sma, wilder};
use crate::metrics::{days_of, measure};
use crate::simd::Level;
use crate::strategy::{Strategy, detect_from};
use crate::types::{
    AtrMethod, Bars, Course, MetricSettings, Position, Range, Rules, Trades, Unit, check_length,
};

/// New bars, with the bars before them that they depend on, and the one behind them where there is one.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// All of them.
    pub bars: Bars<'a>,
    /// The average true range that came with them; empty where there is none.
    pub atr: &'a [f64],
    /// Number of the first of them among all bars.
    pub base: usize,
    /// The first new one.
    pub start: usize,
    /// The one after the last new one: the number of bars where no more follow, else one less.
    pub until: usize,
}

impl Window<'_> {
    /// Check that the new bars lie within the bars.
    ///
    /// # Errors
    /// [`EngineError::Range`] or [`EngineError::Length`].
    fn check(&self) -> EngineResult<()> {
        let n_bars = self.bars.len();
        if self.start >= self.until || self.until > n_bars || self.until + 1 < n_bars {
            return Err(EngineError::Range { first: self.start, last: self.until, n_bars });
        }
        if self.atr.is_empty() { Ok(()) } else { check_length("atr", self.atr, n_bars) }
    }
}

/// One backtest that goes on from chunk to chunk.
pub struct Stream {
    strategy: Box<dyn Strategy>,
    rules: Rules,
    contract: Contract,
    level: Level,
    course: Course,
    carried: f64,
    trades: Trades,
    exit_days: Vec<i32>,
}

impl Stream {
    /// Stand before the first bar.
    pub fn new(
        strategy: Box<dyn Strategy>,
        rules: Rules,
        contract: Contract,
        level: Level,
    ) -> Self {
        let (course, trades) = (begin(&contract, 0), Trades::default());
        let exit_days = Vec::new();
        Self { strategy, rules, contract, level, course, carried: 0.0, trades, exit_days }
    }

    /// The bar at which the position that is held was entered.
    pub fn entered(&self) -> Option<i64> {
        let position = &self.course.position;
        (position.side != 0).then_some(position.entry_bar)
    }

    /// Go through the new bars of a window: signals of `[range.first, range.last)` count.
    ///
    /// Return the number of trades before it.
    ///
    /// # Errors
    /// If the window is not whole, or lacks a column that the rules measure in.
    pub fn advance(&mut self, window: &Window<'_>, range: Range) -> EngineResult<usize> {
        window.check()?;
        let Window { bars, base, start, until, .. } = *window;
        let atr = self.atr(window)?;
        self.rules.check(&atr, self.strategy.gives_risk())?;
        let signals = detect_from(&bars, self.strategy.as_ref(), self.level, start, until);
        let mut course = moved(&self.course, -(base as i64));
        let from = range.first as i64 - base as i64;
        course.next_bar = course.next_bar.max(from).max(start as i64);
        let before = self.trades.len();
        let mut trades = Trades::default();
        let ends = (range.last.saturating_sub(base), until);
        let (rules, contract) = (&self.rules, &self.contract);
        let signals = signals.columns();
        simulate(&bars, &atr, signals, rules, contract, ends, &mut course, &mut trades);
        self.course = moved(&course, base as i64);
        self.exit_days.extend(days_of(&trades.exit_bar, bars.day));
        for bars in [&mut trades.signal_bar, &mut trades.entry_bar, &mut trades.exit_bar] {
            for bar in bars {
                *bar += base as i64;
            }
        }
        self.trades.append(&mut trades);
        Ok(before)
    }

    /// The average true range at the new bars of a window, as the rules ask for it.
    fn atr<'a>(&mut self, window: &Window<'a>) -> EngineResult<std::borrow::Cow<'a, [f64]>> {
        let Rules { stop, target, trail, unit, atr_method, atr_period: period, .. } = self.rules;
        if unit != Unit::Atr || (stop == 0.0 && target == 0.0 && trail == 0.0) {
            return Ok((&[]).into());
        }
        if period == 0 {
            let allowed = "a whole number, 1 or more";
            return Err(EngineError::Value { name: "atr_period", value: 0.0, allowed });
        }
        let Window { bars: Bars { high, low, close, .. }, base, start, until, .. } = *window;
        let mut atr = match atr_method {
            AtrMethod::Column => return Ok(window.atr.into()),
            AtrMethod::Sma => {
                atr_sma(&high[..until], &low[..until], &close[..until], period, self.level)
            }
            AtrMethod::Wilder => {
                let mut atr = vec![f64::NAN; until];
                let seen = base + start;
                let from = start - usize::from(seen > 0);
                let (high, low, close) =
                    (&high[from..until], &low[from..until], &close[from..until]);
                let before = (seen, self.carried);
                let new = &mut atr[start..];
                self.carried = wilder(high, low, close, period, self.level, before, new);
                atr
            }
        };
        atr.resize(window.bars.len(), f64::NAN);
        Ok(atr.into())
    }

    /// The trades so far.
    pub fn trades(&self) -> &Trades {
        &self.trades
    }

    /// Hand over all trades, with the metrics of a range whose first and last day are `span`.
    pub fn finish(
        &mut self,
        settings: &MetricSettings,
        range: Range,
        span: (i32, i32),
    ) -> Backtest {
        let trades = std::mem::take(&mut self.trades);
        let n_bars = range.last - range.first;
        let metrics = measure(&trades, &self.exit_days, &self.contract, settings, span, n_bars);
        Backtest { trades, metrics }
    }
}

/// Return a course that counts bars from another one on.
fn moved(course: &Course, by: i64) -> Course {
    let position = Position {
        entry_bar: course.position.entry_bar + by,
        next_bar: course.position.next_bar + by,
        ..course.position
    };
    Course { next_bar: course.next_bar + by, position, ..*course }
}
