//! Many combinations at once: which bars signal, joined with how trades end.
//!
//! Mirrors `engines/numba_engine/sweep/plan.py`. A [`SweepPlan`] holds what combinations share: for
//! every source of signals its candidates with their scores, and the outcome of every candidate under
//! every exit. [`SweepPlan::evaluate`] cuts the scores by the thresholds of each signal set and joins
//! the lists with the outcomes, eight exits at a time. What differs: rayon spreads the work, so that
//! there are no tasks of a fixed size; threads write to slices of the result, which [`Group`] holds;
//! candidates of all sources are merged, as they come sorted.

use std::ops::Range as Span;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::backtest_engine::trade_outcome;
use crate::contract::{Contract, settle};
use crate::error::{EngineError, EngineResult};
use crate::metrics::{accumulate, days_of, finish, finish_blocks, sum_days};
use crate::pool::Pool;
use crate::simd::{LANES, Level, Task, Vector};
use crate::strategy::{Bound, Scores};
use crate::sweep::lanes::{BlockSums, SignalList, join, numbers_of_lane};
use crate::sweep::lists::{
    Evaluation, Source, SourceScores, evaluation_of, parts_of, signal_lists,
};
use crate::sweep::outcomes::{
    CHUNK, Candidate, CandidateBar, Candidates, Cell, Exit, OutcomeTable, check_limits,
    empty_cells, follow,
};
use crate::types::{Bars, MetricSettings, Range, Trades};

/// Signal sets that share one list of what passes the loosest of their thresholds.
const GROUP: usize = 32;

/// Bar, side and the bits of the risk: what makes a candidate.
type Key = (u32, i8, u64);

/// Bars of one source that pass the loosest thresholds, in their order.
#[derive(Debug)]
struct Passing {
    keys: Vec<Key>,
    /// One column per threshold, turned.
    scores: Vec<Vec<f64>>,
}

/// The numbers of combinations: the metrics, then `S1`, `S2` and days of each block.
#[derive(Debug, PartialEq)]
pub struct Numbers {
    /// Range by range and column by column.
    pub values: Vec<f64>,
    /// Ranges, columns, combinations.
    pub shape: [usize; 3],
}

impl Numbers {
    fn new(values: Vec<f64>, asked: &Evaluation<'_>, n_rows: usize) -> Self {
        Self { values, shape: [asked.ranges.len(), asked.n_columns, n_rows] }
    }
}

/// What the combinations of a sweep share; safe to use from several threads.
#[derive(Debug)]
pub struct SweepPlan {
    scores: SourceScores,
    candidates: Candidates,
    table: Mutex<Option<Arc<OutcomeTable>>>,
    done: AtomicU64,
    cancelled: AtomicBool,
    pool: Pool,
    level: Level,
}

impl SweepPlan {
    /// Collect the candidates of all sources.
    ///
    /// `loosest` has the loosest threshold of every score; bars that fail it never signal. Sources
    /// share a candidate where bar, side and risk are the same. `day` has the day of every bar. Of a
    /// source's scores only those of its candidates are kept.
    ///
    /// # Errors
    /// [`EngineError::Limit`] if there are too many bars to number candidates.
    pub fn new(
        bounds: &[Bound],
        loosest: &[f64],
        day: &[i32],
        sources: impl IndexedParallelIterator<Item = Scores>,
        pool: Pool,
        level: Level,
    ) -> EngineResult<Self> {
        let limit = u32::MAX as usize;
        if day.len() > limit {
            return Err(EngineError::Limit { what: "bars", limit, found: day.len() });
        }
        let (candidates, sources) = pool.install(|| {
            let found = sources.map(|scores| passing(&scores, bounds, loosest)).collect();
            collected(found, day)
        })?;
        Ok(Self {
            candidates,
            scores: SourceScores { sources, bounds: bounds.to_vec() },
            table: Mutex::new(None),
            done: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            pool,
            level,
        })
    }

    /// Number of candidates.
    pub fn n_candidates(&self) -> usize {
        self.candidates.rows.len()
    }

