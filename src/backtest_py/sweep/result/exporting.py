"""Writes the rows of a sweep for spreadsheets, batch by batch."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from backtest_py._io.spreadsheets import MOST_ROWS, safe_text, write_workbook
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from backtest_py._io.spreadsheets import Dialect

__all__ = ["write_rows", "write_rows_workbook"]


class _Lines:
    """A file in which lines end as a dialect says; no cell holds the end of a line."""

    closed = False

    def __init__(self, file: IO[bytes], newline: str) -> None:
        self._file, self._newline = file, newline.encode()

    def write(self, content: bytes) -> int:
        self._file.write(bytes(content).replace(b"\n", self._newline))
        return len(content)

    def flush(self) -> None:
        self._file.flush()


def write_rows(
    file: IO[bytes], batches: Iterable[pa.RecordBatch], schema: pa.Schema, dialect: Dialect
) -> None:
    """Write rows as CSV in a dialect."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.csv as pc  # noqa: PLC0415

    if dialect.plain:
        with pc.CSVWriter(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return
    file.write(dialect.mark)
    header = dialect.sep.join(_quoted(name, dialect) for name in schema.names)
    file.write(f"{header}{dialect.newline}".encode())
    options = pc.WriteOptions(include_header=False, delimiter=dialect.sep, quoting_style="none")
    written = pa.schema([(field.name, _written(field.type)) for field in schema])
    target: Any = _Lines(file, dialect.newline)
    with pc.CSVWriter(target, written, write_options=options) as writer:
        for batch in batches:
            columns = [_column(column, dialect) for column in batch.columns]
            writer.write_batch(pa.record_batch(columns, schema=written))


def _written(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    return pa.string() if pa.types.is_floating(kind) else kind


def _column(column: pa.Array, dialect: Dialect) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_string(column.type):
        return pa.array([_quoted(text, dialect) for text in column.to_pylist()], pa.string())
    if not pa.types.is_floating(column.type):
        return column
    texts = pc.replace_substring(pc.cast(column, pa.string()), ".", dialect.decimal)
    if dialect.locale:
        texts = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), texts)
        texts = pc.if_else(pc.equal(texts, "-inf"), safe_text("-inf"), texts)
    return texts


def _quoted(text: str, dialect: Dialect) -> str:
    safe = safe_text(text)
    special = any(each in safe for each in (dialect.sep, '"', "\n", "\r"))
    return '"{}"'.format(safe.replace('"', '""')) if special else safe


def write_rows_workbook(
    path: Path, batches: Iterable[pa.RecordBatch], names: list[str], n_rows: int
) -> None:
    """Write rows as the sheet of an Excel file.

    Raises
    ------
    ConfigError
        If a sheet cannot hold so many rows.
    """
    if n_rows > MOST_ROWS:
        raise ConfigError(
            f"a sheet of Excel holds {MOST_ROWS:,} rows, and the sweep has {n_rows:,}; choose some "
            'by where="sharpe > 1", or write CSV'
        )

    def rows() -> Iterator[tuple[Any, ...]]:
        for batch in batches:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    write_workbook(path, {"sweep": (names, rows())})
