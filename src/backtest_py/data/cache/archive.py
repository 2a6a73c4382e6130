"""The third tier: one Parquet file for each block, in a folder, on S3, or behind an address."""

from __future__ import annotations

import io
import json
import time
from bisect import bisect_left, bisect_right
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.data.cache.encoding import (
    VALUES,
    DamagedError,
    NewerError,
    bars_block,
    block_of,
    check_schema,
    check_version,
    columns_of,
    facts_of,
    table_of,
)
from backtest_py.data.cache.faults import SLOW_SECONDS, Rest
from backtest_py.data.cache.files import MAX_FILE_BYTES, files_at
from backtest_py.data.market.blocks import in_order, is_long, period_of
from backtest_py.data.market.candles import COLUMNS, Candles, Series, columns_hash
from backtest_py.data.market.intervals import INTERVALS
from backtest_py.data.market.spans import Span
from backtest_py.data.recording import reads, writes
from backtest_py.errors import CacheError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from backtest_py.data.market.blocks import Block

__all__ = ["Archive"]

GROUP_ROWS: Final = 8_192
"""Candles of a row group: the least that is read."""
_FACTS: Final = b"backtest_py.block"
_SHA256: Final = b"backtest_py.block.sha256"
"""Keys of a file's metadata: all of a block but its candles, and the hash of that text."""
_INTEGERS: Final = frozenset(name for name, kind in COLUMNS.items() if kind.kind == "i")


class _Group(NamedTuple):
    """A row group: when its first candle opens, its candles, and the hash of each part of them."""

    opens: int
    n_rows: int
    hashes: list[str]


class Archive:
    """Blocks in Parquet files, kept for ever; safe to use from several threads and processes.

    Parameters
    ----------
    location : str or Path
        A folder, ``s3://BUCKET/PREFIX``, or an ``https://`` base that is read and never written.
    endpoint : str
        Address of an S3 server that is not Amazon's. Keys come from the environment.

    Raises
    ------
    ConfigError
        If the location is of no kind that is known.

    Examples
    --------
    >>> Archive("s3://my-bucket/bars").read_only
    False
    """

    name: Final = "archive"

    def __init__(self, location: str | Path, *, endpoint: str = "") -> None:
        self._files = files_at(str(location), endpoint)
        self._location = str(location)
        self._rest = Rest()

    def __repr__(self) -> str:
        return f"Archive({self._location})"

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written there."""
        return self._files.read_only

    @reads
    def get(
        self, series: Series, period: Span, wanted: Span | None = None, *, details: bool = True
    ) -> Block | None:
        """Return a block, None where there is none.

        Parameters
        ----------
        series, period : Series, Span
            Which block.
        wanted : Span, optional
            The part that is needed: only the row groups that hold it are read, and only their
            part of the period is then known.
        details : bool
            Without them only the columns of bars are read, and none of the block can be stored.

        Raises
        ------
        DamagedError
            If the file holds no such block. It is left as it is, to be replaced by the next
            :meth:`put`.
        CacheError
            If it cannot be read.
        """
        path = _path(series, period)
        names = tuple(COLUMNS) if details else VALUES
        with self._rest.watched():
            try:
                return self._found(path, series, period, wanted, names)
            except CacheError as error:
                raise type(error)(f"{self!r}, {path}: {error}") from error

    def look(self, series: Series, period: Span) -> Block | None:
        """Return a whole block as :meth:`get` does."""
        return self.get(series, period)

    def _found(
        self,
        path: str,
        series: Series,
        period: Span,
        wanted: Span | None,
        names: tuple[str, ...],
    ) -> Block | None:
        """Read a file, again where it seems damaged and may only have been replaced meanwhile."""
        in_part = wanted is not None and (wanted.start > period.start or wanted.end < period.end)
        for attempt in range(self._files.attempts):
            began = time.monotonic()
            content = self._files.open(path, whole=not in_part or attempt > 0)
            if content is None:
                return None
            try:
                return _read(content, series, period, wanted, names)
            except NewerError:
                raise
            except CacheError as error:
                took = time.monotonic() - began
                if took > SLOW_SECONDS:
                    raise
                if attempt + 1 == self._files.attempts:
                    raise DamagedError(str(error)) from error
                time.sleep(0.01 * attempt)
        raise AssertionError  # the loop returns or raises

    @writes
    def put(self, block: Block) -> None:
        """Keep a block in the place of the one of its period: whole, or not at all.

        Raises
        ------
        CacheError
            If it cannot be written; what was there before is whole.
        """
        content = _written(block)
        if len(content) > MAX_FILE_BYTES:
            raise CacheError(f"{self!r}: a block of {len(content):,} bytes is too large to keep")
        with self._rest.watched():
            self._files.write(_path(block.series, block.period), content)

    def drop(self, series: Series, period: Span) -> None:
        """Forget a block."""
        with self._rest.watched():
            self._files.delete(_path(series, period))

    def entries(self) -> dict[tuple[Series, Span], int]:
        """Return the bytes of every block, as it is stored, in no order."""
        with self._rest.watched():
            paths = self._files.paths()
        found = ((_parsed(path), size) for path, size in paths)
        return {at: size for at, size in found if at is not None}

    def periods(self) -> list[tuple[Series, Span]]:
        """Return what is kept, in order of symbol, length of interval and time."""
        return in_order(self.entries())

    def n_bytes(self) -> int:
        """Return how many bytes all blocks have, as they are stored."""
        return sum(self.entries().values())


def _path(series: Series, period: Span) -> str:
    """Return where a block lies: ``symbol=X/interval=1m/2024-05.parquet``."""
    unit = "M8[Y]" if is_long(series) else "M8[M]"
    name = str(np.int64(period.start).astype("M8[ms]").astype(unit))
    return f"symbol={series.symbol}/interval={series.interval.archive_name}/{name}.parquet"


def _parsed(path: str) -> tuple[Series, Span] | None:
    """Return what block lies at a path, None for a file that is no block's."""
    names = {interval.archive_name: name for name, interval in INTERVALS.items()}
    try:
        symbol, interval, file = path.split("/")
        series = Series.of(
            symbol.removeprefix("symbol="), names[interval.removeprefix("interval=")]
        )
        start = np.datetime64(file.removesuffix(".parquet"), "ms").astype(np.int64)
    except (ConfigError, ValueError, KeyError):
        return None
    period = period_of(series, int(start))
    return (series, period) if _path(series, period) == path else None


