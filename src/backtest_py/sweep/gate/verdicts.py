"""Verdicts of the parity gate on disk, so that a question is settled once.

One JSON file per question, under the hash of all that the answer depends on, in a directory
private to the user. A damaged file, or one for another question, counts as absent.
"""

from __future__ import annotations

import json
import stat
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from backtest_py._io.files import replace_file
from backtest_py._kernel_cache import cache_directory, make_private
from backtest_py.errors import BacktestWarning
from backtest_py.provenance import canonical_json, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["recall", "remember"]

KIND: Final = "parity"
"""Directory of the verdicts, beside that of the compiled kernels."""
KEPT_SECONDS: Final = 90 * 86_400
"""Verdicts unused for so long are deleted: it takes a second to reach one again."""


def recall(key: str) -> dict[str, Any] | None:
    """Return the verdict that was kept under a key, None where there is none that can be read.

    Parameters
    ----------
    key : str
        Hash of all that the verdict depends on.
    """
    try:
        directory = cache_directory(KIND)
        if not directory.exists():
            return None
        make_private(directory)
        file = directory / f"{key}.json"
        content = json.loads(file.read_bytes())
        verdict, checksum = content["verdict"], content["checksum"]
        if checksum != _checksum(key, verdict):
            return None
        file.touch()
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError):  # damaged; it will be written again
        return None
    except (OSError, RuntimeError) as error:
        _warn(error)
        return None
    return dict(verdict)


def remember(key: str, verdict: Mapping[str, Any]) -> None:
    """Keep a verdict under a key, whole or not at all; where that cannot be done, warn.

    Parameters
    ----------
    key : str
        Hash of all that the verdict depends on.
    verdict : mapping
        Ready for JSON.
    """
    content = canonical_json({"verdict": verdict, "checksum": _checksum(key, verdict)})
    try:
        directory = cache_directory(KIND)
        make_private(directory)
        replace_file(directory / f"{key}.json", content.encode())
        _prune(directory)
    except (OSError, RuntimeError) as error:
        _warn(error)


def _checksum(key: str, verdict: Mapping[str, Any]) -> str:
    return sha256(f"{key} {canonical_json(verdict)}")


def _prune(directory: Path) -> None:
    """Delete verdicts that have not been used for a long time, and files of killed processes."""
    limit = time.time() - KEPT_SECONDS
    for file in directory.iterdir():
        with suppress(FileNotFoundError):  # another process deletes it too
            found = file.stat()
            if found.st_mtime < limit and stat.S_ISREG(found.st_mode):
                file.unlink()


def _warn(error: Exception) -> None:
    warnings.warn(
        f"verdicts of the parity gate cannot be kept on disk ({error}), so every large sweep takes "
        "it again; set BACKTEST_PY_CACHE_DIR to a directory of your own",
        BacktestWarning,
        stacklevel=4,
    )
