"""What a trade earns. Mirrors ``engine_rust/src/contract.rs``."""

from __future__ import annotations

from backtest_py._jit import kernel
from backtest_py.engines.numba_engine.types import Settlement

__all__ = ["settle"]


@kernel(allocates=False)
def settle(outcome, side, contract):
    """Return what a trade earned."""
    entry, price = outcome.entry_price, outcome.exit_price
    points = price - entry if side > 0 else entry - price
    fees = (
        2.0 * contract.fee_per_side * contract.quantity
        + contract.fee_rate * (abs(entry) + abs(price)) * contract.point_value * contract.quantity
    )
    pnl = points * contract.point_value * contract.quantity - fees
    return Settlement(points + 0.0, fees + 0.0, pnl + 0.0)
