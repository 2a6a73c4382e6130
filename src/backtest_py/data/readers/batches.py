"""A Parquet file read piece by piece: it may be larger than the memory.

Every batch is read behind the last row of the one before it, so that what a row is may depend on
that one: whether it repeats it, which of two instants its time is, in which unit it counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backtest_py.bars import Bars, build_bars
from backtest_py.bars.clocks import to_instants
from backtest_py.bars.columns import VOLUMES, ignored_names
from backtest_py.bars.validation import empty_rows, nothing_traded, without_identical
from backtest_py.data.readers._open import MAX_TEXT, most_unpacked
from backtest_py.data.readers._sizes import parquet_bytes
from backtest_py.data.readers.parquet import (
    DAMAGE,
    Source,
    check_size,
    columns_of,
    damaged,
    is_text,
    roles_of,
)
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backtest_py.bars import BarsReport, ReadOptions
    from backtest_py.bars.columns import Columns

__all__ = ["read_batches"]

_PAGES: Any = {"pre_buffer": False, "buffer_size": 2**20, "page_checksum_verification": True}
"""Read pages as they are needed: by default Arrow reads row groups ahead and keeps their buffers.

Reading 50 million rows takes 140 MB of memory, with the defaults 760 MB, and 820 MB where all rows
are one row group.
"""


def read_batches(file: Path, options: ReadOptions, chunk_rows: int) -> Iterator[tuple[Bars, int]]:
    """Yield bars of at most so many rows, oldest first, each with the number of rows in the file.

    Raises
    ------
    DataError
        If the file is damaged, runs backwards, or a row breaks a rule, when it is reached.
    """
    try:
        yield from _Reader(file, options).pieces(chunk_rows)
    except DataError:
        raise
    except DAMAGE as error:
        raise damaged(file.name, "parquet", error) from None


class _Reader:
    def __init__(self, file: Path, options: ReadOptions) -> None:
        self._file, self._options = file, options
        with pq.ParquetFile(file) as source:
            schema = source.schema_arrow
            self._n_rows: int = source.metadata.num_rows
            self._names: list[str] = schema.names
            self._roles = roles_of(schema, file.name)
            self._used = {role: self._names[each] for role, each in self._roles.items()}
            self._ignored = ignored_names(self._roles, self._names)
            wanted = [self._names[each] for each in sorted(set(self._roles.values()))]
            check_size(parquet_bytes(source, wanted), file)
        if self._n_rows == 0:
            raise DataError(f"{file.name}: there is no row in the file")
        self._texts = [name for name in wanted if is_text(schema.field(name).type)]
        self._most_text = min(MAX_TEXT, most_unpacked(file.stat().st_size))
        self._keep_one_volume()
        self._n_read = 0
        self._warned = False

    def _keep_one_volume(self) -> None:
        """Settle which kind of volume serves: the best one that is not zero throughout."""
        kinds = [kind for kind in VOLUMES if kind in self._roles]
        chosen = kinds[0] if kinds else ""
        for kind in kinds if len(kinds) > 1 else ():
            if any(self._trades(kind, table) for table in self._tables(2**16, [kind])):
                chosen = kind
                break
        for kind in kinds:
            if kind != chosen:
                del self._roles[kind]

    def _trades(self, kind: str, table: pa.Table) -> bool:
        """Return whether a volume is not zero throughout."""
        column = table[self._names[self._roles[kind]]]
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            return bool(pc.any(pc.not_equal(column, 0)).as_py()) or column.null_count > 0
        return any(text is None or float(text) != 0.0 for text in column.to_pylist())

    def _tables(self, chunk_rows: int, roles: list[str]) -> Iterator[pa.Table]:
        names = [self._names[each] for each in sorted({self._roles[role] for role in roles})]
        texts = [name for name in names if name in self._texts]
        with pq.ParquetFile(self._file, read_dictionary=texts, **_PAGES) as source:
            for batch in source.iter_batches(chunk_rows, columns=names):
                if batch.num_rows:
                    batch.validate(full=True)
                    yield pa.Table.from_batches([batch])

    def pieces(self, chunk_rows: int) -> Iterator[tuple[Bars, int]]:
        """Yield bars; each piece waits for the next, to count what was dropped behind it."""
        before: pa.Table | None = None
        known: int | None = None
        dropped = _Dropped(0, 0, 0)
        ready: Bars | None = None
        for table in self._tables(chunk_rows, list(self._roles)):
            columns, report = self._columns(table, before)
            bars, counts = self._bars(columns, report, known=known, overlaps=before is not None)
            dropped = _Dropped(*map(sum, zip(dropped, counts, strict=True)))
            if bars is not None:
                if ready is not None:
                    yield ready, self._n_rows
                ready = bars
            if ready is not None:
                ready = ready.reported(counted(ready.report, dropped))
                dropped = _Dropped(0, 0, 0)
            self._n_read += table.num_rows
            instants = to_instants(self._options, columns.times, columns.time_at, known)
            known = int(instants[-1])
            before = table.slice(table.num_rows - 1)
        if ready is None:
            raise nothing_traded(f"{self._file.name}: open in row 0", self._n_rows)
        yield ready, self._n_rows

    def _columns(self, table: pa.Table, before: pa.Table | None) -> tuple[Columns, BarsReport]:
        """Return the columns of a batch behind the row before it."""
        first_row = self._n_read
        if before is not None:
            table = pa.concat_tables([before, table])
            first_row -= 1
        source = Source(
            self._file.name,
            "parquet",
            table,
            self._roles,
            self._names,
            self._most_text,
            first_row,
        )
        columns, report = columns_of(source, self._options)
        report = replace(report, columns=self._used, ignored=self._ignored)
        ns = columns.times.ns
        if before is None and ns[0] > ns[-1]:
            raise DataError(
                f"{self._file.name}: the rows run from the newest bar to the oldest, and a file "
                "that is read piece by piece is read forwards; write it sorted by time, or load it "
                "with bt.load_bars"
            )
        if columns.times.notes:
            raise DataError(
                f"{self._file.name}: {columns.times.notes[0]}, but rows that are not read yet may "
                "show another order; give dayfirst=True if they start with the day, or write the "
                "times as timestamps"
            )
        return columns, report

    def _bars(
        self, columns: Columns, report: BarsReport, *, known: int | None, overlaps: bool
    ) -> tuple[Bars | None, _Dropped]:
        """Return the bars of a batch without the row before it, and what was read and dropped."""
        drops = self._options.empty == "drop"
        gaps = empty_rows(columns)
        n_rows = len(columns) - int(overlaps)
        if drops and gaps.all():
            repeated = without_identical(columns, self._options)[1]
            return None, _Dropped(n_rows, repeated, n_rows - repeated)
        begins_empty = bool(drops and gaps[0])
        bars = build_bars(columns, self._options, report, identical="drop", known=known)
        counts = _Dropped(
            n_rows,
            bars.report.identical_dropped,
            bars.report.empty_dropped - int(overlaps and begins_empty),
        )
        overlap = int(overlaps and not begins_empty)
        if len(bars) == overlap:
            return None, counts
        report = counted(bars.report, _Dropped(0, 0, 0), anew=True)
        if self._warned:  # what is said of one row is not said of every piece
            report = replace(report, warnings=())
        self._warned = self._warned or bool(report.warnings)
        return bars[overlap:].reported(report), counts


class _Dropped(NamedTuple):
    rows_read: int
    identical_dropped: int
    empty_dropped: int


def counted(report: BarsReport, more: _Dropped, *, anew: bool = False) -> BarsReport:
    """Return a report with more rows counted, beside those that it counts, or anew."""
    counts = {
        name: number + (0 if anew else getattr(report, name))
        for name, number in more._asdict().items()
    }
    return replace(report, **counts)
