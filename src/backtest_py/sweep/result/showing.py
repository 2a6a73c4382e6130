"""How a notebook shows a sweep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.notebooks import card, columns_chart, grid

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["sweep_card"]

_BY: Final = "sharpe"
_BEST: Final = ("total_trades", "total_return", "profit_factor", _BY, "max_drawdown", "ruined")
_COLUMNS: Final = 40


def sweep_card(swept: Any) -> str:
    """Return a sweep as its best rows under the distribution of their metric, in HTML."""
    if _BY not in swept.columns:
        return card(repr(swept))
    values = swept.table([_BY])[_BY].to_numpy()
    finite = values[np.isfinite(values)]
    title = f"{_BY} of {len(finite):,} rows"
    chart = ""
    if len(finite):
        counts, edges = np.histogram(finite, _COLUMNS)
        title += f", from {edges[0]:,.3g} to {edges[-1]:,.3g}"
        chart = columns_chart(counts.tolist(), title)
    best = swept.top_table(5, by=_BY)
    keys = [name for name in best.column_names if "." in name]
    shown = [name for name in ("combo_id", *keys, *_BEST) if name in best.column_names]
    return card(repr(swept), chart, f"<p>{title}; the best:</p>", grid(shown, _rows(best, shown)))


def _rows(best: pa.Table, names: list[str]) -> list[list[str]]:
    return [[_cell(row[name]) for name in names] for row in best.to_pylist()]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if math.isfinite(value) and abs(value) < 100 else f"{value:,.2f}"
    return str(value)
