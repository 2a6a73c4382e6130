"""The one list of metrics: name, meaning and format of each, in the engines' order.

The definitions are those of docs/semantics.md, section 5, one line each. Everything that goes by
metric comes from here: the vector that an engine returns, types of columns, the direction of a
ranking, titles and units on the command line, and docs/metrics.md. A new metric is one entry here
and the lines that compute it in ``numba_engine/metrics.py`` and ``engine_rust/src/metrics.rs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from backtest_py.rules import ExitCounts, Reason

__all__ = [
    "CATALOGUE",
    "COUNT_METRICS",
    "METRICS",
    "SECTIONS",
    "SMALLER_IS_BETTER",
    "UNITS",
    "MetricAttributes",
    "MetricInfo",
    "Section",
    "Unit",
]

Section: TypeAlias = Literal["Return", "Risk", "Trades", "Exits"]
Unit: TypeAlias = Literal["count", "money", "percent", "share", "ratio", "bars", "flag"]
Kind: TypeAlias = Literal["count", "flag", "number"]

SECTIONS: Final[dict[Section, str]] = {
    "Return": "What was earned, after costs.",
    "Risk": "What it took to earn it.",
    "Trades": "The trades themselves. A trade with a result of exactly 0 is neither won nor lost.",
    "Exits": "Why trades were closed, and how many of them rest on an assumption.",
}
"""The sections in which metrics are shown, in order, and what they are about."""

UNITS: Final[dict[Unit, str]] = {
    "count": "count",
    "money": "money",
    "percent": "percent",
    "share": "fraction",
    "ratio": "ratio",
    "bars": "bars",
    "flag": "true or false",
}
"""Name of each unit. A fraction of 0.01 is 1 percent."""


_KINDS: Final[dict[Unit, Kind]] = {"count": "count", "flag": "flag"}


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What one metric is.

    Attributes
    ----------
    name : str
        Its key in results, files and grids.
    section : str
        Where it is shown.
    title : str
        Its title for people.
    unit : str
        One of :data:`UNITS`.
    formula : str
        How it is computed, in the names of docs/semantics.md, section 5.
    better : {"large", "small", ""}
        Which values a ranking puts first; empty where neither is better, and then the large ones
        come first.
    undefined : str
        When it is nan; empty where it never is.
    note : str
        What is easily misread; empty where nothing is.
    """

    name: str
    section: Section
    title: str
    unit: Unit
    formula: str
    better: Literal["large", "small", ""] = ""
    undefined: str = ""
    note: str = ""

    @property
    def kind(self) -> Kind:
        """What its values are: whole numbers, true or false, or floating-point numbers."""
        return _KINDS.get(self.unit, "number")


_NO_TRADE: Final = "no trade"
_NO_DRAWDOWN: Final = "no drawdown"


def _exits(reason: Reason) -> MetricInfo:
    """Return the metric that counts the exits of one reason."""
    return MetricInfo(
        f"exits_{reason.name}",
        "Exits",
        reason.name.replace("_", " ").capitalize(),
        "count",
        formula=f"trades with the reason `{reason.name}`",
        better="small" if reason is Reason.stop_loss else "",
    )


