//! Window sums and the average true range. Mirrors `indicators.py`.

use crate::simd::{Level, Task, Vector};

/// Bars per block: the running sums of one block stay in the first-level cache.
const BLOCK: usize = 512;

/// Set `out[t] = 0.0 + x[begin+t] + … + x[begin+t+length-1]`, added left to right.
///
/// Every window has its own chain of additions; neighbouring windows are lanes of a vector. Four
/// terms a pass: a third of the loads and stores of one term a pass.
#[inline(always)]
pub fn window_sums(x: &[f64], length: usize, begin: usize, out: &mut [f64]) {
    for (block, sums) in out.chunks_mut(BLOCK).enumerate() {
        let n = sums.len();
        let x = &x[begin + block * BLOCK..][..n + length - 1];
        sums.fill(0.0);
        let mut k = 0;
        while k + 4 <= length {
            let terms = &x[k..k + n + 3];
            let (a, b, c, d) = (&terms[..n], &terms[1..=n], &terms[2..n + 2], &terms[3..n + 3]);
            for t in 0..n {
                sums[t] = (((sums[t] + a[t]) + b[t]) + c[t]) + d[t];
            }
            k += 4;
        }
        while k < length {
            for (sum, term) in sums.iter_mut().zip(&x[k..k + n]) {
                *sum += term;
            }
            k += 1;
        }
    }
}

/// Return `0.0 + x[i-length] + … + x[i-1]`, added left to right.
#[inline(always)]
pub fn prior_sum(x: &[f64], length: usize, i: usize) -> f64 {
    let mut total = 0.0;
    for term in &x[i - length..i] {
        total += term;
    }
    total
}

/// Set the true range of every bar: semantics section 2.
#[inline(always)]
fn true_range(high: &[f64], low: &[f64], close: &[f64], out: &mut [f64]) {
    let n = out.len();
    out[0] = high[0] - low[0];
    let (high, low, before, out) = (&high[1..n], &low[1..n], &close[..n - 1], &mut out[1..n]);
    for i in 0..n - 1 {
        let mut widest = high[i] - low[i];
        let up = (high[i] - before[i]).abs();
        let down = (low[i] - before[i]).abs();
        widest = if up > widest { up } else { widest };
        widest = if down > widest { down } else { widest };
        out[i] = widest;
    }
}

/// Wilder's average true range, nan before bar `period`.
///
/// `high`, `low` and `close` have one element per bar, and there is at least one bar.
pub fn atr_wilder(
    high: &[f64],
    low: &[f64],
    close: &[f64],
    period: usize,
    level: Level,
) -> Vec<f64> {
    let mut out = vec![f64::NAN; high.len()];
    wilder(high, low, close, period, level, (0, 0.0), &mut out);
    out
}

/// Set Wilder's average true range of the bars after `seen` others, and return what it was.
///
/// That is what the next bars need as `carried`: the running sum of the true ranges up to bar
/// `period`, then the last average. Where others were seen, the columns begin with the last of them.
pub fn wilder(
    high: &[f64],
    low: &[f64],
    close: &[f64],
    period: usize,
    level: Level,
    (seen, mut carried): (usize, f64),
    out: &mut [f64],
) -> f64 {
    let n = out.len();
    let tr = level.run(TrueRange { high, low, close });
    let tr = &tr[high.len() - n..];
    let p = period as f64;
    let summed = (period + 1).saturating_sub(seen).min(n);
    for t in 0..summed {
        out[t] = f64::NAN;
        if seen + t > 0 {
            carried += tr[t];
        }
        if seen + t == period {
            carried /= p;
            out[t] = carried;
        }
    }
    for t in summed..n {
        carried = (carried * (p - 1.0) + tr[t]) / p;
        out[t] = carried;
    }
    carried
}

/// Simple mean of the last `period` true ranges, nan before bar `period - 1`.
///
/// `high`, `low` and `close` have one element per bar, and there is at least one bar.
pub fn atr_sma(high: &[f64], low: &[f64], close: &[f64], period: usize, level: Level) -> Vec<f64> {
    let n = high.len();
    let tr = level.run(TrueRange { high, low, close });
    let mut out = vec![f64::NAN; n];
    if n >= period {
        level.run(WindowMeans { x: &tr, length: period, out: &mut out[period - 1..] });
    }
    out
}

struct TrueRange<'a> {
    high: &'a [f64],
    low: &'a [f64],
    close: &'a [f64],
}

impl Task for TrueRange<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Vec<f64> {
        let mut out = vec![0.0; self.high.len()];
        true_range(self.high, self.low, self.close, &mut out);
        out
    }
}

struct WindowMeans<'a> {
    x: &'a [f64],
    length: usize,
    out: &'a mut [f64],
}

impl Task for WindowMeans<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        window_sums(self.x, self.length, 0, self.out);
        let length = self.length as f64;
        for mean in self.out.iter_mut() {
            *mean /= length;
        }
    }
}
