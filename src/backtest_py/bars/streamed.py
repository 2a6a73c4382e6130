"""Bars that came piece by piece and are gone: that they fit together, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.bars.bars import Bars
from backtest_py.bars.hashing import HASHED, ContentHash
from backtest_py.bars.timestamps import time_text
from backtest_py.errors import DataError, UnsupportedError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.bars.validation import BarsReport

__all__ = ["Pieces", "StreamedBars"]

_LONGEST: Final = np.iinfo(np.int64).max
_SAME: Final = ("timezone", "session_timezone")
_SAME_WHERE_KNOWN: Final = {"symbol": "", "interval": "", "volume_kind": "none"}
_COUNTS: Final = ("rows_read", "identical_dropped", "empty_dropped")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is kept of bars: ``times`` are those of the bars ``rows``, which are sorted."""

    n_bars: int
    dates: NDArray[np.datetime64]
    rows: NDArray[np.int64]
    times: NDArray[np.int64]
    off_grid: Mapping[float, int]
    content_hash: str


class StreamedBars(Bars):
    """Bars whose columns are gone: what a result says of them is kept, and the times of its trades.

    Whatever asks for a column is refused.
    """

    __slots__ = ("_facts",)
    _facts: _Facts

    def __init__(self, values: dict[str, Any], facts: _Facts) -> None:
        self._fill(values)
        object.__setattr__(self, "_facts", facts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what is kept."""
        names = (*_SAME, "has_volume", "report")
        return StreamedBars, ({name: getattr(self, name) for name in names}, self._facts)

    def __getattr__(self, name: str) -> Any:
        """Refuse what is gone."""
        if name not in Bars.__slots__ or name.startswith("_"):
            raise AttributeError(f"bars have no attribute {name!r}")
        raise UnsupportedError(
            f"bars.{name} is not at hand: these bars were streamed, and only what a result says of "
            "them was kept; load the bars, or the part of them that you want to look at, and use "
            "bt.run"
        )

    def __len__(self) -> int:
        return self._facts.n_bars

    def __repr__(self) -> str:
        clock = self.session_timezone or "no zone"
        return (
            f"StreamedBars({counted(len(self), 'bar')}, {self.time_text(0)} to "
            f"{self.time_text(len(self) - 1)}, {counted(len(self.session_dates), 'day')}, {clock})"
        )

    def times_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when bars open; only those of a result's trades and of its range are known."""
        facts = self._facts
        places = np.minimum(np.searchsorted(facts.rows, rows), len(facts.rows) - 1)
        if not np.array_equal(facts.rows[places], rows):
            _ = self.time  # which is refused
        return facts.times[places]

    @property
    def session_dates(self) -> NDArray[np.datetime64]:
        """Calendar date of every trading day, datetime64[D], shape (n_days,)."""
        return self._facts.dates

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that could reach a result, as of the same bars at once."""
        return self._facts.content_hash

    def off_grid(self, tick_size: float) -> int:
        """Return how many prices are not multiples of the tick."""
        if tick_size not in self._facts.off_grid:
            _ = self.close  # which is refused
        return self._facts.off_grid[tick_size]


class Pieces:
    """Bars as they come, piece by piece: refuse those that do not go on from the last.

    Parameters
    ----------
    tick_size : float
        For :meth:`StreamedBars.off_grid`.

    Examples
    --------
    >>> from backtest_py.data import synthetic_bars
    >>> bars, pieces = synthetic_bars(n_days=2), Pieces(tick_size=5.0)
    >>> for first in range(0, len(bars), 60):
    ...     _ = pieces.add(bars[first : first + 60])
    >>> pieces.n_bars == len(bars), pieces.n_days
    (True, 2)
    """

    def __init__(self, tick_size: float) -> None:
        self.n_bars = 0
        self.last_time = 0
        self._first_time = 0
        self._tick_size = tick_size
        self._hash = ContentHash()
        self._certificates = sha256()
        self._dates: list[int] = []
        self._off_grid = 0
        self._values: dict[str, Any] = {}
        self._has_atr = False
        self._number = -1

    @property
    def n_days(self) -> int:
        """Number of trading days so far."""
        return len(self._dates)

    def add(self, bars: Bars) -> int:
        """Take the next piece, and return the number of the day on which it begins.

        Raises
        ------
        DataError
            If it does not go on where the last one ended, or is of another kind.
        """
        self._number += 1
        if self._number == 0:
            self._begin(bars)
        else:
            self._check(bars)
            self._values["report"] = self._joined(self._values["report"], bars.report)
            self._values["has_volume"] = self._values["has_volume"] or bars.has_volume
        self._hash.update({name: getattr(bars, name) for name in HASHED})
        dates = bars.session_dates.astype(np.int64).tolist()
        same_day = self._dates[-1:] == dates[:1]
        first_day = len(self._dates) - int(same_day)
        self._dates += dates[1:] if same_day else dates
        self._off_grid += bars.off_grid(self._tick_size)
        self.n_bars += len(bars)
        self.last_time = int(bars.time[-1])
        return first_day

    def _begin(self, bars: Bars) -> None:
        self._values = {name: getattr(bars, name) for name in (*_SAME, "has_volume", "report")}
        self._has_atr = bars.atr_column is not None
        self._first_time = int(bars.time[0])
        self._certificates.update(bars.report.certificate.encode())

    def _check(self, bars: Bars) -> None:
        where = f"pieces[{self._number}]"
        if int(bars.time[0]) <= self.last_time:
            raise DataError(
                f"{where} begins at {_utc(int(bars.time[0]))}, and the piece before it ends at "
                f"{_utc(self.last_time)}; give every bar once, and the pieces in order of time"
            )
        if int(bars.time[-1]) - self._first_time > _LONGEST:
            raise DataError(
                f"{where} ends more than 292 years after the first piece begins, longer than "
                "nanoseconds can count; split the bars"
            )
        for name in _SAME:
            self._expect(where, name, getattr(bars, name), self._values[name])
        for name, unknown in _SAME_WHERE_KNOWN.items():
            found, known = getattr(bars.report, name), getattr(self._values["report"], name)
            if unknown not in {found, known}:
                self._expect(where, f"report.{name}", found, known)
        has_atr = bars.atr_column is not None
        if has_atr != self._has_atr:
            says = ("has", "has none") if has_atr else ("lacks", "has one")
            raise DataError(
                f"{where} {says[0]} a column atr, and the piece before it {says[1]}; give it to "
                "all pieces, or to none"
            )

    def _expect(self, where: str, name: str, found: str, known: str) -> None:
        if found != known:
            raise DataError(
                f"{where}: {name} is {found!r}, and that of the pieces before it {known!r}; all "
                "pieces are parts of one series"
            )

    def _joined(self, report: BarsReport, new: BarsReport) -> BarsReport:
        """Return what is known of all pieces; slices of the same bars share their report."""
        if new is report:
            return report
        changes: dict[str, Any] = {
            name: getattr(report, name) + getattr(new, name) for name in _COUNTS
        }
        for name in ("notes", "warnings"):
            changes[name] = tuple(dict.fromkeys((*getattr(report, name), *getattr(new, name))))
        for name, unknown in _SAME_WHERE_KNOWN.items():
            known = getattr(report, name)
            changes[name] = getattr(new, name) if known == unknown else known
        if new.certificate != report.certificate:
            self._certificates.update(new.certificate.encode())
            changes["certificate"] = self._certificates.hexdigest()
        return replace(report, **changes)

    def finish(self, rows: NDArray[np.int64], times: NDArray[np.int64]) -> StreamedBars:
        """Return what is kept of all bars, with the times of some, in any order."""
        rows, places = np.unique(rows, return_index=True)
        facts = _Facts(
            n_bars=self.n_bars,
            dates=np.array(self._dates, np.int64).astype("M8[D]"),
            rows=rows,
            times=times[places],
            off_grid={self._tick_size: self._off_grid},
            content_hash=self._hash.hexdigest(*(self._values[name] for name in _SAME)),
        )
        return StreamedBars(self._values, facts)


def _utc(instant: int) -> str:
    return f"{time_text(instant)} UTC"
