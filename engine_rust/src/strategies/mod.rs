//! Strategies: one file each, registered in one line here.

pub mod barra_elefante;
pub mod moving_average_cross;
pub mod opening_range_breakout;

use crate::error::{EngineError, EngineResult};
use crate::strategy::{Registration, Strategy};

/// Every strategy of the engine.
pub const REGISTRY: &[Registration] = &[
    barra_elefante::REGISTRATION,
    moving_average_cross::REGISTRATION,
    opening_range_breakout::REGISTRATION,
];

/// Return how a strategy is known and built.
///
/// # Errors
/// If the name is unknown.
pub fn registration(name: &str) -> EngineResult<&'static Registration> {
    REGISTRY.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<_> = REGISTRY.iter().map(|entry| entry.name).collect();
        EngineError::UnknownStrategy { name: name.to_string(), known: known.join(", ") }
    })
}

/// Build a strategy from its name and values.
///
/// # Errors
/// If the name is unknown, or a value or their number is not allowed.
pub fn build(name: &str, values: &[f64]) -> EngineResult<Box<dyn Strategy>> {
    let entry = registration(name)?;
    if entry.parameters.len() != values.len() {
        return Err(EngineError::Values {
            name: entry.name,
            expected: entry.parameters.len(),
            found: values.len(),
        });
    }
    for (name, value) in entry.parameters.iter().zip(values) {
        if !value.is_finite() {
            return Err(EngineError::Value { name, value: *value, allowed: "a finite number" });
        }
    }
    (entry.build)(values)
}
