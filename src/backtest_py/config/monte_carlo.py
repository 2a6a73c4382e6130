"""Section ``[monte_carlo]``: the arguments of a Monte Carlo."""

from __future__ import annotations

from dataclasses import dataclass, fields

from backtest_py.analysis.monte_carlo.settings import MonteCarloSettings
from backtest_py.engines.registry import ENGINE_NAMES
from backtest_py.parameters import parameter

__all__ = ["MonteCarloSection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonteCarloSection(MonteCarloSettings):
    """Section ``[monte_carlo]``, which may name an engine of its own."""

    engine: str = parameter(
        "", "choice", 'what computes the paths; "" is that of [run]', choices=("", *ENGINE_NAMES)
    )

    def settings(self) -> MonteCarloSettings:
        """Return what is asked for, whatever the engine."""
        names = [item.name for item in fields(MonteCarloSettings)]
        return MonteCarloSettings(**{name: getattr(self, name) for name in names})
