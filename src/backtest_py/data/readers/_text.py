"""Delimited text of bars: header, columns, times and numbers, whatever platform wrote it.

What differs between platforms is a :class:`Dialect`; everything else is done here, once.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from backtest_py.bars.columns import (
    PRICES,
    VOLUMES,
    Columns,
    Synonyms,
    assign_roles,
    choose_volume,
    ignored_names,
    require,
)
from backtest_py.bars.timestamps import parse_times
from backtest_py.bars.validation import BarsReport
from backtest_py.data.readers._numbers import decimal_mark, text_bytes, to_floats
from backtest_py.data.readers._open import MAX_ROWS, TextFile
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from backtest_py.bars import ReadOptions
    from backtest_py.bars.timestamps import Times

__all__ = ["Dialect", "Head", "read_head", "read_table", "texts_of"]

_NUMBER: Final = re.compile(r"[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?")
_CLOCK: Final = re.compile(rb"\d{1,2}:\d\d(:\d\d)?|\d{6}")
_LINE: Final = re.compile(rb"[^\r\n]*")
_BLANK: Final = b" \t;,|\r\n"
_CHUNK: Final = 2**16
_MAX_TIME_WIDTH: Final = 48
_MAX_HEADER: Final = 2**16


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of a file: its delimiter, its cells, and whether it names columns."""

    delimiter: str
    cells: tuple[str, ...]
    is_header: bool
    body_start: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of programs writes bars.

    Attributes
    ----------
    name : str
        The format's name.
    synonyms : mapping
        Column names of each role.
    day_first : bool
        Whether dates whose year is last always start with the day.
    grouping : bool
        Whether thousands may be grouped.
    recognises : callable
        Tells from the first line whether a file is of this kind.
    positions : callable
        Names the columns of a file without header from its first row; None if it cannot.
    """

    name: str
    synonyms: Synonyms
    day_first: bool
    grouping: bool
    recognises: Callable[[Head], bool]
    positions: Callable[[Sequence[str]], list[str] | None]


def read_head(file: TextFile) -> Head:
    """Return what the first line that is not blank says of a file.

    Raises
    ------
    DataError
        If that line is too long to be a header or a row of bars.
    """
    start = len(file.text) - len(file.text.lstrip())
    match = _LINE.match(file.text, start)
    line = match[0] if match else b""
    if len(line) > _MAX_HEADER:
        raise DataError(
            f"{file.name}: the first line has {len(line):,} bytes, more than {_MAX_HEADER:,}; "
            "this does not hold bars"
        )
    text = line.decode()
    delimiter = next((mark for mark in "\t;|," if mark in text), ",")
    cells = tuple(cell.strip() for cell in next(csv.reader([text], delimiter=delimiter)))
    n_numbers = sum(_NUMBER.fullmatch(cell) is not None for cell in cells)
    is_header = n_numbers < len(PRICES)
    end = start + len(line)
    return Head(delimiter, cells, is_header, end if is_header else start)


def read_table(
    file: TextFile, head: Head, dialect: Dialect, options: ReadOptions
) -> tuple[Columns, BarsReport]:
    """Return the columns of a file, in its own order of rows.

    Raises
    ------
    DataError
        If a column is missing, a row has too few cells, or a value is not a time or a number.
    """
    names = list(head.cells) if head.is_header else dialect.positions(head.cells)
    if names is None:
        raise DataError(
            f"{file.name}: there is no header line, and the {len(head.cells)} columns of the first "
            "row cannot be told apart; add a line with their names"
        )
    roles = assign_roles(names, synonyms=dialect.synonyms, where=file.name)
    require(roles, PRICES, names, file.name)
    table = _rows(file, head, len(names), sorted(set(roles.values())))

    def column(role: str) -> pa.Array:
        return table[f"c{roles[role]}"]

    def at(role: str, row: int) -> str:
        return f"{file.name}: {role} in data row {row + 1}"

    time_roles = _time_roles(roles, table)
    require({} if not time_roles else {"time": 0}, ("time",), names, file.name)
    dayfirst = dialect.day_first or options.dayfirst
    times = _times([column(role) for role in time_roles], at, dayfirst=dayfirst)
    _one_symbol(table, roles, names, file.name)
    for role in {"time", "date", "clock"} - set(time_roles):
        roles.pop(role, None)
    numeric: dict[str, pa.Array] = {
        role: column(role) for role in (*PRICES, *VOLUMES, "atr") if role in roles
    }
    decimal = options.decimal
    if decimal == "auto":
        plain = "." if head.delimiter == "," else ""
        decimal = decimal_mark(numeric, plain=plain, grouping=dialect.grouping, at=at)
    columns, kind = _numbers(times, numeric, decimal, dialect, at)
    notes = file.notes
    if not head.is_header:
        notes = (*notes, f"{file.name}: no header line; columns were taken by their position")
    report = BarsReport(
        source=file.name,
        format=dialect.name,
        encoding=file.encoding,
        rows_read=len(columns),
        volume_kind=kind,
        columns={role: names[position] for role, position in roles.items()},
        ignored=ignored_names(roles, names),
        notes=notes,
    )
    return columns, report


def _numbers(
    times: Times,
    texts: dict[str, pa.Array],
    decimal: str,
    dialect: Dialect,
    at: Callable[[str, int], str],
) -> tuple[Columns, str]:
    """Return the columns of times and of texts read as numbers, and the kind of volume."""

    def read(role: str) -> NDArray[np.float64]:
        return to_floats(
            texts[role], decimal=decimal, grouping=dialect.grouping, at=lambda row: at(role, row)
        )

    kind, volume = choose_volume(texts, read, len(times.ns))
    columns = Columns(
        times,
        open=read("open"),
        high=read("high"),
        low=read("low"),
        close=read("close"),
        volume=volume,
        atr=read("atr") if "atr" in texts else None,
        at=at,
    )
    return columns, kind


def _rows(file: TextFile, head: Head, n_columns: int, wanted: list[int]) -> dict[str, pa.Array]:
    """Return the wanted columns as texts, named by their position."""
    end = _end_of_rows(file.text, head.body_start)
    if end == head.body_start:
        raise DataError(f"{file.name}: there is a header but no bar below it")
    body = memoryview(file.text)[head.body_start : end]
    names = [f"c{position}" for position in range(n_columns)]
    options = {
        "parse_options": arrow_csv.ParseOptions(delimiter=head.delimiter),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=[names[position] for position in wanted],
        ),
    }
    try:
        table = _parse(body, names, options, use_threads=True)
    except pa.ArrowInvalid:
        try:  # again in order, which makes Arrow name the row
            table = _parse(body, names, options, use_threads=False)
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0].removeprefix("CSV parse error: ")
            if reason.startswith("straddling"):
                reason = "a row is longer than 1 MiB, or a quotation mark is never closed"
            raise DataError(f"{file.name}: {reason[:200]}; correct that row") from None
    if table.num_rows > MAX_ROWS:
        raise DataError(f"{file.name}: {table.num_rows:,} rows are more than {MAX_ROWS:,}")
    return {name: _trimmed(table[name].combine_chunks()) for name in table.column_names}


def _end_of_rows(text: bytes, start: int) -> int:
    """Return where the rows end, before the blank lines that spreadsheets leave."""
    end = len(text)
    while end > start:
        begin = max(start, end - _CHUNK)
        filled = text[begin:end].rstrip(_BLANK)
        if filled:
            line = _LINE.match(text, begin + len(filled))
            return line.end() if line else end
        end = begin
    return start


def _parse(
    body: memoryview, names: list[str], options: dict[str, object], *, use_threads: bool
) -> pa.Table:
    return arrow_csv.read_csv(
        pa.BufferReader(pa.py_buffer(body)),
        read_options=arrow_csv.ReadOptions(column_names=names, use_threads=use_threads),
        **options,
    )


def _trimmed(column: pa.Array) -> pa.Array:
    data, _ = text_bytes(column)
    if not ((data == ord(" ")) | (data == ord("\t"))).any():
        return column
    return pc.ascii_trim_whitespace(column)


def texts_of(column: pa.Array, at: Callable[[int], str]) -> NDArray[np.bytes_]:
    """Return the texts of a time column as a NumPy array of fixed width."""
    data, starts = text_bytes(column)
    lengths = np.diff(starts)
    width = int(lengths.max(initial=1))
    if width > _MAX_TIME_WIDTH:
        row = int(lengths.argmax())
        raise DataError(f"{at(row)} = {column[row].as_py()[:40]!r}… is not a time")
    width = max(width, 1)
    if (lengths == width).all():
        return np.ascontiguousarray(data).view(f"S{width}")
    padded = np.zeros((len(column), width), np.uint8)
    padded[np.arange(width) < lengths[:, None]] = data
    return padded.view(f"S{width}").ravel()


def _time_roles(roles: dict[str, int], table: dict[str, pa.Array]) -> list[str]:
    """Return the columns that make the time: one, or a date and a time of day."""
    if "date" in roles and "clock" in roles:
        first = table[f"c{roles['clock']}"][0].as_py()
        if _CLOCK.fullmatch(first.encode()):
            return ["date", "clock"]
    return next(([role] for role in ("time", "date") if role in roles), [])


def _times(columns: list[pa.Array], at: Callable[[str, int], str], *, dayfirst: bool) -> Times:
    def time_at(row: int) -> str:
        return at("time", row)

    texts = texts_of(columns[0], time_at)
    for column in columns[1:]:
        texts = np.strings.add(np.strings.add(texts, b" "), texts_of(column, time_at))
    return parse_times(texts, time_at, dayfirst=dayfirst)


def _one_symbol(
    table: dict[str, pa.Array], roles: dict[str, int], names: Sequence[str], where: str
) -> None:
    if "symbol" not in roles:
        return
    symbols = pc.unique(table[f"c{roles['symbol']}"]).to_pylist()
    if len(symbols) > 1:
        raise DataError(
            f"{where}: column {names[roles['symbol']]!r} names {len(symbols)} instruments, such as "
            f"{symbols[0]!r} and {symbols[1]!r}; keep the rows of one"
        )
