"""Tables of bars of no particular origin, and the archives of exchanges."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backtest_py.bars.columns import GENERIC
from backtest_py.data.readers._text import Dialect, Head

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DIALECT"]

_CLOCK: Final = re.compile(r"\d{1,2}:\d\d(:\d\d)?")


def _recognises(head: Head) -> bool:
    return not (head.cells[0].startswith("<") and head.cells[0].endswith(">"))


def _positions(cells: Sequence[str]) -> list[str] | None:
    """Name columns in the order that all programs write them: time, prices, volume.

    So do Binance's archives, where files of some markets and years have no header.
    """
    names = ["time", "open", "high", "low", "close", "volume"]
    if len(cells) > 1 and _CLOCK.fullmatch(cells[1]):
        names = ["date", *names]
    if len(cells) < len(names) - 1 or not cells[0][:1].isdigit():
        return None
    names = names[: len(cells)]
    return names + [f"column {position + 1}" for position in range(len(names), len(cells))]


DIALECT: Final = Dialect(
    name="csv",
    synonyms=GENERIC,
    day_first=False,
    grouping=True,
    recognises=_recognises,
    positions=_positions,
)
