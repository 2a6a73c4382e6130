"""The directory of a search: every batch is kept while it runs, and so it can be resumed.

::

    DIR/manifest.json                   what is searched, on which bars, by which engine; checksum
        journal.jsonl                   one line for each batch that is done
        batches/shard-000000.parquet    numbers of the combinations of one batch, by combo_id
        trials.parquet                  all of them in the order of the search, when it has ended
        .lock                           held by the process that writes

What is proposed is not kept, because it follows from the numbers: a search that goes on proposes
everything again, takes the numbers that are there, and computes what is missing. So a batch that a
killed process, a full disk or a flipped bit has spoilt is only computed once more.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from backtest_py._io.files import (
    is_temporary_of,
    read_regular,
    replace_file,
    sync_directory,
)
from backtest_py._io.paths import given_path
from backtest_py.errors import BacktestError, ConfigError, DataError, StorageError
from backtest_py.fingerprints import canonical_json, sha256
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.store.differences import differences
from backtest_py.sweep.store.journal import Entry, Journal, checksum
from backtest_py.sweep.store.lock import DirectoryLock
from backtest_py.sweep.store.manifest import MANIFEST, MAX_MANIFEST, identity_hash, plain
from backtest_py.sweep.store.shard_file import encode_shard
from backtest_py.sweep.store.tables import COMBO_ID, arrow_array, shard_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["KIND", "TRIALS", "SearchStore", "manifest_bytes", "write_results"]

KIND: Final = "search"
TRIALS: Final = "trials.parquet"
JOURNAL: Final = "journal.jsonl"
BATCHES: Final = "batches"
BATCH: Final = r"shard-[0-9]{6,}\.parquet"
OWN: Final = "own_"
"""Start of the columns of own metrics in a batch's file: their names may be anything."""
DIGEST: Final = "digest"
MAX_BATCH: Final = 1 << 31

_FILES: Final = "|".join(map(re.escape, (MANIFEST, JOURNAL, TRIALS)))


