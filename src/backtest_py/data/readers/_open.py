"""From a path to text: what a file is, how it is packed, how it is encoded.

Nothing is unpacked to disk, and nothing is unpacked that could fill the memory.
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    from os import PathLike

__all__ = [
    "MAX_ROWS",
    "MAX_TEXT",
    "TextFile",
    "data_file",
    "magic_of",
    "most_unpacked",
    "read_text",
]

MAX_ROWS: Final = 100_000_000
"""Rows that one file may hold: two centuries of one-minute bars."""
MAX_TEXT: Final = 2 * 1024**3
"""Bytes of text that one file may hold, or one column of text: what 32-bit offsets can count."""
_FREE_TEXT: Final = 64 * 1024**2
_MAX_RATIO: Final = 200
"""Bars compress 4 to 20 times; a file that unpacks to more than 200 times its size holds none."""
_CHUNK: Final = 4 * 1024**2

_DAMAGE: Final = (
    OSError,
    EOFError,
    ValueError,
    IndexError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What the standard library raises on truncated or damaged archives."""

_MAGIC: Final = {
    b"PAR1": "parquet",
    b"ARROW1": "feather",
    b"FEA1": "feather version 1",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
}


def data_file(path: str | PathLike[str]) -> Path:
    """Return the path of a regular file.

    Raises
    ------
    ConfigError
        If there is none, it is a directory, or it cannot be read.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise ConfigError(f"data file '{file}' is a directory; name one file in it")
        if not file.exists():
            raise ConfigError(f"data file '{file}' does not exist; check the path")
        if not file.is_file():
            raise ConfigError(f"data file '{file}' is not a regular file; copy it to one")
        with file.open("rb"):
            return file
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"data file '{file}' cannot be read: {reason}") from None


def magic_of(file: Path) -> str:
    """Return what the first bytes say that a file is, or "" for anything else."""
    with file.open("rb") as stream:
        head = stream.read(8)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")


def most_unpacked(size: int) -> int:
    """Return how many bytes a file of so many bytes may unpack to."""
    return _FREE_TEXT + _MAX_RATIO * size


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file of bars as UTF-8, without byte order mark."""

    name: str
    text: bytes
    encoding: str
    notes: tuple[str, ...] = ()


def read_text(file: Path) -> TextFile:
    """Return the text of a file: plain, gzipped, or the only file of a zip archive.

    Raises
    ------
    DataError
        If the file is empty, is not text, is damaged, or unpacks to far more than bars would.
    """
    name = file.name
    try:
        raw = _unpacked(file)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{name}: the file is damaged ({error}); fetch it again") from None
    decoded = _decoded(name, raw)
    if not decoded.text.strip():
        raise DataError(f"{name}: the file is empty; there are no bars in it")
    return decoded


def _unpacked(file: Path) -> bytes:
    size = file.stat().st_size
    kind = magic_of(file)
    if kind == "gzip":
        with gzip.open(file) as stream:
            return _bounded(stream, size, file.name)
    if kind == "zip":
        with zipfile.ZipFile(file) as archive:
            return _from_zip(archive, size, file.name)
    if size > MAX_TEXT:
        raise DataError(f"{file.name}: {size:,} bytes of text are too many; use Parquet")
    return file.read_bytes()


def _from_zip(archive: zipfile.ZipFile, size: int, name: str) -> bytes:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if any(member.filename == "[Content_Types].xml" for member in members):
        raise DataError(f"{name}: this is an office document; save the sheet as CSV")
    if len(members) != 1:
        raise DataError(f"{name}: the archive holds {len(members)} files; bars need exactly one")
    if members[0].flag_bits & 1:
        raise DataError(f"{name}: the archive is encrypted; unpack it first")
    with archive.open(members[0]) as stream:
        return _bounded(stream, size, name)


def _bounded(stream: _Stream, size: int, name: str) -> bytes:
    """Read all of a compressed stream, but never more than bars of its size unpack to."""
    limit = min(MAX_TEXT, most_unpacked(size))
    text = io.BytesIO()
    while chunk := stream.read(_CHUNK):
        text.write(chunk)
        if text.tell() > limit:
            raise DataError(
                f"{name}: {size:,} bytes unpack to more than {limit:,}; this does not hold bars"
            )
    return text.getvalue()


def _decoded(name: str, raw: bytes) -> TextFile:
    """Decode by the byte order mark, else as strict UTF-8.

    UTF-16 is never tried without its mark: nearly any bytes of even length are valid UTF-16.
    """
    notes: tuple[str, ...] = ()
    encoding = "utf-8"
    try:
        if raw.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
            raise DataError(f"{name}: UTF-32 is not supported; save it as UTF-8")
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            encoding = "utf-16"
            raw = raw.decode(encoding).encode()
        elif raw.startswith(b"\xef\xbb\xbf"):
            encoding = "utf-8-sig"
            raw = raw[3:]
        if b"\0" in raw:
            raise DataError(
                f"{name}: the file holds NUL bytes: it is binary, or UTF-16 without a byte order "
                "mark; give a text file, Parquet or Feather"
            )
        if not raw.isascii():
            raw, notes = _ascii_body(name, raw)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: not valid {encoding} ({error.reason} at byte {error.start})"
        ) from None
    return TextFile(name, raw, encoding, notes)


def _ascii_body(name: str, raw: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Check UTF-8; where only the header breaks it, read that as Windows-1252.

    Charting platforms write accents of their column names in the encoding of the machine. Columns
    are then looked up by name, so a wrong guess could not go unnoticed.
    """
    try:
        raw.decode()
    except UnicodeDecodeError:
        header, _, body = raw.partition(b"\n")
        if not body.isascii():
            raise
        text = header.decode("cp1252", "replace").encode() + b"\n" + body
        return text, (f"{name}: the header is not UTF-8 and was read as Windows-1252",)
    return raw, ()
