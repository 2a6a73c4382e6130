//! The join of a sweep: eight combinations as lanes of a vector over one list of signals.
//!
//! Eight exits share the signals. The list is visited once, in order; a lane takes a signal when its
//! position is flat. Each lane adds in trade order, one number at a time, as the single run does: an
//! idle lane adds `+0.0`, which changes no bit. The sums become metrics by the same `finish`.

use crate::metrics::{DaySums, Sums, TradeSums, counted_days};
use crate::simd::{LANES, Vector};
use crate::sweep::outcomes::{AMBIGUOUS_REASONS, CLASS_BITS, Cell, N_CLASSES};
use crate::types::N_REASONS;

/// What the join needs to know of a candidate, close together.
#[derive(Clone, Copy, Debug)]
pub struct CandidateBar {
    /// Bar of the signal.
    pub bar: u32,
    /// Its trading day.
    pub day: i32,
    /// 1 for a long, -1 for a short.
    pub side: i32,
}

/// A list of signals over a table of candidates.
#[derive(Clone, Copy, Debug)]
pub struct SignalList<'a> {
    /// Candidates that signal, in the order of their bars.
    pub rows: &'a [u32],
    /// Bar, day and side of every candidate.
    pub bars: &'a [CandidateBar],
}

/// What is counted in the first word: classes 0 to 7, eight bits each.
const FIRST_WORD_CLASSES: usize = 8;
/// Where the second word counts wins, losses and longs, behind the other classes.
const WIN_SHIFT: u8 = CLASS_BITS * (N_CLASSES - FIRST_WORD_CLASSES) as u8;
const LOSS_SHIFT: u8 = WIN_SHIFT + CLASS_BITS;
const LONG_SHIFT: u8 = LOSS_SHIFT + CLASS_BITS;
const N_COUNTERS: usize = N_CLASSES + 3;
/// Two words are all there is.
const _: () = assert!(N_COUNTERS <= 2 * FIRST_WORD_CLASSES);
/// Signals after which the eight-bit counts are moved to wide ones.
const FLUSH: usize = 255;

/// Wide counts of every lane.
type Counters = [[u32; LANES]; N_COUNTERS];

/// Sums per lane that change when a day closes.
#[derive(Clone, Copy)]
struct Days<V: Vector> {
    day_pnl: V,
    equity_before: V,
    sums: DaySums<V>,
    block_returns: V,
    block_squares: V,
}

/// `S1` and `S2` of every lane over one block of days.
pub type BlockSums = [[f64; LANES]; 2];

impl<V: Vector> Days<V> {
    /// Close the day of the lanes of `mask`, whose equity is `equity` by now.
    #[inline(always)]
    fn close<const BLOCKS: bool>(&mut self, mask: V::Mask, equity: V, rf: V) {
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
        self.close::<true>(passed, equity, rf);
        *open_day = V::and_not(*open_day, passed);
        let sums = [self.block_returns.to_array(), self.block_squares.to_array()];
        (self.block_returns, self.block_squares) = (V::splat(0.0), V::splat(0.0));
        sums
    }
}

