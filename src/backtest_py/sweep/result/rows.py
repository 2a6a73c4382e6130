"""Rows of a sweep where they lie, in files or in memory, read by columns and conditions."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.errors import ConfigError, DataError
from backtest_py.parameters import parse_clock, unknown_name
from backtest_py.sweep.space.where import parse_condition
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from backtest_py.sweep.space.where import NameKind

__all__ = ["Rows"]

_BATCH: Final = 131_072


class Rows:
    """Rows in one place or several, called sources: files of shards, or one table.

    Attributes
    ----------
    names : tuple of str
        Columns, in order.
    n_rows : int
        Rows of all sources.
    schema : pyarrow.Schema
        Names and types of the columns.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = Rows.of_table(pa.table({"combo_id": [0, 1, 2], "sharpe": [0.5, 1.5, 1.0]}))
    >>> rows.table(["combo_id"], rows.condition("sharpe >= 1"))["combo_id"].to_pylist()
    [1, 2]
    """

    def __init__(
        self, schema: Any, n_rows: int, place: str, opening: Callable[[], tuple[Any, list[Any]]]
    ) -> None:
        self.schema = schema
        self.n_rows = n_rows
        self.names: tuple[str, ...] = tuple(schema.names)
        self._place = place
        self._opening = opening

    @classmethod
    def of_files(cls, files: Mapping[Path, int], place: str | Path) -> Rows:
        """Return the rows of Parquet files, whose pages are checked when they are read.

        Parameters
        ----------
        files : mapping of Path to int
            The files, at least one, and the number of rows of each.
        place : str or Path
            What errors call them.
        """
        import pyarrow.parquet as pq  # noqa: PLC0415 - a heavy import, only where it is used

        with _reading(place):
            schema = pq.read_schema(next(iter(files)))

        def opening() -> tuple[Any, list[Any]]:
            import pyarrow.dataset as ds  # noqa: PLC0415 - imports pandas

            options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
            with _reading(place):
                dataset = ds.dataset(
                    [str(file) for file in files],
                    schema=schema,
                    format=ds.ParquetFileFormat(default_fragment_scan_options=options),
                )
                return dataset, list(dataset.get_fragments())

        return cls(schema, sum(files.values()), str(place), opening)

    @classmethod
    def of_table(cls, table: pa.Table) -> Rows:
        """Return the rows of a table; columns of dictionary type become plain."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        for at, field in enumerate(table.schema):
            if isinstance(field.type, pa.DictionaryType):
                plain = table.column(at).cast(field.type.value_type)
                table = table.set_column(at, field.name, plain)

        def opening() -> tuple[Any, list[Any]]:
            import pyarrow.dataset as ds  # noqa: PLC0415 - imports pandas

            return ds.dataset(table), []

        return cls(table.schema, table.num_rows, "the sweep", opening)

    @cached_property
    def _opened(self) -> tuple[Any, list[Any]]:
        """The dataset and its files; opened when rows are asked for, because that takes long."""
        return self._opening()

    @property
    def dataset(self) -> Any:
        """The same as a dataset of pyarrow, for query engines."""
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
        """Yield numbers of sources and record batches of some columns, in any order."""
        with _reading(self._place):
            scanner = self.dataset.scanner(
                columns=list(dict.fromkeys(columns)), filter=where, batch_size=_BATCH
            )
            for tagged in scanner.scan_batches():
                path = getattr(tagged.fragment, "path", "")  # what is in memory has none
                yield self._source.get(path, 0), tagged.record_batch

    def ordered(self, columns: Sequence[str], where: Any = None) -> Iterator[Any]:
        """Yield record batches of some columns, source by source."""
        with _reading(self._place):
            # a batch of all columns is large, so few are read ahead
            yield from self.dataset.scanner(
                columns=list(columns),
                filter=where,
                batch_size=_BATCH,
                batch_readahead=1,
                fragment_readahead=1,
            ).to_batches()

    def table(self, columns: Sequence[str], where: Any = None) -> pa.Table:
        """Return some columns, sorted by ``combo_id``."""
        wanted = list(dict.fromkeys([*columns, COMBO_ID]))
        with _reading(self._place):
            table = self.dataset.to_table(columns=wanted, filter=where)
        ids = table[COMBO_ID].to_numpy()
        if np.any(np.diff(ids) < 0):
            table = table.take(arrow_array(np.argsort(ids, kind="stable")))
        return table.select(list(columns))

    def take(self, ids: NDArray[np.int64], sources: NDArray[np.int64]) -> pa.Table:
        """Return all columns of the rows with these numbers, in this order.

        Parameters
        ----------
        ids : ndarray of int64, shape (n,)
            Values of ``combo_id``.
        sources : ndarray of int64, shape (n,)
            Where each is found.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        found = [self.schema.empty_table()]
        with _reading(self._place):
            for source in np.unique(sources):
                whole = self._parts[source].to_table()
                wanted = np.isin(whole[COMBO_ID].to_numpy(), ids[sources == source])
                found.append(whole.take(arrow_array(np.flatnonzero(wanted))))
        table = pa.concat_tables(found)
        position = np.argsort(table[COMBO_ID].to_numpy())
        return table.take(arrow_array(position[np.argsort(np.argsort(ids))]))

    def condition(self, text: str) -> Any:
        """Return a condition on columns as Arrow's expression, None where it is empty.

        Raises
        ------
        ConfigError
            If the text is no condition on these columns.
        """
        return parse_condition(text, self._kinds()).to_arrow() if text else None

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
        with _reading(self._place):
            first = self.dataset.head(1, columns=[field.name])[field.name].to_pylist()
        try:
            parse_clock(first[0] if first else "")
        except ConfigError:
            return "text"
        return "clock"


def _plain_type(kind: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    return kind.value_type if pa.types.is_dictionary(kind) else kind


@contextmanager
def _reading(place: object) -> Iterator[None]:
    """Say of which sweep it is that something cannot be read."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{place} is damaged: {error}; resume the sweep to compute the shard again"
        ) from error
