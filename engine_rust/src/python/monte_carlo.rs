//! Random paths of trades, and random bars.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;

use super::settings::slice;
use crate::error::EngineResult;
use crate::monte_carlo::{self, Clock, N_NUMBERS, NewPrices, Prices, Resampling};
use crate::simd::Level;
use crate::types::check_length;

type Floats<'py> = PyReadonlyArray1<'py, f64>;
type Integers<'py> = PyReadonlyArray1<'py, i64>;
type Column<'py, T> = Bound<'py, PyArray1<T>>;
type Table<'py> = Bound<'py, PyArray2<f64>>;

#[pyfunction]
#[pyo3(name = "random_word")]
pub(super) fn py_random_word(seed: u64, path: u64, draw: u64, attempt: u32) -> u32 {
    monte_carlo::word_at(seed, path, draw, attempt)
}

#[pyfunction]
#[pyo3(name = "resample_paths", signature = (kind, pnl, costs, block_length, skip_below, capital,
    compound, marks, seed, first_path, n_paths, n_kept, threads, *, level=None))]
#[allow(clippy::too_many_arguments)]
pub(super) fn py_resample_paths<'py>(
    py: Python<'py>,
    kind: i64,
    pnl: Floats<'py>,
    costs: Floats<'py>,
    block_length: usize,
    skip_below: u64,
    capital: f64,
    compound: bool,
    marks: Integers<'py>,
    seed: u64,
    first_path: u64,
    n_paths: usize,
    n_kept: usize,
    threads: usize,
    level: Option<&str>,
) -> PyResult<(Table<'py>, Table<'py>)> {
    let level = Level::named(level)?;
    let marks = slice("marks", &marks)?;
    let asked = Resampling {
        kind,
        pnl: slice("pnl", &pnl)?,
        costs: slice("costs", &costs)?,
        block_length,
        skip_below,
        capital,
        compound,
        marks,
        seed,
    };
    let (numbers, equity) = py.detach(|| {
        monte_carlo::resample_paths(&asked, first_path, n_paths, n_kept, threads, level)
    })?;
    Ok((
        numbers.into_pyarray(py).reshape([n_paths, N_NUMBERS])?,
        equity.into_pyarray(py).reshape([n_kept.min(n_paths), marks.len()])?,
    ))
}

#[pyfunction]
#[pyo3(name = "choose_bars")]
pub(super) fn py_choose_bars<'py>(
    py: Python<'py>,
    bars: Integers<'py>,
    count: usize,
    seed: u64,
    path: u64,
) -> PyResult<Column<'py, i64>> {
    let bars = slice("bars", &bars)?;
    Ok(py.detach(|| monte_carlo::choose_bars(bars, count, seed, path))?.into_pyarray(py))
}

#[pyfunction]
#[pyo3(name = "delays")]
pub(super) fn py_delays(
    py: Python<'_>,
    most: u32,
    count: usize,
    seed: u64,
    path: u64,
) -> Column<'_, i64> {
    py.detach(|| monte_carlo::delays(most, count, seed, path)).into_pyarray(py)
}

#[pyfunction]
#[pyo3(name = "shuffle_directions")]
pub(super) fn py_shuffle_directions<'py>(
    py: Python<'py>,
    open: Floats<'py>,
    high: Floats<'py>,
    low: Floats<'py>,
    close: Floats<'py>,
    seed: u64,
    path: u64,
) -> PyResult<[Column<'py, f64>; 4]> {
    let prices = prices_of(&open, &high, &low, &close)?;
    let new = py.detach(|| monte_carlo::shuffle_directions(&prices, seed, path));
    Ok(columns(py, new))
}

#[pyfunction]
#[pyo3(name = "bootstrap_bars")]
#[allow(clippy::too_many_arguments)]
pub(super) fn py_bootstrap_bars<'py>(
    py: Python<'py>,
    open: Floats<'py>,
    high: Floats<'py>,
    low: Floats<'py>,
    close: Floats<'py>,
    order: Integers<'py>,
    first: Integers<'py>,
    size: Integers<'py>,
    block_length: usize,
    seed: u64,
    path: u64,
) -> PyResult<([Column<'py, f64>; 4], Column<'py, i64>)> {
    let prices = prices_of(&open, &high, &low, &close)?;
    let clock = Clock {
        order: slice("order", &order)?,
        first: slice("first", &first)?,
        size: slice("size", &size)?,
    };
    for (name, column) in [("order", clock.order), ("first", clock.first), ("size", clock.size)] {
        check_length(name, column, prices.open.len())?;
    }
    let (new, source) =
        py.detach(|| monte_carlo::bootstrap_bars(&prices, &clock, block_length, seed, path))?;
    Ok((columns(py, new), source.into_pyarray(py)))
}

fn prices_of<'a>(
    open: &'a Floats<'_>,
    high: &'a Floats<'_>,
    low: &'a Floats<'_>,
    close: &'a Floats<'_>,
) -> EngineResult<Prices<'a>> {
    let prices = Prices {
        open: slice("open", open)?,
        high: slice("high", high)?,
        low: slice("low", low)?,
        close: slice("close", close)?,
    };
    for (name, column) in [("high", prices.high), ("low", prices.low), ("close", prices.close)] {
        check_length(name, column, prices.open.len())?;
    }
    Ok(prices)
}

fn columns(py: Python<'_>, prices: NewPrices) -> [Column<'_, f64>; 4] {
    prices.map(|column| column.into_pyarray(py))
}
