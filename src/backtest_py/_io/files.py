"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["TEMPORARY", "replace_file", "replacing", "sync_directory"]

TEMPORARY = ".*.tmp"
"""Pattern of the files that a process leaves behind when it is killed while it writes."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, which takes the place of ``path`` when the block ends without error.

    The content has reached the disk before it gets its name.

    Raises
    ------
    OSError
        If it cannot be written; then ``path`` is as it was.
    """
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
