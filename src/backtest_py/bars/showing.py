"""How a notebook shows bars."""

from __future__ import annotations

from typing import Any, Final

from backtest_py.errors import UnsupportedError

__all__ = ["bars_card"]

_VOLUMES: Final = {"volume": "units traded", "ticks": "ticks or trades", "money": "money traded"}


def bars_card(bars: Any) -> str:
    """Return bars as a small table with the line of their closes, in HTML."""
    from backtest_py._io.notebooks import card, facts, sparkline  # noqa: PLC0415 - of a notebook

    report = bars.report
    told = {
        "bars": repr(bars).removeprefix("Bars(").removesuffix(")"),
        "source": report.market or report.source,
        "volume": _VOLUMES.get(report.volume_kind, "none") if bars.has_volume else "none",
        "notes": "; ".join((*report.notes, *report.warnings)),
    }
    try:
        line = sparkline(bars.close.tolist(), "close of each bar")
    except UnsupportedError:  # the columns are gone, as after a stream
        line = ""
    return card("Bars", line, facts({name: text for name, text in told.items() if text}))
