"""What a run leaves in a directory: whole files, and last a manifest with their hashes."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest_py._io.files import replace_file
from backtest_py.errors import ConfigError, StorageError
from backtest_py.fingerprints import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

__all__ = ["check_manifest", "folder", "parquet_bytes", "pretty_json", "save_files"]

_KINDS: Final = {
    "run": "no run",
    "runs": "not of runs on several markets",
    "monte_carlo": "no Monte Carlo",
}
"""What is said of a manifest that is none of the kind that is wanted."""


def save_files(
    directory: str | Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]
) -> Path:
    """Write files, and then their manifest; each is complete or absent, whatever happens.

    Raises
    ------
    ConfigError
        If the directory is a file, or holds the manifest of something else.
    StorageError
        If it cannot be written.
    """
    directory = Path(directory)
    check_manifest(directory, manifest["kind"])
    hashes = {name: sha256(content) for name, content in files.items()}
    content = pretty_json({**manifest, "files": hashes})
    with folder(directory):
        for name, each in (*files.items(), ("manifest.json", content)):
            replace_file(directory / name, each)
    return directory


@contextmanager
def folder(directory: Path) -> Iterator[None]:
    """Make a directory to write into.

    Raises
    ------
    ConfigError
        If it is a file.
    StorageError
        If it cannot be made, or written within the context.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{directory} cannot be a directory: a file stands there") from error
    except OSError as error:
        raise StorageError(
            f"{directory} cannot be written: {error.strerror or error}; give another directory"
        ) from error


def check_manifest(directory: Path, wanted: str) -> None:
    """Refuse to replace a manifest of another kind, such as that of a sweep.

    Raises
    ------
    ConfigError
        If the directory has one.
    """
    path = directory / "manifest.json"
    try:
        found = json.loads(path.read_bytes())
    except OSError:
        return  # there is none; what else is wrong shows on writing
    except ValueError:
        found = None
    kind = found.get("kind") if isinstance(found, dict) else None
    if kind != wanted:
        what = f"of kind {kind!r}" if isinstance(kind, str) else "of something else"
        raise ConfigError(f"{path} is a manifest {what}, {_KINDS[wanted]}; give another directory")


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the content of a Parquet file."""
    import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used
    import pyarrow.parquet as pq  # noqa: PLC0415

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def pretty_json(value: object) -> bytes:
    """Return JSON for people."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
