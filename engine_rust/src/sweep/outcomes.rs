//! How the trade of every candidate ends under every exit: computed once for a sweep.
//!
//! Mirrors `engines/numba_engine/sweep/outcomes.py`. What differs is the cell. Here it is packed into
//! two cache lines: the exit bar as a 32-bit float, the days as 16-bit integers, and instead of a
//! tally the place of the field in which the trade is counted. That is what limits bars and days.

use crate::backtest_engine::trade_outcome;
use crate::contract::{Contract, settle};
use crate::error::{EngineError, EngineResult};
use crate::simd::LANES;
use crate::types::{Bars, N_REASONS, Reason, Rules};

/// Reasons for which an exit can be ambiguous; each has a field of its own.
pub const AMBIGUOUS_REASONS: [Reason; 3] =
    [Reason::StopLoss, Reason::TrailingStop, Reason::TakeProfit];
/// The first field of ambiguous exits, behind those of the reasons.
pub const AMBIGUOUS: usize = N_REASONS;
/// Field of the trades that won.
pub const WINS: usize = AMBIGUOUS + AMBIGUOUS_REASONS.len();
/// Field of the trades that lost.
pub const LOSSES: usize = WINS + 1;
/// Field of the trades that were long.
pub const LONGS: usize = WINS + 2;
/// Fields in which trades are counted.
pub const N_FIELDS: usize = WINS + 3;
/// Bits of a field in the packed counts.
pub const FIELD_BITS: u8 = 8;
/// Trades that can be counted before a field overflows.
pub const MOST_COUNTED: usize = (1 << FIELD_BITS) - 1;

/// Bytes of the outcome of one candidate under one exit.
pub const CELL_BYTES: usize = size_of::<Cell>() / LANES;
/// The most bars: beyond, an exit bar is not exact as a 32-bit float.
pub const MAX_BARS: usize = 1 << 24;
/// The most days: beyond, those from a signal to its exit may not fit into 16 bits.
pub const MAX_DAYS: usize = u16::MAX as usize;
/// Candidates whose trades are followed in one task.
pub const CHUNK: usize = 256;

/// A bar at which some combination of a sweep may act on a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Bar of the signal.
    pub bar: usize,
    /// 1 for a long, -1 for a short.
    pub side: i8,
    /// Risk in points, nan where undefined.
    pub risk: f64,
}

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

/// All candidates, in the order of their bars.
#[derive(Debug, Default)]
pub struct Candidates {
    /// What following a trade needs to know of each.
    pub rows: Vec<Candidate>,
    /// What the join needs to know of each.
    pub bars: Vec<CandidateBar>,
}

/// One way to close positions: rules, contract, and the average true range they measure in.
#[derive(Clone, Copy, Debug)]
pub struct Exit<'a> {
    /// How positions are closed.
    pub rules: Rules,
    /// What is traded.
    pub contract: Contract,
    /// Average true range of every bar; empty where nothing is measured in it.
    pub atr: &'a [f64],
}

/// The outcomes of one candidate under eight exits; two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Cell {
    /// Gain in money.
    pub pnl: [f64; LANES],
    /// Exit bar, 0 where the signal is dropped.
    pub exit_bar: [f32; LANES],
    /// Days from the signal to the exit.
    pub days: [u16; LANES],
    /// Bits by which the field of the trade is shifted in the packed counts.
    pub shift: [u8; LANES],
}

/// The outcomes of all candidates under all exits, eight exits to a block.
#[derive(Debug)]
pub struct OutcomeTable {
    /// Cells, block by block, each with one cell per candidate.
    pub cells: Vec<Cell>,
    /// Number of candidates.
    pub n_candidates: usize,
    /// The contract of every exit.
    pub contracts: Vec<Contract>,
    /// Whether every position closes on the day of its signal.
    pub same_day: bool,
}

impl OutcomeTable {
    /// The cells of eight exits, one per candidate.
    pub fn block(&self, block: usize) -> &[Cell] {
        &self.cells[block * self.n_candidates..][..self.n_candidates]
    }
}

/// Check that outcomes on these bars fit into cells.
///
/// # Errors
/// [`EngineError::Limit`].
pub fn check_limits(bars: &Bars<'_>) -> EngineResult<()> {
    let n_days = match (bars.day.first(), bars.day.last()) {
        (Some(first), Some(last)) => (i64::from(*last) - i64::from(*first) + 1) as usize,
        _ => 0,
    };
    for (what, found, limit) in [("bars", bars.len(), MAX_BARS), ("days", n_days, MAX_DAYS)] {
        if found > limit {
            return Err(EngineError::Limit { what, limit, found });
        }
    }
    Ok(())
}

/// Cells of a table in which every signal is dropped.
pub fn empty_cells(n_candidates: usize, n_exits: usize) -> Vec<Cell> {
    let empty =
        Cell { pnl: [0.0; LANES], exit_bar: [0.0; LANES], days: [0; LANES], shift: [0; LANES] };
    vec![empty; n_candidates * n_exits.div_ceil(LANES)]
}

/// Fill the cells of candidates under at most eight exits.
///
/// Tell whether every position closes on the day of its signal.
///
/// # Errors
/// [`EngineError::Limit`] if a trade lasts longer than a cell can tell.
pub fn follow(
    bars: &Bars<'_>,
    candidates: &[Candidate],
    exits: &[Exit<'_>],
    cells: &mut [Cell],
) -> EngineResult<bool> {
    let mut same_day = true;
    for (cell, candidate) in cells.iter_mut().zip(candidates) {
        let Candidate { bar, side, risk } = *candidate;
        for (lane, exit) in exits.iter().enumerate() {
            let found = trade_outcome(bars, exit.atr, risk, &exit.rules, &exit.contract, bar, side);
            let Some(outcome) = found else { continue };
            let days = bars.day[outcome.exit_bar] - bars.day[bar];
            let Ok(days) = u16::try_from(days) else {
                let found = days as usize;
                return Err(EngineError::Limit { what: "days", limit: MAX_DAYS, found });
            };
            same_day &= days == 0;
            cell.pnl[lane] = settle(&outcome, side, &exit.contract).pnl;
            cell.exit_bar[lane] = outcome.exit_bar as f32;
            cell.days[lane] = days;
            cell.shift[lane] = FIELD_BITS * field_of(outcome.reason, outcome.ambiguous);
        }
    }
    Ok(same_day)
}

/// The field in which an exit is counted.
fn field_of(reason: Reason, ambiguous: bool) -> u8 {
    if !ambiguous {
        return reason as u8;
    }
    let place = AMBIGUOUS_REASONS.iter().position(|other| *other == reason);
    AMBIGUOUS as u8 + place.unwrap_or(0) as u8
}
