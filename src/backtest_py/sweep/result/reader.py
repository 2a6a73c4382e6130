"""Reads the rows of a sweep, from its files or from memory, by columns and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.errors import ConfigError, DataError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import parse_clock, unknown_name
from backtest_py.rules import Intrabar
from backtest_py.sweep.result.columns import small_is_good
from backtest_py.sweep.space.where import parse_condition
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array, scenario_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.sweep.result.columns import Direction
    from backtest_py.sweep.space.where import NameKind

__all__ = ["RowReader"]

_BATCH: Final = 131_072


class RowReader:
    """Reads rows that lie in one or several sources: the files of shards, or one table in memory.

    Attributes
    ----------
    names : tuple of str
        Columns, in order.
    n_rows : int
        Rows of all sources.
    schema : pyarrow.Schema
        Names and types of the columns.
    in_memory : pyarrow.Table or None
        The table, where the rows are not in files.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = RowReader.of_table(pa.table({"combo_id": [0, 1, 2], "sharpe": [0.5, 1.5, 1.0]}))
    >>> rows.table(["combo_id"], rows.condition("sharpe >= 1"))["combo_id"].to_pylist()
    [1, 2]
    """

    def __init__(
        self,
        schema: Any,
        n_rows: int,
        place: str,
        opening: Callable[[], tuple[Any, list[Any]]],
        in_memory: pa.Table | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        self.schema = schema
        self.n_rows = n_rows
        self.names: tuple[str, ...] = tuple(schema.names)
        self.in_memory = in_memory
        self._place = place
        self._opening = opening
        self._files = files

    @classmethod
    def of_files(cls, files: Mapping[Path, int], place: str | Path) -> RowReader:
        """Read Parquet files; the checksums of their pages are verified on the way.

        Parameters
        ----------
        files : mapping of Path to int
            The files, at least one, and the number of rows of each.
        place : str or Path
            What errors call them.
        """
        import pyarrow.parquet as pq  # noqa: PLC0415 - a heavy import, only where it is used

        with _naming(place):
            schema = pq.read_schema(next(iter(files)))

        def opening() -> tuple[Any, list[Any]]:
            import pyarrow.dataset as ds  # noqa: PLC0415 - imports pandas

            options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
            with _naming(place):
                dataset = ds.dataset(
                    [str(file) for file in files],
                    schema=schema,
                    format=ds.ParquetFileFormat(default_fragment_scan_options=options),
                )
                return dataset, list(dataset.get_fragments())

        return cls(schema, sum(files.values()), str(place), opening, files=list(files))

    @classmethod
    def of_table(cls, table: pa.Table) -> RowReader:
        """Read a table; columns of dictionary type become plain."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        for at, field in enumerate(table.schema):
            if isinstance(field.type, pa.DictionaryType):
                plain = table.column(at).cast(field.type.value_type)
                table = table.set_column(at, field.name, plain)

        def opening() -> tuple[Any, list[Any]]:
            import pyarrow.dataset as ds  # noqa: PLC0415 - imports pandas

            return ds.dataset(table), []

        return cls(table.schema, table.num_rows, "the sweep", opening, table)

    @cached_property
    def _opened(self) -> tuple[Any, list[Any]]:
        """The dataset and its files, opened on first use because that takes long."""
        return self._opening()

    @property
    def dataset(self) -> Any:
        """The rows as a pyarrow dataset, for query engines."""
        return self._opened[0]

    @cached_property
    def _parts(self) -> list[Any]:
        dataset, fragments = self._opened
        return list({fragment.path: fragment for fragment in fragments}.values()) or [dataset]

    @cached_property
    def _source(self) -> dict[str, int]:
        paths = dict.fromkeys(fragment.path for fragment in self._opened[1])
        return {path: source for source, path in enumerate(paths)}

    def batches(self, columns: Sequence[str], where: Any = None) -> Iterator[tuple[int, Any]]:
        """Yield the number of a source and a record batch of some columns, in any order."""
        with _naming(self._place):
            scanner = self.dataset.scanner(
                columns=list(dict.fromkeys(columns)), filter=where, batch_size=_BATCH
            )
            for tagged in scanner.scan_batches():
                path = getattr(tagged.fragment, "path", "")  # a table in memory has none
                yield self._source.get(path, 0), tagged.record_batch

    def ordered(self, columns: Sequence[str], where: Any = None) -> Iterator[Any]:
        """Yield record batches of some columns, one source after another."""
        with _naming(self._place):
            # a batch of all columns is large, so only one is read ahead
            yield from self.dataset.scanner(
                columns=list(columns),
                filter=where,
                batch_size=_BATCH,
                batch_readahead=1,
                fragment_readahead=1,
            ).to_batches()

    def arrays(self, columns: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield columns of numbers as arrays, one source after another; flags are 0 and 1.

        A dataset is not opened for it: that imports pandas, which takes longer than most sweeps.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
        import pyarrow.parquet as pq  # noqa: PLC0415

        def plain(table: pa.Table) -> dict[str, NDArray[Any]]:
            found = {}
            for name in columns:
                column = table[name].combine_chunks()
                flags = pa.types.is_boolean(column.type)
                found[name] = np.from_dlpack(column.cast(pa.uint8()) if flags else column)
            return found

        if self.in_memory is not None:
            yield plain(self.in_memory)
        for file in self._files:
            with _naming(self._place):
                table = pq.ParquetFile(file, page_checksum_verification=True).read(list(columns))
            yield plain(table)

    def table(self, columns: Sequence[str], where: Any = None) -> pa.Table:
        """Return some columns, sorted by ``combo_id``."""
        wanted = list(dict.fromkeys([*columns, COMBO_ID]))
        with _naming(self._place):
            table = self.dataset.to_table(columns=wanted, filter=where)
        ids = table[COMBO_ID].to_numpy()
        if np.any(np.diff(ids) < 0):
            table = table.take(arrow_array(np.argsort(ids, kind="stable")))
        return table.select(list(columns))

    def take(self, ids: NDArray[np.int64], sources: NDArray[np.int64]) -> pa.Table:
        """Return all columns of some rows, in the order of their ids.

        Parameters
        ----------
        ids : ndarray of int64, shape (n,)
            Values of ``combo_id``.
        sources : ndarray of int64, shape (n,)
            The source of each row.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        found = [self.schema.empty_table()]
        with _naming(self._place):
            for source in np.unique(sources):
                whole = self._parts[source].to_table()
                wanted = np.isin(whole[COMBO_ID].to_numpy(), ids[sources == source])
                found.append(whole.take(arrow_array(np.flatnonzero(wanted))))
        table = pa.concat_tables(found)
        position = np.argsort(table[COMBO_ID].to_numpy())
        return table.take(arrow_array(position[np.argsort(np.argsort(ids))]))

    def condition(self, text: str) -> Any:
        """Return a condition on columns as an Arrow expression, None where the text is empty.

        Raises
        ------
        ConfigError
            If the text is not a condition on these columns.
        """
        return parse_condition(text, self._kinds()).to_arrow() if text else None

    def any(self, where: Any) -> bool:
        """Return whether any row meets a condition."""
        with _naming(self._place):
            return bool(self.dataset.head(1, columns=[COMBO_ID], filter=where).num_rows)

    def objectives(self, objectives: Mapping[str, Direction] | Sequence[str]) -> dict[str, bool]:
        """Return for each objective whether small is good, by its direction or the metric."""
        if isinstance(objectives, str) or len(objectives) < 2:
            raise ConfigError(f"objectives = {objectives!r} is not allowed; give at least two")
        smaller = {}
        for name in objectives:
            self.require_numbers(name)
            smaller[name] = small_is_good(name)
            if isinstance(objectives, Mapping):
                if objectives[name] not in {"max", "min"}:
                    raise unknown_name("direction", objectives[name], ("max", "min"))
                smaller[name] = objectives[name] == "min"
        return smaller

    def other_scenario(self, metric: str) -> str:
        """Return the column of a metric in the other scenario, if the sweep computed it."""
        for scenario in Intrabar.__members__:
            if scenario_column(metric, scenario) in self.names:
                return scenario_column(metric, scenario)
        raise ConfigError(
            f"the worst case of {metric} needs both scenarios, and this sweep computed one; sweep "
            "with both, or leave worst_case out"
        )

    def ruin_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that tell whether an account is ruined.

        ``ruined`` itself, and that of the other scenario if any of ``columns`` belongs to it.
        """
        ruin = ["ruined"]
        for scenario in Intrabar.__members__:
            others = {scenario_column(metric, scenario) for metric in METRICS}
            if not others.isdisjoint(columns):
                ruin.append(scenario_column("ruined", scenario))
        return [name for name in ruin if name in self.names]

    def without_ruined(self, condition: Any, columns: Sequence[str]) -> Any:
        """Leave ruined accounts out of a condition, unless all that meet it are ruined."""
        import pyarrow.compute as pc  # noqa: PLC0415 - a heavy import, only where it is used

        sound = condition
        for name in self.ruin_columns(columns):
            sound = ~pc.field(name) if sound is None else sound & ~pc.field(name)
        return sound if sound is None or self.any(sound) else condition

    def require_numbers(self, name: str) -> None:
        """Raise ConfigError unless a column exists and holds numbers."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        if name not in self.names:
            raise unknown_name("column", name, self.names)
        if pa.types.is_string(self.schema.field(name).type):
            raise ConfigError(f"{name} holds texts; give a column of numbers, such as a metric")

    def _kinds(self) -> dict[str, NameKind]:
        return {field.name: self._kind(field) for field in self.schema}

    def _kind(self, field: Any) -> NameKind:
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        if pa.types.is_boolean(field.type):
            return "bool"
        if not pa.types.is_string(field.type):
            return "number"
        with _naming(self._place):
            first = self.dataset.head(1, columns=[field.name])[field.name].to_pylist()
        try:
            parse_clock(first[0] if first else "")
        except ConfigError:
            return "text"
        return "clock"


@contextmanager
def _naming(place: object) -> Iterator[None]:
    """Name the sweep in errors about rows that cannot be read."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{place} is damaged: {error}; resume the sweep to compute the shard again"
        ) from error
