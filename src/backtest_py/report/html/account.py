"""The account bar by bar, its drawdowns, and what it is measured against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from backtest_py.backtest.metrics import Metrics
from backtest_py.engines.registry import resolve
from backtest_py.metrics.functions import sharpe_ratio
from backtest_py.rules import Intrabar, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Job
    from backtest_py.provenance import Provenance

__all__ = ["Account", "Drawdown", "Span", "drawdowns", "scenarios"]

_DAY: Final = 86_400_000_000_000


class Reportable(Protocol):
    """What a report shows of a result."""

    @property
    def job(self) -> Job: ...

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]: ...

    @property
    def balance(self) -> NDArray[np.float64]: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def engine(self) -> str: ...

    @property
    def provenance(self) -> Provenance: ...


class Span(NamedTuple):
    """The bars of a report: those of the run's range, and on until its last trade ends."""

    first: int
    end: int

    @classmethod
    def of(cls, result: Reportable) -> Span:
        """Return the bars of a result."""
        last = int(result.columns["exit_bar"].max(initial=-1)) + 1
        return cls(result.job.first, max(result.job.last, last))


@dataclass(frozen=True, slots=True)
class Drawdown:
    """A fall of the account from a peak, until it is made good.

    Attributes
    ----------
    peak, trough : int
        Bars at whose close the account was highest before it, and lowest.
    recovered : int
        The bar at whose close the peak was reached again, -1 where it was not.
    money, percent : float
        From peak to trough; percent of the peak.
    """

    peak: int
    trough: int
    recovered: int
    money: float
    percent: float


@dataclass(frozen=True, slots=True)
class Account:
    """The account at the close of each bar of a span.

    Attributes
    ----------
    span : Span
        The bars.
    closed : ndarray of float64, shape (n_bars,)
        Capital and the results of closed trades.
    marked : ndarray of float64, shape (n_bars,)
        The same with an open position at the bar's close, after the fees of its entry.
    held : ndarray of float64, shape (n_bars,)
        One position bought at the first open and sold at the last close, at the same costs.
    """

    span: Span
    closed: NDArray[np.float64]
    marked: NDArray[np.float64]
    held: NDArray[np.float64]

    @classmethod
    def of(cls, result: Reportable) -> Account:
        """Work a result's account out."""
        span = Span.of(result)
        job, columns = result.job, result.columns
        rows = np.arange(*span)
        close = job.bars.close[span.first : span.end]
        closed = result.balance[np.searchsorted(columns["exit_bar"], rows, side="right")]
        marked = closed.copy()
        if len(columns["entry_bar"]):
            trade = np.searchsorted(columns["entry_bar"], rows, side="right") - 1
            is_open = (trade >= 0) & (columns["exit_bar"][trade] > rows)
            trade = trade[is_open]
            entry, side = columns["entry_price"][trade], columns["side"][trade]
            marked[is_open] += _result(job, side * (close[is_open] - entry), entry)
        return cls(span, closed, marked, _held(job, span))

    def days(self, bars: Bars) -> tuple[NDArray[np.datetime64], NDArray[np.int64]]:
        """Return the trading days of the span, and the last bar of each, counted from its first."""
        day = bars.day[self.span.first : self.span.end]
        last = np.append(np.flatnonzero(np.diff(day)), len(day) - 1)
        return bars.session_dates[day[last]], last


def _result(job: Job, points: Any, *prices: Any) -> Any:
    """Return what points are in money, after the fees of the sides at these prices."""
    contract = job.contract
    value = contract.point_value * contract.quantity
    fees = sum(
        contract.fee_per_side * contract.quantity + contract.fee_rate * abs(price) * value
        for price in prices
    )
    return points * value - fees


