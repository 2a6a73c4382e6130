"""Klines as Binance writes them, in JSON and in CSV, and the rules that every candle keeps."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.data.market.candles import COLUMNS, Candles
from backtest_py.data.market.findings import broken_rules
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.data.market.candles import Series

__all__ = ["candles_of_csv", "candles_of_rows", "check_candles"]

_PLACES: Final = {
    "open_time": 0,
    "open": 1,
    "high": 2,
    "low": 3,
    "close": 4,
    "volume": 5,
    "close_time": 6,
    "quote_volume": 7,
    "trades": 8,
    "taker_base": 9,
    "taker_quote": 10,
}
"""Where a row has what; the twelfth item means nothing."""
_INTEGERS: Final = ("open_time", "close_time", "trades")
_HEADER: Final = ("open_time", "open", "high", "low", "close", "volume", "close_time")
_NUMBERS: Final = re.compile(r"(?:-?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,3})?\n)*")
_MILLISECONDS: Final = (10**11, 10**13)
"""From 1973 to 2286."""
_MICROSECONDS: Final = (10**14, 10**16)


def candles_of_rows(found: Any, series: Series, limit: int) -> Candles:
    """Return the candles of a page of at most ``limit`` rows, the open one included.

    Numbers are parsed as Python's ``float`` parses them: the nearest float64.

    Raises
    ------
    DataError
        If it is no such page, or a candle breaks a rule.

    Examples
    --------
    >>> from backtest_py.data.market.candles import Series
    >>> opens, closes = 1_740_000_000_000, 1_740_000_059_999
    >>> row = [opens, "1.5", "2", "1", "1.1", "10", closes, "15", 3, "4", "6", "0"]
    >>> candles_of_rows([row], Series.of("BTCUSDT", "1m"), 99).close.tolist()
    [1.1]
    """
    if not isinstance(found, list) or len(found) > limit:
        raise DataError(f"no list of at most {limit} candles, but {str(found)[:60]!r}")
    if not all(isinstance(row, list) and len(row) >= 11 for row in found):
        raise DataError("a row that is no candle")
    columns: dict[str, Any] = {}
    for name, place in _PLACES.items():
        items = [row[place] for row in found]
        if name in _INTEGERS:
            if not all(type(item) is int and abs(item) < 2**62 for item in items):
                raise DataError(f"{name} that is no whole number")
            columns[name] = np.array(items, np.int64)
            continue
        texts = list(map(str, items))
        lines = "\n".join([*texts, ""])  # one look at all of them, which is much faster
        if lines.count("\n") != len(texts) or not _NUMBERS.fullmatch(lines):
            raise DataError(f"{name} with a text that is no number")
        columns[name] = np.array(list(map(float, texts)), np.float64)
    closes = columns.pop("close_time")
    candles = Candles(**columns)
    check_candles(candles, closes, series)
    return candles


def candles_of_csv(text: bytes, series: Series) -> Candles:
    """Return the candles of an archived table, with or without a header.

    Times in microseconds, as the archive writes them for other markets, are told by their size
    and taken over where they are whole milliseconds.

    Raises
    ------
    DataError
        If it is no such table, or a candle breaks a rule.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    from pyarrow import csv  # noqa: PLC0415

    text = text.removeprefix(b"\xef\xbb\xbf")
    first = text[:1_000].split(b"\n", 1)[0].decode("ascii", "replace").strip()
    header = not first[:1].isdigit()
    words = first.lower().replace('"', "").replace(" ", "_").split(",")
    if header and tuple(words[: len(_HEADER)]) != _HEADER:
        raise DataError(f"a table that begins {first[:60]!r}, not {','.join(_HEADER)!r}")
    names = [*_PLACES, "ignore"]
    kinds = {name: pa.int64() if name in _INTEGERS else pa.float64() for name in _PLACES}
    try:
        table = csv.read_csv(
            io.BytesIO(text),
            read_options=csv.ReadOptions(
                column_names=names, skip_rows=1 if header else 0, use_threads=False
            ),
            convert_options=csv.ConvertOptions(
                column_types=kinds, include_columns=list(_PLACES), null_values=[]
            ),
        )
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise DataError(f"no table of candles ({str(error)[:200]})") from error
    columns = {name: table.column(name).to_numpy() for name in _PLACES}
    closes = columns.pop("close_time")
    times = columns["open_time"]
    if len(times) and _MICROSECONDS[0] <= int(times.min()):
        if np.any(times % 1_000) or np.any(closes % 1_000 != 999):
            raise DataError("times in microseconds that are no whole milliseconds")
        columns["open_time"], closes = times // 1_000, closes // 1_000
    candles = Candles(**columns)
    check_candles(candles, closes, series)
    return candles


def check_candles(candles: Candles, closes: NDArray[np.int64], series: Series) -> None:
    """Refuse candles that cannot be true, those of one answer or file.

    Raises
    ------
    DataError
        If times do not increase, lie off the interval or out of reach, a candle closes at another
        time than its interval says, a number is not finite, a price is not above 0, high or low
        is passed by another price, or an amount is negative.
    """
    if not len(candles):
        return
    times, interval = candles.open_time, series.interval
    if times.min() < _MILLISECONDS[0] or times.max() >= _MILLISECONDS[1]:
        raise DataError(f"open_time = {times[0]}, which is no time in milliseconds")
    if np.any(np.diff(times) <= 0):
        row = int(np.argmax(np.diff(times) <= 0)) + 1
        raise DataError(f"open_time[{row}] = {times[row]}, not after the one before")
    strange = interval.off(times)
    if len(strange):
        raise DataError(f"a candle at {strange[0]}, off the interval")
    columns = {name: getattr(candles, name) for name in COLUMNS}
    late = ("closes at another time than its interval says", closes != interval.closes(times) - 1)
    for rule, broken in (late, *broken_rules(columns)):
        if np.any(broken):
            raise DataError(f"the candle at {times[int(np.argmax(broken))]} {rule}")
