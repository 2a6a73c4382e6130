"""The best rows of a sweep: by a column, by the plateau around a row, or by a user's own metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np

from backtest_py.errors import ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.metrics.custom import ColumnMetric, TradeMetric, as_metric
from backtest_py.sweep.result.columns import any_true, ranking_keys, small_is_good
from backtest_py.sweep.result.plateaus import MetricOnGrid, with_columns
from backtest_py.sweep.result.ranking import BestRows
from backtest_py.sweep.result.reader import Filter
from backtest_py.sweep.store.tables import COMBO_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.backtest.result import BacktestResult
    from backtest_py.metrics.custom import Metric, OwnMetric
    from backtest_py.sweep.result.reader import RowReader

__all__ = ["CANDIDATES", "Ranking", "TopSettings"]

CANDIDATES: Final = 1_000
"""Rows that are replayed for a metric of trades."""
_ARITHMETIC: Final = frozenset("+-*/( ")
"""What tells arithmetic on columns from the name of one."""


class TopSettings(TypedDict, total=False):
    """How rows are ranked, as :meth:`SweepResult.top` takes it."""

    by: Metric
    ascending: bool | None
    where: str
    min_trades: int
    worst_case: bool
    plateau: bool
    candidates: int
    first_by: Metric


@dataclass(frozen=True, slots=True)
class Ranking:
    """How rows are ranked, checked: the arguments of :meth:`SweepResult.top`.

    Raises
    ------
    ConfigError
        If one is not allowed, or two do not fit.
    """

    by: Metric = "sharpe"
    ascending: bool | None = None
    where: str = ""
    min_trades: int = 0
    worst_case: bool = False
    plateau: bool = False
    candidates: int = CANDIDATES
    first_by: Metric = "sharpe"

    def __post_init__(self) -> None:
        whole("min_trades", self.min_trades, least=0)
        whole("candidates", self.candidates, least=1)
        metric = self.metric
        if isinstance(metric, TradeMetric):
            if self.plateau:
                raise ConfigError(
                    f"plateau needs the metric {metric.name} of every row, and a TradeMetric is "
                    "known of replayed ones only; rank plateaus by a column or a ColumnMetric"
                )
            if isinstance(as_metric(self.first_by, "first_by"), TradeMetric):
                raise ConfigError(
                    "first_by chooses what is replayed; give a column or a ColumnMetric"
                )
        if self.worst_case and not isinstance(metric, str):
            raise ConfigError(
                f"worst_case ranks by a column of both scenarios, and {metric.name} is a metric of "
                "your own; compute the worse of both in it"
            )

    @property
    def metric(self) -> str | OwnMetric:
        """What decides: the name of a column, or an own metric."""
        return as_metric(self.by)

    @property
    def small(self) -> bool:
        """Whether small values are good."""
        if self.ascending is not None:
            return self.ascending
        by = self.metric
        return small_is_good(by) if isinstance(by, str) else by.smaller_is_better

    def on(self, rows: RowReader) -> Ranking:
        """Return this ranking with arithmetic on columns as the metric that it gives."""
        by = self.metric
        if not isinstance(by, str) or by in rows.names or _ARITHMETIC.isdisjoint(by):
            return self
        formula = rows.formula(by, "by")
        return replace(self, by=ColumnMetric(formula.evaluate, by))

    def columns(self, rows: RowReader) -> list[str]:
        """Return the columns that decide, none for an own metric; refuse texts."""
        by = self.metric
        if not isinstance(by, str):
            return []
        rows.require_numbers(by)
        return [by, rows.other_scenario(by)] if self.worst_case else [by]

    def condition(self, rows: RowReader) -> Filter | None:
        """Return the condition that rows must meet, None where all do."""
        condition = rows.condition(self.where)
        if not self.min_trades:
            return condition
        rows.require_numbers("total_trades")
        return Filter.at_least("total_trades", int(self.min_trades)).joined(condition)

    def best(
        self,
        n: int,
        rows: RowReader,
        axes: Callable[[], Sequence[Mapping[str, Any]]],
        replays: Callable[[Iterable[int]], Iterator[BacktestResult]],
    ) -> pa.Table:
        """Return the best rows, best first.

        Parameters
        ----------
        n : int
            How many.
        rows : RowReader
            All rows.
        axes : callable
            Gives ``"axes"`` of the grid in the manifest.
        replays : callable
            Takes numbers of combinations, and yields their results.
        """
        whole("n", n, least=1)
        by = self.metric
        if isinstance(by, TradeMetric):
            return self._by_trades(by, n, rows, axes, replays)
        if self.plateau:
            surface = self.surface(rows, axes())
            best = self._best_by(n, rows, surface.ids, surface.keys(), surface.ruin)
            columns = surface.columns()
            if isinstance(by, ColumnMetric):
                columns = {by.name: surface.metric, **columns}
            return _shown(rows, best, surface.ids, columns, by)
        if isinstance(by, ColumnMetric):
            ids, values, ruin = own_values(by, rows, self.condition(rows))
            best = self._best_by(n, rows, ids, values if self.small else -values, ruin)
            return _shown(rows, best, ids, {by.name: values}, by)
        return self._by_columns(n, rows)

    def surface(self, rows: RowReader, axes: Sequence[Mapping[str, Any]]) -> MetricOnGrid:
        """Return what decides at its place in the grid, of all rows, whatever the condition."""
        by = self.metric
        if isinstance(by, ColumnMetric):
            _, values, ruin = own_values(by, rows)
            table = rows.table([COMBO_ID, *ruin])
            return MetricOnGrid.of_values(by.name, values, table, axes, ruin=ruin, small=self.small)
        return MetricOnGrid.of_columns(rows, self.columns(rows), axes, small=self.small)

    def _by_columns(self, n: int, rows: RowReader) -> pa.Table:
        columns = self.columns(rows)
        ruin = rows.ruin_columns(columns)
        best = BestRows(n)
        wanted = [COMBO_ID, *columns, *ruin]
        for source, batch in rows.batches(wanted, self.condition(rows)):
            # the largest key is the worst case, and nan if either is
            keys = ranking_keys(batch, dict.fromkeys(columns, self.small)).max(axis=0)
            ids = batch[COMBO_ID].to_numpy()
            best.add(keys, ids, ruined=any_true(batch, ruin), source=source)
        return rows.take(best.ids, best.sources)

    def _best_by(
        self,
        n: int,
        rows: RowReader,
        ids: NDArray[np.int64],
        keys: NDArray[np.float64],
        ruin: Sequence[str],
    ) -> BestRows:
        """Return the best of the rows that meet the condition, by keys of some ids."""
        best = BestRows(n)
        for source, batch in rows.batches([COMBO_ID, *ruin], self.condition(rows)):
            own = batch[COMBO_ID].to_numpy()
            found = keys[np.searchsorted(ids, own)]
            best.add(found, own, ruined=any_true(batch, ruin), source=source)
        return best

    def _by_trades(
        self,
        by: TradeMetric,
        n: int,
        rows: RowReader,
        axes: Callable[[], Sequence[Mapping[str, Any]]],
        replays: Callable[[Iterable[int]], Iterator[BacktestResult]],
    ) -> pa.Table:
        """Replay the best rows by another metric, and rank these by their trades."""
        first = replace(self, by=self.first_by, ascending=None).on(rows)
        found = first.best(max(n, self.candidates), rows, axes, replays)
        refuse_taken(by.name, found.column_names)
        ids = found[COMBO_ID].to_numpy()
        values = np.array(
            [
                by.value(result, f"combination {combo_id:,}")
                for combo_id, result in zip(ids.tolist(), replays(ids.tolist()), strict=True)
            ],
            np.float64,
        )
        best = BestRows(n)
        ruined = any_true(found, rows.ruin_columns([]))
        best.add(values if self.small else -values, ids, ruined=ruined, source=0)
        place = np.argsort(ids, kind="stable")
        chosen = place[np.searchsorted(ids, best.ids, sorter=place)]
        found = with_columns(found, {by.name: values}, _last_parameter(found))
        return found.take(chosen)


def own_values(
    by: ColumnMetric, rows: RowReader, condition: Filter | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Return the metric of the rows that meet a condition.

    Returns
    -------
    ids : ndarray of int64, shape (n_rows,)
        Their numbers, ascending.
    values : ndarray of float64, shape (n_rows,)
        The metric.
    ruin : list of str
        Columns that tell who is ruined, in the scenarios whose columns the metric looked at.
    """
    refuse_taken(by.name, rows.names)
    columns = _LazyColumns(rows, condition)
    ids: NDArray[np.int64] = columns[COMBO_ID]
    values = by.values(columns) if len(ids) else np.empty(0)
    return ids, values, rows.ruin_columns(columns.read)


