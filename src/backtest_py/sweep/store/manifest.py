"""The manifest of a sweep: what is swept, on which bars, by which engine, and how it stands."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from backtest_py._io.files import read_regular, replace_file, sync_directory
from backtest_py._io.paths import given_path
from backtest_py.errors import BacktestError, ConfigError, DataError
from backtest_py.provenance import canonical_json, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "KIND",
    "MANIFEST",
    "believing",
    "identity_hash",
    "in_words",
    "is_sweep",
    "plain",
    "read_manifest",
    "write_manifest",
]

KIND: Final = "sweep"
MANIFEST: Final = "manifest.json"
MAX_MANIFEST: Final = 1 << 28
"""Size limit of a manifest, in bytes: a grid of ten million values."""
MAX_DEPTH: Final = 32
"""Limit of nesting in a manifest, several times what any needs."""
TYPES: Final[dict[str, type]] = {
    "status": str,
    "version": str,
    "n_bars": int,
    "n_combos": int,
    "n_shards": int,
    "identity": dict,
    "data": dict,
    "gate": dict,
    "blocks": dict,
    "blocks.asked": int,
    "blocks.n_blocks": int,
    "verdict": dict,
    "identity.grid": dict,
    "identity.grid.strategy": dict,
    "identity.grid.axes": list,
    "identity.metrics": dict,
    "identity.range": list,
    "identity.bars_hash": str,
    "identity.engine": str,
}
"""Types of the values that readers rely on, where a manifest has them."""

_ABSENT: Final = object()
_MISREAD: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Exceptions that using a malformed value may raise."""


def read_manifest(path: str | Path, kind: str = KIND) -> dict[str, Any]:
    """Return the manifest of a sweep's directory, without its checksum.

    Parameters
    ----------
    path : str or Path
        The directory.
    kind : str
        What else it may be a manifest of.

    Raises
    ------
    ConfigError
        If the directory holds no sweep, or nothing of that kind.
    DataError
        If the manifest is damaged.
    """
    file = given_path(path) / MANIFEST
    try:
        text = read_regular(file, MAX_MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"{path} holds no {in_words(kind)}: {MANIFEST} is missing") from error
    except DataError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error
    damage = f"{file} is damaged; resuming the {in_words(kind)} writes it again"
    try:
        manifest = json.loads(text)
        if not isinstance(manifest, dict):
            raise DataError(damage)
        expected = manifest.pop("checksum", None)
        found = sha256(canonical_json(manifest))
    except (ValueError, RecursionError) as error:
        raise DataError(damage) from error
    found_kind = manifest.get("kind", KIND if expected is not None else None)
    if found_kind != kind:
        raise ConfigError(f"{path} holds no {in_words(kind)}: {MANIFEST} is of something else")
    wrong = _wrong_types(manifest)
    if expected != found or wrong:
        raise DataError(damage + (f" ({wrong})" if wrong else ""))
    return manifest


@contextmanager
def believing(path: object) -> Iterator[None]:
    """Turn errors from malformed values of a manifest into one that names the manifest.

    Raises
    ------
    DataError
        If they have other types or shapes than a sweep writes.
    """
    try:
        yield
    except BacktestError:
        raise
    except _MISREAD as error:
        raise DataError(
            f"the manifest of {path} does not describe a sweep: {type(error).__name__}: {error}; "
            "resume the sweep with its own settings to write it again"
        ) from error


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a sweep's directory, with its checksum, whole or not at all."""
    content = {**manifest, "checksum": sha256(canonical_json(manifest))}
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    replace_file(path / MANIFEST, f"{text}\n".encode())
    sync_directory(path)


def is_sweep(file: Path, kind: str = KIND) -> bool:
    """Tell whether a manifest, even a damaged one, is of this kind and not of another command."""
    try:
        read_manifest(file.parent, kind)
    except ConfigError:
        return False
    except DataError:
        return True
    return True


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as JSON gives it back, so that what is stored and new can be compared."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"the manifest cannot hold what the sweep was given: {error}; give source plain texts "
            "and finite numbers"
        ) from error
    return plain


def identity_hash(manifest: Mapping[str, Any]) -> str:
    """Return the mark that ties the lines of a journal to their sweep."""
    return sha256(canonical_json(manifest["identity"]))[:16]


def in_words(kind: str) -> str:
    """Return what a directory of a kind holds, for a message."""
    return kind.replace("_", "-")


def _wrong_types(manifest: Mapping[str, Any]) -> str:
    """Say what is impossible in a manifest, whatever its checksum says; empty where nothing is."""
    if "identity" not in manifest:
        return "identity is missing"
    for place, kind in TYPES.items():
        value: Any = manifest
        for key in place.split("."):
            value = value.get(key, _ABSENT) if isinstance(value, dict) else _ABSENT
        if value is not _ABSENT and not isinstance(value, kind):
            return f"{place} is {type(value).__name__} instead of {kind.__name__}"
    for axis in manifest["identity"].get("grid", {}).get("axes", ()):
        if not isinstance(axis, dict) or not isinstance(axis.get("key"), str):
            return "identity.grid.axes has one without a key"
    return "" if _is_flat(manifest, MAX_DEPTH) else f"more than {MAX_DEPTH} objects in each other"


def _is_flat(value: object, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    items = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_flat(item, depth - 1) for item in items)
