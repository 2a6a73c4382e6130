//! The join of a sweep: eight combinations as lanes of a vector over one list of signals.
//!
//! Mirrors `engines/numba_engine/sweep/lanes.py`. Eight exits share the signals. The list is visited
//! once, in order; a lane takes a signal when its position is flat. Each lane adds in trade order, one
//! number at a time, as the single run does: an idle lane adds `+0.0`, which changes no bit. The sums
//! become metrics by the same `finish`. What differs: counts are packed into two words per lane.

use crate::contract::Contract;
use crate::metrics::{
    DaySums, N_METRICS, PnlSums, Sums, counted_days, finish, finish_blocks, sums,
};
use crate::simd::{LANES, Vector};
use crate::sweep::outcomes::{
    AMBIGUOUS, AMBIGUOUS_REASONS, CandidateBar, Cell, FIELD_BITS, LONGS, LOSSES, MOST_COUNTED,
    N_FIELDS, WINS,
};
use crate::types::{MetricSettings, N_REASONS, Range};

/// Fields that the first word of packed counts holds.
const FIRST_WORD_FIELDS: usize = 64 / FIELD_BITS as usize;
const _: () = assert!(N_FIELDS <= 2 * FIRST_WORD_FIELDS, "the counts fit two words");

/// A list of signals over a table of candidates.
#[derive(Clone, Copy, Debug)]
pub struct SignalList<'a> {
    /// Candidates that signal, in the order of their bars.
    pub rows: &'a [u32],
    /// Bar, day and side of every candidate.
    pub bars: &'a [CandidateBar],
}

/// `S1` and `S2` of every lane over one block of days.
pub type BlockSums = [[f64; LANES]; 2];
/// The count of every field in every lane.
type Counts = [[u32; LANES]; N_FIELDS];

sums! {
    /// What lanes keep beside the sums of pnl and days.
    pub struct OtherSums {
        /// Sum of the positive pnl.
        gain,
        /// Sum of the negative pnl.
        loss,
        /// Bars held in all.
        bars_held,
        /// Largest fall of the equity below its peak.
        max_drawdown,
        /// Largest fall as a share of the peak.
        max_drawdown_ratio,
        /// Largest pnl.
        best,
        /// Smallest pnl.
        worst,
        /// Longest run of wins.
        longest_win,
        /// Longest run of losses, negative.
        longest_loss,
        /// Money at the end.
        equity,
        /// Day of the last exit.
        exit_day,
    }
}

/// What [`join`] finds for eight exits.
#[derive(Debug)]
pub struct LaneSums {
    /// Sums over the pnl of trades.
    pub of_pnl: PnlSums<[f64; LANES]>,
    /// Sums over days.
    pub of_days: DaySums<[f64; LANES]>,
    /// All others.
    pub others: OtherSums<[f64; LANES]>,
    /// A row for each field.
    pub counts: Counts,
}

/// Sums per lane that change when a day closes.
#[derive(Clone, Copy)]
struct Days<V: Vector> {
    day_pnl: V,
    equity_before: V,
    sums: DaySums<V>,
    block_returns: V,
    block_squares: V,
}

impl<V: Vector> Days<V> {
    /// Close the day of the lanes of `mask`, whose equity is `equity` by now.
    #[inline(always)]
    fn close_day<const BLOCKS: bool>(&mut self, mask: V::Mask, equity: V, rf: V) {
        let zero = V::splat(0.0);
        let r = self.day_pnl.div(self.equity_before).keep(mask);
        let x = r.sub(rf);
        let below = V::and(mask, zero.gt(x));
        self.sums.add(r, x.mul(x).keep(below), V::splat(1.0).keep(mask));
        self.equity_before = V::select(mask, equity, self.equity_before);
        self.day_pnl = V::select(mask, zero, self.day_pnl);
        if BLOCKS {
            self.block_returns = self.block_returns.add(r);
            self.block_squares = self.block_squares.add(r.mul(r));
        }
    }

    /// End the block before day `end`: close the days in it that are open, return its sums.
    ///
    /// Signals from that day on can neither add to these days nor have closed a later one. So all
    /// lanes pass from block to block together.
    #[inline(always)]
    fn end_block(
        &mut self,
        open_day: &mut V::Mask,
        exit_day: V,
        end: i32,
        equity: V,
        rf: V,
    ) -> BlockSums {
        let passed = V::and(*open_day, V::splat(f64::from(end)).gt(exit_day));
        self.close_day::<true>(passed, equity, rf);
        *open_day = V::and_not(*open_day, passed);
        let sums = [stored(self.block_returns), stored(self.block_squares)];
        (self.block_returns, self.block_squares) = (V::splat(0.0), V::splat(0.0));
        sums
    }
}

