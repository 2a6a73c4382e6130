"""The hash of bars: of everything that can reach a result."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from backtest_py.bars.columns import PRICES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["HASHED", "ContentHash", "hash_of_version_1"]

HASHED: Final = ("time", *PRICES, "volume", "atr_column")
"""The columns that are hashed, each for itself: so bars can come piece by piece."""


class ContentHash:
    """SHA-256 of bars, given at once or in pieces: one for each column, and one of those.

    Examples
    --------
    >>> import numpy as np
    >>> column = np.arange(4.0)
    >>> whole, parts = ContentHash(), ContentHash()
    >>> whole.update({"close": column})
    >>> for part in (column[:1], column[1:]):
    ...     parts.update({"close": part})
    >>> whole.hexdigest("", "") == parts.hexdigest("", "")
    True
    """

    def __init__(self) -> None:
        self._digests = {name: sha256() for name in HASHED}
        self._n_bars = 0

    def update(self, columns: Mapping[str, NDArray[Any] | None]) -> None:
        """Add the columns of more bars; one that is None is absent."""
        n_bars = 0
        for name, column in columns.items():
            if column is not None:
                self._digests[name].update(_bytes_of(column))
                n_bars = len(column)
        self._n_bars += n_bars

    def hexdigest(self, timezone: str, session_timezone: str) -> str:
        """Return the hash of all bars so far on these clocks."""
        lines = [f"bars 2|{self._n_bars}|{timezone}|{session_timezone}"]
        lines += [f"{name}|{digest.hexdigest()}" for name, digest in self._digests.items()]
        return sha256("\n".join(lines).encode()).hexdigest()


def hash_of_version_1(
    columns: Mapping[str, NDArray[Any] | None], timezone: str, session_timezone: str
) -> str:
    """Return the hash that version 0.1.0 wrote into its sweeps: one column after another."""
    n_bars = len(columns["open"]) if columns["open"] is not None else 0
    digest = sha256(f"bars 1|{n_bars}|{timezone}|{session_timezone}|".encode())
    for name, column in columns.items():
        digest.update(f"|{name}|".encode())
        if column is not None:
            digest.update(_bytes_of(column))
    return digest.hexdigest()


def _bytes_of(column: NDArray[Any]) -> Any:
    return column.astype(column.dtype.newbyteorder("<"), copy=False)
