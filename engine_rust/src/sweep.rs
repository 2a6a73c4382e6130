//! Many combinations at once: which bars signal, joined with how trades end.
//!
//! A [`Plan`] holds what combinations share: for every source of signals its candidates with their
//! scores, and the outcome of every candidate under every exit. [`Plan::evaluate`] cuts the scores by
//! the thresholds of each signal set and joins the lists with the outcomes, eight exits at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;

use crate::backtest_engine::{settle, trade_outcome};
use crate::error::{EngineError, EngineResult};
use crate::lanes::{CandidateBar, SignalList, join};
use crate::metrics::{accumulate, finish};
use crate::outcomes::{Candidate, Exit, OutcomeTable};
use crate::simd::{LANES, Level, Task, Vector};
use crate::strategy::{Bound, Scores};
use crate::types::{Bars, N_METRICS, Range, Settings, Trades};

/// Signal sets that share one list of what passes the loosest of their thresholds.
const GROUP: usize = 32;

/// Candidates of one source of signals that pass the loosest thresholds of the sweep.
#[derive(Debug)]
struct Source {
    /// Rows in the table of candidates.
    rows: Vec<u32>,
    /// Scores of these rows, one column per threshold, turned so that `score >= cut` passes.
    columns: Vec<Vec<f64>>,
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
    ///
    /// # Errors
    /// [`EngineError::Length`] or [`EngineError::Code`].
    pub fn check(&self, sets: &[u32], thresholds: &[f64]) -> EngineResult<()> {
        let expected = sets.len() * self.bounds.len();
        if thresholds.len() != expected {
            let found = thresholds.len();
            return Err(EngineError::Length { name: "thresholds", expected, found });
        }
        match sets.iter().find(|source| **source as usize >= self.sources.len()) {
            Some(source) => Err(EngineError::Code { name: "source", code: i64::from(*source) }),
            None => Ok(()),
        }
    }

