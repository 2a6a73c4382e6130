"""Plateaus of a sweep: a metric, and what it is one step away in the grid.

The numbers are those of :class:`backtest_py.overfitting.GridValues`; here they get the names and
values of parameters. A ruined account counts as a row whose metric is undefined, the worst of all.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.parameters import counted
from backtest_py.sweep.result.columns import any_true, floats
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.overfitting.plateaus import GridValues, Plateaus
    from backtest_py.sweep.result.reader import RowReader

__all__ = ["MEDIAN", "WORST", "MetricOnGrid", "PlateauReport", "PlateauRow", "Step", "with_columns"]

MEDIAN: Final = "plateau_median"
WORST: Final = "plateau_worst"
_NAMED: Final = 3
"""Cliffs that the text names; the report has all."""


@dataclass(frozen=True, slots=True)
class PlateauRow:
    """A combination and what the metric is around it.

    Attributes
    ----------
    combo_id : int
        Its number.
    parameters : dict
        The swept values, by full key.
    metric, worst, median : float
        Its own metric, and the worst and the median of its neighbours; nan where undefined.
    n_neighbours : int
        Rows one step up or down along one parameter.
    """

    combo_id: int
    parameters: dict[str, Any]
    metric: float
    worst: float
    median: float
    n_neighbours: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step of one parameter from the best row to a neighbour that loses most of its lead.

    Attributes
    ----------
    key : str
        The parameter.
    start, end : object
        Its value in the best row and in the neighbour.
    combo_id : int
        The neighbour's number.
    metric : float
        The neighbour's metric; nan where undefined, as that of a ruined account.
    """

    key: str
    start: Any
    end: Any
    combo_id: int
    metric: float


@dataclass(frozen=True, slots=True)
class PlateauReport:
    """The best row beside the best plateau. ``print`` shows its text.

    Attributes
    ----------
    by : str
        The metric.
    best_row, best_plateau : PlateauRow or None
        The row with the best metric, and the one with the best score: the worse of its own metric
        and the worst of its neighbours. None where no metric is defined, or no row has neighbours.
    cliffs : tuple of Step
        Steps from the best row that lose more than half of its lead over the median row, or have
        no metric at all.
    edges : tuple of str
        Parameters of three or more values of which the best row has the first or the last.
    explained : dict of str to float
        Share of the metric's variance that each parameter explains, the largest first.
    """

    by: str
    best_row: PlateauRow | None
    best_plateau: PlateauRow | None
    cliffs: tuple[Step, ...]
    edges: tuple[str, ...]
    explained: dict[str, float]

    @property
    def text(self) -> str:
        """The report in plain words, one statement to a line."""
        return "\n".join(_told(self))

    def __str__(self) -> str:
        return self.text

    def to_mapping(self) -> dict[str, Any]:
        """Return the report as plain values, with its text."""
        return {**asdict(self), "text": self.text}


