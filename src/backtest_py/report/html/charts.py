"""Drawings of a report: account, price, columns, histograms, scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from backtest_py.report.html.account import fall
from backtest_py.report.html.context import DAY, HOUR
from backtest_py.report.html.language import decimals_between
from backtest_py.report.html.svg import BELOW, Box, Drawing, Scale, nice_ticks, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

    from backtest_py.report.html.context import Context
    from backtest_py.report.html.language import Language

__all__ = ["Column", "account_chart", "columns_chart", "price_chart", "scatter_chart"]

WIDE: Final = (1080.0, 520.0)
NARROW: Final = (520.0, 520.0)
HALF: Final = (520.0, 260.0)
ROOM: Final = 4
"""Width that a mark needs, so that the price is seen between the trades."""
FOOT: Final = 24
"""Height of the marks under a price that trades would hide."""
_ARROW_UP: Final = "m0 2l-4 7h8z"
_ARROW_DOWN: Final = "m0 -2l-4 -7h8z"


class Column(NamedTuple):
    """One column of a chart: its label, its value, and what it says when pointed at."""

    label: str
    value: float
    said: str
    kind: str = ""


def _thinned(n_bars: int, most: int) -> NDArray[np.int64]:
    """Return where runs of bars begin, of which there are no more than so many."""
    step = max(1, -(-n_bars // most))
    return np.arange(0, n_bars, step)


def _time_labels(context: Context, scale: Scale, most: int) -> list[tuple[float, str]]:
    """Return labels of years, months, days or hours under the bars, none upon another."""
    wall = context.wall
    days = (wall // DAY).astype("M8[D]")
    kinds = (days.astype("M8[Y]"), days.astype("M8[M]"), days, wall // HOUR)
    for kind, values in enumerate(kinds):
        starts = np.flatnonzero(values[1:] != values[:-1]) + 1
        if len(starts) >= 3 or kind == len(kinds) - 1:
            break
    step = max(1, -(-len(starts) // most))
    chosen: list[int] = starts[::step].tolist() or [0]
    return [(scale.at(at), _time_text(context, int(wall[at]), kind)) for at in chosen]


def _time_text(context: Context, wall: int, kind: int) -> str:
    """Return a moment as a year, a month, a day or a time, by the kind of its label."""
    minute = wall // (60 * 1_000_000_000) % 1440
    year, month, day = str(np.datetime64(wall // DAY, "D")).rsplit("-", 2)
    name = context.say.month(int(month))
    written = f"{day}/{month}" if context.say.code == "pt-BR" else f"{int(day)} {name}"
    return (year, f"{name} {year[2:]}", written, f"{minute // 60:02d}:{minute % 60:02d}")[kind]


def account_chart(context: Context) -> list[Markup]:
    """Draw the account, closed and marked to market, beside buy-and-hold, over its drawdown."""
    return [_account(context, *size, kind) for size, kind in ((WIDE, "wide"), (NARROW, "narrow"))]


def _account(context: Context, width: float, height: float, kind: str) -> Markup:
    say, account = context.say, context.account
    capital = context.result.job.contract.initial_capital
    upper = Box(78, 12, width - 12, height * 0.66)
    lower = Box(78, height * 0.66 + 28, width - 12, height - 28)
    drawing = Drawing(width, height)
    begins = _thinned(len(account.marked), 600)
    ends = np.append(begins[1:], len(account.marked)) - 1
    across = Scale(0, max(len(account.marked) - 1, 1), upper.left, upper.right)
    labels = _time_labels(context, across, int(width / 90))
    drawing.below(upper, [(x, "") for x, _ in labels], lines=True)
    drawing.below(lower, labels, lines=True)
    curves = [account.held, account.marked, account.closed]
    low = min(capital, *(float(curve.min()) for curve in curves))
    high = max(capital, *(float(curve.max()) for curve in curves))
    up = Scale(*padded(low, high), upper.bottom, upper.top)
    ticks = nice_ticks(up.low, up.high, 7)
    digits = decimals_between(ticks)
    drawing.across(upper, up, ticks, lambda value: say.number(value, digits))
    drawing.rule(upper.left, up.at(capital), upper.right, up.at(capital), "capital")
    xs = across(ends)
    for curve, name in zip(curves, ("held", "marked", "closed"), strict=True):
        drawing.line(xs, up(curve[ends]), name, step=name == "closed")
    _, percent = fall(account.marked, capital)
    deepest = np.maximum.reduceat(percent, begins)
    down = Scale(0, max(float(deepest.max()) * 1.08, 0.1), lower.top, lower.bottom)
    falls = nice_ticks(0, down.high, 3)
    parts = decimals_between(falls)
    drawing.across(lower, down, falls, lambda value: say.percent(-value, parts))
    drawing.area(xs, down(deepest), lower.top, "fall")
    about = say(
        "The account of closed trades ends at {closed}, buying and holding at {held}. "
        "The deepest fall, marked to market, is {fall}.",
        closed=say.money(float(account.closed[-1])),
        held=say.money(float(account.held[-1])),
        fall=say.percent(float(percent.max())),
    )
    return drawing.markup(f"account-{kind}", say("Account and drawdown"), about, kind)


def price_chart(context: Context) -> list[Markup]:
    """Draw the price with entries and exits."""
    sizes = (((1080.0, 420.0), "wide"), ((520.0, 380.0), "narrow"))
    return [_price(context, *size, kind) for size, kind in sizes]


def _price(context: Context, width: float, height: float, kind: str) -> Markup:
    say, bars, span = context.say, context.bars, context.span
    columns = context.result.columns
    box = Box(78, 12, width - 12, height - 28)
    drawing = Drawing(width, height)
    n_bars = span.end - span.first
    begins = _thinned(n_bars, int(width - 90))
    ends = np.append(begins[1:], n_bars) - 1
    part = slice(*span)
    low = np.minimum.reduceat(bars.low[part], begins)
    high = np.maximum.reduceat(bars.high[part], begins)
    across = Scale(-0.5, n_bars - 0.5, box.left, box.right)
    dense = len(columns["side"]) * ROOM > box.right - box.left
    floor = box.bottom - (FOOT if dense else 0)
    up = Scale(*padded(float(low.min()), float(high.max())), floor, box.top)
    ticks = nice_ticks(up.low, up.high)
    digits = decimals_between(ticks)
    drawing.across(box, up, ticks, lambda value: say.number(value, digits))
    labels = _time_labels(context, across, int(width / 90))
    drawing.below(box, labels, lines=True)
    middle = across((begins + ends) / 2)
    drawing.rules(middle, up(low), middle, up(high), "range")
    drawing.line(middle, up(bars.close[part][ends]), "price")
    if dense:
        _draw_foot(context, drawing, box, across)
    else:
        _draw_trades(context, drawing, across, up)
    about = say(
        "Price from {low} to {high} with {n} trades, coloured by their result.",
        low=say.price(float(low.min())),
        high=say.price(float(high.max())),
        n=say.count(len(columns["side"])),
    )
    return drawing.markup(f"price-{kind}", say("Price and trades"), about, kind)


def _draw_trades(context: Context, drawing: Drawing, across: Scale, up: Scale) -> None:
    """Mark entries, and join them to their exits."""
    columns, won, first = context.result.columns, context.pnl > 0, context.span.first
    entry, leave = across(columns["entry_bar"] - first), across(columns["exit_bar"] - first)
    at, to = up(columns["entry_price"]), up(columns["exit_price"])
    long = columns["side"] > 0
    for chosen, mood in ((won, "win"), (~won, "loss")):
        drawing.rules(entry[chosen], at[chosen], leave[chosen], to[chosen], f"join {mood}")
        for side, shape in ((long, _ARROW_UP), (~long, _ARROW_DOWN)):
            shown = chosen & side
            drawing.shapes(entry[shown], at[shown], shape, f"mark {mood}")


def _draw_foot(context: Context, drawing: Drawing, box: Box, across: Scale) -> None:
    """Mark when trades were under the price: at it, so many would hide it."""
    entry = across(context.result.columns["entry_bar"] - context.span.first)
    won = context.pnl > 0
    for chosen, mood, above in ((won, "win", 11), (~won, "loss", 0)):
        places = np.unique(np.round(entry[chosen]))
        bottom = np.full(len(places), box.bottom - above)
        drawing.rules(places, bottom, places, bottom - 8, f"rug {mood}")


def columns_chart(
    name: str,
    title: str,
    about: str,
    columns: Sequence[Column],
    say: Language,
    *,
    edges: bool = False,
    counts: bool = False,
) -> Markup:
    """Draw one column for each value, upwards or downwards from zero.

    With ``edges`` a label belongs to the left edge of its column; ``counts`` are whole numbers.
    """
    width, height = HALF
    box = Box(74, 12, width - 8, height - 28)
    drawing = Drawing(width, height)
    values = [column.value for column in columns]
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    room = (high - low) * 0.06 or 1.0
    up = Scale(low - room * (low < 0), high + room, box.bottom, box.top)
    ticks = nice_ticks(low, high, 6, whole=counts)
    digits = decimals_between(ticks)
    drawing.across(box, up, ticks, lambda value: say.number(value, digits))
    start = box.left + (26 if edges else 0)
    step = (box.right - start) / max(len(columns), 1)
    every = max(1, -(-len(columns) // (9 if edges else 12)))
    for place, column in enumerate(columns):
        x = start + step * place
        kind = column.kind or ("win" if column.value >= 0 else "loss")
        zero, tip = up.at(0.0), up.at(column.value)
        thick = step * 0.9 if edges else min(step * 0.72, 46.0)
        drawing.bar(x + (step - thick) / 2, zero, thick, tip - zero, kind, column.said)
        if place % every == 0:
            middle = x if edges else x + step / 2
            drawing.words(middle, box.bottom + BELOW, column.label, "tick", "middle")
    drawing.rule(box.left, up.at(0.0), box.right, up.at(0.0), "zero")
    return drawing.markup(name, title, about)


class Axis(NamedTuple):
    """Values of one axis, and what it is called."""

    values: NDArray[np.float64]
    title: str = ""


def scatter_chart(
    name: str,
    title: str,
    about: str,
    across: Axis,
    up: Axis,
    won: NDArray[np.bool_],
    say: Language,
) -> Markup:
    """Draw a dot for each trade."""
    width, height = 520.0, 330.0
    box = Box(74, 12, width - 10, height - 46)
    drawing = Drawing(width, height)
    xs, ys = across.values, up.values
    x_scale = Scale(*padded(_low(xs), _high(xs)), box.left, box.right)
    y_scale = Scale(*padded(_low(ys), _high(ys)), box.bottom, box.top)
    y_ticks, x_ticks = (nice_ticks(scale.low, scale.high) for scale in (y_scale, x_scale))
    y_digits, x_digits = decimals_between(y_ticks), decimals_between(x_ticks)
    drawing.across(box, y_scale, y_ticks, lambda value: say.number(value, y_digits))
    labels = [(x_scale.at(value), say.number(value, x_digits)) for value in x_ticks]
    drawing.below(box, labels, lines=True)
    size = "" if len(xs) <= 600 else " small"
    for chosen, mood in ((~won, "loss"), (won, "win")):
        drawing.dots(x_scale(xs[chosen]), y_scale(ys[chosen]), f"points {mood}{size}")
    drawing.words((box.left + box.right) / 2, height - 8, across.title, "axis", "middle")
    return drawing.markup(name, title, about)


def _low(values: NDArray[np.float64]) -> float:
    return float(min(values.min(initial=0.0), 0.0))


def _high(values: NDArray[np.float64]) -> float:
    return float(max(values.max(initial=0.0), 0.0))