def _written(block: Block) -> bytes:
    """Return a block as a Parquet file."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - a heavy import, only where it is used

    candles = block.candles
    groups = [
        _Group(int(part["open_time"][0]), len(part["open_time"]), _hashes(part))
        for part in _groups_of({name: getattr(candles, name) for name in COLUMNS})
    ]
    facts = facts_of(block) | {"groups": groups}
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=True).encode()
    metadata = {_FACTS: text, _SHA256: sha256(text).hexdigest().encode()}
    sink = io.BytesIO()
    pq.write_table(
        table_of(candles).replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        row_group_size=GROUP_ROWS,
        write_page_checksum=True,
        use_dictionary=False,
        column_encoding={
            name: "DELTA_BINARY_PACKED" if name in _INTEGERS else "BYTE_STREAM_SPLIT"
            for name in COLUMNS
        },
    )
    return sink.getvalue()


def _groups_of(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the columns of each row group."""
    for at in range(0, len(columns["close"]), GROUP_ROWS):
        yield {name: column[at : at + GROUP_ROWS] for name, column in columns.items()}


def _hashes(columns: Mapping[str, Any]) -> list[str]:
    """Return the hash of the columns of bars, and that of the others where they are there."""
    others = [name for name in columns if name not in VALUES]
    parts = [VALUES, others] if others else [VALUES]
    return [columns_hash({name: columns[name] for name in part}) for part in parts]


def _read(
    content: Any, series: Series, period: Span, wanted: Span | None, names: tuple[str, ...]
) -> Block:
    """Return the block in a file, or the part of it that is wanted.

    Nothing in the file is believed before its hash is right: first the facts, then each row group.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with content, pq.ParquetFile(content, page_checksum_verification=True) as file:
            facts, groups = _facts(file, series, period)
            first, last = _needed(groups, wanted)
            whole = last - first == len(groups)
            # one thread: others read other files meanwhile
            table = file.read_row_groups(range(first, last), list(names), use_threads=False)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, CacheError):
            raise
        raise CacheError(f"the file is damaged, or no block ({error})") from error
    columns = columns_of(table, names)
    for group, part in zip(groups[first:last], _groups_of(columns), strict=True):
        found = _hashes(part)
        if found != group.hashes[: len(found)]:
            raise CacheError("the candles do not have the hash that was written with them")
    edges = [period.start, *(group.opens for group in groups[1:]), period.end]
    read = None if whole else Span(edges[first], edges[last])
    if names == VALUES:
        return bars_block(facts, columns, series, period, read=read)
    return block_of(facts, Candles(**columns), series, period, read=read)


def _facts(file: Any, series: Series, period: Span) -> tuple[dict[str, Any], list[_Group]]:
    """Return the facts of a file, and its row groups.

    Raises
    ------
    CacheError
        If it holds no block, or is damaged.
    """
    metadata = file.metadata.metadata or {}
    text = metadata.get(_FACTS)
    if text is None:
        raise CacheError("the file holds no block")
    if sha256(text).hexdigest().encode() != metadata.get(_SHA256):
        raise CacheError("its facts do not have the hash that was written with them")
    facts = json.loads(text)
    check_version(facts["schema_version"])
    groups = [_Group(*each) for each in facts["groups"]]
    found = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    expected = [group.n_rows for group in groups] or found[:1]  # no candle may be one group of none
    if found != expected or sum(found) > series.interval.count(*period):
        raise CacheError("the file does not hold the row groups that were written")
    check_schema(file.schema_arrow, tuple(COLUMNS))
    return facts, groups


def _needed(groups: list[_Group], wanted: Span | None) -> tuple[int, int]:
    """Return the first of the row groups that a span needs, and the one after the last."""
    if wanted is None or not groups:
        return 0, len(groups)
    opens = [group.opens for group in groups]
    first = max(0, bisect_right(opens, wanted.start) - 1)
    return first, max(first + 1, bisect_left(opens, wanted.end))
