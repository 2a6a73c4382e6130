"""The directory of a sweep: written while the sweep runs, never half, and resumed after anything.

::

    DIR/manifest.json                   what is swept, on which bars, by which engine; its checksum
        journal.jsonl                   one line for each shard that is done
        results/shard-000000.parquet    rows of one box of the grid, sorted by combo_id
        .lock                           held by the process that writes

A shard is done when its file stands under its name and the journal has its line. Whatever else a
killed process, a full disk or a flipped bit leaves behind is found when the sweep is resumed, and
computed again: to the same bytes, because a shard's file depends on its table alone.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from backtest_py._io.files import TEMPORARY, replace_file, sync_directory
from backtest_py.errors import BacktestError, ConfigError, DataError, StorageError
from backtest_py.parameters import counted
from backtest_py.provenance import canonical_json, sha256
from backtest_py.sweep.store.identity import differences
from backtest_py.sweep.store.journal import Entry, Journal, checksum
from backtest_py.sweep.store.lock import DirectoryLock
from backtest_py.sweep.store.tables import signals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    import pyarrow as pa

__all__ = ["Packed", "SweepStore", "done_shards", "encode_shard", "read_manifest"]

KIND: Final = "sweep"
MANIFEST: Final = "manifest.json"
JOURNAL: Final = "journal.jsonl"
RESULTS: Final = "results"
SHARDS: Final = "shard-*.parquet"

_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "a limit on the size of files is reached; raise it (ulimit -f)",
}


class Packed(NamedTuple):
    """A shard's table as the bytes of its file.

    Attributes
    ----------
    num_rows : int
        Rows of the table.
    content : bytes
        The file.
    signals : str
        As in the journal's entry.
    """

    num_rows: int
    content: bytes
    signals: str = ""

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Return the bytes of a table's file."""
        return cls(table.num_rows, bytes(encode_shard(table)), signals_of(table))


