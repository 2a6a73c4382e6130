"""Machine code of the package's kernels on disk: the one permitted pickle.

Numba's own cache keeps a caller's stale code when a callee in another file changes, maps two
signatures to one file when two processes compile at once, and knows nothing of NUMBA_BOUNDSCHECK.
Here one file holds one signature of one kernel. Its directory is named after the sources of all
kernels, the versions of numba, llvmlite and Python, the processor and numba's code-generating
settings; its name covers the bytecode and the constants of the kernel and of all that it calls,
and the types of its arguments with the fields of named tuples.

Anyone who can write a pickle can run code in its reader, so the directory is private to the user
(mode 0700, checked before anything is read). If it cannot be used, one BacktestWarning says why
and kernels are compiled in memory.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import re
import stat
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Final, cast

from backtest_py.errors import BacktestWarning

__all__ = [
    "attach_cache",
    "cache_directory",
    "kernel_key",
    "kernel_sources",
    "make_private",
    "prepared_directory",
]

_PACKAGE_DIRECTORY: Final = Path(__file__).parent
_KERNEL_LINE: Final = re.compile(rb"^\s*@kernel\b", re.MULTILINE)
_KEY_LENGTH: Final = 32
_SETTINGS: Final = (
    "BOUNDSCHECK",
    "CPU_FEATURES",
    "CPU_NAME",
    "DEBUGINFO_DEFAULT",
    "DISABLE_INTEL_SVML",
    "ENABLE_AVX",
    "LOOP_VECTORIZE",
    "OPT",
    "SLP_VECTORIZE",
    "USING_SVML",
)
_KEPT_SECONDS: Final = 30 * 86_400
_CROWD: Final = 8
"""Number of older builds that are kept for a month; any others are kept for a day."""
_CROWD_SECONDS: Final = 86_400


def attach_cache(dispatcher: Any, name: str, fingerprint: str) -> None:
    """Let a numba dispatcher load its machine code from disk and save it there.

    Parameters
    ----------
    dispatcher : numba dispatcher
        Not compiled yet.
    name : str
        Module and qualified name of the kernel.
    fingerprint : str
        Digest of everything the machine code depends on beyond the directory's key.
    """
    directory = prepared_directory()
    if directory is not None:
        dispatcher._cache = _KernelCache(directory, name, fingerprint)  # noqa: SLF001


def cache_directory(kind: str = "numba") -> Path:
    """Return the directory that holds what is cached of one kind for this user.

    ``BACKTEST_PY_CACHE_DIR``, else the platform's cache directory, and ``kind`` in it.

    Raises
    ------
    RuntimeError
        If the user has no home directory.
    """
    chosen = os.environ.get("BACKTEST_PY_CACHE_DIR", "")
    if chosen:
        return Path(chosen).expanduser().absolute() / kind
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        # The XDG specification tells to ignore a relative path.
        chosen = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".cache"
    return base / "backtest_py" / kind


def kernel_sources() -> tuple[Path, ...]:
    """Return every source file of the package that holds a kernel, and those that compile them."""
    compilers = {Path(__file__), _PACKAGE_DIRECTORY / "_jit.py"}
    return tuple(
        path
        for path in sorted(_PACKAGE_DIRECTORY.rglob("*.py"))
        if path in compilers or _KERNEL_LINE.search(path.read_bytes())
    )


@functools.cache
def kernel_key() -> str:
    """Return a digest of the sources of all kernels, as this process found them."""
    digest = hashlib.sha256()
    for path in kernel_sources():
        name = path.relative_to(_PACKAGE_DIRECTORY).as_posix()
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:_KEY_LENGTH]


def _build_key() -> str:
    """List everything that all machine code depends on."""
    import llvmlite  # noqa: PLC0415
    import numba  # noqa: PLC0415
    from llvmlite import binding  # noqa: PLC0415

    if not kernel_sources():
        raise FileNotFoundError(f"no Python sources in {_PACKAGE_DIRECTORY}")
    facts = [
        kernel_key(),
        numba.__version__,
        llvmlite.__version__,
        sys.implementation.cache_tag,
        sys.version,
        binding.get_process_triple(),
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        *(f"{name}={getattr(numba.config, name, None)!s}" for name in _SETTINGS),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:_KEY_LENGTH]


@functools.cache
def prepared_directory() -> Path | None:
    """Return this build's directory, ready for use, or None after a warning."""
    try:
        root = cache_directory()
        make_private(root)
        directory = root / _build_key()
        make_private(directory)
        probe = directory / f".{os.urandom(16).hex()}.partial"
        probe.touch()
        probe.unlink()
        _prune(root, keep=directory)
    except (OSError, RuntimeError) as error:
        _warn(error)
        return None
    return directory