class MetricOnGrid:
    """A metric of every row of a sweep, at its place in the grid.

    Parameters
    ----------
    name : str
        What the metric is called.
    values : ndarray of float64, shape (n_rows,)
        The metric, nan where it is undefined or the account is ruined.
    ids : ndarray of int64, shape (n_rows,)
        ``combo_id`` of the rows, ascending.
    axes : sequence of mapping
        ``"axes"`` of the grid in a manifest: ``"key"`` and ``"values"``.
    ruin : sequence of str
        Columns that tell which accounts are ruined.
    small : bool
        Whether small values are good.

    Attributes
    ----------
    name, ids, ruin, small
        As given.
    metric : ndarray of float64, shape (n_rows,)
        ``values``.
    grid : GridValues
        The same with its places.

    Raises
    ------
    ConfigError
        If an axis is continuous.
    """

    def __init__(
        self,
        name: str,
        values: NDArray[np.float64],
        ids: NDArray[np.int64],
        axes: Sequence[Mapping[str, Any]],
        *,
        ruin: Sequence[str],
        small: bool,
    ) -> None:
        # no other look at a sweep needs these statistics
        from backtest_py.overfitting.plateaus import GridValues  # noqa: PLC0415

        for axis in axes:
            if "values" not in axis:
                raise ConfigError(
                    f"{axis['key']} was drawn from a continuous range, where no combination is one "
                    "step away from another, so there are no plateaus; sweep a grid of listed "
                    "values around the best row"
                )
        self.name = name
        self.ids = ids
        self.metric = values
        self.ruin = ruin
        self.small = small
        self._axes = [(axis["key"], list(axis["values"])) for axis in axes]
        shape = [len(values) for _, values in self._axes] or [1]
        self.grid: GridValues = GridValues(values, shape, ids, better="small" if small else "large")

    @cached_property
    def around(self) -> Plateaus:
        """What the neighbours are worth.

        Raises
        ------
        ConfigError
            If there are several rows, and no two are neighbours.
        """
        found = self.grid.plateaus()
        if len(self.ids) > 1 and not found.n_neighbours.any():
            raise ConfigError(
                f"no two of the {len(self.ids):,} rows are neighbours in the grid of "
                f"{counted(self.grid.size, 'combination')}, so there are no plateaus; sweep the "
                "whole grid, or one of fewer values around the best row"
            )
        return found

    @classmethod
    def of_columns(
        cls,
        rows: RowReader,
        columns: Sequence[str],
        axes: Sequence[Mapping[str, Any]],
        *,
        small: bool,
    ) -> MetricOnGrid:
        """Read the metric; the worst of several columns where the worst case is asked for."""
        if columns[0] in {COMBO_ID, *(axis["key"] for axis in axes)}:
            raise ConfigError(f"{columns[0]} is no metric; plateaus need one, such as sharpe")
        ruin = rows.ruin_columns(columns)
        table = rows.table([COMBO_ID, *columns, *ruin])
        values = np.stack([floats(table[name]) for name in columns])
        worse = values.max(axis=0) if small else values.min(axis=0)
        return cls.of_values(columns[0], worse, table, axes, ruin=ruin, small=small)

    @classmethod
    def of_values(
        cls,
        name: str,
        values: NDArray[np.float64],
        table: pa.Table,
        axes: Sequence[Mapping[str, Any]],
        *,
        ruin: Sequence[str],
        small: bool,
    ) -> MetricOnGrid:
        """Take values of the rows of a table that has ``combo_id`` and tells who is ruined."""
        ids = table[COMBO_ID].to_numpy()
        sound = np.where(any_true(table, ruin), np.nan, values)
        return cls(name, sound, ids, axes, ruin=ruin, small=small)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the worst and the median of every row's neighbours, by the names of columns."""
        return {WORST: self.around.worst, MEDIAN: self.around.median}

    def keys(self) -> NDArray[np.float64]:
        """Return scores of which small is good, nan where undefined, shape (n_rows,)."""
        score = self.around.score
        return score if self.small else -score

    def report(self, among: NDArray[np.bool_] | None = None) -> PlateauReport:
        """Return the best row beside the best plateau, of the rows that may be chosen."""
        winner = self.grid.winner(among=among)
        row, place = winner.row, self._digits(winner.row)
        cliffs = [
            Step(
                self._axes[cliff.axis][0],
                self._axes[cliff.axis][1][place[cliff.axis]],
                self._axes[cliff.axis][1][place[cliff.axis] + cliff.step],
                int(self.ids[cliff.row]),
                cliff.value,
            )
            for cliff in winner.cliffs
        ]
        explained = {
            key: found.explained
            for (key, _), found in zip(self._axes, self.grid.sensitivity(), strict=False)
        }
        keys = self.keys()
        if among is not None:
            keys = np.where(among, keys, np.nan)
        best = -1 if np.isnan(keys).all() else int(np.nanargmin(keys))
        return PlateauReport(
            self.name,
            self._row(row),
            self._row(best),
            tuple(cliffs),
            tuple(self._axes[axis][0] for axis in winner.edges),
            dict(sorted(explained.items(), key=lambda item: _descending(item[1]))),
        )

    def sensitivity(self) -> pd.DataFrame:
        """Return one row for each parameter, as :meth:`SweepResult.sensitivity` describes them."""
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        found: dict[str, dict[str, Any]] = {}
        for (key, values), each in zip(self._axes, self.grid.sensitivity(), strict=False):
            means = each.means if self.small else -each.means
            known = bool(each.counts.any())
            best = int(np.nanargmin(means)) if known else -1
            worst = int(np.nanargmax(means)) if known else -1
            found[key] = {
                "explained": each.explained,
                "range_of_means": each.range_of_means,
                "best_value": values[best] if known else None,
                "best_mean": float(each.means[best]) if known else math.nan,
                "worst_value": values[worst] if known else None,
                "worst_mean": float(each.means[worst]) if known else math.nan,
                "n_values": len(values),
            }
        order = sorted(found, key=lambda key: _descending(found[key]["explained"]))
        index = pd.Index(order, name="parameter", dtype=object)
        return pd.DataFrame([found[key] for key in order], index=index)

    def _digits(self, row: int) -> list[int]:
        """Return the positions on every axis of a row."""
        place, digits = int(self.ids[row]), []
        for _, values in reversed(self._axes):
            place, digit = divmod(place, len(values))
            digits.append(digit)
        return digits[::-1]

    def _row(self, row: int) -> PlateauRow | None:
        if row < 0:
            return None
        digits = zip(self._axes, self._digits(row), strict=True)
        return PlateauRow(
            int(self.ids[row]),
            {key: values[digit] for (key, values), digit in digits},
            float(self.metric[row]),
            float(self.around.worst[row]),
            float(self.around.median[row]),
            int(self.around.n_neighbours[row]),
        )


