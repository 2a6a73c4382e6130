"""Made-up markets: 1m candles by rule, and coarser ones summed up from them."""

from __future__ import annotations

import threading
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py._io.random_numbers import splitmix64
from backtest_py.data.market.intervals import DAY, MINUTE, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DemoMarket", "demo_markets"]

PRICE_PLACES: Final = 1
AMOUNT_PLACES: Final = 3
VALUE_PLACES: Final = PRICE_PLACES + AMOUNT_PLACES
_START, _LOWEST, _HIGHEST = 50_000, 10_000, 200_000
"""Prices walk between these, in tenths."""
_QUIET_ONE_IN: Final = 1_024
"""Minutes without a trade, which the exchange writes as a flat candle."""


class _Minutes(NamedTuple):
    """Columns of 1m candles; prices in tenths, amounts in thousandths of the base asset."""

    times: NDArray[np.int64]
    open: NDArray[np.int32]
    high: NDArray[np.int32]
    low: NDArray[np.int32]
    close: NDArray[np.int32]
    volume: NDArray[np.int32]
    trades: NDArray[np.int32]
    taker: NDArray[np.int32]


class DemoMarket:
    """One market: made-up 1m candles from its listing on, with holes where it stood still.

    Parameters
    ----------
    symbol : str
        Its name.
    listed_at : int
        When it began, milliseconds since 1970, UTC.
    until : int
        Until when there are candles; the exchange's clock cuts them off before.
    holes : sequence of (int, int)
        Spans of milliseconds without any trade or candle.
    seed : int
        Other numbers for other seeds.
    delisted : bool
        Whether REST knows it no longer; its archive remains.

    Examples
    --------
    >>> from backtest_py.data.market.intervals import interval_of
    >>> market = DemoMarket("BTCUSDT", 0, 10 * DAY)
    >>> [row[0] for row in market.rows(interval_of("1h"), 1, 10 * DAY, 2, 10 * DAY)]
    [3600000, 7200000]
    """

    def __init__(
        self,
        symbol: str,
        listed_at: int,
        until: int,
        *,
        holes: tuple[tuple[int, int], ...] = (),
        seed: int = 0,
        delisted: bool = False,
    ) -> None:
        self.symbol = symbol
        self.listed_at = listed_at // MINUTE * MINUTE
        self.until = until
        self.holes = holes
        self.seed = seed
        self.delisted = delisted
        self._lock = threading.Lock()

    @cached_property
    def _minutes(self) -> _Minutes:
        """Make all minutes, when the first is asked for."""
        times = np.arange(self.listed_at, self.until + MINUTE, MINUTE, dtype=np.int64)
        n = len(times)
        key = self.seed ^ int.from_bytes(sha256(self.symbol.encode()).digest()[:4], "little")
        step, wick, amount, share = (splitmix64(key, stream, n) for stream in range(4))
        quiet = amount % np.uint64(_QUIET_ONE_IN) == 0
        steps = np.where(quiet, 0, np.bitwise_count(step).astype(np.int64) - 32)
        close = _folded(_START + np.cumsum(steps))
        opened = np.concatenate(([_START], close[:-1]))
        up = np.where(quiet, 0, (wick % np.uint64(8)).astype(np.int64))
        down = np.where(quiet, 0, ((wick >> np.uint64(32)) % np.uint64(8)).astype(np.int64))
        volume = np.where(quiet, 0, (amount >> np.uint64(20)).astype(np.int64) % 1_000_000)
        trades = np.where(quiet, 0, 1 + (share >> np.uint64(40)).astype(np.int64) % 500)
        taker = volume * (share % np.uint64(1_001)).astype(np.int64) // 1_000
        high, low = np.maximum(opened, close) + up, np.minimum(opened, close) - down
        kept = np.ones(n, np.bool_)
        for start, end in self.holes:
            kept &= (times < start) | (times >= end)
        columns = (opened, high, low, close, volume, trades, taker)
        return _Minutes(times[kept], *(column[kept].astype(np.int32) for column in columns))

    def prepare(self) -> None:
        """Make all minutes now: it takes about a second for two years, once."""
        with self._lock:
            self._minutes  # noqa: B018 - made when it is asked for

    def table(
        self,
        interval: Interval,
        start: int,
        end: int,
        limit: int,
        now: int,
        *,
        newest: bool = False,
    ) -> list[NDArray[np.int64]]:
        """Return columns of the candles that open in ``[start, end)`` and have opened by ``now``.

        They are those of a kline in its order, in whole tenths, thousandths and ten-thousandths.
        With ``newest`` the last ``limit`` of them, else the first.
        """
        with self._lock:
            minutes = self._minutes
        begin, last = max(start, interval.floor(self.listed_at)), min(end, now + 1)
        if interval.ms:  # holes may push candles out, so a few more are looked at
            reach = (limit + 1) * interval.ms + sum(hole[1] - hole[0] for hole in self.holes)
            begin = max(begin, last - reach) if newest else begin
            last = last if newest else min(last, interval.ceil(begin) + reach)
        edges = interval.opens(begin, last)
        if not len(edges):
            return [np.empty(0, np.int64)] * 11
        ends = np.append(edges[1:], interval.after(int(edges[-1])))
        cuts = np.searchsorted(minutes.times, np.append(edges, min(int(ends[-1]), now + 1)))
        filled = np.flatnonzero(np.diff(cuts))
        filled = filled[-limit:] if newest else filled[:limit]
        if not len(filled):
            return [np.empty(0, np.int64)] * 11
        part = slice(int(cuts[filled[0]]), int(cuts[filled[-1] + 1]))
        columns = _partial([column[part] for column in minutes], now)
        return [edges[filled], *_summed(columns, cuts[filled] - part.start, ends[filled] - 1)]

    def rows(
        self,
        interval: Interval,
        start: int,
        end: int,
        limit: int,
        now: int,
        *,
        newest: bool = False,
    ) -> list[list[Any]]:
        """Return candles as REST writes them; the arguments are those of :meth:`table`."""
        columns = self.table(interval, start, end, limit, now, newest=newest)
        texts = [_texts(column, places).to_pylist() for column, places in _written(columns)]
        for place in (0, 6, 8):
            texts[place] = columns[place].tolist()
        return [[*row, "0"] for row in zip(*texts, strict=True)]

    def csv_lines(self, interval: Interval, start: int, end: int, now: int) -> list[str]:
        """Return candles as lines of the archive's tables."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
        from pyarrow import compute  # noqa: PLC0415

        columns = self.table(interval, start, end, (end - start) // MINUTE + 1, now)
        texts = [_texts(column, places) for column, places in _written(columns)]
        zero = pa.array(["0"] * len(columns[0]), pa.string())
        lines: list[str] = compute.binary_join_element_wise(*texts, zero, ",").to_pylist()
        return lines


def _folded(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep a walk between its bounds by folding it back, so that no step gets longer."""
    width = _HIGHEST - _LOWEST
    place = np.mod(ticks - _LOWEST, 2 * width)
    return _LOWEST + np.where(place > width, 2 * width - place, place)


