//! Bars that look the same everywhere.
#![allow(dead_code, missing_docs)]

use _engine_rust::types::Bars;

/// A splitmix64 generator: the same bars everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Default)]
pub struct Columns {
    pub open: Vec<f64>,
    pub high: Vec<f64>,
    pub low: Vec<f64>,
    pub close: Vec<f64>,
    pub volume: Vec<f64>,
    pub minute: Vec<i32>,
    pub day: Vec<i32>,
}

impl Columns {
    pub fn random(n: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut columns = Self::default();
        let mut price = 1000.1;
        for i in 0..n {
            let open = price;
            let step = random.below(41) as f64 - 20.0;
            let wide = if random.below(12) == 0 { 5.3 } else { 1.0 };
            let close = open + step * wide * 0.1;
            let high = if open > close { open } else { close } + random.below(9) as f64 * 0.1;
            let low = if open < close { open } else { close } - random.below(9) as f64 * 0.1;
            columns.open.push(open);
            columns.high.push(high);
            columns.low.push(low);
            columns.close.push(close);
            columns.volume.push(random.below(5000) as f64 + 0.5);
            columns.minute.push(540 + 5 * (i % 97) as i32);
            columns.day.push((i / 97) as i32);
            price = close;
        }
        columns
    }

    pub fn view(&self) -> Bars<'_> {
        Bars {
            open: &self.open,
            high: &self.high,
            low: &self.low,
            close: &self.close,
            volume: &self.volume,
            minute: &self.minute,
            day: &self.day,
        }
    }
}

/// The bits of numbers, every nan alike.
pub fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| if value.is_nan() { 1 } else { value.to_bits() }).collect()
}
