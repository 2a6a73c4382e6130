//! Many backtests on the same bars. Mirrors `engines/numba_engine/optimizer.py`.

use crate::backtest_engine::backtest;
use crate::contract::Contract;
use crate::error::EngineResult;
use crate::metrics::N_METRICS;
use crate::simd::Level;
use crate::strategy::{Strategy, detect};
use crate::types::{Bars, MetricSettings, Range, Rules};

/// One backtest of a series.
pub struct Run<'a> {
    /// Where the signals come from.
    pub strategy: &'a dyn Strategy,
    /// Average true range of every bar; empty where nothing is measured in it.
    pub atr: &'a [f64],
    /// How positions are closed.
    pub rules: Rules,
    /// What is traded.
    pub contract: Contract,
    /// Settings of the metrics.
    pub settings: MetricSettings,
    /// Bars whose signals count.
    pub range: Range,
}

/// Return the metrics of every run, row by row: a straight loop.
///
/// # Errors
/// If a range is empty or reaches beyond the bars, or what rules measure in is missing.
pub fn optimize(bars: &Bars<'_>, runs: &[Run<'_>], level: Level) -> EngineResult<Vec<f64>> {
    let mut out = Vec::with_capacity(runs.len() * N_METRICS);
    for run in runs {
        run.range.check(bars.len())?;
        run.rules.check(run.atr, run.strategy.gives_risk())?;
        let signals = detect(bars, run.strategy, level);
        let result = backtest(
            bars,
            run.atr,
            signals.columns(),
            &run.rules,
            &run.contract,
            &run.settings,
            run.range,
        );
        out.extend_from_slice(&result.metrics);
    }
    Ok(out)
}
