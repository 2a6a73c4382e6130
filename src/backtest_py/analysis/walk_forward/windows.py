"""Where the windows of a walk-forward begin and end, in bars and on the session's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from backtest_py.backtest.job import pair
from backtest_py.bars.ranges import edges
from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, counted, parameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from numpy.typing import NDArray

    from backtest_py.bars import Bars

    Moment = str | date | None

__all__ = ["Gap", "Window", "WindowSettings", "plan_windows", "reached_bar"]

_DAY: Final = 86_400_000_000_000
_OF_DAYS: Final = ("train_days", "test_days", "purge_days", "embargo_days")
_OF_BARS: Final = ("train_bars", "test_bars", "purge_bars", "embargo_bars")
_OF_ROLLING: Final = ("train_days", "test_days", "train_bars", "test_bars", "anchored")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings(Settings):
    """Lengths of the windows of a walk-forward, in trading days or in bars.

    Examples
    --------
    >>> WindowSettings().unit, WindowSettings(train_bars=500, test_bars=100).unit
    ('day', 'bar')
    """

    section: ClassVar[str] = "walk_forward"

    train_days: int = parameter(252, "int", "trading days of every training", minimum=1)
    test_days: int = parameter(30, "int", "trading days of every test, and the step", minimum=1)
    anchored: bool = parameter(
        default=False, kind="bool", doc="whether every training begins with the first bar"
    )
    purge_days: int = parameter(
        0, "int", "days left out after a training, so that its positions have closed", minimum=0
    )
    embargo_days: int = parameter(
        0, "int", "days left out on top, so that slow memory has faded", minimum=0
    )
    train_bars: int = parameter(0, "int", "instead of days: bars of every training", minimum=0)
    test_bars: int = parameter(0, "int", "bars of every test, and the step", minimum=0)
    purge_bars: int = parameter(0, "int", "as purge_days, in bars", minimum=0)
    embargo_bars: int = parameter(0, "int", "as embargo_days, in bars", minimum=0)

    @property
    def unit(self) -> str:
        """What lengths are counted in: ``"day"`` or ``"bar"``."""
        bars = self.train_bars or self.test_bars or self.purge_bars or self.embargo_bars
        return "bar" if bars else "day"

    @property
    def gap(self) -> int:
        """Days, or bars, between a training and its test."""
        if self.unit == "bar":
            return self.purge_bars + self.embargo_bars
        return self.purge_days + self.embargo_days

    @classmethod
    def given(cls, values: Mapping[str, Any], *, once: bool) -> WindowSettings:
        """Return the settings that a user gave by name, and refuse what contradicts itself.

        Parameters
        ----------
        values : mapping
            Those that were given, and no others.
        once : bool
            Whether there is a range to train on, and so a single window.

        Raises
        ------
        ConfigError
            If days and bars, or a range and lengths of windows, are mixed.
        """
        of_bars = [name for name in _OF_BARS if values.get(name)]
        of_days = [name for name in _OF_DAYS if name in values]
        if of_bars and of_days:
            raise ConfigError(
                f"{of_days[0]} counts days and {of_bars[0]} bars; give all lengths in one of them"
            )
        rolling = [name for name in _OF_ROLLING if values.get(name)]
        if once and rolling:
            raise ConfigError(
                f"range trains once, on its bars, and tests on all that follow, so {rolling[0]} "
                "has no meaning; leave one of the two out"
            )
        settings = cls.from_mapping(values)
        if settings.unit == "bar" and not once:
            for name in ("train_bars", "test_bars"):
                if not getattr(settings, name):
                    raise ConfigError(
                        f"{of_bars[0]} counts bars, but {name} is missing; give train_bars and "
                        "test_bars, or all lengths in days"
                    )
        return settings


@dataclass(frozen=True, slots=True)
class Window:
    """One training and the test that follows it.

    Attributes
    ----------
    train, test : tuple of int
        First bar, and the one after the last.
    times : tuple of int
        Start and end of the training and of the test, in nanoseconds on the session's clock: as
        ranges they give these bars.
    """

    train: tuple[int, int]
    test: tuple[int, int]
    times: tuple[int, int, int, int]

    @property
    def stamps(self) -> list[np.datetime64]:
        """The times as NumPy has them."""
        return [np.datetime64(time, "ns") for time in self.times]


def plan_windows(
    bars: Bars, settings: WindowSettings, span: tuple[Moment, Moment] | None = None
) -> list[Window]:
    """Return the windows of a walk-forward over bars.

    Parameters
    ----------
    bars : Bars
        The market.
    settings : WindowSettings
        Lengths.
    span : pair, optional
        Train on this range once, and test on all that follows.

    Raises
    ------
    ConfigError
        If there are too few bars for one window.
    """
    marks = _Marks(bars, settings.unit)
    if span is not None:
        return [_once(bars, marks, settings, span)]
    in_bars = settings.unit == "bar"
    train = settings.train_bars if in_bars else settings.train_days
    step = settings.test_bars if in_bars else settings.test_days
    ahead = train + settings.gap
    if marks.count <= ahead:
        raise ConfigError(_too_few(marks.count, train, settings))
    windows = []
    for start in range(0, marks.count - ahead, step):
        begin = 0 if settings.anchored else start
        stop = min(start + ahead + step, marks.count)
        places = (begin, start + train, start + ahead, stop)
        windows.append(_window(bars, [marks.time(place) for place in places]))
    return [window for window in windows if window is not None]


def _window(bars: Bars, times: Sequence[int]) -> Window | None:
    """Return the window between four times, None where no bar begins in one of its parts."""
    train_start, train_end, test_start, test_end = (reached_bar(bars, time) for time in times)
    if train_start >= train_end or test_start >= test_end:
        return None  # only where clocks are turned back can bars be out of every range's reach
    return Window(
        (train_start, train_end), (test_start, test_end), (times[0], times[1], times[2], times[3])
    )


def reached_bar(bars: Bars, time: int) -> int:
    """Return the first bar at or after a time on the session's clock, as a range has it."""
    return int(np.searchsorted(_highest_so_far(bars), time, "left"))


