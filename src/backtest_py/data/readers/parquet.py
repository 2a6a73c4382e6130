"""Parquet and Feather files of bars."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ipc

from backtest_py.bars.columns import (
    PRICES,
    Columns,
    assign_roles,
    choose_volume,
    ignored_names,
    require,
)
from backtest_py.bars.timestamps import Times, as_times, parse_times, zoned_times
from backtest_py.bars.validation import BarsReport
from backtest_py.data.readers._numbers import as_numpy, to_floats
from backtest_py.data.readers._open import MAX_ROWS, MAX_TEXT, most_unpacked
from backtest_py.data.readers._sizes import feather_bytes, parquet_bytes, text_bytes_of
from backtest_py.data.readers._text import texts_of
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from backtest_py.bars import ReadOptions
    from backtest_py.bars.timestamps import At

__all__ = [
    "DAMAGE",
    "Source",
    "check_size",
    "columns_of",
    "damaged",
    "is_text",
    "read_feather",
    "read_parquet",
    "roles_of",
]


def read_parquet(file: Path, options: ReadOptions) -> tuple[Columns, BarsReport]:
    """Return the columns of a Parquet file, in its own order of rows.

    Raises
    ------
    DataError
        If the file is damaged, holds too many rows, or a column is missing or of no use.
    """

    def read(choose: Callable[[pa.Schema], list[int]]) -> pa.Table:
        with pq.ParquetFile(file) as source:
            _check_rows(source.metadata.num_rows, file.name)
            schema = source.schema_arrow
            names = [schema.names[position] for position in choose(schema)]
            check_size(parquet_bytes(source, names), file)
        texts = [name for name in names if is_text(schema.field(name).type)]
        with pq.ParquetFile(file, read_dictionary=texts, page_checksum_verification=True) as source:
            return source.read(columns=names)

    return _read(file, "parquet", read, options)


def read_feather(file: Path, options: ReadOptions) -> tuple[Columns, BarsReport]:
    """Return the columns of a Feather file (version 2: an Arrow file), in its order of rows.

    Raises
    ------
    DataError
        As :func:`read_parquet`.
    """

    def read(choose: Callable[[pa.Schema], list[int]]) -> pa.Table:
        with pa.OSFile(str(file)) as source:
            schema = ipc.open_file(source).schema
            wanted = choose(schema)
            check_size(feather_bytes(file), file)
            reader = ipc.open_file(source, options=ipc.IpcReadOptions(included_fields=wanted))
            batches, n_rows, n_bytes = [], 0, 0
            for number in range(reader.num_record_batches):
                batches.append(reader.get_batch(number))
                n_rows += batches[-1].num_rows
                n_bytes += batches[-1].nbytes
                if n_rows > MAX_ROWS:
                    break
                check_size(n_bytes, file)  # the footer may name one batch again and again
            _check_rows(n_rows, file.name)
            return pa.Table.from_batches(batches)

    return _read(file, "feather", read, options)


def _check_rows(n_rows: int, name: str) -> None:
    if n_rows > MAX_ROWS:
        raise DataError(f"{name}: {n_rows:,} rows are more than {MAX_ROWS:,}")
    if n_rows == 0:
        raise DataError(f"{name}: there is no row in the file")


def check_size(n_bytes: int, file: Path) -> None:
    """Refuse a file that unpacks to far more than bars would.

    Raises
    ------
    DataError
        If it does.
    """
    size = file.stat().st_size
    limit = most_unpacked(size)
    if n_bytes > limit:
        raise DataError(
            f"{file.name}: {size:,} bytes unpack to {n_bytes:,}, more than {limit:,}; this does "
            "not hold bars"
        )


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts."""
    return str(kind) in {"string", "large_string", "string_view"}


def _read(
    file: Path,
    kind: str,
    read: Callable[[Callable[[pa.Schema], list[int]]], pa.Table],
    options: ReadOptions,
) -> tuple[Columns, BarsReport]:
    name = file.name
    names: list[str] = []
    roles: dict[str, int] = {}

    def choose(schema: pa.Schema) -> list[int]:
        names.extend(schema.names)
        roles.update(roles_of(schema, name))
        return sorted(set(roles.values()))

    try:
        table = read(choose)
        table.validate(full=True)
        most_text = min(MAX_TEXT, most_unpacked(file.stat().st_size))
        return columns_of(Source(name, kind, table, roles, names, most_text), options)
    except DataError:
        raise
    except DAMAGE as error:
        raise damaged(name, kind, error) from None


DAMAGE: Final = (pa.ArrowException, OSError, ValueError, TypeError, MemoryError, struct.error)
"""What Arrow raises on files that are damaged."""


