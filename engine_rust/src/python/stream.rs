//! A backtest in chunks as a Python class.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::run::trade_columns;
use super::settings::{Given, PyBars, PyStrategy, optional};
use crate::contract::Contract;
use crate::simd::Level;
use crate::strategies;
use crate::stream::{Stream, Window};
use crate::types::{MetricSettings, Range, Rules};

/// One backtest that goes on from chunk to chunk.
#[pyclass(name = "Stream", module = "backtest_py._engine_rust")]
pub struct PyStream {
    stream: Stream,
}

#[pymethods]
impl PyStream {
    #[new]
    #[pyo3(signature = (strategy, rules, contract, *, level=None))]
    fn new(
        strategy: PyStrategy,
        rules: Given<Rules>,
        contract: Given<Contract>,
        level: Option<&str>,
    ) -> PyResult<Self> {
        let level = Level::named(level)?;
        let strategy = strategies::build(&strategy.0, &strategy.1)?;
        Ok(Self { stream: Stream::new(strategy, rules.0, contract.0, level) })
    }

    /// The bar at which the position that is held was entered, -1 if there is none.
    #[getter]
    fn entered(&self) -> i64 {
        self.stream.entered().unwrap_or(-1)
    }

    /// Go through new bars; return the bars of signal, entry and exit of the trades that end.
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (bars, base, start, until, first, last, *, atr=None))]
    fn advance<'py>(
        &mut self,
        py: Python<'py>,
        bars: PyBars<'py>,
        base: usize,
        start: usize,
        until: usize,
        first: usize,
        last: usize,
        atr: Option<PyReadonlyArray1<'py, f64>>,
    ) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let bars = bars.view()?;
        let atr = optional("atr", atr.as_ref(), bars.len())?;
        let window = Window { bars, atr, base, start, until };
        let stream = &mut self.stream;
        let before = py.detach(|| stream.advance(&window, Range { first, last }))?;
        let trades = self.stream.trades();
        let found =
            [&trades.signal_bar[before..], &trades.entry_bar[before..], &trades.exit_bar[before..]];
        PyArray1::from_vec(py, found.concat()).reshape([3, trades.len() - before])
    }

    /// Hand over all trades and their metrics.
    fn finish<'py>(
        &mut self,
        py: Python<'py>,
        metrics: Given<MetricSettings>,
        first: usize,
        last: usize,
        span: (i32, i32),
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyArray1<f64>>)> {
        let range = Range { first, last };
        range.check(last)?;
        let stream = &mut self.stream;
        let result = py.detach(|| stream.finish(&metrics.0, range, span));
        let metrics = PyArray1::from_slice(py, &result.metrics);
        Ok((trade_columns(py, result.trades)?, metrics))
    }
}
