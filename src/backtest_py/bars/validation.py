"""The rules of valid bars, and the only way from columns as they were read to bars.

Arrays, frames and every kind of file pass through :func:`settle`, so that all of them are held to
the same rules and refused in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.bars.clocks import (
    check_repeats,
    minutes_and_days,
    resolve_clocks,
    to_instants,
    wall_clock,
)
from backtest_py.bars.columns import PRICES, Columns
from backtest_py.bars.timestamps import time_text
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.bars.options import ReadOptions
    from backtest_py.bars.timestamps import Times

__all__ = [
    "BarsReport",
    "empty_rows",
    "market_title",
    "nothing_traded",
    "settle",
    "settled",
    "without_identical",
]

_LONGEST: Final = np.iinfo(np.int64).max


_MAPPINGS: Final = ("columns", "arguments")


@dataclass(frozen=True, slots=True)
class BarsReport:
    """Where bars came from and what was done to them on the way.

    Attributes
    ----------
    source : str
        Name of the file or of the exchange, or "".
    path : str or tuple of str
        The path of the file as it was given, of each where there are several, or "".
    format : str
        ``csv``, ``mt5``, ``profit``, ``parquet``, ``feather``, ``frame``, ``arrays`` or ``feed``.
    encoding : str
        Encoding of a text file.
    rows_read : int
        Rows of the source, before any was dropped.
    newest_first : bool
        Whether the source ran backwards and was turned round.
    identical_dropped, empty_dropped : int
        Rows that repeated the row before them; rows in which nothing traded.
    volume_kind : str
        ``volume`` (units, such as contracts), ``ticks`` (ticks or trades), ``money`` or ``none``.
    columns : mapping of str to str
        The source's name of each column that was used.
    arguments : mapping of str to object
        Arguments of :func:`backtest_py.load_bars` that read the file again, its path in full; or
        ``source``, ``symbol`` and ``interval`` of an exchange. None where there is no way back.
    ignored : tuple of str
        Columns that were not used.
    notes, warnings : tuple of str
        What is worth knowing, and what often means a mistake.
    symbol, interval : str
        What was traded, and how long a bar is, such as "BTCUSDT" and "4h"; "" where not known.
    certificate : str
        SHA-256 of the certificate of the candles that the bars were made of, or "".
    """

    source: str = ""
    path: str | tuple[str, ...] = ""
    format: str = "arrays"
    encoding: str = ""
    rows_read: int = 0
    newest_first: bool = False
    identical_dropped: int = 0
    empty_dropped: int = 0
    volume_kind: str = "none"
    columns: Mapping[str, str] | None = None
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    arguments: Mapping[str, Any] | None = None
    symbol: str = ""
    interval: str = ""
    certificate: str = ""

    def __post_init__(self) -> None:
        """Keep read-only copies of the mappings."""
        for name in _MAPPINGS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, MappingProxyType(dict(value)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as names and values: a read-only mapping cannot be pickled."""
        return _report, (self.to_mapping(),)

    @property
    def market(self) -> str:
        """Symbol and interval with the exchange, "" where no symbol is known.

        Examples
        --------
        >>> BarsReport(symbol="BTCUSDT", interval="4h", source="binance").market
        'BTCUSDT 4h (binance)'
        """
        return market_title(self.symbol, self.interval, self.source)

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values, ready for JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        copies = {name: dict(values[name]) for name in _MAPPINGS if values[name] is not None}
        return values | copies


def market_title(symbol: str, interval: str, source: str) -> str:
    """Return what to call a market in titles, "" where no symbol is known."""
    if not symbol:
        return ""
    return f"{symbol}{interval and f' {interval}'}{source and f' ({source})'}"


def _report(values: dict[str, Any]) -> BarsReport:
    return BarsReport(**values)


def settle(
    columns: Columns,
    options: ReadOptions,
    report: BarsReport,
    *,
    identical: str = "refuse",
    owned: bool = False,
    known: int | None = None,
) -> dict[str, Any]:
    """Return the attributes of valid bars, or refuse the columns.

    Parameters
    ----------
    columns : Columns
        Rows, oldest first.
    options : ReadOptions
        The clocks of the file and of the session, and what becomes of empty rows.
    report : BarsReport
        What is known of the source; counts of dropped rows are added.
    identical : {"refuse", "drop"}
        What to do with rows that repeat the one before them.
    owned : bool
        Whether nobody else holds the columns, contiguous float64: then they are not copied.
    known : int, optional
        The instant of the first row, where the rows before it have settled that.

    Raises
    ------
    DataError
        If there is no row, or a rule is broken.
    """
    return settled(columns, options, report, identical=identical, owned=owned, known=known)[0]


