//! Which candidates signal in a signal set, and in which ranges.
//!
//! Scores are cut by thresholds; neighbouring sets of one source share what passes the loosest of
//! theirs.

use crate::sweep::lanes::CandidateBar;
use crate::types::Range;

/// Candidates of one source of signals that pass the loosest thresholds of the sweep.
#[derive(Debug)]
pub struct Source {
    /// Rows in the table of candidates.
    pub rows: Vec<u32>,
    /// Scores of these rows, one column per threshold, turned so that `score >= cut` passes.
    pub columns: Vec<Vec<f64>>,
}

/// The signals of several sets of one source, as rows of candidates.
///
/// What passes the loosest of the cuts is listed first; a set tests only what is tighter.
pub fn signal_lists(
    bars: &[CandidateBar],
    source: &Source,
    cuts: &[Vec<f64>],
    range: Range,
) -> Vec<Vec<u32>> {
    let mut loosest = cuts[0].clone();
    for cuts in &cuts[1..] {
        for (loose, cut) in loosest.iter_mut().zip(cuts) {
            *loose = if *cut < *loose { *cut } else { *loose };
        }
    }
    let first = place_of(bars, &source.rows, range.first) as u32;
    let last = place_of(bars, &source.rows, range.last) as u32;
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

/// The rows of a list that lie in each range.
pub fn parts_of<'r>(bars: &[CandidateBar], rows: &'r [u32], ranges: &[Range]) -> Vec<&'r [u32]> {
    let place = |bar| place_of(bars, rows, bar);
    ranges.iter().map(|range| &rows[place(range.first)..place(range.last)]).collect()
}

/// The first place in a list whose bar is not before `bar`.
fn place_of(bars: &[CandidateBar], rows: &[u32], bar: usize) -> usize {
    rows.partition_point(|row| (bars[*row as usize].bar as usize) < bar)
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
