//! Metrics of a column of equity, returns or pnl.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use super::settings::slice;
use crate::series_metrics;

/// Wrap functions of [`series_metrics`] that turn a column, and numbers, into one number.
macro_rules! number_of_column {
    ($($wrapper:ident $name:literal = $function:ident($column:ident $(, $number:ident)*);)*) => {$(
        #[pyfunction]
        #[pyo3(name = $name)]
        pub(super) fn $wrapper(
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
        pub(super) fn $wrapper<'py>(
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
