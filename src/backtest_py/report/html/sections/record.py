"""All metrics, what was asked for, what the bars are, and what ran: to do it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest_py.metrics.catalogue import CATALOGUE, SECTIONS
from backtest_py.provenance import configuration
from backtest_py.report.html.blocks import Cell, Facts, Note, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.report.html.context import Context

__all__ = ["data", "metrics", "settings"]


def metrics(context: Context) -> Section:
    """Return every metric."""
    say = context.say
    blocks = []
    for section in SECTIONS:
        rows: list[list[Cell | str]] = []
        for name, info in CATALOGUE.items():
            if info.section == section:
                value = context.metrics[name]
                text = say.metric(float(value), info.unit)
                rows.append([say(info.title), Cell(text, metric=name, value=repr(value))])
        blocks.append(Table(title=say(section), header=(), rows=rows, look="pairs"))
    return Section("metrics", say("Metrics"), say("All metrics"), "", blocks)


def settings(context: Context) -> Section:
    """Return what was asked for."""
    say = context.say
    asked = configuration(context.result.job)
    strategy: Mapping[str, Any] = asked["strategy"]
    tables = [
        (say("Strategy {name}", name=strategy["name"]), _parameters(strategy)),
        (say("Rules"), asked["rules"]),
        (say("Contract"), asked["contract"]),
        (say("Metrics and range"), {**asked["metrics"], **_range(asked["range"])}),
    ]
    blocks = [
        Facts(title=title, facts=[(name, _value(context, value)) for name, value in facts.items()])
        for title, facts in tables
    ]
    return Section(
        "settings",
        say("Settings"),
        say("Settings"),
        say("Names and values as the configuration file has them."),
        blocks,
    )


def _parameters(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a strategy, and the hash of signals that were given."""
    given = {name: text for name, text in strategy.items() if name not in {"name", "params"}}
    return {**strategy["params"], **given}


def _range(span: Mapping[str, str]) -> dict[str, str]:
    return {f"range.{name}": value for name, value in span.items()}


def _value(context: Context, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = f"{value:.10g}"
        return text.replace(".", ",") if context.say.code == "pt-BR" else text
    return str(value) or "\N{EN DASH}"


def data(context: Context) -> Section:
    """Return what the bars are, and what ran on them."""
    say = context.say
    blocks = [
        Facts(title=say("Bars"), facts=_bars(context)),
        Facts(title=say("Provenance"), facts=_provenance(context)),
    ]
    report = context.bars.report
    notes = [Note(text=text, wide=True, level="warning") for text in report.warnings]
    notes += [Note(text=text, wide=True) for text in report.notes]
    return Section("data", say("Bars"), say("Bars and provenance"), "", [*blocks, *notes])


def _bars(context: Context) -> list[tuple[str, str]]:
    say, bars, job = context.say, context.bars, context.result.job
    report = bars.report
    kinds = {"volume": "volume", "ticks": "ticks or trades", "money": "money", "none": "none"}
    zone = context.session_zone
    length = bars.report.interval
    if not length:
        length = context.duration(context.bar_length) if context.bar_length else say("n/a")
    off = bars.off_grid(job.contract.tick_size)
    facts = [
        (say("Source"), report.source or report.format),
        (say("Symbol"), report.symbol),
        (say("Bars"), say.count(len(bars))),
        (say("First bar"), context.time_of(0)),
        (say("Last bar"), context.time_of(len(bars) - 1)),
        (say("Trading days"), say.count(len(bars.session_dates))),
        (say("Length of a bar"), length),
        (say("Session's clock"), zone or say("as the file has it, no time zone")),
        (say("Volume"), say(kinds.get(report.volume_kind, "none"))),
        (say("Rows read"), say.count(report.rows_read) if report.rows_read else ""),
        (
            say("Rows dropped"),
            say.count(report.identical_dropped + report.empty_dropped) if report.rows_read else "",
        ),
        (
            say("Prices off the tick grid"),
            say("{n} of {all}", n=say.count(off), all=say.count(4 * len(bars))),
        ),
        (say("Longest pause within a day"), _pause(context)),
        (say("SHA-256 of the bars"), context.result.provenance.bars_hash),
        (say("Certificate"), report.certificate),
    ]
    return [(name, text) for name, text in facts if text]


def _pause(context: Context) -> str:
    """Return the longest time between two bars of one day, where it is longer than usual."""
    bars, span = context.bars, context.span
    time, day = bars.time[slice(*span)], bars.day[slice(*span)]
    steps = np.where(day[1:] == day[:-1], np.diff(time), 0)
    if not len(steps) or steps.max() <= context.bar_length:
        return context.say("none")
    row = int(steps.argmax())
    return context.say(
        "{length}, from {date}",
        length=context.duration(float(steps[row])),
        date=context.time_of(span.first + row),
    )


def _provenance(context: Context) -> list[tuple[str, str]]:
    say, found = context.say, context.result.provenance
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    return [
        (say("Engine"), found.engine),
        (say("Why this engine"), found.reason),
        (say("Build"), ", ".join(f"{name} {text}" for name, text in found.build.items())),
        (say("Versions"), versions),
        (say("Semantics version"), str(found.semantics_version)),
        (say("SHA-256 of the configuration"), found.config_hash),
    ]