def settled(
    columns: Columns,
    options: ReadOptions,
    report: BarsReport,
    *,
    identical: str = "refuse",
    owned: bool = False,
    known: int | None = None,
) -> tuple[dict[str, Any], Columns]:
    """Return what :func:`settle` does, and the rows that were kept, which errors can name."""
    if len(columns) == 0:
        raise DataError(f"{report.source or 'bars'}: there is no bar; at least one is needed")
    n_identical = 0
    if identical == "drop":  # first, or a repeated row would be taken for the hour's repetition
        columns, n_identical = without_identical(columns, options)
    # Clocks come before empty rows are dropped: which of two instants a time is depends on the row
    # before it, on an empty one too.
    instants = to_instants(options, columns.times, columns.time_at, known)
    columns, instants, n_empty = _without_empty(columns, instants, options.empty)
    _check_prices(columns)
    _check_volume_and_atr(columns)
    _check_time(columns, instants)
    timezone, session_timezone = resolve_clocks(options, columns.times, columns.time_at)
    wall = wall_clock(instants, session_timezone, columns.time_at)
    minute, day = minutes_and_days(wall)
    # Adding 0.0 makes a private copy of the column, unless it is one, and turns -0.0 into +0.0.
    prices = {}
    for name in (*PRICES, "volume"):
        values = getattr(columns, name)
        prices[name] = np.add(values, 0.0, out=values if owned else None)
    attributes = {
        "time": instants if owned else instants.copy(),
        **prices,
        "minute": minute,
        "day": day,
        "atr_column": None if columns.atr is None else columns.atr + 0.0,
        "has_volume": bool(prices["volume"].any()),
        "timezone": timezone,
        "session_timezone": session_timezone,
        "report": replace(
            report,
            identical_dropped=n_identical,
            empty_dropped=n_empty,
            notes=(*report.notes, *columns.times.notes, *_clock_notes(columns.times, options)),
            warnings=(*report.warnings, *_clock_warnings(columns, options)),
        ),
    }
    return attributes, columns


def _clock_notes(times: Times, options: ReadOptions) -> tuple[str, ...]:
    """Note which clock the session uses where times carry a zone and none was asked for."""
    if not times.has_zone or times.offset or options.session_timezone:
        return ()
    if times.zone not in {"", "UTC"}:
        note = (
            f"times carry the zone {times.zone} and session_timezone is empty: minutes and days "
            "are those of its clock"
        )
    else:
        ignored = f"timezone = {options.timezone!r} is not used, " if options.timezone else ""
        note = (
            f"times are instants, {ignored}and session_timezone is empty: minutes and days are "
            "those of UTC; name the market's clock in session_timezone"
        )
    return (note,)


def _clock_warnings(columns: Columns, options: ReadOptions) -> tuple[str, ...]:
    """Warn of a session in UTC where the times themselves were written on another clock."""
    if not columns.times.offset or options.session_timezone:
        return ()
    warning = (
        f"{columns.time_at(0)} and others carry an offset from UTC but no zone, so the session's "
        "clock is UTC: days, entry windows, close_time and ranges go by it; name the market's "
        'clock, as in session_timezone = "America/Sao_Paulo" (or "UTC", if that is meant)'
    )
    return (warning,)


def _broken(
    columns: Columns, broken: NDArray[np.bool_], column: str, says: str, rule: str
) -> DataError:
    """Build the error that names the value, the rule, the first row and the count."""
    row = int(broken.argmax())
    value = float(getattr(columns, column)[row])
    return DataError(
        f"{columns.at(column, row)} = {value!r} {says} (at "
        f"{time_text(int(columns.times.ns[row]))}; {np.count_nonzero(broken):,} of "
        f"{len(columns):,} bars break the rule '{rule}'); correct the source"
    )


def empty_rows(columns: Columns) -> NDArray[np.bool_]:
    """Return in which rows nothing traded: all prices nan, volume 0."""
    gaps = np.isnan(columns.open)
    if gaps.any():
        gaps &= np.isnan(columns.high) & np.isnan(columns.low) & np.isnan(columns.close)
        gaps &= columns.volume == 0
    return gaps