class SweepStore:
    """A sweep's directory, open for writing by this process alone.

    Made by :meth:`create` or :meth:`resume`; as a context manager it gives the directory back.

    Attributes
    ----------
    path : Path
        The directory.
    manifest : dict
        What ``manifest.json`` holds, without its checksum.
    done : dict of int to int
        Rows of each shard that is written and, after :meth:`resume`, verified.
    damaged : list of str
        What :meth:`resume` found damaged, one sentence each. It does not count as done.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> manifest = {"identity": {"bars_hash": "5f0c"}}
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with SweepStore.create(directory, manifest) as store:
    ...         store.write(0, pa.table({"combo_id": [0, 1], "sharpe": [0.5, 1.5]}))
    ...     with SweepStore.resume(directory, manifest) as store:
    ...         store.done
    {0: 2}
    """

    def __init__(self, path: str | Path, manifest: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.manifest: dict[str, Any] = _plain({**manifest, "kind": KIND, "status": "running"})
        self.done: dict[int, int] = {}
        self.damaged: list[str] = []
        self._sweep = _short_hash(self.manifest)
        self._mutex = threading.Lock()
        self._journal: Journal | None = None
        self._lock: DirectoryLock | None = None

    @classmethod
    def create(cls, path: str | Path, manifest: Mapping[str, Any]) -> Self:
        """Begin a sweep in a directory that holds no results.

        Parameters
        ----------
        path : str or Path
            The directory; made if it does not exist.
        manifest : mapping
            Ready for JSON. What decides the results stands under ``"identity"``. The store sets
            ``"kind"``, and ``"status"`` to ``"running"``.

        Raises
        ------
        ConfigError
            If there are results already, the directory cannot be written, or another process
            holds it.
        StorageError
            If the disk is full.
        """
        store = cls(path, manifest)
        with store._opening():
            store._refuse_results()
            store._remove_unfinished({})
            Journal.rewrite(store.path / JOURNAL, ())
            store._begin()
        return store

    @classmethod
    def resume(
        cls,
        path: str | Path,
        manifest: Mapping[str, Any],
        *,
        accept: Callable[[Mapping[int, str]], None] | None = None,
    ) -> Self:
        """Continue the sweep of a directory, or begin one where there is none.

        What the stored manifest holds beside ``manifest``, such as a verdict, is kept. Every file
        in the journal is read and compared with its checksum; those that fail are removed.

        Parameters
        ----------
        path, manifest
            As :meth:`create` takes them.
        accept : callable, optional
            Called with the signal hashes of every shard that is done, before anything is changed;
            what it raises leaves the directory as it was.

        Raises
        ------
        ConfigError
            If the directory holds another sweep, with every difference named; or as
            :meth:`create`.
        StorageError
            If the disk is full.
        """
        store = cls(path, manifest)
        with store._opening():
            stored = store._stored_manifest()
            entries = store._verified_entries(known=bool(stored))
            if accept is not None:
                accept({shard: entry.signals for shard, entry in entries.items()})
            store._remove_unfinished(entries)
            Journal.rewrite(store.path / JOURNAL, entries.values())
            store.manifest = stored | store.manifest
            store.done = {shard: entry.rows for shard, entry in entries.items()}
            store._begin()
        return store

    def write(self, shard: int, table: pa.Table | Packed) -> None:
        """Write one shard: it is done when this returns, and not at all if it fails.

        Several threads may write different shards at once; encoding and writing release the GIL.

        Parameters
        ----------
        shard : int
            Number of the shard in the plan.
        table : pyarrow.Table or Packed
            ``combo_id`` (int64, strictly increasing), parameters and metrics; or what
            :meth:`Packed.of` made of it, as in another process.

        Raises
        ------
        StorageError
            If it cannot be written, as on a full disk; the sweep can be resumed.
        """
        content = table.content if isinstance(table, Packed) else encode_shard(table)
        signals = table.signals if isinstance(table, Packed) else signals_of(table)
        size, crc32 = len(content), checksum(content)
        entry = Entry(shard, table.num_rows, size, crc32, self._sweep, signals)
        file = self.path / RESULTS / entry.file_name
        if self._journal is None:
            raise StorageError(f"{file} cannot be written: the sweep's directory was given back")
        try:
            replace_file(file, content)
            sync_directory(file.parent)
            with self._mutex:
                self._journal.append(entry)
                self.done[shard] = table.num_rows
        except OSError as error:
            raise _failed(file, error) from error

    def update(self, changes: Mapping[str, Any]) -> None:
        """Set keys of the manifest, such as ``status``, and write it.

        Raises
        ------
        StorageError
            If it cannot be written; the file stays as it was.
        """
        with self._mutex:
            manifest = _plain({**self.manifest, **changes})
            try:
                _write_manifest(self.path, manifest)
            except OSError as error:
                raise _failed(self.path / MANIFEST, error) from error
            self.manifest = manifest

    def close(self) -> None:
        """Give the directory back; a second time does nothing."""
        with self._mutex:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Hold the lock, and give it back if what follows fails."""
        try:
            (self.path / RESULTS).mkdir(parents=True, exist_ok=True)
            self._lock = DirectoryLock(self.path)
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, BacktestError):
                raise _unusable(self.path, error) from error
            raise

    def _begin(self) -> None:
        _write_manifest(self.path, self.manifest)
        self._journal = Journal(self.path / JOURNAL)

    def _refuse_results(self) -> None:
        file = self.path / MANIFEST
        if file.exists() and not _is_sweep(file):
            raise ConfigError(
                f"{self.path} holds the results of something else; choose another directory"
            )
        if any((self.path / RESULTS).glob("*.parquet")):
            raise ConfigError(
                f"{self.path} holds the results of a sweep; continue it (--resume), or choose "
                "another directory"
            )

    def _stored_manifest(self) -> dict[str, Any]:
        """Return the manifest of the directory, empty if there is none to rely on."""
        file = self.path / MANIFEST
        if not file.exists():
            return {}
        try:
            stored = read_manifest(self.path)
        except DataError as error:
            self.damaged.append(str(error))
            return {}
        changes = differences(stored["identity"], self.manifest["identity"])
        if changes:
            raise ConfigError(
                f"{self.path} holds another sweep, which cannot be resumed: {'; '.join(changes)}. "
                "Give the same settings, or choose another directory"
            )
        return stored

    def _verified_entries(self, *, known: bool) -> dict[int, Entry]:
        """Return the shards whose files are as the journal says; ``known``: by the manifest."""
        entries, n_damaged = Journal.read(self.path / JOURNAL)
        own = {shard: entry for shard, entry in entries.items() if entry.sweep == self._sweep}
        if not known and not own and any((self.path / RESULTS).glob(SHARDS)):
            raise ConfigError(
                f"{self.path} holds results, but neither {MANIFEST} nor {JOURNAL} tells that they "
                "are of this sweep; choose another directory, or delete them"
            )
        foreign = len(entries) - len(own)
        if n_damaged or foreign:
            lines = counted(n_damaged + foreign, "damaged line")
            self.damaged.append(f"{self.path / JOURNAL} has {lines}")
        files = [self.path / RESULTS / entry.file_name for entry in own.values()]
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            faults = list(pool.map(_fault, files, own.values()))
        self.damaged += [fault for fault in faults if fault]
        return {
            shard: entry
            for (shard, entry), fault in zip(own.items(), faults, strict=True)
            if not fault
        }

    def _remove_unfinished(self, entries: Mapping[int, Entry]) -> None:
        """Remove what killed processes left behind, and shards that are not done."""
        results = self.path / RESULTS
        done = {entry.file_name for entry in entries.values()}
        shards = (file for file in results.glob(SHARDS) if file.name not in done)
        for file in (*self.path.glob(TEMPORARY), *results.glob(TEMPORARY), *shards):
            file.unlink(missing_ok=True)


def encode_shard(table: pa.Table) -> memoryview:
    """Return a shard's table as the bytes of a Parquet file, which depend on the table alone.

    Numbers are split into streams of bytes and packed with LZ4: on metrics of a sweep that takes
    two thirds of the time of Zstandard's first level for a tenth more bytes. Columns of
    dictionary type stay dictionaries in the file, and are read as plain values.

    Parameters
    ----------
    table : pyarrow.Table
        ``combo_id`` (int64, strictly increasing) and any other columns.

    Raises
    ------
    ValueError
        If ``combo_id`` does not increase.
    """
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    # pages of a file end where chunks do; what goes with a table is for the journal
    table = table.combine_chunks().replace_schema_metadata(None)
    # to_numpy would import pandas, which takes longer than a small sweep
    if np.any(np.diff(np.from_dlpack(table["combo_id"].combine_chunks())) <= 0):
        raise ValueError("combo_id must increase from row to row of a shard")
    dictionaries, split = [], []
    for column in table.schema:
        if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
            dictionaries.append(column.name)
        elif column.name != "combo_id" and not pa.types.is_boolean(column.type):
            split.append(column.name)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="lz4",
        row_group_size=max(table.num_rows, 1),
        write_batch_size=1 << 16,
        use_dictionary=dictionaries,
        column_encoding={"combo_id": "DELTA_BINARY_PACKED"}
        | dict.fromkeys(split, "BYTE_STREAM_SPLIT"),
        # those of metrics cost a tenth of the time, and no ranking can use them
        write_statistics=["combo_id", *dictionaries],
        write_page_checksum=True,
        store_schema=False,
    )
    return memoryview(sink.getvalue())


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Return the manifest of a sweep's directory, without its checksum.

    Raises
    ------
    ConfigError
        If the directory holds no sweep.
    DataError
        If the manifest is damaged.
    """
    file = Path(path) / MANIFEST
    try:
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"{path} holds no sweep: {MANIFEST} is missing") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error
    damage = f"{file} is damaged; resuming the sweep writes it again"
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(damage) from error
    if not isinstance(manifest, dict):
        raise DataError(damage)
    expected = manifest.pop("checksum", None)
    if expected is None and manifest.get("kind") != KIND:
        raise ConfigError(f"{path} holds no sweep: {MANIFEST} is of something else")
    if expected != sha256(canonical_json(manifest)):
        raise DataError(damage)
    return manifest