    /// Combinations that are done, in all ranges of their call.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Make running and later calls return [`EngineError::Cancelled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn require_going_on(&self) -> EngineResult<()> {
        if self.cancelled.load(Ordering::Relaxed) { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// Compute the outcome of every candidate under every exit.
    ///
    /// # Errors
    /// [`EngineError::Limit`] if there are more bars or days than outcomes can tell apart;
    /// [`EngineError::Cancelled`]; [`EngineError::Forked`] in a forked child.
    pub fn load(&self, bars: &Bars<'_>, exits: &[Exit<'_>]) -> EngineResult<()> {
        self.pool.check()?;
        check_limits(bars)?;
        self.set_table(None); // before the next one takes memory
        let rows = &self.candidates.rows;
        let mut cells = empty_cells(rows.len(), exits.len());
        let same_day = self.pool.install(|| {
            let mut same_day = true;
            let blocks = cells.chunks_mut(rows.len().max(1)).zip(exits.chunks(LANES));
            for (cells, exits) in blocks {
                same_day &= cells
                    .par_chunks_mut(CHUNK)
                    .zip(rows.par_chunks(CHUNK))
                    .map(|(cells, rows)| {
                        self.require_going_on()?;
                        follow(bars, rows, exits, cells)
                    })
                    .try_reduce(|| true, |one, other| Ok(one && other))?;
            }
            Ok(same_day)
        })??;
        let contracts = exits.iter().map(|exit| exit.contract).collect();
        let table = OutcomeTable { cells, n_candidates: rows.len(), contracts, same_day };
        self.set_table(Some(Arc::new(table)));
        Ok(())
    }

