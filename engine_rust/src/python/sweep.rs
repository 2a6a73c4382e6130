//! The plan of a sweep as a Python class.

use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLock};

use numpy::{IntoPyArray, PyArray3, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use rayon::prelude::*;

use super::exceptions;
use super::settings::{Given, PyBars, PyStrategy, optional, slice};
use crate::contract::Contract;
use crate::error::{EngineError, EngineResult};
use crate::simd::Level;
use crate::strategies;
use crate::strategy::Scores;
use crate::sweep::outcomes::{Exit, OutcomeTable};
use crate::sweep::plan::{Evaluation, Plan, Watch};
use crate::types::{MetricSettings, Range, Rules, SignalColumns, check_length};

/// An exit of a sweep: rules, contract, and the average true range that they measure in.
type PyExit<'py> = (Given<Rules>, Given<Contract>, Option<PyReadonlyArray1<'py, f64>>);

/// Exits whose columns are borrowed from `NumPy`.
fn exits<'a>(given: &'a [OwnedExit<'_>], n_bars: usize) -> EngineResult<Vec<Exit<'a>>> {
    let exit =
        |(rules, contract, atr): &'a (Rules, Contract, Option<PyReadonlyArray1<'_, f64>>)| {
            let atr = optional("atr", atr.as_ref(), n_bars)?;
            rules.check(atr, true)?; // who gives risks is the plan's to know
            Ok(Exit { rules: *rules, contract: *contract, atr })
        };
    given.iter().map(exit).collect()
}

fn converted(given: Vec<PyExit<'_>>) -> Vec<OwnedExit<'_>> {
    given.into_iter().map(|(Given(rules), Given(contract), atr)| (rules, contract, atr)).collect()
}

type OwnedExit<'py> = (Rules, Contract, Option<PyReadonlyArray1<'py, f64>>);

/// The outcomes of the exits that were loaded last, and these exits.
type Loaded = (OutcomeTable, Vec<(Rules, Contract)>);

/// Own signals: sides and risks.
type PySignals<'py> = (PyReadonlyArray1<'py, i8>, Option<PyReadonlyArray1<'py, f64>>);

/// What the combinations of a sweep share; safe to use from several threads.
#[pyclass(frozen, name = "SweepPlan", module = "backtest_py._engine_rust")]
pub struct PySweepPlan {
    bars: Py<PyAny>,
    plan: Plan,
    table: RwLock<Option<Loaded>>,
    watch: Watch,
    pool: rayon::ThreadPool,
    level: Level,
}