def _partial(columns: list[Any], now: int) -> list[Any]:
    """Show of the minute that is still open only what has happened: half of it, all in one go."""
    if int(columns[0][-1]) + MINUTE <= now:
        return columns
    times, opened, high, low, close, volume, trades, taker = (column.copy() for column in columns)
    high[-1] = low[-1] = close[-1] = opened[-1]
    volume[-1], trades[-1], taker[-1] = volume[-1] // 2, trades[-1] // 2, taker[-1] // 2
    return [times, opened, high, low, close, volume, trades, taker]


def _summed(
    columns: list[Any], cuts: NDArray[np.int64], closes: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Return candles that begin at some of the minutes, without when they open."""
    _, opened, high, low, close, volume, trades, taker = columns
    lasts = np.append(cuts[1:], len(close)) - 1
    amount, bought = volume.astype(np.int64), taker.astype(np.int64)
    sums = [
        np.add.reduceat(column.astype(np.int64), cuts)
        for column in (amount, amount * close, trades, bought, bought * close)
    ]
    tops = [opened[cuts], np.maximum.reduceat(high, cuts), np.minimum.reduceat(low, cuts)]
    prices = [price.astype(np.int64) for price in (*tops, close[lasts])]
    return [*prices, sums[0], closes, *sums[1:]]


def _written(columns: list[NDArray[np.int64]]) -> list[tuple[NDArray[np.int64], int]]:
    """Return each column of a kline with the number of its decimal places."""
    places = [0, *[PRICE_PLACES] * 4, AMOUNT_PLACES, 0, VALUE_PLACES, 0]
    return list(zip(columns, [*places, AMOUNT_PLACES, VALUE_PLACES], strict=True))


def _texts(numbers: NDArray[np.int64], places: int) -> Any:
    """Return whole numbers as texts with some decimal places."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    from pyarrow import compute  # noqa: PLC0415

    if not places:
        return pa.array(numbers).cast(pa.string())
    whole, part = np.divmod(numbers, 10**places)
    fraction = compute.utf8_lpad(pa.array(part).cast(pa.string()), places, "0")
    return compute.binary_join_element_wise(pa.array(whole).cast(pa.string()), fraction, ".")


def demo_markets(now: int, days: int = 730) -> tuple[DemoMarket, ...]:
    """Return the markets of ``data demo-exchange``, listed some days ago, with a month to come.

    NEWUSDT was listed 20 days ago, HOLEUSDT stood still for three hours 40 days ago, and OLDUSDT
    is delisted: only its archive is left.
    """
    start, until = now // DAY * DAY - days * DAY, now + 30 * DAY
    names = ["BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "LINK", "LTC", "DOT", "1000PEPE"]
    still = now // DAY * DAY - 40 * DAY
    return (
        *(DemoMarket(f"{name}USDT", start, until) for name in names),
        DemoMarket("NEWUSDT", now // DAY * DAY - 20 * DAY + DAY // 3, until),
        DemoMarket("HOLEUSDT", start, until, holes=((still, still + DAY // 8),)),
        DemoMarket("OLDUSDT", start, now - min(days // 2, 90) * DAY, delisted=True),
    )
