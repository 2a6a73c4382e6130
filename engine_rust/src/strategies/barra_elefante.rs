//! Barra Elefante, the elephant bar. Mirrors `strategies/barra_elefante.py`.

use crate::indicators::{prior_sum, window_sums};
use crate::simd::{Level, Task, Vector};
use crate::strategy::{Bound, Registration, Scores, Strategy, Threshold, count};
use crate::types::Bars;

/// How the strategy is known and built.
pub const REGISTRATION: Registration = Registration {
    name: "barra_elefante",
    parameters: &[
        "min_range_mult",
        "min_volume_mult",
        "max_shadow_ratio",
        "lookback",
        "entry_start",
        "entry_end",
        "confirm_breakout",
    ],
    thresholds: &[
        Threshold { parameter: 0, bound: Bound::AtLeast },
        Threshold { parameter: 1, bound: Bound::AtLeastOrOff },
        Threshold { parameter: 2, bound: Bound::AtMost },
        Threshold { parameter: 4, bound: Bound::AtLeast },
        Threshold { parameter: 5, bound: Bound::AtMost },
    ],
    build: |values| {
        Ok(Box::new(BarraElefante {
            min_range_mult: values[0],
            min_volume_mult: values[1],
            max_shadow_ratio: values[2],
            lookback: count("lookback", values[3])? as usize,
            entry_start: values[4] as i32,
            entry_end: values[5] as i32,
            confirm_breakout: values[6] != 0.0,
        }))
    },
};

/// Bars whose conditions are worked out together.
const BLOCK: usize = 512;

/// A bar far longer than those before it: semantics section 3.
#[derive(Clone, Copy, Debug)]
pub struct BarraElefante {
    min_range_mult: f64,
    min_volume_mult: f64,
    max_shadow_ratio: f64,
    lookback: usize,
    entry_start: i32,
    entry_end: i32,
    confirm_breakout: bool,
}

impl Strategy for BarraElefante {
    fn detect(&self, bars: &Bars<'_>, level: Level, start: usize, side: &mut [i8], _: &mut [f64]) {
        if !self.confirm_breakout {
            level.run(Elephants { strategy: self, bars, start, side });
            return;
        }
        let before = usize::from(start > 0);
        let mut elephant = vec![0_i8; side.len() + before];
        level.run(Elephants { strategy: self, bars, start: start - before, side: &mut elephant });
        for (t, side) in side.iter_mut().enumerate() {
            let i = start + t;
            let sign = if t + before > 0 { elephant[t + before - 1] } else { 0 };
            let minute = bars.minute[i];
            let confirmed = sign != 0
                && bars.day[i] == bars.day[i - 1]
                && self.entry_start <= minute
                && minute <= self.entry_end
                && if sign > 0 {
                    bars.high[i] > bars.high[i - 1]
                } else {
                    bars.low[i] < bars.low[i - 1]
                };
            *side = if confirmed { sign } else { 0 };
        }
    }

    fn scores(&self, bars: &Bars<'_>, level: Level) -> Scores {
        let scores = level.run(ElephantScores { strategy: self, bars });
        if self.confirm_breakout { confirmed(bars, scores) } else { scores }
    }

    fn as_dyn(&self) -> &dyn Strategy {
        self
    }
}

struct ElephantScores<'a> {
    strategy: &'a BarraElefante,
    bars: &'a Bars<'a>,
}

impl Task for ElephantScores<'_> {
    type Output = Scores;

    /// The quotients of [`elephants`], for every bar.
    #[inline(always)]
    fn run<V: Vector>(self) -> Scores {
        let (bars, lookback) = (self.bars, self.strategy.lookback);
        let n = bars.len();
        let length = lookback as f64;
        let mut side = vec![0_i8; n];
        let ranges: Vec<f64> =
            bars.high.iter().zip(bars.low).map(|(high, low)| high - low).collect();
        let mut multiples = vec![f64::NAN; n];
        let mut volumes = vec![f64::NAN; n];
        let mut shadows = vec![f64::NAN; n];
        if n > lookback {
            window_sums(&ranges, lookback, 0, &mut multiples[lookback..]);
            window_sums(bars.volume, lookback, 0, &mut volumes[lookback..]);
            for t in lookback..n {
                multiples[t] = ranges[t] * length / multiples[t];
                volumes[t] = bars.volume[t] * length / volumes[t];
                shadows[t] = (ranges[t] - (bars.close[t] - bars.open[t]).abs()) / ranges[t];
                let sign =
                    i8::from(bars.close[t] > bars.open[t]) - i8::from(bars.close[t] < bars.open[t]);
                side[t] = if ranges[t] > 0.0 { sign } else { 0 };
            }
        }
        let minutes: Vec<f64> = bars.minute.iter().map(|minute| f64::from(*minute)).collect();
        let columns = vec![multiples, volumes, shadows, minutes.clone(), minutes];
        Scores { side, risk: Vec::new(), columns }
    }
}

