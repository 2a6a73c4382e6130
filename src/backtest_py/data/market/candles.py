"""Closed candles of one market and interval: columns as an exchange gives them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.data.market.findings import BARS, Findings, findings_of
from backtest_py.data.market.intervals import interval_of
from backtest_py.data.market.symbols import check_symbol
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from backtest_py.data.market.intervals import Interval
    from backtest_py.data.market.spans import Span

__all__ = ["COLUMNS", "ROW_BYTES", "SCHEMA_VERSION", "Candles", "Series", "columns_hash"]

SCHEMA_VERSION: Final = 2
"""Version of names, types and order of the columns in every tier, and of what is beside them."""


class Series(NamedTuple):
    """One market at one interval: what every tier files candles under."""

    symbol: str
    interval: Interval

    @classmethod
    def of(cls, symbol: str, interval: str) -> Series:
        """Check both names.

        Raises
        ------
        ConfigError
            If one is not allowed.
        """
        return cls(check_symbol(symbol), interval_of(interval))

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval.name}"


@dataclass(frozen=True, slots=True)
class Candles:
    """Columns of closed candles, all of shape (n,), in the order of ``open_time``.

    Attributes
    ----------
    open_time : ndarray of int64
        When each candle opens, milliseconds since 1970, UTC; strictly increasing.
    open, high, low, close : ndarray of float64
        Prices.
    volume : ndarray of float64
        Traded quantity of the base asset.
    quote_volume : ndarray of float64
        Traded value in the quote asset.
    trades : ndarray of int64
        Number of trades.
    taker_base, taker_quote : ndarray of float64
        Quantity and value bought by takers.
    """

    open_time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    quote_volume: NDArray[np.float64]
    trades: NDArray[np.int64]
    taker_base: NDArray[np.float64]
    taker_quote: NDArray[np.float64]
    _load: Callable[[], Mapping[str, NDArray[Any]]] | None = field(
        default=None, init=False, repr=False
    )
    _findings: Findings | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Freeze the columns in their types."""
        for name, kind in COLUMNS.items():
            column = np.ascontiguousarray(getattr(self, name), kind)
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        lengths = {len(getattr(self, name)) for name in COLUMNS}
        if len(lengths) > 1:
            raise DataError(f"columns of candles differ in length: {sorted(lengths)}")

    @classmethod
    def empty(cls) -> Candles:
        """Return no candle."""
        columns: dict[str, Any] = {name: np.empty(0, kind) for name, kind in COLUMNS.items()}
        return cls(**columns)

    @classmethod
    def loading(
        cls, columns: Mapping[str, NDArray[Any]], load: Callable[[], Mapping[str, NDArray[Any]]]
    ) -> Candles:
        """Return candles of some columns; ``load`` gives the others when one is asked for.

        All of them are read-only and in their types.
        """
        candles = cls.__new__(cls)
        for name, column in columns.items():
            object.__setattr__(candles, name, column)
        object.__setattr__(candles, "_load", load)
        object.__setattr__(candles, "_findings", None)
        return candles

    def __getattr__(self, name: str) -> Any:
        """Load the columns that are not there yet."""
        if name not in COLUMNS or self._load is None:
            raise AttributeError(name)
        loaded = self._load()
        for each, column in loaded.items():
            object.__setattr__(self, each, column)
        return loaded[name]

    @classmethod
    def joined(cls, parts: Iterable[Candles]) -> Candles:
        """Return candles behind each other; whoever joins them keeps their order."""
        kept = [part for part in parts if len(part)]
        if len(kept) == 1:
            return kept[0]
        if not kept:
            return cls.empty()
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in kept]) for name in COLUMNS}
        )

    def __len__(self) -> int:
        return len(self.open_time)

    def __eq__(self, other: object) -> bool:
        """Tell whether every column has the same bits."""
        return isinstance(other, Candles) and all(
            np.array_equal(getattr(self, name).view(np.int64), getattr(other, name).view(np.int64))
            for name in COLUMNS
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(int(getattr(self, name).nbytes) for name in COLUMNS)

    def rows(self, start: int, stop: int) -> Candles:
        """Return the candles from row ``start`` up to ``stop``."""
        return Candles(**{name: getattr(self, name)[start:stop] for name in COLUMNS})

    def within(self, span: Span) -> Candles:
        """Return the candles that open within a span."""
        first, last = np.searchsorted(self.open_time, np.array(span, np.int64))
        if first == 0 and last == len(self):
            return self
        return self.rows(int(first), int(last))

    def content_hash(self) -> str:
        """Return the hash of all columns, as :func:`columns_hash`."""
        return columns_hash({name: getattr(self, name) for name in COLUMNS})

    def examined(self, start: int = 0, stop: int | None = None) -> Findings:
        """Look at the candles from row ``start`` up to ``stop``, at the columns that bars take."""
        return findings_of({name: getattr(self, name)[start:stop] for name in BARS})

    @property
    def findings(self) -> Findings:
        """What :meth:`examined` finds in all of them, looked for once."""
        if self._findings is None:
            self.believe(self.examined())
        assert self._findings is not None
        return self._findings

    def believe(self, findings: Findings) -> None:
        """Take over what was found when the candles were written."""
        object.__setattr__(self, "_findings", findings)


def columns_hash(columns: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of columns of one length, little endian, in their order."""
    lengths = {len(column) for column in columns.values()}
    digest = sha256(f"candles {SCHEMA_VERSION}|{','.join(columns)}|{lengths}".encode())
    for column in columns.values():
        digest.update(column.astype(column.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


COLUMNS: Final = {
    item.name: np.dtype(np.int64 if item.name in {"open_time", "trades"} else np.float64)
    for item in fields(Candles)
    if not item.name.startswith("_")
}
"""Names and types of the columns, in order."""
ROW_BYTES: Final = sum(kind.itemsize for kind in COLUMNS.values())
"""Bytes of a candle in memory."""
