//! One run, a series of runs, and the parts of a run.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::settings::{Given, PyBars, PyStrategy, optional, slice};
use crate::backtest_engine::{self, Backtest};
use crate::contract::Contract;
use crate::error::EngineError;
use crate::metrics::{self, N_METRICS};
use crate::simd::Level;
use crate::types::{MetricSettings, N_REASONS, Range, Rules, SignalColumns, Trades};
use crate::{optimizer, strategies, strategy};

/// One run of a series: strategy, average true range, rules, contract, settings, first and last.
pub(super) type PyRun<'py> = (
    PyStrategy,
    Option<PyReadonlyArray1<'py, f64>>,
    Given<Rules>,
    Given<Contract>,
    Given<MetricSettings>,
    usize,
    usize,
);

pub(super) fn trade_columns(py: Python<'_>, trades: Trades) -> PyResult<Bound<'_, PyDict>> {
    let columns = PyDict::new(py);
    columns.set_item("signal_bar", trades.signal_bar.into_pyarray(py))?;
    columns.set_item("entry_bar", trades.entry_bar.into_pyarray(py))?;
    columns.set_item("exit_bar", trades.exit_bar.into_pyarray(py))?;
    columns.set_item("side", trades.side.into_pyarray(py))?;
    columns.set_item("entry_price", trades.entry_price.into_pyarray(py))?;
    columns.set_item("exit_price", trades.exit_price.into_pyarray(py))?;
    columns.set_item("stop_price", trades.stop_price.into_pyarray(py))?;
    columns.set_item("target_price", trades.target_price.into_pyarray(py))?;
    columns.set_item("points", trades.points.into_pyarray(py))?;
    columns.set_item("pnl", trades.pnl.into_pyarray(py))?;
    columns.set_item("fees", trades.fees.into_pyarray(py))?;
    columns.set_item("mae", trades.mae.into_pyarray(py))?;
    columns.set_item("mfe", trades.mfe.into_pyarray(py))?;
    columns.set_item("reason", trades.reason.into_pyarray(py))?;
    columns.set_item("ambiguous", trades.ambiguous.into_pyarray(py))?;
    Ok(columns)
}

#[pyfunction]
#[pyo3(name = "run_backtest_rust", signature = (bars, rules, contract, metrics, first, last, *,
    strategy=None, side=None, risk=None, atr=None, level=None))]
#[allow(clippy::too_many_arguments)]
pub(super) fn py_run_backtest<'py>(
    py: Python<'py>,
    bars: PyBars<'py>,
    rules: Given<Rules>,
    contract: Given<Contract>,
    metrics: Given<MetricSettings>,
    first: usize,
    last: usize,
    strategy: Option<PyStrategy>,
    side: Option<PyReadonlyArray1<'py, i8>>,
    risk: Option<PyReadonlyArray1<'py, f64>>,
    atr: Option<PyReadonlyArray1<'py, f64>>,
    level: Option<&str>,
) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyArray1<f64>>)> {
    let bars = bars.view()?;
    let range = Range { first, last };
    range.check(bars.len())?;
    let level = Level::named(level)?;
    let (rules, contract, metrics) = (rules.0, contract.0, metrics.0);
    let atr = optional("atr", atr.as_ref(), bars.len())?;
    let side = optional("side", side.as_ref(), bars.len())?;
    let risk = optional("risk", risk.as_ref(), bars.len())?;
    let strategy = match strategy {
        Some((name, values)) if side.is_empty() => Some(strategies::build(&name, &values)?),
        None if !side.is_empty() => None,
        _ => return Err(EngineError::Signals.into()),
    };
    let has_risk = strategy.as_ref().map_or(!risk.is_empty(), |strategy| strategy.gives_risk());
    rules.check(atr, has_risk)?;
    let given = SignalColumns { side, risk };
    given.check()?;
    let result: Backtest = py.detach(|| {
        let run = |signals: SignalColumns<'_>| {
            backtest_engine::backtest(&bars, atr, signals, &rules, &contract, &metrics, range)
        };
        match strategy {
            Some(strategy) => run(strategy::detect(&bars, strategy.as_ref(), level).columns()),
            None => run(given),
        }
    });
    let metrics = PyArray1::from_slice(py, &result.metrics);
    Ok((trade_columns(py, result.trades)?, metrics))
}

#[pyfunction]
#[pyo3(name = "measure")]
#[allow(clippy::too_many_arguments)]
pub(super) fn py_measure<'py>(
    py: Python<'py>,
    entry_bar: PyReadonlyArray1<'py, i64>,
    exit_bar: PyReadonlyArray1<'py, i64>,
    side: PyReadonlyArray1<'py, i8>,
    pnl: PyReadonlyArray1<'py, f64>,
    reason: PyReadonlyArray1<'py, u8>,
    ambiguous: PyReadonlyArray1<'py, bool>,
    exit_day: PyReadonlyArray1<'py, i32>,
    contract: Given<Contract>,
    metrics: Given<MetricSettings>,
    span: (i32, i32),
    n_bars: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let trades = Trades {
        entry_bar: slice("entry_bar", &entry_bar)?.to_vec(),
        exit_bar: slice("exit_bar", &exit_bar)?.to_vec(),
        side: slice("side", &side)?.to_vec(),
        pnl: slice("pnl", &pnl)?.to_vec(),
        reason: slice("reason", &reason)?.to_vec(),
        ambiguous: slice("ambiguous", &ambiguous)?.to_vec(),
        ..Trades::default()
    };
    let exit_day = slice("exit_day", &exit_day)?;
    let count = trades.len();
    for (name, found) in [
        ("entry_bar", trades.entry_bar.len()),
        ("exit_bar", trades.exit_bar.len()),
        ("side", trades.side.len()),
        ("reason", trades.reason.len()),
        ("ambiguous", trades.ambiguous.len()),
        ("exit_day", exit_day.len()),
    ] {
        if found != count {
            return Err(EngineError::Trades { name, expected: count, found }.into());
        }
    }
    if let Some(code) = trades.reason.iter().find(|code| usize::from(**code) >= N_REASONS) {
        let value = f64::from(*code);
        return Err(EngineError::Value { name: "reason", value, allowed: "a known code" }.into());
    }
    let found = metrics::measure(&trades, exit_day, &contract.0, &metrics.0, span, n_bars);
    Ok(PyArray1::from_slice(py, &found))
}

