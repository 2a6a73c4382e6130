"""One process at a time in a directory."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from backtest_py._io.files import open_unlinked
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
"""Windows lets nobody read locked bytes, so the one locked lies far behind the process number."""

_locks: WeakSet[DirectoryLock] = WeakSet()
"""The locks of this process."""


class DirectoryLock:
    """An exclusive lock of the operating system on the file ``.lock`` of a directory.

    It vanishes with the process, however that ends, so none is ever left to be removed by hand.
    The file stays: to delete it would let two processes lock two files of one name. A child that is
    forked while the lock is held has no part in it.

    Parameters
    ----------
    directory : Path
        Has to exist.

    Raises
    ------
    ConfigError
        If it is held already, and the message names the process; or if ``.lock`` is anything but a
        file that a sweep made. Nothing is written to it then.
    OSError
        If the file cannot be made, or the file system knows no locks.
    """

    def __init__(self, directory: Path) -> None:
        self._file = _opened(directory / ".lock")
        try:
            self._acquire(directory)
            self._require_own(directory / ".lock")
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(f"{os.getpid()}\n".encode())
        except BaseException:
            self._file.close()
            raise
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Whether this process holds the lock: not after a release, nor in a forked child."""
        return not self._file.closed

    def release(self) -> None:
        """Release the directory; a second call does nothing."""
        self._file.close()

    def _acquire(self, directory: Path) -> None:
        try:
            if sys.platform == "win32":
                self._file.seek(_LOCKED_BYTE)
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            raise ConfigError(
                f"{directory} is in use: the process {self._content() or 'unknown'} writes a sweep "
                "there; wait for it to end, or choose another directory"
            ) from None

    def _require_own(self, file: Path) -> None:
        content = self._content()
        if content and not content.isdecimal():
            raise ConfigError(
                f"{file} is not the lock of a sweep, but something else; choose another directory"
            )

    def _content(self) -> str:
        self._file.seek(0)
        content: bytes = self._file.read(32)
        return content.decode("ascii", "replace").strip()


def _opened(file: Path) -> Any:
    """Open the lock's file without changing it; refuse what leads or belongs somewhere else."""
    strange = ConfigError(
        f"{file} is not a regular file with one name, as the lock of a sweep has to be; remove it, "
        "or choose another directory"
    )
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise strange
    opened = open(file, "r+b", buffering=0, opener=_create)  # noqa: SIM115 - the lock keeps it open
    found = os.fstat(opened.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        opened.close()
        raise strange
    return opened


def _create(path: str, flags: int) -> int:
    return open_unlinked(path, flags | os.O_CREAT)


def _forget() -> None:
    """Close the copies of all locks that a forked child has: they would outlive the parent's."""
    for lock in list(_locks):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
