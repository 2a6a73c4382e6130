"""What is measured: a market and a grid; the standard grid in four sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.random_numbers import splitmix64
from backtest_py.backtest.run import as_strategy
from backtest_py.contract import Contract
from backtest_py.data.synthetic import synthetic_bars
from backtest_py.errors import ConfigError
from backtest_py.parameters import counted
from backtest_py.rules import ExitRules
from backtest_py.strategies.barra_elefante import BarraElefante
from backtest_py.sweep.run import sweep
from backtest_py.sweep.space.sample import Sample, build_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backtest_py.bars import Bars
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.result.result import SweepResult
    from backtest_py.sweep.space.combinations import Combinations

    Settings = Sequence[tuple[Strategy, ExitRules, Contract]]

__all__ = ["N_DAYS", "SIZES", "Case", "standard_case"]

N_DAYS: Final = 1_285
"""Days of 109 five-minute bars: 140,065 bars, about five years."""

_AXES: Final[Mapping[str, tuple[Any, ...]]] = {
    "strategy.min_range_mult": tuple(1.0 + 0.5 * k for k in range(7)),
    "strategy.min_volume_mult": tuple(0.5 * k for k in range(7)),
    "strategy.max_shadow_ratio": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0),
    "strategy.lookback": (5, 10, 15, 20, 25, 30),
    "strategy.entry_start": ("09:00", "09:10", "09:20", "09:30", "09:40"),
    "strategy.entry_end": ("10:30", "11:00", "11:30", "12:00", "12:30"),
    "rules.stop": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    "rules.target_r": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
    "rules.trail": (0.0, 1.0),
}
"""The standard grid: 4,233,600 combinations."""

SIZES: Final[Mapping[int, tuple[int, ...]]] = {
    1: (1, 1, 1, 1, 1, 1, 1, 1, 1),
    1_000: (5, 1, 2, 1, 1, 5, 5, 2, 2),
    100_000: (5, 5, 8, 1, 5, 5, 5, 2, 2),
    4_233_600: (7, 7, 8, 6, 5, 5, 6, 6, 2),
}
"""How many values each size takes of every axis, spread evenly over the axis."""


@dataclass(frozen=True)
class Case:
    """A sweep to be measured.

    Attributes
    ----------
    name : str
        For people.
    bars : Bars
        The market.
    strategy : Strategy or callable
        The base of the grid.
    grid : mapping
        As :func:`backtest_py.sweep` takes it.
    rules : ExitRules
        The base of the grid.
    contract : Contract
        The base of the grid.
    sample : Sample, optional
        Draw combinations instead of taking all.
    where : str
        A condition between parameters.
    """

    name: str
    bars: Bars
    strategy: Strategy | Callable[..., Any]
    grid: Mapping[str, object]
    rules: ExitRules
    contract: Contract
    sample: Sample | None = None
    where: str = ""

    @cached_property
    def space(self) -> Combinations:
        """The combinations, checked."""
        return build_grid(
            as_strategy(self.strategy),
            self.rules,
            self.contract,
            self.grid,
            self.sample,
            where=self.where,
            invalid="refuse",
        )

    @property
    def n_combos(self) -> int:
        """Number of combinations."""
        return self.space.n_combos

    def sweep(
        self, engine: str, *, threads: int = 0, out: str | None = None, gate: int | None = None
    ) -> SweepResult:
        """Sweep as a user does, but without the parity gate unless ``gate`` is given."""
        return sweep(
            self.bars,
            self.strategy,
            self.grid,
            where=self.where,
            sample=self.sample,
            rules=self.rules,
            contract=self.contract,
            engine=engine,
            threads=threads,
            out=out,
            gate=gate,
        )

    def chosen(self, count: int) -> list[int]:
        """Return ``combo_id`` of at most ``count`` combinations, the same at every call."""
        space = self.space
        numbers = splitmix64(3, 0, 64 * count + 64) % np.uint64(space.size)
        ids = np.array([space.id_at(place) for place in dict.fromkeys(numbers.tolist())], np.int64)
        admitted = np.broadcast_to(space.admits(list(space.digit_rows(ids).T)), ids.shape)
        return [int(each) for each in ids[admitted][:count]]

    def settings(self, combo_ids: Sequence[int]) -> Settings:
        """Return the settings of some combinations."""
        return [self.space.settings(combo_id) for combo_id in combo_ids]


def standard_case(size: int, *, n_days: int = N_DAYS, slippage_ticks: float = 1.0) -> Case:
    """Return the standard grid, or an even part of it, on generated five-minute bars.

    Parameters
    ----------
    size : {1, 1_000, 100_000, 4_233_600}
        Combinations.
    n_days : int
        Days of 109 bars.
    slippage_ticks : float
        Of the contract, the tick being 5 points.

    Raises
    ------
    ConfigError
        If there is no such size.

    Examples
    --------
    >>> standard_case(1_000, n_days=5).n_combos
    1000
    """
    if size not in SIZES:
        given = ", ".join(f"{each:,}" for each in SIZES)
        raise ConfigError(
            f"size = {size:,} is not a size of the standard grid; take one of {given}"
        )
    grid = {
        key: _spread(values, count)
        for (key, values), count in zip(_AXES.items(), SIZES[size], strict=True)
    }
    return Case(
        f"standard grid, {counted(size, 'combination')}",
        synthetic_bars(n_days=n_days),
        BarraElefante(),
        grid,
        ExitRules(close_time="13:30", target=0),
        Contract(
            tick_size=5,
            point_value=0.20,
            fee_per_side=0.25,
            slippage_ticks=slippage_ticks,
            initial_capital=100_000,
        ),
    )


def _spread(values: Sequence[Any], count: int) -> list[Any]:
    """Return ``count`` of some values: those in the middle of as many equal parts."""
    return [values[(2 * k + 1) * len(values) // (2 * count)] for k in range(count)]
