"""A block as bytes: candles as the columns of an Arrow table, all else as facts beside them."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.data.cache.decimals import from_decimals, to_decimals
from backtest_py.data.market.blocks import Block, Hole, Source
from backtest_py.data.market.candles import COLUMNS, SCHEMA_VERSION, Candles
from backtest_py.data.market.findings import BARS, Findings
from backtest_py.data.market.spans import Span, covered, missing
from backtest_py.errors import CacheError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.data.market.candles import Series

__all__ = [
    "CODEC",
    "DETAILS",
    "VALUES",
    "BarsOnlyError",
    "DamagedError",
    "Encoded",
    "NewerError",
    "bars_block",
    "block_of",
    "check_schema",
    "check_version",
    "columns_of",
    "decode",
    "encode",
    "facts_of",
    "table_of",
]

CODEC: Final = "arrow-ipc-zstd"
LEVEL: Final = 1
"""A quarter smaller than at level -1, and read as fast."""
FACTS: Final = b"backtest_py.block"
"""Key of the metadata that holds all of a block but its candles."""
_PLACES: Final = b"places"
"""Key of a column's metadata: it holds whole numbers of so many decimal places."""
VALUES: Final = BARS[1:]
DETAILS: Final = tuple(name for name in COLUMNS if name not in BARS)
"""Columns of values that bars take, and the rest, which is read where a block is to be stored.

When candles open is in neither: that follows from what is known and its holes.
"""


class NewerError(CacheError):
    """A newer version of the program wrote it: it is left as it is."""

    reason = "newer"


class DamagedError(CacheError):
    """What was read is no block, or another one than was written."""

    reason = "damaged"


class BarsOnlyError(CacheError):
    """Of a block only what bars take was read, and more of it is needed."""


class Encoded(NamedTuple):
    """A block as bytes, and what is needed to read and check them.

    The payload holds the facts and the columns of bars. Its facts hold the checksum of the details,
    which are None where only bars are read.
    """

    codec: str
    schema_version: int
    sha256: str
    payload: bytes
    details: bytes | None


def check_version(version: object) -> None:
    """Refuse candles of a schema that is not the one of this program.

    Raises
    ------
    NewerError
        If a newer program wrote them.
    CacheError
        If an older one did, or the version is none.
    """
    if version == SCHEMA_VERSION:
        return
    text = f"schema version {version!r} is not read here, only {SCHEMA_VERSION}"
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerError(f"{text}; update backtest-py, or give another place")
    raise CacheError(text)


def facts_of(block: Block) -> dict[str, Any]:
    """Return all of a block but its candles, ready for JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "symbol": block.series.symbol,
        "interval": block.series.interval.name,
        "period": block.period,
        "known": block.known,
        "holes": block.holes,
        "sources": block.sources,
        "findings": block.candles.findings,
    }


def block_of(
    facts: dict[str, Any],
    candles: Candles,
    series: Series,
    period: Span,
    *,
    read: Span | None = None,
) -> Block:
    """Return the block of some facts and candles.

    Parameters
    ----------
    facts : dict
        As :func:`facts_of` returned them.
    candles : Candles
        All of the block's, or those of one part of its period.
    series, period : Series, Span
        What the block must be of.
    read : Span, optional
        The part whose candles are given; nothing else is then known.

    Raises
    ------
    CacheError
        If the facts are those of another block, or contradict the candles.
    """
    try:
        _check_identity(facts, series, period)
        known = [Span(*each) for each in facts["known"]]
        holes = [Hole(Span(*span), str(evidence)) for span, evidence in facts["holes"]]
        sources = [Source(Span(*span), *rest) for span, *rest in facts["sources"]]
        if read is not None:
            known = covered(read, known)
            holes = [h._replace(span=part) for h in holes for part in covered(read, (h.span,))]
            sources = [s._replace(span=part) for s in sources for part in covered(read, (s.span,))]
        elif "findings" in facts:
            digest, duplicates, zero_volume, flat, broken = facts["findings"]
            rules = tuple((rule, n) for rule, n in broken)
            candles.believe(Findings(digest, duplicates, zero_volume, flat, rules))
        return Block(series, period, tuple(known), candles, tuple(holes), tuple(sources))
    except CacheError:
        raise
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise CacheError(f"it holds no valid block ({error})") from error


def _check_identity(facts: dict[str, Any], series: Series, period: Span) -> None:
    check_version(facts["schema_version"])
    if (facts["symbol"], facts["interval"]) != (series.symbol, series.interval.name):
        raise CacheError(f"the block is of {facts['symbol']} {facts['interval']}, not {series}")
    if Span(*facts["period"]) != period:
        raise CacheError(f"the block is of {facts['period']}, not {list(period)}")


def table_of(candles: Candles) -> pa.Table:
    """Return candles as a table."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    arrays = [_array(getattr(candles, name)) for name in COLUMNS]
    fields = [
        pa.field(name, array.type, nullable=False)  # which is faster to read
        for name, array in zip(COLUMNS, arrays, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _array(values: NDArray[Any]) -> pa.Array:
    """Return a column of Arrow that shares memory with one of NumPy."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    # out of a buffer: `pa.array` imports pandas, which takes longer than all the rest
    kept = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, kept])


def check_schema(schema: pa.Schema, names: Sequence[str]) -> None:
    """Refuse a schema whose columns are not these columns of candles.

    Raises
    ------
    CacheError
        If one is missing, too many, or of another type.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    expected = [(name, pa.from_numpy_dtype(COLUMNS[name])) for name in names]
    if [(field.name, field.type) for field in schema] != expected:
        raise CacheError(f"its columns are not those of candles: {schema.names}")


def columns_of(table: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a table, which has these and no others, read-only.

    Raises
    ------
    CacheError
        If its columns are not those.
    """
    check_schema(table.schema, names)
    if any(column.null_count for column in table.columns):
        raise CacheError("values are missing in its columns")
    return {name: _values(table.column(name), COLUMNS[name]) for name in names}


def _values(column: pa.ChunkedArray, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return a column's values, read-only, without a copy where they lie in one piece."""
    # by their buffers: `to_numpy` imports pandas, as `pa.array` does
    parts = [
        np.frombuffer(chunk.buffers()[1], kind, len(chunk), chunk.offset * kind.itemsize)
        for chunk in column.chunks
        if len(chunk)
    ]
    values = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, kind)])
    values.flags.writeable = False
    return values