#[pymethods]
impl PySweepPlan {
    #[new]
    #[pyo3(signature = (bars, *, strategies=None, signals=None, loosest=vec![], threads=0,
        level=None))]
    fn new(
        py: Python<'_>,
        bars: Py<PyAny>,
        strategies: Option<Vec<PyStrategy>>,
        signals: Option<Vec<PySignals<'_>>>,
        loosest: Vec<f64>,
        threads: usize,
        level: Option<&str>,
    ) -> PyResult<Self> {
        let level = Level::named(level)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| exceptions::EngineError::new_err(error.to_string()))?;
        let held: PyBars<'_> = bars.extract(py)?;
        let view = held.view()?;
        let plan = match (strategies, signals) {
            (Some(strategies), None) if !strategies.is_empty() => {
                let bounds: Vec<_> = strategies::registration(&strategies[0].0)?
                    .thresholds
                    .iter()
                    .map(|threshold| threshold.bound)
                    .collect();
                check_length("loosest", &loosest, bounds.len())?;
                let built: Vec<_> = strategies
                    .iter()
                    .map(|(name, values)| strategies::build(name, values))
                    .collect::<EngineResult<_>>()?;
                py.detach(|| {
                    let scores = built.par_iter().map(|strategy| strategy.scores(&view, level));
                    pool.install(|| Plan::new(&bounds, &loosest, view.day, scores))
                })
            }
            (None, Some(signals)) if !signals.is_empty() => {
                let mut scores = Vec::with_capacity(signals.len());
                for (side, risk) in &signals {
                    let side = optional("side", Some(side), view.len())?;
                    let risk = optional("risk", risk.as_ref(), view.len())?;
                    SignalColumns { side, risk }.check()?;
                    let (side, risk) = (side.to_vec(), risk.to_vec());
                    scores.push(Scores { side, risk, columns: Vec::new() });
                }
                py.detach(|| pool.install(|| Plan::new(&[], &[], view.day, scores.into_par_iter())))
            }
            _ => return Err(EngineError::Signals.into()),
        };
        drop(held);
        Ok(Self { bars, plan, table: RwLock::new(None), watch: Watch::default(), pool, level })
    }

    /// Number of candidates.
    #[getter]
    fn n_candidates(&self) -> usize {
        self.plan.candidates().len()
    }

    /// Combinations done since the plan was made.
    #[getter]
    fn done(&self) -> u64 {
        self.watch.done.load(Ordering::Relaxed)
    }

    /// Ask running and later evaluations to stop.
    fn cancel(&self) {
        self.watch.cancelled.store(true, Ordering::Relaxed);
    }

    /// Compute the outcome of every candidate under every exit.
    fn load(&self, py: Python<'_>, exits: Vec<PyExit<'_>>) -> PyResult<()> {
        let held: PyBars<'_> = self.bars.extract(py)?;
        let bars = held.view()?;
        let owned = converted(exits);
        let borrowed = self::exits(&owned, bars.len())?;
        let kept = borrowed.iter().map(|exit| (exit.rules, exit.contract)).collect();
        let candidates = self.plan.candidates();
        let table =
            py.detach(|| self.pool.install(|| OutcomeTable::new(&bars, candidates, &borrowed)));
        *self.table.write().map_err(poisoned)? = Some((table, kept));
        Ok(())
    }

    /// Numbers of every signal set under every loaded exit, in every range.
    #[pyo3(signature = (sets, thresholds, metrics, ranges, n_blocks=0))]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        sets: PyReadonlyArray1<'py, u32>,
        thresholds: PyReadonlyArray1<'py, f64>,
        metrics: Given<MetricSettings>,
        ranges: Vec<(i64, i64)>,
        n_blocks: i64,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let held: PyBars<'_> = self.bars.extract(py)?;
        let bars = held.view()?;
        let ranges = self::ranges(ranges)?;
        let asked = asked(&sets, &thresholds, metrics, &ranges, n_blocks)?;
        let (out, n_rows) = py.detach(|| {
            let guard = self.table.read().map_err(poisoned)?;
            let (table, kept) = guard.as_ref().ok_or(EngineError::Signals)?;
            let exits: Vec<_> = kept
                .iter()
                .map(|(rules, contract)| Exit { rules: *rules, contract: *contract, atr: &[] })
                .collect();
            let out = self.pool.install(|| {
                self.plan.evaluate(&bars, table, &exits, &asked, self.level, &self.watch)
            })?;
            Ok::<_, EngineError>((out, asked.sets.len() * exits.len()))
        })?;
        out.into_pyarray(py).reshape([ranges.len(), asked.n_columns(), n_rows])
    }

    /// Numbers of signal sets with one exit each, in every range.
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (exits, sets, thresholds, metrics, ranges, n_blocks=0))]
    fn evaluate_each<'py>(
        &self,
        py: Python<'py>,
        exits: Vec<PyExit<'py>>,
        sets: PyReadonlyArray1<'py, u32>,
        thresholds: PyReadonlyArray1<'py, f64>,
        metrics: Given<MetricSettings>,
        ranges: Vec<(i64, i64)>,
        n_blocks: i64,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let held: PyBars<'_> = self.bars.extract(py)?;
        let bars = held.view()?;
        let ranges = self::ranges(ranges)?;
        let asked = asked(&sets, &thresholds, metrics, &ranges, n_blocks)?;
        let owned = converted(exits);
        let exits = self::exits(&owned, bars.len())?;
        check_length("exits", &exits, asked.sets.len())?;
        let out = py.detach(|| {
            self.pool.install(|| self.plan.evaluate_each(&bars, &exits, &asked, &self.watch))
        })?;
        out.into_pyarray(py).reshape([ranges.len(), asked.n_columns(), exits.len()])
    }
}

/// Ranges as the caller gave them.
fn ranges(given: Vec<(i64, i64)>) -> EngineResult<Vec<Range>> {
    let range = |(first, last)| {
        Ok(Range { first: not_negative("first", first)?, last: not_negative("last", last)? })
    };
    given.into_iter().map(range).collect()
}

fn not_negative(name: &'static str, value: i64) -> EngineResult<usize> {
    let error = EngineError::Value { name, value: value as f64, allowed: "0 or more" };
    usize::try_from(value).map_err(|_| error)
}

/// What a caller asks of the plan.
fn asked<'a>(
    sets: &'a PyReadonlyArray1<'_, u32>,
    thresholds: &'a PyReadonlyArray1<'_, f64>,
    metrics: Given<MetricSettings>,
    ranges: &'a [Range],
    n_blocks: i64,
) -> EngineResult<Evaluation<'a>> {
    let (sets, thresholds) = (slice("sets", sets)?, slice("thresholds", thresholds)?);
    let n_blocks = not_negative("n_blocks", n_blocks)?;
    Ok(Evaluation { sets, thresholds, settings: metrics.0, ranges, n_blocks })
}

/// A thread died while it held the table; its panic has been reported.
fn poisoned<T>(_: PoisonError<T>) -> EngineError {
    EngineError::Cancelled
}

#[pyfunction]
#[pyo3(name = "outcome_table_bytes")]
pub fn py_outcome_table_bytes(n_candidates: usize, n_exits: usize) -> usize {
    OutcomeTable::bytes(n_candidates, n_exits)
}
