"""A block as bytes: candles as the columns of an Arrow table, all else as facts beside them."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.data.market.blocks import Block, Hole, Source
from backtest_py.data.market.candles import COLUMNS, SCHEMA_VERSION, Candles
from backtest_py.data.market.findings import BARS, Findings
from backtest_py.data.market.spans import Span, covered
from backtest_py.errors import CacheError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from backtest_py.data.market.candles import Series

__all__ = [
    "CODEC",
    "DamagedError",
    "Encoded",
    "NewerError",
    "block_of",
    "candles_of",
    "check_version",
    "decode",
    "encode",
    "facts_of",
    "table_of",
]

CODEC: Final = "arrow-ipc-zstd"
LEVEL: Final = -1
"""Of candles as large as at level 1, and read a fifth faster."""
_BARS: Final = list(BARS)
_DETAILS: Final = list(COLUMNS)[6:]
"""Columns that bars take, and the rest, which is unpacked when it is asked for."""
FACTS: Final = b"backtest_py.block"
"""Key of the metadata that holds all of a block but its candles."""


class NewerError(CacheError):
    """A newer version of the program wrote it: it is left as it is."""

    reason = "newer"


class DamagedError(CacheError):
    """What was read is no block, or another one than was written."""

    reason = "damaged"


class Encoded(NamedTuple):
    """A block as bytes, and what is needed to read and check them."""

    codec: str
    schema_version: int
    sha256: str
    payload: bytes


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

    return pa.table({name: pa.array(getattr(candles, name)) for name in COLUMNS})


def candles_of(table: pa.Table) -> Candles:
    """Return the candles of a table.

    Raises
    ------
    CacheError
        If its columns are not those of candles.
    """
    return Candles(**_columns_of(table, list(COLUMNS)))


def _columns_of(table: pa.Table, names: list[str]) -> dict[str, Any]:
    """Return the columns of a table, which has these and no others, read-only."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    expected = [(name, pa.from_numpy_dtype(COLUMNS[name])) for name in names]
    if [(field.name, field.type) for field in table.schema] != expected:
        raise CacheError(f"its columns are not those of candles: {table.schema.names}")
    if any(column.null_count for column in table.columns):
        raise CacheError("values are missing in its columns")
    return {name: _values(table.column(name), COLUMNS[name]) for name in names}


def _values(column: pa.ChunkedArray, kind: np.dtype[Any]) -> Any:
    """Return a column's values, without a copy where they lie in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0).to_numpy()
    parts = [chunk.to_numpy() for chunk in column.chunks]
    values = np.concatenate(parts) if parts else np.empty(0, kind)
    values.flags.writeable = False
    return values


def encode(block: Block) -> Encoded:
    """Return a block as bytes: the same ones for the same block."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    text = json.dumps(facts_of(block), separators=(",", ":"), ensure_ascii=True)
    table = table_of(block.candles).replace_schema_metadata({FACTS: text.encode()})
    sink = pa.BufferOutputStream()
    codec = pa.Codec("zstd", compression_level=LEVEL)
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    payload = sink.getvalue().to_pybytes()
    return Encoded(CODEC, SCHEMA_VERSION, sha256(payload).hexdigest(), payload)


def decode(encoded: Encoded, series: Series, period: Span) -> Block:
    """Return the block that bytes hold.

    Raises
    ------
    CacheError
        If codec, schema version or checksum are others, or the bytes hold no such block.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    check_version(encoded.schema_version)
    if encoded.codec != CODEC:
        raise CacheError(f"codec {encoded.codec!r} is not read here")
    if sha256(encoded.payload).hexdigest() != encoded.sha256:
        raise CacheError("the bytes do not have the checksum that was written with them")
    payload = encoded.payload
    try:
        table = _unpacked(payload, _BARS)
        facts = json.loads((table.schema.metadata or {})[FACTS])
    except (pa.ArrowException, OSError, KeyError, ValueError, RecursionError) as error:
        raise CacheError(f"it holds no block as an Arrow stream ({error})") from error
    candles = Candles.loading(
        _columns_of(table, _BARS), lambda: _columns_of(_unpacked(payload, _DETAILS), _DETAILS)
    )
    return block_of(facts, candles, series, period)


def _unpacked(payload: bytes, names: list[str]) -> pa.Table:
    """Return some columns of a stream of candles; the others stay packed."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    places = [at for at, name in enumerate(COLUMNS) if name in names]
    options = pa.ipc.IpcReadOptions(included_fields=places)
    with pa.ipc.open_stream(payload, options=options) as reader:
        return reader.read_all()
