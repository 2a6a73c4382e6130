"""The files of a walk-forward: windows, trades, days, metrics and the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from backtest_py._io.files import replace_file
from backtest_py._io.paths import given_path
from backtest_py.backtest.saving import folder, parquet_bytes, pretty_json
from backtest_py.errors import ConfigError
from backtest_py.fingerprints import sha256
from backtest_py.metrics.catalogue import CATALOGUE
from backtest_py.sweep.store.manifest import MANIFEST, is_sweep, plain, write_manifest
from backtest_py.sweep.store.store import SweepStore, writing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from backtest_py.backtest.daily import DailyAccount
    from backtest_py.backtest.metrics import Metrics

__all__ = [
    "DAILY",
    "KIND",
    "METRICS_FILE",
    "TIMES",
    "TRADES",
    "WINDOWS",
    "WalkForwardStore",
    "contents",
    "daily_table",
    "save",
]

KIND: Final = "walk_forward"
WINDOWS: Final = "windows.parquet"
TRADES: Final = "trades.parquet"
DAILY: Final = "daily.parquet"
METRICS_FILE: Final = "metrics.json"
TIMES: Final = ("train_start", "train_end", "test_start", "test_end")
"""The first columns of the windows."""
_ARROW: Final = {"count": "int64", "flag": "bool", "number": "float64"}


class WalkForwardStore(SweepStore):
    """The directory of a walk-forward while it runs: the scores of its trainings, resumable."""

    kind: ClassVar[str] = KIND

    def finish(self, files: Mapping[str, bytes], seconds: float) -> None:
        """Write the result, and note that the walk-forward is complete.

        Raises
        ------
        StorageError
            If it cannot be written; the walk-forward can be resumed.
        """
        with writing(self.path):
            _write(files, self.path)
        self.update({"status": "complete", "seconds": seconds, "files": _hashes(files)})


def contents(
    rows: Mapping[str, list[Any]], trades: pa.Table, daily: pa.Table, metrics: Metrics
) -> dict[str, bytes]:
    """Return the files of a walk-forward by name, all but the manifest.

    Parameters
    ----------
    rows : mapping of str to list
        The windows, column by column.
    trades : pyarrow.Table
        The trades of all tests.
    daily : pyarrow.Table
        Their account by day.
    metrics : Metrics
        Those of the trades.
    """
    return {
        WINDOWS: parquet_bytes(_windows_table(rows)),
        TRADES: parquet_bytes(trades),
        DAILY: parquet_bytes(daily),
        METRICS_FILE: pretty_json(metrics.to_mapping()),
    }


def daily_table(daily: DailyAccount) -> pa.Table:
    """Return an account by day as ``daily.parquet`` holds it."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    columns = daily._asdict()
    return pa.table({"day": columns.pop("date"), **columns})


def save(directory: str | Path, files: Mapping[str, bytes], asked: Mapping[str, Any]) -> Path:
    """Write files, and last the manifest of what was asked; see :meth:`WalkForward.save`."""
    path = given_path(directory)
    file = path / MANIFEST
    if file.exists() and not is_sweep(file, KIND):
        raise ConfigError(f"{file} is of something else, no walk-forward; give another directory")
    with folder(path):
        _write(files, path)
        status = {"kind": KIND, "status": "complete", "files": _hashes(files)}
        write_manifest(path, plain({**asked, **status}))
    return path


def _write(files: Mapping[str, bytes], path: Path) -> None:
    for name, content in files.items():
        replace_file(path / name, content)


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(content) for name, content in files.items()}


def _windows_table(rows: Mapping[str, list[Any]]) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

    columns = {}
    for name, values in rows.items():
        part, _, metric = name.partition("_")
        if name in TIMES:
            columns[name] = pa.array(np.array(values, "M8[ns]"), pa.timestamp("ns"))
        elif part in {"train", "test"}:
            kind = pa.type_for_alias(_ARROW[CATALOGUE[metric].kind])
            columns[name] = pa.array(values, kind, from_pandas=False)
        else:
            columns[name] = pa.array(values, from_pandas=False)
    return pa.table(columns)
