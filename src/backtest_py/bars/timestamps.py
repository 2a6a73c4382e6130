"""Times as files and users write them, read into nanoseconds.

No clock is applied here: a time that carries no zone stays a reading of some wall clock, which
:mod:`backtest_py.bars.clocks` turns into an instant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.bars.zones import MAX_SECONDS, zone_name
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "At",
    "Times",
    "as_times",
    "epoch_times",
    "parse_times",
    "time_text",
    "zoned_times",
]

At = Callable[[int], str]
"""Names a row in an error message, such as ``bars.time[3]``."""

_SECOND: Final = 1_000_000_000
_MINUTE: Final = 60 * _SECOND
_NAT: Final = np.iinfo(np.int64).min
_COARSE: Final = frozenset("YMWDhms")
"""Units of NumPy's datetimes that reach further than nanoseconds do."""


@dataclass(frozen=True, slots=True)
class Times:
    """Times as they were given, before any clock is applied.

    Attributes
    ----------
    ns : ndarray of int64, shape (n,)
        Instants where ``has_zone``, else the reading of a wall clock.
    has_zone : bool
        Whether the times are instants: they carry a zone, or count from the epoch.
    zone : str
        Name of the zone that a column of instants carries, where its type has one.
    offset : bool
        Whether instants were written with offsets from UTC other than zero, and no name.
    notes : tuple of str
        What is worth knowing of how the times were read.
    """

    ns: NDArray[np.int64]
    has_zone: bool
    zone: str = ""
    offset: bool = False
    notes: tuple[str, ...] = ()


def zoned_times(ns: NDArray[np.int64], zone: str | tzinfo) -> Times:
    """Return instants of a column whose type carries a zone, as Arrow or pandas give it."""
    name = zone_name(zone)
    return Times(ns, has_zone=True, zone=name, offset=not name)


def time_text(ns: int) -> str:
    """Return a wall clock time as text, as short as it is exact.

    Examples
    --------
    >>> time_text(1_675_251_000_000_000_000)
    '2023-02-01 11:30'
    """
    unit = "m" if ns % _MINUTE == 0 else "s" if ns % _SECOND == 0 else "ns"
    return str(np.datetime64(int(ns), "ns").astype(f"M8[{unit}]")).replace("T", " ")


def as_times(values: Any, at: At, *, integers: str = "ns", dayfirst: bool | None = None) -> Times:
    """Read times from an array, a pandas column or index, or a list.

    Parameters
    ----------
    values : array-like, shape (n,)
        Integers count from the epoch and are instants; datetimes with a zone are instants;
        datetimes and texts without one are wall clock times.
    at : callable
        Names a row in errors.
    integers : {"ns", "magnitude"}
        Whether integers are nanoseconds, or their size tells the unit.
    dayfirst : bool, optional
        As for :func:`parse_times`.

    Raises
    ------
    DataError
        If the values are not times, one is missing, or one lies outside 1678 to 2261.
    """
    dtype = getattr(values, "dtype", None)
    zone = getattr(dtype, "tz", None)
    if zone is not None:
        unit = getattr(dtype, "unit", "ns")
        return zoned_times(_nanoseconds(np.asarray(values, dtype=f"M8[{unit}]"), at), zone)
    arrow: Any = getattr(dtype, "pyarrow_dtype", None)
    if str(arrow).startswith("timestamp["):
        missing = np.datetime64("NaT", arrow.unit)
        stamps = values.to_numpy(dtype=f"M8[{arrow.unit}]", na_value=missing)
        ns = _nanoseconds(stamps, at)
        return Times(ns, has_zone=False) if arrow.tz is None else zoned_times(ns, arrow.tz)
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"time has shape {array.shape}; give one value per bar, shape (n_bars,)")
    if array.size == 0:
        return Times(np.empty(0, np.int64), has_zone=False)
    if array.dtype.kind == "S":
        return parse_times(array, at, dayfirst=dayfirst)
    if array.dtype.kind == "M":
        return Times(_nanoseconds(array, at), has_zone=False)
    if array.dtype.kind in "iu":
        return _integer_times(array, at, integers)
    if array.dtype.kind == "f" and integers == "magnitude":
        whole = (array == np.floor(array)) & (np.abs(array) < 2.0**53)
        if not whole.all():
            row = int((~whole).argmax())
            raise DataError(f"{at(row)} = {array[row]} is no whole number; give datetimes")
        return _integer_times(array.astype(np.int64), at, integers)
    if array.dtype.kind in "OUT":
        return _object_times(array, at, dayfirst)
    raise DataError(
        f"time holds values of type {array.dtype}; give datetimes, text or int64 nanoseconds"
    )