_ENTRIES: Final = (
    MetricInfo("total_trades", "Trades", "Trades", "count", formula="`N`"),
    MetricInfo(
        "winning_trades",
        "Trades",
        "Winning",
        "count",
        better="large",
        formula="trades with `pnl > 0`",
    ),
    MetricInfo(
        "losing_trades",
        "Trades",
        "Losing",
        "count",
        better="small",
        formula="trades with `pnl < 0`",
    ),
    MetricInfo("long_trades", "Trades", "Long", "count", formula="trades with `side > 0`"),
    MetricInfo("short_trades", "Trades", "Short", "count", formula="trades with `side < 0`"),
    MetricInfo(
        "days",
        "Risk",
        "Trading days",
        "count",
        formula="`n`: days with a bar in the range, and later days on which a trade of it exits",
        note="The day of ruin is the last that counts.",
    ),
    MetricInfo(
        "total_return",
        "Return",
        "Total return",
        "money",
        better="large",
        formula="`total`, the sum of `pnl`",
        note="After fees and slippage, as is every other number in money.",
    ),
    MetricInfo(
        "total_return_pct",
        "Return",
        "Total return",
        "percent",
        better="large",
        formula="`100*total/initial_capital`",
    ),
    MetricInfo(
        "win_rate",
        "Trades",
        "Win rate",
        "share",
        better="large",
        formula="`winning_trades/N`",
        undefined=_NO_TRADE,
    ),
    MetricInfo(
        "expectancy",
        "Return",
        "Expectancy",
        "money",
        better="large",
        formula="`total/N`",
        undefined=_NO_TRADE,
    ),
    MetricInfo(
        "avg_win",
        "Trades",
        "Average win",
        "money",
        better="large",
        formula="`gain/winning_trades`",
        undefined="no win",
    ),
    MetricInfo(
        "avg_loss",
        "Trades",
        "Average loss",
        "money",
        better="large",
        formula="`loss/losing_trades`",
        undefined="no loss",
        note="A negative number.",
    ),
    MetricInfo(
        "gross_profit",
        "Return",
        "Gross profit",
        "money",
        better="large",
        formula="`gain`, the sum of `pnl` over the wins",
    ),
    MetricInfo(
        "gross_loss",
        "Return",
        "Gross loss",
        "money",
        better="small",
        formula="`0.0 - loss`, with `loss` the sum of `pnl` over the losses",
        note="A positive number.",
    ),
    MetricInfo(
        "profit_factor",
        "Return",
        "Profit factor",
        "ratio",
        better="large",
        formula="`gross_profit/gross_loss`; `inf` with a win and no loss",
        undefined="no win and no loss",
    ),
    MetricInfo(
        "payoff_ratio",
        "Trades",
        "Payoff ratio",
        "ratio",
        better="large",
        formula="`avg_win/(0.0 - avg_loss)`",
        undefined="no win, or no loss",
    ),
    MetricInfo(
        "max_consecutive_wins",
        "Trades",
        "Wins in a row",
        "count",
        better="large",
        formula="the longest run of wins",
        note="A result of 0 ends a run of either kind.",
    ),
    MetricInfo(
        "max_consecutive_losses",
        "Trades",
        "Losses in a row",
        "count",
        better="small",
        formula="the longest run of losses",
    ),
    MetricInfo(
        "best_trade",
        "Trades",
        "Best trade",
        "money",
        better="large",
        formula="the largest `pnl`",
        undefined=_NO_TRADE,
    ),
    MetricInfo(
        "worst_trade",
        "Trades",
        "Worst trade",
        "money",
        better="large",
        formula="the smallest `pnl`",
        undefined=_NO_TRADE,
    ),
    MetricInfo(
        "max_drawdown",
        "Risk",
        "Max drawdown",
        "money",
        better="small",
        formula="the largest `peak - eq` over the trades, `peak` the highest `eq` so far, "
        "start included",
        note="Of closed trades: what an open position loses in between is not in it; `mae` is.",
    ),
    MetricInfo(
        "max_drawdown_pct",
        "Risk",
        "Max drawdown",
        "percent",
        better="small",
        formula="100 times the largest `(peak - eq)/peak` over the trades",
        note="Need not be where the largest drawdown in money is.",
    ),
    MetricInfo(
        "sharpe",
        "Risk",
        "Sharpe",
        "ratio",
        better="large",
        formula="`(S1/n - rf)/sqrt(var)*sqrt(periods_per_year)`, `var = (S2 - S1*S1/n)/(n-1)`",
        undefined="fewer than 2 days, or all daily returns equal",
        note="From daily returns, days without a trade included; annualised.",
    ),
    MetricInfo(
        "sortino",
        "Risk",
        "Sortino",
        "ratio",
        better="large",
        formula="`(S1/n - rf)/sqrt((D + (n-k)*m*m)/n)*sqrt(periods_per_year)`, `m = min(-rf, 0)`",
        undefined="no day below `rf`",
        note="The downside is taken over all days, not over the losing ones alone.",
    ),
    MetricInfo(
        "annual_return_pct",
        "Return",
        "Annual return",
        "percent",
        better="large",
        formula="`total_return_pct*periods_per_year/n`",
        note="Not compounded, because positions have a fixed size.",
    ),
    MetricInfo(
        "calmar",
        "Risk",
        "Calmar",
        "ratio",
        better="large",
        formula="`annual_return_pct/max_drawdown_pct`",
        undefined=_NO_DRAWDOWN,
    ),
    MetricInfo(
        "recovery_factor",
        "Risk",
        "Recovery factor",
        "ratio",
        better="large",
        formula="`total/max_drawdown`",
        undefined=_NO_DRAWDOWN,
    ),
    MetricInfo(
        "sqn",
        "Risk",
        "SQN",
        "ratio",
        better="large",
        formula="`sqrt(N)*(total/N)/sqrt((P2 - total*total/N)/(N-1))`",
        undefined="fewer than 2 trades, or all results equal",
        note="System quality number. It grows with the number of trades.",
    ),
    MetricInfo(
        "exposure",
        "Risk",
        "Exposure",
        "share",
        formula="bars held in all, over the bars of the range",
        note="A trade that ends in its entry bar holds 0 bars. Can pass 1 where trades of the "
        "range end after it.",
    ),
    MetricInfo(
        "avg_bars_held",
        "Trades",
        "Bars held",
        "bars",
        formula="bars held in all, over `N`",
        undefined=_NO_TRADE,
    ),
    MetricInfo(
        "ambiguous_trades",
        "Exits",
        "Ambiguous",
        "count",
        better="small",
        formula="trades whose exit bar reached stop and target",
        note="`intrabar` settled these; the order within the bar is not in the data.",
    ),
    *(_exits(reason) for reason in Reason),
    MetricInfo(
        "ruined",
        "Risk",
        "Ruined",
        "flag",
        better="small",
        formula="`eq <= 0` after some trade, the last one",
    ),
)

CATALOGUE: Final = {info.name: info for info in _ENTRIES}
"""Every metric by its name, in the order of the vector that an engine returns."""

METRICS: Final = tuple(CATALOGUE)
"""Metric names in the order of the vector that an engine returns."""

COUNT_METRICS: Final = frozenset(info.name for info in _ENTRIES if info.kind == "count")
"""Metrics that are whole numbers."""

SMALLER_IS_BETTER: Final = frozenset(info.name for info in _ENTRIES if info.better == "small")
"""Metrics of which a ranking puts the smallest first; of all others it puts the largest first."""


class MetricAttributes(ExitCounts):
    """What type checkers know of the metrics of a result; a test compares it with the catalogue."""

    __slots__ = ()

    total_trades: int
    winning_trades: int
    losing_trades: int
    long_trades: int
    short_trades: int
    days: int
    total_return: float
    total_return_pct: float
    win_rate: float
    expectancy: float
    avg_win: float
    avg_loss: float
    gross_profit: float
    gross_loss: float
    profit_factor: float
    payoff_ratio: float
    max_consecutive_wins: int
    max_consecutive_losses: int
    best_trade: float
    worst_trade: float
    max_drawdown: float
    max_drawdown_pct: float
    sharpe: float
    sortino: float
    annual_return_pct: float
    calmar: float
    recovery_factor: float
    sqn: float
    exposure: float
    avg_bars_held: float
    ambiguous_trades: int
    ruined: bool