def with_columns(table: pa.Table, columns: Mapping[str, NDArray[Any]], after: str) -> pa.Table:
    """Return a table with more columns, which stand behind one of its own."""
    at = table.column_names.index(after) + 1
    for place, (name, values) in enumerate(columns.items(), start=at):
        table = table.add_column(place, name, arrow_array(values))
    return table


def _descending(share: float) -> float:
    return math.inf if math.isnan(share) else -share


def _told(report: PlateauReport) -> list[str]:
    best, plateau, name = report.best_row, report.best_plateau, report.by
    if best is None:
        return [f"No row has a {name} that is defined and an account that is not ruined."]
    said = [f"Best row by {name}: {_row_text(best)}"]
    if plateau is None:
        said.append("Best plateau: none, because no row has neighbours that are all defined.")
    elif plateau.combo_id == best.combo_id:
        said.append("Best plateau: the same row.")
    else:
        said.append(f"Best plateau: {_row_text(plateau)}")
    if report.cliffs:
        steps = [_step_text(step) for step in report.cliffs[:_NAMED]]
        more = len(report.cliffs) - len(steps)
        said.append(
            f"Cliffs: {len(report.cliffs)} of {counted(best.n_neighbours, 'neighbour')} of the "
            f"best row lose more than half of its lead: {'; '.join(steps)}"
            + (f"; and {more} more." if more else ".")
        )
    if report.edges:
        ends = ", ".join(f"{key} = {_value(best.parameters[key])}" for key in report.edges)
        said.append(f"Edge of the grid: the best row has {ends}; better values may lie outside.")
    shares = [
        f"{key} {100.0 * share:.0f} %"
        for key, share in report.explained.items()
        if not math.isnan(share)
    ]
    if shares:
        said.append(f"Sensitivity, the share of the {name} explained: {', '.join(shares)}.")
    return said


def _row_text(row: PlateauRow) -> str:
    values = ", ".join(f"{key} = {_value(value)}" for key, value in row.parameters.items())
    around = (
        f"one step away the median is {_number(row.median)} and the worst {_number(row.worst)}, of "
        f"{counted(row.n_neighbours, 'neighbour')}"
        if row.n_neighbours
        else "it has no neighbour"
    )
    return f"combination {row.combo_id:,} with {_number(row.metric)} ({values}); {around}."


def _step_text(step: Step) -> str:
    to = f"{step.key} {_value(step.start)} to {_value(step.end)}"
    return f"{to} leaves {_number(step.metric)}"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:,.2f}"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