def make_private(directory: Path) -> None:
    """Create a directory with mode 0700, or check that an existing one is the user's alone.

    Raises
    ------
    OSError
        If it cannot be created, or others can write to it.
    """
    directory.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    directory.mkdir(mode=stat.S_IRWXU, exist_ok=True)
    if not hasattr(os, "getuid"):
        return  # Windows: the user's profile is private by its access list.
    found = directory.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to user {found.st_uid}, not to you")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"{directory} has mode {stat.S_IMODE(found.st_mode):o}: others may have written to it; "
            "delete it"
        )
    if stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
        directory.chmod(stat.S_IRWXU)


def _prune(root: Path, *, keep: Path) -> None:
    """Delete the directories of other builds that have not been used for a long time.

    A directory is renamed before it is deleted, so another process sees all of it or none; one
    that another process is deleting, or holds open, is left alone.
    """
    import shutil  # noqa: PLC0415 - `import backtest_py` must be quick

    now = time.time()
    stamped = []
    for path in root.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if len(path.name) == _KEY_LENGTH and path != keep:
                stamped.append((path.stat().st_mtime, path))
    for newer, (used, path) in enumerate(sorted(stamped, reverse=True)):
        limit = _CROWD_SECONDS if newer >= _CROWD else _KEPT_SECONDS
        if now - used > limit:
            with contextlib.suppress(OSError):
                shutil.rmtree(path.rename(root / os.urandom(_KEY_LENGTH // 2).hex()))


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, BacktestWarning, stacklevel=2)


def _warn(error: Exception) -> None:
    _warn_once(
        f"compiled kernels cannot be kept on disk ({error}); every process compiles them again. "
        "Set BACKTEST_PY_CACHE_DIR to a directory of your own"
    )


class _KernelCache:
    """The cache that a numba dispatcher expects, with one file for each signature.

    A file is the SHA-256 of the rest, then a pickle of the argument types and the compiled code.
    """

    def __init__(self, directory: Path, name: str, fingerprint: str) -> None:
        self._directory = directory
        self._name = re.sub(r"[^\w.]", "_", name)[-120:]
        self._fingerprint = fingerprint

    @property
    def cache_path(self) -> str:
        """The directory, for ``dispatcher.stats``."""
        return str(self._directory)

    def _path(self, args: tuple[Any, ...]) -> Path:
        text = "\n".join([self._fingerprint, *map(_layout, args)])
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:_KEY_LENGTH]
        return self._directory / f"{self._name}-{digest}.kernel"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature, or None if it is not on disk."""
        from numba.core.compiler import CompileResult  # noqa: PLC0415

        args = _arguments(signature)
        path = self._path(args)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _warn(error)
            return None
        digest, body = content[:32], content[32:]
        if hashlib.sha256(body).digest() != digest:
            _warn_once(f"{path} is damaged; the kernel is compiled again and the file replaced")
            return None
        target_context.refresh()
        stored, state = pickle.loads(body)  # noqa: S301 - the user's own private directory
        if stored != args:
            return None
        rebuild: Any = CompileResult._rebuild  # noqa: SLF001 - as numba's own cache does
        return rebuild(target_context, *state)

    def save_overload(self, signature: Any, result: Any) -> None:
        """Write the compiled code of a signature in one step."""
        from numba.core.serialize import dumps  # noqa: PLC0415

        if result.lifted or result.library.has_dynamic_globals:
            _warn_once(f"{self._name} refers to a large array or a pointer and cannot be cached")
            return
        state = result._reduce()  # noqa: SLF001 - as numba's own cache does
        body = dumps((_arguments(signature), state))  # type: ignore[no-untyped-call]
        path = self._path(_arguments(signature))
        partial = path.with_name(f".{os.urandom(16).hex()}.partial")
        try:
            # Another process may have pruned the directory if this one has run for a month.
            self._directory.mkdir(mode=stat.S_IRWXU, exist_ok=True)
            try:
                partial.write_bytes(hashlib.sha256(body).digest() + body)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            _warn(error)

    def flush(self) -> None:
        """Forget this kernel's files, as ``dispatcher.recompile`` asks."""
        for path in self._directory.glob(f"{self._name}-*.kernel"):
            path.unlink(missing_ok=True)


def _layout(kind: Any) -> str:
    """Describe a type of numba with the fields of its named tuples, which its name leaves out."""
    from numba.core.types import BaseTuple  # noqa: PLC0415

    if not isinstance(kind, BaseTuple):
        return str(kind)
    fields = getattr(kind, "fields", ())
    return f"{kind}{fields}[{', '.join(_layout(item) for item in cast('Any', kind).types)}]"


def _arguments(signature: Any) -> tuple[Any, ...]:
    return tuple(signature.args) if hasattr(signature, "args") else tuple(signature)
