//! Which candidates signal in a signal set, and in which ranges.
//!
//! Mirrors `engines/numba_engine/sweep/lists.py`. Scores are cut by thresholds; neighbouring sets of
//! one source share what passes the loosest of theirs. What differs: the scores of each source are
//! columns of their own, turned so that `score >= cut` passes, and [`cut`] moves places as it tests.

use crate::error::{EngineError, EngineResult};
use crate::metrics::block_ends;
use crate::strategy::Bound;
use crate::sweep::outcomes::Candidates;
use crate::types::{Bars, N_METRICS, Range, Settings};

/// Candidates of one source of signals that pass the loosest thresholds of the sweep.
#[derive(Debug)]
pub struct Source {
    /// Rows in the table of candidates.
    pub rows: Vec<u32>,
    /// Scores of these rows, one column per threshold, turned so that `score >= cut` passes.
    pub columns: Vec<Vec<f64>>,
}

/// The candidates of every source of signals with their scores.
#[derive(Debug, Default)]
pub struct SourceScores {
    /// Sources in the order in which signal sets count them.
    pub sources: Vec<Source>,
    /// Which side of each threshold passes.
    pub bounds: Vec<Bound>,
}

/// What all signal sets of one call share.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The source of every signal set.
    pub sets: &'a [u32],
    /// The thresholds of one set beside each other.
    pub thresholds: &'a [f64],
    /// Settings of the metrics.
    pub settings: Settings,
    /// Ranges, each of which starts flat with the initial capital.
    pub ranges: &'a [Range],
    /// First and last day of each range.
    pub days: Vec<(i32, i32)>,
    /// Where the blocks of days of each range end.
    pub ends: Vec<Vec<i32>>,
    /// The first bar of all ranges.
    pub first: usize,
    /// The bar after the last of all ranges.
    pub last: usize,
    /// Numbers of one combination in one range.
    pub n_columns: usize,
}

impl Evaluation<'_> {
    /// Room for the numbers of combinations.
    pub fn room(&self, n_rows: usize) -> Vec<f64> {
        vec![0.0; self.ranges.len() * self.n_columns * n_rows]
    }
}

/// Check what an evaluation is asked; a wrong call must not read out of bounds.
///
/// The days of each range are cut into `n_blocks`, to keep sums of their own.
///
/// # Errors
/// [`EngineError::Range`] or [`EngineError::Value`] for a range, [`EngineError::Code`] for a source
/// that does not exist, [`EngineError::Length`] if there is not one value for each threshold.
pub fn evaluation_of<'a>(
    bars: &Bars<'_>,
    scores: &SourceScores,
    sets: &'a [u32],
    thresholds: &'a [f64],
    settings: Settings,
    ranges: &'a [Range],
    n_blocks: usize,
) -> EngineResult<Evaluation<'a>> {
    for range in ranges {
        range.check(bars.len())?;
    }
    if let Some(source) = sets.iter().find(|source| **source as usize >= scores.sources.len()) {
        return Err(EngineError::Code { name: "source", code: i64::from(*source) });
    }
    let (expected, found) = (sets.len() * scores.bounds.len(), thresholds.len());
    if found != expected {
        return Err(EngineError::Length { name: "thresholds", expected, found });
    }
    let days = |range: &Range| (bars.day[range.first], bars.day[range.last - 1]);
    let ends = |range: &Range| block_ends(bars.day, *range, n_blocks);
    Ok(Evaluation {
        sets,
        thresholds,
        settings,
        ranges,
        days: ranges.iter().map(days).collect(),
        ends: ranges.iter().map(ends).collect::<EngineResult<_>>()?,
        first: ranges.iter().map(|range| range.first).min().unwrap_or(0),
        last: ranges.iter().map(|range| range.last).max().unwrap_or(0),
        n_columns: N_METRICS + 3 * n_blocks,
    })
}

/// Return the rows that signal in the sets from `begin` to `end`, which are of one source.
///
/// What passes the loosest of the cuts is listed first; a set tests only what is tighter.
pub fn signal_lists(
    candidates: &Candidates,
    scores: &SourceScores,
    asked: &Evaluation<'_>,
    begin: usize,
    end: usize,
) -> Vec<Vec<u32>> {
    let source = &scores.sources[asked.sets[begin] as usize];
    let n = scores.bounds.len();
    let cuts: Vec<Vec<f64>> = (begin..end)
        .map(|set| {
            let thresholds = scores.bounds.iter().zip(&asked.thresholds[set * n..][..n]);
            thresholds.map(|(bound, threshold)| bound.turned_threshold(*threshold)).collect()
        })
        .collect();
    let loosest = loosen(&cuts);
    let first = place_of(candidates, &source.rows, asked.first) as u32;
    let last = place_of(candidates, &source.rows, asked.last) as u32;
    let mut passing: Vec<u32> = (first..last).collect();
    for (column, threshold) in source.columns.iter().zip(&loosest) {
        if *threshold > f64::NEG_INFINITY {
            cut(&mut passing, column, *threshold);
        }
    }
    let list = |cuts: &Vec<f64>| {
        let mut places = passing.clone();
        for ((column, threshold), loose) in source.columns.iter().zip(cuts).zip(&loosest) {
            if *threshold > *loose {
                cut(&mut places, column, *threshold);
            }
        }
        for place in &mut places {
            *place = source.rows[*place as usize];
        }
        places
    };
    cuts.iter().map(list).collect()
}

/// Return the rows of a list that lie in each range.
pub fn parts_of<'r>(candidates: &Candidates, rows: &'r [u32], ranges: &[Range]) -> Vec<&'r [u32]> {
    let place = |bar| place_of(candidates, rows, bar);
    ranges.iter().map(|range| &rows[place(range.first)..place(range.last)]).collect()
}

/// Return the first place in a list whose bar is not before `bar`.
fn place_of(candidates: &Candidates, rows: &[u32], bar: usize) -> usize {
    rows.partition_point(|row| (candidates.bars[*row as usize].bar as usize) < bar)
}

/// Return the loosest of the cuts of several sets.
fn loosen(cuts: &[Vec<f64>]) -> Vec<f64> {
    let mut loosest = cuts[0].clone();
    for cuts in &cuts[1..] {
        for (loose, cut) in loosest.iter_mut().zip(cuts) {
            *loose = if *cut < *loose { *cut } else { *loose };
        }
    }
    loosest
}

/// Keep the places whose score passes, without a branch.
fn cut(places: &mut Vec<u32>, column: &[f64], threshold: f64) {
    let mut kept = 0;
    for k in 0..places.len() {
        let place = places[k];
        places[kept] = place;
        kept += usize::from(column[place as usize] >= threshold);
    }
    places.truncate(kept);
}
