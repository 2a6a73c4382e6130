"""What a binary file unpacks to, asked of its headers before anything is unpacked.

A few kilobytes of Parquet or Feather can stand for gigabytes: a text that a dictionary holds once
and a hundred million rows refer to, or zeros that were compressed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow.parquet as pq

__all__ = ["feather_bytes", "parquet_bytes", "text_bytes_of"]

_INDEX_WIDTH: Final = 4
_MAGIC_WIDTH: Final = 8
_RECORD_BATCH: Final = 3
_DICTIONARY_BATCH: Final = 2
_SLICE: Final = 2**20


def parquet_bytes(source: pq.ParquetFile, names: list[str]) -> int:
    """Return how much memory columns take, their texts still in dictionaries.

    It is the larger of two numbers: the pages as the file's metadata counts them, unpacked, and
    the rows times the width of each column.
    """
    metadata, schema = source.metadata, source.schema_arrow
    leaves = [
        position
        for position in range(metadata.num_columns)
        if source.schema.column(position).path in names
    ]
    pages: int = sum(
        metadata.row_group(group).column(leaf).total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for leaf in leaves
    )
    rows: int = metadata.num_rows * sum(_width(schema.field(name).type) for name in names)
    return max(pages, rows)


def _width(kind: pa.DataType) -> int:
    """Return the bytes of a value, of one of variable length those of its place in a dictionary."""
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:
        return _INDEX_WIDTH


def feather_bytes(file: Path) -> int:
    """Return how much memory the batches of an Arrow file take, texts still in dictionaries.

    Every compressed buffer begins with its size; where it lies is in the header of its batch,
    which is a FlatBuffer: tables of offsets to their fields.
    """
    total = 0
    with pa.memory_map(str(file)) as source:
        source.seek(_MAGIC_WIDTH)
        for message in ipc.MessageReader.open_stream(source):
            total += sum(_buffer_sizes(memoryview(message.metadata), message.body))
    return total


def _buffer_sizes(header: memoryview, body: pa.Buffer | None) -> Iterator[int]:
    message = _at(header, 0)
    kind = _field(header, message, 1)
    batch = _field(header, message, 2)
    if body is None or kind is None or batch is None:
        return
    number = header[kind]
    batch = _at(header, batch)
    if number == _DICTIONARY_BATCH:
        data = _field(header, batch, 1)
        if data is None:
            return
        batch = _at(header, data)
    elif number != _RECORD_BATCH:
        return
    buffers = _field(header, batch, 2)
    if _field(header, batch, 3) is None or buffers is None:  # nothing is compressed
        yield body.size
        return
    content, vector = memoryview(body), _at(header, buffers)
    for place in range(struct.unpack_from("<I", header, vector)[0]):
        start, length = struct.unpack_from("<qq", header, vector + 4 + 16 * place)
        if length > 0:
            size = struct.unpack_from("<q", content, start)[0]
            yield max(size, length)


def _at(header: memoryview, place: int) -> int:
    """Follow the offset that stands at a place of a FlatBuffer."""
    return place + int(struct.unpack_from("<I", header, place)[0])


def _field(header: memoryview, table: int, number: int) -> int | None:
    """Return where a field of a FlatBuffer's table stands, None where it is absent."""
    fields = table - struct.unpack_from("<i", header, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", header, fields)[0]:
        return None
    offset = struct.unpack_from("<H", header, fields + slot)[0]
    return table + offset if offset else None


def text_bytes_of(column: pa.ChunkedArray) -> int:
    """Return how many bytes of text a column holds, without writing them out.

    Each text of a dictionary counts as often as it is referred to.
    """
    total = 0
    for chunk in column.chunks:
        if not pa.types.is_dictionary(column.type):
            total += chunk.nbytes
            continue
        lengths = pc.binary_length(chunk.dictionary)
        for start in range(0, len(chunk), _SLICE):
            indices: Any = chunk.indices[start : start + _SLICE]
            total += pc.sum(lengths.take(indices)).as_py() or 0
    return total
