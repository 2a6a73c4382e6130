//! What Python hands over: bars whose columns are borrowed, settings, own columns.

use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::error::{EngineError, EngineResult};
use crate::types::{Bars, Contract, Rules, Settings, Unit, check_length};

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

/// A `backtest_py.ExitRules`.
#[derive(FromPyObject)]
pub(super) struct PyRules {
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
pub(super) struct PyContract {
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
pub(super) struct PySettings {
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