def damaged(name: str, kind: str, error: BaseException) -> DataError:
    """Build the error for a file that cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        f"{name}: the {kind} file is damaged or not what it seems ({reason[:200]}); write it again"
    )


def roles_of(schema: pa.Schema, name: str) -> dict[str, int]:
    """Return the position of the column that fills each role.

    Raises
    ------
    DataError
        If one is missing, of no use, or there are several of it.
    """
    names = schema.names
    roles = assign_roles(names, where=name)
    require(roles, ("time", *PRICES), names, name)
    if len(set(names)) < len(names):
        raise DataError(f"{name}: several columns have the same name; rename them")
    roles.pop("date", None)
    roles.pop("clock", None)
    for role, position in roles.items():
        _refuse_odd_type(f"{name}: {role} in row 0", role, schema.field(position).type)
    return roles


def _refuse_odd_type(where: str, role: str, kind: pa.DataType) -> None:
    """Refuse a column of bytes or nested values before it is read: a small file may hold much."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        is_text(plain)
        or pa.types.is_primitive(plain)
        or pa.types.is_decimal(plain)
        or pa.types.is_null(plain)
    ):
        wanted = "timestamps, dates, whole numbers or text" if role == "time" else "numbers"
        raise DataError(f"{where} is of type {kind}; give {wanted}")


@dataclass(frozen=True, slots=True)
class Source:
    """A table as it was read, and what its columns are.

    ``first_row`` is the number of its first row in the file.
    """

    name: str
    kind: str
    table: pa.Table
    roles: dict[str, int]
    names: list[str]
    most_text: int
    first_row: int = 0

    def at(self, role: str, row: int) -> str:
        """Name a value in errors."""
        return f"{self.name}: {role} in row {self.first_row + row}"

    def column(self, role: str) -> pa.Array:
        """Return a column in one piece, dictionaries resolved, texts with 32-bit offsets."""
        column = self.table[self.names[self.roles[role]]]
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if is_text(kind):
            n_bytes = text_bytes_of(column)
            if n_bytes > self.most_text:
                raise DataError(
                    f"{self.name}: {n_bytes:,} bytes of text in the column of {role} are more "
                    f"than {self.most_text:,}; this does not hold bars"
                )
            kind = pa.string()
        return column.cast(kind).combine_chunks()


def columns_of(source: Source, options: ReadOptions) -> tuple[Columns, BarsReport]:
    """Return the columns of a table, in its order of rows.

    Raises
    ------
    DataError
        If a column is of no use, or there are several instruments.
    """
    name, table, roles, names = source.name, source.table, source.roles, source.names
    at, column = source.at, source.column
    if "symbol" in roles and len(pc.unique(column("symbol"))) > 1:
        raise DataError(
            f"{name}: column {names[roles['symbol']]!r} names several instruments; keep one"
        )
    times = _times(column("time"), lambda row: at("time", row), dayfirst=options.dayfirst)

    def read(role: str) -> NDArray[np.float64]:
        return _floats(column(role), role, at)

    volume_kind, volume = choose_volume(roles, read, table.num_rows)
    columns = Columns(
        times,
        open=read("open"),
        high=read("high"),
        low=read("low"),
        close=read("close"),
        volume=volume,
        atr=read("atr") if "atr" in roles else None,
        at=at,
    )
    report = BarsReport(
        source=name,
        format=source.kind,
        rows_read=table.num_rows,
        volume_kind=volume_kind,
        columns={role: names[position] for role, position in roles.items()},
        ignored=ignored_names(roles, names),
    )
    return columns, report


def _times(column: pa.Array, at: At, *, dayfirst: bool) -> Times:
    if column.null_count:
        missing = as_numpy(pc.cast(column.is_null(), pa.uint8()), "u1")
        raise DataError(f"{at(int(missing.argmax()))} has no value; every bar needs its time")
    kind = column.type
    if pa.types.is_string(kind):
        return parse_times(texts_of(column, at), at, dayfirst=dayfirst)
    if pa.types.is_timestamp(kind):
        counts = as_numpy(pc.cast(column, pa.int64()), "i8")
        times = as_times(counts.view(f"M8[{kind.unit}]"), at)
        return times if kind.tz is None else zoned_times(times.ns, kind.tz)
    if pa.types.is_date(kind):
        counts = as_numpy(pc.cast(pc.cast(column, pa.date64()), pa.int64()), "i8")
        return as_times(counts.view("M8[ms]"), at)
    if pa.types.is_integer(kind):
        plain, dtype = (pa.uint64(), "u8") if kind == pa.uint64() else (pa.int64(), "i8")
        counts = as_numpy(pc.cast(column, plain), dtype)
        return as_times(counts, at, integers="magnitude")
    if pa.types.is_floating(kind):
        counts = as_numpy(pc.cast(column, pa.float64()), "f8")
        return as_times(counts, at, integers="magnitude")
    raise DataError(f"{at(0)} is of type {kind}; give timestamps, dates, whole numbers or text")


def _floats(column: pa.Array, role: str, at: Callable[[str, int], str]) -> NDArray[np.float64]:
    """Return numbers of any type as the nearest doubles, missing ones as nan."""
    kind = column.type
    if pa.types.is_decimal(kind):
        # By way of text: Arrow's own conversion is not promised to give the nearest double.
        column = column.cast(pa.string())
    if pa.types.is_string(column.type):
        texts: Any = column.fill_null("")
        return to_floats(texts, decimal=".", grouping=False, at=lambda row: at(role, row))
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        floats = pc.cast(column, pa.float64(), safe=False)
        return as_numpy(floats.fill_null(np.nan) if floats.null_count else floats, "f8")
    raise DataError(f"{at(role, 0)} is of type {kind}; give numbers")
