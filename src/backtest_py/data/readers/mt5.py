"""Exports of MetaTrader 5: names in angle brackets, tabs, dates with points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backtest_py.data.readers._text import Dialect, Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest_py.bars.columns import Synonyms

__all__ = ["DIALECT"]

_SYNONYMS: Final[Synonyms] = {
    "date": ("date", "dtyyyymmdd"),
    "clock": ("time",),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("vol", "volume"),
    "ticks": ("tickvol",),
    "symbol": ("ticker",),
    "atr": ("atr",),
}
"""``<VOL>`` is contracts and comes first; forex leaves it at zero, then ``<TICKVOL>`` counts."""


def _recognises(head: Head) -> bool:
    return head.cells[0].startswith("<") and head.cells[0].endswith(">")


def _positions(_cells: Sequence[str]) -> list[str] | None:
    return None


DIALECT: Final = Dialect(
    name="mt5",
    synonyms=_SYNONYMS,
    day_first=False,
    grouping=False,
    recognises=_recognises,
    positions=_positions,
)
