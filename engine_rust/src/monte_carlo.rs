//! Random paths: trades in another order, and bars on which nothing is to be found. Mirrors
//! `engines/numba_engine/monte_carlo.py`.
//!
//! Every random number is word `draw & 3` of the Philox4x32-10 block whose counter is
//! (`draw >> 2`, `attempt`, path) and whose key is the seed, so that it depends on nothing but
//! seed, path and place. Threads take whole paths.

use rayon::prelude::*;

use crate::error::{EngineError, EngineResult};
use crate::pool::Pool;
use crate::simd::{LANES, Level, Task, Vector};

/// The trades as they were.
pub const OBSERVED: i64 = 0;
/// Trades drawn one by one, with replacement.
pub const BOOTSTRAP: i64 = 1;
/// Runs of neighbours drawn with replacement; the first trade follows the last.
pub const BLOCK: i64 = 2;
/// The same trades in another order.
pub const SHUFFLE: i64 = 3;
/// Each trade left out with a probability.
pub const SKIP: i64 = 4;
/// Each trade with costs of its own on top.
pub const NOISE: i64 = 5;

/// Numbers of a path: trades, final equity, total, the largest drawdown in money and in percent,
/// the longest losing streak.
pub const N_NUMBERS: usize = 6;

/// Paths that a thread takes at once.
const CHUNK: usize = 64; // a multiple of LANES

const ROUNDS: usize = 10;
const MULTIPLIER_0: u32 = 0xD251_1F53;
const MULTIPLIER_1: u32 = 0xCD9E_8D57;
const WEYL_0: u32 = 0x9E37_79B9;
const WEYL_1: u32 = 0xBB67_AE85;

/// What a path is made of.
#[derive(Clone, Copy, Debug)]
pub struct Resampling<'a> {
    /// One of the kinds above.
    pub kind: i64,
    /// Result of each trade.
    pub pnl: &'a [f64],
    /// The most that noise can cost each trade: at its entry, at its exit, in fees.
    pub costs: &'a [f64],
    /// Trades in a block.
    pub block_length: usize,
    /// A trade is left out where its word is below this.
    pub skip_below: u64,
    /// Equity at the start.
    pub capital: f64,
    /// Whether lots grow with the equity.
    pub compound: bool,
    /// Numbers of trades, ascending, after which the equity is kept.
    pub marks: &'a [i64],
    /// Key of the generator.
    pub seed: u64,
}

impl Resampling<'_> {
    /// Check what would read out of bounds or never end.
    fn check(&self) -> EngineResult<()> {
        if !(OBSERVED..=NOISE).contains(&self.kind) {
            return Err(EngineError::Code { name: "kind", code: self.kind });
        }
        let n = self.pnl.len();
        let wrong = |name, value, allowed| Err(EngineError::Value { name, value, allowed });
        if n > u32::MAX as usize / 4 {
            return wrong("the number of trades", n as f64, "fewer than a billion");
        }
        if self.kind == BLOCK && self.block_length == 0 {
            return wrong("block_length", 0.0, "a number above 0");
        }
        if self.kind == NOISE && self.costs.len() != 3 * n {
            return wrong("the number of costs", self.costs.len() as f64, "three for each trade");
        }
        Ok(())
    }
}

/// Return a block of Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC11).
///
/// Without a branch, so that the compiler computes neighbouring blocks beside each other.
#[inline(always)]
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIER_0) * u64::from(c0);
        let p1 = u64::from(MULTIPLIER_1) * u64::from(c2);
        c0 = (p1 >> 32) as u32 ^ c1 ^ k0;
        c2 = (p0 >> 32) as u32 ^ c3 ^ k1;
        c1 = p1 as u32;
        c3 = p0 as u32;
        k0 = k0.wrapping_add(WEYL_0);
        k1 = k1.wrapping_add(WEYL_1);
    }
    [c0, c1, c2, c3]
}

/// Return the word of one draw of a path.
pub fn word_at(seed: u64, path: u64, draw: u64, attempt: u32) -> u32 {
    let counter = [(draw >> 2) as u32, attempt, path as u32, (path >> 32) as u32];
    philox(counter, [seed as u32, (seed >> 32) as u32])[(draw & 3) as usize]
}

