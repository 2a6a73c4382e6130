"""What there is to find out of candles by looking at all of them, and the rules that each keeps."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["BARS", "Findings", "broken_rules", "findings_of"]

BARS: Final = ("open_time", "open", "high", "low", "close", "volume")
"""The columns that bars take: times, prices and volume."""
_PRICES: Final = BARS[1:5]
_AMOUNTS: Final = ("volume", "quote_volume", "taker_base", "taker_quote", "trades")


class Findings(NamedTuple):
    """What was found in the columns that bars take.

    Attributes
    ----------
    sha256 : str
        Hash of these columns.
    duplicates : int
        Candles that do not open after the one before.
    zero_volume, flat : int
        Candles in which nothing was traded; those with one price from open to close.
    broken : tuple of (str, int)
        Rules that are broken, and by how many candles.
    """

    sha256: str
    duplicates: int
    zero_volume: int
    flat: int
    broken: tuple[tuple[str, int], ...]


def broken_rules(columns: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield every rule that a candle keeps by itself, and which rows break it.

    Parameters
    ----------
    columns : mapping of str to ndarray
        Prices and volume at least; the other columns of candles are looked at if they are there.
    """
    prices = [columns[name] for name in _PRICES]
    amounts = [columns[name] for name in _AMOUNTS if name in columns]
    finite = np.logical_and.reduce([np.isfinite(column) for column in (*prices, *amounts)])
    yield "has a number that is not finite", ~finite
    yield "has a price that is not above 0", np.minimum.reduce(prices) <= 0
    yield "has a price above its high", np.maximum.reduce(prices) > columns["high"]
    yield "has a price below its low", np.minimum.reduce(prices) < columns["low"]
    yield "has a negative amount", np.minimum.reduce(amounts) < 0


def findings_of(columns: Mapping[str, NDArray[Any]]) -> Findings:
    """Look at all rows of the columns that bars take; return what was found.

    Examples
    --------
    >>> columns = {name: np.ones(2) for name in BARS} | {"volume": np.array([0.0, 5.0])}
    >>> found = findings_of(columns)
    >>> found.duplicates, found.zero_volume, found.flat, found.broken
    (1, 1, 2, ())
    """
    columns = {name: columns[name] for name in BARS}
    counts = ((rule, int(np.count_nonzero(rows))) for rule, rows in broken_rules(columns))
    open_, high, low, close = (columns[name] for name in _PRICES)
    one_price = (open_ == high) & (high == low) & (low == close)
    digest = sha256(f"bars|{len(close)}".encode())
    for column in columns.values():
        digest.update(column.astype(column.dtype.newbyteorder("<"), copy=False).data)
    return Findings(
        digest.hexdigest(),
        int(np.count_nonzero(np.diff(columns["open_time"]) <= 0)),
        int(np.count_nonzero(columns["volume"] == 0)),
        int(np.count_nonzero(one_price)),
        tuple((rule, count) for rule, count in counts if count),
    )