/// Walk a list of signals for eight exits and return the sums and counts of each.
///
/// `SAME_DAY` tells that every position closes on the day of its signal. With `BLOCKS`, `blocks` gets
/// the sums of the blocks of days that end at `ends`.
#[inline(always)]
pub fn join<V: Vector, const SAME_DAY: bool, const BLOCKS: bool>(
    signals: SignalList<'_>,
    cells: &[Cell],
    capital: &[f64; LANES],
    rf: f64,
    ends: &[i32],
    blocks: &mut [BlockSums],
) -> LaneSums {
    let mut counts: Counts = [[0; LANES]; N_FIELDS];
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let rf_lanes = V::splat(rf);
    let start = V::load(capital);
    let (mut equity, mut peak) = (start, start);
    let mut days = Days::<V> {
        day_pnl: zero,
        equity_before: start,
        sums: DaySums::new(zero),
        block_returns: zero,
        block_squares: zero,
    };
    let mut of_pnl = PnlSums::new(zero);
    let (mut gain, mut loss) = (zero, zero);
    let (mut max_drawdown, mut max_ratio, mut fall, mut held) = (zero, zero, zero, zero);
    let (mut streak, mut longest_win, mut longest_loss) = (zero, zero, zero);
    let (mut best, mut worst) = (V::splat(f64::NEG_INFINITY), V::splat(f64::INFINITY));
    let (mut free, mut exit_day) = (zero, V::splat(-1.0));
    let mut open_day = V::none();
    let (mut first_word, mut second_word) = (V::no_words(), V::no_words());
    let (mut tallied, mut signal_day, mut block) = (0, i32::MIN, 0);
    for &row in signals.rows {
        let row = row as usize;
        let CandidateBar { bar, day, side } = signals.bars[row];
        let cell = &cells[row];
        let bar = V::splat(f64::from(bar));
        let exit = V::load_f32(&cell.exit_bar);
        let take = V::and(free.le(bar), exit.gt(bar));
        let exit_at = V::splat(f64::from(day));
        let exit_at = if SAME_DAY { exit_at } else { exit_at.add(V::load_u16(&cell.days)) };
        while BLOCKS && day >= ends[block] {
            blocks[block] = days.end_block(&mut open_day, exit_day, ends[block], equity, rf_lanes);
            block += 1;
        }
        if SAME_DAY {
            if day != signal_day {
                days.close_day::<BLOCKS>(open_day, equity, rf_lanes);
                open_day = V::none();
                signal_day = day;
            }
        } else {
            let later = V::and(V::and(take, open_day), exit_at.gt(exit_day));
            // A branch would be mispredicted: closing no lane costs less than that.
            days.close_day::<BLOCKS>(later, equity, rf_lanes);
        }
        open_day = V::or(open_day, take);
        exit_day = V::select(take, exit_at, exit_day);
        let pnl = V::load(&cell.pnl).keep(take);
        of_pnl.add(pnl);
        equity = equity.add(pnl);
        days.day_pnl = days.day_pnl.add(pnl);
        gain = gain.add(pnl.larger(zero));
        loss = loss.add(pnl.smaller(zero));
        // Peaks only rise: a fall has the largest ratio to its peak only if it is deeper than all
        // before, and among the falls below one peak the deepest counts. So both wait for a new one.
        let higher = equity.gt(peak);
        let deeper = V::and(higher, fall.gt(max_drawdown));
        if V::any_lane(deeper) {
            max_drawdown = V::select(deeper, fall, max_drawdown);
            max_ratio = fall.div(peak).keep(deeper).larger(max_ratio);
        }
        peak = V::select(higher, equity, peak);
        fall = V::select(higher, zero, peak.sub(equity).larger(fall));
        best = V::select(take, pnl.larger(best), best);
        worst = V::select(take, pnl.smaller(worst), worst);
        held = held.add(exit.sub(bar.add(one)).keep(take));
        let (won, lost) = (pnl.gt(zero), zero.gt(pnl));
        let longer_win = streak.larger(zero).add(one);
        let longer_loss = streak.smaller(zero).sub(one).keep(lost);
        streak = V::select(take, V::select(won, longer_win, longer_loss), streak);
        longest_win = streak.larger(longest_win);
        longest_loss = streak.smaller(longest_loss);
        first_word = V::count(first_word, &cell.shift, 0, take);
        second_word =
            V::count(second_word, &cell.shift, FIELD_BITS * FIRST_WORD_FIELDS as u8, take);
        second_word = V::count_all(second_word, 1 << second_shift(WINS), won);
        second_word = V::count_all(second_word, 1 << second_shift(LOSSES), lost);
        let long = u64::from(side > 0);
        second_word = V::count_all(second_word, long << second_shift(LONGS), take);
        free = V::select(take, exit, free);
        let ruined = V::and(take, equity.le(zero));
        if V::any_lane(ruined) {
            free = V::select(ruined, V::splat(f64::INFINITY), free);
        }
        tallied += 1;
        if tallied == MOST_COUNTED {
            move_counts::<V>(&mut counts, first_word, second_word);
            (first_word, second_word, tallied) = (V::no_words(), V::no_words(), 0);
        }
    }
    move_counts::<V>(&mut counts, first_word, second_word);
    if BLOCKS {
        for (end, sums) in ends.iter().zip(blocks).skip(block) {
            *sums = days.end_block(&mut open_day, exit_day, *end, equity, rf_lanes);
        }
    }
    days.close_day::<BLOCKS>(open_day, equity, rf_lanes);
    let max_drawdown_ratio = fall.div(peak).larger(max_ratio);
    let max_drawdown = fall.larger(max_drawdown);
    let others = OtherSums {
        gain,
        loss,
        bars_held: held,
        max_drawdown,
        max_drawdown_ratio,
        best,
        worst,
        longest_win,
        longest_loss,
        equity,
        exit_day,
    };
    LaneSums {
        of_pnl: of_pnl.map(stored),
        of_days: days.sums.map(stored),
        others: others.map(stored),
        counts,
    }
}