/// Fill with the words of a path's first draws.
#[inline(always)]
pub fn fill_words(words: &mut [u32], seed: u64, path: u64) {
    let key = [seed as u32, (seed >> 32) as u32];
    let (low, high) = (path as u32, (path >> 32) as u32);
    let (blocks, rest) = words.as_chunks_mut::<4>();
    for (block, words) in blocks.iter_mut().enumerate() {
        *words = philox([block as u32, 0, low, high], key);
    }
    for (place, word) in rest.iter_mut().enumerate() {
        *word = philox([blocks.len() as u32, 0, low, high], key)[place];
    }
}

/// Return a whole number from 0 to below `bound`, each as likely (Lemire 2019): the draw is made
/// again, as its next attempt, where the word is one of those that some numbers would have more of.
#[inline(always)]
fn bounded(word: u32, bound: u32, seed: u64, path: u64, draw: usize) -> usize {
    let mut product = u64::from(word) * u64::from(bound);
    if (product as u32) < bound {
        let surplus = bound.wrapping_neg() % bound;
        let mut attempt = 0;
        while (product as u32) < surplus {
            attempt += 1;
            product = u64::from(word_at(seed, path, draw as u64, attempt)) * u64::from(bound);
        }
    }
    (product >> 32) as usize
}

/// Turn words into whole numbers below `bound`, and tell whether none has to be drawn again.
#[inline(always)]
fn all_bounded(words: &mut [u32], bound: u32) -> bool {
    let mut again = 0;
    for word in words {
        let product = u64::from(*word) * u64::from(bound);
        again |= u32::from((product as u32) < bound);
        *word = (product >> 32) as u32;
    }
    again == 0
}

/// Return a number from 0 to below 1.
#[inline(always)]
fn unit(word: u32) -> f64 {
    f64::from(word) * (1.0 / 4_294_967_296.0)
}

/// How many words the paths of a kind draw at most.
fn n_words(asked: &Resampling<'_>) -> usize {
    let n = asked.pnl.len();
    match asked.kind {
        OBSERVED => 0,
        BLOCK => n.div_ceil(asked.block_length),
        NOISE => 3 * n,
        _ => n,
    }
}

/// Make the results of a path's trades, and return how many there are.
#[inline(always)]
fn make_steps(asked: &Resampling<'_>, path: u64, words: &mut [u32], steps: &mut [f64]) -> usize {
    let Resampling { pnl, seed, .. } = *asked;
    let n = pnl.len();
    fill_words(words, seed, path);
    match asked.kind {
        BOOTSTRAP => {
            if !all_bounded(words, n as u32) {
                fill_words(words, seed, path);
                for (draw, word) in words.iter_mut().enumerate() {
                    *word = bounded(*word, n as u32, seed, path, draw) as u32;
                }
            }
            for (step, &chosen) in steps.iter_mut().zip(&*words) {
                *step = pnl[chosen as usize];
            }
        }
        BLOCK => {
            for (draw, (block, &word)) in
                steps.chunks_mut(asked.block_length).zip(&*words).enumerate()
            {
                let mut from = bounded(word, n as u32, seed, path, draw);
                for step in block {
                    *step = pnl[from];
                    from = if from + 1 < n { from + 1 } else { 0 };
                }
            }
        }
        SHUFFLE => {
            steps.copy_from_slice(pnl);
            for (draw, &word) in words.iter().enumerate() {
                let left = n - draw;
                steps.swap(left - 1, bounded(word, left as u32, seed, path, draw));
            }
        }
        SKIP => {
            let mut kept = 0;
            for (&result, &word) in pnl.iter().zip(&*words) {
                steps[kept] = result;
                kept += usize::from(u64::from(word) >= asked.skip_below);
            }
            return kept;
        }
        NOISE => {
            let (entry, rest) = asked.costs.split_at(n);
            let (exit, fee) = rest.split_at(n);
            for (i, step) in steps.iter_mut().enumerate() {
                *step = pnl[i]
                    - unit(words[3 * i]) * entry[i]
                    - unit(words[3 * i + 1]) * exit[i]
                    - unit(words[3 * i + 2]) * fee[i];
            }
        }
        _ => steps.copy_from_slice(pnl),
    }
    n
}

/// Accounts on their way through the trades of paths, a lane each.
#[derive(Clone, Copy)]
struct Accounts<V: Vector> {
    trades: V,
    equity: V,
    total: V,
    peak: V,
    drawdown: V,
    ratio: V,
    losses: V,
    longest: V,
}

