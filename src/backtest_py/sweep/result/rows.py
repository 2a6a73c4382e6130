"""The rows of a sweep and what they are of: read, counted, written and sent elsewhere.

Rows stay in the files of the shards, or in memory if the sweep was not written. Each question
reads only the columns that it needs.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from backtest_py._io.files import replacing
from backtest_py._io.spreadsheets import dialect_of
from backtest_py.data.source import load_source, market_of_manifest, other_bars
from backtest_py.errors import BacktestError, DataError
from backtest_py.parameters import counted, unknown_name
from backtest_py.sweep.result.columns import table_bytes
from backtest_py.sweep.result.completeness import Completeness
from backtest_py.sweep.result.exporting import write_rows, write_rows_workbook
from backtest_py.sweep.result.reader import RowReader
from backtest_py.sweep.result.slices import SweptValues
from backtest_py.sweep.space.sample import grid_from_mapping
from backtest_py.sweep.store.added_columns import added_columns, write_columns
from backtest_py.sweep.store.block_table import BlockRows
from backtest_py.sweep.store.manifest import believing, read_manifest
from backtest_py.sweep.store.store import done_shards, stored_blocks
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array, blocks_of, with_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.bars import Bars
    from backtest_py.sweep.space.combinations import Combinations

__all__ = ["SweepRows"]


class SweepRows:
    """The rows of a sweep, and the grid and the bars that they are of.

    :class:`~backtest_py.sweep.result.result.SweepResult` adds what is asked of them.
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
    ) -> Self:
        """Open a directory, as :func:`backtest_py.open_sweep`; ``grid`` if it is known already."""
        manifest = read_manifest(path)
        files = done_shards(path, manifest)
        if not files:
            done = Completeness.of(manifest, 0, 0)
            raise DataError(
                f"{path} holds no shard that is done; resume the sweep (--resume): {done}"
            )
        n_rows = sum(files.values())
        opened = cls(
            RowReader.of_files(
                files, path, lambda taken: added_columns(path, manifest, n_rows, taken)
            ),
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
    ) -> Self:
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
        known = self._bars, self._given_grid
        if self._directory is not None:
            return _reopened, (type(self), self._directory, *known)
        content = table_bytes(with_blocks(self._rows.in_memory, self._block_bytes))
        return _from_bytes, (type(self), content, self.manifest, *known)

    @cached_property
    def _rows(self) -> RowReader:
        given = self._given_rows
        return given() if callable(given) else given

    @cached_property
    def blocks(self) -> BlockRows | None:
        """Sums of the daily returns of blocks of days, of the combinations that have them kept."""
        return self._given_blocks()

    @property
    def _block_bytes(self) -> bytes:
        return b"" if self.blocks is None else self.blocks.to_bytes()

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
            self._rows.register(connection)
            answer: pd.DataFrame = connection.execute(query).fetch_df()
        return answer

    def to_csv(
        self,
        path: str | Path,
        columns: Sequence[str] | None = None,
        *,
        where: str = "",
        sep: str | None = None,
        decimal: str | None = None,
        locale: str = "",
    ) -> None:
        """Write rows as CSV, shard by shard, in little memory; an error leaves no partial file.

        Parameters
        ----------
        path : str or Path
            The file; an earlier one is replaced.
        columns, where
            As in :meth:`table`.
        sep, decimal, locale
            As :meth:`BacktestResult.to_csv` takes them; ``locale="pt-BR"`` is for Excel in Brazil.

        Raises
        ------
        ConfigError, DataError
            As :meth:`table`.
        OSError
            If the file cannot be written.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        dialect, names = dialect_of(sep, decimal, locale), self._known(columns)
        condition = self._rows.condition(where)
        schema = pa.schema([self._rows.schema.field(name) for name in names])
        with replacing(Path(path)) as file:
            write_rows(file, self._rows.ordered(names, condition), schema, dialect)

    def to_excel(
        self, path: str | Path, columns: Sequence[str] | None = None, *, where: str = ""
    ) -> None:
        """Write rows as an Excel file, at most 1,048,575; this needs the extra ``xlsx``.

        Parameters
        ----------
        path, columns, where
            As in :meth:`to_csv`.

        Raises
        ------
        ConfigError, DataError
            As :meth:`table`; or if there are more rows, or openpyxl is not installed.
        OSError
            If the file cannot be written.
        """
        names, condition = list(self._known(columns)), self._rows.condition(where)
        n_rows = self._rows.table([COMBO_ID], condition).num_rows if where else self.n_combos
        write_rows_workbook(Path(path), self._rows.ordered(names, condition), names, n_rows)

    def values(self, combo_id: int) -> dict[str, Any]:
        """Return the swept values of a combination, by full key.

        Raises
        ------
        ConfigError
            If there is no such combination.
        """
        return self.grid.values(combo_id)

    def __repr__(self) -> str:
        grid = self.manifest.get("identity", {}).get("grid", {})
        market = market_of_manifest(self.manifest)
        name = grid.get("strategy", {}).get("name", "signals")
        place = market and f" on {market}"
        status = self.manifest.get("status", "in memory")
        keys = ", ".join(axis["key"] for axis in grid.get("axes", ()))
        done = "" if self.complete else f"{self.n_combos:,} of "
        combos = counted(self.completeness.total_combos, "combination")
        return f"sweep of {name}{place}, {status}: {done}{combos} of {keys}"

    # shared by the methods above

    def _with_columns(
        self, name: str, ids: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]
    ) -> Self:
        """Return this sweep with more columns of all rows, by ascending ids; stored if it is."""
        if self._directory is not None:
            write_columns(self._directory, self.manifest, name, ids, columns)
            return self.open(self._directory, bars=self._bars, grid=self._given_grid)
        table = self._rows.table(self.columns)
        for column, values in columns.items():
            if column in table.column_names:
                table = table.drop_columns(column)
            table = table.append_column(column, arrow_array(values))
        table = with_blocks(table, self._block_bytes)
        return self.of_tables([table], self.manifest, bars=self._bars, grid=self._given_grid)

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


def _reopened(
    kind: type[SweepRows], path: Path, bars: Bars | None, grid: Combinations | None
) -> SweepRows:
    return kind.open(path, bars=bars, grid=grid)


def _from_bytes(
    kind: type[SweepRows],
    content: bytes,
    manifest: Mapping[str, Any],
    bars: Bars | None,
    grid: Combinations | None,
) -> SweepRows:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    table = pa.ipc.open_stream(content).read_all()
    return kind.of_tables([table], manifest, bars=bars, grid=grid)
