"""Columns of a sweep: which values are good, arrays to rank by, and bytes to send."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from backtest_py.metrics.catalogue import METRICS, SMALLER_IS_BETTER
from backtest_py.rules import Intrabar
from backtest_py.sweep.store.tables import scenario_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Direction",
    "any_true",
    "floats",
    "metric_behind",
    "plateau_columns",
    "ranking_keys",
    "small_is_good",
    "table_bytes",
]

Direction: TypeAlias = Literal["max", "min"]

_STORED: Final = re.compile(r"plateau_(.+)_(?:worst|median|score)")


def plateau_columns(metric: str) -> tuple[str, str, str]:
    """Return the columns in which plateaus of a metric are stored: worst, median and score.

    Examples
    --------
    >>> plateau_columns("sharpe")
    ('plateau_sharpe_worst', 'plateau_sharpe_median', 'plateau_sharpe_score')
    """
    return f"plateau_{metric}_worst", f"plateau_{metric}_median", f"plateau_{metric}_score"


def metric_behind(column: str) -> str:
    """Return the column of which another holds the plateaus; any other column as it is."""
    stored = _STORED.fullmatch(column)
    return stored[1] if stored else column


def small_is_good(column: str) -> bool:
    """Return whether small values of a column are good, by the metric of either scenario.

    Examples
    --------
    >>> small_is_good("max_drawdown"), small_is_good("max_drawdown_target_first")
    (True, True)
    >>> small_is_good("sharpe"), small_is_good("rules.stop")
    (False, False)
    """
    column = metric_behind(column)
    for scenario in Intrabar.__members__:
        metric = column.removesuffix(scenario_column("", scenario))
        if metric in METRICS:
            return metric in SMALLER_IS_BETTER
    return False


def floats(column: Any) -> NDArray[np.float64]:
    """Return a column of numbers or bools as float64."""
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def ranking_keys(batch: Any, smaller: Mapping[str, bool]) -> NDArray[np.float64]:
    """Return columns as keys of which small is good, shape (n_columns, n_rows).

    ``smaller`` tells of each column whether its small values are good; others are negated.
    """
    signs = {name: 1.0 if small else -1.0 for name, small in smaller.items()}
    return np.stack([sign * floats(batch[name]) for name, sign in signs.items()])


def any_true(batch: Any, names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which rows are true in any of some columns."""
    found = np.zeros(batch.num_rows, np.bool_)
    for name in names:
        found |= batch[name].to_numpy(zero_copy_only=False).astype(np.bool_)
    return found


def table_bytes(table: Any) -> bytes:
    """Return a table as an Arrow stream, for pickle: a pickled slice keeps its whole buffer."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