impl<V: Vector> Accounts<V> {
    /// Take trades, each lane up to its number `kept` or up to its ruin.
    #[inline(always)]
    fn advance<const COMPOUND: bool>(
        self,
        steps: &[[f64; LANES]],
        kept: V,
        capital: V,
        from: usize,
    ) -> Self {
        let mut at = self;
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        for (place, step) in steps.iter().enumerate() {
            let step = V::load(step);
            let gain = if COMPOUND { at.equity.mul(step.div(capital)) } else { step };
            let left = kept.gt(V::splat((from + place) as f64));
            let going = V::and_not(left, at.equity.le(zero));
            let gain = gain.keep(going);
            at.trades = at.trades.add(one.keep(going));
            at.total = at.total.add(gain);
            at.equity = at.equity.add(gain);
            at.peak = at.equity.larger(at.peak);
            let drawdown = at.peak.sub(at.equity);
            at.drawdown = drawdown.larger(at.drawdown);
            at.ratio = drawdown.div(at.peak).larger(at.ratio);
            at.losses = at.losses.add(one).keep(zero.gt(gain));
            at.longest = at.losses.larger(at.longest);
        }
        at
    }
}

/// Walk through the trades of neighbouring paths: their numbers, and the equity at the marks.
#[inline(always)]
fn walk<V: Vector, const COMPOUND: bool>(
    steps: &[[f64; LANES]],
    kept: &[f64; LANES],
    capital: f64,
    marks: &[i64],
    numbers: &mut [f64],
    equity: &mut [f64],
) {
    let (zero, start, kept) = (V::splat(0.0), V::splat(capital), V::load(kept));
    let mut at = Accounts {
        trades: zero,
        equity: start,
        total: zero,
        peak: start,
        drawdown: zero,
        ratio: zero,
        losses: zero,
        longest: zero,
    };
    let mut taken = 0;
    if !equity.is_empty() {
        for (place, &mark) in marks.iter().enumerate() {
            let stop = (mark.max(taken as i64) as usize).min(steps.len());
            at = at.advance::<COMPOUND>(&steps[taken..stop], kept, start, taken);
            taken = stop;
            for (row, now) in equity.chunks_mut(marks.len()).zip(stored(at.equity)) {
                row[place] = now;
            }
        }
    }
    at = at.advance::<COMPOUND>(&steps[taken..], kept, start, taken);
    let ratio = V::splat(100.0).mul(at.ratio);
    let found = [at.trades, at.equity, at.total, at.drawdown, ratio, at.longest].map(stored);
    for (lane, numbers) in numbers.chunks_mut(N_NUMBERS).enumerate() {
        for (number, lanes) in numbers.iter_mut().zip(&found) {
            *number = lanes[lane];
        }
    }
}

/// Return the lanes of a vector.
#[inline(always)]
fn stored<V: Vector>(vector: V) -> [f64; LANES] {
    let mut lanes = [0.0; LANES];
    vector.store(&mut lanes);
    lanes
}

/// Paths that one thread makes.
struct SomePaths<'a> {
    asked: &'a Resampling<'a>,
    first: u64,
    numbers: &'a mut [f64],
    equity: &'a mut [f64],
}

impl Task for SomePaths<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        some_paths::<V>(self.asked, self.first, self.numbers, self.equity);
    }
}

/// Make paths and walk through them: the numbers of neighbouring paths, and their equity.
///
/// `equity` may have rows for the first paths alone.
#[inline(always)]
fn some_paths<V: Vector>(
    asked: &Resampling<'_>,
    first: u64,
    numbers: &mut [f64],
    equity: &mut [f64],
) {
    let (n, width) = (asked.pnl.len(), asked.marks.len());
    let mut words = vec![0; n_words(asked)];
    let mut steps = vec![0.0; n];
    let mut lanes = vec![[0.0; LANES]; n];
    let mut rest = equity;
    for (group, numbers) in numbers.chunks_mut(LANES * N_NUMBERS).enumerate() {
        let start = first.wrapping_add((group * LANES) as u64);
        let mut kept = [n as f64; LANES];
        for (lane, kept) in kept.iter_mut().take(numbers.len() / N_NUMBERS).enumerate() {
            let path = start.wrapping_add(lane as u64);
            let n_kept = make_steps(asked, path, &mut words, &mut steps);
            for (lanes, &step) in lanes.iter_mut().zip(&steps) {
                lanes[lane] = step;
            }
            *kept = n_kept as f64;
        }
        let (rows, after) = rest.split_at_mut((LANES * width).min(rest.len()));
        rest = after;
        if asked.compound {
            walk::<V, true>(&lanes, &kept, asked.capital, asked.marks, numbers, rows);
        } else {
            walk::<V, false>(&lanes, &kept, asked.capital, asked.marks, numbers, rows);
        }
    }
}

