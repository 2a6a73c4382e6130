"""What ``backtest-py inspect --calendar`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backtest_py.parameters import counted
from backtest_py.report.tables import facts_table, rows_table, show

if TYPE_CHECKING:
    from backtest_py.data.market.calendars import SessionCheck

__all__ = ["print_sessions"]

_MOST: Final = 20
"""Days shown of each kind; ``--json`` has all of them."""


def print_sessions(check: SessionCheck) -> None:
    """Print how bars keep to the sessions of their market."""
    rows = {
        "Calendar": f"{check.market} ({check.timezone}), {check.first} to {check.last}: "
        f"{counted(check.sessions, 'session')}, {check.traded:,} with bars",
        "Missing": _days(check.missing),
        "No sessions": _days(check.unexpected),
        "Late starts": str(len(check.late_starts)),
        "Early ends": str(len(check.early_ends)),
        "Out of hours": counted(sum(each.bars for each in check.outside), "bar"),
    }
    if check.hours_unknown:
        rows["Hours"] = f"not known of {counted(check.hours_unknown, 'session')}"
    show(facts_table(rows))
    edges = [("late start", each) for each in check.late_starts[:_MOST]]
    edges += [("early end", each) for each in check.early_ends[:_MOST]]
    table = [(each.date, what, each.expected, each.found, each.why) for what, each in edges]
    table += [
        (each.date, "out of hours", "", f"{each.first} to {each.last}", counted(each.bars, "bar"))
        for each in check.outside[:_MOST]
    ]
    if table:
        show(rows_table(("day", "what", "expected", "found", "remark"), table, n_texts=5))


def _days(days: tuple[str, ...]) -> str:
    """Return the first few days as text."""
    more = f" and {len(days) - _MOST:,} more" if len(days) > _MOST else ""
    return (", ".join(days[:_MOST]) + more) or "none"