    fn set_table(&self, table: Option<Arc<OutcomeTable>>) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = table;
    }

    fn table(&self) -> EngineResult<Arc<OutcomeTable>> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.clone().ok_or(EngineError::NotLoaded)
    }

    /// Evaluate every signal set under every exit that is loaded, in every range.
    ///
    /// The numbers come back range by range and column by column, sets in their order, the exits of
    /// a set side by side. Neither threads nor grouping change a bit.
    ///
    /// # Errors
    /// [`EngineError::NotLoaded`], [`EngineError::Cancelled`], [`EngineError::Forked`]; those of
    /// [`evaluation_of`] for what cannot be asked.
    pub fn evaluate(
        &self,
        bars: &Bars<'_>,
        sets: &[u32],
        thresholds: &[f64],
        settings: MetricSettings,
        ranges: &[Range],
        n_blocks: usize,
    ) -> EngineResult<Numbers> {
        self.pool.check()?;
        let table = self.table()?;
        let scores = &self.scores;
        let asked = evaluation_of(bars, scores, sets, thresholds, settings, ranges, n_blocks)?;
        let n_exits = table.contracts.len();
        let n_rows = sets.len() * n_exits;
        let mut out = asked.room(n_rows);
        if n_rows == 0 {
            return Ok(Numbers::new(out, &asked, n_rows));
        }
        self.pool.install(|| {
            groups(&asked, &mut out, n_exits).par_iter_mut().try_for_each(|group| {
                self.evaluate_sets(&table, &asked, group)?;
                self.done.fetch_add((group.sets.len() * n_exits) as u64, Ordering::Relaxed);
                Ok(())
            })
        })??;
        Ok(Numbers::new(out, &asked, n_rows))
    }

    /// Evaluate the sets of a group, which share a list.
    fn evaluate_sets(
        &self,
        table: &OutcomeTable,
        asked: &Evaluation<'_>,
        group: &mut Group<'_>,
    ) -> EngineResult<()> {
        let n_blocks = asked.ends.first().map_or(0, Vec::len);
        let mut blocks: Vec<BlockSums> = vec![[[0.0; LANES]; 2]; n_blocks];
        let Span { start, end } = group.sets;
        let lists = signal_lists(&self.candidates, &self.scores, asked, start, end);
        let parts: Vec<_> =
            lists.iter().map(|rows| parts_of(&self.candidates, rows, asked.ranges)).collect();
        // Eight exits outside, sets inside: the outcomes that sets share stay in the cache.
        for block in 0..table.contracts.len().div_ceil(LANES) {
            for (parts, columns) in parts.iter().zip(&mut group.columns) {
                self.require_going_on()?;
                self.join_set(table, asked, parts, block, &mut blocks, columns);
            }
        }
        Ok(())
    }

    /// Join a list of signals, in every range, with eight exits; fill the columns of its set.
    fn join_set(
        &self,
        table: &OutcomeTable,
        asked: &Evaluation<'_>,
        parts: &[&[u32]],
        block: usize,
        blocks: &mut [BlockSums],
        columns: &mut [&mut [f64]],
    ) {
        let rf = asked.settings.risk_free_rate / asked.settings.periods_per_year;
        let contracts = &table.contracts[block * LANES..];
        let contracts = &contracts[..contracts.len().min(LANES)];
        let capital = std::array::from_fn(|lane| {
            contracts.get(lane).map_or(1.0, |contract| contract.initial_capital)
        });
        let (cells, same_day) = (table.block(block), table.same_day);
        for ((k, rows), columns) in
            parts.iter().enumerate().zip(columns.chunks_mut(asked.n_columns))
        {
            self.level.run(Join {
                signals: SignalList { rows, bars: &self.candidates.bars },
                cells,
                same_day,
                capital: &capital,
                rf,
                contracts,
                asked,
                range: k,
                blocks: &mut *blocks,
                columns,
                place: block * LANES,
            });
        }
    }

    /// Evaluate combinations that share nothing: one signal set and one exit per row.
    ///
    /// # Errors
    /// As [`SweepPlan::evaluate`]; [`EngineError::Length`] if there is not one exit for each set.
    #[allow(clippy::too_many_arguments)]
    pub fn evaluate_each(
        &self,
        bars: &Bars<'_>,
        exits: &[Exit<'_>],
        sets: &[u32],
        thresholds: &[f64],
        settings: MetricSettings,
        ranges: &[Range],
        n_blocks: usize,
    ) -> EngineResult<Numbers> {
        let scores = &self.scores;
        let asked = evaluation_of(bars, scores, sets, thresholds, settings, ranges, n_blocks)?;
        if exits.len() != sets.len() {
            let (expected, found) = (sets.len(), exits.len());
            return Err(EngineError::Length { name: "exits", expected, found });
        }
        let rows: Vec<_> = self.pool.install(|| {
            let walked = (0..sets.len()).into_par_iter().map(|row| {
                let columns = self.walk_row(bars, &exits[row], &asked, row)?;
                self.done.fetch_add(1, Ordering::Relaxed);
                Ok(columns)
            });
            walked.collect::<EngineResult<_>>()
        })??;
        let mut out = asked.room(rows.len());
        for (k, column) in out.chunks_mut(rows.len().max(1)).enumerate() {
            for (value, columns) in column.iter_mut().zip(&rows) {
                *value = columns[k];
            }
        }
        Ok(Numbers::new(out, &asked, rows.len()))
    }

    /// Return the numbers of one combination, range by range, as the single run finds them.
    fn walk_row(
        &self,
        bars: &Bars<'_>,
        exit: &Exit<'_>,
        asked: &Evaluation<'_>,
        row: usize,
    ) -> EngineResult<Vec<f64>> {
        let Exit { contract, .. } = exit;
        let settings = &asked.settings;
        let lists = signal_lists(&self.candidates, &self.scores, asked, row, row + 1);
        let parts = parts_of(&self.candidates, &lists[0], asked.ranges);
        let mut numbers = Vec::with_capacity(parts.len() * asked.n_columns);
        for (k, rows) in parts.into_iter().enumerate() {
            self.require_going_on()?;
            let (range, ends) = (asked.ranges[k], &asked.ends[k]);
            let trades = walk(bars, &self.candidates.rows, rows, exit);
            let exit_day = days_of(&trades.exit_bar, bars.day);
            let span = (bars.day[range.first], bars.day[range.last - 1]);
            let sums = accumulate(&trades, &exit_day, contract, settings, span);
            numbers.extend(finish(&sums, contract, settings, range.last - range.first));
            let mut blocks = vec![[0.0; 2]; ends.len()];
            sum_days(&trades, &exit_day, contract.initial_capital, 0.0, ends, &mut blocks);
            numbers.extend(finish_blocks(ends, asked.days[k].0, sums.days, |block| blocks[block]));
        }
        Ok(numbers)
    }
}

/// Follow the signals of `rows` one after another and return the trades.
fn walk(bars: &Bars<'_>, candidates: &[Candidate], rows: &[u32], exit: &Exit<'_>) -> Trades {
    let Exit { rules, contract, atr } = exit;
    let mut trades = Trades::default();
    let mut equity = contract.initial_capital;
    let mut free = 0;
    for row in rows {
        let Candidate { bar, side, risk } = candidates[*row as usize];
        if bar < free {
            continue;
        }
        let found = trade_outcome(bars, atr, risk, rules, contract, bar, side);
        let Some(outcome) = found else { continue };
        let settled = settle(&outcome, side, contract);
        trades.push(bar as i64, side, &outcome, &settled);
        equity += settled.pnl;
        if equity <= 0.0 {
            break;
        }
        free = outcome.exit_bar;
    }
    trades
}

