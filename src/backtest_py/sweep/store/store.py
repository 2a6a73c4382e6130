"""The directory of a sweep: written while it runs, and resumable after any interruption.

::

    DIR/manifest.json                   what is swept, on which bars, by which engine; its checksum
        journal.jsonl                   one line for each shard that is done
        results/shard-000000.parquet    rows of one box of the grid, sorted by combo_id
        blocks/shard-000000.parquet     sums of blocks of days, of some of these rows
        .lock                           held by the process that writes

A shard is done when its file has its final name and the journal has its line. Whatever else a
killed process, a full disk or a flipped bit leaves behind is found when the sweep is resumed, and
computed again: to the same bytes, because a shard's file depends on its table alone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from backtest_py._io.files import is_temporary_of, read_regular, replace_file, sync_directory
from backtest_py._io.paths import given_path
from backtest_py.data.source import history_change
from backtest_py.errors import BacktestError, ConfigError, DataError, StorageError
from backtest_py.parameters import counted
from backtest_py.sweep.store.block_table import BlockRows
from backtest_py.sweep.store.differences import differences
from backtest_py.sweep.store.journal import Entry, Journal, checksum
from backtest_py.sweep.store.lock import DirectoryLock
from backtest_py.sweep.store.manifest import (
    KIND,
    MANIFEST,
    identity_hash,
    in_words,
    is_sweep,
    plain,
    read_manifest,
    write_manifest,
)
from backtest_py.sweep.store.shard_file import Packed, encode_blocks, encode_shard
from backtest_py.sweep.store.tables import signals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    import pyarrow as pa

__all__ = [
    "KEPT_BLOCKS",
    "SweepStore",
    "block_files",
    "done_shards",
    "stored_blocks",
    "writing",
]

JOURNAL: Final = "journal.jsonl"
RESULTS: Final = "results"
BLOCKS: Final = "blocks"
KEPT_BLOCKS: Final = "blocks"
"""Key of the manifest that says what sums of blocks are kept."""
SHARD: Final = r"shard-[0-9]{6,}\.parquet"
"""Names of the files of shards; everything else in the directory of results is the user's."""
MAX_SHARD: Final = 1 << 31
"""Size limit of a shard's file, in bytes: twenty times that of the largest."""
_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "a limit on the size of files is reached; raise it (ulimit -f)",
}


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

    kind: ClassVar[str] = KIND
    """What the manifest says that the directory is of."""

    def __init__(self, path: str | Path, manifest: Mapping[str, Any]) -> None:
        self.path = given_path(path, "out")
        self.manifest: dict[str, Any] = plain({**manifest, "kind": self.kind, "status": "running"})
        self.done: dict[int, int] = {}
        self.damaged: list[str] = []
        self._sweep = identity_hash(self.manifest)
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
        with store._opening(store._refuse_results):
            store._begin({})
        return store

    @classmethod
    def resume(
        cls,
        path: str | Path,
        manifest: Mapping[str, Any],
        *,
        accept: Callable[[Mapping[int, str]], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
    ) -> Self:
        """Continue the sweep of a directory, or begin one where there is none.

        What the stored manifest holds beside ``manifest``, such as a verdict, is kept. Every file
        in the journal is read and compared with its checksum; those that fail are removed.

        Parameters
        ----------
        path, manifest
            As :meth:`create` takes them.
        accept : callable
            Called with the signal hashes of every shard that is done, before anything is changed;
            what it raises leaves the directory as it was.
        check : callable
            Called after each file that is verified; what it raises leaves the directory as it was.

        Raises
        ------
        ConfigError
            If the directory holds another sweep, with every difference named; or as
            :meth:`create`.
        StorageError
            If the disk is full.
        """
        store = cls(path, manifest)
        with store._opening(store._refuse_foreign):
            stored = store._stored_manifest()
            entries = store._verified_entries(check, known=bool(stored))
            accept({shard: entry.signals for shard, entry in entries.items()})
            if stored:
                store._keep_blocks_of(stored)
            store.manifest = stored | store.manifest
            store.done = {shard: entry.rows for shard, entry in entries.items()}
            store._begin(entries)
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
        if isinstance(table, Packed):
            content: bytes | memoryview = table.content
            blocks: bytes | memoryview = table.blocks
            signals = table.signals
        else:
            content, blocks, signals = encode_shard(table), encode_blocks(table), signals_of(table)
        if KEPT_BLOCKS not in self.manifest:  # a directory that began before there were any
            blocks = b""
        mark = f"{len(blocks)}-{checksum(blocks)}" if blocks else ""
        size, crc32 = len(content), checksum(content)
        entry = Entry(shard, table.num_rows, size, crc32, self._sweep, signals, mark)
        file = self.path / RESULTS / entry.file_name
        self._require_held(file)
        try:
            if blocks:
                beside = self.path / BLOCKS / entry.file_name
                beside.parent.mkdir(exist_ok=True)
                replace_file(beside, blocks)
                sync_directory(beside.parent)
            replace_file(file, content)
            sync_directory(file.parent)
            with self._mutex:
                self._require_held(file).append(entry)
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
            self._require_held(self.path / MANIFEST)
            manifest = plain({**self.manifest, **changes})
            try:
                write_manifest(self.path, manifest)
            except OSError as error:
                raise _failed(self.path / MANIFEST, error) from error
            self.manifest = manifest

    def close(self) -> None:
        """Release the directory; a second call does nothing."""
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
    def _opening(self, refuse: Callable[[], None]) -> Iterator[None]:
        """Hold the lock, and release it if what follows fails.

        ``refuse`` is asked before anything is made, so that a directory that is refused stays as it
        is, and again under the lock.
        """
        try:
            self._require_own_files()
            refuse()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = DirectoryLock(self.path)
            self._require_own_files()
            refuse()
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, BacktestError):
                raise _unusable(self.path, error) from error
            raise

    def _begin(self, entries: Mapping[int, Entry]) -> None:
        (self.path / RESULTS).mkdir(exist_ok=True)
        self._remove_unfinished(entries)
        Journal.rewrite(self.path / JOURNAL, entries.values())
        write_manifest(self.path, self.manifest)
        self._journal = Journal(self.path / JOURNAL)

    def _require_held(self, file: Path) -> Journal:
        """Return the journal; refuse where the directory was given back, as in a forked child."""
        if self._journal is None or self._lock is None or not self._lock.held:
            raise StorageError(f"{file} cannot be written: the sweep's directory was given back")
        return self._journal

    def _require_own_files(self) -> None:
        """Refuse links and everything else that is not what a sweep makes under these names."""
        for name, is_own, kind in (
            (MANIFEST, stat.S_ISREG, "regular file"),
            (JOURNAL, stat.S_ISREG, "regular file"),
            (RESULTS, stat.S_ISDIR, "directory"),
            (BLOCKS, stat.S_ISDIR, "directory"),
        ):
            file = self.path / name
            try:
                mode = file.lstat().st_mode
            except FileNotFoundError:
                continue
            if not is_own(mode):
                raise ConfigError(
                    f"{file} is not a {kind}, as it is in the directory of a sweep; remove it, or "
                    "choose another directory"
                )

    def _refuse_foreign(self) -> None:
        """Refuse a directory that another command wrote."""
        file = self.path / MANIFEST
        if file.exists() and not is_sweep(file, self.kind):
            raise ConfigError(
                f"{self.path} holds the results of something else; choose another directory"
            )

    def _refuse_results(self) -> None:
        self._refuse_foreign()
        if any((self.path / RESULTS).glob("*.parquet")):
            raise ConfigError(
                f"{self.path} holds the results of a {self.kind.replace('_', '-')}; continue it "
                "(--resume), or choose another directory"
            )
        journal = self.path / JOURNAL
        if (
            not (self.path / MANIFEST).exists()
            and journal.exists()
            and journal.stat().st_size > 0
            and not Journal.read(journal)[0]
        ):
            raise ConfigError(f"{journal} is not of a sweep; choose another directory")

    def _stored_manifest(self) -> dict[str, Any]:
        """Return the manifest of the directory, empty if there is none to rely on."""
        file = self.path / MANIFEST
        if not file.exists():
            return {}
        try:
            stored = read_manifest(self.path, self.kind)
        except DataError as error:
            self.damaged.append(str(error))
            return {}
        changes = differences(stored["identity"], self.manifest["identity"])
        if changes:
            certificate = self.manifest.get("market", {}).get("certificate", "")
            now = self.manifest["identity"].get("bars_hash", "")
            history = history_change(stored, now, certificate)
            raise ConfigError(
                f"{self.path} holds another {in_words(self.kind)}, which cannot be resumed: "
                f"{'; '.join(changes)}. "
                f"{history and f'In words: {history}. '}"
                "Give the same settings, or choose another directory"
            )
        return stored

    def _keep_blocks_of(self, stored: Mapping[str, Any]) -> None:
        """Keep the sums of blocks that the directory began with, and refuse others."""
        given = self.manifest.pop(KEPT_BLOCKS, None)
        begun = stored.get(KEPT_BLOCKS)
        if begun is None:  # before there were any
            return
        if given is not None and begun != given:
            raise ConfigError(
                f"{self.path} holds a sweep that keeps {_blocks_text(begun)}, and blocks asks for "
                f"{_blocks_text(given)}; give the same, or choose another directory"
            )
        self.manifest[KEPT_BLOCKS] = begun

    def _verified_entries(self, check: Callable[[], None], *, known: bool) -> dict[int, Entry]:
        """Return the shards whose files are as the journal says; ``known``: by the manifest."""
        entries, n_damaged = Journal.read(self.path / JOURNAL)
        n_shards = self.manifest.get("n_shards", 1 << 63)
        own = {
            shard: entry
            for shard, entry in entries.items()
            if entry.sweep == self._sweep and shard < n_shards
        }
        if not known and not own and any(self._shard_files()):
            raise ConfigError(
                f"{self.path} holds results, but neither {MANIFEST} nor {JOURNAL} tells that they "
                "are of this sweep; choose another directory, or delete them"
            )
        foreign = len(entries) - len(own)
        if n_damaged or foreign:
            lines = counted(n_damaged + foreign, "damaged line")
            self.damaged.append(f"{self.path / JOURNAL} has {lines}")
        faults = list(_faults(self.path, own.values(), check))
        self.damaged += [fault for fault in faults if fault]
        return {
            shard: entry
            for (shard, entry), fault in zip(own.items(), faults, strict=True)
            if not fault
        }

    def _remove_unfinished(self, entries: Mapping[int, Entry]) -> None:
        """Remove what killed processes left behind, and shards that are not done."""
        done = {entry.file_name for entry in entries.values()}
        left = [file for file in self._shard_files() if file.name not in done]
        beside = {entry.file_name for entry in entries.values() if entry.blocks}
        left += [file for file in self._shard_files(BLOCKS) if file.name not in beside]
        for directory, names in (
            (self.path, f"{re.escape(MANIFEST)}|{re.escape(JOURNAL)}"),
            (self.path / RESULTS, SHARD),
            (self.path / BLOCKS, SHARD),
        ):
            if directory.exists():
                left += [file for file in directory.iterdir() if is_temporary_of(file.name, names)]
        for file in left:
            if file.is_symlink() or not file.is_dir():  # no directory is of the store
                file.unlink(missing_ok=True)

    def _shard_files(self, directory: str = RESULTS) -> list[Path]:
        files = (self.path / directory).glob("shard-*.parquet")
        return [file for file in files if re.fullmatch(SHARD, file.name)]


