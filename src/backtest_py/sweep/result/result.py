"""The result of a sweep: its combinations with parameters and metrics, and ways to look at them.

Rows stay in the files of the shards, or in memory if the sweep was not written. Each question
reads only the columns that it needs. Wherever rows are ranked, a ruined account is behind every
other one: its metrics are those of the days before the ruin, so they may look good.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache, cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backtest_py._io.files import replacing
from backtest_py.backtest.job import prepare
from backtest_py.backtest.result import BacktestResult
from backtest_py.contract import MetricSettings
from backtest_py.data.source import load_source, market_of_manifest, other_bars
from backtest_py.engines import resolve
from backtest_py.errors import BacktestError, BacktestWarning, ConfigError, DataError
from backtest_py.parameters import counted, unknown_name
from backtest_py.sweep.result.columns import any_true, ranking_keys, small_is_good, table_bytes
from backtest_py.sweep.result.completeness import Completeness
from backtest_py.sweep.result.ranking import BestRows, ParetoFront
from backtest_py.sweep.result.reader import RowReader
from backtest_py.sweep.result.slices import SweptValues, metric_by_values
from backtest_py.sweep.result.verdict import luck_line, verdict
from backtest_py.sweep.space.sample import grid_from_mapping
from backtest_py.sweep.store.block_table import BlockRows
from backtest_py.sweep.store.manifest import believing, read_manifest
from backtest_py.sweep.store.store import done_shards, stored_blocks
from backtest_py.sweep.store.tables import COMBO_ID, blocks_of, with_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from backtest_py.bars import Bars
    from backtest_py.sweep.result.columns import Direction
    from backtest_py.sweep.result.reductions import Reduction
    from backtest_py.sweep.space.combinations import Combinations

__all__ = ["SweepResult", "open_sweep"]


def open_sweep(path: str | Path, bars: Bars | None = None) -> SweepResult:
    """Open the sweep in a directory, which need not be complete.

    :attr:`SweepResult.complete` tells whether every combination is done.

    Parameters
    ----------
    path : str or Path
        What was given to the sweep as ``out``.
    bars : Bars, optional
        The bars that were swept, for :meth:`SweepResult.replay`; without them their file is read.

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

    It can be pickled, and so sent to other processes: with its rows and bars if it is in memory,
    by the path of its directory if it is on disk.

    Attributes
    ----------
    n_combos : int
        Combinations that are done.
    complete : bool
        Whether these are all combinations of the sweep.
    n_missing : int
        Combinations that are not done yet.
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
        rows: RowReader | Callable[[], RowReader],
        manifest: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        bars: Bars | None = None,
        grid: Combinations | None = None,
        directory: Path | None = None,
        n_shards: int | None = None,
        blocks: Callable[[], BlockRows | None] = lambda: None,
    ) -> None:
        self._given_rows = rows
        self._given_manifest = manifest
        self._bars = bars
        self._given_grid = grid
        self._directory = directory
        self._n_shards = n_shards
        self._given_blocks = blocks

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        bars: Bars | None = None,
        grid: Combinations | None = None,
    ) -> SweepResult:
        """Open a directory, as :func:`open_sweep`; ``grid`` if it is known already."""
        manifest = read_manifest(path)
        files = done_shards(path, manifest)
        if not files:
            done = Completeness.of(manifest, 0, 0)
            raise DataError(
                f"{path} holds no shard that is done; resume the sweep (--resume): {done}"
            )
        opened = cls(
            RowReader.of_files(files, path),
            manifest,
            bars=bars,
            grid=grid,
            directory=Path(path).absolute(),
            n_shards=len(files),
            blocks=lambda: stored_blocks(path, manifest),
        )
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
        grid: Combinations | None = None,
    ) -> SweepResult:
        """Make the result of a sweep in memory, of at least one shard.

        ``bars`` are those that were swept. ``tables`` and ``manifest`` may be functions, which
        are called on first use: building columns and hashing bars takes longer than to sweep a
        few combinations.
        """

        @cache
        def given() -> Sequence[pa.Table]:
            return tables() if callable(tables) else tables

        def rows() -> RowReader:
            import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

            return RowReader.of_table(pa.concat_tables(with_blocks(each, b"") for each in given()))

        def blocks() -> BlockRows | None:
            kept = [BlockRows.read(found) for each in given() if (found := blocks_of(each))]
            return BlockRows.joined(kept) if kept else None

        return cls(rows, manifest, bars=bars, grid=grid, blocks=blocks)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the directory's path, or the rows in memory, and the bars and grid if known."""
        if self._directory is not None:
            return _reopened, (self._directory, self._bars, self._given_grid)
        content = table_bytes(
            with_blocks(self._rows.in_memory, self.blocks.to_bytes() if self.blocks else b"")
        )
        return _from_bytes, (content, self.manifest, self._bars, self._given_grid)

    @cached_property
    def _rows(self) -> RowReader:
        given = self._given_rows
        return given() if callable(given) else given

    @cached_property
    def blocks(self) -> BlockRows | None:
        """Sums of the daily returns of blocks of days, of the combinations that have them kept."""
        return self._given_blocks()

    verdict = verdict

    @property
    def n_combos(self) -> int:
        """Combinations that are done."""
        return self._rows.n_rows

    @property
    def complete(self) -> bool:
        """Whether every combination of the sweep is done."""
        return self.completeness.complete

    @property
    def n_missing(self) -> int:
        """Combinations that are not done, as after an interruption."""
        return self.completeness.n_missing

    @cached_property
    def completeness(self) -> Completeness:
        """Combinations and shards that are done, of how many, when the sweep was opened."""
        if self._n_shards is None:  # in memory, where a sweep ends complete or not at all
            return Completeness(self.n_combos, self.n_combos, 1, 1)
        return Completeness.of(self.manifest, self.n_combos, self._n_shards)

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
    def grid(self) -> Combinations:
        """The grid or the sample that was swept.

        Raises
        ------
        ConfigError
            If it is one of a user's strategy that is not registered in this process.
        """
        with believing("the sweep"):
            return self._given_grid or grid_from_mapping(self._identity("grid"))

    # rows

    def table(self, columns: Sequence[str] | None = None, *, where: str = "") -> pa.Table:
        """Return rows as a pyarrow table in memory, sorted by ``combo_id``.

        Parameters
        ----------
        columns : sequence of str, optional
            Columns; without them, all.
        where : str, optional
            A condition on columns, such as ``"total_trades >= 100 and rules.stop < 2"``.

        Raises
        ------
        ConfigError
            If a column does not exist, or ``where`` is not a condition.
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
        """Return the best combinations, best first; warn where the sweep is not complete.

        Numbers come first, then undefined ones (``nan``), and ruined accounts last, whatever
        column decides and in either direction. Ties are ordered by ``combo_id``. To see ruined
        accounts alone, ask for them: ``where="ruined"``.

        Parameters
        ----------
        n : int
            How many.
        by : str
            Column that decides: a metric or a parameter.
        ascending : bool, optional
            Whether small is good. By default that depends on the metric: small drawdowns and
            losses are good, and large values of everything else.
        where : str
            A condition on columns, such as ``"total_trades >= 100"``.
        worst_case : bool
            Rank by the worse of both scenarios, ``stop_first`` and ``target_first``; the sweep
            must have computed both. An account that is ruined in either counts as ruined.

        Returns
        -------
        DataFrame
            One row for each combination: ``combo_id``, parameters, metrics.

        Raises
        ------
        ConfigError
            If a column or scenario does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        best = self.top_table(n, by=by, ascending=ascending, where=where, worst_case=worst_case)
        if not self.complete:
            warnings.warn(f"{self.completeness}; resume the sweep", BacktestWarning, stacklevel=2)
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
        """Return the rows of :meth:`top` as a pyarrow table, without importing pandas."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ConfigError(f"n = {n!r} is not allowed; give a whole number of at least 1")
        small = small_is_good(by) if ascending is None else ascending
        self._rows.require_numbers(by)
        columns = [by, self._rows.other_scenario(by)] if worst_case else [by]
        ruin = self._rows.ruin_columns(columns)
        best = BestRows(int(n))
        wanted = [COMBO_ID, *columns, *ruin]
        for source, batch in self._rows.batches(wanted, self._rows.condition(where)):
            # the largest key is the worst case, and nan if either is
            keys = ranking_keys(batch, dict.fromkeys(columns, small)).max(axis=0)
            ids = batch[COMBO_ID].to_numpy()
            best.add(keys, ids, ruined=any_true(batch, ruin), source=source)
        return self._rows.take(best.ids, best.sources)

    def pareto(
        self,
        objectives: Mapping[str, Direction] | Sequence[str] = ("total_return", "max_drawdown"),
        *,
        where: str = "",
    ) -> pd.DataFrame:
        """Return the combinations that no other beats: as good in every objective, better in one.

        Ruined accounts are left out, unless every account that meets ``where`` is ruined.

        Parameters
        ----------
        objectives : mapping of str to {"max", "min"}, or sequence of str
            Columns; in a sequence, whether small or large is good depends on the metric.
        where : str
            A condition on columns.

        Returns
        -------
        DataFrame
            The front, by the first objective, best first, then by the next ones and
            ``combo_id``. Combinations that are equal in all objectives are all on it; those with
            a ``nan`` in one are not.

        Raises
        ------
        ConfigError
            If a column or direction does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        smaller = self._rows.objectives(objectives)
        condition = self._rows.without_ruined(self._rows.condition(where), list(smaller))
        front = ParetoFront(len(smaller))
        for source, batch in self._rows.batches([COMBO_ID, *smaller], condition):
            front.add(ranking_keys(batch, smaller), batch[COMBO_ID].to_numpy(), source=source)
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
            Values of other parameters. ``"best"`` takes those of the combination that :meth:`top`
            puts first by ``by``.
        reduce : {"best", "max", "min", "mean", "median"}
            How combinations that differ only in parameters that are not fixed become one number.
            ``"best"`` leaves ruined accounts out, unless every account that meets ``fixed`` and
            ``where`` is ruined; the others take all.
        where : str
            A condition on columns.

        Returns
        -------
        Series
            The metric by the parameter's values, ascending; ``nan`` where no combination counts.

        Raises
        ------
        ConfigError
            If a name or value does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        if isinstance(fixed, str) and fixed != "best":
            raise ConfigError(f'fixed = {fixed!r} is not allowed; give a mapping, or "best"')
        if isinstance(fixed, str):
            best = self.top(1, by=by, where=where)
            others = (name for name in self._swept.keys if name != key)
            fixed = {name: best[name].iloc[0] for name in others} if len(best) else {}
        values = metric_by_values(self._rows, self._swept, [key], by, fixed, reduce, where)
        return pd.Series(values, index=pd.Index(self._swept.of(key), name=key), name=by)

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
            The metric, rows by ``y`` and columns by ``x``, ascending; ``nan`` where no
            combination counts.

        Raises
        ------
        ConfigError
            If a name or value does not exist, or ``where`` is not a condition.
        DataError
            If a file is damaged.
        """
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        if x == y:
            raise ConfigError(f"x and y are both {x!r}; give two parameters")
        values = metric_by_values(self._rows, self._swept, [y, x], by, fixed or {}, reduce, where)
        rows, columns = (pd.Index(self._swept.of(key), name=key) for key in (y, x))
        return pd.DataFrame(values.reshape(len(rows), len(columns)), index=rows, columns=columns)

    def sql(self, query: str) -> pd.DataFrame:
        """Run a DuckDB query on the table ``sweep``; this needs the extra ``query``.

        Put column names that contain a point in double quotes:
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
        """Write rows as CSV, shard by shard, in little memory; an error leaves no partial file.

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
        with believing("the sweep"):
            metrics = MetricSettings.from_mapping(self._identity("metrics"))
            first, last = map(index, self._identity("range"))
            if not 0 <= first < last <= len(bars):
                raise ValueError(f"range = {first}, {last} of {len(bars)} bars")
        signals = strategy.compute(bars)
        job = prepare(bars, strategy, signals, rules, contract, metrics, None)
        job = replace(job, first=first, last=last)
        engine, _ = resolve(self._identity("engine"), job)
        reason = f"the sweep ran on {engine.name}"
        return BacktestResult(job, engine.run(job), engine, reason)

    def __repr__(self) -> str:
        grid = self.manifest.get("identity", {}).get("grid", {})
        market = market_of_manifest(self.manifest)
        name = grid.get("strategy", {}).get("name", "signals")
        place = market and f" on {market}"
        status = self.manifest.get("status", "in memory")
        keys = ", ".join(axis["key"] for axis in grid.get("axes", ()))
        done = "" if self.complete else f"{self.n_combos:,} of "
        combos = counted(self.completeness.total_combos, "combination")
        luck = luck_line(self)
        return f"sweep of {name}{place}, {status}: {done}{combos} of {keys}" + (
            luck and f"\n{luck}"
        )

    # shared by the methods above

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

    @cached_property
    def _swept(self) -> SweptValues:
        with believing("the sweep"):
            axes = self._identity("grid")["axes"]
            for axis in axes:
                self._rows.schema.field(axis["key"])  # a KeyError where no column has this name
            return SweptValues(axes, self._rows)

    def _replay_bars(self) -> Bars:
        if self._bars is None:
            self._bars = self._checked(load_source(self.manifest.get("data", {})))
        return self._bars

    def _checked(self, bars: Bars) -> Bars:
        expected = self._identity("bars_hash")
        if not bars.has_hash(expected):
            raise DataError(other_bars(self.manifest, expected, bars))
        return bars


def _from_bytes(
    content: bytes, manifest: Mapping[str, Any], bars: Bars | None, grid: Combinations | None
) -> SweepResult:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    table = pa.ipc.open_stream(content).read_all()
    return SweepResult.of_tables([table], manifest, bars=bars, grid=grid)


def _reopened(path: Path, bars: Bars | None, grid: Combinations | None) -> SweepResult:
    return SweepResult.open(path, bars=bars, grid=grid)
