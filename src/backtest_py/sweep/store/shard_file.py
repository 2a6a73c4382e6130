"""The file of a shard: Parquet, whose bytes depend on the shard's table alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from backtest_py.sweep.store.block_table import BlockRows
from backtest_py.sweep.store.tables import blocks_of, signals_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Packed", "encode_blocks", "encode_shard"]


class Packed(NamedTuple):
    """A shard's table as the bytes of its file.

    Attributes
    ----------
    num_rows : int
        Rows of the table.
    content : bytes
        The file.
    signals : str
        As in the journal's entry.
    blocks : bytes
        The file with sums of blocks, empty where none are kept.
    """

    num_rows: int
    content: bytes
    signals: str = ""
    blocks: bytes = b""

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Return the bytes of a table's file."""
        content = bytes(encode_shard(table))
        return cls(table.num_rows, content, signals_of(table), bytes(encode_blocks(table)))


def encode_shard(table: pa.Table) -> memoryview:
    """Return a shard's table as the bytes of a Parquet file, which depend on the table alone.

    Numbers are split into streams of bytes and packed with LZ4: on metrics of a sweep that takes
    two thirds of the time of Zstandard's first level for a tenth more bytes. Columns of
    dictionary type stay dictionaries in the file, and are read as plain values.

    Parameters
    ----------
    table : pyarrow.Table
        ``combo_id`` (int64, strictly increasing) and any other columns.

    Raises
    ------
    ValueError
        If ``combo_id`` does not increase.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    # pages of a file end where chunks do; what goes with a table is for the journal
    table = table.combine_chunks().replace_schema_metadata(None)
    # to_numpy would import pandas, which takes longer than a small sweep
    if np.any(np.diff(np.from_dlpack(table["combo_id"].combine_chunks())) <= 0):
        raise ValueError("combo_id must increase from row to row of a shard")
    dictionaries, split = [], []
    for column in table.schema:
        if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
            dictionaries.append(column.name)
        elif column.name != "combo_id" and not pa.types.is_boolean(column.type):
            split.append(column.name)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="lz4",
        row_group_size=max(table.num_rows, 1),
        write_batch_size=1 << 16,
        use_dictionary=dictionaries,
        column_encoding={"combo_id": "DELTA_BINARY_PACKED"}
        | dict.fromkeys(split, "BYTE_STREAM_SPLIT"),
        # those of metrics cost a tenth of the time, and no ranking can use them
        write_statistics=["combo_id", *dictionaries],
        write_page_checksum=True,
        store_schema=False,
    )
    return memoryview(sink.getvalue())


def encode_blocks(table: pa.Table) -> memoryview:
    """Return the sums of blocks that go with a shard's table as a file, empty without any."""
    given = blocks_of(table)
    return BlockRows.read(given).encode() if given else memoryview(b"")