def _highest_so_far(bars: Bars) -> NDArray[np.int64]:
    """Return the latest time on the session's clock up to every bar; clocks may be turned back."""
    return bars.remember("latest_wall", lambda: np.maximum.accumulate(bars.wall))


class Gap:
    """What separates trainings from tests, and what would have to."""

    def __init__(self, bars: Bars, settings: WindowSettings) -> None:
        self._bars, self._settings = bars, settings

    def needed(self, train_last: int, exit_bar: int) -> int:
        """Return the purge after which a test begins behind an exit.

        Parameters
        ----------
        train_last : int
            The last bar of the training.
        exit_bar : int
            The bar at which its last position closed.
        """
        settings, day = self._settings, self._bars.day
        if settings.unit == "bar":
            return exit_bar - train_last - settings.embargo_bars
        return int(day[exit_bar] - day[train_last]) - settings.embargo_days


class _Marks:
    """The days, or the bars, that windows are counted in."""

    def __init__(self, bars: Bars, unit: str) -> None:
        midnights = bars.session_dates.astype(np.int64) * _DAY
        self.first, self.end = int(midnights[0]), int(midnights[-1]) + _DAY
        self._times = midnights if unit == "day" else _highest_so_far(bars)
        self.count = len(self._times)

    def time(self, place: int) -> int:
        """Return when a day or bar begins on the session's clock; the end behind the last one."""
        return int(self._times[place]) if place < self.count else self.end


def _once(
    bars: Bars, marks: _Marks, settings: WindowSettings, span: tuple[Moment, Moment]
) -> Window:
    """Return the only window of a simple forward test."""
    start, end = pair(span)
    first, last = bars.bounds(start, end)
    if last == len(bars):
        raise ConfigError(
            f"range trains up to {end or 'the last bar'}, and no bar follows to test on; the bars "
            f"end at {bars.time_text(len(bars) - 1)}"
        )
    low, high = edges(start, end)
    assert high is not None  # otherwise the range would reach to the last bar
    test_start = high
    if settings.gap:
        place = last if settings.unit == "bar" else int(bars.day[last - 1]) + 1
        if place + settings.gap >= marks.count:
            after = counted(marks.count - place, settings.unit)
            raise ConfigError(
                f"range leaves {after} to test on, and purge and embargo take "
                f"{counted(settings.gap, settings.unit)} of them; give less"
            )
        test_start = max(high, marks.time(place + settings.gap))
    times = (marks.first if low is None else low, high, test_start, marks.end)
    return Window((first, last), (reached_bar(bars, test_start), len(bars)), times)


def _too_few(count: int, train: int, settings: WindowSettings) -> str:
    unit = settings.unit
    gap = f", {counted(settings.gap, unit)} of purge and embargo" if settings.gap else ""
    most = count - settings.gap - 1
    advice = f"train_{unit}s of at most {most:,}" if most > 0 else "a shorter purge or embargo"
    if most > 1:
        advice += f", such as {max(1, most * 2 // 3):,}"
    return (
        f"there are {counted(count, unit)}, and a first window takes {counted(train, unit)} of "
        f"training{gap} and at least one to test on; give {advice}, or more bars"
    )
