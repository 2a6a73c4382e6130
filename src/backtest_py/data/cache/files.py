"""Where an archive's files lie: a folder, S3, or an address that is read and never written."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from backtest_py.data.cache.faults import renew_in_forks
from backtest_py.data.extras import http_client, required
from backtest_py.errors import CacheError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_FILE_BYTES", "Files", "files_at"]

MAX_FILE_BYTES: Final = 8 << 20
"""A larger file is no block: the longest month has 3.6 million bytes before compression."""
CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 3.0
WHOLE_SECONDS: Final = 30.0
"""How long a whole file may take from an address, however steadily it drips."""
REQUESTS: Final = 2
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Files(Protocol):
    """Whole files by their path, parts separated by ``/``."""

    read_only: bool
    attempts: int
    """How often to read a file that seems damaged: one may be replaced between two requests."""

    def open(self, path: str, *, whole: bool) -> Any:
        """Return a file that Arrow can read, None where there is none.

        One that is wanted ``whole`` comes in as few requests as there can be.
        """

    def write(self, path: str, content: bytes) -> None:
        """Put a whole file in the place of what was there, or leave that as it is."""

    def delete(self, path: str) -> None:
        """Delete a file, if there is one."""

    def paths(self) -> list[tuple[str, int]]:
        """Return all Parquet files with their sizes."""


def files_at(location: str, endpoint: str = "") -> Files:
    """Return the files of a location.

    Raises
    ------
    ConfigError
        If it is of no kind that is known.
    """
    kind, separator, rest = location.partition("://")
    if not separator:
        if not location:
            raise ConfigError('archive = "" is no place; give a folder, s3://… or https://…')
        return _LocalFiles(Path(location).absolute())
    parts = urlsplit(location)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"archive = {kind}://… holds a user, a password or a query; secrets come from the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), never from an address"
        )
    if kind == "s3" and parts.netloc:
        return _S3Files(rest.rstrip("/"), endpoint)
    if kind == "https" or (kind == "http" and parts.hostname in _LOOPBACK):
        return _WebFiles(location.rstrip("/"))
    raise ConfigError(
        f"archive = {kind}://… is of no kind that is known; give a folder, s3://BUCKET/PREFIX or "
        "an https:// address (http:// only on this machine)"
    )


class _LocalFiles:
    read_only = False
    attempts = 1

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, path: str, *, whole: bool) -> Any:
        del whole  # one that was opened stays as it was
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        target = self._root / path
        try:
            # not mapped into memory: a file that is cut meanwhile would kill the process
            return pa.OSFile(str(target))
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            raise CacheError(f"{target} cannot be read: {error}") from error

    def write(self, path: str, content: bytes) -> None:
        from backtest_py._io.files import replace_file, sync_directory  # noqa: PLC0415

        target = self._root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, content)
            sync_directory(target.parent)
        except OSError as error:
            raise CacheError(f"{target} cannot be written: {error}") from error

    def delete(self, path: str) -> None:
        try:
            (self._root / path).unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(f"{self._root / path} cannot be deleted: {error}") from error

    def paths(self) -> list[tuple[str, int]]:
        try:
            return [
                (file.relative_to(self._root).as_posix(), file.stat().st_size)
                for file in self._root.glob("*/*/*.parquet")
            ]
        except OSError as error:
            raise CacheError(f"{self._root} cannot be listed: {error}") from error


class _S3Files:
    read_only = False
    attempts = 6

    def __init__(self, root: str, endpoint: str) -> None:
        self._root = root
        self._endpoint = endpoint
        self._opened: Any = None
        renew_in_forks(self)

    def renew(self) -> None:
        """Leave the parent's connections to the parent."""
        self._opened = None

    @property
    def _system(self) -> Any:
        if self._opened is None:
            from pyarrow import fs  # noqa: PLC0415 - a heavy import, only where it is used

            options: dict[str, Any] = {}
            if self._endpoint:
                scheme, _, host = self._endpoint.rstrip("/").rpartition("://")
                options = {"endpoint_override": host, "scheme": scheme or "https"}
            self._opened = fs.S3FileSystem(
                connect_timeout=CONNECT_SECONDS,
                request_timeout=ANSWER_SECONDS,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=REQUESTS),
                allow_delayed_open=True,  # a block goes in one request: whole, or not at all
                **options,
            )
        return self._opened

    def _asked(self, path: str, verb: str, ask: Callable[[Any, str], Any]) -> Any:
        target = f"{self._root}/{path}".rstrip("/")
        try:
            return ask(self._system, target)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(f"s3://{target} cannot be {verb}: {error}") from error

    def open(self, path: str, *, whole: bool) -> Any:
        def ask(system: Any, target: str) -> Any:
            if not whole:
                return system.open_input_file(target)
            with system.open_input_stream(target) as source:
                return io.BytesIO(source.read(MAX_FILE_BYTES))

        return self._asked(path, "read", ask)

    def write(self, path: str, content: bytes) -> None:
        def send(system: Any, target: str) -> bool:
            with system.open_output_stream(target) as sink:
                sink.write(content)
            return True

        if self._asked(path, "written", send) is None:
            raise CacheError(f"s3://{self._root}/{path} cannot be written: there is no such bucket")

    def delete(self, path: str) -> None:
        self._asked(path, "deleted", lambda system, target: system.delete_file(target))

    def paths(self) -> list[tuple[str, int]]:
        from pyarrow import fs  # noqa: PLC0415 - a heavy import, only where it is used

        def ask(system: Any, target: str) -> Any:
            return system.get_file_info(fs.FileSelector(target, recursive=True))

        found = self._asked("", "listed", ask) or []
        cut = len(self._root) + 1
        return [(each.path[cut:], each.size) for each in found if each.path.endswith(".parquet")]


class _WebFiles:
    read_only = True
    attempts = 1

    def __init__(self, base: str) -> None:
        self._base = base
        self._client: Any = None
        renew_in_forks(self)

    def renew(self) -> None:
        """Leave the parent's connections to the parent."""
        self._client = None

    def open(self, path: str, *, whole: bool) -> Any:
        del whole  # it always comes in one request
        httpx2 = required("httpx2")
        if self._client is None:
            timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
            self._client = http_client(timeout=timeout, follow_redirects=False)
        address = f"{self._base}/{path}"
        deadline = time.monotonic() + WHOLE_SECONDS
        content = bytearray()
        try:
            with self._client.stream("GET", address) as answer:
                if answer.status_code == httpx2.codes.NOT_FOUND:
                    return None
                if answer.status_code != httpx2.codes.OK:
                    raise CacheError(f"{address} cannot be read: status {answer.status_code}")
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > MAX_FILE_BYTES:
                        raise CacheError(f"{address} is larger than {MAX_FILE_BYTES:,} bytes")
                    if time.monotonic() > deadline:
                        raise CacheError(f"{address} took longer than {WHOLE_SECONDS:.0f} s")
        except httpx2.HTTPError as error:
            raise CacheError(
                f"{address} cannot be read: {error or type(error).__name__}"
            ) from error
        return io.BytesIO(bytes(content))

    def write(self, path: str, content: bytes) -> None:
        del content
        raise CacheError(f"{self._base}/{path} is read, never written")

    def delete(self, path: str) -> None:
        raise CacheError(f"{self._base}/{path} is read, never written")

    def paths(self) -> list[tuple[str, int]]:
        raise CacheError(f"{self._base} cannot be listed: an address gives files by their names")
