"""Synthetic bars for the demo, the tests and the benchmarks.

All choices come from splitmix64 and prices move by whole ticks, so that the same arguments give
the same bytes on every platform and with every version of NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py._io.random_numbers import splitmix64
from backtest_py.bars import Bars
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["synthetic_bars"]

_ELEPHANT_ONE_IN: Final = 48
_FLAT_ONE_IN: Final = 256
_START_TICKS: Final = 24_000
_LOWEST_TICKS: Final = 8_000
_HIGHEST_TICKS: Final = 72_000


def _one_in(numbers: NDArray[np.uint64], one_in: int) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = numbers % np.uint64(one_in) == 0
    return chosen


def _between(numbers: NDArray[np.uint64], low: int, high: int) -> NDArray[np.int64]:
    """Return integers from low to high, both included."""
    return (numbers % np.uint64(high - low + 1)).astype(np.int64) + low


def _bell(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return integers around 0 with a variance of 16: how many of 64 bits are set, less 32."""
    return np.bitwise_count(numbers).astype(np.int64) - 32


def _activity(bars_per_day: int) -> NDArray[np.int64]:
    """Return how busy each bar of the day is, in sixteenths: high, low at midday, higher."""
    place = np.arange(bars_per_day, dtype=np.int64)
    from_middle = np.abs(2 * place - (bars_per_day - 1))
    return 8 + 24 * from_middle * from_middle // max(1, (bars_per_day - 1) ** 2)


def _reflect(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep a walk between its bounds by folding it back, so that no step gets longer."""
    span = _HIGHEST_TICKS - _LOWEST_TICKS
    place = np.mod(ticks - _LOWEST_TICKS, 2 * span)
    return _LOWEST_TICKS + np.where(place > span, 2 * span - place, place)


def _price(ticks: NDArray[np.int64], tick_size: float) -> NDArray[np.float64]:
    """Return the price of a tick number, exact in decimal where the tick has an exact inverse."""
    per_point = round(1 / tick_size)
    if per_point >= 1 and 1.0 / per_point == tick_size:
        return ticks / np.float64(per_point)
    return ticks * np.float64(tick_size)


def synthetic_bars(
    *,
    n_days: int = 250,
    bars_per_day: int = 109,
    start: str = "2019-01-02",
    first_minute: int = 540,
    interval_minutes: int = 5,
    tick_size: float = 5.0,
    seed: int = 1,
    timezone: str = "",
) -> Bars:
    """Make bars that look like those of an index future: the same bytes everywhere.

    Prices walk in whole ticks between 8,000 and 72,000 of them. Bars are busier at the open and
    the close than at midday, jump overnight, are now and then flat, and about one in 48 is an
    elephant: several times as large as its neighbours, on several times the volume.

    Parameters
    ----------
    n_days : int
        Trading days, Monday to Friday, at least 1.
    bars_per_day : int
        Bars of each day, at least 1; the day must end by midnight.
    start : str
        First date, ``YYYY-MM-DD``; a weekend moves to the Monday after it.
    first_minute, interval_minutes : int
        Minute of the day at which the first bar opens, and minutes from bar to bar.
    tick_size : float
        Points per tick.
    seed : int
        Another seed, another market.
    timezone : str
        Zone of the clock, or "" for none.

    Returns
    -------
    Bars
        ``n_days * bars_per_day`` bars.

    Raises
    ------
    ConfigError
        If the day does not fit, or a number is out of range.

    Examples
    --------
    >>> bars = synthetic_bars(n_days=2)
    >>> len(bars), bars.time_text(0), float(bars.open[0])
    (218, '2019-01-02 09:00', 120000.0)
    """
    _check(n_days, bars_per_day, first_minute, interval_minutes, tick_size)
    n_bars = n_days * bars_per_day
    busy = np.tile(_activity(bars_per_day), n_days)
    body, wicks, kind, amount, gap = (splitmix64(seed, stream, n_bars) for stream in range(1, 6))

    elephant = _one_in(kind, _ELEPHANT_ONE_IN)
    flat = _one_in(kind >> np.uint64(32), _FLAT_ONE_IN) & ~elephant
    # Truncating division, so that the walk has no drift from rounding downwards.
    moves = np.trunc(_bell(body) * busy / 16).astype(np.int64)
    direction = np.where(moves < 0, -1, 1)
    moves = np.where(elephant, direction * _between(amount >> np.uint64(32), 18, 40), moves)
    moves[flat] = 0
    jumps = _between(gap, -1, 1)
    opening = np.arange(n_days) * bars_per_day
    jumps[opening] = 6 * _bell(gap[opening])
    jumps[0] = 0

    walk = _START_TICKS + np.cumsum(moves + jumps)
    close_ticks, open_ticks = _reflect(walk), _reflect(walk - moves)
    most = np.where(elephant, 3, 1 + busy // 4)
    upper = (wicks % np.uint64(1 << 16)).astype(np.int64) % (most + 1)
    lower = ((wicks >> np.uint64(16)) % np.uint64(1 << 16)).astype(np.int64) % (most + 1)
    upper[flat] = lower[flat] = 0
    volume = busy * _between(amount & np.uint64(0xFFFF_FFFF), 120, 480)
    volume = np.where(elephant, 4 * volume, np.where(flat, 0, volume))

    dates = np.busday_offset(_first_date(start), np.arange(n_days))
    minutes = first_minute + interval_minutes * np.arange(bars_per_day)
    time = dates.astype("M8[m]")[:, None] + minutes.astype("m8[m]")[None, :]
    return Bars(
        time.ravel(),
        open=_price(open_ticks, tick_size),
        high=_price(np.maximum(open_ticks, close_ticks) + upper, tick_size),
        low=_price(np.minimum(open_ticks, close_ticks) - lower, tick_size),
        close=_price(close_ticks, tick_size),
        volume=volume,
        timezone=timezone,
    )


def _first_date(start: str) -> np.datetime64:
    try:
        return np.busday_offset(np.datetime64(start, "D"), 0, roll="forward")
    except ValueError:
        raise ConfigError(f"start = {start!r} is not a date; write YYYY-MM-DD") from None


def _check(
    n_days: int, bars_per_day: int, first_minute: int, interval_minutes: int, tick_size: float
) -> None:
    for name, number, least in (
        ("n_days", n_days, 1),
        ("bars_per_day", bars_per_day, 1),
        ("first_minute", first_minute, 0),
        ("interval_minutes", interval_minutes, 1),
    ):
        if number < least:
            raise ConfigError(f"{name} = {number} is too small; give at least {least}")
    if not (np.isfinite(tick_size) and tick_size > 0):
        raise ConfigError(f"tick_size = {tick_size!r} is not allowed; give a number above 0")
    last = first_minute + interval_minutes * (bars_per_day - 1)
    if last >= 1440:
        raise ConfigError(
            f"{bars_per_day} bars of {interval_minutes} minutes from minute {first_minute} end "
            "after midnight; take fewer bars, shorter ones, or start earlier"
        )
