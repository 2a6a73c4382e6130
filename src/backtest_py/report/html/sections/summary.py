"""What a reader wants to know first, and what he must know before he believes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.backtest.job import OFF_GRID_SHARE
from backtest_py.report.html.account import drawdowns
from backtest_py.report.html.blocks import Cards, Cell, Note, Section

if TYPE_CHECKING:
    from backtest_py.report.html.context import Context

__all__ = ["summary", "warnings_of"]

FEW: Final = 30
"""Trades below which a result says little."""
MUCH: Final = 0.05
"""Share of ambiguous trades from which on the page says so at its top."""


def summary(context: Context) -> Section:
    """Return the first numbers."""
    say = context.say
    notes = [Note(text=text, level="warning", wide=True) for text in warnings_of(context)]
    return Section(
        "summary",
        say("Summary"),
        say("Summary"),
        _sentence(context),
        [Cards(cards=_cards(context), wide=True), *notes],
    )


def _sentence(context: Context) -> str:
    say, metrics, held = context.say, context.metrics, context.held
    if not metrics.total_trades:
        return say("No trade was made.")
    verbs = (
        "One trade earned {money} ({percent} of the capital) after costs.",
        "{n} trades earned {money} ({percent} of the capital) after costs.",
    )
    if metrics.total_return < 0:
        verbs = (
            "One trade lost {money} ({percent} of the capital) after costs.",
            "{n} trades lost {money} ({percent} of the capital) after costs.",
        )
    text = say.plural(
        *verbs,
        metrics.total_trades,
        money=say.money(abs(metrics.total_return)),
        percent=say.percent(abs(metrics.total_return_pct)),
    )
    text += " " + say(
        "Buying and holding the same size came to {money} ({percent}).",
        money=say.money(held.total_return),
        percent=say.percent(held.total_return_pct),
    )
    if metrics.ambiguous_trades:
        low, high = interval(context)
        text += " " + say(
            "Bars that reached both stop and target leave the result between {low} and {high}.",
            low=say.money(low),
            high=say.money(high),
        )
    return text


def interval(context: Context) -> tuple[float, float]:
    """Return the lowest and highest result that the bars allow."""
    totals = [float(metrics.total_return) for metrics in context.scenarios.values()]
    return min(totals), max(totals)


def _cards(context: Context) -> list[tuple[str, Cell, str]]:
    say, metrics = context.say, context.metrics

    def cell(name: str, text: str, mood: str = "") -> Cell:
        return Cell(text, mood, metric=name, value=repr(metrics[name]))

    ticks = float("nan")
    if metrics.total_trades:
        ticks = context.result.columns["points"].mean() / context.result.job.contract.tick_size
    costs = context.costs.fees + context.costs.slippage
    below = say("fees and slippage")
    if context.costs.before > 0:
        share = say.share(costs / context.costs.before)
        below = say("{share} of the result before costs", share=share)
    return [
        (
            say("Net result"),
            cell(
                "total_return", say.money(metrics.total_return), context.mood(metrics.total_return)
            ),
            say("{percent} of the capital", percent=say.percent(metrics.total_return_pct)),
        ),
        (
            say("Profit factor"),
            cell("profit_factor", say.number(metrics.profit_factor, 3)),
            say("payoff {ratio}", ratio=say.number(metrics.payoff_ratio, 3)),
        ),
        (
            say("Win rate"),
            cell("win_rate", say.share(metrics.win_rate)),
            say(
                "{won} of {n} trades",
                won=say.count(metrics.winning_trades),
                n=say.count(metrics.total_trades),
            ),
        ),
        (
            say("Average trade"),
            cell("expectancy", say.money(metrics.expectancy), context.mood(metrics.expectancy)),
            say("{n} ticks before fees", n=say.number(ticks, 1)),
        ),
        (
            say("Sharpe"),
            cell("sharpe", say.number(metrics.sharpe, 3)),
            say("Sortino {ratio}", ratio=say.number(metrics.sortino, 3)),
        ),
        (
            say("Max drawdown"),
            cell("max_drawdown_pct", say.percent(metrics.max_drawdown_pct)),
            say("{money}, closed trades", money=say.money(metrics.max_drawdown)),
        ),
        _longest(context),
        (
            say("Costs"),
            Cell(say.money(costs)),
            below,
        ),
    ]


def _longest(context: Context) -> tuple[str, Cell, str]:
    """Return for how long the account was under its peak, and how far, marked to market."""
    say, account = context.say, context.account
    found = drawdowns(account.marked, context.result.job.contract.initial_capital)
    if not found:
        return say("Longest drawdown"), Cell(say("none")), say("marked to market")
    deepest = max(found, key=lambda each: each.percent)
    return (
        say("Longest drawdown"),
        Cell(context.length_of(max(found, key=context.days_under))),
        say("deepest {percent}, marked to market", percent=say.percent(deepest.percent)),
    )


def warnings_of(context: Context) -> list[str]:
    """Return what makes the numbers mean less than they seem to."""
    say, metrics, job = context.say, context.metrics, context.result.job
    contract, trades = job.contract, metrics.total_trades
    found = []
    if metrics.ruined:
        found.append(
            say("Ruined: the account was empty before the end, and the run stopped there.")
        )
    if not trades:
        return [
            *found,
            say(
                "No signal became a trade. Look at the hours of entry, at the close time "
                "and at the thresholds of the strategy."
            ),
        ]
    if trades < FEW:
        found.append(say("Fewer than {n} trades: chance alone can make such a result.", n=FEW))
    if not (contract.fee_per_side or contract.fee_rate or contract.slippage_ticks):
        found.append(say("This run has no costs: neither fees nor slippage are set."))
    off = context.bars.off_grid_share(contract.tick_size)
    if off > OFF_GRID_SHARE:
        found.append(
            say(
                "{share} of the prices are off the tick grid: the tick size is wrong, or the "
                "series is adjusted, so that percentages are right but points and money are not.",
                share=say.share(off),
            )
        )
    if context.bars.trades_weekends and job.metrics.periods_per_year == 252:
        found.append(
            say(
                "This market trades on weekends, but metrics.periods_per_year is 252; 365 is usual."
            )
        )
    share = metrics.ambiguous_trades / trades
    if share > MUCH:
        found.append(
            say(
                "{share} of the trades ended in a bar that reached both stop and target. See the "
                "interval below; finer bars would settle them.",
                share=say.share(share),
            )
        )
    columns = context.result.columns
    day = context.bars.day
    nights = int(np.count_nonzero(day[columns["exit_bar"]] != day[columns["entry_bar"]]))
    if nights and not context.bars.trades_weekends:
        found.append(
            say.plural(
                "One trade was held overnight. Set a close time if that is not meant.",
                "{n} trades were held overnight. Set a close time if that is not meant.",
                nights,
            )
        )
    return found
