"""One process at a time in a directory."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from backtest_py.errors import ConfigError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DirectoryLock"]

_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})

_LOCKED_BYTE = 1 << 30
"""Windows locks bytes, which nobody can read then: this one is far behind the process number."""


class DirectoryLock:
    """An exclusive lock of the operating system on the file ``.lock`` of a directory.

    It vanishes with the process, however that ends, so none is ever left to be removed by hand.
    The file stays: to delete it would let two processes lock two files of one name.

    Parameters
    ----------
    directory : Path
        Has to exist.

    Raises
    ------
    ConfigError
        If it is held already; the message names the process.
    OSError
        If the file cannot be made, or the file system knows no locks.
    """

    def __init__(self, directory: Path) -> None:
        self._file = (directory / ".lock").open("a+b", buffering=0)
        try:
            self._acquire()
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(32).decode("ascii", "replace").strip() or "unknown"
            self._file.close()
            if error.errno not in _HELD:
                raise
            raise ConfigError(
                f"{directory} is in use: the process {holder} writes a sweep there; wait for it "
                "to end, or choose another directory"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the directory back; a second time does nothing."""
        self._file.close()

    def _acquire(self) -> None:
        if sys.platform == "win32":
            self._file.seek(_LOCKED_BYTE)
            msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
