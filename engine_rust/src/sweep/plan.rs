//! Many combinations at once: which bars signal, joined with how trades end.
//!
//! A [`Plan`] holds what combinations share: for every source of signals its candidates with their
//! scores, and the outcome of every candidate under every exit. [`Plan::evaluate`] cuts the scores by
//! the thresholds of each signal set and joins the lists with the outcomes, eight exits at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;

use crate::backtest_engine::trade_outcome;
use crate::contract::settle;
use crate::error::{EngineError, EngineResult};
use crate::metrics::{N_METRICS, accumulate, block_ends, finish, finish_blocks, sum_days};
use crate::simd::{LANES, Level, Task, Vector};
use crate::strategy::{Bound, Scores};
use crate::sweep::lanes::{BlockSums, CandidateBar, SignalList, join};
use crate::sweep::lists::{Source, parts_of, signal_lists};
use crate::sweep::outcomes::{Candidate, Exit, OutcomeTable};
use crate::types::{Bars, MetricSettings, Range, Trades};

/// Signal sets that share one list of what passes the loosest of their thresholds.
const GROUP: usize = 32;

/// What is asked of combinations.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// The source of every signal set.
    pub sets: &'a [u32],
    /// Cuts of the scores, one row per set.
    pub thresholds: &'a [f64],
    /// Settings of the metrics.
    pub settings: MetricSettings,
    /// Ranges, each of which starts flat with the initial capital.
    pub ranges: &'a [Range],
    /// Blocks into which the days of each range are cut, to keep sums of their own; 0 for none.
    pub n_blocks: usize,
}

impl Evaluation<'_> {
    /// Numbers of one combination in one range: the metrics, then `S1`, `S2` and days of each block.
    pub fn n_columns(&self) -> usize {
        N_METRICS + 3 * self.n_blocks
    }

    /// The ranges with their days.
    fn spans(&self, bars: &Bars<'_>) -> EngineResult<Vec<Span>> {
        let span = |range: &Range| {
            range.check(bars.len())?;
            let days = (bars.day[range.first], bars.day[range.last - 1]);
            Ok(Span { range: *range, days, ends: block_ends(bars.day, *range, self.n_blocks)? })
        };
        self.ranges.iter().map(span).collect()
    }

    /// The bars from the first of all ranges to the last.
    fn hull(&self) -> Range {
        let first = self.ranges.iter().map(|range| range.first).min();
        let last = self.ranges.iter().map(|range| range.last).max();
        Range { first: first.unwrap_or(0), last: last.unwrap_or(0) }
    }
}

/// A range, its first and last day, and where the blocks of its days end.
struct Span {
    range: Range,
    days: (i32, i32),
    ends: Vec<i32>,
}

/// Counts of work done, and the wish to stop, seen from other threads.
#[derive(Debug, Default)]
pub struct Watch {
    /// Combinations that are done.
    pub done: AtomicU64,
    /// Whether to stop.
    pub cancelled: AtomicBool,
}

/// What the combinations of a sweep share.
#[derive(Debug, Default)]
pub struct Plan {
    bounds: Vec<Bound>,
    sources: Vec<Source>,
    candidates: Vec<Candidate>,
    bars: Vec<CandidateBar>,
}

impl Plan {
    /// Collect the candidates of all sources.
    ///
    /// `loosest` has the loosest threshold of every score; bars that fail it never signal. Sources
    /// share a candidate where bar, side and risk are the same. `day` has the day of every bar. Of a
    /// source's scores only those of its candidates are kept.
    pub fn new(
        bounds: &[Bound],
        loosest: &[f64],
        day: &[i32],
        sources: impl IndexedParallelIterator<Item = Scores>,
    ) -> Self {
        let found: Vec<_> = sources.map(|scores| passing(&scores, bounds, loosest)).collect();
        let keys = found.par_iter().map(|(keys, _)| keys.clone()).reduce(Vec::new, merged);
        let source = |(own, columns): (Vec<Key>, _)| Source { rows: rows_of(&own, &keys), columns };
        Self {
            bounds: bounds.to_vec(),
            sources: found.into_par_iter().map(source).collect(),
            candidates: keys
                .iter()
                .map(|(bar, side, risk)| {
                    let (bar, side, risk) = (*bar as usize, *side, f64::from_bits(*risk));
                    Candidate { bar, side, risk }
                })
                .collect(),
            bars: keys
                .iter()
                .map(|(bar, side, _)| {
                    let (bar, day, side) = (*bar, day[*bar as usize], i32::from(*side));
                    CandidateBar { bar, day, side }
                })
                .collect(),
        }
    }

