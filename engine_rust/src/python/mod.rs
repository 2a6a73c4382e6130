//! The extension as Python sees it: this module alone knows Python.
//!
//! It borrows `NumPy` columns without copying them, releases the interpreter's lock, calls the plain
//! functions of the other modules, and hands whole columns back.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyList};

use crate::contract::Contract;
use crate::error::EngineError;
use crate::pool;
use crate::schema::{Field, Schema};
use crate::simd::Level;
use crate::types::{MetricSettings, Rules, SEMANTICS_VERSION};
use crate::{metrics, strategies};

mod monte_carlo;
mod run;
mod series;
mod settings;
mod stream;
mod sweep;

mod exceptions {
    #![allow(missing_docs)]
    pyo3::import_exception!(backtest_py.errors, EngineError);
}

impl From<EngineError> for PyErr {
    fn from(error: EngineError) -> Self {
        exceptions::EngineError::new_err(error.to_string())
    }
}

#[pyfunction]
#[pyo3(name = "after_fork_in_child")]
fn py_after_fork_in_child() {
    pool::after_fork_in_child();
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

/// Name, kind and choices of a field.
type PyField = (&'static str, &'static str, Vec<&'static str>);

#[pyfunction]
#[pyo3(name = "settings")]
fn py_settings(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let known = PyDict::new(py);
    for (section, fields) in [
        ("rules", Rules::FIELDS),
        ("contract", Contract::FIELDS),
        ("metrics", MetricSettings::FIELDS),
    ] {
        let field = |field: &Field| (field.name, field.kind, field.choices.to_vec());
        known.set_item(section, fields.iter().map(field).collect::<Vec<PyField>>())?;
    }
    Ok(known)
}

#[pyfunction]
#[pyo3(name = "metric_names")]
fn py_metric_names() -> Vec<String> {
    metrics::names()
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
    #[pymodule_export]
    use super::monte_carlo::{
        py_bootstrap_bars, py_choose_bars, py_delays, py_random_word, py_resample_paths,
        py_shuffle_directions,
    };
    #[pymodule_export]
    use super::run::{
        py_average_true_range, py_column_addresses, py_measure, py_optimize, py_run_backtest,
        py_signals, py_signals_of_chunk,
    };
    #[pymodule_export]
    use super::series::{
        py_annual_return_pct, py_avg_loss, py_avg_win, py_calmar_ratio, py_drawdown_pct_series,
        py_drawdown_series, py_equity_from_pnl, py_expectancy, py_max_drawdown,
        py_max_drawdown_pct, py_payoff_ratio, py_profit_factor, py_recovery_factor,
        py_returns_from_equity, py_sharpe_ratio, py_sortino_ratio, py_sqn, py_volatility,
        py_win_rate,
    };
    use super::{
        Bound, IntoPyDict, PyAnyMethods, PyModule, PyModuleMethods, PyResult, SEMANTICS_VERSION,
        wrap_pyfunction,
    };
    #[pymodule_export]
    use super::{py_build_info, py_metric_names, py_settings, py_strategies};

    #[pymodule_export]
    use super::stream::PyStream;
    #[pymodule_export]
    use super::sweep::PySweepPlan;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let os = module.py().import("os")?;
        if os.hasattr("register_at_fork")? {
            // A forked child has none of its parent's threads.
            let tell = wrap_pyfunction!(super::py_after_fork_in_child, module)?;
            os.call_method(
                "register_at_fork",
                (),
                Some(&[("after_in_child", tell)].into_py_dict(module.py())?),
            )?;
        }
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("SEMANTICS_VERSION", SEMANTICS_VERSION)
    }
}
