//! The Rust engine of backtest-py.
//!
//! This file alone knows Python: it borrows `NumPy` columns without copying them, lets go of the
//! interpreter, calls the plain functions of the other modules, and hands whole columns back.

pub mod backtest_engine;
pub mod error;
pub mod indicators;
pub mod lanes;
pub mod lists;
pub mod metrics;
pub mod optimizer;
pub mod outcomes;
pub mod series_metrics;
pub mod simd;
pub mod strategies;
pub mod strategy;
pub mod sweep;
pub mod types;

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::{EngineError, EngineResult};
use crate::simd::Level;
use crate::types::{
    Backtest, Bars, Contract, N_METRICS, Range, Rules, SEMANTICS_VERSION, Settings, SignalColumns,
    Trades, Unit, check_length,
};

#[path = "lib_sweep.rs"]
mod sweep_bindings;

mod exceptions {
    #![allow(missing_docs)]
    pyo3::import_exception!(backtest_py.errors, EngineError);
}

impl From<EngineError> for PyErr {
    fn from(error: EngineError) -> Self {
        exceptions::EngineError::new_err(error.to_string())
    }
}

/// A `backtest_py.Bars`, its columns held but not copied.
#[derive(FromPyObject)]
struct PyBars<'py> {
    open: PyReadonlyArray1<'py, f64>,
    high: PyReadonlyArray1<'py, f64>,
    low: PyReadonlyArray1<'py, f64>,
    close: PyReadonlyArray1<'py, f64>,
    volume: PyReadonlyArray1<'py, f64>,
    minute: PyReadonlyArray1<'py, i32>,
    day: PyReadonlyArray1<'py, i32>,
}

impl PyBars<'_> {
    fn view(&self) -> EngineResult<Bars<'_>> {
        let bars = Bars {
            open: slice("open", &self.open)?,
            high: slice("high", &self.high)?,
            low: slice("low", &self.low)?,
            close: slice("close", &self.close)?,
            volume: slice("volume", &self.volume)?,
            minute: slice("minute", &self.minute)?,
            day: slice("day", &self.day)?,
        };
        bars.check()?;
        Ok(bars)
    }
}

/// A `backtest_py.ExitRules`.
#[derive(FromPyObject)]
struct PyRules {
    stop: f64,
    target: f64,
    target_r: f64,
    trail: f64,
    unit_code: i64,
    round_to_tick: bool,
    target_through_ticks: f64,
    close_minute: i32,
    max_bars: usize,
    intrabar_code: i64,
}

impl TryFrom<PyRules> for Rules {
    type Error = EngineError;

    fn try_from(rules: PyRules) -> EngineResult<Self> {
        Ok(Self {
            stop: rules.stop,
            target: rules.target,
            target_r: rules.target_r,
            trail: rules.trail,
            unit: Unit::from_code(rules.unit_code)?,
            round_to_tick: rules.round_to_tick,
            target_through_ticks: rules.target_through_ticks,
            close_minute: rules.close_minute,
            max_bars: rules.max_bars,
            target_first: match rules.intrabar_code {
                0 => false,
                1 => true,
                code => return Err(EngineError::Code { name: "intrabar", code }),
            },
        })
    }
}

/// A `backtest_py.Contract`.
#[derive(FromPyObject)]
struct PyContract {
    tick_size: f64,
    point_value: f64,
    quantity: f64,
    fee_per_side: f64,
    fee_rate: f64,
    slippage_ticks: f64,
    initial_capital: f64,
}

impl From<PyContract> for Contract {
    fn from(contract: PyContract) -> Self {
        Self {
            tick_size: contract.tick_size,
            point_value: contract.point_value,
            quantity: contract.quantity,
            fee_per_side: contract.fee_per_side,
            fee_rate: contract.fee_rate,
            slippage_ticks: contract.slippage_ticks,
            initial_capital: contract.initial_capital,
        }
    }
}

/// A `backtest_py.MetricSettings`.
#[derive(FromPyObject)]
struct PySettings {
    risk_free_rate: f64,
    periods_per_year: f64,
}

impl From<PySettings> for Settings {
    fn from(settings: PySettings) -> Self {
        Self {
            risk_free_rate: settings.risk_free_rate,
            periods_per_year: settings.periods_per_year,
        }
    }
}

/// A strategy by name and values.
type PyStrategy = (String, Vec<f64>);

