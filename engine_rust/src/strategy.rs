//! From bars to signals and average true ranges. Mirrors `engines/numba_engine/strategy.py`.

use rayon::prelude::*;

use crate::error::{EngineError, EngineResult};
use crate::indicators::{atr_sma, atr_wilder};
use crate::pool;
use crate::simd::Level;
use crate::types::{Bars, SignalColumns};

/// Turns bars into signals; the twin of a Python strategy's kernel.
pub trait Strategy: Send + Sync {
    /// Whether [`Strategy::detect`] fills `risk`.
    fn gives_risk(&self) -> bool {
        false
    }

    /// Set the side, and the risk if any, of the bars from `start` on, one per element.
    ///
    /// A signal depends on its bar and earlier ones alone, so that any split of the bars gives the
    /// same signals. `risk` is empty unless [`Strategy::gives_risk`].
    fn detect(
        &self,
        bars: &Bars<'_>,
        level: Level,
        start: usize,
        side: &mut [i8],
        risk: &mut [f64],
    );

    /// What a sweep needs of every bar: side and risk before the thresholds, and a score for each
    /// threshold of the registration.
    ///
    /// A bar signals where each score passes its threshold. By default there are no thresholds and
    /// the signals are those of [`Strategy::detect`].
    fn scores(&self, bars: &Bars<'_>, level: Level) -> Scores {
        unscored(detect(bars, self.as_dyn(), level))
    }

    /// This strategy behind its trait.
    fn as_dyn(&self) -> &dyn Strategy;
}

/// Which side of a threshold passes; a score that is nan never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `score >= threshold`.
    AtLeast,
    /// `score >= threshold`; a threshold of 0 passes whatever the score.
    AtLeastOrOff,
    /// `score <= threshold`.
    AtMost,
}

impl Bound {
    /// Whether a score passes.
    #[inline(always)]
    pub fn passes(self, score: f64, threshold: f64) -> bool {
        match self {
            Self::AtLeast => score >= threshold,
            Self::AtLeastOrOff => threshold == 0.0 || score >= threshold,
            Self::AtMost => score <= threshold,
        }
    }

    /// The score, turned so that `score >= threshold` passes for every kind of bound.
    pub fn turned_score(self, score: f64) -> f64 {
        match self {
            Self::AtLeast => score,
            Self::AtLeastOrOff => {
                if score.is_nan() {
                    f64::NEG_INFINITY
                } else {
                    score
                }
            }
            Self::AtMost => -score,
        }
    }

    /// The threshold, turned like the scores.
    pub fn turned_threshold(self, threshold: f64) -> f64 {
        match self {
            Self::AtLeast => threshold,
            Self::AtLeastOrOff => {
                if threshold == 0.0 {
                    f64::NEG_INFINITY
                } else {
                    threshold
                }
            }
            Self::AtMost => -threshold,
        }
    }
}

/// A parameter that cuts a score; all others shape the scores themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Place of the parameter among the values.
    pub parameter: usize,
    /// Which side passes.
    pub bound: Bound,
}

/// Side and risk of every bar before the thresholds, and one column of scores per threshold.
#[derive(Clone, Debug)]
pub struct Scores {
    /// 1 to go long, -1 to go short, 0 for nothing.
    pub side: Vec<i8>,
    /// Risk in points; empty if the strategy gives none.
    pub risk: Vec<f64>,
    /// One column per threshold.
    pub columns: Vec<Vec<f64>>,
}

/// Return signals as what a sweep needs: no threshold cuts them.
pub fn unscored(Signals { side, risk }: Signals) -> Scores {
    Scores { side, risk, columns: Vec::new() }
}

/// How a strategy is known and built.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// Name in TOML files and grids.
    pub name: &'static str,
    /// Names of the parameters in the order of their values.
    pub parameters: &'static [&'static str],
    /// Parameters that cut scores, so that a sweep can share the scores between their values.
    pub thresholds: &'static [Threshold],
    /// Build the strategy from as many values as there are parameters.
    pub build: fn(&[f64]) -> EngineResult<Box<dyn Strategy>>,
}

