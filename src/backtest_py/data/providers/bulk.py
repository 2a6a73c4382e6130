"""The exchange's public archive: one zip for each month or day, each with its checksum.

A file is taken whole or not at all: its SHA-256 must be the one that stands beside it, it must
hold one table of the name that it should, and every candle must keep the rules. So an interrupted
download goes on with the first file that is not there yet; a file has a few megabytes at most.
Rows that a file lacks stay unknown, because files are known to lack what the exchange has.
"""

from __future__ import annotations

import io
import re
import time
import zipfile
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.data.market.blocks import Block, Source, absent, periods
from backtest_py.data.market.spans import Span, missing
from backtest_py.data.providers.klines import candles_of_csv
from backtest_py.errors import DataError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from typing import Literal

    from backtest_py.data.market.candles import Candles, Series
    from backtest_py.data.providers.transport import Transport

    Unit = Literal["monthly", "daily"]

__all__ = ["BulkArchive", "calendar", "candles_of_zip", "checksum_in", "overlap"]

MAX_CSV: Final = 256 << 20
"""Bytes of an unpacked month: one of 1m candles has about 6 million."""
MAX_RATIO: Final = 100
"""How much smaller a zip may be than what it unpacks to; tables of candles reach about 20."""
_CHECKSUM: Final = re.compile(rb"\s*([0-9a-fA-F]{64})(?:\s|$)")
_SOURCE: Final = "binance-archive:"
_CODES: Final[dict[Unit, str]] = {"monthly": "M8[M]", "daily": "M8[D]"}


class BulkArchive:
    """Months and days of klines as files."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Let go of all connections."""
        self._transport.close()

    def blocks(
        self, series: Series, unit: Unit, part: Span, *, stop: threading.Event | None = None
    ) -> list[Block]:
        """Return what the file of a month or day has of a part of it.

        Raises
        ------
        NotThere
            If there is no such file, or none yet.
        DataError
            If the file cannot be trusted.
        ExchangeError
            If it cannot be had.
        """
        file = _name(series, unit, part.start)
        stated = self._stated(file, unit, stop)
        content = self._transport.file(_path(file, unit), stop=stop)
        fetched = int(time.time() * 1000)
        checksum = sha256(content).hexdigest()
        if stated != checksum:
            raise DataError(f"{file}: its SHA-256 is {checksum}, and should be {stated}")
        candles = candles_of_zip(content, series, file.rpartition("/")[2])
        return _blocks(series, part, candles, f"{_SOURCE}{unit}/{file}", checksum, fetched)

    def checksum(self, series: Series, source: Source) -> str:
        """Return the checksum that a source's file has now, "" if it is no file of this archive.

        Raises
        ------
        NotThere
            If there is no such file any more.
        DataError
            If there is no checksum in the file for it.
        ExchangeError
            If it cannot be had.
        """
        for unit in _CODES:
            file = _name(series, unit, source.span.start)
            if source.name == f"{_SOURCE}{unit}/{file}":
                return self._stated(file, unit, None)
        return ""

    def _stated(self, file: str, unit: Unit, stop: threading.Event | None) -> str:
        """Return the checksum that stands beside a file."""
        stated = checksum_in(self._transport.file(f"{_path(file, unit)}.CHECKSUM", stop=stop))
        if not stated:
            raise DataError(f"{file}: there is no SHA-256 in the file for its checksum")
        return stated


def checksum_in(text: bytes) -> str:
    """Return the SHA-256 at the beginning of a file for a checksum, "" if there is none."""
    found = _CHECKSUM.match(text)
    return found[1].decode().lower() if found else ""


def _path(file: str, unit: Unit) -> str:
    return f"/data/futures/um/{unit}/klines/{file}"


def _blocks(
    series: Series, part: Span, candles: Candles, name: str, checksum: str, fetched: int
) -> list[Block]:
    """Return what a file has of a span, by period; what it lacks is not known."""
    found = []
    for period in periods(series, part):
        span = overlap(part, period)
        # a week that begins before the period's end is in it, wherever the week ends
        span = overlap(Span(*map(series.interval.ceil, span)), period)
        if span.start >= span.end:
            continue
        inside = candles.within(span)
        gaps = [Span(t, series.interval.after(t)) for t in absent(series, inside, span).tolist()]
        known = tuple(missing(span, gaps))
        if known:
            sources = tuple(Source(each, name, checksum, fetched) for each in known)
            found.append(Block(series, period, known, inside, (), sources))
    return found


def candles_of_zip(content: bytes, series: Series, name: str) -> Candles:
    """Return the candles of one zip of the archive.

    Parameters
    ----------
    content : bytes
        The zip.
    series : Series
        What it should be of.
    name : str
        Its name, such as ``"BTCUSDT-1m-2024-10.zip"``; the table in it is called alike.

    Raises
    ------
    DataError
        If it is no zip with that one table, too large, or a candle breaks a rule.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            text = _only_member(file, name.removesuffix(".zip") + ".csv", len(content))
        return candles_of_csv(text, series)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (
        *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError),
        ValueError,
    ) as error:
        raise DataError(f"{name}: no zip that can be read ({error})") from error


def _only_member(file: zipfile.ZipFile, name: str, packed: int) -> bytes:
    members = file.infolist()
    if len(members) != 1:
        raise DataError(f"it holds {len(members)} files; it should hold one")
    member = members[0]
    if member.filename != name:
        raise DataError(f"it holds {member.filename[:80]!r}, not {name!r}")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise DataError(f"it is packed in a way that is not read (type {member.compress_type})")
    size = member.file_size
    if size > MAX_CSV or size > MAX_RATIO * max(packed, 1024):
        raise DataError(f"it unpacks to {size:,} bytes, more than a table of candles")
    with file.open(member) as opened:
        text = opened.read(size + 1)
    if len(text) != size:
        raise DataError(f"it unpacks to {len(text):,} bytes, not to the {size:,} that it states")
    return text


def _name(series: Series, unit: Unit, instant: int) -> str:
    day = str(np.int64(instant).astype("M8[ms]").astype(_CODES[unit]))
    symbol, interval = series.symbol, series.interval.archive_name
    return f"{symbol}/{interval}/{symbol}-{interval}-{day}.zip"


def calendar(span: Span, unit: Unit) -> Iterator[Span]:
    """Yield the whole months or days that a span touches.

    Examples
    --------
    >>> [day.start // 86_400_000 for day in calendar(Span(0, 86_400_001), "daily")]
    [0, 1]
    """
    if span.start >= span.end:
        return
    code = _CODES[unit]
    first = np.int64(span.start).astype("M8[ms]").astype(code)
    last = np.int64(span.end - 1).astype("M8[ms]").astype(code)
    edges = np.arange(first, last + 2).astype("M8[ms]").astype(np.int64).tolist()
    yield from map(Span, edges[:-1], edges[1:])


def overlap(span: Span, other: Span) -> Span:
    """Return the instants of both spans; start is not before end where there are none."""
    return Span(max(span.start, other.start), min(span.end, other.end))
