//! The Rust engine of backtest-py: plain functions, and `python`, which shows them to Python.

pub mod backtest_engine;
pub mod contract;
pub mod error;
pub mod indicators;
pub mod metrics;
pub mod monte_carlo;
pub mod optimizer;
pub mod pool;
mod python;
pub mod schema;
pub mod series_metrics;
pub mod simd;
pub mod strategies;
pub mod strategy;
pub mod stream;
pub mod sweep;
pub mod types;
