"""What is traded, and what trading it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from backtest_py.parameters import Settings, parameter

__all__ = ["Contract", "MetricSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Settings):
    """Tick, value, size and costs of the traded contract, and the account's capital.

    Examples
    --------
    A mini-index future (WIN) on B3:

    >>> Contract(tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1).tick_size
    5.0
    """

    section: ClassVar[str] = "contract"

    tick_size: float = parameter(
        1.0, "float", "smallest price step, in points", minimum=0, above=True
    )
    point_value: float = parameter(
        1.0, "float", "money per point and contract", minimum=0, above=True
    )
    quantity: float = parameter(1.0, "float", "contracts per trade", minimum=0, above=True)
    fee_per_side: float = parameter(0.0, "float", "money per contract and side", minimum=0)
    fee_rate: float = parameter(0.0, "float", "share of the traded value, per side", minimum=0)
    slippage_ticks: float = parameter(0.0, "float", "ticks lost on every market order", minimum=0)
    initial_capital: float = parameter(
        10_000.0, "float", "money in the account at the start", minimum=0, above=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSettings(Settings):
    """Settings of the annualised metrics.

    Examples
    --------
    >>> MetricSettings(periods_per_year=365).periods_per_year
    365.0
    """

    section: ClassVar[str] = "metrics"

    risk_free_rate: float = parameter(0.0, "float", "annual risk-free return, as a fraction")
    periods_per_year: float = parameter(
        252.0,
        "float",
        "trading days a year: 252 on exchanges, 365 in crypto",
        minimum=0,
        above=True,
    )
