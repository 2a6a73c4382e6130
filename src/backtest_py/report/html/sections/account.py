"""Price, account, drawdowns, months, and what the account is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.report.html.account import drawdowns
from backtest_py.report.html.blocks import Cell, Chart, Note, Section, Table
from backtest_py.report.html.charts import account_chart, price_chart
from backtest_py.report.html.sections.summary import interval

if TYPE_CHECKING:
    from backtest_py.backtest.metrics import Metrics
    from backtest_py.report.html.context import Context

__all__ = ["account", "against", "months", "price"]

SHOWN: Final = 5
"""Drawdowns that are listed."""
WHOLE: Final = 100
"""From a month of so much money on, months are written without decimals."""


def price(context: Context) -> Section:
    """Return the price with its trades."""
    say = context.say
    chart = Chart(
        wide=True,
        live=True,
        drawings=price_chart(context),
        legend={
            "key-range": say("low to high"),
            "key-price": say("close"),
            "key-win": say("trade with a profit"),
            "key-loss": say("trade without profit"),
        },
        note=say(
            "Triangles point up for long entries and down for short ones; where there are too many "
            "trades, marks at the foot of the price say when they were."
        ),
    )
    return Section("price", say("Price"), say("Price and trades"), "", [chart])


def account(context: Context) -> Section:
    """Return the account and its drawdowns."""
    say = context.say
    chart = Chart(
        wide=True,
        drawings=account_chart(context),
        legend={
            "key-closed": say("closed trades"),
            "key-marked": say("marked to market"),
            "key-held": say("buy and hold, same size"),
            "key-fall": say("drawdown, marked to market"),
        },
    )
    return Section(
        "account",
        say("Account"),
        say("Account and drawdown"),
        say("Marked to market: at the close of every bar, an open position counts at its price."),
        [chart, _drawdown_table(context)],
    )


def _drawdown_table(context: Context) -> Table | Note:
    say, found = context.say, context.account
    falls = drawdowns(found.marked, context.result.job.contract.initial_capital)[:SHOWN]
    if not falls:
        return Note(text=say("The account never fell below a peak."), wide=True)
    rows: list[list[Cell | str]] = [
        [
            Cell(say.money(-each.money), "loss"),
            Cell(say.percent(-each.percent), "loss"),
            context.date_of(each.peak),
            context.date_of(each.trough),
            context.date_of(each.recovered) if each.recovered >= 0 else say("not yet"),
            context.length_of(each),
        ]
        for each in falls
    ]
    header = ("Depth", "Percent", "Peak", "Lowest", "Recovered", "Length")
    return Table(
        title=say("Deepest drawdowns, marked to market"),
        wide=True,
        header=[say(name) for name in header],
        rows=rows,
        note=say("Length counts calendar days from the peak until it was reached again."),
    )


def months(context: Context) -> Section:
    """Return the result of every month, in the month of the exit."""
    say, bars, pnl = context.say, context.bars, context.pnl
    wall = bars.wall_at(context.result.columns["exit_bar"])
    at = (wall // 86_400_000_000_000).astype("M8[D]").astype("M8[M]").astype(np.int64)
    shown = (context.wall // 86_400_000_000_000).astype("M8[D]").astype("M8[M]").astype(np.int64)
    first, last = int(shown[0]), int(shown[-1])
    offset = first // 12 * 12
    totals = np.bincount(at - offset, weights=pnl, minlength=last - offset + 1)
    largest = float(np.abs(totals).max(initial=0.0)) or 1.0
    digits = 0 if largest >= WHOLE else 2
    rows: list[list[Cell | str]] = []
    for year in range(first // 12, last // 12 + 1):
        cells: list[Cell | str] = [str(1970 + year)]
        for month in range(12):
            place = year * 12 + month
            if not first <= place <= last:
                cells.append("")
                continue
            value = float(totals[place - offset])
            strength = int(np.ceil(5 * abs(value) / largest))
            cells.append(Cell(say.number(value, digits), context.mood(value), strength))
        value = float(totals[year * 12 - offset : year * 12 - offset + 12].sum())
        capital = context.result.job.contract.initial_capital
        cells.append(Cell(say.number(value, digits), context.mood(value)))
        cells.append(Cell(say.percent(100 * value / capital, 1), context.mood(value)))
        rows.append(cells)
    header = [say("Year"), *(say.month(number) for number in range(1, 13)), say("Total"), "%"]
    table = Table(
        wide=True,
        header=header,
        rows=rows,
        look="heat",
        note=say("Percent of the capital at the start."),
    )
    unit = context.say.currency
    about = say("Net result of the trades that ended in each month.")
    if unit:
        about = say("Net result of the trades that ended in each month, in {unit}.", unit=unit)
    return Section("months", say("Months"), say("Months and years"), about, [table])


def against(context: Context) -> Section:
    """Return the result beside buy-and-hold and beside what ambiguous bars allow."""
    say, metrics, held = context.say, context.metrics, context.held
    rows = [_row(context, say("This run"), metrics)]
    if metrics.ambiguous_trades:
        names = {"stop_first": say("Stop first"), "target_first": say("Target first")}
        rows += [_row(context, names[way], found) for way, found in context.scenarios.items()]
    rows.append(
        [
            say("Buy and hold"),
            Cell(say.money(held.total_return), context.mood(held.total_return)),
            say.percent(held.total_return_pct),
            say.percent(held.max_drawdown_pct),
            say.number(held.sharpe, 3),
            "",
            "1",
        ]
    )
    header = ("", "Net result", "Percent", "Max drawdown", "Sharpe", "Profit factor", "Trades")
    table = Table(
        wide=True,
        header=[name and say(name) for name in header],
        rows=rows,
        note=say(
            "Buy and hold: the same quantity, bought at the first open and sold at the last close, "
            "with the same costs; its drawdown and Sharpe are marked to market."
        ),
    )
    return Section(
        "against", say("Against"), say("Measured against"), "", [table, _ambiguity(context)]
    )


def _row(context: Context, name: str, metrics: Metrics) -> list[Cell | str]:
    say = context.say
    return [
        name,
        Cell(say.money(metrics.total_return), context.mood(metrics.total_return)),
        say.percent(metrics.total_return_pct),
        say.percent(metrics.max_drawdown_pct),
        say.number(metrics.sharpe, 3),
        say.number(metrics.profit_factor, 3),
        say.count(metrics.total_trades),
    ]


def _ambiguity(context: Context) -> Note:
    say, count = context.say, context.metrics.ambiguous_trades
    if not count:
        text = say("No trade ended in a bar that reached both stop and target: nothing is assumed.")
        return Note(text=text, wide=True)
    low, high = interval(context)
    return Note(
        text=say.plural(
            "One trade ended in a bar that reached both stop and target, and the bar does not say "
            "which came first. Settled for the stop, the run comes to {stop}, for the target to "
            "{target}: an interval of {width}.",
            "{n} trades ended in a bar that reached both stop and target, and the bar does not say "
            "which came first. All settled for the stop, the run comes to {stop}, all for the "
            "target to {target}: an interval of {width}.",
            count,
            stop=say.money(context.scenarios["stop_first"].total_return),
            target=say.money(context.scenarios["target_first"].total_return),
            width=say.money(high - low),
        ),
        wide=True,
    )
