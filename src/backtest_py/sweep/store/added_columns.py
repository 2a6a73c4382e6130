"""Columns that are added to a sweep on request, each set in a file of its own beside the results.

``DIR/added-NAME.parquet`` holds ``combo_id`` and the columns, a row for each row of the sweep. The
files of shards stay as they are. A file of another sweep, or a damaged one, is left out with a
warning.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.files import replacing
from backtest_py._io.paths import given_path
from backtest_py.errors import BacktestWarning, ConfigError, DataError, StorageError
from backtest_py.sweep.store.manifest import identity_hash
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["AddedColumns", "added_columns", "write_columns"]

_NAME: Final = r"[a-z0-9_]{1,80}"
_SWEEP: Final = b"backtest_py.sweep"


@dataclass(frozen=True, slots=True)
class AddedColumns:
    """Columns of float64 that lie in one file.

    Attributes
    ----------
    file : Path
        The file.
    names : tuple of str
        The columns, without ``combo_id``.
    """

    file: Path
    names: tuple[str, ...]

    def read(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """Return ``combo_id``, ascending, and the columns.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            table = pq.ParquetFile(self.file, page_checksum_verification=True).read()
            ids = table[COMBO_ID].to_numpy()
            columns = {name: table[name].to_numpy() for name in self.names}
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DataError(
                f"{self.file} is damaged: {error}; store its columns again, or remove it"
            ) from error
        if np.any(np.diff(ids) <= 0):
            raise DataError(f"{self.file} is damaged: combo_id does not ascend; remove it")
        return ids, columns


def write_columns(
    directory: str | Path,
    manifest: Mapping[str, Any],
    name: str,
    ids: NDArray[np.int64],
    columns: Mapping[str, NDArray[np.float64]],
) -> AddedColumns:
    """Write columns beside a sweep's results, whole or not at all; an earlier file is replaced.

    Parameters
    ----------
    directory : str or Path
        The sweep's.
    manifest : mapping
        Its manifest.
    name : str
        Of the set of columns: lower-case letters, digits and ``_``.
    ids : ndarray of int64, shape (n_rows,)
        ``combo_id`` of every row, ascending.
    columns : mapping of str to ndarray of float64, shape (n_rows,)
        The columns.

    Raises
    ------
    ConfigError
        If the name is not allowed.
    StorageError
        If the file cannot be written.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    if re.fullmatch(_NAME, name) is None:
        raise ConfigError(f"{name[:80]!r} cannot name columns; give letters, digits and _")
    file = given_path(directory) / f"added-{name}.parquet"
    arrays = {COMBO_ID: arrow_array(ids)}
    arrays |= {column: arrow_array(values) for column, values in columns.items()}
    table = pa.table(arrays, metadata={_SWEEP: identity_hash(manifest)})
    try:
        with replacing(file) as opened:
            pq.write_table(table, opened, compression="lz4", write_page_checksum=True)
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}") from error
    return AddedColumns(file, tuple(columns))


def added_columns(
    directory: str | Path, manifest: Mapping[str, Any], n_rows: int, taken: Sequence[str]
) -> list[AddedColumns]:
    """Return the columns that were added to a sweep; only what the files say of themselves is read.

    Parameters
    ----------
    directory : str or Path
        The sweep's.
    manifest : mapping
        Its manifest.
    n_rows : int
        Rows that are done.
    taken : sequence of str
        Columns that the sweep has itself.
    """
    found: list[AddedColumns] = []
    names = {*taken}
    for file in sorted(given_path(directory).glob("added-*.parquet")):
        if re.fullmatch(rf"added-{_NAME}\.parquet", file.name) is None:
            continue
        fault, columns = _looked_at(file, identity_hash(manifest), n_rows, names)
        if fault:
            warnings.warn(
                f"{file} is left out: {fault}; store its columns again, or remove it",
                BacktestWarning,
                stacklevel=2,
            )
            continue
        names |= {*columns}
        found.append(AddedColumns(file, columns))
    return found


def _looked_at(file: Path, sweep: str, n_rows: int, taken: set[str]) -> tuple[str, tuple[str, ...]]:
    """Return what is wrong with a file, empty where nothing is, and its columns."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not file.is_file():
        return "it is not a regular file", ()
    try:
        footer = pq.read_metadata(file)
        schema: pa.Schema = footer.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        return f"it is damaged ({error})", ()
    columns = tuple(name for name in schema.names if name != COMBO_ID)
    types = [pa.int64(), *(pa.float64() for _ in columns)]
    if (footer.metadata or {}).get(_SWEEP, b"").decode("utf-8", "replace") != sweep:
        return "it is of another sweep", ()
    if footer.num_rows != n_rows:
        return f"it has {footer.num_rows:,} rows and the sweep {n_rows:,}", ()
    if schema.names[:1] != [COMBO_ID] or schema.types != types:
        return "it does not hold combo_id and columns of numbers", ()
    if len({*columns}) < len(columns) or not taken.isdisjoint(columns):
        return "it has columns that the sweep has already", ()
    return "", columns