def bars_block(
    facts: dict[str, Any],
    columns: dict[str, Any],
    series: Series,
    period: Span,
    *,
    read: Span | None = None,
    details: bytes | None = None,
) -> Block:
    """Return the block of some facts and the columns of bars.

    Parameters
    ----------
    facts, series, period, read
        As of :func:`block_of`.
    columns : dict
        Those of ``VALUES``.
    details : bytes, optional
        The rest, which is unpacked when it is asked for; without it the block cannot be stored.

    Raises
    ------
    CacheError
        If the facts are those of another block, or contradict the columns.
    """

    def load() -> dict[str, Any]:
        if details is None:
            raise BarsOnlyError(f"{series}: of this block only the columns of bars were read")
        return _unpacked(details, DETAILS)[1]

    try:
        _check_identity(facts, series, period)
        opens = _opens(facts, series, period if read is None else read)
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"it holds no valid block ({error})") from error
    if any(len(column) != len(opens) for column in columns.values()):
        raise CacheError("it does not hold as many candles as are known")
    candles = Candles.loading({"open_time": opens, **columns}, load)
    return block_of(facts, candles, series, period, read=read)


def _opens(facts: dict[str, Any], series: Series, read: Span) -> NDArray[np.int64]:
    """Return when candles open: throughout what is known, but for the holes."""
    holes = [Span(*span) for span, _ in facts["holes"]]
    known = covered(read, [Span(*span) for span in facts["known"]])
    opens = [series.interval.opens(*part) for span in known for part in missing(span, holes)]
    found = np.concatenate(opens) if opens else np.empty(0, np.int64)
    found.flags.writeable = False
    return found


def encode(block: Block) -> Encoded:
    """Return a block as bytes: the same ones for the same block."""
    details = _packed(block.candles, DETAILS)
    facts = facts_of(block) | {"details": sha256(details).hexdigest()}
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=True)
    payload = _packed(block.candles, VALUES, {FACTS: text.encode()})
    return Encoded(CODEC, SCHEMA_VERSION, sha256(payload).hexdigest(), payload, details)


def decode(encoded: Encoded, series: Series, period: Span) -> Block:
    """Return the block that bytes hold.

    Raises
    ------
    CacheError
        If codec, schema version or a checksum are others, or the bytes hold no such block.
    """
    check_version(encoded.schema_version)
    if encoded.codec != CODEC:
        raise CacheError(f"codec {encoded.codec!r} is not read here")
    _check_bytes(encoded.payload, encoded.sha256)
    metadata, columns = _unpacked(encoded.payload, VALUES)
    try:
        facts = json.loads(metadata[FACTS])
        if encoded.details is not None:
            _check_bytes(encoded.details, facts["details"])
    except CacheError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CacheError(f"it holds no valid block ({error})") from error
    return bars_block(facts, columns, series, period, details=encoded.details)


def _check_bytes(content: bytes, checksum: object) -> None:
    if sha256(content).hexdigest() != checksum:
        raise CacheError("the bytes do not have the checksum that was written with them")


def _packed(
    candles: Candles, names: Sequence[str], metadata: dict[bytes, bytes] | None = None
) -> bytes:
    """Return some columns as an Arrow stream, in as few bytes as hold them exactly."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    arrays, schema = [], []
    for name in names:
        values, places = to_decimals(getattr(candles, name))
        noted = None if places is None else {_PLACES: str(places).encode()}
        arrays.append(_array(values))
        schema.append(pa.field(name, arrays[-1].type, metadata=noted))
    table = pa.Table.from_arrays(arrays, schema=pa.schema(schema, metadata=metadata))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=LEVEL))
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(payload: bytes, names: Sequence[str]) -> tuple[dict[bytes, bytes], dict[str, Any]]:
    """Return the metadata and the columns of an Arrow stream, which has these and no others."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    # one thread: others read other blocks meanwhile
    options = pa.ipc.IpcReadOptions(use_threads=False)
    try:
        with pa.ipc.open_stream(payload, options=options) as reader:
            table = reader.read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CacheError(f"it holds no block as an Arrow stream ({error})") from error
    if tuple(table.schema.names) != tuple(names):
        raise CacheError(f"its columns are not those of candles: {table.schema.names}")
    return table.schema.metadata or {}, {name: _numbers(table, name) for name in names}


def _numbers(table: pa.Table, name: str) -> Any:
    """Return a column's values as they were before they were packed."""
    field, column = table.schema.field(name), table.column(name)
    if column.null_count:
        raise CacheError("values are missing in its columns")
    width = {"int32": np.int32, "int64": np.int64, "double": np.float64}.get(str(field.type))
    if width is None:
        raise CacheError(f"its column {name} is of type {field.type}")
    values = _values(column, np.dtype(width))
    places = (field.metadata or {}).get(_PLACES)
    return from_decimals(values, None if places is None else int(places), COLUMNS[name])
