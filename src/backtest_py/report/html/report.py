"""The report of one backtest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.files import replace_file
from backtest_py.bars.streamed import StreamedBars
from backtest_py.errors import ConfigError, DataError, StorageError, UnsupportedError
from backtest_py.provenance import package_version
from backtest_py.report.html.context import Context
from backtest_py.report.html.language import language
from backtest_py.report.html.page import page
from backtest_py.report.html.payload import packed_bars, packed_columns
from backtest_py.report.html.sections import account, record, summary, trades

if TYPE_CHECKING:
    from backtest_py.bars import Bars
    from backtest_py.report.html.account import Reportable
    from backtest_py.report.html.language import Language

__all__ = ["backtest_report", "check_report", "currency_of", "write_report"]

SECTIONS: Final = (
    summary.summary,
    account.price,
    account.account,
    account.months,
    trades.times,
    trades.exits,
    trades.excursions,
    trades.streaks,
    trades.costs,
    account.against,
    trades.lists,
    record.metrics,
    record.settings,
    record.data,
)
"""What a report shows, in order; each makes one section of a context."""

QUOTES: Final = ("USDT", "USDC", "FDUSD", "BUSD")
B3: Final = re.compile(r"(WIN|IND|WDO|DOL)([FGHJKMNQUVXZ]\d{1,2})?(?![A-Z0-9])", re.IGNORECASE)
"""How names of the futures of the index and of the dollar begin at B3, with a month or without."""


def write_report(
    result: Reportable, path: str | Path, *, lang: str = "en", currency: str = "", title: str = ""
) -> Path:
    """Write a report; arguments and errors as of :meth:`BacktestResult.report`."""
    path = check_report(path, lang=lang, currency=currency)
    text = backtest_report(result, lang=lang, currency=currency, title=title)
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def check_report(path: str | Path, *, lang: str = "en", currency: str = "") -> Path:
    """Refuse a page that could not be written, before anything is computed for it.

    Raises
    ------
    ConfigError
        If the file has not the suffix of a page, or as of :func:`language`.
    """
    path = Path(path)
    if path.suffix.lower() not in {".html", ".htm"}:
        raise ConfigError(f"{path} is not the name of a page; give one that ends in .html")
    language(lang, currency=currency)
    return path


def backtest_report(
    result: Reportable, *, lang: str = "en", currency: str = "", title: str = ""
) -> str:
    """Return the text of a report's page.

    Raises
    ------
    ConfigError
        If the language is unknown, or the currency no short word.
    DataError
        If the account is larger than a double can be.
    UnsupportedError
        If the bars are gone.
    """
    job = result.job
    if isinstance(job.bars, StreamedBars):
        raise UnsupportedError(
            "a report shows bars, and these were streamed and are gone; load the bars, or the part "
            "of them that you want to look at, and use bt.run"
        )
    known = currency or currency_of(job.bars)
    say = language(lang, currency=known, tick_size=job.contract.tick_size)
    context = Context(result, say)
    _refuse_overflow(context)
    return page(
        say,
        title=title or " · ".join(filter(None, (context.strategy, context.market))),
        overline=say("Backtest report"),
        facts=_facts(context),
        sections=[section(context) for section in SECTIONS],
        footer=[
            say("Made by backtest-py {version}.", version=package_version()),
            say("Past results promise nothing."),
        ],
        data=_data(context),
    )


def _refuse_overflow(context: Context) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        account = context.account
    for curve in (account.marked, account.held):
        if not np.isfinite(curve).all():
            contract = context.result.job.contract
            raise DataError(
                f"the account reaches {curve[~np.isfinite(curve)][0]}, which no chart can show: "
                f"contract.quantity = {contract.quantity!r} or contract.point_value = "
                f"{contract.point_value!r} is too large for these prices; give smaller ones"
            )


def currency_of(bars: Bars) -> str:
    """Return the currency that bars are quoted in, "" where their names do not tell.

    Examples
    --------
    >>> from backtest_py import synthetic_bars
    >>> currency_of(synthetic_bars(n_days=1))
    ''
    """
    report = bars.report
    for name in (report.symbol, Path(report.source).name):
        for quote in QUOTES:
            if quote in name.upper():
                return quote
        if B3.match(name):
            return "BRL"
    return ""


def _facts(context: Context) -> list[str]:
    say, span = context.say, context.span
    day = context.bars.day[span.first : span.end]
    n_days = int(day[-1] - day[0]) + 1
    length = context.bars.report.interval
    if not length and context.bar_length:
        length = context.duration(context.bar_length)
    facts = [
        f"{context.date_of(0)} \N{EN DASH} {context.date_of(span.end - span.first - 1)}",
        say.plural("{n} trading day", "{n} trading days", n_days),
        say.plural("{n} bar", "{n} bars", span.end - span.first),
        length and say("bars of {length}", length=length),
        context.session_zone,
        say.currency,
    ]
    return [fact for fact in facts if fact]


def _data(context: Context) -> dict[str, Any]:
    """Return what the page's script draws."""
    job, columns, span = context.result.job, context.result.columns, context.span
    contract = job.contract
    names = ("entry_price", "exit_price", "stop_price", "target_price", "pnl", "fees")
    packed = {name: columns[name] for name in names}
    packed |= {name: columns[name] - span.first for name in ("entry_bar", "exit_bar")}
    packed |= {name: columns[name] for name in ("side", "reason", "ambiguous")}
    return {
        "lang": context.say.code,
        "decimals": context.say.tick_decimals,
        "tick": contract.tick_size,
        "money": context.say.money(0.0).replace(context.say.number(0.0), "{}"),
        "contract": {
            "capital": contract.initial_capital,
            "value": contract.point_value * contract.quantity,
            "per_side": contract.fee_per_side * contract.quantity,
            "rate": contract.fee_rate,
        },
        "bars": packed_bars(context.bars, span, contract.tick_size),
        "trades": {"n": len(columns["side"]), **packed_columns(packed)},
        "months": [context.say.month(number) for number in range(1, 13)],
        "reasons": [context.say(text) for text in trades.REASONS.values()],
        "texts": _texts(context.say),
    }


