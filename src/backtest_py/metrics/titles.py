"""What every metric is: its title, its unit, how it is computed and when it is undefined.

The definitions are those of docs/semantics.md, section 5, one line each. The command line takes
titles and units from here, and docs/metrics.md is written from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["METRIC_INFO", "SECTIONS", "UNITS", "MetricInfo", "Section", "Unit"]

Section: TypeAlias = Literal["Return", "Risk", "Trades", "Exits"]
Unit: TypeAlias = Literal["count", "money", "percent", "share", "ratio", "bars", "flag"]

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


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What one metric is.

    Attributes
    ----------
    section : str
        Where it is shown.
    title : str
        What people call it.
    unit : str
        One of :data:`UNITS`.
    formula : str
        How it is computed, in the names of docs/semantics.md, section 5.
    undefined : str
        When it is nan; empty where it never is.
    note : str
        What is easily taken for something else; empty where nothing is.
    """

    section: Section
    title: str
    unit: Unit
    formula: str
    undefined: str = ""
    note: str = ""


_NO_TRADE: Final = "no trade"
_NO_DRAWDOWN: Final = "no drawdown"


def _exits(title: str, reason: str) -> MetricInfo:
    return MetricInfo("Exits", title, "count", f"trades with the reason `{reason}`")


METRIC_INFO: Final[dict[str, MetricInfo]] = {
    "total_return": MetricInfo(
        "Return",
        "Total return",
        "money",
        "`total`, the sum of `pnl`",
        note="After fees and slippage, as is every other number in money.",
    ),
    "total_return_pct": MetricInfo(
        "Return", "Total return", "percent", "`100*total/initial_capital`"
    ),
    "annual_return_pct": MetricInfo(
        "Return",
        "Annual return",
        "percent",
        "`total_return_pct*periods_per_year/n`",
        note="Not compounded, because positions have a fixed size.",
    ),
    "gross_profit": MetricInfo(
        "Return", "Gross profit", "money", "`gain`, the sum of `pnl` over the wins"
    ),
    "gross_loss": MetricInfo(
        "Return",
        "Gross loss",
        "money",
        "`0.0 - loss`, with `loss` the sum of `pnl` over the losses",
        note="A positive number.",
    ),
    "profit_factor": MetricInfo(
        "Return",
        "Profit factor",
        "ratio",
        "`gross_profit/gross_loss`; `inf` with a win and no loss",
        undefined="no win and no loss",
    ),
    "expectancy": MetricInfo("Return", "Expectancy", "money", "`total/N`", undefined=_NO_TRADE),
    "max_drawdown": MetricInfo(
        "Risk",
        "Max drawdown",
        "money",
        "the largest `peak - eq` over the trades, `peak` the highest `eq` so far, start included",
        note="Of closed trades: what an open position loses in between is not in it; `mae` is.",
    ),
    "max_drawdown_pct": MetricInfo(
        "Risk",
        "Max drawdown",
        "percent",
        "100 times the largest `(peak - eq)/peak` over the trades",
        note="Need not be where the largest drawdown in money is.",
    ),
    "sharpe": MetricInfo(
        "Risk",
        "Sharpe",
        "ratio",
        "`(S1/n - rf)/sqrt(var)*sqrt(periods_per_year)`, `var = (S2 - S1*S1/n)/(n-1)`",
        undefined="fewer than 2 days, or all daily returns equal",
        note="From daily returns, days without a trade included; annualised.",
    ),
    "sortino": MetricInfo(
        "Risk",
        "Sortino",
        "ratio",
        "`(S1/n - rf)/sqrt((D + (n-k)*m*m)/n)*sqrt(periods_per_year)`, `m = min(-rf, 0)`",
        undefined="no day below `rf`",
        note="The downside is taken over all days, not over the losing ones alone.",
    ),
    "calmar": MetricInfo(
        "Risk",
        "Calmar",
        "ratio",
        "`annual_return_pct/max_drawdown_pct`",
        undefined=_NO_DRAWDOWN,
    ),
    "recovery_factor": MetricInfo(
        "Risk", "Recovery factor", "ratio", "`total/max_drawdown`", undefined=_NO_DRAWDOWN
    ),
    "sqn": MetricInfo(
        "Risk",
        "SQN",
        "ratio",
        "`sqrt(N)*(total/N)/sqrt((P2 - total*total/N)/(N-1))`",
        undefined="fewer than 2 trades, or all results equal",
        note="System quality number. It grows with the number of trades.",
    ),
    "exposure": MetricInfo(
        "Risk",
        "Exposure",
        "share",
        "bars held in all, over the bars of the range",
        note="A trade that ends in its entry bar holds 0 bars. Can pass 1 where trades of the "
        "range end after it.",
    ),
    "days": MetricInfo(
        "Risk",
        "Trading days",
        "count",
        "`n`: days with a bar in the range, and later days on which a trade of it exits",
        note="The day of ruin is the last that counts.",
    ),
    "ruined": MetricInfo("Risk", "Ruined", "flag", "`eq <= 0` after some trade, the last one"),
    "total_trades": MetricInfo("Trades", "Trades", "count", "`N`"),
    "winning_trades": MetricInfo("Trades", "Winning", "count", "trades with `pnl > 0`"),
    "losing_trades": MetricInfo("Trades", "Losing", "count", "trades with `pnl < 0`"),
    "long_trades": MetricInfo("Trades", "Long", "count", "trades with `side > 0`"),
    "short_trades": MetricInfo("Trades", "Short", "count", "trades with `side < 0`"),
    "win_rate": MetricInfo(
        "Trades", "Win rate", "share", "`winning_trades/N`", undefined=_NO_TRADE
    ),
    "avg_win": MetricInfo(
        "Trades", "Average win", "money", "`gain/winning_trades`", undefined="no win"
    ),
    "avg_loss": MetricInfo(
        "Trades",
        "Average loss",
        "money",
        "`loss/losing_trades`",
        undefined="no loss",
        note="A negative number.",
    ),
    "payoff_ratio": MetricInfo(
        "Trades",
        "Payoff ratio",
        "ratio",
        "`avg_win/(0.0 - avg_loss)`",
        undefined="no win, or no loss",
    ),
    "best_trade": MetricInfo(
        "Trades", "Best trade", "money", "the largest `pnl`", undefined=_NO_TRADE
    ),
    "worst_trade": MetricInfo(
        "Trades", "Worst trade", "money", "the smallest `pnl`", undefined=_NO_TRADE
    ),
    "max_consecutive_wins": MetricInfo(
        "Trades",
        "Wins in a row",
        "count",
        "the longest run of wins",
        note="A result of 0 ends a run of either kind.",
    ),
    "max_consecutive_losses": MetricInfo(
        "Trades", "Losses in a row", "count", "the longest run of losses"
    ),
    "avg_bars_held": MetricInfo(
        "Trades", "Bars held", "bars", "bars held in all, over `N`", undefined=_NO_TRADE
    ),
    "exits_stop_loss": _exits("Stop loss", "stop_loss"),
    "exits_trailing_stop": _exits("Trailing stop", "trailing_stop"),
    "exits_take_profit": _exits("Take profit", "take_profit"),
    "exits_session_close": _exits("Session close", "session_close"),
    "exits_session_end": _exits("Session end", "session_end"),
    "exits_max_bars": _exits("Max bars", "max_bars"),
    "exits_end_of_data": _exits("End of data", "end_of_data"),
    "ambiguous_trades": MetricInfo(
        "Exits",
        "Ambiguous",
        "count",
        "trades whose exit bar reached stop and target",
        note="`intrabar` settled these; the order within the bar is not in the data.",
    ),
}
"""Every metric, in the order in which it is shown."""