    /// All candidates, in the order of their bars.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Number of candidates of a source.
    pub fn n_candidates(&self, source: usize) -> usize {
        self.sources[source].rows.len()
    }

    /// Check that signal sets name sources that exist and one threshold per score.
    fn check(&self, asked: &Evaluation<'_>) -> EngineResult<()> {
        let expected = asked.sets.len() * self.bounds.len();
        if asked.thresholds.len() != expected {
            let found = asked.thresholds.len();
            return Err(EngineError::Length { name: "thresholds", expected, found });
        }
        match asked.sets.iter().find(|source| **source as usize >= self.sources.len()) {
            Some(source) => Err(EngineError::Code { name: "source", code: i64::from(*source) }),
            None => Ok(()),
        }
    }

    /// Evaluate every signal set under every exit of the table, in every range.
    ///
    /// The numbers come back range by range and column by column, sets in their order, the exits of
    /// a set side by side. Neither threads nor grouping change a bit. The watch counts a combination
    /// when it is done in all ranges.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`]; [`EngineError::Length`], [`EngineError::Code`],
    /// [`EngineError::Range`] or [`EngineError::Value`] for what cannot be asked.
    pub fn evaluate(
        &self,
        bars: &Bars<'_>,
        table: &OutcomeTable,
        exits: &[Exit<'_>],
        asked: &Evaluation<'_>,
        level: Level,
        watch: &Watch,
    ) -> EngineResult<Vec<f64>> {
        self.check(asked)?;
        let spans = asked.spans(bars)?;
        let (n_exits, n_columns) = (exits.len(), asked.n_columns());
        let n_rows = asked.sets.len() * n_exits;
        let mut out = vec![0.0; spans.len() * n_columns * n_rows];
        if n_rows == 0 {
            return Ok(out);
        }
        let mut groups = self.groups(asked, &mut out, n_exits);
        groups.par_iter_mut().try_for_each(|group| {
            let source = &self.sources[group.source];
            let lists = signal_lists(&self.bars, source, &group.cuts, asked.hull());
            let parts_of = |rows| parts_of(&self.bars, rows, asked.ranges);
            let parts: Vec<_> = lists.iter().map(|rows| parts_of(rows)).collect();
            // Eight exits outside, sets inside: the outcomes that sets share stay in the cache.
            for block in 0..table.n_blocks() {
                for (parts, columns) in parts.iter().zip(&mut group.columns) {
                    if watch.cancelled.load(Ordering::Relaxed) {
                        return Err(EngineError::Cancelled);
                    }
                    let columns = columns.chunks_mut(n_columns);
                    for ((rows, span), columns) in parts.iter().zip(&spans).zip(columns) {
                        let list = SignalList { rows, bars: &self.bars };
                        let settings = &asked.settings;
                        level.run(Join { list, table, block, exits, settings, span, columns });
                    }
                }
            }
            watch.done.fetch_add((lists.len() * n_exits) as u64, Ordering::Relaxed);
            Ok(())
        })?;
        drop(groups);
        Ok(out)
    }

    /// Evaluate combinations that share nothing: one signal set and one exit per row.
    ///
    /// # Errors
    /// As [`Plan::evaluate`].
    pub fn evaluate_each(
        &self,
        bars: &Bars<'_>,
        exits: &[Exit<'_>],
        asked: &Evaluation<'_>,
        watch: &Watch,
    ) -> EngineResult<Vec<f64>> {
        self.check(asked)?;
        let spans = asked.spans(bars)?;
        let n = self.bounds.len();
        let rows: Vec<_> = (0..asked.sets.len())
            .into_par_iter()
            .map(|row| {
                let source = &self.sources[asked.sets[row] as usize];
                let cuts = [self.turned(&asked.thresholds[row * n..][..n])];
                let lists = signal_lists(&self.bars, source, &cuts, asked.hull());
                let parts = parts_of(&self.bars, &lists[0], asked.ranges);
                let mut columns = Vec::with_capacity(spans.len() * asked.n_columns());
                for (rows, span) in parts.into_iter().zip(&spans) {
                    if watch.cancelled.load(Ordering::Relaxed) {
                        return Err(EngineError::Cancelled);
                    }
                    self.walk(bars, rows, &exits[row], &asked.settings, span, &mut columns);
                }
                watch.done.fetch_add(1, Ordering::Relaxed);
                Ok(columns)
            })
            .collect::<EngineResult<_>>()?;
        let mut out = vec![0.0; spans.len() * asked.n_columns() * rows.len()];
        for (k, column) in out.chunks_mut(rows.len().max(1)).enumerate() {
            for (value, columns) in column.iter_mut().zip(&rows) {
                *value = columns[k];
            }
        }
        Ok(out)
    }

    /// Follow the trades of one combination, as the single run does, and append what they give.
    fn walk(
        &self,
        bars: &Bars<'_>,
        rows: &[u32],
        exit: &Exit<'_>,
        settings: &MetricSettings,
        span: &Span,
        columns: &mut Vec<f64>,
    ) {
        let Exit { rules, contract, atr } = exit;
        let mut trades = Trades::default();
        let mut equity = contract.initial_capital;
        let mut free = 0;
        for row in rows {
            let Candidate { bar, side, risk } = self.candidates[*row as usize];
            if bar < free {
                continue;
            }
            let found = trade_outcome(bars, atr, risk, rules, contract, bar, side);
            let Some(outcome) = found else { continue };
            let settled = settle(&outcome, side, contract);
            trades.push(bar, side, &outcome, &settled);
            equity += settled.pnl;
            if equity <= 0.0 {
                break;
            }
            free = outcome.exit_bar;
        }
        let sums = accumulate(&trades, bars.day, contract, settings, span.range);
        columns.extend(finish(&sums, contract, settings, span.range));
        let mut blocks = vec![[0.0; 2]; span.ends.len()];
        sum_days(&trades, bars.day, contract.initial_capital, 0.0, &span.ends, &mut blocks);
        columns.extend(finish_blocks(&span.ends, span.days.0, sums.days, |block| blocks[block]));
    }

    /// Put together neighbouring sets of one source, with the places of their results.
    fn groups<'o>(
        &self,
        asked: &Evaluation<'_>,
        out: &'o mut [f64],
        n_exits: usize,
    ) -> Vec<Group<'o>> {
        let Evaluation { sets, thresholds, ranges, .. } = *asked;
        let (n, n_places) = (self.bounds.len(), ranges.len() * asked.n_columns());
        let mut places: Vec<Vec<&mut [f64]>> =
            sets.iter().map(|_| Vec::with_capacity(n_places)).collect();
        for column in out.chunks_mut(sets.len() * n_exits) {
            for (place, part) in places.iter_mut().zip(column.chunks_mut(n_exits)) {
                place.push(part);
            }
        }
        let mut groups: Vec<Group<'o>> = Vec::new();
        for (set, columns) in places.into_iter().enumerate() {
            let source = sets[set] as usize;
            let cuts = self.turned(&thresholds[set * n..][..n]);
            match groups.last_mut() {
                Some(group) if group.source == source && group.columns.len() < GROUP => {
                    group.cuts.push(cuts);
                    group.columns.push(columns);
                }
                _ => groups.push(Group { source, cuts: vec![cuts], columns: vec![columns] }),
            }
        }
        groups
    }