def _texts(say: Language) -> dict[str, str]:
    """Return the texts that the page's script writes."""
    return {
        "all": say("All bars"),
        "previous": say("Previous trade"),
        "next": say("Next trade"),
        "trade": say("Trade {n} of {all}"),
        "closed": say("closed trades"),
        "marked": say("marked to market"),
        "drawdown": say("drawdown, marked to market"),
        "open": say("O"),
        "high": say("H"),
        "low": say("L"),
        "close": say("C"),
        "account": say("account"),
        "entry": say("Entry"),
        "exit": say("Exit"),
        "side": say("Side"),
        "price": say("Price"),
        "reason": say("Reason"),
        "net": say("Net result"),
        "stop": say("Stop"),
        "target": say("Target"),
        "fees": say("Fees"),
        "long": say("Long"),
        "short": say("Short"),
        "every": say("All trades"),
        "wins": say("With a profit"),
        "losses": say("Without profit"),
        "ambiguous": say("Ambiguous"),
        "ambiguous_trade": say("ambiguous"),
        "show": say("Show"),
        "more": say("More"),
        "page": say("{from} to {to} of {all}"),
        "stop_line": say("stop"),
        "target_line": say("target"),
        "with": say("trade with a profit"),
        "without": say("trade without profit"),
        "nan": say("n/a"),
        "how": say(
            "Click the chart; then the wheel or + and - zoom, dragging or the arrow keys move. "
            "Where trades stand too close, marks at the foot of the price say when they were."
        ),
        "chart": say("Chart of price, account and drawdown; arrow keys move it, + and - zoom."),
    }
