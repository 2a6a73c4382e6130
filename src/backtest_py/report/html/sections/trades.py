"""The trades themselves: when, how they ended, how far they went, how long they lasted, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from backtest_py.metrics.catalogue import CATALOGUE
from backtest_py.report.html.blocks import Cell, Chart, Section, Table
from backtest_py.report.html.charts import Axis, Column, columns_chart, scatter_chart
from backtest_py.report.html.context import DAY, HOUR
from backtest_py.report.html.language import decimals_between, decimals_of
from backtest_py.report.html.svg import nice_ticks
from backtest_py.rules import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtest_py.report.html.context import Context

__all__ = ["costs", "excursions", "exits", "lists", "streaks", "times"]

REASONS: Final = {reason: CATALOGUE[f"exits_{reason.name}"].title for reason in Reason}
LISTED: Final = 5
"""Best and worst trades that are listed."""


def nothing(context: Context, name: str, short: str, title: str) -> Section:
    """Return a section that has no trade to show."""
    return Section(name, short, title, context.say("No trade was made."))


def times(context: Context) -> Section:
    """Return results by hour and weekday of the entry."""
    say = context.say
    if not len(context.pnl):
        return nothing(context, "times", say("Hours"), say("Hours and weekdays"))
    wall = context.bars.wall_at(context.result.columns["entry_bar"])
    traded = context.wall
    hours, weekdays = wall // HOUR % 24, (wall // DAY + 3) % 7
    open_hours = np.unique(traded // HOUR % 24).tolist()
    open_days = np.unique((traded // DAY + 3) % 7).tolist()
    blocks = [
        *_grouped(context, "hour", hours, [(h, f"{h:02d}h", f"{h:02d}:00") for h in open_hours]),
        *_grouped(
            context,
            "weekday",
            weekdays,
            [(d, say.weekday(d)[:3], say.weekday(d)) for d in open_days],
        ),
    ]
    zone = context.session_zone
    about = say("Net result by the hour and weekday of the entry.")
    if zone:
        about = say("Net result by the hour and weekday of the entry, {zone} time.", zone=zone)
    return Section("times", say("Hours"), say("Hours and weekdays"), about, blocks)


def _grouped(
    context: Context, name: str, codes: NDArray[np.int64], groups: Sequence[tuple[int, str, str]]
) -> list[Chart]:
    """Return a chart and its table of the results of groups of trades."""
    say = context.say
    title = {"hour": say("By hour"), "weekday": say("By weekday")}[name]
    columns, rows = [], []
    for code, label, full in groups:
        pnl = context.pnl[codes == code]
        total = float(pnl.sum()) if len(pnl) else 0.0
        said = say.plural(
            "{group}: {money} in one trade",
            "{group}: {money} in {n} trades",
            len(pnl),
            group=full,
            money=say.money(total),
        )
        columns.append(Column(label, total, said))
        rows.append(_group_row(context, full, pnl))
    header = ("", "Trades", "Win rate", "Net result", "Average")
    table = Table(header=[each and say(each) for each in header], rows=rows)
    drawing = columns_chart(
        f"by-{name}",
        title,
        "; ".join(column.said for column in columns),
        columns,
        say,
    )
    return [Chart(title=title, drawings=[drawing], table=table)]


def _group_row(context: Context, name: str, pnl: NDArray[np.float64]) -> list[Cell | str]:
    say = context.say
    if not len(pnl):
        return [name, "0", "", "", ""]
    total = float(pnl.sum())
    return [
        name,
        say.count(len(pnl)),
        say.share(float(np.count_nonzero(pnl > 0)) / len(pnl)),
        Cell(say.money(total), context.mood(total)),
        Cell(say.money(total / len(pnl)), context.mood(total)),
    ]


def exits(context: Context) -> Section:
    """Return why trades ended, both sides, and the distribution of results."""
    say, columns, pnl = context.say, context.result.columns, context.pnl
    if not len(pnl):
        return nothing(context, "exits", say("Exits"), say("How trades ended"))
    header = [each and say(each) for each in ("", "Trades", "Win rate", "Net result", "Average")]
    reasons, sides = [], []
    for reason in Reason:
        chosen = pnl[columns["reason"] == reason]
        if len(chosen):
            row = _group_row(context, say(REASONS[reason]), chosen)
            row[1] = Cell(say.count(len(chosen)), share=len(chosen) / len(pnl))
            reasons.append(row)
    for side, name in ((1, say("Long")), (-1, say("Short"))):
        sides.append(_group_row(context, name, pnl[columns["side"] == side]))
    blocks: list[Chart | Table] = [
        Table(title=say("Exit reasons"), header=header, rows=reasons),
        Table(title=say("Long and short"), header=header, rows=sides),
    ]
    title = say("Results of the trades")
    named = f"{title}, {say.currency}" if say.currency else title
    blocks += [_histogram(context, "results", named, pnl), _holding(context)]
    return Section("exits", say("Exits"), say("How trades ended"), "", blocks)


def _histogram(
    context: Context,
    name: str,
    title: str,
    values: NDArray[np.float64],
    *,
    plain: bool = False,
) -> Chart:
    """Return how often values fall into each of some equal ranges."""
    say = context.say
    low, high = np.percentile(values, [0.5, 99.5]).tolist()
    ticks = nice_ticks(min(low, 0.0), max(high, 0.0), 20)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    edges = np.append(ticks, ticks[-1] + step) if ticks[-1] < high else np.array(ticks)
    edges = np.append(edges[0] - step, edges) if edges[0] > low else edges
    if len(edges) < 2:
        edges = np.array([edges[0] - step / 2, edges[0] + step / 2])
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
    places = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(places, minlength=len(edges) - 1)
    digits = decimals_between(edges.tolist())
    columns = []
    for place, count in enumerate(counts.tolist()):
        begin, end = float(edges[place]), float(edges[place + 1])
        said = say.plural(
            "{low} to {high}: one trade",
            "{low} to {high}: {n} trades",
            count,
            low=say.number(begin, digits),
            high=say.number(end, digits),
        )
        kind = "plain" if plain else "loss" if end <= 0 else "win"
        columns.append(Column(say.number(begin, decimals_of(begin)), float(count), said, kind))
    note = ""
    if values.min() < edges[0] or values.max() > edges[-1]:
        note = say("The outermost columns also count what lies beyond them.")
    about = "; ".join(column.said for column in columns if column.value)
    drawing = columns_chart(name, title, about, columns, say, edges=True, counts=True)
    return Chart(title=title, drawings=[drawing], note=note)


def _holding(context: Context) -> Chart:
    say, bars, columns = context.say, context.bars, context.result.columns
    held = bars.times_at(columns["exit_bar"]) - bars.times_at(columns["entry_bar"])
    longest = float(np.percentile(held, 99.5))
    unit, name = DAY, "days"
    if longest < 4 * HOUR:
        unit, name = HOUR // 60, "minutes"
    elif longest < 3 * DAY:
        unit, name = HOUR, "hours"
    titles = {
        "days": say("Holding time, days"),
        "hours": say("Holding time, hours"),
        "minutes": say("Holding time, minutes"),
    }
    values = held / unit
    chart = _histogram(context, "holding", titles[name], values, plain=True)
    median = context.duration(float(np.median(held)))
    note = say(
        "Half of the trades lasted no longer than {median}; the longest {longest}.",
        median=median,
        longest=context.duration(float(held.max())),
    )
    return Chart(title=chart.title, drawings=chart.drawings, note=note)


def excursions(context: Context) -> Section:
    """Return results against how far trades went for and against the position."""
    say, columns, pnl = context.say, context.result.columns, context.pnl
    value = context.result.job.contract.point_value * context.result.job.contract.quantity
    if not len(pnl):
        return Section(
            "excursions", say("Excursions"), say("Excursions"), say("No trade was made.")
        )
    blocks = []
    for name, title, axis in (
        ("mae", say("Result against adverse excursion"), say("furthest against the position")),
        ("mfe", say("Result against favourable excursion"), say("furthest for the position")),
    ):
        points = columns[name] * value
        about = say(
            "Each dot is a trade: its result over the excursion, from {low} to {high}.",
            low=say.money(float(points.min())),
            high=say.money(float(points.max())),
        )
        drawing = scatter_chart(
            name,
            title,
            about,
            Axis(points, axis),
            Axis(pnl),
            pnl > 0,
            say,
        )
        blocks.append(Chart(title=title, drawings=[drawing]))
    return Section(
        "excursions",
        say("Excursions"),
        say("Excursions"),
        say(
            "MAE is the furthest that the price went against a trade while it was open, MFE the "
            "furthest in its favour; both in money, before fees."
        ),
        [*blocks, _excursion_table(context, value)],
    )


def _excursion_table(context: Context, value: float) -> Table:
    say, columns, won = context.say, context.result.columns, context.pnl > 0
    rows: list[list[Cell | str]] = []
    for name, chosen in ((say("With a profit"), won), (say("Without profit"), ~won)):
        if not chosen.any():
            continue
        mae, mfe = columns["mae"][chosen] * value, columns["mfe"][chosen] * value
        rows.append(
            [
                name,
                say.count(int(chosen.sum())),
                say.money(float(np.median(mae))),
                say.money(float(mae.min())),
                say.money(float(np.median(mfe))),
                say.money(float(mfe.max())),
            ]
        )
    header = ("Trades", "n", "Median MAE", "Worst MAE", "Median MFE", "Best MFE")
    return Table(wide=True, header=[say(name) for name in header], rows=rows)


def runs_of(pnl: NDArray[np.float64]) -> list[tuple[int, int, float, int]]:
    """Return runs of wins and losses: sign, length, money, and the first trade.

    Examples
    --------
    >>> runs_of(np.array([1.0, 2.0, -1.0, 0.0, 3.0]))
    [(1, 2, 3.0, 0), (-1, 1, -1.0, 2), (1, 1, 3.0, 4)]
    """
    signs = np.sign(pnl).astype(np.int64)
    if not len(signs):
        return []
    starts = np.flatnonzero(np.diff(signs, prepend=2))
    lengths = np.diff(np.append(starts, len(signs)))
    money = np.add.reduceat(pnl, starts)
    found = zip(
        signs[starts].tolist(), lengths.tolist(), money.tolist(), starts.tolist(), strict=True
    )
    return [run for run in found if run[0]]


def streaks(context: Context) -> Section:
    """Return how wins and losses follow each other."""
    say, metrics = context.say, context.metrics
    if not metrics.total_trades:
        return nothing(context, "streaks", say("Streaks"), say("Streaks"))
    runs = runs_of(context.pnl)
    text = say(
        "Longest runs: {wins} wins and {losses} losses.",
        wins=say.count(metrics.max_consecutive_wins),
        losses=say.count(metrics.max_consecutive_losses),
    )
    worst = min((run for run in runs if run[0] < 0), key=lambda run: run[2], default=None)
    if worst is not None:
        begin = context.time_of(int(context.result.columns["entry_bar"][worst[3]]))
        text += " " + say(
            "The costliest run of losses came to {money}, from {date}.",
            money=say.money(worst[2]),
            date=begin,
        )
    blocks = []
    for sign, name, title in (
        (1, "wins", say("Runs of wins, by length")),
        (-1, "losses", say("Runs of losses, by length")),
    ):
        counts = np.bincount([length for found, length, *_ in runs if found == sign] or [0])
        blocks.append(_runs_chart(context, name, title, counts.tolist(), sign))
    about = f"{text} {_chance(context, runs)}".strip()
    return Section("streaks", say("Streaks"), say("Streaks"), about, blocks)


def _runs_chart(context: Context, name: str, title: str, counts: Sequence[int], sign: int) -> Chart:
    say = context.say
    columns = [
        Column(
            say.count(length),
            float(count),
            say("{length} in a row: {n} times", length=length, n=say.count(count)),
            "win" if sign > 0 else "loss",
        )
        for length, count in enumerate(counts)
        if length
    ]
    about = "; ".join(column.said for column in columns)
    drawing = columns_chart(f"runs-{name}", title, about, columns, say, counts=True)
    rows = [[column.label, say.count(column.value)] for column in columns]
    table = Table(header=[say("In a row"), say("Times")], rows=rows)
    return Chart(title=title, drawings=[drawing], table=table)


def _chance(context: Context, runs: Sequence[tuple[int, int, float, int]]) -> str:
    """Say whether there are fewer or more runs than chance would make: Wald and Wolfowitz."""
    say, metrics = context.say, context.metrics
    wins, losses = metrics.winning_trades, metrics.losing_trades
    n = wins + losses
    if wins < 2 or losses < 2:
        return ""
    expected = 2 * wins * losses / n + 1
    variance = (expected - 1) * (expected - 2) / (n - 1)
    if variance <= 0:
        return ""
    z = (len(runs) - expected) / float(np.sqrt(variance))
    text = "as many as chance would make"
    if abs(z) > 1.96:
        text = "more than chance would make" if z > 0 else "fewer than chance would make"
    return say(
        "There are {n} runs in all, {expected} are expected by chance (z = {z}): {verdict}.",
        n=say.count(len(runs)),
        expected=say.number(expected, 1),
        z=say.number(z, 2),
        verdict=say(text),
    )


def costs(context: Context) -> Section:
    """Return what trading cost and what is left."""
    say, found, metrics = context.say, context.costs, context.metrics
    if not metrics.total_trades:
        return nothing(context, "costs", say("Costs"), say("Costs"))
    largest = max(abs(found.before), found.fees + found.slippage, 1e-300)

    def row(name: str, value: float, mood: str) -> list[Cell | str]:
        return [
            name,
            Cell(say.money(value), mood, share=min(abs(value) / largest, 1.0)),
            say.money(value / len(context.pnl)),
            say.share(value / found.before) if found.before > 0 else say("n/a"),
        ]

    rows = [
        row(say("Result before costs"), found.before, context.mood(found.before)),
        row(say("Fees"), -found.fees, "loss" if found.fees else ""),
        row(say("Slippage"), -found.slippage, "loss" if found.slippage else ""),
        row(say("Net result"), float(metrics.total_return), context.mood(metrics.total_return)),
    ]
    header = ("", "Money", "Per trade", "Share")
    note = say("Shares are of the result before costs.")
    if metrics.gross_profit > 0:
        taken = say.share((found.fees + found.slippage) / metrics.gross_profit)
        note += " " + say(
            "Costs took {share} of the gross profit of the winning trades.", share=taken
        )
    table = Table(
        wide=True,
        header=[each and say(each) for each in header],
        rows=rows,
        look="bars",
        note=note,
    )
    return Section("costs", say("Costs"), say("Costs"), "", [table])


def lists(context: Context) -> Section:
    """Return the best and the worst trades; with scripts, all of them."""
    say = context.say
    order = np.argsort(context.pnl, kind="stable")
    if not len(order):
        return nothing(context, "trades", say("Trades"), say("Trades"))
    best, worst = order[::-1][:LISTED], order[:LISTED]
    blocks = [
        _trade_table(context, say("Best trades"), best.tolist()),
        _trade_table(context, say("Worst trades"), worst.tolist()),
    ]
    return Section("trades", say("Trades"), say("Trades"), "", blocks)


def _trade_table(context: Context, title: str, chosen: Sequence[int]) -> Table:
    say, columns = context.say, context.result.columns
    rows: list[list[Cell | str]] = []
    for trade in chosen:
        pnl = float(columns["pnl"][trade])
        rows.append(
            [
                context.time_of(int(columns["entry_bar"][trade])),
                say("Long") if columns["side"][trade] > 0 else say("Short"),
                say.price(float(columns["entry_price"][trade])),
                context.time_of(int(columns["exit_bar"][trade])),
                say.price(float(columns["exit_price"][trade])),
                say(REASONS[Reason(int(columns["reason"][trade]))]),
                Cell(say.money(pnl), context.mood(pnl)),
            ]
        )
    header = ("Entry", "Side", "Price", "Exit", "Price", "Reason", "Net result")
    return Table(title=title, wide=True, header=[say(name) for name in header], rows=rows)
