"""Columns of a sweep: which values are good, arrays to rank by, and bytes to send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from backtest_py.records import METRICS, Intrabar
from backtest_py.sweep.store.tables import SMALLER_IS_BETTER, scenario_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Direction", "any_true", "floats", "ranking_keys", "small_is_good", "table_bytes"]

Direction: TypeAlias = Literal["max", "min"]


def small_is_good(column: str) -> bool:
    """Return whether small values of a column are good, by the metric of either scenario.

    Examples
    --------
    >>> small_is_good("max_drawdown"), small_is_good("max_drawdown_target_first")
    (True, True)
    >>> small_is_good("sharpe"), small_is_good("rules.stop")
    (False, False)
    """
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