class SearchStore:
    """A search's directory, open for writing by this process alone.

    Parameters
    ----------
    path : str or Path
        The directory; made if it does not exist.
    manifest : mapping
        Ready for JSON; what decides the numbers stands under ``"identity"``.
    resume : bool
        Whether to continue what is there.

    Attributes
    ----------
    manifest : dict
        What ``manifest.json`` holds, without its checksum.
    known : dict of int to ndarray
        The numbers of each combination that was evaluated before, by ``combo_id``.

    Raises
    ------
    ConfigError
        If the directory holds something else, another search, or, without ``resume``, a search; if
        it cannot be written, or another process holds it.
    StorageError
        If the disk is full.
    """

    def __init__(self, path: str | Path, manifest: Mapping[str, Any], *, resume: bool) -> None:
        self.path = given_path(path, "out")
        self.manifest: dict[str, Any] = plain({**manifest, "kind": KIND, "status": "running"})
        self.known: dict[int, NDArray[np.float64]] = {}
        self._search = identity_hash(self.manifest)
        self._entries: dict[int, Entry] = {}
        self._members: dict[int, NDArray[np.int64]] = {}
        self._lock: DirectoryLock | None = None
        self._journal: Journal | None = None
        with self._writing(self.path):
            try:
                self._refuse(resume=resume)
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = DirectoryLock(self.path)
                stored = self._refuse(resume=resume)
                self.manifest = stored | self.manifest
                self._begin()
            except BaseException:
                self.close()
                raise

    def write(self, batch: int, combo_ids: NDArray[np.int64], rows: NDArray[np.float64]) -> None:
        """Keep the numbers of a batch: it is done when this returns, and not at all if it fails.

        Parameters
        ----------
        batch : int
            Number of the batch.
        combo_ids : ndarray of int64, shape (n,)
            Ascending.
        rows : ndarray of float64, shape (n_metrics + n_own, n)
            What was computed.

        Raises
        ------
        DataError
            If other combinations were kept for this batch: then something else than what a search
            goes by decides what is proposed.
        StorageError
            If it cannot be written, as on a full disk.
        """
        stored = self._members.get(batch)
        if stored is not None and not np.isin(stored, combo_ids).all():
            raise DataError(
                f"{self.path} cannot be continued: batch {batch:,} evaluated other combinations "
                "than are proposed now, though nothing that is known has changed; search anew in "
                "another directory, and please report it"
            )
        if stored is not None and len(stored) == len(combo_ids):
            return
        assert self._journal is not None, "the directory is open"
        table = shard_table(combo_ids, {}, np.ascontiguousarray(rows[: len(METRICS)]))
        for number, row in enumerate(rows[len(METRICS) :]):
            table = table.append_column(f"{OWN}{number}", arrow_array(row))
        content = encode_shard(table)
        entry = Entry(batch, len(combo_ids), len(content), checksum(content), self._search)
        file = self.path / BATCHES / entry.file_name
        with self._writing(file):
            replace_file(file, content)
            sync_directory(file.parent)
            self._journal.append(entry)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Set keys of the manifest, and write it.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        self.manifest |= plain(changes)
        with self._writing(self.path / MANIFEST):
            replace_file(self.path / MANIFEST, manifest_bytes(self.manifest))
            sync_directory(self.path)

    def note(self, changes: Mapping[str, Any]) -> None:
        """Set keys of the manifest while an error is on its way; a full disk cannot take them."""
        with suppress(StorageError):
            self.update(changes)

    def finish(self, trials: bytes, outcome: Mapping[str, Any]) -> None:
        """Write ``trials.parquet``, and then what came out into the manifest.

        Raises
        ------
        StorageError
            If they cannot be written.
        """
        with self._writing(self.path / TRIALS):
            replace_file(self.path / TRIALS, trials)
        self.update(outcome)

    def close(self) -> None:
        """Release the directory; a second call does nothing."""
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

    def _refuse(self, *, resume: bool) -> dict[str, Any]:
        """Return the stored manifest, empty where there is none; refuse what is not this search."""
        stored = _stored(self.path)
        results = list((self.path / BATCHES).glob("*.parquet"))
        if not resume and (stored or results):
            raise ConfigError(
                f"{self.path} holds the results of a search; continue it (--resume), or choose "
                "another directory"
            )
        if stored:
            changes = differences(stored["identity"], self.manifest["identity"])
            if changes:
                raise ConfigError(
                    f"{self.path} holds another search, which cannot be resumed: "
                    f"{'; '.join(changes)}. Give the same settings, or choose another directory"
                )
        elif results and not self._read_journal():
            raise ConfigError(
                f"{self.path} holds results, but neither {MANIFEST} nor {JOURNAL} tells that they "
                "are of this search; choose another directory, or delete them"
            )
        return stored

    def _read_journal(self) -> dict[int, Entry]:
        entries, _ = Journal.read(self.path / JOURNAL)
        return {number: each for number, each in entries.items() if each.sweep == self._search}

    def _begin(self) -> None:
        """Read what is done, remove what is not, and open the journal."""
        directory = self.path / BATCHES
        directory.mkdir(exist_ok=True)
        for number, entry in self._read_journal().items():
            content = _content(directory / entry.file_name, entry)
            if content is not None:
                combo_ids, rows = _numbers(content)
                self._entries[number], self._members[number] = entry, combo_ids
                self.known.update(zip(combo_ids.tolist(), rows.T, strict=True))
        done = {entry.file_name for entry in self._entries.values()}
        for file in directory.iterdir():
            left = re.fullmatch(BATCH, file.name) and file.name not in done
            if left or is_temporary_of(file.name, BATCH):
                file.unlink()
        for file in self.path.iterdir():
            if is_temporary_of(file.name, _FILES):
                file.unlink()
        Journal.rewrite(self.path / JOURNAL, self._entries.values())
        replace_file(self.path / MANIFEST, manifest_bytes(self.manifest))
        sync_directory(self.path)
        self._journal = Journal(self.path / JOURNAL)

    @contextmanager
    def _writing(self, file: Path) -> Iterator[None]:
        """Say in the package's own errors what the system says."""
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(f"{self.path} cannot be a directory: a file stands there") from error
        except OSError as error:
            if isinstance(error, BacktestError):
                raise
            raise StorageError(
                f"{file} cannot be written: {error.strerror or error}; remove the cause and resume "
                "the search (--resume); what is done is kept"
            ) from error


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the file of a manifest, with its checksum.

    That has another name than in a sweep's manifest, by which sweeps know each other.
    """
    content = {**manifest, DIGEST: sha256(canonical_json(manifest))}
    return f"{json.dumps(content, indent=2, sort_keys=True, allow_nan=False)}\n".encode()


def write_results(directory: Path, manifest: Mapping[str, Any], trials: bytes) -> None:
    """Write ``trials.parquet`` and, after it, ``manifest.json``; each is whole or absent.

    Raises
    ------
    ConfigError
        If the directory is a file, or holds the manifest of something else.
    StorageError
        If it cannot be written.
    """
    _stored(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        replace_file(directory / TRIALS, trials)
        replace_file(directory / MANIFEST, manifest_bytes(manifest))
        sync_directory(directory)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{directory} cannot be a directory: a file stands there") from error
    except OSError as error:
        raise StorageError(
            f"{directory} cannot be written: {error.strerror or error}; give another directory"
        ) from error


def _stored(directory: Path) -> dict[str, Any]:
    """Return the manifest of a directory, empty where there is none that can be believed.

    A damaged one of a search is written again; that of something else is refused.
    """
    file = directory / MANIFEST
    try:
        text = read_regular(file, MAX_MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except DataError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error
    try:
        manifest = json.loads(text)
        expected = manifest.pop(DIGEST, None)
        genuine = expected == sha256(canonical_json(manifest))
        kind = manifest.get("kind")
    except (ValueError, AttributeError, RecursionError):
        # cut short it may have lost its kind; whose the batches are, the journal tells
        is_own = b'"kind": "search"' in text or (directory / BATCHES).is_dir()
        genuine, kind = False, KIND if is_own else None
    if kind != KIND:
        raise ConfigError(
            f"{directory} holds the results of something else; choose another directory"
        )
    return manifest if genuine and isinstance(manifest.get("identity"), dict) else {}


def _content(file: Path, entry: Entry) -> bytes | None:
    """Return the file of a batch, None where it is not as the journal says."""
    try:
        content = read_regular(file, MAX_BATCH)
    except (OSError, DataError):
        return None
    return content if checksum(content) == entry.crc32 else None


def _numbers(content: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what a batch's file holds: ``combo_id``, and the numbers, shape (n_numbers, n)."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pq.read_table(pa.BufferReader(content))
    names = [name for name in table.column_names if name != COMBO_ID]
    columns = [table[name].to_numpy(zero_copy_only=False) for name in names]
    return table[COMBO_ID].to_numpy(), np.array(columns, np.float64)
