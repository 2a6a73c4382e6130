"""Sums of blocks of days, as a shard keeps them: of some of its combinations, in a file apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from backtest_py.errors import DataError
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["BlockRows"]

_PARTS: Final = ("sum", "square", "days")


@dataclass(frozen=True, slots=True, eq=False)
class BlockRows:
    """Sums of the daily returns of some combinations in every block of days.

    Attributes
    ----------
    combo_ids : ndarray of int64, shape (n,)
        The combinations, ascending.
    sums, squares : ndarray of float64, shape (n_blocks, n)
        Of the daily returns, and of their squares.
    days : ndarray of float64, shape (n_blocks, n)
        Days of each block that count; fewer after a ruin.

    Examples
    --------
    >>> rows = BlockRows(np.array([3, 7]), *np.arange(12.0).reshape(3, 2, 2))
    >>> BlockRows.joined([BlockRows.read(rows.to_bytes())]).squares.tolist()
    [[4.0, 5.0], [6.0, 7.0]]
    """

    combo_ids: NDArray[np.int64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    days: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.combo_ids)

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""
        return len(self.sums)

    def to_bytes(self) -> bytes:
        """Return them as bytes, for a journey in memory: numbers of rows and blocks, then all."""
        n, n_blocks = len(self), self.n_blocks
        content = np.empty(2 + n + 3 * n_blocks * n, np.float64)
        content[:2].view(np.int64)[:] = n, n_blocks
        content[2 : 2 + n].view(np.int64)[:] = self.combo_ids
        parts = content[2 + n :].reshape(3, n_blocks, n)
        parts[0], parts[1], parts[2] = self.sums, self.squares, self.days
        return content.tobytes()

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Return what :meth:`to_bytes` made bytes of."""
        n, n_blocks = np.frombuffer(content, np.int64, 2).tolist()
        ids = np.frombuffer(content, np.int64, n, 16)
        sums = np.frombuffer(content, np.float64, 3 * n_blocks * n, 16 + 8 * n)
        return cls(ids, *sums.reshape(3, n_blocks, n))

    @classmethod
    def joined(cls, pieces: Iterable[Self], place: object = "the sweep") -> Self:
        """Return the rows of several shards, at least one, as one, sorted by ``combo_id``.

        Raises
        ------
        DataError
            If their numbers of blocks differ.
        """
        some = list(pieces)
        if len({piece.n_blocks for piece in some}) > 1:
            raise DataError(f"{place} keeps sums of different numbers of blocks; sweep again")
        ids = np.concatenate([piece.combo_ids for piece in some])
        order = np.argsort(ids, kind="stable")
        parts = (
            np.concatenate([getattr(piece, name) for piece in some], axis=1)[:, order]
            for name in ("sums", "squares", "days")
        )
        return cls(ids[order], *parts)

    def encode(self) -> memoryview:
        """Return them as the bytes of a Parquet file, which depend on the numbers alone.

        Columns are ``combo_id``, and for every block ``sum_00``, ``square_00`` and ``days_00``.
        Sums are not compressed: their digits are as good as random.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
        import pyarrow.parquet as pq  # noqa: PLC0415

        columns = {COMBO_ID: arrow_array(self.combo_ids)}
        parts: tuple[NDArray[Any], ...] = (self.sums, self.squares, self.days.astype(np.int32))
        for name, part in zip(_PARTS, parts, strict=True):
            columns |= {f"{name}_{at:02}": arrow_array(part[at]) for at in range(len(part))}
        sink = pa.BufferOutputStream()
        pq.write_table(
            pa.table(columns),
            sink,
            compression="none",
            row_group_size=max(len(self), 1),
            use_dictionary=[f"days_{at:02}" for at in range(self.n_blocks)],
            column_encoding={COMBO_ID: "DELTA_BINARY_PACKED"},
            write_statistics=False,
            write_page_checksum=True,
            store_schema=False,
        )
        return memoryview(sink.getvalue())

    @classmethod
    def of_table(cls, table: pa.Table, place: object) -> Self:
        """Return what :meth:`encode` wrote and Parquet has read.

        Raises
        ------
        DataError
            If it has other columns, or numbers that no sweep writes.
        """
        n_blocks, rest = divmod(table.num_columns - 1, 3)
        names = [f"{name}_{at:02}" for name in _PARTS for at in range(n_blocks)]
        if rest or n_blocks < 1 or table.column_names != [COMBO_ID, *names]:
            raise DataError(f"{place} holds no sums of blocks; resume the sweep to write it again")
        try:
            ids: NDArray[Any] = np.from_dlpack(table[COMBO_ID].combine_chunks())
            columns = [np.from_dlpack(table[name].combine_chunks()) for name in names]
            parts = np.stack(columns).astype(np.float64)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise DataError(f"{place} is damaged: {error}; resume the sweep") from error
        if ids.dtype != np.int64 or not np.isfinite(parts).all() or (parts[n_blocks:] < 0.0).any():
            raise DataError(f"{place} holds sums that no sweep writes; resume the sweep")
        return cls(ids, *parts.reshape(3, n_blocks, len(ids)))