def done_shards(path: str | Path, manifest: Mapping[str, Any]) -> dict[Path, int]:
    """Return the files of the shards that are done, in order, and the rows of each.

    Sizes are checked here, and the checksums of pages where they are read.

    Parameters
    ----------
    path : str or Path
        A sweep's directory; the sweep may be running.
    manifest : mapping
        Its manifest.

    Raises
    ------
    DataError
        If a file is missing or does not have its size.
    """
    entries, _ = Journal.read(Path(path) / JOURNAL)
    sweep = _short_hash(manifest)
    files = {}
    for entry in entries.values():
        if entry.sweep == sweep:
            file = Path(path) / RESULTS / entry.file_name
            if not file.exists() or file.stat().st_size != entry.size:
                raise DataError(
                    f"{file} is missing or has not the {entry.size:,} bytes that were written; "
                    "resume the sweep to compute it again"
                )
            files[file] = entry.rows
    return files


def _short_hash(manifest: Mapping[str, Any]) -> str:
    return sha256(canonical_json(manifest["identity"]))[:16]


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as JSON gives it back, so that what is stored and new can be compared."""
    plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    return plain


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    content = {**manifest, "checksum": sha256(canonical_json(manifest))}
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    replace_file(path / MANIFEST, f"{text}\n".encode())
    sync_directory(path)


def _is_sweep(file: Path) -> bool:
    try:
        read_manifest(file.parent)
    except ConfigError:
        return False
    except DataError:
        return True
    return True


def _fault(file: Path, entry: Entry) -> str:
    """Say what is wrong with a shard's file, empty where nothing is."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return f"{file} is missing"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror or error}"
    if len(content) != entry.size:
        return f"{file} has {len(content):,} bytes instead of {entry.size:,}"
    if checksum(content) != entry.crc32:
        return f"{file} is damaged: its checksum is not {entry.crc32}"
    return ""


def _unusable(path: Path, error: OSError) -> BacktestError:
    if error.errno in _REMEDIES:
        return _failed(path, error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return ConfigError(f"{path} cannot be a directory: a file stands there")
    return ConfigError(
        f"{path} cannot be written: {error.strerror or error}; choose a directory that can"
    )


def _failed(file: Path, error: OSError) -> StorageError:
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; remove the cause")
    return StorageError(
        f"{file} cannot be written: {remedy} and resume the sweep (--resume); what is done is kept"
    )
