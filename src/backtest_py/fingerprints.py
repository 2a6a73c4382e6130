"""Hashes of what decides a result: values, a user's code, and the code of this package."""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import cache
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.resources.abc import Traversable

__all__ = ["canonical_json", "code_hash", "package_code_hash", "sha256"]

PRESENTATION: Final = ("bench", "cli", "config", "monitoring", "report")
"""Rooms of the package that only ask for results or show them: no line there can change a row.

Every other source file counts, so that a new module counts without being named anywhere.
"""


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(data: str | bytes) -> str:
    """Return the SHA-256 of a text or of bytes, in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def code_hash(function: Callable[..., Any]) -> str:
    """Return the SHA-256 of a function's own code, not of what it calls or closes over.

    Another version of Python may give another hash.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    return sha256("" if code is None else _code_text(code))


def _code_text(code: CodeType) -> str:
    constants = list(map(_constant_text, code.co_consts))
    return canonical_json([code.co_code.hex(), list(code.co_names), constants])


def _constant_text(value: object) -> str:
    if isinstance(value, CodeType):
        return _code_text(value)
    if isinstance(value, frozenset):  # every process iterates over it in another order
        return canonical_json(sorted(map(_constant_text, value)))
    return repr(value)


@cache
def package_code_hash() -> str:
    """Return the SHA-256 of the package's sources that can change a row of a sweep.

    The sources are all Python files but those of ``PRESENTATION``, as this process finds them when
    it asks first. They are read through the import system, so that a zip file works too; where only
    compiled files were installed, those count.
    """
    from importlib.resources import files  # noqa: PLC0415 - only a sweep that is kept needs it

    digest = hashlib.sha256()
    for name, source in sorted(_sources(files("backtest_py"), "")):
        digest.update(f"{name} {sha256(source.read_bytes())}\n".encode())
    return digest.hexdigest()


def _sources(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            if item.name not in ("__pycache__", *(() if prefix else PRESENTATION)):
                yield from _sources(item, f"{prefix}{item.name}/")
        elif item.name.endswith((".py", ".pyc")):
            yield f"{prefix}{item.name}", item
