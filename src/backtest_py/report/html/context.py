"""What all sections of one report share: the result, worked out once, and its language."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from backtest_py.bars.resampling import smallest_step
from backtest_py.report.html.account import Account, Span, buy_and_hold, costs_of, scenarios

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.backtest.metrics import Metrics
    from backtest_py.bars import Bars
    from backtest_py.report.html.account import Benchmark, Costs, Drawdown, Reportable
    from backtest_py.report.html.language import Language

__all__ = ["Context"]

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
_MINUTE = 60_000_000_000


@dataclass(frozen=True)
class Context:
    """A result and what sections ask of it.

    Attributes
    ----------
    result : Reportable
        The result.
    say : Language
        Words and numbers.
    """

    result: Reportable
    say: Language

    @property
    def bars(self) -> Bars:
        """The bars of the run."""
        return self.result.job.bars

    @property
    def metrics(self) -> Metrics:
        """The metrics of the run."""
        return self.result.metrics

    @property
    def pnl(self) -> NDArray[np.float64]:
        """Results of the trades, in money."""
        pnl: NDArray[np.float64] = self.result.columns["pnl"]
        return pnl

    @cached_property
    def span(self) -> Span:
        """The bars that are shown."""
        return Span.of(self.result)

    @cached_property
    def account(self) -> Account:
        """The account bar by bar."""
        return Account.of(self.result)

    @cached_property
    def costs(self) -> Costs:
        """What trading cost."""
        return costs_of(self.result)

    @cached_property
    def held(self) -> Benchmark:
        """What buying and holding came to."""
        return buy_and_hold(self.result, self.account)

    @cached_property
    def scenarios(self) -> dict[str, Metrics]:
        """The run with every ambiguous bar settled one way, and the other."""
        return scenarios(self.result)

    @cached_property
    def wall(self) -> NDArray[np.int64]:
        """Session's wall clock of the bars that are shown."""
        return self.bars.wall_at(np.arange(*self.span))

    @cached_property
    def bar_length(self) -> int:
        """Length of a bar in nanoseconds, 0 where it is not known."""
        part = slice(*self.span)
        bars = self.bars
        return smallest_step(bars.time[part], self.wall, bars.day[part])[0]

    @property
    def session_zone(self) -> str:
        """Name of the clock that the page goes by."""
        return self.bars.session_timezone or self.bars.timezone

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        strategy = self.result.job.strategy
        return self.say("Own signals") if strategy is None else strategy.name

    @property
    def market(self) -> str:
        """What was traded, as far as the bars know."""
        report = self.bars.report
        return report.market or report.source

    def date_of(self, bar: int) -> str:
        """Return the trading day of a bar, counted from the first that is shown."""
        bars = self.bars
        return self.say.date(bars.session_dates[bars.day[self.span.first + bar]])

    def time_of(self, bar: int) -> str:
        """Return date and time of a bar, counted from the first of all."""
        return self.say.moment(int(self.bars.wall_at(np.array([bar]))[0]))

    def duration(self, nanoseconds: float) -> str:
        """Return a length of time in the largest unit that fits."""
        if nanoseconds < 90 * _MINUTE:
            return self.say("{n} min", n=self.say.number(nanoseconds / _MINUTE, 0))
        if nanoseconds < 2 * DAY:
            return self.say("{n} h", n=self.say.number(nanoseconds / HOUR, 1))
        return self.say("{n} days", n=self.say.number(nanoseconds / DAY, 1))

    def days_under(self, drawdown: Drawdown) -> int:
        """Return the calendar days from a peak until it was reached again, or the end."""
        bars, first = self.bars, self.span.first
        end = self.span.end - 1 if drawdown.recovered < 0 else first + drawdown.recovered
        dates = bars.session_dates[bars.day[[first + drawdown.peak, end]]]
        return int((dates[1] - dates[0]).astype(int))

    def length_of(self, drawdown: Drawdown) -> str:
        """Return how long a drawdown lasted."""
        days = self.days_under(drawdown)
        return self.say.plural("{n} day", "{n} days", days) if days else self.say("same day")

    def mood(self, value: float) -> str:
        """Return whether a number is good or bad news."""
        return "win" if value > 0 else "loss" if value < 0 else ""