#[pyfunction]
#[pyo3(name = "optimize_rust", signature = (bars, runs, *, level=None))]
pub(super) fn py_optimize<'py>(
    py: Python<'py>,
    bars: PyBars<'py>,
    runs: Vec<PyRun<'py>>,
    level: Option<&str>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let bars = bars.view()?;
    let level = Level::named(level)?;
    let n_runs = runs.len();
    let mut strategies = Vec::with_capacity(n_runs);
    let mut atrs = Vec::with_capacity(n_runs);
    let mut settings = Vec::with_capacity(n_runs);
    for (strategy, atr, Given(rules), Given(contract), Given(metrics), first, last) in runs {
        strategies.push(strategies::build(&strategy.0, &strategy.1)?);
        atrs.push(atr);
        settings.push((rules, contract, metrics, Range { first, last }));
    }
    let mut runs = Vec::with_capacity(n_runs);
    for ((strategy, atr), (rules, contract, settings, range)) in
        strategies.iter().zip(&atrs).zip(settings)
    {
        let atr = optional("atr", atr.as_ref(), bars.len())?;
        let strategy = strategy.as_ref();
        runs.push(optimizer::Run { strategy, atr, rules, contract, settings, range });
    }
    let rows = py.detach(|| optimizer::optimize(&bars, &runs, level))?;
    rows.into_pyarray(py).reshape([n_runs, N_METRICS])
}

#[pyfunction]
#[pyo3(name = "signals", signature = (bars, strategy, *, level=None))]
#[allow(clippy::type_complexity)]
pub(super) fn py_signals<'py>(
    py: Python<'py>,
    bars: PyBars<'py>,
    strategy: PyStrategy,
    level: Option<&str>,
) -> PyResult<(Bound<'py, PyArray1<i8>>, Option<Bound<'py, PyArray1<f64>>>)> {
    let bars = bars.view()?;
    let level = Level::named(level)?;
    let strategy = strategies::build(&strategy.0, &strategy.1)?;
    let signals = py.detach(|| strategy::detect(&bars, strategy.as_ref(), level));
    let risk = strategy.gives_risk().then(|| signals.risk.into_pyarray(py));
    Ok((signals.side.into_pyarray(py), risk))
}

#[pyfunction]
#[pyo3(name = "signals_of_chunk", signature = (bars, strategy, start, stop, *, level=None))]
#[allow(clippy::type_complexity)]
pub(super) fn py_signals_of_chunk<'py>(
    py: Python<'py>,
    bars: PyBars<'py>,
    strategy: PyStrategy,
    start: usize,
    stop: usize,
    level: Option<&str>,
) -> PyResult<(Bound<'py, PyArray1<i8>>, Option<Bound<'py, PyArray1<f64>>>)> {
    let bars = bars.view()?;
    Range { first: start, last: stop }.check(bars.len())?;
    let level = Level::named(level)?;
    let strategy = strategies::build(&strategy.0, &strategy.1)?;
    let mut side = vec![0_i8; stop - start];
    let mut risk = vec![0.0; if strategy.gives_risk() { stop - start } else { 0 }];
    py.detach(|| strategy.detect(&bars, level, start, &mut side, &mut risk));
    let risk = strategy.gives_risk().then(|| risk.into_pyarray(py));
    Ok((side.into_pyarray(py), risk))
}

#[pyfunction]
#[pyo3(name = "average_true_range", signature = (bars, period, method, *, level=None))]
pub(super) fn py_average_true_range<'py>(
    py: Python<'py>,
    bars: PyBars<'py>,
    period: usize,
    method: i64,
    level: Option<&str>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let bars = bars.view()?;
    let level = Level::named(level)?;
    let atr = py.detach(|| {
        strategy::average_true_range(bars.high, bars.low, bars.close, period, method, level)
    })?;
    Ok(atr.into_pyarray(py))
}

#[pyfunction]
#[pyo3(name = "column_addresses")]
pub(super) fn py_column_addresses(bars: PyBars<'_>) -> PyResult<[usize; 7]> {
    let bars = bars.view()?;
    Ok([
        bars.open.as_ptr() as usize,
        bars.high.as_ptr() as usize,
        bars.low.as_ptr() as usize,
        bars.close.as_ptr() as usize,
        bars.volume.as_ptr() as usize,
        bars.minute.as_ptr() as usize,
        bars.day.as_ptr() as usize,
    ])
}
