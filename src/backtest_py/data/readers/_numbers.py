"""Numbers as text: which mark is the decimal one, and the nearest double.

Some platforms write 126.340,00 where others write 126,340.00. One file uses one mark; it is found
from all its values together, and where no value settles it the file is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["as_numpy", "decimal_mark", "text_bytes", "to_floats"]

_MISSING: Final = ("", "nan", "na", "n/a", "null", "none")


def as_numpy(column: pa.Array, dtype: str) -> NDArray[Any]:
    """Return an array without nulls as NumPy sees its memory.

    Arrow's own ``to_numpy`` imports pandas, which takes longer than reading most files.
    """
    values = np.frombuffer(column.buffers()[1], dtype, count=column.offset + len(column))
    return values[column.offset :]


def text_bytes(column: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all bytes of a string column, and where each text starts; one entry more at the end.

    The column is of type ``string`` and holds no null.
    """
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    starts = starts.astype(np.int64)
    everything = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return everything[starts[0] : starts[-1]], starts - starts[0]


def _matches(column: pa.Array, pattern: str) -> NDArray[np.bool_]:
    found = pc.match_substring_regex(column, pattern)
    return as_numpy(pc.cast(found, pa.uint8()), "u1").astype(np.bool_)


def decimal_mark(
    columns: Mapping[str, pa.Array], *, plain: str, grouping: bool, at: Callable[[str, int], str]
) -> str:
    """Return the decimal mark of a file.

    Parameters
    ----------
    columns : mapping of str to Array of string
        All columns of numbers.
    plain : {"", "."}
        The mark to take where a value such as 126.340 leaves it open; "" refuses.
    grouping : bool
        Whether thousands may be grouped; without, the mark that occurs is the decimal one.
    at : callable
        Names a value in errors, from its column and row.

    Raises
    ------
    DataError
        If the values contradict each other, or leave open what 126.340 means.
    """
    marked = {
        mark: {
            name: column
            for name, column in columns.items()
            if (text_bytes(column)[0] == ord(mark)).any()
        }
        for mark in ".,"
    }
    if not marked[","]:
        if not marked["."] or plain == "." or not grouping:
            return "."
    elif not grouping:
        return ","
    proven = {
        decimal: _proof(decimal, other, {**marked[decimal], **marked[other]})
        for decimal, other in ((".", ","), (",", "."))
    }
    if proven["."] and proven[","]:
        point, comma = (
            f"{at(name, row)} = {columns[name][row].as_py()[:40]!r}"
            for name, row in (proven["."], proven[","])
        )
        raise DataError(
            f"{point} writes decimals after a point, {comma} after a comma; export the file with "
            "one kind of number"
        )
    if proven["."] or proven[","]:
        return "." if proven["."] else ","
    mark = "," if marked[","] else "."
    name, column = next(iter(marked[mark].items()))
    row = int(_matches(column, f"[{mark}]").argmax())
    raise DataError(
        f"{at(name, row)} = {column[row].as_py()!r} could be thousands or decimals, and no number "
        'of the file settles it; pass decimal="." or decimal=",", or export with two decimals'
    )


def _proof(decimal: str, other: str, columns: Mapping[str, pa.Array]) -> tuple[str, int] | None:
    """Return the first value that can only be read with this decimal mark.

    It follows the other mark, follows a zero or four or more digits, is not followed by exactly
    three digits, or the other mark occurs twice.
    """
    pattern = (
        rf"[{other}].*[{decimal}]|^[+-]?(?:0\d*|\d{{4,}})?[{decimal}]"
        rf"|[{decimal}](?:\d{{0,2}}|\d{{4,}})(?:[eE].*)?$|[{other}].*[{other}]"
    )
    for name, column in columns.items():
        found = _matches(column, pattern)
        if found.any():
            return name, int(found.argmax())
    return None


def to_floats(
    column: pa.Array, *, decimal: str, grouping: bool, at: Callable[[int], str]
) -> NDArray[np.float64]:
    """Return the nearest doubles of texts; nan where a text is empty or says so.

    Parameters
    ----------
    column : Array of string, shape (n,)
        Numbers, such as ``1234.5`` or, with a decimal comma, ``1.234,5``.
    decimal : {".", ","}
        The decimal mark; the other one groups thousands.
    grouping : bool
        Whether thousands may be grouped.
    at : callable
        Names a row in errors.

    Raises
    ------
    DataError
        If a text is not a number.
    """
    other = "," if decimal == "." else "."
    present = text_bytes(column)[0]
    plain = column
    if (present == ord(other)).any():
        grouped = rf"^[+-]?\d{{1,3}}(?:[{other}]\d{{3}})+(?:[{decimal}]\d*)?$"
        wrong = _matches(column, f"[{other}]")
        if grouping:
            wrong &= ~_matches(column, grouped)
        if wrong.any():
            raise _not_a_number(column, int(wrong.argmax()), at)
        plain = pc.replace_substring(plain, other, "")
    if decimal == ",":
        plain = pc.replace_substring(plain, ",", ".")
    try:
        floats = pc.cast(plain, pa.float64())
    except pa.ArrowInvalid:
        floats = _with_missing(column, plain, at)
    return as_numpy(floats.fill_null(np.nan) if floats.null_count else floats, "f8")


def _with_missing(column: pa.Array, plain: pa.Array, at: Callable[[int], str]) -> pa.Array:
    missing = pc.is_in(pc.utf8_lower(plain), value_set=pa.array(_MISSING))
    present = pc.if_else(missing, None, plain)
    try:
        return pc.cast(present, pa.float64())
    except pa.ArrowInvalid:
        # Arrow does not say which. Halving finds it without a cast of every row by itself.
        low, high = 0, len(present)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _fails(present[low:middle]) else (middle, high)
        raise _not_a_number(column, low, at) from None


def _fails(texts: pa.Array) -> bool:
    try:
        pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return True
    return False


def _not_a_number(column: pa.Array, row: int, at: Callable[[int], str]) -> DataError:
    return DataError(f"{at(row)} = {column[row].as_py()[:40]!r} is not a number; correct the file")