def refuse_taken(name: str, columns: Sequence[str]) -> None:
    """Refuse the name of an own metric that a column of the sweep has.

    Raises
    ------
    ConfigError
        With what to do.
    """
    if name in columns or name in METRICS:
        raise ConfigError(
            f"the metric's name {name!r} is that of a column of the sweep; give another name="
        )


def whole(name: str, value: object, *, least: int) -> None:
    """Refuse what is no whole number, or too small a one.

    Raises
    ------
    ConfigError
        With the name, the value and what is allowed.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f"{name} = {value!r} is not allowed; give a whole number of at least {least}"
        )


class _LazyColumns(Mapping[str, "NDArray[Any]"]):
    """Columns of the rows that meet a condition, by ``combo_id``, read when they are asked for."""

    def __init__(self, rows: RowReader, condition: Filter | None) -> None:
        self._rows = rows
        self._condition = condition
        self.read: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.read:
            column = self._rows.table([name], self._condition)[name]
            self.read[name] = column.to_numpy(zero_copy_only=False)
        return self.read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._rows.names

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.names)

    def __len__(self) -> int:
        return len(self._rows.names)


def _shown(
    rows: RowReader,
    best: BestRows,
    ids: NDArray[np.int64],
    columns: Mapping[str, NDArray[np.float64]],
    by: str | ColumnMetric,
) -> pa.Table:
    """Return the best rows with columns of all ids, beside the metric or behind the parameters."""
    table = rows.take(best.ids, best.sources)
    places = np.searchsorted(ids, best.ids)
    shown = {name: values[places] for name, values in columns.items()}
    return with_columns(table, shown, by if isinstance(by, str) else _last_parameter(table))


def _last_parameter(table: pa.Table) -> str:
    names: list[str] = table.column_names
    first = next((at for at, name in enumerate(names) if name in METRICS), len(names))
    return names[max(first - 1, 0)]
