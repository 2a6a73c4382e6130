"""The numbers of a shard, and the table that is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.store.tables import coded_column, shard_table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.sweep.space.combinations import BoxRows
    from backtest_py.sweep.spec import SweepSpec
    from backtest_py.sweep.store.block_table import BlockRows

__all__ = ["Numbers", "Tabulate", "metrics_of_first_range"]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was computed for the combinations of a shard.

    Attributes
    ----------
    rows : BoxRows
        The combinations.
    values : ndarray of float64, shape (n_scenarios, n_ranges, n_metrics + 3*n_blocks, n)
        As engines give them.
    kept : BlockRows or None
        Sums of blocks of the combinations of which a sweep keeps them.
    """

    rows: BoxRows
    values: NDArray[np.float64]
    kept: BlockRows | None = None

    @property
    def metrics(self) -> NDArray[np.float64]:
        """The metrics, shape (n_scenarios, n_ranges, n_metrics, n), as in ``catalogue.METRICS``."""
        return self.values[:, :, : len(METRICS)]

    @property
    def blocks(self) -> NDArray[np.float64]:
        """Sums of daily returns and of their squares, and days, of the blocks of each range.

        The shape is (n_scenarios, n_ranges, n_blocks, 3, n).
        """
        sums = self.values[:, :, len(METRICS) :]
        return sums.reshape(*sums.shape[:2], -1, 3, sums.shape[-1])


Tabulate: TypeAlias = Callable[["SweepSpec", Numbers, str], "pa.Table"]
"""What is kept of a shard: its table, which carries the hashes of its signals."""


def metrics_of_first_range(spec: SweepSpec, found: Numbers, hashes: str) -> pa.Table:
    """Return the table of a sweep's shard: parameters, and the metrics of the first range."""
    combo_ids, digits, _ = found.rows
    parameters = {
        axis.key: coded_column(column, axis.values)
        for axis, column in zip(spec.grid.axes, digits, strict=True)
    }
    metrics = found.metrics[:, 0]
    other = (spec.other_scenario, metrics[1]) if spec.scenarios else None
    blocks = b"" if found.kept is None else found.kept.to_bytes()
    return shard_table(combo_ids, parameters, metrics[0], other, hashes, blocks)
