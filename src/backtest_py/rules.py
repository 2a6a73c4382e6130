"""How a position is closed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, parameter, parse_clock
from backtest_py.records import AtrMethod, Intrabar, Unit

__all__ = ["ExitRules"]

DEFAULT_TARGET: Final = float("3.0")
"""An object of its own: ``target is DEFAULT_TARGET`` tells that the user did not choose it."""


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
    def close_minute(self) -> int:
        """Minute of the day of ``close_time``, -1 when it is off."""
        return parse_clock(self.close_time)

    @property
    def unit_code(self) -> int:
        """Number of ``unit`` in :class:`~backtest_py.records.Unit`."""
        return int(Unit[self.unit])

    @property
    def intrabar_code(self) -> int:
        """Number of ``intrabar`` in :class:`~backtest_py.records.Intrabar`."""
        return int(Intrabar[self.intrabar])

    @property
    def atr_method_code(self) -> int:
        """Number of ``atr_method`` in :class:`~backtest_py.records.AtrMethod`."""
        return int(AtrMethod[self.atr_method])

    @property
    def needs_atr(self) -> bool:
        """Whether any distance is measured in average true ranges."""
        return self.unit == "atr" and (self.stop > 0 or self.target > 0 or self.trail > 0)