/// The lanes of a vector in memory.
#[inline(always)]
fn stored<V: Vector>(lanes: V) -> [f64; LANES] {
    let mut out = [0.0; LANES];
    lanes.store(&mut out);
    out
}

/// Bits by which a field is shifted in the second word of packed counts.
const fn second_shift(field: usize) -> u8 {
    FIELD_BITS * (field - FIRST_WORD_FIELDS) as u8
}

/// Move the packed counts to wide ones.
#[inline(always)]
fn move_counts<V: Vector>(counts: &mut Counts, first_word: V::Words, second_word: V::Words) {
    let (first, second) = (V::words_to_array(first_word), V::words_to_array(second_word));
    let (early, late) = counts.split_at_mut(FIRST_WORD_FIELDS);
    for (words, counts) in [(first, early), (second, late)] {
        for (place, wide) in counts.iter_mut().enumerate() {
            for (count, word) in wide.iter_mut().zip(&words) {
                *count += (word >> (FIELD_BITS * place as u8) & MOST_COUNTED as u64) as u32;
            }
        }
    }
}

/// Set the numbers of one lane: its metrics, then `S1`, `S2` and days of each block.
///
/// `days` are the first and the last of the range, `ends` those of its blocks. Each number goes to its
/// own of the `columns`, at `place`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn numbers_of_lane(
    found: &LaneSums,
    blocks: &[BlockSums],
    lane: usize,
    days: (i32, i32),
    contract: &Contract,
    settings: &MetricSettings,
    range: Range,
    ends: &[i32],
    columns: &mut [&mut [f64]],
    place: usize,
) {
    let others = found.others.map(|sums| sums[lane]);
    let count = |k: usize| found.counts[k][lane] as usize;
    let mut reasons: [usize; N_REASONS] = std::array::from_fn(count);
    let mut ambiguous = 0;
    for (k, reason) in AMBIGUOUS_REASONS.into_iter().enumerate() {
        let found = count(AMBIGUOUS + k);
        reasons[reason as usize] += found;
        ambiguous += found;
    }
    let ruined = others.equity <= 0.0;
    let (first_day, last_day) = days;
    let total = Sums {
        of_pnl: found.of_pnl.map(|sums| sums[lane]),
        of_days: found.of_days.map(|sums| sums[lane]),
        gain: others.gain,
        loss: others.loss,
        max_drawdown: others.max_drawdown,
        max_drawdown_ratio: others.max_drawdown_ratio,
        best: others.best,
        worst: others.worst,
        trades: reasons.iter().sum(),
        wins: count(WINS),
        losses: count(LOSSES),
        longs: count(LONGS),
        max_win_streak: others.longest_win as usize,
        max_loss_streak: -others.longest_loss as usize,
        bars_held: others.bars_held as usize,
        ambiguous,
        days: counted_days(first_day, last_day, others.exit_day as i32, ruined),
        ruined,
        reasons,
    };
    let (metric_columns, block_columns) = columns.split_at_mut(N_METRICS);
    let metrics = finish(&total, contract, settings, range.last - range.first);
    for (column, number) in metric_columns.iter_mut().zip(metrics) {
        column[place] = number;
    }
    let of_lane = |block: usize| blocks[block].map(|sums| sums[lane]);
    let numbers = finish_blocks(ends, first_day, total.days, of_lane);
    for (column, number) in block_columns.iter_mut().zip(numbers) {
        column[place] = number;
    }
}