/// Return the numbers of paths, a row each, and the equity of the first `n_kept` at the marks.
///
/// # Errors
/// [`EngineError::Code`] or [`EngineError::Value`] if the resampling cannot be made,
/// [`EngineError::Threads`] if the system refuses threads.
pub fn resample_paths(
    asked: &Resampling<'_>,
    first_path: u64,
    n_paths: usize,
    n_kept: usize,
    threads: usize,
    level: Level,
) -> EngineResult<(Vec<f64>, Vec<f64>)> {
    asked.check()?;
    let n_kept = n_kept.min(n_paths);
    let width = asked.marks.len();
    let mut numbers = vec![0.0; n_paths * N_NUMBERS];
    let mut equity = vec![0.0; n_kept * width];
    let mut tasks = Vec::with_capacity(n_paths.div_ceil(CHUNK));
    let mut rest = equity.as_mut_slice();
    for (place, chunk) in numbers.chunks_mut(CHUNK * N_NUMBERS).enumerate() {
        let rows = n_kept.saturating_sub(place * CHUNK).min(CHUNK);
        let (mine, after) = rest.split_at_mut(rows * width);
        rest = after;
        let first = first_path.wrapping_add((place * CHUNK) as u64);
        tasks.push(SomePaths { asked, first, numbers: chunk, equity: mine });
    }
    if tasks.len() < 2 {
        for task in tasks {
            level.run(task);
        }
    } else {
        Pool::new(threads)?.install(|| tasks.into_par_iter().for_each(|task| level.run(task)))?;
    }
    Ok((numbers, equity))
}

/// Return `count` different elements, drawn without replacement, in the order they are drawn.
///
/// # Errors
/// [`EngineError::Value`] if there are not so many.
pub fn choose_bars(from: &[i64], count: usize, seed: u64, path: u64) -> EngineResult<Vec<i64>> {
    if count > from.len() {
        let (name, value) = ("count", count as f64);
        return Err(EngineError::Value { name, value, allowed: "at most one for each element" });
    }
    let mut words = vec![0; count];
    fill_words(&mut words, seed, path);
    let mut left = from.to_vec();
    for (draw, &word) in words.iter().enumerate() {
        let bound = (left.len() - draw) as u32;
        left.swap(draw, draw + bounded(word, bound, seed, path, draw));
    }
    left.truncate(count);
    Ok(left)
}

/// Return `count` whole numbers from 0 to `most`, each as likely.
pub fn delays(most: u32, count: usize, seed: u64, path: u64) -> Vec<i64> {
    let mut words = vec![0; count];
    fill_words(&mut words, seed, path);
    let delay = |(draw, &word): (usize, &u32)| bounded(word, most + 1, seed, path, draw) as i64;
    words.iter().enumerate().map(delay).collect()
}

/// Prices of bars.
#[derive(Clone, Copy, Debug)]
pub struct Prices<'a> {
    /// First price of each bar, above 0, as all are.
    pub open: &'a [f64],
    /// Highest price.
    pub high: &'a [f64],
    /// Lowest price.
    pub low: &'a [f64],
    /// Last price.
    pub close: &'a [f64],
}

/// Open, high, low and close of new bars.
pub type NewPrices = [Vec<f64>; 4];

/// Chain bars: bar `t` moves as bar `source[t]` did, turned upside down where `down[t]`.
///
/// A move is a ratio, so that prices stay above 0: the open to the close before it, the rest of the
/// bar to its open.
fn chain(prices: &Prices<'_>, source: &[i64], down: &[bool]) -> NewPrices {
    let Prices { open, high, low, close } = *prices;
    let mut out = [(); 4].map(|()| Vec::with_capacity(source.len()));
    let mut before = open.first().copied().unwrap_or_default();
    for (&from, &turned) in source.iter().zip(down) {
        let s = from as usize;
        let last = if s > 0 { close[s - 1] } else { open[s] };
        let bar = if turned {
            let opened = before * (last / open[s]);
            let highest = opened * (open[s] / low[s]);
            let lowest = opened * (open[s] / high[s]);
            [opened, highest, lowest, opened * (open[s] / close[s])]
        } else {
            let opened = before * (open[s] / last);
            let highest = opened * (high[s] / open[s]);
            let lowest = opened * (low[s] / open[s]);
            [opened, highest, lowest, opened * (close[s] / open[s])]
        };
        before = bar[3];
        for (column, price) in out.iter_mut().zip(bar) {
            column.push(price);
        }
    }
    out
}

