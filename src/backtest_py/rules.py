"""How a position is closed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, ClassVar, Final

from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, parameter

__all__ = ["AtrMethod", "ExitCounts", "ExitRules", "Intrabar", "Reason", "Unit"]


class Unit(IntEnum):
    """What stops, targets and trails are multiples of."""

    atr = 0
    points = 1
    percent = 2
    strategy = 3


class AtrMethod(IntEnum):
    """How the average true range is computed."""

    wilder = 0
    sma = 1
    column = 2


class Intrabar(IntEnum):
    """Which exit counts when a bar reaches stop and target."""

    stop_first = 0
    target_first = 1


class Reason(IntEnum):
    """Why a trade was closed; the number is what the engines store."""

    stop_loss = 0
    trailing_stop = 1
    take_profit = 2
    session_close = 3
    session_end = 4
    max_bars = 5
    end_of_data = 6


class ExitCounts:
    """What type checkers know of the metrics that count exits: one for each reason."""

    __slots__ = ()

    exits_stop_loss: int
    exits_trailing_stop: int
    exits_take_profit: int
    exits_session_close: int
    exits_session_end: int
    exits_max_bars: int
    exits_end_of_data: int


DEFAULT_TARGET: Final = float("3.0")
"""A distinct object: ``target is DEFAULT_TARGET`` shows that the user did not choose it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRules(Settings):
    """Stops, targets and times at which a position is closed; 0 or ``""`` switches a rule off.

    A ``target_r`` above 0 turns the default ``target`` off; giving both is refused.

    Examples
    --------
    >>> ExitRules(stop=2.0, target_r=1.5, close_time="12:15").target
    0.0
    """

    section: ClassVar[str] = "rules"

    stop: float = parameter(2.0, "float", "distance of the stop, in units", minimum=0)
    target: float = parameter(
        DEFAULT_TARGET,
        "float",
        "distance of the target, in units; while it is left out, a target_r replaces it",
        minimum=0,
    )
    target_r: float = parameter(
        0.0,
        "float",
        "distance of the target in multiples of the stop; needs target = 0, or left out",
        minimum=0,
    )
    trail: float = parameter(
        0.0, "float", "distance of the trailing stop from the close, in units", minimum=0
    )
    unit: str = parameter(
        "atr", "choice", "what distances are multiples of", choices=Unit.__members__
    )
    atr_period: int = parameter(14, "int", "bars in the average", minimum=1, maximum=100_000)
    atr_method: str = parameter(
        "wilder", "choice", "how the average is taken", choices=AtrMethod.__members__
    )
    round_to_tick: bool = parameter(
        default=False, kind="bool", doc="move stops and targets to the tick grid"
    )
    target_through_ticks: float = parameter(
        0.0, "float", "ticks that the price must trade beyond a target to fill it", minimum=0
    )
    close_time: str = parameter(
        "", "clock", "close at the first bar from here on", minimum=1, optional=True
    )
    max_bars: int = parameter(0, "int", "close after so many bars", minimum=0, maximum=2**63 - 1)
    intrabar: str = parameter(
        "stop_first",
        "choice",
        "which exit counts when one bar reaches both",
        choices=Intrabar.__members__,
    )

    def __post_init__(self) -> None:
        """Check every field, and let ``target_r`` replace a target that was not chosen."""
        Settings.__post_init__(self)
        if self.target is DEFAULT_TARGET and self.target_r > 0:
            object.__setattr__(self, "target", 0.0)
        self._check_targets()

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave a target that was not chosen out of copies: there it is not chosen either."""
        values = self.to_mapping()
        if self.target is DEFAULT_TARGET:
            del values["target"]
        return partial(type(self), **values), ()

    def _check_targets(self) -> None:
        if self.target > 0 and self.target_r > 0:
            raise ConfigError(
                f"rules.target = {self.target!r} and rules.target_r = {self.target_r!r} exclude "
                "each other; set one of them to 0"
            )
        if self.target_r > 0 and self.stop == 0:
            raise ConfigError(
                f"rules.target_r = {self.target_r!r} needs a stop, but rules.stop = 0; "
                "give a stop above 0, or use rules.target"
            )

    @property
    def needs_atr(self) -> bool:
        """Whether any distance is measured in average true ranges."""
        return self.unit == "atr" and (self.stop > 0 or self.target > 0 or self.trail > 0)
