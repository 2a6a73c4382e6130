"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from backtest_py._io.paths import given_path
from backtest_py.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "is_temporary_of",
    "open_unlinked",
    "read_regular",
    "replace_file",
    "replacing",
    "sync_directory",
]


def is_temporary_of(file_name: str, pattern: str) -> bool:
    r"""Tell whether a process that was killed in :func:`replacing` left a file of this name.

    Parameters
    ----------
    file_name : str
        Name of the file, without its directory.
    pattern : str
        Regular expression of the names of the files that were to be written.

    Examples
    --------
    >>> is_temporary_of(f".notes.txt.{'0' * 32}.tmp", r"notes\.txt")
    True
    >>> is_temporary_of(".notes.txt.mine.tmp", r"notes\.txt")
    False
    """
    return re.fullmatch(rf"\.(?:{pattern})\.[0-9a-f]{{32}}\.tmp", file_name) is not None


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, which takes the place of ``path`` when the block ends without error.

    The content has reached the disk before it gets its name.

    Raises
    ------
    ConfigError
        If no file can have this name.
    OSError
        If it cannot be written; then ``path`` is as it was.
    """
    path = given_path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Put a whole file in the place of ``path``, as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(content)


def sync_directory(directory: Path) -> None:
    """Bring the names of a directory's files to the disk, where the system can be asked to."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_unlinked(path: str, flags: int) -> int:
    """Open a file for :func:`open`, but not through a symbolic link, which may lead anywhere."""
    # without O_NONBLOCK a named pipe would be waited for
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):  # Windows has none of them
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o666)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file, which may be reached through symbolic links.

    Parameters
    ----------
    path : Path
        The file.
    limit : int
        Bytes beyond which it cannot be what it should be.

    Raises
    ------
    DataError
        If it is a directory, a pipe or a device, or is larger.
    OSError
        If it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path} cannot be read: it is not a regular file; remove it")
        if found.st_size > limit:
            raise DataError(
                f"{path} has {found.st_size:,} bytes, more than the {limit:,} that it can have; "
                "remove it"
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)