def _faults(path: Path, entries: Iterable[Entry], check: Callable[[], None]) -> Iterator[str]:
    """Yield what is wrong with the files of each shard, several shards at a time."""

    def fault_of(entry: Entry) -> str:
        fault = _fault(path / RESULTS / entry.file_name, entry.size, entry.crc32)
        beside = entry.blocks_file
        if fault or beside is None:
            return fault
        return _fault(path / BLOCKS / entry.file_name, *beside)

    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    try:
        for fault in pool.map(fault_of, entries):
            check()
            yield fault
    finally:
        pool.shutdown(cancel_futures=True)


def block_files(path: str | Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Return the files with sums of blocks of the shards that are done, in order.

    Parameters and errors as :func:`done_shards`.
    """
    found = []
    for entry in _entries(given_path(path), manifest):
        if entry.blocks_file is not None:
            file = given_path(path) / BLOCKS / entry.file_name
            _require_size(file, entry.blocks_file[0])
            found.append(file)
    return found


def stored_blocks(path: str | Path, manifest: Mapping[str, Any]) -> BlockRows | None:
    """Return the sums of blocks that a sweep's directory keeps, None where it keeps none.

    Parameters and errors as :func:`done_shards`; or DataError if a file is damaged.
    """
    files = block_files(path, manifest)
    if not files:
        return None
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    pieces = []
    for file in files:
        try:
            table = pq.ParquetFile(file, page_checksum_verification=True).read()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{file} is damaged: {error}; resume the sweep to compute the shard again"
            ) from error
        pieces.append(BlockRows.of_table(table, file))
    return BlockRows.joined(pieces, path)


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
    files = {}
    for entry in _entries(given_path(path), manifest):
        file = given_path(path) / RESULTS / entry.file_name
        _require_size(file, entry.size)
        files[file] = entry.rows
    return files


def _entries(directory: Path, manifest: Mapping[str, Any]) -> list[Entry]:
    """Return what the journal of a directory says of the sweep of a manifest."""
    try:
        entries, _ = Journal.read(directory / JOURNAL)
    except OSError as error:
        raise DataError(
            f"{directory / JOURNAL} cannot be read: {error.strerror or error}"
        ) from error
    sweep = identity_hash(manifest)
    return [entry for entry in entries.values() if entry.sweep == sweep]


def _require_size(file: Path, size: int) -> None:
    if _size(file) != size:
        raise DataError(
            f"{file} is missing or has not the {size:,} bytes that were written; resume the sweep "
            "to compute it again"
        )


def _size(file: Path) -> int | None:
    """Return the bytes of a regular file, None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _fault(file: Path, size: int, crc32: str) -> str:
    """Say what is wrong with a file of a shard, empty where nothing is."""
    try:
        content = read_regular(file, MAX_SHARD)
    except FileNotFoundError:
        return f"{file} is missing"
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror or error}"
    if len(content) != size:
        return f"{file} has {len(content):,} bytes instead of {size:,}"
    if checksum(content) != crc32:
        return f"{file} is damaged: its checksum is not {crc32}"
    return ""


def _blocks_text(kept: Mapping[str, Any]) -> str:
    asked = kept.get("asked")
    return f"the sums of {asked} blocks" if asked else "no sums of blocks"


def _unusable(path: Path, error: OSError) -> BacktestError:
    if error.errno in _REMEDIES:
        return _failed(path, error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return ConfigError(f"{path} cannot be a directory: a file stands there")
    return ConfigError(
        f"{path} cannot be written: {error.strerror or error}; choose a directory that can"
    )


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turn an error of the system, such as a full disk, into one that says what to do.

    Raises
    ------
    StorageError
        If the block raises one.
    """
    try:
        yield
    except OSError as error:
        raise _failed(file, error) from error


def _failed(file: Path, error: OSError) -> StorageError:
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; remove the cause")
    return StorageError(
        f"{file} cannot be written: {remedy} and resume the sweep (--resume); what is done is kept"
    )
