"""What a file of bars holds: the facts to look at before trusting a backtest on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.bars.columns import PRICES
from backtest_py.bars.timestamps import time_text
from backtest_py.bars.validation import BarsReport
from backtest_py.parameters import clock_text, counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.bars import Bars

__all__ = ["Gap", "Inspection", "SessionMonth", "inspect_bars"]

_MINUTE: Final = 60_000_000_000
_DAY: Final = 1440 * _MINUTE
_MOST_DECIMALS: Final = 10
_MOST_GAPS: Final = 10
_ADJUSTED_STEP: Final = 20
_ADJUSTED_BARS: Final = 500


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap: bars that are missing between two neighbours.

    Attributes
    ----------
    after, before : str
        When the bars on either side open, on the session's clock.
    missing : int
        How many bars would fit between them.
    """

    after: str
    before: str
    missing: int


@dataclass(frozen=True, slots=True)
class SessionMonth:
    """The sessions of one month.

    Attributes
    ----------
    month : str
        ``YYYY-MM``.
    days : int
        Days with a bar.
    bars : int
        Bars in the month.
    first, last : str
        When the first and the last bar of a day usually open, ``HH:MM``.
    late_starts, early_ends : int
        Days whose first bar opens later, or whose last bar opens earlier, than usual.
    """

    month: str
    days: int
    bars: int
    first: str
    last: str
    late_starts: int
    early_ends: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file of bars holds.

    Attributes
    ----------
    rows, days : int
        Bars and trading days.
    first, last : str
        When the first and the last bar open, on the session's clock.
    timezone, session_timezone : str
        The clocks; "" where times belong to no zone.
    interval_minutes : float or None
        The usual distance from bar to bar; None for a single bar.
    interval_share : float
        Share of the steps within days (between them, for daily bars) that have it.
    n_gaps, missing_bars : int
        Gaps within days, and between days where the market does not close; bars missing in them.
    largest_gaps : tuple of Gap
        The longest ten, longest first.
    sessions : tuple of SessionMonth
        First and last bar of the day by month.
    tick_size : float or None
        The largest step of which all prices are multiples; None where there is no decimal one.
    smallest_move : float or None
        The smallest distance between two prices of one bar.
    volume_kind : str
        ``volume``, ``ticks``, ``money`` or ``none``: which kind the volumes are.
    has_volume : bool
        Whether any volume is above zero.
    zero_volume_bars, flat_bars : int
        Bars without volume, where there is any; bars whose four prices are equal.
    trades_weekends : bool
        Whether the market trades seven days a week.
    weekend_days : int
        Saturdays and Sundays in the span; with none, the data cannot show whether they are traded.
    content_hash : str
        SHA-256 of the bars.
    source : BarsReport
        What the reader found and did.
    warnings : tuple of str
        What often points to a mistake.
    """

    rows: int
    days: int
    first: str
    last: str
    timezone: str
    session_timezone: str
    interval_minutes: float | None
    interval_share: float
    n_gaps: int
    missing_bars: int
    largest_gaps: tuple[Gap, ...]
    sessions: tuple[SessionMonth, ...]
    tick_size: float | None
    smallest_move: float | None
    volume_kind: str
    has_volume: bool
    zero_volume_bars: int
    flat_bars: int
    trades_weekends: bool
    weekend_days: int
    content_hash: str
    source: BarsReport
    warnings: tuple[str, ...]

    def to_mapping(self) -> dict[str, Any]:
        """Return names and values, ready for JSON."""
        # asdict cannot copy the report's read-only mapping
        rest = asdict(replace(self, source=BarsReport()))
        return rest | {"source": self.source.to_mapping()}


def inspect_bars(bars: Bars) -> Inspection:
    """Return what bars hold.

    Examples
    --------
    >>> from backtest_py.data import synthetic_bars
    >>> facts = inspect_bars(synthetic_bars(n_days=20))
    >>> facts.interval_minutes, facts.tick_size, facts.sessions[0].last
    (5.0, 5.0, '18:00')
    """
    interval, share = _interval(bars)
    missing = _missing(bars, interval)
    grid = _grid(bars)
    prices = np.stack([getattr(bars, name) for name in PRICES])
    return Inspection(
        rows=len(bars),
        days=int(bars.day[-1]) + 1,
        first=bars.time_text(0),
        last=bars.time_text(len(bars) - 1),
        timezone=bars.timezone,
        session_timezone=bars.session_timezone,
        interval_minutes=None if interval is None else interval / _MINUTE,
        interval_share=share,
        n_gaps=int(np.count_nonzero(missing)),
        missing_bars=int(missing.sum()),
        largest_gaps=_largest(bars, missing),
        sessions=_sessions(bars),
        tick_size=grid.tick_size,
        smallest_move=grid.smallest_move,
        volume_kind=bars.report.volume_kind,
        has_volume=bars.has_volume,
        zero_volume_bars=int(np.count_nonzero(bars.volume == 0)) if bars.has_volume else 0,
        flat_bars=int(np.count_nonzero((prices == prices[0]).all(axis=0))),
        trades_weekends=bars.trades_weekends,
        weekend_days=bars.weekend_days,
        content_hash=bars.content_hash,
        source=bars.report,
        warnings=(*bars.report.warnings, *_warnings(bars, grid)),
    )


def _interval(bars: Bars) -> tuple[int | None, float]:
    """Return the usual step between bars in nanoseconds, and its share of the steps."""
    steps = np.diff(bars.time)
    within = steps[bars.day[1:] == bars.day[:-1]]
    steps = within if within.size else steps
    if steps.size == 0:
        return None, 0.0
    values, counts = np.unique(steps, return_counts=True)
    usual = int(counts.argmax())
    return int(values[usual]), float(counts[usual] / steps.size)


def _missing(bars: Bars, interval: int | None) -> NDArray[np.int64]:
    """Return how many bars are missing before each bar from the second on.

    Steps are counted in intervals of the bars themselves. The night counts only where most days
    follow each other without a break; for daily bars, weekends count only where they are traded.
    """
    steps = np.diff(bars.time)
    if interval is None:
        return np.zeros(len(steps), np.int64)
    if interval >= _DAY:
        if interval == _DAY and not bars.trades_weekends:
            dates = (bars.wall // _DAY).astype("M8[D]")
            steps = np.busday_count(dates[:-1], dates[1:]) * _DAY
        return _more_than_one(steps, interval)
    overnight = bars.day[1:] != bars.day[:-1]
    missing = _more_than_one(steps, interval)
    if overnight.any() and 2 * np.count_nonzero(steps[overnight] <= interval) <= overnight.sum():
        missing[overnight] = 0
    return missing


def _more_than_one(steps: NDArray[np.int64], interval: int) -> NDArray[np.int64]:
    missing: NDArray[np.int64] = np.maximum(steps // interval - 1, 0)
    return missing


def _largest(bars: Bars, missing: NDArray[np.int64]) -> tuple[Gap, ...]:
    rows = np.argsort(-missing, kind="stable")[:_MOST_GAPS]
    return tuple(
        Gap(bars.time_text(row), bars.time_text(row + 1), int(missing[row]))
        for row in rows.tolist()
        if missing[row] > 0
    )


def _sessions(bars: Bars) -> tuple[SessionMonth, ...]:
    starts = np.flatnonzero(np.diff(bars.day, prepend=-1))
    ends = np.append(starts[1:], len(bars)) - 1
    opens, closes = bars.minute[starts], bars.minute[ends]
    months = bars.session_dates.astype("M8[M]")
    sessions = []
    for month in np.unique(months):
        here = months == month
        first, last = _usual(opens[here]), _usual(closes[here])
        sessions.append(
            SessionMonth(
                month=str(month),
                days=int(np.count_nonzero(here)),
                bars=int((ends[here] - starts[here] + 1).sum()),
                first=clock_text(first),
                last=clock_text(last),
                late_starts=int(np.count_nonzero(opens[here] > first)),
                early_ends=int(np.count_nonzero(closes[here] < last)),
            )
        )
    return tuple(sessions)


def _usual(minutes: NDArray[np.int32]) -> int:
    values, counts = np.unique(minutes, return_counts=True)
    return int(values[counts.argmax()])


@dataclass(frozen=True, slots=True)
class _Grid:
    """The tick size and smallest move of the prices, and an example of a price with noise."""

    tick_size: float | None = None
    smallest_move: float | None = None
    example_of_noise: float | None = None


def _grid(bars: Bars) -> _Grid:
    prices = np.stack([getattr(bars, name) for name in PRICES])
    for decimals in range(_MOST_DECIMALS + 1):
        scale = 10.0**decimals
        scaled = prices * scale
        ticks = np.rint(scaled)
        largest = float(np.abs(ticks).max())
        if largest > 2.0**53:
            break
        if np.abs(scaled - ticks).max() > max(1e-6, largest * 1e-15):
            continue
        # Both numbers are exact, so their quotient is the same double that a reader makes.
        noisy = ticks / scale != prices
        whole = ticks.astype(np.int64)
        size = int(np.gcd.reduce(whole, axis=None))
        moves = np.diff(np.sort(whole, axis=0), axis=0)
        moves = moves[moves > 0]
        return _Grid(
            size / scale if size else None,
            int(moves.min()) / scale if moves.size else None,
            float(prices[noisy][0]) if noisy.any() else None,
        )
    return _Grid()


def _warnings(bars: Bars, grid: _Grid) -> list[str]:
    warnings = []
    tick_size, smallest_move = grid.tick_size, grid.smallest_move
    if bars.trades_weekends:
        warnings.append(
            "the market trades on weekends: set metrics.periods_per_year to 365, not 252"
        )
    if tick_size is None and len(bars) >= _ADJUSTED_BARS:
        warnings.append(
            f"prices have more than {_MOST_DECIMALS} decimals, as computed series have: "
            "percentages are right, points and money are not those of the market"
        )
    if grid.example_of_noise is not None:
        warnings.append(
            f"some prices are off by rounding, such as {grid.example_of_noise!r}: they were "
            "computed, not quoted"
        )
    if (
        tick_size is not None
        and smallest_move is not None
        and len(bars) >= _ADJUSTED_BARS
        and smallest_move >= _ADJUSTED_STEP * tick_size
    ):
        warnings.append(
            f"no bar moves by less than {smallest_move:g}, yet prices are multiples of "
            f"{tick_size:g} alone, as those of a ratio-adjusted series are: percentages are right, "
            "points and money are not those of the market"
        )
    if not bars.has_volume:
        warnings.append("there is no volume: strategies that filter by volume are refused")
    long_time = int(np.count_nonzero(np.diff(bars.time) > 10 * _DAY))
    if long_time:
        row = int(np.diff(bars.time).argmax())
        warnings.append(
            f"nothing for more than ten days, {counted(long_time, 'time')}; the longest from "
            f"{time_text(int(bars.wall[row]))} to {time_text(int(bars.wall[row + 1]))}"
        )
    return warnings
