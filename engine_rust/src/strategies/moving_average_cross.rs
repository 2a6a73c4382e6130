//! Moving average cross. Mirrors `strategies/moving_average_cross.py`.

use crate::error::EngineError;
use crate::indicators::window_sums;
use crate::simd::{Level, Task, Vector};
use crate::strategy::{Bound, Registration, Scores, Strategy, Threshold, count, detect};
use crate::types::Bars;

/// How the strategy is known and built.
pub const REGISTRATION: Registration = Registration {
    name: "moving_average_cross",
    parameters: &["fast", "slow", "entry_start", "entry_end"],
    thresholds: &[
        Threshold { parameter: 2, bound: Bound::AtLeast },
        Threshold { parameter: 3, bound: Bound::AtMost },
    ],
    build: |values| {
        let (fast, slow) = (count("fast", values[0])?, count("slow", values[1])?);
        if fast >= slow {
            let allowed = "a number below slow";
            return Err(EngineError::Value { name: "fast", value: values[0], allowed });
        }
        Ok(Box::new(MovingAverageCross {
            fast: fast as usize,
            slow: slow as usize,
            entry_start: values[2] as i32,
            entry_end: values[3] as i32,
        }))
    },
};

/// A fast simple mean of the close crosses a slow one: docs/strategies.md.
#[derive(Clone, Copy, Debug)]
pub struct MovingAverageCross {
    fast: usize,
    slow: usize,
    entry_start: i32,
    entry_end: i32,
}

impl Strategy for MovingAverageCross {
    fn detect(&self, bars: &Bars<'_>, level: Level, start: usize, side: &mut [i8], _: &mut [f64]) {
        level.run(Crosses { strategy: self, bars, start, side });
    }

    fn scores(&self, bars: &Bars<'_>, level: Level) -> Scores {
        let anytime = Self { entry_start: 0, entry_end: i32::MAX, ..*self };
        let side = detect(bars, &anytime, level).side;
        let minutes: Vec<f64> = bars.minute.iter().map(|minute| f64::from(*minute)).collect();
        Scores { side, risk: Vec::new(), columns: vec![minutes.clone(), minutes] }
    }

    fn as_dyn(&self) -> &dyn Strategy {
        self
    }
}

struct Crosses<'a> {
    strategy: &'a MovingAverageCross,
    bars: &'a Bars<'a>,
    start: usize,
    side: &'a mut [i8],
}

impl Task for Crosses<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        crosses(self.strategy, self.bars, self.start, self.side);
    }
}

/// Set `side[t]` where the fast mean of the close crosses the slow one at `start + t`.
#[inline(always)]
fn crosses(strategy: &MovingAverageCross, bars: &Bars<'_>, start: usize, side: &mut [i8]) {
    let undefined = strategy.slow.saturating_sub(start).min(side.len());
    let (early, side) = side.split_at_mut(undefined);
    early.fill(0);
    if side.is_empty() {
        return;
    }
    let n = side.len();
    let first = start + undefined;
    let fast = means(bars.close, strategy.fast, first - strategy.fast, n + 1);
    let slow = means(bars.close, strategy.slow, first - strategy.slow, n + 1);
    let minutes = &bars.minute[first..first + n];
    for t in 0..n {
        let inside = (minutes[t] >= strategy.entry_start) & (minutes[t] <= strategy.entry_end);
        let up = (fast[t] <= slow[t]) & (fast[t + 1] > slow[t + 1]);
        let down = (fast[t] >= slow[t]) & (fast[t + 1] < slow[t + 1]);
        side[t] = i8::from(inside & up) - i8::from(inside & down);
    }
}

/// Simple means of `n` windows, the first of which begins at `begin`.
#[inline(always)]
fn means(x: &[f64], length: usize, begin: usize, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n];
    window_sums(x, length, begin, &mut out);
    for mean in &mut out {
        *mean /= length as f64;
    }
    out
}
