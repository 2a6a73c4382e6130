"""What ``backtest-py inspect`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest_py.parameters import counted
from backtest_py.report.tables import facts_table, rows_table, show

if TYPE_CHECKING:
    from backtest_py.data.inspection import Inspection

__all__ = ["print_inspection"]

_VOLUME_KINDS = {
    "volume": "units traded, such as contracts",
    "ticks": "ticks or trades",
    "money": "money traded",
    "none": "none",
}


def print_inspection(
    facts: Inspection, *, tick_size: float | None = None, off_grid_share: float | None = None
) -> None:
    """Print the facts about a file, its sessions, its longest gaps and its warnings.

    Parameters
    ----------
    facts : Inspection
        As :func:`backtest_py.data.inspect_bars` finds them.
    tick_size, off_grid_share : float, optional
        A tick that was asked about, and the share of prices, 0 to 1, that are not on its grid.
    """
    rows = {**_source(facts), **_market(facts)}
    if tick_size is not None and off_grid_share is not None:
        rows["Off the grid"] = f"{100.0 * off_grid_share:.3g} % of the prices, of {tick_size:g}"
    show(facts_table(rows))
    show(
        rows_table(
            ("month", "days", "bars", "first bar", "last bar", "late starts", "early ends"),
            (
                (
                    month.month,
                    f"{month.days:,}",
                    f"{month.bars:,}",
                    month.first,
                    month.last,
                    month.late_starts,
                    month.early_ends,
                )
                for month in facts.sessions
            ),
        )
    )
    if facts.largest_gaps:
        gaps = ((gap.after, gap.before, f"{gap.missing:,}") for gap in facts.largest_gaps)
        show(rows_table(("longest gaps, after", "before", "missing bars"), gaps, n_texts=2))
    for warning in facts.warnings:
        show(f"warning: {warning}")


def _source(facts: Inspection) -> dict[str, str]:
    source = facts.source
    done = [
        text
        for text in (
            "turned round, newest came first" if source.newest_first else "",
            _count(source.identical_dropped, "identical row", "dropped"),
            _count(source.empty_dropped, "empty bar", "dropped"),
        )
        if text
    ]
    facts_of = (source.source, source.format, source.encoding)
    rows = {
        "Market" if source.market else "File": source.market or ", ".join(filter(None, facts_of)),
        "Rows": counted(facts.rows, "bar") + (f" ({', '.join(done)})" if done else ""),
    }
    if source.certificate:
        rows["Certificate"] = source.certificate
    if source.ignored:
        rows["Not used"] = ", ".join(source.ignored)
    if source.notes:
        rows["Notes"] = "; ".join(source.notes)
    return rows


def _market(facts: Inspection) -> dict[str, str]:
    zone = facts.session_timezone or "no zone"
    volume = _VOLUME_KINDS[facts.volume_kind]
    if facts.has_volume:
        volume += f", {counted(facts.zero_volume_bars, 'bar')} with 0"
    elif facts.volume_kind != "none":
        volume += ", zero throughout"
    interval = "a single bar"
    if facts.interval_minutes is not None:
        minutes = "minute" if facts.interval_minutes == 1 else "minutes"
        share = f"{100.0 * facts.interval_share:.1f} % of the steps"
        interval = f"{facts.interval_minutes:g} {minutes} ({share})"
    return {
        "Span": f"{facts.first} to {facts.last}, {counted(facts.days, 'day')} ({zone})",
        "File's clock": facts.timezone or "no zone",
        "Interval": interval,
        "Gaps": f"{facts.n_gaps:,}, {counted(facts.missing_bars, 'bar')} missing",
        "Tick grid": "none found" if facts.tick_size is None else f"{facts.tick_size:g}",
        "Volume": volume,
        "Flat bars": f"{facts.flat_bars:,}",
        "Weekends": _weekends(facts),
    }


def _weekends(facts: Inspection) -> str:
    if facts.weekend_days == 0:
        return "none in the span"
    return "traded" if facts.trades_weekends else "closed"


def _count(number: int, what: str, done: str) -> str:
    return f"{counted(number, what)} {done}" if number else ""