/// Walk a list of signals for eight exits and return the sums of each.
///
/// `SAME_DAY` tells that every position closes on the day of its signal; the days are the first and
/// the last of the evaluation range. With `BLOCKS`, `blocks` gets the sums of its blocks of days, which
/// end at `ends`.
#[inline(always)]
pub fn join<V: Vector, const SAME_DAY: bool, const BLOCKS: bool>(
    list: SignalList<'_>,
    cells: &[Cell],
    capital: &[f64; LANES],
    rf: f64,
    (first_day, last_day): (i32, i32),
    ends: &[i32],
    blocks: &mut [BlockSums],
) -> [Sums; LANES] {
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
    let mut of_trades = TradeSums::new(zero);
    let (mut gain, mut loss) = (zero, zero);
    let (mut max_drawdown, mut max_ratio, mut fall) = (zero, zero, zero);
    let (mut streak, mut longest_win, mut longest_loss) = (zero, zero, zero);
    let (mut best, mut worst) = (V::splat(f64::NEG_INFINITY), V::splat(f64::INFINITY));
    let (mut free, mut exit_day) = (zero, V::splat(-1.0));
    let mut open_day = V::none();
    let (mut first_word, mut second_word) = (V::no_words(), V::no_words());
    let mut counters: Counters = [[0; LANES]; N_COUNTERS];
    let (mut uncounted, mut signal_day, mut block) = (0, i32::MIN, 0);
    for &row in list.rows {
        let row = row as usize;
        let CandidateBar { bar, day, side } = list.bars[row];
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
                days.close::<BLOCKS>(open_day, equity, rf_lanes);
                open_day = V::none();
                signal_day = day;
            }
        } else {
            let later = V::and(V::and(take, open_day), exit_at.gt(exit_day));
            // A branch would be a guess: closing no lane costs less than a wrong one.
            days.close::<BLOCKS>(later, equity, rf_lanes);
        }
        open_day = V::or(open_day, take);
        exit_day = V::select(take, exit_at, exit_day);
        let pnl = V::load(&cell.pnl).keep(take);
        of_trades.add(pnl, exit.sub(bar.add(one)).keep(take));
        equity = equity.add(pnl);
        days.day_pnl = days.day_pnl.add(pnl);
        gain = gain.add(pnl.larger(zero));
        loss = loss.add(pnl.smaller(zero));
        // Peaks only rise: a fall has the largest ratio to its peak only if it is deeper than all
        // before, and among the falls below one peak the deepest counts. So both wait for a new one.
        let higher = equity.gt(peak);
        let deeper = V::and(higher, fall.gt(max_drawdown));
        if V::bits(deeper) != 0 {
            max_drawdown = V::select(deeper, fall, max_drawdown);
            max_ratio = fall.div(peak).keep(deeper).larger(max_ratio);
        }
        peak = V::select(higher, equity, peak);
        fall = V::select(higher, zero, peak.sub(equity).larger(fall));
        best = V::select(take, pnl.larger(best), best);
        worst = V::select(take, pnl.smaller(worst), worst);
        let (won, lost) = (pnl.gt(zero), zero.gt(pnl));
        let longer_win = streak.larger(zero).add(one);
        let longer_loss = streak.smaller(zero).sub(one).keep(lost);
        streak = V::select(take, V::select(won, longer_win, longer_loss), streak);
        longest_win = streak.larger(longest_win);
        longest_loss = streak.smaller(longest_loss);
        first_word = V::count(first_word, &cell.class, 0, take);
        let less = CLASS_BITS * FIRST_WORD_CLASSES as u8;
        second_word = V::count(second_word, &cell.class, less, take);
        second_word = V::count_all(second_word, 1 << WIN_SHIFT, won);
        second_word = V::count_all(second_word, 1 << LOSS_SHIFT, lost);
        let long = u64::from(side > 0);
        second_word = V::count_all(second_word, long << LONG_SHIFT, take);
        free = V::select(take, exit, free);
        let ruined = V::and(take, equity.le(zero));
        if V::bits(ruined) != 0 {
            free = V::select(ruined, V::splat(f64::INFINITY), free);
        }
        uncounted += 1;
        if uncounted == FLUSH {
            flush::<V>(&mut counters, first_word, second_word);
            (first_word, second_word, uncounted) = (V::no_words(), V::no_words(), 0);
        }
    }
    flush::<V>(&mut counters, first_word, second_word);
    if BLOCKS {
        for (end, sums) in ends.iter().zip(blocks).skip(block) {
            *sums = days.end_block(&mut open_day, exit_day, *end, equity, rf_lanes);
        }
    }
    days.close::<BLOCKS>(open_day, equity, rf_lanes);
    max_drawdown = fall.larger(max_drawdown);
    max_ratio = fall.div(peak).larger(max_ratio);
    let exit_day = exit_day.to_array();
    let equity = equity.to_array();
    let of_trades = of_trades.map(V::to_array);
    let of_days = days.sums.map(V::to_array);
    let (gain, loss) = (gain.to_array(), loss.to_array());
    let (max_drawdown, max_ratio) = (max_drawdown.to_array(), max_ratio.to_array());
    let (best, worst) = (best.to_array(), worst.to_array());
    let (longest_win, longest_loss) = (longest_win.to_array(), longest_loss.to_array());
    std::array::from_fn(|lane| {
        let count = |k: usize| counters[k][lane] as usize;
        let mut reasons: [usize; N_REASONS] = std::array::from_fn(count);
        let mut ambiguous = 0;
        for (k, reason) in AMBIGUOUS_REASONS.into_iter().enumerate() {
            let found = count(N_CLASSES - AMBIGUOUS_REASONS.len() + k);
            reasons[reason as usize] += found;
            ambiguous += found;
        }
        let trades = reasons.iter().sum();
        let ruined = equity[lane] <= 0.0;
        let days = counted_days(first_day, last_day, exit_day[lane] as i32, ruined);
        Sums {
            of_trades: of_trades.map(|column| column[lane]),
            of_days: of_days.map(|column| column[lane]),
            gain: gain[lane],
            loss: loss[lane],
            max_drawdown: max_drawdown[lane],
            max_drawdown_ratio: max_ratio[lane],
            best: best[lane],
            worst: worst[lane],
            trades,
            wins: count(N_CLASSES),
            losses: count(N_CLASSES + 1),
            longs: count(N_CLASSES + 2),
            max_win_streak: longest_win[lane] as usize,
            max_loss_streak: -longest_loss[lane] as usize,
            ambiguous,
            days,
            ruined,
            reasons,
        }
    })
}

/// Move the eight-bit counts to the wide ones.
#[inline(always)]
fn flush<V: Vector>(counters: &mut Counters, first_word: V::Words, second_word: V::Words) {
    let (first, second) = (V::words_to_array(first_word), V::words_to_array(second_word));
    let (early, late) = counters.split_at_mut(FIRST_WORD_CLASSES);
    for (words, counters) in [(first, early), (second, late)] {
        for (place, wide) in counters.iter_mut().enumerate() {
            for (count, word) in wide.iter_mut().zip(&words) {
                *count += (word >> (CLASS_BITS * place as u8) & 0xFF) as u32;
            }
        }
    }
}
