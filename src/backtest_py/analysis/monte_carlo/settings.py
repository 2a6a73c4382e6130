"""What a Monte Carlo is asked for: kind, number of paths, seed, and what each kind takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, parameter

__all__ = ["KINDS", "NULLS", "MonteCarloSettings", "same_in_any_order"]

KINDS: Final = {
    "bootstrap": "trades drawn one by one, with replacement",
    "block": "runs of neighbouring trades, drawn with replacement",
    "shuffle": "the same trades in another order",
    "skip": "each trade left out with a probability",
    "noise": "each trade at a little more slippage and fees",
    "delay": "each entry late by some bars",
    "null": "the same rules where nothing is to be found",
}
"""The kinds of paths, in words."""

NULLS: Final = {
    "entries": "entries at random, as often and at the same times of day",
    "directions": "bars whose directions are tossed",
    "blocks": "bars put together of random blocks",
}
"""What ``kind = "null"`` takes the edge from, in words."""

MOST_PATHS: Final = 1_000_000
"""The most paths: six numbers of each are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonteCarloSettings(Settings):
    """Arguments of :func:`backtest_py.monte_carlo`.

    Examples
    --------
    >>> MonteCarloSettings(kind="skip", skip_probability=0.2).n_paths
    10000
    """

    section: ClassVar[str] = "monte_carlo"

    kind: str = parameter("bootstrap", "choice", "what paths are made of", choices=KINDS)
    n_paths: int = parameter(10_000, "int", "how many paths", minimum=1, maximum=MOST_PATHS)
    seed: int = parameter(
        0, "int", "the same seed gives the same paths", minimum=0, maximum=2**64 - 1
    )
    sizing: str = parameter(
        "fixed",
        "choice",
        "fixed lots, or lots that grow and shrink with the equity",
        choices=("fixed", "compound"),
    )
    block_length: int = parameter(
        0,
        "int",
        "kind block: trades in a block, null blocks: bars; 0 is the cube root of their number",
        minimum=0,
        maximum=1_000_000,
    )
    skip_probability: float = parameter(
        0.1, "float", "kind skip: how likely a trade is left out", minimum=0, maximum=1
    )
    slippage_noise: float = parameter(
        1.0, "float", "kind noise: the most ticks lost on top, on every market order", minimum=0
    )
    fee_noise: float = parameter(
        0.0, "float", "kind noise: the most fees on top, as a share of the fees", minimum=0
    )
    max_delay: int = parameter(
        3,
        "int",
        "kind delay: the most bars by which an entry is late",
        minimum=1,
        maximum=100_000,
    )
    null: str = parameter("entries", "choice", "kind null: what is random", choices=NULLS)
    level: float = parameter(
        0.0, "float", "equity below which a path should not end; 0 is that of the start", minimum=0
    )

    def validate(self) -> None:
        """Refuse to ask where paths end that all end alike."""
        if self.kind == "shuffle" and self.level:
            raise ConfigError(
                f"monte_carlo.level = {self.level:g} asks how often paths end below it: "
                f"{same_in_any_order('final_equity')}; or leave the level out"
            )


def same_in_any_order(name: str) -> str:
    """Say why shuffled trades cannot tell anything of a number, and what can."""
    return (
        f"{name} is the same in every order of the same trades, so that shuffled paths say nothing "
        'of it; ask for max_drawdown or max_consecutive_losses, or give kind = "bootstrap" for '
        'percentiles and kind = "null" for a p-value'
    )
