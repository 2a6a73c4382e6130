//! What is traded, and what a trade earns. Mirrors `contract.py` and `engines/numba_engine/contract.py`.

use crate::schema::settings;
use crate::types::{Outcome, Settlement};

settings! {
    /// What is traded, and what trading it costs.
    pub struct Contract {
        /// Smallest price step, in points.
        tick_size: f64,
        /// Money per point and contract.
        point_value: f64,
        /// Contracts per trade.
        quantity: f64,
        /// Money per contract and side.
        fee_per_side: f64,
        /// Share of the traded value, per side.
        fee_rate: f64,
        /// Ticks lost on every market order.
        slippage_ticks: f64,
        /// Money in the account at the start.
        initial_capital: f64,
    }
}

/// Return what a trade earned.
pub fn settle(outcome: &Outcome, side: i8, contract: &Contract) -> Settlement {
    let (entry, price) = (outcome.entry_price, outcome.exit_price);
    let points = if side > 0 { price - entry } else { entry - price };
    let fees = 2.0 * contract.fee_per_side * contract.quantity
        + contract.fee_rate
            * (entry.abs() + price.abs())
            * contract.point_value
            * contract.quantity;
    let pnl = points * contract.point_value * contract.quantity - fees;
    Settlement { points: points + 0.0, fees: fees + 0.0, pnl: pnl + 0.0 }
}
