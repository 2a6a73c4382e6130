"""Slices and heatmaps: a metric by the values of one parameter or two."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import unknown_name
from backtest_py.sweep.result.columns import floats, small_is_good
from backtest_py.sweep.result.reader import Filter
from backtest_py.sweep.result.reductions import ReducedGroups
from backtest_py.sweep.store.manifest import believing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from backtest_py.sweep.result.reader import RowReader

__all__ = ["SweptValues", "metric_by_values"]

MAX_VALUES: Final = 10_000
"""Distinct values of a parameter beyond which a slice or heatmap cannot be read any more."""


class SweptValues:
    """The values of each swept parameter, in the order in which they are shown.

    Numbers and times of day ascend. Choices, such as units, keep the order of the grid.

    Parameters
    ----------
    axes : sequence of mapping
        ``"axes"`` of the grid in a manifest: ``"key"`` and, unless drawn from a range,
        ``"values"``.
    rows : RowReader
        Where the values of a parameter that was drawn from a range are read.

    Attributes
    ----------
    axes : sequence of mapping
        As given.
    """

    def __init__(self, axes: Sequence[Mapping[str, Any]], rows: RowReader) -> None:
        self.axes = axes
        self._rows = rows

    @property
    def keys(self) -> tuple[str, ...]:
        """Full keys of the swept parameters, in the order of the grid."""
        return tuple(axis["key"] for axis in self.axes)

    def of(self, key: str) -> list[Any]:
        """Return the values of a parameter.

        Raises
        ------
        ConfigError
            If the parameter was not swept, or takes too many values.
        """
        if key not in self._values:
            raise unknown_name("swept parameter", key, self._values)
        values = self._values[key]
        if len(values) > MAX_VALUES:
            raise ConfigError(
                f"{key} takes {len(values):,} values, too many to show; group them in a query "
                "(sql), or from table()"
            )
        return values

    def match(self, key: str, value: object) -> Any:
        """Return the swept value that equals a value, as the columns hold it.

        Raises
        ------
        ConfigError
            If there is none.
        """
        for swept in self.of(key):
            if swept == value and isinstance(swept, str) == isinstance(value, str):
                return swept
        shown = ", ".join(map(repr, self.of(key)[:20]))
        raise ConfigError(f"{key} = {value!r} was not swept; its values are {shown}")

    @cached_property
    @believing("the sweep")
    def _values(self) -> dict[str, list[Any]]:
        found = {}
        for axis in self.axes:
            values = axis.get("values")
            if values is None:  # drawn from a continuous range
                values = self._rows.table([axis["key"]])[axis["key"]].unique().to_pylist()
            texts = isinstance(values[0], str)
            ascending = not texts or all(text == "" or text[:1].isdigit() for text in values)
            found[axis["key"]] = sorted(values) if ascending else list(values)
        return found


@believing("the sweep")
def metric_by_values(
    rows: RowReader,
    swept: SweptValues,
    keys: Sequence[str],
    by: str,
    fixed: Mapping[str, Any],
    reduce: str,
    where: str,
) -> NDArray[np.float64]:
    """Return a metric for each combination of values of some parameters, the last one fastest.

    Arguments as :meth:`SweepResult.slice` takes them.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.compute as pc  # noqa: PLC0415

    rows.require_numbers(by)
    condition = rows.condition(where)
    for key, value in fixed.items():
        condition = Filter.equal(key, swept.match(key, value)).joined(condition)
    if reduce == "best":
        reduce = "min" if small_is_good(by) else "max"
        condition = rows.without_ruined(condition, [by])
    values_of = [pa.array(swept.of(key)) for key in keys]
    groups = ReducedGroups(int(np.prod([len(values) for values in values_of])), reduce)
    for _, batch in rows.batches([*keys, by], condition):
        codes = np.zeros(batch.num_rows, np.int64)
        for key, values in zip(keys, values_of, strict=True):
            codes = codes * len(values) + pc.index_in(batch[key], value_set=values).to_numpy()
        groups.add(codes, floats(batch[by]))
    return groups.values()
