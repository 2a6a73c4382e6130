"""Exports of Nelogica Profit: semicolons, day first, newest first, decimal comma.

``Quantidade`` (contracts) is the volume. ``Volume`` is money there; it counts only where the file
has no quantity that is not zero.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backtest_py.bars.columns import PRICES, assign_roles
from backtest_py.data.readers._text import Dialect, Head
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest_py.bars.columns import Synonyms

__all__ = ["DIALECT"]

_SYNONYMS: Final[Synonyms] = {
    "date": ("data", "data_hora"),
    "clock": ("hora",),
    "open": ("open", "abertura"),
    "high": ("high", "maximo", "maxima"),
    "low": ("low", "minimo", "minima"),
    "close": ("close", "fechamento", "ultimo"),
    "volume": ("quantidade", "contratos"),
    "ticks": ("negocios",),
    "money": ("volume", "volume_financeiro"),
    "symbol": ("ativo",),
    "atr": ("atr",),
}
_DATE: Final = re.compile(r"\d{2}/\d{2}/\d{4}")
_CLOCK: Final = re.compile(r"\d{1,2}:\d\d(:\d\d)?")


def _recognises(head: Head) -> bool:
    if head.delimiter != ";":
        return False
    if not head.is_header:
        return _positions(head.cells) is not None
    try:
        roles = assign_roles(head.cells, synonyms=_SYNONYMS, where="")
    except DataError:
        return False
    return {"date", *PRICES} <= set(roles)


def _positions(cells: Sequence[str]) -> list[str] | None:
    """Name the columns of an export without header, with or without a time of day."""
    names = ["ativo", "data", "hora", "abertura", "maximo", "minimo", "fechamento"]
    if len(cells) < len(names) or _DATE.fullmatch(cells[1]) is None:
        return None
    if _CLOCK.fullmatch(cells[2]) is None:
        names.remove("hora")
    names += ["volume", "quantidade"]
    return names if len(cells) == len(names) else None


DIALECT: Final = Dialect(
    name="profit",
    synonyms=_SYNONYMS,
    day_first=True,
    grouping=True,
    recognises=_recognises,
    positions=_positions,
)
