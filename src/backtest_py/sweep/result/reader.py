"""Reads the rows of a sweep, from its files or from memory, by columns and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.errors import ConfigError, DataError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parameters import parse_clock, unknown_name
from backtest_py.rules import Intrabar
from backtest_py.sweep.result.columns import metric_behind, small_is_good
from backtest_py.sweep.space.where import parse_condition, parse_formula
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array, scenario_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.sweep.result.columns import Direction
    from backtest_py.sweep.space.where import Formula, NameKind
    from backtest_py.sweep.store.added_columns import AddedColumns

__all__ = ["Filter", "RowReader"]

_BATCH: Final = 131_072


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are read: an Arrow expression, and the columns that it looks at."""

    expression: Any
    names: frozenset[str]

    @classmethod
    def at_least(cls, name: str, least: float) -> Filter:
        """Take rows in which a column has at least some value."""
        import pyarrow.compute as pc  # noqa: PLC0415 - a heavy import, only where it is used

        return cls(pc.field(name) >= least, frozenset({name}))

    @classmethod
    def equal(cls, name: str, value: object) -> Filter:
        """Take rows in which a column has some value."""
        import pyarrow.compute as pc  # noqa: PLC0415 - a heavy import, only where it is used

        return cls(pc.field(name) == value, frozenset({name}))

    def joined(self, other: Filter | None) -> Filter:
        """Take rows that another takes too."""
        if other is None:
            return self
        return Filter(other.expression & self.expression, self.names | other.names)


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
        added: Sequence[AddedColumns] = (),
        files: Sequence[Path] = (),
    ) -> None:
        self.schema = _with_fields(schema, added)
        self._own = tuple(schema.names)
        self._added = tuple(added)
        self.n_rows = n_rows
        self.names: tuple[str, ...] = tuple(self.schema.names)
        self.in_memory = in_memory
        self._place = place
        self._opening = opening
        self._files = files

    @classmethod
    def of_files(
        cls,
        files: Mapping[Path, int],
        place: str | Path,
        added: Callable[[Sequence[str]], Sequence[AddedColumns]] = lambda _: (),
    ) -> RowReader:
        """Read Parquet files; the checksums of their pages are verified on the way.

        Parameters
        ----------
        files : mapping of Path to int
            The files, at least one, and the number of rows of each.
        place : str or Path
            What errors call them.
        added : callable
            Takes the columns of the files, and returns those that were added beside them.
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

        n_rows, own = sum(files.values()), list(files)
        return cls(schema, n_rows, str(place), opening, added=added(schema.names), files=own)

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

    @cached_property
    def _more(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """The added columns in memory, and the numbers of their rows."""
        ids, columns = self._added[0].read()
        for each in self._added[1:]:
            others, found = each.read()
            if not np.array_equal(ids, others):
                raise DataError(f"{each.file} holds other rows than {self._added[0].file}")
            columns |= found
        return ids, columns

    def _whole(self, table: pa.Table) -> pa.Table:
        """Return rows of the sources with their added columns."""
        if not self._added:
            return table
        ids, columns = self._more
        own = table[COMBO_ID].to_numpy()
        rows = np.minimum(np.searchsorted(ids, own), len(ids) - 1)
        if not np.array_equal(ids[rows], own):
            files = ", ".join(str(each.file) for each in self._added)
            raise DataError(f"{files} lacks rows of the sweep; store its columns again")
        for name, values in columns.items():
            table = table.append_column(name, arrow_array(values[rows]))
        return table

    def _scanner(
        self, columns: Sequence[str], where: Filter | None, **options: Any
    ) -> tuple[Any, Callable[[Any], Iterator[Any]]]:
        """Return a scanner of the sources, and what makes batches of the answer of its batches."""
        wanted = list(dict.fromkeys(columns))
        asked = [*wanted, *(where.names if where else ())]
        if {*asked} <= {*self._own}:
            expression = where.expression if where else None
            scanner = self.dataset.scanner(columns=wanted, filter=expression, **options)
            return scanner, lambda batch: iter((batch,))
        own = [name for name in dict.fromkeys([COMBO_ID, *asked]) if name in self._own]

        def answer(batch: Any) -> Iterator[Any]:
            import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
            import pyarrow.dataset as ds  # noqa: PLC0415

            whole = self._whole(pa.Table.from_batches([batch]))
            expression = where.expression if where else None
            found = ds.dataset(whole).to_table(columns=wanted, filter=expression)
            yield from found.combine_chunks().to_batches()

        return self.dataset.scanner(columns=own, **options), answer

    def batches(
        self, columns: Sequence[str], where: Filter | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield the number of a source and a record batch of some columns, in any order."""
        with _naming(self._place):
            scanner, answer = self._scanner(columns, where, batch_size=_BATCH)
            for tagged in scanner.scan_batches():
                path = getattr(tagged.fragment, "path", "")  # a table in memory has none
                for batch in answer(tagged.record_batch):
                    yield self._source.get(path, 0), batch

    def ordered(self, columns: Sequence[str], where: Filter | None = None) -> Iterator[Any]:
        """Yield record batches of some columns, one source after another."""
        with _naming(self._place):
            # a batch of all columns is large, so only one is read ahead
            options = {"batch_size": _BATCH, "batch_readahead": 1, "fragment_readahead": 1}
            scanner, answer = self._scanner(columns, where, **options)
            for batch in scanner.to_batches():
                yield from answer(batch)

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

    def table(self, columns: Sequence[str], where: Filter | None = None) -> pa.Table:
        """Return some columns, sorted by ``combo_id``."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        wanted = list(dict.fromkeys([*columns, COMBO_ID]))
        with _naming(self._place):
            scanner, answer = self._scanner(wanted, where)
            schema = pa.schema([self.schema.field(name) for name in wanted])
            found = (part for batch in scanner.to_batches() for part in answer(batch))
            table = pa.Table.from_batches(found, schema)
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

        found = [self.dataset.schema.empty_table()]
        with _naming(self._place):
            for source in np.unique(sources):
                whole = self._parts[source].to_table()
                wanted = np.isin(whole[COMBO_ID].to_numpy(), ids[sources == source])
                found.append(whole.take(arrow_array(np.flatnonzero(wanted))))
        table = self._whole(pa.concat_tables(found))
        position = np.argsort(table[COMBO_ID].to_numpy())
        return table.take(arrow_array(position[np.argsort(np.argsort(ids))]))

    def register(self, connection: Any) -> None:
        """Give a DuckDB connection the rows as ``sweep``."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        if not self._added:
            connection.register("sweep", self.dataset)
            return
        ids, columns = self._more
        arrays = {COMBO_ID: ids, **columns}
        connection.register("own", self.dataset)
        connection.register("added", pa.table({key: arrow_array(arrays[key]) for key in arrays}))
        connection.execute("CREATE VIEW sweep AS SELECT * FROM own JOIN added USING (combo_id)")

    def condition(self, text: str) -> Filter | None:
        """Return a condition on columns as a filter, None where the text is empty.

        Raises
        ------
        ConfigError
            If the text is not a condition on these columns.
        """
        if not text:
            return None
        condition = parse_condition(text, self._kinds())
        return Filter(condition.to_arrow(), condition.names)

    def formula(self, text: str, argument: str) -> Formula:
        """Return arithmetic on columns of numbers.

        Raises
        ------
        ConfigError
            If the text is nothing else than that; errors call it ``argument``.
        """
        kinds = self._kinds().items()
        numbers = {name: kind for name, kind in kinds if kind == "number"}
        return parse_formula(text, numbers, source=argument)

    def any(self, where: Filter) -> bool:
        """Return whether any row meets a condition."""
        return any(batch.num_rows for _, batch in self.batches([COMBO_ID], where))

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

    def ruin_columns(self, columns: Iterable[str]) -> list[str]:
        """Return the columns that tell whether an account is ruined.

        ``ruined`` itself, and that of the other scenario if any of ``columns`` belongs to it.
        """
        asked, ruin = {metric_behind(name) for name in columns}, ["ruined"]
        for scenario in Intrabar.__members__:
            others = {scenario_column(metric, scenario) for metric in METRICS}
            if not others.isdisjoint(asked):
                ruin.append(scenario_column("ruined", scenario))
        return [name for name in ruin if name in self.names]

    def without_ruined(self, condition: Filter | None, columns: Sequence[str]) -> Filter | None:
        """Leave ruined accounts out of a condition, unless all that meet it are ruined."""
        sound = condition
        for name in self.ruin_columns(columns):
            sound = Filter.equal(name, value=False).joined(sound)
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


def _with_fields(schema: Any, added: Sequence[AddedColumns]) -> Any:
    """Return a schema with added columns of numbers behind its own."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    for name in (name for each in added for name in each.names):
        schema = schema.append(pa.field(name, pa.float64()))
    return schema


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
