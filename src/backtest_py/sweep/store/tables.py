"""What a row of a sweep is: a combination's number, its parameters and its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.metrics.catalogue import CATALOGUE, COUNT_METRICS, METRICS
from backtest_py.rules import Intrabar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "COMBO_ID",
    "arrow_array",
    "blocks_of",
    "coded_column",
    "scenario_column",
    "shard_table",
    "signals_of",
    "with_blocks",
]

COMBO_ID: Final = "combo_id"
_SIGNALS: Final = "signals"
_BLOCKS: Final = "blocks"

_COUNT_ROWS: Final = [row for row, metric in enumerate(METRICS) if metric in COUNT_METRICS]


def scenario_column(metric: str, scenario: str) -> str:
    """Return the column of a metric in the scenario that the rules did not ask for.

    The metrics under their own names follow the rules' ``intrabar``. Where both scenarios were
    computed, those of the other follow under these names.

    Examples
    --------
    >>> scenario_column("sharpe", "target_first")
    'sharpe_target_first'
    """
    return f"{metric}_{Intrabar[scenario].name}"


def coded_column(codes: NDArray[np.integer[Any]], values: Sequence[Any]) -> pa.Array:
    """Return a column of values that are given by their positions in a list.

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,)
        Positions in ``values``, such as digits of ``combo_id``.
    values : sequence
        Canonical values of one parameter: all float, int, bool or str.

    Returns
    -------
    pyarrow.Array
        Of dictionary type, which a file keeps without looking at the values; bools are plain.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    listed = np.array(values)
    if listed.dtype == np.bool_:
        return arrow_array(listed[codes])
    return pa.DictionaryArray.from_arrays(
        arrow_array(codes.astype(np.int32, copy=False)), arrow_array(listed)
    )


def arrow_array(values: NDArray[Any]) -> pa.Array:
    """Return numbers, bools or texts as Arrow has them; contiguous numbers are not copied.

    ``pyarrow.array`` does the same, but imports pandas first, which takes longer than to sweep a
    few thousand combinations.

    Examples
    --------
    >>> arrow_array(np.array(["09:00", ""])).to_pylist()
    ['09:00', '']
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    if values.dtype.kind == "U":
        texts = [text.encode() for text in values.tolist()]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        data = pa.py_buffer(b"".join(texts))
        return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), data)
    bools = values.dtype == np.bool_
    content = np.packbits(values, bitorder="little") if bools else np.ascontiguousarray(values)
    buffers = [None, pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def shard_table(
    combo_ids: NDArray[np.int64],
    parameters: Mapping[str, Any],
    metrics: NDArray[np.float64],
    other: tuple[str, NDArray[np.float64]] | None = None,
    signals: str = "",
    blocks: bytes = b"",
) -> pa.Table:
    """Return the table of a shard; contiguous metrics are not copied.

    Parameters
    ----------
    combo_ids : ndarray of int64, shape (n_rows,)
        Strictly increasing.
    parameters : mapping of str to pyarrow.Array, shape (n_rows,)
        The swept parameters by full key, in the order of the grid; see :func:`coded_column`.
    metrics : ndarray of float64, shape (n_metrics, n_rows)
        One row for each name of ``catalogue.METRICS``.
    other : tuple of str and ndarray, optional
        The name of the other scenario (``"stop_first"`` or ``"target_first"``) and its metrics.
    signals : str
        Hashes of what a user's function gave for these rows. They go with the table into the
        journal, but not into the file.
    blocks : bytes
        Sums of blocks of some of these rows, of ``BlockRows``. They go with the table too, for a
        file of their own.

    Examples
    --------
    >>> import numpy as np
    >>> stops = coded_column(np.array([0, 1]), [0.5, 1.0])
    >>> table = shard_table(np.array([4, 5]), {"rules.stop": stops}, np.zeros((39, 2)))
    >>> table.column_names[:3]
    ['combo_id', 'rules.stop', 'total_trades']
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    columns: dict[str, Any] = {COMBO_ID: arrow_array(combo_ids), **parameters}
    columns |= zip(METRICS, _typed(metrics), strict=True)
    if other is not None:
        scenario, values = other
        names = [scenario_column(metric, scenario) for metric in METRICS]
        columns |= zip(names, _typed(values), strict=True)
    beside: dict[bytes | str, bytes | str] = {_SIGNALS: signals} if signals else {}
    if blocks:
        beside[_BLOCKS] = blocks
    return pa.table(columns, metadata=beside or None)


def signals_of(table: pa.Table) -> str:
    """Return the hashes that :func:`shard_table` was given as ``signals``."""
    found: bytes = (table.schema.metadata or {}).get(_SIGNALS.encode(), b"")
    return found.decode()


def blocks_of(table: pa.Table) -> bytes:
    """Return the sums that :func:`shard_table` was given as ``blocks``, empty without any."""
    found: bytes = (table.schema.metadata or {}).get(_BLOCKS.encode(), b"")
    return found


def with_blocks(table: pa.Table, blocks: bytes) -> pa.Table:
    """Return a table with sums of blocks beside it and nothing else, for :func:`blocks_of`."""
    return table.replace_schema_metadata({_BLOCKS: blocks} if blocks else None)


def _typed(metrics: NDArray[np.float64]) -> Iterator[pa.Array]:
    """Yield the metrics as columns: slices of one array for each type, which cost little."""
    n = metrics.shape[1]
    floats = arrow_array(metrics.ravel())
    counts = arrow_array(metrics[_COUNT_ROWS].astype(np.int64).ravel())
    place = 0
    for row, metric in enumerate(METRICS):
        if CATALOGUE[metric].kind == "flag":
            yield arrow_array(metrics[row].astype(np.bool_))
        elif metric in COUNT_METRICS:
            yield counts.slice(place, n)
            place += n
        else:
            yield floats.slice(row * n, n)
