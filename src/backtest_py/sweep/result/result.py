"""A sweep, done: every combination with its parameters and metrics, and ways to look at them.

Rows stay in the files of the shards, or in memory where a small sweep was not written. What is
asked for is read from there: only the columns that matter, shard by shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from backtest_py._io.files import replacing
from backtest_py.backtest.result import BacktestResult
from backtest_py.backtest.run import prepare
from backtest_py.contract import MetricSettings
from backtest_py.data.source import load_source
from backtest_py.engines import resolve
from backtest_py.errors import BacktestError, ConfigError, DataError
from backtest_py.metrics.catalogue import SMALLER_IS_BETTER
from backtest_py.parameters import unknown_name
from backtest_py.rules import Intrabar
from backtest_py.strategies.user import FunctionStrategy
from backtest_py.sweep.result.groups import Groups, Reduction
from backtest_py.sweep.result.ranking import Front, Ranking
from backtest_py.sweep.result.rows import Rows
from backtest_py.sweep.space.sample import SampledGrid, grid_from_mapping
from backtest_py.sweep.store.store import done_shards, read_manifest
from backtest_py.sweep.store.tables import COMBO_ID, scenario_column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.sweep.space.grid import Grid

__all__ = ["SweepResult", "open_sweep"]

Direction: TypeAlias = Literal["max", "min"]

_MAX_LEVELS: Final = 10_000
"""Distinct values of a parameter beyond which a slice or heatmap shows nothing."""


def open_sweep(path: str | Path, bars: Bars | None = None) -> SweepResult:
    """Open the sweep in a directory; it may be running still.

    Parameters
    ----------
    path : str or Path
        What was given to the sweep as ``out``.
    bars : Bars, optional
        The bars that were swept, for :meth:`SweepResult.replay`; without them it reads their file.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        If the directory holds no sweep.
    DataError
        If it is damaged, or no shard is done yet.
    """
    return SweepResult.open(path, bars=bars)


class SweepResult:
    """The combinations of a sweep, with their parameters and metrics.

    Attributes
    ----------
    n_combos : int
        Combinations that are done.
    columns : tuple of str
        ``combo_id``, the swept parameters by full key, and the metrics.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = pa.table({"combo_id": [0, 1, 2], "rules.stop": [1.0, 2.0, 3.0],
    ...                  "sharpe": [0.5, float("nan"), 1.5]})
    >>> sweep = SweepResult.of_tables([rows], {"identity": {}})
    >>> sweep.top(2, by="sharpe")["rules.stop"].tolist()
    [3.0, 1.0]
    """

    def __init__(
        self,
        rows: Rows | Callable[[], Rows],
        manifest: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        bars: Bars | None = None,
        grid: Grid | SampledGrid | None = None,
    ) -> None:
        self._given_rows = rows
        self._given_manifest = manifest
        self._bars = bars
        self._given_grid = grid

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        bars: Bars | None = None,
        grid: Grid | SampledGrid | None = None,
    ) -> SweepResult:
        """Open a directory, as :func:`open_sweep`; ``grid`` where it is known already."""
        manifest = read_manifest(path)
        files = done_shards(path, manifest)
        if not files:
            raise DataError(f"{path} holds no shard that is done; resume the sweep (--resume)")
        opened = cls(Rows.of_files(files, path), manifest, bars=bars, grid=grid)
        if bars is not None:
            opened._checked(bars)
        return opened

    @classmethod
    def of_tables(
        cls,
        tables: Sequence[pa.Table] | Callable[[], Sequence[pa.Table]],
        manifest: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        bars: Bars | None = None,
        grid: Grid | SampledGrid | None = None,
    ) -> SweepResult:
        """Make the result of shards in memory, at least one, with the manifest of a store.

        ``bars`` are those that were swept. Functions give tables and manifest when they are asked
        for: making columns and hashing bars take longer than to sweep a few combinations.
        """

        def rows() -> Rows:
            import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

            given = tables() if callable(tables) else tables
            return Rows.of_table(pa.concat_tables(given))

        return cls(rows, manifest, bars=bars, grid=grid)

    @cached_property
    def _rows(self) -> Rows:
        given = self._given_rows
        return given() if callable(given) else given

    @property
    def n_combos(self) -> int:
        """Combinations that are done."""
        return self._rows.n_rows

    @property
    def columns(self) -> tuple[str, ...]:
        """``combo_id``, the swept parameters by full key, and the metrics."""
        return self._rows.names

    def __len__(self) -> int:
        return self.n_combos

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was swept, on which bars, by which engine."""
        given = self._given_manifest
        return dict(given() if callable(given) else given)

    @cached_property
    def grid(self) -> Grid | SampledGrid:
        """The grid or the sample that was swept.

        Raises
        ------
        ConfigError
            If it is one of a user's strategy that is not registered in this process.
        """
        return self._given_grid or grid_from_mapping(self._identity("grid"))

    # rows

    def table(self, columns: Sequence[str] | None = None, *, where: str = "") -> pa.Table:
        """Return rows as a pyarrow table, sorted by ``combo_id``; all of them are in memory then.

        Parameters
        ----------
        columns : sequence of str, optional
            Columns; without them, all.
        where : str, optional
            A condition on columns, such as ``"total_trades >= 100 and rules.stop < 2"``.

        Raises
        ------
        ConfigError
            If there is no such column, or the condition is none.
        DataError
            If a file is damaged.
        """
        return self._rows.table(self._known(columns), self._rows.condition(where))

    def top(
        self,
        n: int = 20,
        *,
        by: str = "sharpe",
        ascending: bool | None = None,
        where: str = "",
        worst_case: bool = False,
    ) -> pd.DataFrame:
        """Return the best combinations, best first.

        Parameters
        ----------
        n : int
            How many.
        by : str
            Column that decides; ``nan`` comes last, ties go by ``combo_id``.
        ascending : bool, optional
            Whether small is good. Without it, as the metric is: drawdowns and losses want to be
            small, everything else large.
        where : str
            A condition on columns, such as ``"total_trades >= 100"``.
        worst_case : bool
            Whether the worse of both scenarios counts, ``stop_first`` and ``target_first``; the
            sweep needs to have computed both.

        Returns
        -------
        DataFrame
            One row for each combination: ``combo_id``, parameters, metrics.

        Raises
        ------
        ConfigError
            If a column or scenario does not exist, or the condition is none.
        DataError
            If a file is damaged.
        """
        best = self.top_table(n, by=by, ascending=ascending, where=where, worst_case=worst_case)
        frame: pd.DataFrame = best.to_pandas()
        return frame

    def top_table(
        self,
        n: int = 20,
        *,
        by: str = "sharpe",
        ascending: bool | None = None,
        where: str = "",
        worst_case: bool = False,
    ) -> pa.Table:
        """Return what :meth:`top` does as a pyarrow table, for which pandas is not imported."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ConfigError(f"n = {n!r} is not allowed; give a whole number of at least 1")
        small_is_good = by in SMALLER_IS_BETTER if ascending is None else ascending
        self._rows.require_numbers(by)
        columns = [by, self._other_scenario(by)] if worst_case else [by]
        ranking = Ranking(int(n))
        for source, batch in self._rows.batches([COMBO_ID, *columns], self._rows.condition(where)):
            keys = _keys(batch, dict.fromkeys(columns, small_is_good))
            # the largest key is the worst case, and nan if either is
            ranking.add(keys.max(axis=0), batch[COMBO_ID].to_numpy(), source)
        return self._rows.take(ranking.ids, ranking.sources)

    def pareto(
        self,
        objectives: Mapping[str, Direction] | Sequence[str] = ("total_return", "max_drawdown"),
        *,
        where: str = "",
    ) -> pd.DataFrame:
        """Return the combinations that no other beats in every objective.

        Parameters
        ----------
        objectives : mapping of str to {"max", "min"}, or sequence of str
            Columns; in a sequence each goes as the metric does.
        where : str
            A condition on columns.

        Returns
        -------
        DataFrame
            The front, by the first objective, best first. Combinations that are equal in all
            objectives stand there together, and those with a ``nan`` do not.

        Raises
        ------
        ConfigError
            If a column or direction does not exist, or the condition is none.
        DataError
            If a file is damaged.
        """
        smaller = self._objectives(objectives)
        front = Front(len(smaller))
        for source, batch in self._rows.batches([COMBO_ID, *smaller], self._rows.condition(where)):
            front.add(_keys(batch, smaller), batch[COMBO_ID].to_numpy(), source)
        frame: pd.DataFrame = self._rows.take(front.ids, front.sources).to_pandas()
        return frame

    def slice(
        self,
        key: str,
        *,
        by: str = "sharpe",
        fixed: Mapping[str, Any] | Literal["best"] = "best",
        reduce: Reduction = "best",
        where: str = "",
    ) -> pd.Series[float]:
        """Return a metric along one parameter.

        Parameters
        ----------
        key : str
            Full key of the parameter, such as ``"rules.stop"``.
        by : str
            The metric.
        fixed : mapping or "best"
            Values of other parameters. ``"best"`` takes those of the best combination by ``by``.
        reduce : {"best", "max", "min", "mean", "median"}
            What becomes of combinations that differ in parameters that are not fixed.
        where : str
            A condition on columns.

        Returns
        -------
        Series
            The metric by the parameter's values, ascending; ``nan`` where there is none.

        Raises
        ------
        ConfigError
            If a name or value does not exist, or the condition is none.
        DataError
            If a file is damaged.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        if isinstance(fixed, str) and fixed != "best":
            raise ConfigError(f'fixed = {fixed!r} is not allowed; give a mapping, or "best"')
        if isinstance(fixed, str):
            best = self.top(1, by=by, where=where)
            others = (name for name in self._levels if name != key)
            fixed = {name: best[name].iloc[0] for name in others} if len(best) else {}
        values = self._grouped([key], by, fixed, reduce, where)
        return pd.Series(values, index=pd.Index(self._levels[key], name=key), name=by)

    def heatmap(
        self,
        x: str,
        y: str,
        *,
        by: str = "sharpe",
        reduce: Reduction = "best",
        fixed: Mapping[str, Any] | None = None,
        where: str = "",
    ) -> pd.DataFrame:
        """Return a metric over two parameters.

        Parameters
        ----------
        x, y : str
            Full keys of the parameters of the columns and rows.
        by, reduce, fixed, where
            As in :meth:`slice`; nothing is fixed by default.

        Returns
        -------
        DataFrame
            The metric, rows by ``y`` and columns by ``x``, ascending; ``nan`` where there is none.

        Raises
        ------
        ConfigError
            If a name or value does not exist, or the condition is none.
        DataError
            If a file is damaged.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        if x == y:
            raise ConfigError(f"x and y are both {x!r}; give two parameters")
        values = self._grouped([y, x], by, fixed or {}, reduce, where)
        rows, columns = (pd.Index(self._levels[key], name=key) for key in (y, x))
        return pd.DataFrame(values.reshape(len(rows), len(columns)), index=rows, columns=columns)

    def sql(self, query: str) -> pd.DataFrame:
        """Return what a DuckDB query of the table ``sweep`` gives; needs the extra ``query``.

        Column names with a point stand in double quotes:
        ``SELECT "rules.stop", avg(sharpe) FROM sweep GROUP BY ALL``.

        Raises
        ------
        BacktestError
            If duckdb is not installed; the message says how to install it.
        """
        try:
            import duckdb  # noqa: PLC0415 - an optional extra
        except ImportError as error:
            raise BacktestError(
                "a query needs duckdb, which is not installed; "
                'install it with: pip install "backtest-py[query]"'
            ) from error
        with duckdb.connect() as connection:
            connection.register("sweep", self._rows.dataset)
            answer: pd.DataFrame = connection.execute(query).fetch_df()
        return answer

    def to_csv(
        self, path: str | Path, columns: Sequence[str] | None = None, *, where: str = ""
    ) -> None:
        """Write rows as CSV, shard by shard, in little memory; the file is whole or absent.

        Parameters
        ----------
        path : str or Path
            The file; an earlier one is replaced.
        columns, where
            As in :meth:`table`.

        Raises
        ------
        ConfigError, DataError
            As :meth:`table`.
        OSError
            If the file cannot be written.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
        import pyarrow.csv as pc  # noqa: PLC0415

        names = self._known(columns)
        condition = self._rows.condition(where)
        schema = pa.schema([self._rows.schema.field(name) for name in names])
        with replacing(Path(path)) as file, pc.CSVWriter(file, schema) as writer:
            for batch in self._rows.ordered(names, condition):
                writer.write_batch(batch)

    # single combinations

    def values(self, combo_id: int) -> dict[str, Any]:
        """Return the swept values of a combination, by full key.

        Raises
        ------
        ConfigError
            If there is no such combination.
        """
        return self.grid.values(combo_id)

    def replay(self, combo_id: int) -> BacktestResult:
        """Run one combination again, on the engine of the sweep, with its trades and equity.

        Raises
        ------
        ConfigError
            If there is no such combination, or the bars are not given and have no file.
        DataError
            If the bars are not those that were swept.
        """
        strategy, rules, contract = self.grid.settings(combo_id)
        bars = self._replay_bars()
        metrics = MetricSettings.from_mapping(self._identity("metrics"))
        signals = strategy.compute(bars) if isinstance(strategy, FunctionStrategy) else None
        job = prepare(bars, strategy, signals, rules, contract, metrics, None)
        first, last = self._identity("range")
        job = replace(job, first=first, last=last)
        engine, _ = resolve(self._identity("engine"), job)
        reason = f"the sweep ran on {engine.name}"
        return BacktestResult(job, engine.run(job), engine, reason)

    def __repr__(self) -> str:
        grid = self.manifest.get("identity", {}).get("grid", {})
        name = grid.get("strategy", {}).get("name", "signals")
        status = self.manifest.get("status", "in memory")
        keys = ", ".join(axis["key"] for axis in grid.get("axes", ()))
        return f"sweep of {name}, {status}: {self.n_combos:,} combinations of {keys}"

    # what the methods share

    def _identity(self, key: str) -> Any:
        try:
            return self.manifest["identity"][key]
        except KeyError as error:
            raise DataError(f"the sweep's manifest has no identity.{key}") from error

    def _known(self, columns: Sequence[str] | None) -> Sequence[str]:
        for name in columns or ():
            if name not in self.columns:
                raise unknown_name("column", name, self.columns)
        return list(dict.fromkeys(self.columns if columns is None else columns))

    def _objectives(self, objectives: Mapping[str, Direction] | Sequence[str]) -> dict[str, bool]:
        """Return for each objective whether small is good."""
        if isinstance(objectives, str) or len(objectives) < 2:
            raise ConfigError(f"objectives = {objectives!r} is not allowed; give at least two")
        smaller = {}
        for name in objectives:
            self._rows.require_numbers(name)
            smaller[name] = name in SMALLER_IS_BETTER
            if isinstance(objectives, Mapping):
                if objectives[name] not in {"max", "min"}:
                    raise unknown_name("direction", objectives[name], ("max", "min"))
                smaller[name] = objectives[name] == "min"
        return smaller

    def _other_scenario(self, metric: str) -> str:
        for scenario in Intrabar.__members__:
            if scenario_column(metric, scenario) in self.columns:
                return scenario_column(metric, scenario)
        raise ConfigError(
            f"the worst case of {metric} needs both scenarios, and this sweep computed one; sweep "
            "with both, or leave worst_case out"
        )

    @cached_property
    def _levels(self) -> dict[str, list[Any]]:
        """Values of each swept parameter, ascending; of choices, as in the grid."""
        levels = {}
        for axis in self._identity("grid")["axes"]:
            values = axis.get("values")
            if values is None:  # drawn from a continuous range
                values = self._rows.table([axis["key"]])[axis["key"]].unique().to_pylist()
            texts = isinstance(values[0], str) and not isinstance(values[0], bool)
            ordered = not texts or all(text == "" or text[:1].isdigit() for text in values)
            levels[axis["key"]] = sorted(values) if ordered else list(values)
        return levels

    def _grouped(
        self, keys: Sequence[str], by: str, fixed: Mapping[str, Any], reduce: str, where: str
    ) -> NDArray[np.float64]:
        """Return a metric for each combination of values of some parameters, the last fastest."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
        import pyarrow.compute as pc  # noqa: PLC0415

        self._rows.require_numbers(by)
        condition = self._rows.condition(where)
        for key, value in fixed.items():
            equal = pc.field(key) == self._level(key, value)
            condition = equal if condition is None else condition & equal
        if reduce == "best":
            reduce = "min" if by in SMALLER_IS_BETTER else "max"
        levels = [pa.array(self._axis_levels(key)) for key in keys]
        groups = Groups(int(np.prod([len(values) for values in levels])), reduce)
        for _, batch in self._rows.batches([*keys, by], condition):
            codes = np.zeros(batch.num_rows, np.int64)
            for key, values in zip(keys, levels, strict=True):
                codes = codes * len(values) + pc.index_in(batch[key], value_set=values).to_numpy()
            groups.add(codes, _floats(batch[by]))
        return groups.values()

    def _axis_levels(self, key: str) -> list[Any]:
        if key not in self._levels:
            raise unknown_name("swept parameter", key, self._levels)
        if len(self._levels[key]) > _MAX_LEVELS:
            raise ConfigError(
                f"{key} takes {len(self._levels[key]):,} values, too many to show; group them in "
                "a query (sql), or from table()"
            )
        return self._levels[key]

    def _level(self, key: str, value: object) -> Any:
        """Return a value of a parameter as the columns hold it."""
        for level in self._axis_levels(key):
            if level == value and isinstance(level, str) == isinstance(value, str):
                return level
        shown = ", ".join(map(repr, self._levels[key][:20]))
        raise ConfigError(f"{key} = {value!r} was not swept; its values are {shown}")

    def _replay_bars(self) -> Bars:
        if self._bars is None:
            self._bars = self._checked(load_source(self.manifest.get("data", {})))
        return self._bars

    def _checked(self, bars: Bars) -> Bars:
        expected = self._identity("bars_hash")
        if bars.content_hash != expected:
            raise DataError(
                f"these are not the bars that were swept: their hash is {bars.content_hash[:12]}…, "
                f"that of the sweep's {expected[:12]}…; give the same file, read the same way"
            )
        return bars


def _floats(column: Any) -> NDArray[np.float64]:
    floats: NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return floats


def _keys(batch: Any, smaller: Mapping[str, bool]) -> NDArray[np.float64]:
    """Return columns, turned so that small is good, shape (n_columns, n_rows)."""
    signs = {name: 1.0 if small else -1.0 for name, small in smaller.items()}
    return np.stack([sign * _floats(batch[name]) for name, sign in signs.items()])
