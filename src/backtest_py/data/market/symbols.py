"""Names of markets, checked before they reach a path, a query or an address."""

from __future__ import annotations

import re
from typing import Final

from backtest_py.errors import ConfigError

__all__ = ["check_symbol"]

_SYMBOL: Final = re.compile(r"[A-Z0-9$@_-](?:[A-Z0-9$@._-]{0,30}[A-Z0-9$@_-])?")
_WINDOWS: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{name}{n}" for name in ("COM", "LPT") for n in range(10))}
)
"""Names that Windows keeps for devices, whatever follows a dot."""
SHOWN: Final = 40


def check_symbol(symbol: object) -> str:
    """Return a symbol that is safe in paths, queries and addresses.

    Raises
    ------
    ConfigError
        If it is no text of 1 to 32 of ``A-Z 0-9 $ @ . _ -``, begins or ends with a dot, holds two
        dots in a row, or is a name that Windows keeps for a device.

    Examples
    --------
    >>> check_symbol("WIN$N"), check_symbol("1000PEPEUSDT")
    ('WIN$N', '1000PEPEUSDT')
    """
    if (
        isinstance(symbol, str)
        and _SYMBOL.fullmatch(symbol)
        and ".." not in symbol
        and symbol.partition(".")[0] not in _WINDOWS
    ):
        return symbol
    shown = repr(symbol)
    if len(shown) > SHOWN:
        shown = f"{shown[:SHOWN]}… ({len(shown):,} characters)"
    raise ConfigError(
        f"symbol = {shown} is not allowed; give 1 to 32 of A-Z, 0-9, $, @, ., _ and -, such as "
        '"BTCUSDT" or "WIN$N"'
    )
