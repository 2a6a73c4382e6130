"""The journal of a sweep: which shards are done, and how to tell whether they still are.

One line of JSON for each shard, written after the shard's file is complete under its name. Each
line carries its own checksum and the sweep it belongs to, so that a torn, flipped or foreign line
is never believed.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from backtest_py._io.files import open_unlinked, read_regular, replace_file, sync_directory
from backtest_py.provenance import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Entry", "Journal", "checksum"]

MAX_BYTES: Final = 1 << 32
"""Size limit of a journal, in bytes: some thirty million shards."""


def checksum(content: bytes | memoryview) -> str:
    """Return the CRC-32 of some bytes, in hexadecimal.

    It finds accidents, which is what a file suffers between two runs, at three times the speed of
    a cryptographic hash: a twentieth of a fast sweep.

    Examples
    --------
    >>> checksum(b"123456789")
    'cbf43926'
    """
    return f"{zlib.crc32(content):08x}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One shard that is done.

    Attributes
    ----------
    shard : int
        Number of the shard.
    rows : int
        Rows in its file, 0 where ``where`` admits no combination of it.
    size : int
        Bytes of its file.
    crc32 : str
        Checksum of its file.
    sweep : str
        Start of the hash of the sweep's identity.
    signals : str
        Hashes of the signals that a user's function gave for the rows, ``""`` without a function.
    blocks : str
        Bytes and checksum of the file with sums of blocks, as ``"1234-cbf43926"``; ``""`` where
        none are kept of its combinations.
    """

    shard: int
    rows: int
    size: int
    crc32: str
    sweep: str
    signals: str = ""
    blocks: str = ""

    @property
    def file_name(self) -> str:
        """Name of the shard's file, in the order of the shards."""
        return f"shard-{self.shard:06d}.parquet"

    @property
    def blocks_file(self) -> tuple[int, str] | None:
        """Bytes and checksum of the file with sums of blocks, None where there is none."""
        if not self.blocks:
            return None
        size, _, crc32 = self.blocks.partition("-")
        return int(size), crc32

    def line(self) -> bytes:
        """Return the journal's line of it."""
        values = asdict(self)
        for name in ("signals", "blocks"):
            if not values[name]:
                del values[name]
        return (canonical_json(values | {"check": _check(values)}) + "\n").encode()

    @classmethod
    def parse(cls, line: bytes) -> Entry | None:
        """Return the entry of a line, None where the line is damaged."""
        try:
            values = json.loads(line)
            given = values.pop("check")
            entry = cls(**values)
            genuine = given == _check(values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return entry if genuine and entry._is_typed() else None

    def _is_typed(self) -> bool:
        numbers, texts = (self.shard, self.rows, self.size), (self.crc32, self.sweep)
        return (
            all(type(each) is int and 0 <= each < 1 << 63 for each in numbers)
            and all(
                isinstance(each, str) and re.fullmatch("[0-9a-f]{8,64}", each) for each in texts
            )
            and isinstance(self.signals, str)
            and _is_base64(self.signals)
            and isinstance(self.blocks, str)
            and re.fullmatch(r"([1-9][0-9]{0,17}-[0-9a-f]{8})?", self.blocks) is not None
        )


class Journal:
    """The file ``journal.jsonl``, to which lines are only appended.

    Parameters
    ----------
    path : Path
        The file; made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "ab", buffering=0, opener=open_unlinked)  # noqa: SIM115

    @staticmethod
    def read(path: Path) -> tuple[dict[int, Entry], int]:
        """Return the last entry of each shard, in order, and the number of damaged lines.

        A last line without an end is what a killed process leaves; it does not count as damage.

        Raises
        ------
        DataError
            If it is no regular file.
        OSError
            If it cannot be read.
        """
        entries: dict[int, Entry] = {}
        n_damaged = 0
        try:
            content = read_regular(path, MAX_BYTES)
        except FileNotFoundError:
            content = b""
        *lines, torn = content.split(b"\n")
        for line in lines:
            entry = Entry.parse(line)
            if entry is None:
                n_damaged += 1
            else:
                entries[entry.shard] = entry
        entry = Entry.parse(torn)
        if entry is not None:
            entries[entry.shard] = entry
        return dict(sorted(entries.items())), n_damaged

    @staticmethod
    def rewrite(path: Path, entries: Iterable[Entry]) -> None:
        """Replace the file by these entries and nothing else, whole or not at all."""
        replace_file(path, b"".join(entry.line() for entry in entries))
        sync_directory(path.parent)

    def append(self, entry: Entry) -> None:
        """Write a line and bring it to the disk; an incomplete line is removed.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk.
        """
        line = entry.line()
        end = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(line):  # where a disk becomes full, less is written than given
                written += self._file.write(line[written:])
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(end)
            raise

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


def _is_base64(text: str) -> bool:
    return len(text) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) is not None


def _check(values: dict[str, object]) -> str:
    return checksum(canonical_json(values).encode())
