"""A walk-forward read back from its directory."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.files import read_regular
from backtest_py._io.paths import given_path
from backtest_py.analysis.walk_forward.files import (
    DAILY,
    KIND,
    METRICS_FILE,
    TIMES,
    TRADES,
    WINDOWS,
)
from backtest_py.analysis.walk_forward.result import WalkForward
from backtest_py.backtest.metrics import Metrics
from backtest_py.errors import ConfigError, DataError
from backtest_py.fingerprints import sha256
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.store.manifest import believing, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ["open_walk_forward"]

MAX_FILE: Final = 1 << 33
"""Size limit of a file, in bytes."""
_OF_FILES: Final = frozenset({"kind", "status", "files", "seconds"})
"""What a manifest says of its files, and not of the question."""


def open_walk_forward(path: str | Path) -> WalkForward:
    """Open a walk-forward that :func:`backtest_py.walk_forward` or its result has written.

    Parameters
    ----------
    path : str or Path
        Its directory.

    Returns
    -------
    WalkForward

    Raises
    ------
    ConfigError
        If the directory holds none, or one that is not complete.
    DataError
        If a file is damaged or of another walk-forward.

    Examples
    --------
    >>> import tempfile
    >>> import backtest_py as bt
    >>> bars = bt.synthetic_bars(n_days=30)
    >>> wf = bt.walk_forward(bars, grid={"rules.stop": [1.0, 2.0]}, train_days=10, test_days=10)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     bt.open_walk_forward(wf.save(directory)).windows.equals(wf.windows)
    True
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - a heavy import, only where it is used

    directory = given_path(path)
    manifest = read_manifest(directory, KIND)
    if manifest.get("status") != "complete":
        raise ConfigError(
            f"the walk-forward in {directory} is {manifest.get('status')}, not complete; continue "
            "it (--resume)"
        )
    asked = {name: value for name, value in manifest.items() if name not in _OF_FILES}
    with believing(directory):
        contents = {
            name: _read(directory / name, manifest["files"][name])
            for name in (WINDOWS, TRADES, DAILY, METRICS_FILE)
        }
        windows, trades, daily = (
            pq.read_table(io.BytesIO(contents[name])) for name in (WINDOWS, TRADES, DAILY)
        )
        numbers = json.loads(contents[METRICS_FILE])
        metrics = Metrics(np.array([float(numbers[name]) for name in METRICS]))
        return WalkForward(_rows(windows), trades, daily, metrics, asked)


def _read(file: Path, expected: str) -> bytes:
    """Return the content of a file that has not changed since it was written."""
    advice = "continue the walk-forward (--resume), or save it again"
    try:
        content = read_regular(file, MAX_FILE)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}; {advice}") from error
    if sha256(content) != expected:
        raise DataError(
            f"{file} is damaged, or of another walk-forward: its SHA-256 is not that of the "
            f"manifest; {advice}"
        )
    return content


def _rows(table: pa.Table) -> dict[str, list[Any]]:
    return {
        name: list(table[name].to_numpy()) if name in TIMES else table[name].to_pylist()
        for name in table.column_names
    }
