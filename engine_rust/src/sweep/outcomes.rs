//! How the trade of every candidate ends under every set of rules: computed once for a sweep.

use rayon::prelude::*;

use crate::backtest_engine::trade_outcome;
use crate::contract::{Contract, settle};
use crate::simd::LANES;
use crate::types::{Bars, N_REASONS, Reason, Rules};

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

/// Bits per class in the packed counts.
pub const CLASS_BITS: u8 = 8;
/// Classes of outcomes: the reasons, then the three ambiguous ones.
pub const N_CLASSES: usize = N_REASONS + AMBIGUOUS_REASONS.len();
/// Reasons of the ambiguous classes.
pub const AMBIGUOUS_REASONS: [Reason; 3] =
    [Reason::StopLoss, Reason::TrailingStop, Reason::TakeProfit];
/// Bars beyond which an exit bar is not exact as a 32-bit float.
pub const MAX_BARS: usize = 1 << 24;

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
    /// Shift of the class in the packed counts.
    pub class: [u8; LANES],
}

impl Cell {
    const EMPTY: Self =
        Self { pnl: [0.0; LANES], exit_bar: [0.0; LANES], days: [0; LANES], class: [0; LANES] };
}

/// The outcomes of all candidates under all exits, eight exits to a block.
#[derive(Debug)]
pub struct OutcomeTable {
    /// Cells, block by block, each with one cell per candidate.
    cells: Vec<Cell>,
    n_candidates: usize,
    /// Number of exits.
    pub n_exits: usize,
    /// Whether every position closes on the day of its signal.
    pub same_day: bool,
}

impl OutcomeTable {
    /// Bytes that a table takes.
    pub fn bytes(n_candidates: usize, n_exits: usize) -> usize {
        n_candidates * n_exits.div_ceil(LANES) * size_of::<Cell>()
    }

    /// Follow the trade of every candidate under every exit, candidates in parallel.
    pub fn new(bars: &Bars<'_>, candidates: &[Candidate], exits: &[Exit<'_>]) -> Self {
        const CHUNK: usize = 256;
        let n_candidates = candidates.len();
        let mut cells = vec![Cell::EMPTY; n_candidates * exits.len().div_ceil(LANES)];
        if n_candidates > 0 {
            for (block, exits) in cells.chunks_mut(n_candidates).zip(exits.chunks(LANES)) {
                block.par_chunks_mut(CHUNK).zip(candidates.par_chunks(CHUNK)).for_each(
                    |(cells, candidates)| {
                        for (cell, candidate) in cells.iter_mut().zip(candidates) {
                            fill(cell, bars, candidate, exits);
                        }
                    },
                );
            }
        }
        let same_day = cells.par_iter().all(|cell| cell.days.iter().all(|days| *days == 0));
        Self { cells, n_candidates, n_exits: exits.len(), same_day }
    }

    /// The cells of eight exits, one per candidate.
    pub fn block(&self, block: usize) -> &[Cell] {
        &self.cells[block * self.n_candidates..][..self.n_candidates]
    }

    /// Number of blocks.
    pub fn n_blocks(&self) -> usize {
        self.n_exits.div_ceil(LANES)
    }
}

fn fill(cell: &mut Cell, bars: &Bars<'_>, candidate: &Candidate, exits: &[Exit<'_>]) {
    let Candidate { bar, side, risk } = *candidate;
    for (lane, exit) in exits.iter().enumerate() {
        let found = trade_outcome(bars, exit.atr, risk, &exit.rules, &exit.contract, bar, side);
        let Some(outcome) = found else { continue };
        cell.pnl[lane] = settle(&outcome, side, &exit.contract).pnl;
        cell.exit_bar[lane] = outcome.exit_bar as f32;
        let days = bars.day[outcome.exit_bar] - bars.day[bar];
        cell.days[lane] = u16::try_from(days).unwrap_or(u16::MAX);
        cell.class[lane] = CLASS_BITS * class(outcome.reason, outcome.ambiguous);
    }
}

/// Number of the class that a trade is counted in.
fn class(reason: Reason, ambiguous: bool) -> u8 {
    if !ambiguous {
        return reason as u8;
    }
    let place = AMBIGUOUS_REASONS.iter().position(|other| *other == reason);
    N_REASONS as u8 + place.unwrap_or(0) as u8
}
