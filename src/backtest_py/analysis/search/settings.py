"""What a search is asked for, beside the market, the grid and what is good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from backtest_py.parameters import Settings, parameter

__all__ = ["SAMPLERS", "SearchSettings"]

SAMPLERS: Final = {
    "auto": "tpe for one objective, nsga2 for several",
    "tpe": "models where good combinations lie (tree-structured Parzen estimator)",
    "nsga2": "breeds generations of combinations (non-dominated sorting genetic algorithm)",
    "random": "draws at random, for comparison",
}
"""What proposes combinations, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings(Settings):
    """Arguments of :func:`backtest_py.search` that are numbers and choices.

    Examples
    --------
    >>> SearchSettings(n_trials=200, seed=7).sampler
    'auto'
    """

    section: ClassVar[str] = "search"

    n_trials: int = parameter(
        1_000, "int", "combinations to evaluate, each once", minimum=1, maximum=10_000_000
    )
    batch: int = parameter(
        25, "int", "combinations that are proposed together", minimum=2, maximum=100_000
    )
    sampler: str = parameter("auto", "choice", "what proposes combinations", choices=SAMPLERS)
    seed: int = parameter(
        0, "int", "the same seed gives the same trials", minimum=0, maximum=2**32 - 1
    )
    min_trades: int = parameter(
        30, "int", "with fewer trades a combination cannot be the best", minimum=0
    )