def _integer_times(array: NDArray[Any], at: At, integers: str) -> Times:
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise _out_of_range(int(array.argmax()), at)
    counts = array.astype(np.int64)
    if integers == "magnitude":
        return Times(epoch_times(counts, at), has_zone=True)
    low, high = int(counts.min()), int(counts.max())
    if low == _NAT:
        raise _missing(int(counts.argmin()), at)
    if max(high, -low) < _SMALLEST_NANOSECONDS:
        raise DataError(
            f"{at(0)} = {counts[0]} would be {time_text(counts[0])} as nanoseconds since 1970, and "
            "no time lies three years away from it: these count another unit; give nanoseconds "
            '(seconds * 1_000_000_000), datetimes (np.array(seconds, "M8[s]")), or a DataFrame to '
            "Bars.from_frame, which tells the unit by the size"
        )
    return Times(counts, has_zone=True)


def _object_times(array: NDArray[Any], at: At, dayfirst: bool | None) -> Times:  # noqa: FBT001
    """Read texts, dates or datetimes from a column of Python objects."""
    items = array.tolist()
    if all(isinstance(item, str) for item in items):
        try:
            return parse_times(np.array(items, dtype=np.bytes_), at, dayfirst=dayfirst)
        except UnicodeEncodeError:
            row = next(i for i, item in enumerate(items) if not item.isascii())
            raise DataError(f"{at(row)} = {items[row]!r} is not a time") from None
    zones: dict[int, tzinfo | None] = {}
    nanos = np.zeros(len(items), np.int64)
    for row, item in enumerate(items):
        if str(item) in {"None", "nan", "NaT", "<NA>"}:
            raise _missing(row, at)
        if not isinstance(item, date):
            raise DataError(f"{at(row)} = {item!r} is not a time; give datetimes or text")
        zone = getattr(item, "tzinfo", None)
        zones[id(zone)] = zone
        if (zone is None) != (next(iter(zones.values())) is None):
            raise DataError(
                f"{at(row)} = {item!s}: times with and without a zone are mixed; use one kind"
            )
        nanos[row] = getattr(item, "nanosecond", 0)  # which only a pandas Timestamp has
        if isinstance(item, datetime) and zone is not None:
            try:
                items[row] = item.astimezone(UTC).replace(tzinfo=None)
            except OverflowError:  # within hours of the years 1 and 9999
                raise _out_of_range(row, at) from None
    ns = _nanoseconds(np.array(items, "M8[us]"), at) + nanos
    names = {zone_name(zone) for zone in zones.values() if zone is not None}
    if not names:
        return Times(ns, has_zone=False)
    # several zones have no name in common
    name = names.pop() if len(names) == 1 else ""
    return Times(ns, has_zone=True, zone=name, offset=not name)


def _missing(row: int, at: At) -> DataError:
    return DataError(f"{at(row)} has no value; every bar needs its time")


def _out_of_range(row: int, at: At) -> DataError:
    return DataError(
        f"{at(row)} lies outside the years 1678 to 2261 that nanoseconds can count; check its unit"
    )


def _nanoseconds(array: NDArray[np.datetime64], at: At) -> NDArray[np.int64]:
    """Return datetimes of any unit as nanoseconds; numpy itself overflows without a word."""
    missing = np.isnat(array)
    if missing.any():
        raise _missing(int(missing.argmax()), at)
    if array.dtype == np.dtype("M8[ns]"):
        return array.view(np.int64) if array.flags.c_contiguous else array.astype(np.int64)
    outside = np.zeros(len(array), np.bool_)
    if np.datetime_data(array.dtype)[0] in _COARSE:
        # in the array's own unit first, because seconds overflow as well
        ends = np.array([-MAX_SECONDS, MAX_SECONDS], "M8[s]").astype(array.dtype)
        outside = (array < ends[0]) | (array > ends[1])
    if not outside.any():
        outside = np.abs(array.astype("M8[s]").astype(np.int64)) > MAX_SECONDS
    if outside.any():
        raise _out_of_range(int(outside.argmax()), at)
    return array.astype("M8[ns]").astype(np.int64)


_UNITS: Final = ((10**11, _SECOND, "s"), (10**14, 1_000_000, "ms"), (10**17, 1_000, "us"))
_SMALLEST_EPOCH: Final = 10**8
_SMALLEST_NANOSECONDS: Final = _UNITS[-1][0]