    /// Evaluate every signal set under every exit of the table.
    ///
    /// `sets` are sources, `thresholds` their cuts, one row per set. The metrics come back column by
    /// column, sets in their order, the exits of a set side by side. Neither threads nor grouping
    /// change a bit.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`], or what [`Plan::check`] finds.
    #[allow(clippy::too_many_arguments)]
    pub fn evaluate(
        &self,
        bars: &Bars<'_>,
        table: &OutcomeTable,
        exits: &[Exit<'_>],
        sets: &[u32],
        thresholds: &[f64],
        settings: &Settings,
        range: Range,
        level: Level,
        watch: &Watch,
    ) -> EngineResult<Vec<f64>> {
        self.check(sets, thresholds)?;
        let n_exits = exits.len();
        let days = (bars.day[range.first], bars.day[range.last - 1]);
        let n_rows = sets.len() * n_exits;
        let mut out = vec![0.0; N_METRICS * n_rows];
        if n_rows == 0 {
            return Ok(out);
        }
        let mut groups = self.groups(sets, thresholds, &mut out, n_exits);
        groups.par_iter_mut().try_for_each(|group| {
            let source = &self.sources[group.source];
            let lists = self.lists(source, &group.cuts, range);
            // Blocks outside, sets inside: the outcomes that the sets share stay in the cache.
            for block in 0..table.n_blocks() {
                if watch.cancelled.load(Ordering::Relaxed) {
                    return Err(EngineError::Cancelled);
                }
                for (rows, columns) in lists.iter().zip(&mut group.columns) {
                    let list = SignalList { rows, bars: &self.bars };
                    level.run(Join { list, table, block, exits, settings, days, range, columns });
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
    #[allow(clippy::too_many_arguments)]
    pub fn evaluate_each(
        &self,
        bars: &Bars<'_>,
        exits: &[Exit<'_>],
        sets: &[u32],
        thresholds: &[f64],
        settings: &Settings,
        range: Range,
        watch: &Watch,
    ) -> EngineResult<Vec<f64>> {
        self.check(sets, thresholds)?;
        let n = self.bounds.len();
        let rows: Vec<_> = (0..sets.len())
            .into_par_iter()
            .map(|row| {
                if watch.cancelled.load(Ordering::Relaxed) {
                    return Err(EngineError::Cancelled);
                }
                let source = &self.sources[sets[row] as usize];
                let cuts = [self.turned(&thresholds[row * n..][..n])];
                let rows = self.lists(source, &cuts, range).swap_remove(0);
                let metrics = self.walk(bars, &rows, &exits[row], settings, range);
                watch.done.fetch_add(1, Ordering::Relaxed);
                Ok(metrics)
            })
            .collect::<EngineResult<_>>()?;
        let mut out = vec![0.0; N_METRICS * rows.len()];
        for (k, column) in out.chunks_mut(rows.len().max(1)).enumerate() {
            for (value, metrics) in column.iter_mut().zip(&rows) {
                *value = metrics[k];
            }
        }
        Ok(out)
    }

    /// Follow the trades of one combination, as the single run does.
    fn walk(
        &self,
        bars: &Bars<'_>,
        rows: &[u32],
        exit: &Exit<'_>,
        settings: &Settings,
        range: Range,
    ) -> [f64; N_METRICS] {
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
        let sums = accumulate(&trades, bars.day, contract, settings, range);
        finish(&sums, contract, settings, range)
    }

    /// Put together neighbouring sets of one source, with the places of their results.
    fn groups<'o>(
        &self,
        sets: &[u32],
        thresholds: &[f64],
        out: &'o mut [f64],
        n_exits: usize,
    ) -> Vec<Group<'o>> {
        let n = self.bounds.len();
        let mut places: Vec<Vec<&mut [f64]>> =
            sets.iter().map(|_| Vec::with_capacity(N_METRICS)).collect();
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

    /// The signals of several sets of one source, as rows of candidates.
    ///
    /// What passes the loosest of the cuts is listed first; a set tests only what is tighter.
    fn lists(&self, source: &Source, cuts: &[Vec<f64>], range: Range) -> Vec<Vec<u32>> {
        let mut loosest = cuts[0].clone();
        for cuts in &cuts[1..] {
            for (loose, cut) in loosest.iter_mut().zip(cuts) {
                *loose = if *cut < *loose { *cut } else { *loose };
            }
        }
        let bar_of = |row: &u32| self.bars[*row as usize].bar as usize;
        let first = source.rows.partition_point(|row| bar_of(row) < range.first) as u32;
        let last = source.rows.partition_point(|row| bar_of(row) < range.last) as u32;
        let mut parent: Vec<u32> = (first..last).collect();
        for (column, cut) in source.columns.iter().zip(&loosest) {
            if *cut > f64::NEG_INFINITY {
                keep(&mut parent, column, *cut);
            }
        }
        let list = |cuts: &Vec<f64>| {
            let mut places = parent.clone();
            for ((column, cut), loose) in source.columns.iter().zip(cuts).zip(&loosest) {
                if *cut > *loose {
                    keep(&mut places, column, *cut);
                }
            }
            for place in &mut places {
                *place = source.rows[*place as usize];
            }
            places
        };
        cuts.iter().map(list).collect()
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

/// Keep the places whose score passes, without a branch.
fn keep(places: &mut Vec<u32>, column: &[f64], cut: f64) {
    let mut kept = 0;
    for k in 0..places.len() {
        let place = places[k];
        places[kept] = place;
        kept += usize::from(column[place as usize] >= cut);
    }
    places.truncate(kept);
}

/// Signal sets of one source, and where their metrics go: per set one slice per metric.
struct Group<'o> {
    source: usize,
    cuts: Vec<Vec<f64>>,
    columns: Vec<Vec<&'o mut [f64]>>,
}

/// The join of one signal set with all exits.
struct Join<'a, 'o> {
    list: SignalList<'a>,
    table: &'a OutcomeTable,
    block: usize,
    exits: &'a [Exit<'a>],
    settings: &'a Settings,
    days: (i32, i32),
    range: Range,
    columns: &'a mut Vec<&'o mut [f64]>,
}

impl Task for Join<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { list, table, block, exits, settings, days, range, columns } = self;
        let rf = settings.risk_free_rate / settings.periods_per_year;
        let exits = &exits[block * LANES..];
        let capital = std::array::from_fn(|lane| {
            exits.get(lane).map_or(1.0, |exit| exit.contract.initial_capital)
        });
        let cells = table.block(block);
        let sums = if table.same_day {
            join::<V, true>(list, cells, &capital, rf, days)
        } else {
            join::<V, false>(list, cells, &capital, rf, days)
        };
        for (lane, (sums, exit)) in sums.iter().zip(exits).enumerate() {
            let metrics = finish(sums, &exit.contract, settings, range);
            for (column, value) in columns.iter_mut().zip(metrics) {
                column[block * LANES + lane] = value;
            }
        }
    }
}