/// Move scores to the bar that confirms the elephant, whose minute must lie in the window too.
fn confirmed(bars: &Bars<'_>, elephants: Scores) -> Scores {
    let n = bars.len();
    let confirms = |i: usize| {
        let beyond = if elephants.side[i - 1] > 0 {
            bars.high[i] > bars.high[i - 1]
        } else {
            bars.low[i] < bars.low[i - 1]
        };
        beyond && bars.day[i] == bars.day[i - 1]
    };
    let side_of = |i: usize| if i > 0 && confirms(i) { elephants.side[i - 1] } else { 0 };
    let side = (0..n).map(side_of).collect();
    let mut columns = elephants.columns;
    for column in &mut columns[..3] {
        column.rotate_right(1);
    }
    for i in (1..n).rev() {
        let (before, now) = (f64::from(bars.minute[i - 1]), f64::from(bars.minute[i]));
        columns[3][i] = if before < now { before } else { now };
        columns[4][i] = if before > now { before } else { now };
    }
    Scores { side, risk: Vec::new(), columns }
}

struct Elephants<'a> {
    strategy: &'a BarraElefante,
    bars: &'a Bars<'a>,
    start: usize,
    side: &'a mut [i8],
}

impl Task for Elephants<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        elephants(self.strategy, self.bars, self.start, self.side);
    }
}

/// Set `side[t]` to the side of bar `start + t` if it is an elephant, else to 0.
///
/// The volume is checked last and only where the rest holds: its sum is the costliest condition.
#[inline(always)]
fn elephants(strategy: &BarraElefante, bars: &Bars<'_>, start: usize, side: &mut [i8]) {
    let lookback = strategy.lookback;
    let undefined = lookback.saturating_sub(start).min(side.len());
    let (early, side) = side.split_at_mut(undefined);
    early.fill(0);
    if side.is_empty() {
        return;
    }
    let first = start + undefined;
    let n = side.len();
    let begin = first - lookback;
    let mut ranges = vec![0.0; n + lookback];
    for ((range, high), low) in ranges.iter_mut().zip(&bars.high[begin..]).zip(&bars.low[begin..]) {
        *range = high - low;
    }
    let length = lookback as f64;
    let (mut multiples, mut shadows) = ([0.0; BLOCK], [0.0; BLOCK]);
    for (block, side) in side.chunks_mut(BLOCK).enumerate() {
        let low = block * BLOCK;
        let n = side.len();
        let (multiples, shadows) = (&mut multiples[..n], &mut shadows[..n]);
        window_sums(&ranges, lookback, low, multiples);
        let spreads = &ranges[low + lookback..][..n];
        let open = &bars.open[first + low..][..n];
        let close = &bars.close[first + low..][..n];
        let minutes = &bars.minute[first + low..][..n];
        for t in 0..n {
            multiples[t] = spreads[t] * length / multiples[t];
            shadows[t] = (spreads[t] - (close[t] - open[t]).abs()) / spreads[t];
        }
        for t in 0..n {
            let holds = (spreads[t] > 0.0)
                & (multiples[t] >= strategy.min_range_mult)
                & (shadows[t] <= strategy.max_shadow_ratio)
                & (minutes[t] >= strategy.entry_start)
                & (minutes[t] <= strategy.entry_end);
            let sign = i8::from(close[t] > open[t]) - i8::from(close[t] < open[t]);
            side[t] = if holds { sign } else { 0 };
        }
    }
    if strategy.min_volume_mult > 0.0 {
        drop_thin_volume(bars.volume, lookback, strategy.min_volume_mult, first, side);
    }
}

/// Clear the candidates whose volume is below `min_volume_mult` times the mean before.
///
/// A block with many candidates sums all its windows as lanes, one with few each on its own.
#[inline(always)]
fn drop_thin_volume(
    volume: &[f64],
    lookback: usize,
    min_volume_mult: f64,
    first: usize,
    side: &mut [i8],
) {
    let length = lookback as f64;
    let mut sums = [0.0; BLOCK];
    for (block, side) in side.chunks_mut(BLOCK).enumerate() {
        let low = first + block * BLOCK;
        let mut candidates = 0;
        for sign in side.iter() {
            candidates += usize::from(*sign != 0);
        }
        if candidates == 0 {
            continue;
        }
        let together = candidates * 8 > side.len();
        if together {
            window_sums(volume, lookback, low - lookback, &mut sums[..side.len()]);
        }
        for (t, sign) in side.iter_mut().enumerate() {
            if *sign != 0 {
                let i = low + t;
                let total = if together { sums[t] } else { prior_sum(volume, lookback, i) };
                let enough = volume[i] * length / total >= min_volume_mult;
                if !enough {
                    *sign = 0;
                }
            }
        }
    }
}
