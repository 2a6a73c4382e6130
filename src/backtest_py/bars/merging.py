"""Several bars of one market as one series: put in order, overlaps compared row by row."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from backtest_py.bars.bars import _restore
from backtest_py.bars.clocks import minutes_and_days, wall_clock
from backtest_py.bars.columns import PRICES
from backtest_py.bars.timestamps import time_text
from backtest_py.bars.validation import BarsReport, settled
from backtest_py.errors import DataError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.bars.bars import Bars
    from backtest_py.bars.columns import Columns
    from backtest_py.bars.options import ReadOptions

__all__ = ["Part", "merged_bars"]

_MOST_NOTES: Final = 10
_SHOWN: Final = 4
"""Names of files that a text lists."""


class Part(NamedTuple):
    """Bars of one file, its path as it was given, and what names a value of a column and row."""

    name: str
    bars: Bars
    at: Callable[[str, int], str]

    @classmethod
    def of(cls, name: str, columns: Columns, options: ReadOptions, report: BarsReport) -> Part:
        """Validate the columns of a file; rows that repeat the one before them are dropped.

        Raises
        ------
        DataError
            If a rule of valid bars is broken.
        """
        values, kept = settled(columns, options, report, identical="drop")
        return cls(name, _restore(values), kept.at)


def merged_bars(parts: Sequence[Part]) -> Bars:
    """Return one series of several parts, given in any order.

    Rows that several parts hold must be the same in all of them, and count once. A gap between
    parts is noted; a row that one part lacks where both reach is warned of.

    Raises
    ------
    DataError
        If clocks, kinds of volume or columns differ, or a row does.
    """
    parts = sorted(parts, key=lambda part: int(part.bars.time[0]))
    for part in parts[1:]:
        _check_alike(parts[0], part)
    time = np.concatenate([part.bars.time for part in parts])
    order = np.argsort(time, kind="stable")
    again = np.append([False], time[order][1:] == time[order][:-1])
    names = ["time", *PRICES, "volume"]
    if parts[0].bars.atr_column is not None:
        names.append("atr_column")
    columns = {name: np.concatenate([getattr(part.bars, name) for part in parts]) for name in names}
    rows = np.flatnonzero(again)
    _check_same(parts, columns, order[rows - 1], order[rows])
    first, kept = parts[0].bars, order[~again]
    values = {name: column[kept] for name, column in columns.items()}
    minute, day = minutes_and_days(wall_clock(values["time"], first.session_timezone))
    return _restore(
        {
            "atr_column": None,
            **values,
            "minute": minute,
            "day": day,
            "has_volume": bool(values["volume"].any()),
            "timezone": first.timezone,
            "session_timezone": first.session_timezone,
            "report": _report(parts, values["time"], len(rows)),
        }
    )


def _check_alike(first: Part, other: Part) -> None:
    """Refuse parts whose rows do not mean the same."""
    facts = {
        "timezone": [part.bars.timezone for part in (first, other)],
        "session_timezone": [part.bars.session_timezone for part in (first, other)],
        "the kind of volume": [part.bars.report.volume_kind for part in (first, other)],
        "a column atr": [
            "no" if part.bars.atr_column is None else "yes" for part in (first, other)
        ],
    }
    for name, (here, there) in facts.items():
        if here != there:
            raise DataError(
                f"{first.name} and {other.name} are no parts of one series: {name} is {here!r} in "
                f"the first and {there!r} in the second; load them one by one"
            )


def _check_same(
    parts: Sequence[Part],
    columns: Mapping[str, NDArray[Any]],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> None:
    """Refuse rows of one time that differ, and show the first."""
    differs = {}
    for name, column in columns.items():
        a, b = column[left], column[right]
        differs[name] = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    wrong = np.logical_or.reduce(list(differs.values()))
    if not wrong.any():
        return
    at = int(wrong.argmax())
    name = next(name for name in columns if differs[name][at])
    places = []
    for row in (int(left[at]), int(right[at])):
        part, own = _place(parts, row)
        where = part.at(name.removesuffix("_column"), own)
        places.append(f"{where} = {float(columns[name][row])!r} ({part.name})")
    raise DataError(
        f"one bar has two values, at {part.bars.time_text(own)}: {places[0]}, but {places[1]}; "
        f"{int(wrong.sum()):,} of the {counted(len(wrong), 'row')} that several files hold differ: "
        "remove those that are wrong, or leave one of the files out"
    )


def _place(parts: Sequence[Part], row: int) -> tuple[Part, int]:
    """Return the part that holds a row of all of them, and its own number for it."""
    ends = np.cumsum([len(part.bars) for part in parts])
    at = int(np.searchsorted(ends, row, side="right"))
    return parts[at], row - int(ends[at]) + len(parts[at].bars)


def _report(parts: Sequence[Part], time: NDArray[np.int64], n_shared: int) -> BarsReport:
    reports = [part.bars.report for part in parts]
    arguments = [each.arguments or {} for each in reports]

    def texts(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for each in reports for text in getattr(each, name)))

    def joined(name: str) -> str:
        every = list(dict.fromkeys(str(getattr(each, name)) for each in reports))
        more = [f"and {len(every) - _SHOWN:,} more"] if len(every) > _SHOWN else []
        return ", ".join((*every[:_SHOWN], *more))

    merged = (f"{counted(n_shared, 'row')} of several files are the same",) if n_shared else ()
    return BarsReport(
        source=joined("source"),
        path=tuple(part.name for part in parts),
        format=joined("format"),
        encoding=joined("encoding"),
        rows_read=sum(each.rows_read for each in reports),
        newest_first=any(each.newest_first for each in reports),
        identical_dropped=sum(each.identical_dropped for each in reports),
        empty_dropped=sum(each.empty_dropped for each in reports),
        volume_kind=reports[0].volume_kind,
        columns=reports[0].columns,
        ignored=texts("ignored"),
        notes=(*texts("notes"), *merged, *_short(_gaps(parts, time))),
        warnings=(*texts("warnings"), *_short(_lacking(parts))),
        arguments={**arguments[0], "path": [each.get("path", "") for each in arguments]},
    )


def _gaps(parts: Sequence[Part], time: NDArray[np.int64]) -> Iterable[str]:
    """Say where nothing lies between the end of one part and the start of the next."""
    usual = int(np.median(np.diff(time))) if len(time) > 1 else 0
    before = parts[0]
    for part in parts[1:]:
        if int(part.bars.time[0]) - int(before.bars.time[-1]) > usual:
            yield (
                f"no bar between {before.name}, which ends at "
                f"{before.bars.time_text(len(before.bars) - 1)}, and {part.name}, which begins at "
                f"{part.bars.time_text(0)}"
            )
        before = max(before, part, key=lambda each: int(each.bars.time[-1]))


def _lacking(parts: Sequence[Part]) -> Iterable[str]:
    """Say which rows one part lacks that another has, where both reach."""
    for pair in combinations(parts, 2):
        start = max(int(part.bars.time[0]) for part in pair)
        end = min(int(part.bars.time[-1]) for part in pair)
        if start > end:
            continue
        inside = [
            part.bars.time[(part.bars.time >= start) & (part.bars.time <= end)] for part in pair
        ]
        for place, part in enumerate(pair):
            extra = np.setdiff1d(inside[1 - place], inside[place], assume_unique=True)
            if len(extra):
                other = pair[1 - place]
                row = int(np.searchsorted(other.bars.time, extra[0]))
                yield (
                    f"{part.name} lacks {counted(len(extra), 'row')} that {other.name} has, the "
                    f"first at {time_text(int(other.bars.wall[row]))}; they are taken from there"
                )


def _short(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the first of many texts, and how many more there are."""
    every = tuple(texts)
    if len(every) <= _MOST_NOTES:
        return every
    return (*every[:_MOST_NOTES], f"and so on, {len(every) - _MOST_NOTES:,} more of this kind")