def _without_empty(
    columns: Columns, instants: NDArray[np.int64], empty: str
) -> tuple[Columns, NDArray[np.int64], int]:
    """Drop or refuse bars in which nothing traded: all prices nan, volume 0."""
    gaps = empty_rows(columns)
    n_gaps = int(np.count_nonzero(gaps))
    if n_gaps == 0:
        return columns, instants, 0
    if empty == "refuse":
        row = int(gaps.argmax())
        raise DataError(
            f"{columns.at('open', row)} = nan: nothing traded in this bar (at "
            f"{time_text(int(columns.times.ns[row]))}; {n_gaps:,} of {len(columns):,} bars break "
            "the rule 'all prices are finite', with four prices nan and volume 0); choose "
            'empty = "drop" to leave such bars out'
        )
    if n_gaps == len(columns):
        raise nothing_traded(columns.at("open", 0), n_gaps)
    return columns.take(~gaps), instants[~gaps], n_gaps


def nothing_traded(first: str, n_bars: int) -> DataError:
    """Build the error for a source all of whose bars are empty."""
    return DataError(
        f"{first} = nan: nothing traded in any of the {n_bars:,} bars; no bar is left to test on"
    )


def _check_prices(columns: Columns) -> None:
    low, high = columns.low, columns.high
    # One pass for the usual case: nan fails every comparison, and between finite extremes
    # open and close are finite.
    valid = (low <= columns.open) & (low <= columns.close)
    valid &= (high >= columns.open) & (high >= columns.close)
    valid &= np.isfinite(low) & np.isfinite(high)
    if valid.all():
        return
    infinite = {name: ~np.isfinite(getattr(columns, name)) for name in PRICES}
    anywhere = np.logical_or.reduce(list(infinite.values()))
    if anywhere.any():
        first = int(anywhere.argmax())
        name = next(name for name in PRICES if infinite[name][first])
        raise _broken(columns, anywhere, name, "is no price", "all prices are finite")
    row = int((~valid).argmax())
    rules = (
        ("high", "low", high < low, "is below", "high >= low"),
        ("low", "open", low > columns.open, "is above", "low <= min(open, close)"),
        ("low", "close", low > columns.close, "is above", "low <= min(open, close)"),
        ("high", "open", high < columns.open, "is below", "high >= max(open, close)"),
        ("high", "close", high < columns.close, "is below", "high >= max(open, close)"),
    )
    for name, other, broken, says, rule in rules:
        if broken[row]:
            value = float(getattr(columns, other)[row])
            raise _broken(columns, broken, name, f"{says} {other} = {value!r}", rule)


def _check_volume_and_atr(columns: Columns) -> None:
    volume = columns.volume
    broken = ~(np.isfinite(volume) & (volume >= 0))
    if broken.any():
        raise _broken(columns, broken, "volume", "is no volume", "volume is finite and >= 0")
    if columns.atr is not None:
        broken = (columns.atr < 0) | np.isinf(columns.atr)
        if broken.any():
            raise _broken(
                columns, broken, "atr", "is no true range", "atr is nan, or finite and >= 0"
            )


def without_identical(columns: Columns, options: ReadOptions) -> tuple[Columns, int]:
    """Drop rows that repeat the time, as it is written, and all values of the row before."""
    same = columns.times.ns[1:] == columns.times.ns[:-1]
    if not same.any():
        return columns, 0
    for name in (*PRICES, "volume", "atr"):
        values = getattr(columns, name)
        if values is not None:
            same &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    repeats = np.append([False], same)
    check_repeats(options, columns.times, repeats, columns.time_at)
    return columns.take(~repeats), int(np.count_nonzero(repeats))


def _check_time(columns: Columns, instants: NDArray[np.int64]) -> None:
    broken = instants[1:] <= instants[:-1]
    if not broken.any():
        if int(instants[-1]) - int(instants[0]) > _LONGEST:
            raise DataError(
                f"{columns.at('time', len(columns) - 1)} = {time_text(int(instants[-1]))} lies "
                f"more than 292 years after {columns.at('time', 0)} = "
                f"{time_text(int(instants[0]))}, longer than nanoseconds can count; split the bars"
            )
        return
    row = int(broken.argmax()) + 1
    repeated = instants[row] == instants[row - 1]
    here, before = (time_text(int(columns.times.ns[i])) for i in (row, row - 1))
    n_broken = int(np.count_nonzero(broken))
    share = f"{n_broken:,} of {len(columns):,} bars break the rule 'time strictly increases'"
    if repeated and here != before:
        raise DataError(
            f"{columns.at('time', row)} = {here} is the same instant as the bar above it, at "
            f"{before} ({share}); remove one of the rows, or name the clock that wrote the times "
            "in timezone"
        )
    if repeated:
        raise DataError(
            f"{columns.at('time', row)} = {here} is the time of the bar before it as well: one "
            f"time with two rows ({share}); keep one row for each time"
        )
    raise DataError(
        f"{columns.at('time', row)} = {here} lies before the bar above it, at {before} ({share}); "
        "sort the rows by time, or check the clock"
    )