/// Neighbouring signal sets of one source, and where their numbers go: per set one slice per range and
/// column.
struct Group<'o> {
    sets: Span<usize>,
    columns: Vec<Vec<&'o mut [f64]>>,
}

/// Put together neighbouring sets of one source, with the places of their results.
fn groups<'o>(asked: &Evaluation<'_>, out: &'o mut [f64], n_exits: usize) -> Vec<Group<'o>> {
    let (sets, n_places) = (asked.sets, asked.ranges.len() * asked.n_columns);
    let mut places: Vec<Vec<&mut [f64]>> =
        sets.iter().map(|_| Vec::with_capacity(n_places)).collect();
    for column in out.chunks_mut(sets.len() * n_exits) {
        for (place, part) in places.iter_mut().zip(column.chunks_mut(n_exits)) {
            place.push(part);
        }
    }
    let mut groups: Vec<Group<'o>> = Vec::new();
    for (set, columns) in places.into_iter().enumerate() {
        match groups.last_mut() {
            Some(group) if sets[group.sets.start] == sets[set] && group.sets.len() < GROUP => {
                group.sets.end = set + 1;
                group.columns.push(columns);
            }
            _ => groups.push(Group { sets: set..set + 1, columns: vec![columns] }),
        }
    }
    groups
}

/// The join of one signal set with eight exits, in one range.
struct Join<'a, 'o> {
    signals: SignalList<'a>,
    cells: &'a [Cell],
    same_day: bool,
    capital: &'a [f64; LANES],
    rf: f64,
    contracts: &'a [Contract],
    asked: &'a Evaluation<'a>,
    range: usize,
    blocks: &'a mut [BlockSums],
    columns: &'a mut [&'o mut [f64]],
    place: usize,
}

impl Task for Join<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { signals, cells, same_day, capital, rf, contracts, asked, blocks, .. } = self;
        let (range, days, ends) =
            (asked.ranges[self.range], asked.days[self.range], &asked.ends[self.range]);
        let found = match (same_day, ends.is_empty()) {
            (true, true) => join::<V, true, false>(signals, cells, capital, rf, ends, blocks),
            (true, false) => join::<V, true, true>(signals, cells, capital, rf, ends, blocks),
            (false, true) => join::<V, false, false>(signals, cells, capital, rf, ends, blocks),
            (false, false) => join::<V, false, true>(signals, cells, capital, rf, ends, blocks),
        };
        for (lane, contract) in (0..LANES).zip(contracts) {
            let (settings, place) = (&asked.settings, self.place + lane);
            numbers_of_lane(
                &found,
                blocks,
                lane,
                days,
                contract,
                settings,
                range,
                ends,
                self.columns,
                place,
            );
        }
    }
}

/// Return the bars of a source that pass the loosest thresholds.
fn passing(scores: &Scores, bounds: &[Bound], loosest: &[f64]) -> Passing {
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
    let scores = scores.columns.iter().zip(bounds).map(turned).collect();
    Passing { keys: bars.iter().map(key).collect(), scores }
}

/// Return the candidates of all sources, shared where bar, side and risk are the same.
fn collected(found: Vec<Passing>, day: &[i32]) -> (Candidates, Vec<Source>) {
    let keys = found.par_iter().map(|passing| passing.keys.clone()).reduce(Vec::new, merged);
    let source = |Passing { keys: own, scores }: Passing| Source {
        rows: rows_of(&own, &keys),
        columns: scores,
    };
    let sources = found.into_par_iter().map(source).collect();
    let row = |(bar, side, risk): &Key| Candidate {
        bar: *bar as usize,
        side: *side,
        risk: f64::from_bits(*risk),
    };
    let bar = |(bar, side, _): &Key| CandidateBar {
        bar: *bar,
        day: day[*bar as usize],
        side: i32::from(*side),
    };
    let (rows, bars) = (keys.iter().map(row).collect(), keys.iter().map(bar).collect());
    (Candidates { rows, bars }, sources)
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