/// Turn each bar upside down with probability one half.
pub fn shuffle_directions(prices: &Prices<'_>, seed: u64, path: u64) -> NewPrices {
    let n = prices.open.len();
    let mut words = vec![0; n];
    fill_words(&mut words, seed, path);
    let source: Vec<i64> = (0..n as i64).collect();
    let down: Vec<bool> = words.iter().map(|word| word >> 31 == 1).collect();
    chain(prices, &source, &down)
}

/// The bars at each time of day: those of bar `t` are `order[first[t]..first[t] + size[t]]`.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// Bars by time of day.
    pub order: &'a [i64],
    /// Where those of each bar's time of day begin.
    pub first: &'a [i64],
    /// How many there are.
    pub size: &'a [i64],
}

/// Chain blocks of bars, each begun at a bar of the same time of day; the first bar follows the
/// last. Also returns which bar each was.
///
/// # Errors
/// [`EngineError::Value`] if blocks are empty.
pub fn bootstrap_bars(
    prices: &Prices<'_>,
    clock: &Clock<'_>,
    block_length: usize,
    seed: u64,
    path: u64,
) -> EngineResult<(NewPrices, Vec<i64>)> {
    let n = prices.open.len();
    if block_length == 0 {
        let (name, value) = ("block_length", 0.0);
        return Err(EngineError::Value { name, value, allowed: "a number above 0" });
    }
    let mut words = vec![0; n.div_ceil(block_length)];
    fill_words(&mut words, seed, path);
    let mut source = Vec::with_capacity(n);
    for (draw, &word) in words.iter().enumerate() {
        let t = draw * block_length;
        let place = bounded(word, clock.size[t] as u32, seed, path, draw);
        let start = clock.order[clock.first[t] as usize + place] as usize;
        for offset in 0..block_length.min(n - t) {
            source.push(((start + offset) % n) as i64);
        }
    }
    let down = vec![false; n];
    Ok((chain(prices, &source, &down), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_its_published_numbers() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn words_are_those_of_their_places() {
        let mut words = [0; 77];
        fill_words(&mut words, 0x1234_5678_9abc, 1 << 40);
        for (draw, word) in words.iter().enumerate() {
            assert_eq!(*word, word_at(0x1234_5678_9abc, 1 << 40, draw as u64, 0));
        }
    }

    #[test]
    fn a_word_of_the_surplus_is_drawn_again() {
        // of 2^32 words, 2^32 mod 3 = 1 is too many for three numbers: the word 0
        assert_eq!(bounded(1, 3, 0, 0, 5), 0);
        let again = (u64::from(word_at(0, 0, 5, 1)) * 3) >> 32;
        assert_eq!(bounded(0, 3, 0, 0, 5), again as usize);
    }

    #[test]
    fn an_account_ends_at_its_ruin() {
        let observed = |pnl: &[f64], compound| {
            let marks = [0, 1, 3, 4];
            let asked = Resampling {
                kind: OBSERVED,
                pnl,
                costs: &[],
                block_length: 1,
                skip_below: 0,
                capital: 100.0,
                compound,
                marks: &marks,
                seed: 0,
            };
            let made = |level| resample_paths(&asked, 0, 1, 1, 1, level);
            let [first, others @ ..] = Level::ALL.map(made);
            assert!(others.iter().all(|other| other == &first));
            first.unwrap_or_default()
        };
        let steps = [50.0, -30.0, -130.0, 500.0];
        let (numbers, equity) = observed(&steps, false);
        assert_eq!(numbers, [3.0, -10.0, -110.0, 160.0, 100.0 * (160.0 / 150.0), 2.0]);
        assert_eq!(equity, [100.0, 150.0, -10.0, -10.0]);
        let (numbers, _) = observed(&steps[..2], true);
        assert_eq!(numbers[1], 150.0 + 150.0 * -0.3);
    }
}
