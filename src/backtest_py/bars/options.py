"""How bars are read: every option of every source, declared once.

Arrays, frames, files, the section ``[data]`` of a configuration, ``backtest-py inspect`` and the
notes by which a sweep reads its bars again all take their options from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from backtest_py.bars.zones import named_zone
from backtest_py.parameters import Settings, parameter

__all__ = ["ReadOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions(Settings):
    """What to do with a source of bars; :func:`backtest_py.load_bars` explains each option.

    A source takes what concerns it: nothing but a text file has a decimal mark.

    Raises
    ------
    ConfigError
        If a choice or a time zone is unknown, even of a clock that will not be used.

    Examples
    --------
    >>> ReadOptions(timezone="America/Sao_Paulo").empty
    'refuse'
    """

    section: ClassVar[str] = "data"

    format: str = parameter(
        "auto",
        "choice",
        "layout of the file",
        choices=("auto", "csv", "mt5", "profit", "parquet", "feather"),
    )
    timezone: str = parameter("", "text", 'the file\'s clock, such as "America/Sao_Paulo"')
    session_timezone: str = parameter(
        "",
        "text",
        'the clock of minutes and days; "" is that of timezone, or the zone that times carry',
    )
    empty: str = parameter(
        "refuse", "choice", "bars in which nothing traded", choices=("refuse", "drop")
    )
    dayfirst: bool = parameter(
        default=False, kind="bool", doc="dates such as 01/02/2023 start with the day"
    )
    decimal: str = parameter(
        "auto", "choice", "decimal mark of a text file", choices=("auto", ".", ",")
    )
    ambiguous: str = parameter(
        "infer",
        "choice",
        "a local time that occurs twice",
        choices=("infer", "earlier", "later", "refuse"),
    )
    nonexistent: str = parameter(
        "refuse",
        "choice",
        "a local time that the clock skips",
        choices=("refuse", "shift_forward"),
    )

    def validate(self) -> None:
        """Refuse time zones that do not exist."""
        for name in (self.timezone, self.session_timezone):
            if name not in {"", "UTC"}:
                named_zone(name)