    /// Thresholds turned so that `score >= cut` passes.
    fn turned(&self, thresholds: &[f64]) -> Vec<f64> {
        let turn = |(bound, threshold): (&Bound, &f64)| bound.turned_threshold(*threshold);
        self.bounds.iter().zip(thresholds).map(turn).collect()
    }
}

/// Bar, side and the bits of the risk: what makes a candidate.
type Key = (u32, i8, u64);

/// Candidates of one source that pass the loosest thresholds, in the order of their bars, with the
/// columns of their scores, turned.
fn passing(scores: &Scores, bounds: &[Bound], loosest: &[f64]) -> (Vec<Key>, Vec<Vec<f64>>) {
    let bars: Vec<usize> = (0..scores.side.len())
        .filter(|bar| scores.side[*bar] != 0)
        .filter(|bar| {
            let mut columns = scores.columns.iter().zip(bounds).zip(loosest);
            columns.all(|((column, bound), cut)| bound.passes(column[*bar], *cut))
        })
        .collect();
    let risk = |bar: usize| scores.risk.get(bar).copied().unwrap_or(f64::NAN);
    let key = |bar: &usize| (*bar as u32, scores.side[*bar], risk(*bar).to_bits());
    let turned = |(column, bound): (&Vec<f64>, &Bound)| {
        bars.iter().map(|bar| bound.turned_score(column[*bar])).collect()
    };
    let columns = scores.columns.iter().zip(bounds).map(turned).collect();
    (bars.iter().map(key).collect(), columns)
}