/// What [`count`] allows: far above the limits of the settings, and nothing overflows.
const COUNT: &str = "a whole number from 1 to 1e9";

/// Return a number of bars or minutes.
///
/// # Errors
/// [`EngineError::Value`] if it is not whole, or out of bounds.
pub fn count(name: &'static str, value: f64) -> EngineResult<i32> {
    if value.fract() == 0.0 && (1.0..=1e9).contains(&value) {
        return Ok(value as i32);
    }
    Err(EngineError::Value { name, value, allowed: COUNT })
}

/// Sides of all bars, with the risks of those strategies that give them.
#[derive(Clone, Debug)]
pub struct Signals {
    /// 1 to go long, -1 to go short, 0 for nothing.
    pub side: Vec<i8>,
    /// Risk in points, nan where undefined; empty if the strategy gives none.
    pub risk: Vec<f64>,
}

impl Signals {
    /// The columns, borrowed.
    pub fn columns(&self) -> SignalColumns<'_> {
        SignalColumns { side: &self.side, risk: &self.risk }
    }
}

/// Bars per task of a parallel detection: some 20 microseconds of work.
const CHUNK: usize = 8192;
/// From here on a second thread saves more than waking it costs (measured: 24,000 bars).
const PARALLEL_BARS: usize = 32_768;

/// Return the signals of every bar.
pub fn detect(bars: &Bars<'_>, strategy: &dyn Strategy, level: Level) -> Signals {
    detect_from(bars, strategy, level, 0, bars.len())
}

/// Return the signals of bars `start` to `until`, and none at the others.
pub fn detect_from(
    bars: &Bars<'_>,
    strategy: &dyn Strategy,
    level: Level,
    start: usize,
    until: usize,
) -> Signals {
    let n = bars.len();
    let mut side = vec![0_i8; n];
    let mut risk = vec![0.0_f64; if strategy.gives_risk() { n } else { 0 }];
    let sides = &mut side[start..until];
    let risks = if risk.is_empty() { &mut [] } else { &mut risk[start..until] };
    if sides.len() < PARALLEL_BARS || pool::n_threads() == 1 {
        strategy.detect(bars, level, start, sides, risks);
    } else {
        pool::install(|| detect_in_chunks(bars, strategy, level, start, sides, risks));
    }
    Signals { side, risk }
}

/// Set the sides, and the risks if any, of the bars from `start` on, chunks of them in parallel.
fn detect_in_chunks(
    bars: &Bars<'_>,
    strategy: &dyn Strategy,
    level: Level,
    start: usize,
    side: &mut [i8],
    risk: &mut [f64],
) {
    let sides = side.par_chunks_mut(CHUNK).enumerate();
    let begin = |k: usize| start + k * CHUNK;
    if risk.is_empty() {
        sides.for_each(|(k, side)| strategy.detect(bars, level, begin(k), side, &mut []));
    } else {
        sides.zip(risk.par_chunks_mut(CHUNK)).for_each(|((k, side), risk)| {
            strategy.detect(bars, level, begin(k), side, risk);
        });
    }
}

/// Return the average true range of every bar by the code of [`AtrMethod`].
///
/// # Errors
/// If the code is neither Wilder's nor the simple mean, or a period of 0 is asked for.
pub fn average_true_range(
    high: &[f64],
    low: &[f64],
    close: &[f64],
    period: usize,
    method: i64,
    level: Level,
) -> EngineResult<Vec<f64>> {
    if period == 0 {
        return Err(EngineError::Value { name: "atr_period", value: 0.0, allowed: COUNT });
    }
    match method {
        0 => Ok(atr_wilder(high, low, close, period, level)),
        1 => Ok(atr_sma(high, low, close, period, level)),
        code => Err(EngineError::Code { name: "atr_method", code }),
    }
}
