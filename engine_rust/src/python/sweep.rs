//! The plan of a sweep as a Python class.

use numpy::{IntoPyArray, PyArray3, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use rayon::prelude::*;

use super::settings::{PyBars, PyContract, PyRules, PySettings, PyStrategy, optional, slice};
use crate::error::{EngineError, EngineResult};
use crate::pool::Pool;
use crate::simd::{LANES, Level};
use crate::strategy::{self, Signals, unscored};
use crate::sweep::outcomes::{CELL_BYTES, Exit, MAX_BARS, MAX_DAYS};
use crate::sweep::plan::{Numbers, SweepPlan};
use crate::types::{Contract, Range, Rules, Settings, SignalColumns, check_length};

/// An exit of a sweep: rules, contract, and the average true range that they measure in.
type PyExit<'py> = (PyRules, PyContract, Option<PyReadonlyArray1<'py, f64>>);

/// The same, whose settings have been read.
type OwnedExit<'py> = (Rules, Contract, Option<PyReadonlyArray1<'py, f64>>);

/// Own signals: sides and risks.
type PySignals<'py> = (PyReadonlyArray1<'py, i8>, Option<PyReadonlyArray1<'py, f64>>);

/// Read the settings of exits.
fn owned(given: Vec<PyExit<'_>>) -> EngineResult<Vec<OwnedExit<'_>>> {
    let convert =
        |(rules, contract, atr)| Ok((Rules::try_from(rules)?, Contract::from(contract), atr));
    given.into_iter().map(convert).collect()
}

/// Borrow the columns of exits from `NumPy`.
fn borrowed<'a>(given: &'a [OwnedExit<'_>], n_bars: usize) -> EngineResult<Vec<Exit<'a>>> {
    let exit = |(rules, contract, atr): &'a OwnedExit<'_>| {
        let atr = optional("atr", atr.as_ref(), n_bars)?;
        // A source without risks has nan for each, which drops the signal: no need to ask for them.
        rules.check(atr, true)?;
        Ok(Exit { rules: *rules, contract: *contract, atr })
    };
    given.iter().map(exit).collect()
}

/// What the combinations of a sweep share; safe to use from several threads.
#[pyclass(frozen, name = "SweepPlan", module = "backtest_py._engine_rust")]
pub struct PySweepPlan {
    bars: Py<PyAny>,
    plan: SweepPlan,
}

#[pymethods]
impl PySweepPlan {
    /// Exits that share a cell.
    #[classattr]
    const LANES: usize = LANES;
    /// Bytes of the outcome of one candidate under one exit.
    #[classattr]
    const CELL_BYTES: usize = CELL_BYTES;
    /// The most bars of a sweep.
    #[classattr]
    const MAX_BARS: usize = MAX_BARS;
    /// The most days of a sweep.
    #[classattr]
    const MAX_DAYS: usize = MAX_DAYS;

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
        let pool = Pool::new(threads)?;
        let held: PyBars<'_> = bars.extract(py)?;
        let view = held.view()?;
        let plan = match (strategies, signals) {
            (Some(strategies), None) if !strategies.is_empty() => {
                let bounds: Vec<_> = strategy::registration(&strategies[0].0)?
                    .thresholds
                    .iter()
                    .map(|threshold| threshold.bound)
                    .collect();
                check_length("loosest", &loosest, bounds.len())?;
                let built: Vec<_> = strategies
                    .iter()
                    .map(|(name, values)| strategy::build(name, values))
                    .collect::<EngineResult<_>>()?;
                py.detach(|| {
                    let scores = built.par_iter().map(|strategy| strategy.scores(&view, level));
                    SweepPlan::new(&bounds, &loosest, view.day, scores, pool, level)
                })?
            }
            (None, Some(signals)) if !signals.is_empty() => {
                let mut scores = Vec::with_capacity(signals.len());
                for (side, risk) in &signals {
                    let side = optional("side", Some(side), view.len())?;
                    let risk = optional("risk", risk.as_ref(), view.len())?;
                    SignalColumns { side, risk }.check()?;
                    scores.push(unscored(Signals { side: side.to_vec(), risk: risk.to_vec() }));
                }
                py.detach(|| {
                    SweepPlan::new(&[], &[], view.day, scores.into_par_iter(), pool, level)
                })?
            }
            _ => return Err(EngineError::Signals.into()),
        };
        drop(held);
        Ok(Self { bars, plan })
    }

    /// Number of candidates.
    #[getter]
    fn n_candidates(&self) -> usize {
        self.plan.n_candidates()
    }

    /// Combinations done since the plan was made.
    #[getter]
    fn done(&self) -> u64 {
        self.plan.done()
    }

    /// Ask running and later evaluations to stop.
    fn cancel(&self) {
        self.plan.cancel();
    }

    /// Compute the outcome of every candidate under every exit.
    fn load(&self, py: Python<'_>, exits: Vec<PyExit<'_>>) -> PyResult<()> {
        let held: PyBars<'_> = self.bars.extract(py)?;
        let bars = held.view()?;
        let owned = owned(exits)?;
        let exits = borrowed(&owned, bars.len())?;
        Ok(py.detach(|| self.plan.load(&bars, &exits))?)
    }

    /// Numbers of every signal set under every loaded exit, in every range.
    #[pyo3(signature = (sets, thresholds, metrics, ranges, n_blocks=0))]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        sets: PyReadonlyArray1<'py, u32>,
        thresholds: PyReadonlyArray1<'py, f64>,
        metrics: PySettings,
        ranges: Vec<(i64, i64)>,
        n_blocks: i64,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let held: PyBars<'_> = self.bars.extract(py)?;
        let bars = held.view()?;
        let ranges = self::ranges(ranges)?;
        let n_blocks = not_negative("n_blocks", n_blocks)?;
        let (sets, thresholds) = (slice("sets", &sets)?, slice("thresholds", &thresholds)?);
        let settings = Settings::from(metrics);
        let Numbers { values, shape } =
            py.detach(|| self.plan.evaluate(&bars, sets, thresholds, settings, &ranges, n_blocks))?;
        values.into_pyarray(py).reshape(shape)
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
        metrics: PySettings,
        ranges: Vec<(i64, i64)>,
        n_blocks: i64,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let held: PyBars<'_> = self.bars.extract(py)?;
        let bars = held.view()?;
        let ranges = self::ranges(ranges)?;
        let n_blocks = not_negative("n_blocks", n_blocks)?;
        let (sets, thresholds) = (slice("sets", &sets)?, slice("thresholds", &thresholds)?);
        let settings = Settings::from(metrics);
        let owned = owned(exits)?;
        let exits = borrowed(&owned, bars.len())?;
        let Numbers { values, shape } = py.detach(|| {
            let plan = &self.plan;
            plan.evaluate_each(&bars, &exits, sets, thresholds, settings, &ranges, n_blocks)
        })?;
        values.into_pyarray(py).reshape(shape)
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