/// All keys of two sorted lists, sorted, each once.
fn merged(some: Vec<Key>, others: Vec<Key>) -> Vec<Key> {
    let mut all = Vec::with_capacity(some.len().max(others.len()));
    let mut rest = others.as_slice();
    for key in some {
        let (lower, after) = rest.split_at(before_key(rest, &key));
        all.extend_from_slice(lower);
        all.push(key);
        rest = if after.first() == Some(&key) { &after[1..] } else { after };
    }
    all.extend_from_slice(rest);
    all
}

/// Places of keys in the sorted list of all.
fn rows_of(own: &[Key], all: &[Key]) -> Vec<u32> {
    let mut place = 0;
    let row = |key| {
        place += before_key(&all[place..], key);
        place as u32
    };
    own.iter().map(row).collect()
}

/// How many of sorted keys are below one that is likely to be near.
fn before_key(keys: &[Key], key: &Key) -> usize {
    let mut end = 1;
    while end < keys.len() && keys[end] < *key {
        end *= 2;
    }
    let begin = end / 2;
    begin + keys[begin..end.min(keys.len())].partition_point(|other| other < key)
}

/// Signal sets of one source, and where their numbers go: per set one slice per range and column.
struct Group<'o> {
    source: usize,
    cuts: Vec<Vec<f64>>,
    columns: Vec<Vec<&'o mut [f64]>>,
}

/// The join of one signal set with eight exits, in one range.
struct Join<'a, 'o> {
    list: SignalList<'a>,
    table: &'a OutcomeTable,
    block: usize,
    exits: &'a [Exit<'a>],
    settings: &'a MetricSettings,
    span: &'a Span,
    columns: &'a mut [&'o mut [f64]],
}

impl Task for Join<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { list, table, block, exits, settings, span, columns } = self;
        let Span { range, days, ends } = span;
        let rf = settings.risk_free_rate / settings.periods_per_year;
        let exits = &exits[block * LANES..];
        let capital = std::array::from_fn(|lane| {
            exits.get(lane).map_or(1.0, |exit| exit.contract.initial_capital)
        });
        let cells = table.block(block);
        let mut blocks: Vec<BlockSums> = vec![[[0.0; LANES]; 2]; ends.len()];
        let (days, sums) = (*days, &mut blocks);
        let sums = match (table.same_day, ends.is_empty()) {
            (true, true) => join::<V, true, false>(list, cells, &capital, rf, days, ends, sums),
            (true, false) => join::<V, true, true>(list, cells, &capital, rf, days, ends, sums),
            (false, true) => join::<V, false, false>(list, cells, &capital, rf, days, ends, sums),
            (false, false) => join::<V, false, true>(list, cells, &capital, rf, days, ends, sums),
        };
        let (metric_columns, block_columns) = columns.split_at_mut(N_METRICS);
        for (lane, (sums, exit)) in sums.iter().zip(exits).enumerate() {
            let place = block * LANES + lane;
            let metrics = finish(sums, &exit.contract, settings, *range);
            for (column, value) in metric_columns.iter_mut().zip(metrics) {
                column[place] = value;
            }
            let of_lane = |block: usize| blocks[block].map(|sums| sums[lane]);
            let values = finish_blocks(ends, days.0, sums.days, of_lane);
            for (column, value) in block_columns.iter_mut().zip(values) {
                column[place] = value;
            }
        }
    }
}
