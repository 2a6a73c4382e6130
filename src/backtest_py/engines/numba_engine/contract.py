"""What a trade earns. Mirrors ``engine_rust/src/contract.rs``."""

from __future__ import annotations

from typing import NamedTuple

from backtest_py._jit import kernel

__all__ = ["Settlement", "settle"]


class Settlement(NamedTuple):
    """What a trade earned: points, and fees and gain in money."""

    points: float
    fees: float
    pnl: float


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
