"""Parquet and Feather files of bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from backtest_py.bars.timestamps import Times, as_times, parse_times
from backtest_py.bars.validation import BarsReport
from backtest_py.data.readers._numbers import as_numpy, to_floats
from backtest_py.data.readers._open import MAX_ROWS, MAX_TEXT
from backtest_py.data.readers._text import texts_of
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from backtest_py.bars.timestamps import At

__all__ = ["read_feather", "read_parquet"]


def read_parquet(file: Path) -> tuple[Columns, BarsReport]:
    """Return the columns of a Parquet file, in its own order of rows.

    Raises
    ------
    DataError
        If the file is damaged, holds too many rows, or a column is missing or of no use.
    """

    def read(choose: Callable[[pa.Schema], list[int]]) -> pa.Table:
        with pq.ParquetFile(file, page_checksum_verification=True) as source:
            _check_rows(source.metadata.num_rows, file.name)
            schema = source.schema_arrow
            return source.read(columns=[schema.names[position] for position in choose(schema)])

    return _read(file.name, "parquet", read)


def read_feather(file: Path) -> tuple[Columns, BarsReport]:
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
            reader = ipc.open_file(source, options=ipc.IpcReadOptions(included_fields=wanted))
            batches, n_rows = [], 0
            for number in range(reader.num_record_batches):
                batches.append(reader.get_batch(number))
                n_rows += batches[-1].num_rows
                if n_rows > MAX_ROWS:
                    break
            _check_rows(n_rows, file.name)
            return pa.Table.from_batches(batches)

    return _read(file.name, "feather", read)


def _check_rows(n_rows: int, name: str) -> None:
    if n_rows > MAX_ROWS:
        raise DataError(f"{name}: {n_rows:,} rows are more than {MAX_ROWS:,}")
    if n_rows == 0:
        raise DataError(f"{name}: there is no row in the file")


def _read(
    name: str, kind: str, read: Callable[[Callable[[pa.Schema], list[int]]], pa.Table]
) -> tuple[Columns, BarsReport]:
    names: list[str] = []
    roles: dict[str, int] = {}

    def choose(schema: pa.Schema) -> list[int]:
        names.extend(schema.names)
        roles.update(assign_roles(names, where=name))
        require(roles, ("time", *PRICES), names, name)
        if len(set(names)) < len(names):
            raise DataError(f"{name}: several columns have the same name; rename them")
        roles.pop("date", None)
        roles.pop("clock", None)
        return sorted(set(roles.values()))

    try:
        table = read(choose)
        table.validate(full=True)
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{name}: the {kind} file is damaged or not what it seems ({reason[:200]}); write it "
            "again"
        ) from None
    return _columns(name, kind, table, roles, names)


def _columns(
    name: str, kind: str, table: pa.Table, roles: dict[str, int], names: list[str]
) -> tuple[Columns, BarsReport]:
    def at(role: str, row: int) -> str:
        return f"{name}: {role} in row {row}"

    def column(role: str) -> pa.Array:
        return _flat(table[names[roles[role]]])

    if "symbol" in roles and len(pc.unique(column("symbol"))) > 1:
        raise DataError(
            f"{name}: column {names[roles['symbol']]!r} names several instruments; keep one"
        )
    times = _times(column("time"), lambda row: at("time", row))

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
        format=kind,
        rows_read=table.num_rows,
        volume_kind=volume_kind,
        columns={role: names[position] for role, position in roles.items()},
        ignored=ignored_names(roles, names),
    )
    return columns, report


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece, dictionaries resolved, texts with 32-bit offsets."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if str(column.type) in {"string", "large_string", "string_view"}:
        column = column.cast(pa.string())
        if column.nbytes > MAX_TEXT:
            raise DataError(f"a column of {column.nbytes:,} bytes of text is no column of bars")
    return column.combine_chunks()


def _times(column: pa.Array, at: At) -> Times:
    if column.null_count:
        missing = as_numpy(pc.cast(column.is_null(), pa.uint8()), "u1")
        raise DataError(f"{at(int(missing.argmax()))} has no value; every bar needs its time")
    kind = column.type
    if pa.types.is_string(kind):
        return parse_times(texts_of(column, at), at)
    if pa.types.is_timestamp(kind):
        counts = as_numpy(pc.cast(column, pa.int64()), "i8")
        times = as_times(counts.view(f"M8[{kind.unit}]"), at)
        return Times(times.ns, has_zone=kind.tz is not None)
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
