//! What Python hands over: bars whose columns are borrowed, settings, own columns.

use numpy::PyReadonlyArray1;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{EngineError, EngineResult};
use crate::schema::Schema;
use crate::types::{Bars, check_length};

/// A `backtest_py.Bars`, its columns held but not copied.
#[derive(FromPyObject)]
pub(super) struct PyBars<'py> {
    open: PyReadonlyArray1<'py, f64>,
    high: PyReadonlyArray1<'py, f64>,
    low: PyReadonlyArray1<'py, f64>,
    close: PyReadonlyArray1<'py, f64>,
    volume: PyReadonlyArray1<'py, f64>,
    minute: PyReadonlyArray1<'py, i32>,
    day: PyReadonlyArray1<'py, i32>,
}

impl PyBars<'_> {
    pub(super) fn view(&self) -> EngineResult<Bars<'_>> {
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

/// Settings of any class of `backtest_py`, made of what their `values()` give.
pub(super) struct Given<T>(pub(super) T);

impl<'py, T: Schema> FromPyObject<'_, 'py> for Given<T> {
    type Error = PyErr;

    fn extract(settings: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let values = settings.call_method0(intern!(settings.py(), "values"))?;
        let values: Vec<f64> = values
            .cast::<PyTuple>()?
            .iter()
            .map(|value| value.extract())
            .collect::<PyResult<_>>()?;
        Ok(Self(T::from_values(&values)?))
    }
}

/// A strategy by name and values.
pub(super) type PyStrategy = (String, Vec<f64>);

pub(super) fn slice<'a, T: numpy::Element>(
    name: &'static str,
    array: &'a PyReadonlyArray1<'_, T>,
) -> EngineResult<&'a [T]> {
    array.as_slice().map_err(|_| EngineError::NotContiguous { name })
}

pub(super) fn optional<'a, T: numpy::Element>(
    name: &'static str,
    array: Option<&'a PyReadonlyArray1<'_, T>>,
    n_bars: usize,
) -> EngineResult<&'a [T]> {
    let Some(array) = array else { return Ok(&[]) };
    let values = slice(name, array)?;
    check_length(name, values, n_bars)?;
    Ok(values)
}
