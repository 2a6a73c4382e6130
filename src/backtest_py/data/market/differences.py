"""How two tables of candles differ, in words that name rows and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.data.market.candles import COLUMNS
from backtest_py.data.market.spans import instant_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.data.market.candles import Candles

    Table = Mapping[str, NDArray[Any]]

__all__ = ["as_table", "differences", "n_differing"]

_MOST: Final = 0.95
"""The share of rows that must fit before volumes are taken for those of the quote asset."""
_ROUNDED: Final = 1e-3


def as_table(candles: Candles) -> dict[str, NDArray[Any]]:
    """Return the columns of candles by name."""
    return {name: getattr(candles, name) for name in COLUMNS}


def n_differing(old: Candles, new: Candles) -> int:
    """Return how many candles are not the same in both, or only in one."""
    left, right = _common(as_table(old), as_table(new))
    other = np.zeros(len(left), np.bool_)
    for name in COLUMNS:
        mine, theirs = getattr(old, name)[left], getattr(new, name)[right]
        other |= mine.view(np.int64) != theirs.view(np.int64)
    return len(old) + len(new) - 2 * len(left) + int(np.count_nonzero(other))


def differences(given: Table, known: Table, where: str = "what is known") -> list[str]:
    """Return in which columns two tables differ that have candles of the same times.

    Parameters
    ----------
    given, known : mapping of str to ndarray
        Columns of candles, ``open_time`` among them; those that both have are compared.
    where : str
        What the second one is.

    Returns
    -------
    list of str
        One sentence for each column that differs, with its first row and both values.

    Examples
    --------
    >>> times = np.array([1_740_182_400_000])
    >>> differences({"open_time": times, "close": np.array([2.0])},
    ...             {"open_time": times, "close": np.array([3.0])})
    ['row 0 (2025-02-22 00:00:00): close = 2.0, and 3.0 in what is known; 1 of 1 rows differ']
    """
    left, right = _common(given, known)
    found = []
    for name in COLUMNS:
        if name == "open_time" or name not in given or name not in known:
            continue
        mine, theirs = given[name][left], known[name][right]
        rows = np.flatnonzero(mine != theirs)
        if len(rows):
            row = int(left[rows[0]])
            text = (
                f"row {row} ({instant_text(int(given['open_time'][row]))}): {name} = "
                f"{mine[rows[0]]}, and {theirs[rows[0]]} in {where}; {len(rows):,} of "
                f"{len(left):,} rows differ"
            )
            found.append(text + (_mix_up(given, known, left, right) if name == "volume" else ""))
    return found


def _mix_up(given: Table, known: Table, left: NDArray[Any], right: NDArray[Any]) -> str:
    """Return whose volume is in the quote asset: its ratio to the other one is a price."""
    if not {"high", "low"} <= set(given):
        return ""
    mine, theirs = given["volume"][left], known["volume"][right]
    for volume, other, whose in ((mine, theirs, "the file's"), (theirs, mine, "the other's")):
        traded = (volume > 0) & (other > 0)
        price = volume[traded] / other[traded]
        high, low = given["high"][left][traded], given["low"][left][traded]
        fits = (price >= low * (1 - _ROUNDED)) & (price <= high * (1 + _ROUNDED))
        if len(fits) and np.mean(fits) >= _MOST:
            return (
                f", and their ratio is a price between low and high in {np.count_nonzero(fits):,} "
                f"of {len(fits):,}: {whose} volume is that of the quote asset, where the base "
                "asset's belongs"
            )
    return ""


def _common(given: Table, known: Table) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows of both that have the same times."""
    _, left, right = np.intersect1d(
        given["open_time"], known["open_time"], assume_unique=True, return_indices=True
    )
    return left, right
