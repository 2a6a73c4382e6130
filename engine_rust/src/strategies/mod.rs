//! Strategies: one file each, registered in one line here.

pub mod barra_elefante;
pub mod moving_average_cross;
pub mod opening_range_breakout;

use crate::strategy::Registration;

/// Every strategy of the engine.
pub const REGISTRY: &[Registration] = &[
    barra_elefante::REGISTRATION,
    moving_average_cross::REGISTRATION,
    opening_range_breakout::REGISTRATION,
];