def _held(job: Job, span: Span) -> NDArray[np.float64]:
    """Return the account of whoever bought at the first open and sold at the last close."""
    slip = job.contract.slippage_ticks * job.contract.tick_size
    entry = job.bars.open[span.first] + slip
    worth = job.bars.close[span.first : span.end].copy()
    worth[-1] -= slip
    account = job.contract.initial_capital + _result(job, worth - entry, entry)
    account[-1] += _result(job, 0.0, worth[-1])
    return np.asarray(account, np.float64)


def fall(equity: NDArray[np.float64], capital: float) -> tuple[NDArray[np.float64], ...]:
    """Return the fall from the highest so far, the capital included: in money, and percent."""
    peak = np.maximum(np.maximum.accumulate(equity), capital)
    return peak - equity, 100.0 * (peak - equity) / peak


def drawdowns(equity: NDArray[np.float64], capital: float) -> list[Drawdown]:
    """Return the falls of an account, the deepest first; bars are counted from its first.

    Examples
    --------
    >>> found = drawdowns(np.array([10.0, 12.0, 9.0, 12.0, 11.0]), 10.0)
    >>> [(each.peak, each.trough, each.recovered, each.money) for each in found]
    [(1, 2, 3, 3.0), (3, 4, -1, 1.0)]
    """
    money, percent = fall(equity, capital)
    under = money > 0
    edges = np.diff(under.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    found = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        deepest = start + int(money[start:end].argmax())
        found.append(
            Drawdown(
                max(start - 1, 0),
                deepest,
                end if end < len(equity) else -1,
                float(money[deepest]),
                float(percent[deepest]),
            )
        )
    return sorted(found, key=lambda each: -each.money)


def scenarios(result: Reportable) -> dict[str, Metrics]:
    """Settle every bar that reached stop and target both ways; the run's own way is as it was.

    Where no bar was ambiguous, both ways are the run itself. Otherwise, the run is repeated on
    the engine that ran: a trade that ends differently can let other signals count.
    """
    job = result.job
    found = {}
    for way in Intrabar:
        if way.name == job.rules.intrabar or not result.metrics.ambiguous_trades:
            found[way.name] = result.metrics
            continue
        other = replace(job, rules=replace(job.rules, intrabar=way.name))
        engine, _ = resolve(result.engine, other)
        found[way.name] = Metrics(engine.run(other).metrics)
    return found


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What buying and holding came to."""

    total_return: float
    total_return_pct: float
    max_drawdown: float
    max_drawdown_pct: float
    sharpe: float


def buy_and_hold(result: Reportable, account: Account) -> Benchmark:
    """Return what the market itself came to, in the same size and at the same costs."""
    capital, settings = result.job.contract.initial_capital, result.job.metrics
    money, percent = fall(account.held, capital)
    total = float(account.held[-1]) - capital
    _, last = account.days(result.job.bars)
    daily = np.append(capital, account.held[last])
    sharpe = float("nan")
    if (daily > 0).all():
        sharpe = sharpe_ratio(
            daily[1:] / daily[:-1] - 1.0,
            risk_free_rate=settings.risk_free_rate,
            periods_per_year=settings.periods_per_year,
            engine=result.engine,
        )
    return Benchmark(
        total, 100.0 * total / capital, float(money.max()), float(percent.max()), sharpe
    )


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading cost.

    Attributes
    ----------
    fees, slippage : float
        Fees, and what entries and exits lost that were market orders.
    before : float
        The result without both.
    """

    fees: float
    slippage: float
    before: float


def costs_of(result: Reportable) -> Costs:
    """Return what trading cost: fees, and the slippage of every entry and of exits not at a limit.

    Without slippage other bars might have reached stops; this is what was paid, not what the run
    without costs would have come to.
    """
    contract, columns = result.job.contract, result.columns
    limits = int(np.count_nonzero(columns["reason"] == Reason.take_profit))
    orders = 2 * len(columns["reason"]) - limits
    a_tick = contract.tick_size * contract.point_value * contract.quantity
    slippage = orders * contract.slippage_ticks * a_tick
    fees = float(columns["fees"].sum())
    return Costs(fees, slippage, float(result.metrics.total_return) + fees + slippage)