/// One run of a series: strategy, average true range, rules, contract, settings, first and last.
type PyRun<'py> =
    (PyStrategy, Option<PyReadonlyArray1<'py, f64>>, PyRules, PyContract, PySettings, usize, usize);

fn slice<'a, T: numpy::Element>(
    name: &'static str,
    array: &'a PyReadonlyArray1<'_, T>,
) -> EngineResult<&'a [T]> {
    array.as_slice().map_err(|_| EngineError::NotContiguous { name })
}

fn optional<'a, T: numpy::Element>(
    name: &'static str,
    array: Option<&'a PyReadonlyArray1<'_, T>>,
    n_bars: usize,
) -> EngineResult<&'a [T]> {
    let Some(array) = array else { return Ok(&[]) };
    let values = slice(name, array)?;
    check_length(name, values, n_bars)?;
    Ok(values)
}

fn trade_columns(py: Python<'_>, trades: Trades) -> PyResult<Bound<'_, PyDict>> {
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
fn py_run_backtest<'py>(
    py: Python<'py>,
    bars: PyBars<'py>,
    rules: PyRules,
    contract: PyContract,
    metrics: PySettings,
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
    let rules = Rules::try_from(rules)?;
    let (contract, settings) = (Contract::from(contract), Settings::from(metrics));
    let atr = optional("atr", atr.as_ref(), bars.len())?;
    let side = optional("side", side.as_ref(), bars.len())?;
    let risk = optional("risk", risk.as_ref(), bars.len())?;
    let strategy = match strategy {
        Some((name, values)) if side.is_empty() => Some(strategy::build(&name, &values)?),
        None if !side.is_empty() => None,
        _ => return Err(EngineError::Signals.into()),
    };
    let has_risk = strategy.as_ref().map_or(!risk.is_empty(), |strategy| strategy.gives_risk());
    rules.check(atr, has_risk)?;
    let given = SignalColumns { side, risk };
    given.check()?;
    let result: Backtest = py.detach(|| {
        let run = |signals: SignalColumns<'_>| {
            backtest_engine::backtest(&bars, atr, signals, &rules, &contract, &settings, range)
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
#[pyo3(name = "optimize_rust", signature = (bars, runs, *, level=None))]
fn py_optimize<'py>(
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
    for (strategy, atr, rules, contract, metrics, first, last) in runs {
        strategies.push(strategy::build(&strategy.0, &strategy.1)?);
        atrs.push(atr);
        settings.push((
            Rules::try_from(rules)?,
            Contract::from(contract),
            Settings::from(metrics),
            Range { first, last },
        ));
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
fn py_signals<'py>(
    py: Python<'py>,
    bars: PyBars<'py>,
    strategy: PyStrategy,
    level: Option<&str>,
) -> PyResult<(Bound<'py, PyArray1<i8>>, Option<Bound<'py, PyArray1<f64>>>)> {
    let bars = bars.view()?;
    let level = Level::named(level)?;
    let strategy = strategy::build(&strategy.0, &strategy.1)?;
    let signals = py.detach(|| strategy::detect(&bars, strategy.as_ref(), level));
    let risk = strategy.gives_risk().then(|| signals.risk.into_pyarray(py));
    Ok((signals.side.into_pyarray(py), risk))
}

#[pyfunction]
#[pyo3(name = "signals_of_chunk", signature = (bars, strategy, start, stop, *, level=None))]
#[allow(clippy::type_complexity)]
fn py_signals_of_chunk<'py>(
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
    let strategy = strategy::build(&strategy.0, &strategy.1)?;
    let mut side = vec![0_i8; stop - start];
    let mut risk = vec![0.0; if strategy.gives_risk() { stop - start } else { 0 }];
    py.detach(|| strategy.detect(&bars, level, start, &mut side, &mut risk));
    let risk = strategy.gives_risk().then(|| risk.into_pyarray(py));
    Ok((side.into_pyarray(py), risk))
}

#[pyfunction]
#[pyo3(name = "average_true_range", signature = (bars, period, method, *, level=None))]
fn py_average_true_range<'py>(
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

/// Wrap functions of [`series_metrics`] that turn a column, and numbers, into one number.
macro_rules! number_of_column {
    ($($wrapper:ident $name:literal = $function:ident($column:ident $(, $number:ident)*);)*) => {$(
        #[pyfunction]
        #[pyo3(name = $name)]
        fn $wrapper(
            py: Python<'_>,
            $column: PyReadonlyArray1<'_, f64>,
            $($number: f64,)*
        ) -> PyResult<f64> {
            let column = slice(stringify!($column), &$column)?;
            Ok(py.detach(|| series_metrics::$function(column $(, $number)*)))
        }
    )*};
}

/// Wrap functions of [`series_metrics`] that turn a column and its start into a column.
macro_rules! column_of_column {
    ($($wrapper:ident $name:literal = $function:ident($column:ident);)*) => {$(
        #[pyfunction]
        #[pyo3(name = $name)]
        fn $wrapper<'py>(
            py: Python<'py>,
            $column: PyReadonlyArray1<'py, f64>,
            start: f64,
        ) -> PyResult<Bound<'py, PyArray1<f64>>> {
            let column = slice(stringify!($column), &$column)?;
            Ok(py.detach(|| series_metrics::$function(column, start)).into_pyarray(py))
        }
    )*};
}

number_of_column! {
    py_max_drawdown "max_drawdown" = max_drawdown(equity, start);
    py_max_drawdown_pct "max_drawdown_pct" = max_drawdown_pct(equity, start);
    py_annual_return_pct "annual_return_pct" = annual_return_pct(equity, start, periods_per_year);
    py_calmar_ratio "calmar_ratio" = calmar_ratio(equity, start, periods_per_year);
    py_volatility "volatility" = volatility(returns, periods_per_year);
    py_sharpe_ratio "sharpe_ratio" = sharpe_ratio(returns, rf, periods_per_year);
    py_sortino_ratio "sortino_ratio" = sortino_ratio(returns, rf, periods_per_year);
    py_win_rate "win_rate" = win_rate(pnl);
    py_expectancy "expectancy" = expectancy(pnl);
    py_avg_win "avg_win" = avg_win(pnl);
    py_avg_loss "avg_loss" = avg_loss(pnl);
    py_profit_factor "profit_factor" = profit_factor(pnl);
    py_payoff_ratio "payoff_ratio" = payoff_ratio(pnl);
    py_sqn "sqn" = sqn(pnl);
    py_recovery_factor "recovery_factor" = recovery_factor(pnl, start);
}

column_of_column! {
    py_equity_from_pnl "equity_from_pnl" = equity_from_pnl(pnl);
    py_returns_from_equity "returns_from_equity" = returns_from_equity(equity);
    py_drawdown_series "drawdown_series" = drawdown_series(equity);
    py_drawdown_pct_series "drawdown_pct_series" = drawdown_pct_series(equity);
}

#[pyfunction]
#[pyo3(name = "column_addresses")]
fn py_column_addresses(bars: PyBars<'_>) -> PyResult<[usize; 7]> {
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

#[pyfunction]
#[pyo3(name = "strategies")]
fn py_strategies(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let known = PyDict::new(py);
    for entry in strategies::REGISTRY {
        known.set_item(entry.name, PyList::new(py, entry.parameters)?)?;
    }
    Ok(known)
}

#[pyfunction]
#[pyo3(name = "build_info")]
fn py_build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    info.set_item("rustc", env!("ENGINE_RUSTC"))?;
    info.set_item("target", env!("ENGINE_TARGET"))?;
    let planted = if cfg!(feature = "planted-difference") { "planted-difference" } else { "none" };
    info.set_item("features", planted)?;
    info.set_item("level", Level::widest().name())?;
    info.set_item("levels", Level::available_names().join(","))?;
    Ok(info)
}

#[pymodule(name = "_engine_rust", gil_used = false)]
mod python_module {
    use super::{Bound, PyModule, PyModuleMethods, PyResult, SEMANTICS_VERSION};
    #[pymodule_export]
    use super::{
        py_annual_return_pct, py_avg_loss, py_avg_win, py_calmar_ratio, py_drawdown_pct_series,
        py_drawdown_series, py_equity_from_pnl, py_expectancy, py_max_drawdown,
        py_max_drawdown_pct, py_payoff_ratio, py_profit_factor, py_recovery_factor,
        py_returns_from_equity, py_sharpe_ratio, py_sortino_ratio, py_sqn, py_volatility,
        py_win_rate,
    };
    #[pymodule_export]
    use super::{
        py_average_true_range, py_build_info, py_column_addresses, py_optimize, py_run_backtest,
        py_signals, py_signals_of_chunk, py_strategies,
    };

    #[pymodule_export]
    use super::sweep_bindings::{PySweepPlan, py_outcome_table_bytes};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("SEMANTICS_VERSION", SEMANTICS_VERSION)
    }
}
