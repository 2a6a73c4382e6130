"""Bars: validated, immutable columns of prices, with the clocks of the market.

Everything an engine reads of the market is here, computed once: contiguous float64 columns, the
instant at which each bar opens, and the minute and trading day on the session's wall clock.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np

from backtest_py._forks import FreshLock
from backtest_py.bars.clocks import wall_clock
from backtest_py.bars.columns import PRICES, Columns, columns_from_arrays, columns_from_frame
from backtest_py.bars.hashing import HASHED, ContentHash, hash_of_version_1
from backtest_py.bars.options import ReadOptions
from backtest_py.bars.ranges import edges, first_at
from backtest_py.bars.showing import bars_card
from backtest_py.bars.timestamps import as_times, time_text
from backtest_py.bars.validation import BarsReport, settle
from backtest_py.errors import BacktestWarning, ConfigError, DataError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from datetime import date, datetime

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Bars",
    "BarsReport",
    "ReadOptions",
    "build_bars",
    "edges",
    "first_at",
    "read_only",
    "warn_of",
]

_T = TypeVar("_T")
_ArrayT = TypeVar("_ArrayT", bound="NDArray[Any]")
_DAY: Final = 86_400_000_000_000


class _Cell:
    """One remembered value, and the lock that lets one thread compute it."""

    __slots__ = ("lock", "ready", "value")

    def __init__(self) -> None:
        self.lock = FreshLock()
        self.ready = False
        self.value: Any = None


class Bars:
    """Immutable, validated bars.

    Parameters
    ----------
    time : array-like, shape (n_bars,)
        When each bar opens. Datetimes and texts without a zone are read on the clock
        ``timezone``; those with a zone, and int64 nanoseconds since 1970, are instants, for which
        ``timezone`` is ignored, and refused where it contradicts a zone with a name. Integers
        that all lie within three years of 1970 are refused: they count seconds, milliseconds or
        microseconds.
    open, high, low, close : array-like of float, shape (n_bars,)
        Prices, finite.
    volume : array-like of float, shape (n_bars,), optional
        What traded, finite and at least 0. Without it, volume is 0 and ``has_volume`` False.
    atr : array-like of float, shape (n_bars,), optional
        An average true range that comes with the data; nan where undefined.
    timezone : str
        IANA name of the clock of ``time``. With both clocks empty, times are taken as they are.
    session_timezone : str
        IANA name of the clock of ``minute`` and ``day``; "" is ``timezone``, and for instants the
        zone that ``time`` carries, or UTC where it has no name.
    empty : {"refuse", "drop"}
        What to do with a bar in which nothing traded: all prices nan, volume 0.
    ambiguous : {"infer", "earlier", "later", "refuse"}
        Which instant a wall clock time is that occurs twice; ``infer`` takes the earlier, unless
        that is not after the bar before it.
    nonexistent : {"refuse", "shift_forward"}
        What to do with a wall clock time that never occurs.

    Attributes
    ----------
    time : ndarray of int64, shape (n_bars,)
        Nanoseconds since 1970, UTC; where ``is_naive``, of a clock without a zone.
    open, high, low, close, volume : ndarray of float64, shape (n_bars,)
        The columns, contiguous and read-only; a zero is ``+0.0``.
    minute : ndarray of int32, shape (n_bars,)
        Minute of the day on the session's clock, 0 to 1439.
    day : ndarray of int32, shape (n_bars,)
        Number of the trading day, from 0.
    atr_column : ndarray of float64, shape (n_bars,), or None
        The column ``atr`` of the data.
    timezone, session_timezone : str
        The clocks that hold: ``timezone`` is "UTC" for instants; both are "" where ``is_naive``.
    report : BarsReport
        Where the bars came from and what was done to them.

    Raises
    ------
    DataError
        If a rule is broken; the message names the rule, the first row and the count.
    ConfigError
        If a zone or a choice is unknown.

    Warns
    -----
    BacktestWarning
        If times carry offsets but no zone, and no ``session_timezone`` is given.

    Examples
    --------
    >>> bars = Bars(
    ...     ["2024-01-02 09:00", "2024-01-02 09:05"],
    ...     open=[100.0, 101.0], high=[102.0, 101.5], low=[99.0, 100.0], close=[101.0, 100.5],
    ...     volume=[12, 7],
    ... )
    >>> len(bars), bars.minute.tolist(), bars.is_naive
    (2, [540, 545], True)
    """

    __slots__ = (
        "__weakref__",
        "_memo",
        "atr_column",
        "close",
        "day",
        "has_volume",
        "high",
        "low",
        "minute",
        "open",
        "report",
        "session_timezone",
        "time",
        "timezone",
        "volume",
    )

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    minute: NDArray[np.int32]
    day: NDArray[np.int32]
    atr_column: NDArray[np.float64] | None
    has_volume: bool
    timezone: str
    session_timezone: str
    report: BarsReport
    _memo: dict[Hashable, _Cell]

    def __init__(
        self,
        time: Any,
        open: ArrayLike,  # noqa: A002 - the column's name
        high: ArrayLike,
        low: ArrayLike,
        close: ArrayLike,
        volume: ArrayLike | None = None,
        *,
        atr: ArrayLike | None = None,
        timezone: str = "",
        session_timezone: str = "",
        empty: str = "refuse",
        ambiguous: str = "infer",
        nonexistent: str = "refuse",
    ) -> None:
        options = ReadOptions(
            timezone=timezone,
            session_timezone=session_timezone,
            empty=empty,
            ambiguous=ambiguous,
            nonexistent=nonexistent,
        )
        columns = columns_from_arrays(
            as_times(time, lambda row: f"bars.time[{row}]"),
            {"open": open, "high": high, "low": low, "close": close, "volume": volume, "atr": atr},
        )
        report = BarsReport(
            rows_read=len(columns), volume_kind="none" if volume is None else "volume"
        )
        self._fill(settle(columns, options, report))
        warn_of(self.report)

    def _fill(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            kept = read_only(value) if isinstance(value, np.ndarray) else value
            object.__setattr__(self, name, kept)
        object.__setattr__(self, "_memo", {})

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: bars do not change."""
        raise AttributeError(f"bars.{name} cannot be set: bars are immutable; build new ones")

    def __delattr__(self, name: str) -> None:
        """Refuse: bars do not change."""
        raise AttributeError(f"bars.{name} cannot be deleted: bars are immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        """Hand worker processes the columns, without what was remembered."""
        return _restore, (self._values(),)

    def _values(self) -> dict[str, Any]:
        skipped = {"__weakref__", "_memo"}
        return {name: getattr(self, name) for name in self.__slots__ if name not in skipped}

    @staticmethod
    def from_frame(
        frame: pd.DataFrame,
        *,
        timezone: str = "",
        session_timezone: str = "",
        empty: str = "refuse",
        dayfirst: bool = False,
        ambiguous: str = "infer",
        nonexistent: str = "refuse",
    ) -> Bars:
        """Build bars from a pandas DataFrame.

        Parameters
        ----------
        frame : DataFrame
            Columns ``open``, ``high``, ``low``, ``close`` and, where there are any, ``volume`` and
            ``atr``, under these or other usual names; the time is a column, or the index. Whole
            numbers as time count from 1970 in a unit that their size tells.
        timezone, session_timezone, empty, ambiguous, nonexistent : str
            As for :class:`Bars`.
        dayfirst : bool
            Whether dates that are texts, such as 01/02/2023, start with the day. Without it they
            are read where a row of the column settles the question, else refused.

        Raises
        ------
        ConfigError
            If it is not a pandas DataFrame.
        DataError
            If a column is missing or a rule is broken. Rows are never sorted here.

        Warns
        -----
        BacktestWarning
            As :class:`Bars`.

        Examples
        --------
        >>> import pandas as pd
        >>> frame = pd.DataFrame(
        ...     {"Open": [1.0], "High": [2.0], "Low": [0.5], "Close": [1.5]},
        ...     index=pd.DatetimeIndex(["2024-01-02 09:00"]),
        ... )
        >>> len(Bars.from_frame(frame))
        1
        """
        options = ReadOptions(
            timezone=timezone,
            session_timezone=session_timezone,
            empty=empty,
            dayfirst=dayfirst,
            ambiguous=ambiguous,
            nonexistent=nonexistent,
        )
        columns, names, ignored, kind = columns_from_frame(frame, dayfirst=options.dayfirst)
        report = BarsReport(
            format="frame",
            rows_read=len(columns),
            volume_kind=kind,
            columns=names,
            ignored=ignored,
        )
        bars = build_bars(columns, options, report)
        warn_of(bars.report)
        return bars

    @property
    def is_naive(self) -> bool:
        """Whether times belong to no zone: neither clock is named and the data carries none."""
        return not self.session_timezone

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: slice) -> Bars:
        """Return the bars of a slice without a step; days are numbered from 0 again."""
        if not isinstance(rows, slice) or rows.step not in {None, 1}:
            raise TypeError("bars[...] takes a slice without a step, such as bars[100:200]")
        start, stop, _ = rows.indices(len(self))
        if start >= stop:
            raise DataError(f"bars[{start}:{stop}] holds no bar; there are {len(self)}")
        values = {
            name: getattr(self, name)[start:stop]
            for name in ("time", *PRICES, "volume", "minute", "day")
        }
        values["day"] = values["day"] - values["day"][0]
        values["atr_column"] = None if self.atr_column is None else self.atr_column[start:stop]
        values["has_volume"] = bool(values["volume"].any())
        for name in ("timezone", "session_timezone", "report"):
            values[name] = getattr(self, name)
        return _restore(values)

    def reported(self, report: BarsReport) -> Bars:
        """Return the same bars with another report."""
        return _restore({**self._values(), "report": report})

    def with_prices(
        self, prices: Sequence[NDArray[np.float64]], volume: Any, atr: Any = None
    ) -> Bars:
        """Return bars of the same times with other columns, which are not checked."""
        kept = ("time", "minute", "day", "has_volume", "timezone", "session_timezone", "report")
        values = {name: getattr(self, name) for name in kept}
        values |= zip(PRICES, prices, strict=True)
        return _restore({**values, "volume": volume, "atr_column": atr})

    def __repr__(self) -> str:
        clock = self.session_timezone or "no zone"
        market = self.report.market and f"{self.report.market}, "
        return (
            f"Bars({market}{counted(len(self), 'bar')}, {self.time_text(0)} to "
            f"{self.time_text(len(self) - 1)}, {counted(int(self.day[-1]) + 1, 'day')}, {clock})"
        )

    _repr_html_ = bars_card

    def time_text(self, row: int) -> str:
        """Return when a bar opens on the session's clock, as text."""
        return time_text(int(self.wall_at(np.array([row]))[0]))

    def times_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when the bars of these rows open, as :attr:`time` says."""
        return self.time[rows]

    def wall_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when the bars of these rows open on the session's wall clock."""
        return wall_clock(self.times_at(rows), self.session_timezone)

    @property
    def wall(self) -> NDArray[np.int64]:
        """Session's wall clock, int64 nanoseconds, shape (n_bars,)."""
        return self.remember("wall", lambda: wall_clock(self.time, self.session_timezone))

    @property
    def session_dates(self) -> NDArray[np.datetime64]:
        """Calendar date of every trading day, datetime64[D], shape (n_days,)."""
        return self.remember("session_dates", self._session_dates)

    def _session_dates(self) -> NDArray[np.datetime64]:
        starts = np.flatnonzero(np.diff(self.day, prepend=-1))
        return (self.wall[starts] // _DAY).astype("M8[D]")

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that can reach a result: columns, times and clocks."""
        return self.remember("content_hash", self._content_hash)

    def _content_hash(self) -> str:
        content = ContentHash()
        content.update(self._hashed())
        return content.hexdigest(self.timezone, self.session_timezone)

    def has_hash(self, expected: str) -> bool:
        """Return whether this is the :attr:`content_hash`, or what it was in version 0.1.0."""
        if expected == self.content_hash:
            return True
        return expected == hash_of_version_1(self._hashed(), self.timezone, self.session_timezone)

    def _hashed(self) -> dict[str, NDArray[Any] | None]:
        return {name: getattr(self, name) for name in HASHED}

    def remember(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """Return what ``compute`` gave when it was first called for this key.

        Threads that ask for the same key wait for one computation; other keys do not wait. An
        array that is remembered becomes read-only.

        Examples
        --------
        >>> from backtest_py.data import synthetic_bars
        >>> bars = synthetic_bars(n_days=1)
        >>> bars.remember("highest", lambda: float(bars.high.max())) == float(bars.high.max())
        True
        """
        cell = self._memo.get(key)
        if cell is None:
            cell = self._memo.setdefault(key, _Cell())  # atomic: all threads get the same cell
        if not cell.ready:
            with cell.lock:
                if not cell.ready:
                    value = compute()
                    kept = read_only(value) if isinstance(value, np.ndarray) else value
                    cell.value, cell.ready = kept, True
        return cast("_T", cell.value)

    def bounds(
        self,
        start: str | date | datetime | None = None,
        end: str | date | datetime | None = None,
    ) -> tuple[int, int]:
        """Return ``(first, last)``: the bars at or after start and before end.

        Parameters
        ----------
        start, end : str, date, datetime or None
            On the session's wall clock; a date alone is 00:00, None or "" is open.

        Returns
        -------
        first, last : int
            The first bars at or after start and end; 0 and ``len(bars)`` where there is none.

        Raises
        ------
        ConfigError
            If one is not a time, carries a zone, start lies after end, or no bar is left.
        """
        low, high = edges(start, end)
        first = first_at(self.wall, low) if low is not None else 0
        last = first_at(self.wall, high) if high is not None else len(self)
        self.check_span(first, last, start, end)
        return first, last

    def check_span(self, first: int, last: int, start: object, end: object) -> None:
        """Refuse a range from start to end in which there is no bar.

        Raises
        ------
        ConfigError
            If there is none.
        """
        if first >= last:
            raise ConfigError(
                f"the range from {start or 'the first bar'} to {end or 'the last bar'} holds no "
                f"bar; the bars run from {self.time_text(0)} to {self.time_text(len(self) - 1)}"
            )

    def off_grid_share(self, tick_size: float) -> float:
        """Return the share of prices, 0 to 1, that are not multiples of the tick.

        Prices within a millionth of a tick, or the rounding of a double, count as on the grid.
        """
        return self.off_grid(tick_size) / (4 * len(self))

    def off_grid(self, tick_size: float) -> int:
        """Return how many prices are not multiples of the tick, see :meth:`off_grid_share`."""
        return self.remember(("off_grid", tick_size), lambda: self._off_grid(tick_size))

    def _off_grid(self, tick_size: float) -> int:
        off = 0
        for name in PRICES:
            # a price of more ticks than a double can count is infinite here, and off the grid
            with np.errstate(over="ignore", invalid="ignore"):
                ticks = getattr(self, name) / tick_size
                slack = np.maximum(1e-6, np.abs(ticks) * 1e-15)
                on_grid = np.abs(ticks - np.rint(ticks)) <= slack
            off += len(self) - int(np.count_nonzero(on_grid))
        return off

    def resample(
        self,
        interval: str,
        *,
        origin: str = "midnight",
        incomplete: str = "drop",
        label: str = "open",
        closed: str = "left",
        source: str = "",
    ) -> Bars:
        """Return coarser bars, none of which crosses a trading day; gaps are not filled.

        Parameters
        ----------
        interval : str
            Length, such as "15m", "4h" or "1d": a multiple of that of the bars.
        origin : str
            Where each day's bars start: "midnight" of the session's clock, "session" (the day's
            first bar), or a time of day such as "09:00".
        incomplete : {"drop", "keep"}
            What becomes of a last bar that ends after the last bar it is made of.
        label, closed : {"open"}, {"left"}
            A bar carries the time at which it opens, and takes the bars that open from then on,
            and before it ends; nothing else is no look-ahead, and is refused.
        source : str
            Length of these bars; "" is ``report.interval``, or else their smallest step in a day.

        Raises
        ------
        ConfigError
            If a choice is unknown, the interval is not a multiple of the bars' own, does not
            divide the day (with "midnight"), or bars lie across the edge of a coarser one.
        DataError
            If no bar is complete.

        Examples
        --------
        >>> from backtest_py.data import synthetic_bars
        >>> bars = synthetic_bars(n_days=1).resample("15m")
        >>> bars.time_text(1), bars.report.interval
        ('2019-01-02 09:15', '15m')
        """
        from backtest_py.bars.resampling import Resampling, resampled  # noqa: PLC0415 - seldom used

        rule = Resampling(interval, source, origin, incomplete, label, closed)
        values = {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}
        return _restore(resampled(values, self.wall, rule))

    @property
    def trades_weekends(self) -> bool:
        """Whether most weekend days in the span have bars: a market of seven days a week."""
        return self.remember("trades_weekends", self._trades_weekends)

    def _trades_weekends(self) -> bool:
        traded = np.unique(self.session_dates)
        return 2 * int(np.count_nonzero(~np.is_busday(traded))) > self.weekend_days

    @property
    def weekend_days(self) -> int:
        """Saturdays and Sundays from the first day to the last, traded or not."""
        dates = self.session_dates
        span = int((dates[-1] - dates[0]).astype(np.int64)) + 1
        return span - int(np.busday_count(dates[0], dates[-1] + 1))

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame of the columns, indexed by time: UTC, or without a zone.

        Examples
        --------
        >>> from backtest_py.data import synthetic_bars
        >>> synthetic_bars(n_days=1).to_frame().columns.tolist()
        ['open', 'high', 'low', 'close', 'volume']
        """
        import pandas as pd  # noqa: PLC0415 - heavy, and seldom needed

        index = pd.DatetimeIndex(self.time.view("M8[ns]"), name="time")
        names = {name: getattr(self, name) for name in (*PRICES, "volume")}
        if self.atr_column is not None:
            names["atr"] = self.atr_column
        return pd.DataFrame(names, index=index if self.is_naive else index.tz_localize("UTC"))


def read_only(array: _ArrayT) -> _ArrayT:
    """Return a view that cannot be made writeable again, because the array itself is frozen.

    Examples
    --------
    >>> import numpy as np
    >>> read_only(np.zeros(3)).flags.writeable = True
    Traceback (most recent call last):
    ValueError: cannot set WRITEABLE flag to True of this array
    """
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner.flags.writeable = False
        owner = owner.base
    return array.view()


def _restore(values: dict[str, Any]) -> Bars:
    """Make bars of columns that were validated before."""
    bars = Bars.__new__(Bars)
    bars._fill(values)  # noqa: SLF001 - a second constructor
    return bars


def build_bars(
    columns: Columns,
    options: ReadOptions,
    report: BarsReport,
    *,
    identical: str = "refuse",
    owned: bool = False,
    known: int | None = None,
) -> Bars:
    """Validate columns that a reader made, oldest first, and return them as bars.

    With ``identical="drop"`` rows that repeat the one before them are dropped and counted. Columns
    that nobody else holds, ``owned``, are not copied. ``known`` is the instant of the first row
    where rows before it, which are not given, have settled that.

    Raises
    ------
    DataError
        If a rule of valid bars is broken.
    """
    return _restore(settle(columns, options, report, identical=identical, owned=owned, known=known))


def warn_of(report: BarsReport) -> None:
    """Issue the warnings of a report on behalf of the caller's caller."""
    for text in report.warnings:
        warnings.warn(text, BacktestWarning, stacklevel=3)