def epoch_times(counts: NDArray[np.int64], at: At) -> NDArray[np.int64]:
    """Return nanoseconds of counts since 1970 whose size tells their unit.

    Below 10**11 they are seconds, below 10**14 milliseconds, below 10**17 microseconds, else
    nanoseconds: every unit then starts in 1973. All rows must have the same unit.

    Raises
    ------
    DataError
        If a count is below 10**8, its unit differs from the first row's, or it lies too late.

    Examples
    --------
    >>> import numpy as np
    >>> epoch_times(np.array([1_727_740_800_000]), "row {}".format).tolist()
    [1727740800000000000]
    """
    if len(counts) == 0:
        return counts
    low = counts < _SMALLEST_EPOCH
    if low.any():
        row = int(low.argmax())
        raise DataError(
            f"{at(row)} = {counts[row]} is no time since 1970 that could be told from other "
            "numbers; write ISO dates, or an epoch time of at least 100,000,000"
        )
    bounds = np.array([bound for bound, _, _ in _UNITS])
    unit = np.searchsorted(bounds, counts, side="right")
    other = unit != unit[0]
    if other.any():
        row = int(other.argmax())
        names = [*(name for _, _, name in _UNITS), "ns"]
        raise DataError(
            f"{at(row)} = {counts[row]} is in {names[unit[row]]}, the rows before it are in "
            f"{names[unit[0]]}; bring all rows to one unit"
        )
    factor = _UNITS[unit[0]][1] if unit[0] < len(_UNITS) else 1
    late = counts > MAX_SECONDS * (_SECOND // factor)
    if late.any():
        raise _out_of_range(int(late.argmax()), at)
    return counts * factor


_SHAPE: Final = re.compile(
    rb"""
    (?: (?P<year>\d{4}) (?P<s>[-./]) (?P<month>\d{1,2}) (?P=s) (?P<day>\d{1,2})
      | (?P<first>\d{1,2}) (?P<t>[-./]) (?P<second_part>\d{1,2}) (?P=t) (?P<year_last>\d{4})
      | (?P<compact>\d{8})
      | (?P<epoch>\d{9,19}) (?:\.0+)?
    )
    (?: [ T] (?: (?P<hour>\d{1,2}) : (?P<minute>\d\d)
                 (?: : (?P<second>\d\d) (?: [.,] (?P<fraction>\d{1,9}) )? )?
               | (?P<clock>\d{6}) )
        (?: \ ?(?: Z | UTC | GMT)
          | \ ?(?P<sign>[+-]) (?P<zone_hour>\d\d) (?: :? (?P<zone_minute>\d\d) )? )? )?
    """,
    re.VERBOSE,
)


_MOST_SHAPES: Final = 100


class _Texts:
    """Fixed-width texts, read one shape at a time.

    Nearly every file writes all its times in one shape, such as ``2023-02-01 11:30:00``. The
    first row that is not read yet gives a shape; all rows with digits and separators in the
    same places are read with it at once. Each shape costs a pass over the rows that are left, so
    their number is limited.
    """

    def __init__(self, texts: NDArray[np.bytes_], at: At) -> None:
        n_rows, width = len(texts), max(texts.dtype.itemsize, 1)
        self.texts = texts
        self.at = at
        self.bytes = np.ascontiguousarray(texts).view(np.uint8).reshape(n_rows, width)
        self.seconds = np.zeros(n_rows, np.int64)
        self.nanos = np.zeros(n_rows, np.int64)
        self.epoch = np.zeros(n_rows, np.bool_)
        self.zoned = np.zeros(n_rows, np.bool_)
        self.offset = False
        self.year_last = np.zeros(n_rows, np.bool_)
        self.dotted = np.zeros(n_rows, np.bool_)
        self.parts = np.zeros((3, n_rows), np.int64)

    def read(self, *, dayfirst: bool | None) -> Times:
        todo = np.arange(len(self.texts))
        n_shapes = 0
        while todo.size:
            row = int(todo[0])
            n_shapes += 1
            if n_shapes > _MOST_SHAPES:
                raise DataError(
                    f"{self.at(row)} = {self._text(row)!r}: times are written in more than "
                    f"{_MOST_SHAPES} ways; write all of them in one, as 2023-02-01 11:30:00"
                )
            shape = _SHAPE.fullmatch(self.texts[row])
            if shape is None:
                raise self._not_a_time(row)
            alike = self._alike(todo, shape)
            self._read_shape(todo[alike], shape)
            todo = todo[~alike]
        return self._settle(dayfirst=dayfirst)

    def _alike(self, todo: NDArray[np.intp], shape: re.Match[bytes]) -> NDArray[np.bool_]:
        template = self.bytes[todo[0]]
        is_digit = (template >= 48) & (template <= 57)
        rows = self.bytes if todo.size == len(self.texts) else self.bytes[todo]
        fixed = ~is_digit
        if shape["sign"] is not None:
            fixed[shape.start("sign")] = False
        alike = (rows[:, is_digit] - np.uint8(48) <= 9).all(axis=1)
        alike &= (rows[:, fixed] == template[fixed]).all(axis=1)
        if shape["sign"] is not None:
            sign = rows[:, shape.start("sign")]
            alike &= (sign == ord("+")) | (sign == ord("-"))
        return np.asarray(alike)

    def _number(self, rows: NDArray[np.intp], span: tuple[int, int]) -> NDArray[np.int64]:
        number = np.zeros(rows.size, np.int64)
        for column in range(*span):
            number = number * 10 + (self.bytes[rows, column] - np.uint8(48))
        return number

    def _field(
        self, rows: NDArray[np.intp], shape: re.Match[bytes], name: str, highest: int
    ) -> NDArray[np.int64]:
        if shape[name] is None:
            return np.zeros(rows.size, np.int64)
        number = self._number(rows, shape.span(name))
        wrong = number > highest
        if wrong.any():
            raise self._not_a_time(int(rows[wrong.argmax()]))
        return number

    def _read_shape(self, rows: NDArray[np.intp], shape: re.Match[bytes]) -> None:
        if shape["epoch"] is not None:
            self.epoch[rows] = True
            self.seconds[rows] = self._number(rows, shape.span("epoch"))
            return
        self._read_date(rows, shape)
        if shape["clock"] is not None:
            clock = self._number(rows, shape.span("clock"))
            hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
        else:
            hour = self._field(rows, shape, "hour", 23)
            minute = self._field(rows, shape, "minute", 59)
            second = self._field(rows, shape, "second", 59)
        wrong = (hour > 23) | (minute > 59) | (second > 59)
        if wrong.any():
            raise self._not_a_time(int(rows[wrong.argmax()]))
        seconds = hour * 3600 + minute * 60 + second
        if shape["fraction"] is not None:
            digits = len(shape["fraction"])
            nanos = self._number(rows, shape.span("fraction")) * 10 ** (9 - digits)
            self.nanos[rows] = nanos
        if shape["sign"] is not None:
            zone = self._field(rows, shape, "zone_hour", 23) * 3600
            zone += self._field(rows, shape, "zone_minute", 59) * 60
            negative = self.bytes[rows, shape.start("sign")] == ord("-")
            seconds -= np.where(negative, -zone, zone)
            self.offset |= bool(zone.any())
        self.seconds[rows] = seconds
        self.zoned[rows] = shape["sign"] is not None or shape[0].endswith((b"Z", b"UTC", b"GMT"))

    def _read_date(self, rows: NDArray[np.intp], shape: re.Match[bytes]) -> None:
        if shape["compact"] is not None:
            date = self._number(rows, shape.span("compact"))
            self.parts[:, rows] = date // 10_000, date // 100 % 100, date % 100
            return
        if shape["year"] is not None:
            parts = tuple(self._number(rows, shape.span(name)) for name in ("year", "month", "day"))
        else:
            parts = tuple(
                self._number(rows, shape.span(name))
                for name in ("year_last", "second_part", "first")
            )
            self.year_last[rows] = True
            self.dotted[rows] = shape["t"] == b"."
        self.parts[:, rows] = parts

    def _settle(self, *, dayfirst: bool | None) -> Times:
        notes: tuple[str, ...] = ()
        if self.epoch.any():
            self._refuse_mixture(self.epoch, "epoch and calendar times")
            return Times(epoch_times(self.seconds, self.at), has_zone=True)
        if self.zoned.any():
            self._refuse_mixture(self.zoned, "times with and without a zone")
        if self.year_last.any():
            self._refuse_mixture(self.year_last, "dates with the year first and last")
            notes = self._order_days(dayfirst=dayfirst)
        days, wrong = _days(self.parts)
        if wrong.any():
            raise self._not_a_time(int(wrong.argmax()))
        seconds = self.seconds + days * 86_400
        outside = np.abs(seconds) > MAX_SECONDS
        if outside.any():
            raise _out_of_range(int(outside.argmax()), self.at)
        ns = seconds * _SECOND + self.nanos
        has_zone = bool(self.zoned.any())
        return Times(ns, has_zone, offset=self.offset, notes=notes)

    def _order_days(self, *, dayfirst: bool | None) -> tuple[str, ...]:
        """Find out which of the first two parts is the day; ``parts`` holds day first."""
        _, second, first = self.parts
        no_month, other = second > 12, first > 12
        row = int(no_month.argmax())
        if dayfirst:
            if no_month.any():
                raise DataError(
                    f"{self.at(row)} = {self._text(row)!r} cannot start with the day: there is no "
                    f"month {second[row]}; leave dayfirst out"
                )
            return ()
        if no_month.any() and other.any():
            raise DataError(
                f"{self.at(row)} = {self._text(row)!r} could be month first as well as day-first "
                f"dates, such as {self._text(int(other.argmax()))!r}; write dates as YYYY-MM-DD"
            )
        if not no_month.any() and not other.any() and not self.dotted.all():
            raise self._open_order(dayfirst=dayfirst)
        if no_month.any():
            self.parts = self.parts[[0, 2, 1]]
            return (f"dates start with the month, as {self._text(row)!r} shows",)
        if other.any():
            return (f"dates start with the day, as {self._text(int(other.argmax()))!r} shows",)
        return ("dates start with the day, as they do where points stand between",)

    def _open_order(self, *, dayfirst: bool | None) -> DataError:
        """Build the error for dates of which no row tells the day from the month."""
        rising = {}
        for name, parts in (("day", self.parts), ("month", self.parts[[0, 2, 1]])):
            steps = np.diff(_days(parts)[0] * 86_400 + self.seconds)
            rising[name] = bool((steps >= 0).all() or (steps <= 0).all())
        fits = [name for name, fit in rising.items() if fit]
        hint = f" (the rows are in order only with the {fits[0]} first)" if len(fits) == 1 else ""
        remedy = "write dates as YYYY-MM-DD"
        if dayfirst is not None:
            remedy = (
                "if they start with the day, say so: dayfirst=True in Python, dayfirst = true in "
                f"[data], --dayfirst for inspect; else {remedy}"
            )
        return DataError(
            f"{self.at(0)} = {self._text(0)!r} could be month first or the other way round{hint}; "
            f"{remedy}"
        )

    def _refuse_mixture(self, mask: NDArray[np.bool_], what: str) -> None:
        other = mask != mask[0]
        if other.any():
            row = int(other.argmax())
            raise DataError(f"{self.at(row)} = {self._text(row)!r}: {what} are mixed; use one kind")

    def _text(self, row: int) -> str:
        return bytes(self.texts[row]).decode("ascii", "backslashreplace")[:40]

    def _not_a_time(self, row: int) -> DataError:
        text = self._text(row)
        if not text:
            return _missing(row, self.at)
        return DataError(
            f"{self.at(row)} = {text!r} is not a time; write it as 2023-02-01 11:30:00"
        )


def _days(parts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return days since 1970 of years, months and days, and which of them do not exist."""
    year, month, day = parts
    months = (year - 1970) * 12 + (month - 1)
    first = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    length = (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64) - first
    return first + day - 1, (month < 1) | (month > 12) | (day < 1) | (day > length)


def parse_times(texts: NDArray[np.bytes_], at: At, *, dayfirst: bool | None = None) -> Times:
    """Read times from ASCII texts.

    Accepted are ``2023-02-01``, ``2023.02.01``, ``20230201``, ``01/02/2023`` and so on, alone or
    followed by ``11:30``, ``11:30:00``, ``11:30:00.123456789`` or ``113000`` and by ``Z``,
    ``UTC`` or ``-03:00``; also counts since 1970, whose size tells their unit. Where no row
    tells the day from the month, and ``dayfirst`` is not given, the texts are refused.

    Parameters
    ----------
    texts : ndarray of bytes, shape (n,)
        Dtype ``S``; surrounding blanks are not allowed.
    at : callable
        Names a row in errors.
    dayfirst : bool, optional
        Whether dates whose year is last are known to start with the day. None where whoever
        asks cannot say so, which changes the advice that errors give.

    Raises
    ------
    DataError
        If a text is not a time, or the rows do not agree on what they are.

    Examples
    --------
    >>> import numpy as np
    >>> times = parse_times(np.array([b"18/05/2022 17:50"]), "row {}".format)
    >>> time_text(times.ns[0]), times.has_zone
    ('2022-05-18 17:50', False)
    """
    return _Texts(texts, at).read(dayfirst=dayfirst)
