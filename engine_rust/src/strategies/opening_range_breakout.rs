//! Opening range breakout. Mirrors `strategies/opening_range_breakout.py`.

use crate::simd::Level;
use crate::strategy::{Bound, Registration, Scores, Signals, Strategy, Threshold, count, detect};
use crate::types::Bars;

/// How the strategy is known and built.
pub const REGISTRATION: Registration = Registration {
    name: "opening_range_breakout",
    parameters: &["range_minutes", "entry_end"],
    thresholds: &[Threshold { parameter: 1, bound: Bound::AtMost }],
    build: |values| {
        Ok(Box::new(OpeningRangeBreakout {
            range_minutes: count("range_minutes", values[0])?,
            entry_end: values[1] as i32,
        }))
    },
};

/// The first close of a day beyond its first range: docs/strategies.md.
#[derive(Clone, Copy, Debug)]
pub struct OpeningRangeBreakout {
    range_minutes: i32,
    entry_end: i32,
}

impl Strategy for OpeningRangeBreakout {
    fn gives_risk(&self) -> bool {
        true
    }

    fn detect(&self, bars: &Bars<'_>, _: Level, start: usize, side: &mut [i8], risk: &mut [f64]) {
        let mut i = start;
        while i > 0 && i < bars.len() && bars.day[i] == bars.day[i - 1] {
            i -= 1;
        }
        let (mut highest, mut lowest) = (0.0, 0.0);
        let mut range_end = 0;
        let (mut forming, mut broken) = (true, false);
        for i in i..start + side.len() {
            if i == 0 || bars.day[i] != bars.day[i - 1] {
                range_end = bars.minute[i] + self.range_minutes;
                (highest, lowest) = (bars.high[i], bars.low[i]);
                (forming, broken) = (true, false);
            }
            let mut sign = 0_i8;
            forming = forming && bars.minute[i] < range_end;
            if forming {
                highest = if bars.high[i] > highest { bars.high[i] } else { highest };
                lowest = if bars.low[i] < lowest { bars.low[i] } else { lowest };
            } else if !broken && (bars.close[i] > highest || bars.close[i] < lowest) {
                broken = true;
                if bars.minute[i] <= self.entry_end {
                    sign = if bars.close[i] > highest { 1 } else { -1 };
                }
            }
            if i >= start {
                side[i - start] = sign;
                risk[i - start] = if sign == 0 { f64::NAN } else { highest - lowest };
            }
        }
    }

    fn scores(&self, bars: &Bars<'_>, level: Level) -> Scores {
        let anytime = Self { entry_end: i32::MAX, ..*self };
        let Signals { side, risk } = detect(bars, &anytime, level);
        let minutes = bars.minute.iter().map(|minute| f64::from(*minute)).collect();
        Scores { side, risk, columns: vec![minutes] }
    }

    fn as_dyn(&self) -> &dyn Strategy {
        self
    }
}
