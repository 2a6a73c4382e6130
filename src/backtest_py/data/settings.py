"""Settings of the feed: environment over TOML over the profile's defaults."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, parameter, unknown_name

if TYPE_CHECKING:
    from backtest_py.data.feed import Feed

__all__ = ["PROFILES", "FeedSettings", "open_feed"]

PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "development": {"memory_bytes": 512 << 20, "workers": 2, "weight_limit": 1_200},
    "staging": {"memory_bytes": 2 << 30, "workers": 4, "weight_limit": 1_200},
    "production": {"memory_bytes": 4 << 30, "workers": 8, "weight_limit": 2_400},
}
"""What each profile sets."""

PROFILE: Final = "BACKTEST_PY_PROFILE"
ENVIRONMENT: Final = {
    "data_dir": "BACKTEST_PY_DATA_DIR",
    "database_url": "BACKTEST_PY_DATABASE_URL",
    "archive_url": "BACKTEST_PY_ARCHIVE_URL",
    "s3_endpoint": "BACKTEST_PY_S3_ENDPOINT",
    "exchange_url": "BACKTEST_PY_EXCHANGE_URL",
    "bulk_url": "BACKTEST_PY_BULK_URL",
    "memory_bytes": "BACKTEST_PY_MEMORY_BYTES",
    "workers": "BACKTEST_PY_WORKERS",
    "weight_limit": "BACKTEST_PY_WEIGHT_LIMIT",
    "metrics_port": "BACKTEST_PY_METRICS_PORT",
    "metrics_host": "BACKTEST_PY_METRICS_HOST",
}
"""The variable that takes the place of each setting. A password stands nowhere else."""
_SQLITE: Final = "sqlite:///"
_REMOTE: Final = (("database_url", "postgresql"), ("archive_url", "s3://"))
"""Where the profile production keeps market data."""
_SECRET: Final = re.compile(r"@|\b(?:pass(?:word|wd)?|secret|token|key)\w*=", re.IGNORECASE)
"""What an address with a user, a password or a key holds."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FeedSettings(Settings):
    """Section ``[feed]``: where market data comes from, and where it is kept.

    Examples
    --------
    >>> FeedSettings.of("development", {}, environment={}).workers
    2
    >>> FeedSettings.of("", {"workers": 3}, environment={"BACKTEST_PY_WORKERS": "5"}).workers
    5
    """

    section: ClassVar[str] = "feed"

    data_dir: str = parameter("", "text", 'folder of database and archive; "" is one of the user')
    database_url: str = parameter(
        "",
        "text",
        'address of the database; "" is SQLite in data_dir; passwords by environment',
    )
    archive_url: str = parameter(
        "", "text", 'folder, s3://BUCKET/PREFIX or https:// base; "" is a folder in data_dir'
    )
    s3_endpoint: str = parameter("", "text", "address of an S3 server that is not Amazon's")
    exchange_url: str = parameter("", "text", 'where REST is asked; "" is the exchange')
    bulk_url: str = parameter("", "text", 'where the archive is asked; "" is the exchange')
    memory_bytes: int = parameter(512 << 20, "int", "bytes of the first tier", minimum=0)
    workers: int = parameter(2, "int", "threads that read and check", minimum=1, maximum=64)
    weight_limit: int = parameter(
        1_200, "int", "request weight in any sliding minute", minimum=10, maximum=2_400
    )
    metrics_port: int = parameter(
        0, "int", "port of the page of metrics; 0 is none", minimum=0, maximum=65_535
    )
    metrics_host: str = parameter(
        "", "text", 'address on which that page is served; "" is this machine alone'
    )

    def validate(self) -> None:
        """Refuse addresses that are none, in words that show no password."""
        for name in ("exchange_url", "bulk_url", "s3_endpoint"):
            value = getattr(self, name)
            if value and not _is_address(value, with_user=name != "s3_endpoint"):
                shown = "holds a user or more, and" if "@" in value else f"= {value[:80]!r}"
                raise ConfigError(
                    f"feed.{name} ({ENVIRONMENT[name]}) {shown} is no address; give http:// or "
                    "https://, a host and a port, such as http://127.0.0.1:8700"
                    + ("; write @ and / of a password as %40 and %2F" if "@" in value else "")
                )

    def __repr__(self) -> str:
        """Return the settings without what may hold a password."""
        shown = (
            f"{spec.name}={'***' if _holds_secret(spec.name, value) else value!r}"
            for spec in self.parameters()
            for value in (getattr(self, spec.name),)
        )
        return f"FeedSettings({', '.join(shown)})"

    @classmethod
    def of(
        cls,
        profile: str = "",
        section: Mapping[str, object] | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
    ) -> FeedSettings:
        """Return the settings: environment over TOML over those of the profile.

        Parameters
        ----------
        profile : str
            ``development``, ``staging`` or ``production``; "" is that of the environment, else of
            the section, else development.
        section : mapping, optional
            What TOML has in ``[feed]``: settings by name, and ``profile``.
        environment : mapping, optional
            Variables, by default those of the process; an empty one counts as absent.

        Raises
        ------
        ConfigError
            If a profile, key or value is not allowed, or production lacks what it needs.
        """
        given = cls.checked({} if section is None else section)
        named = given.pop("profile", "")
        profile = profile or environment.get(PROFILE, "") or str(named) or "development"
        if profile not in PROFILES:
            raise unknown_name("profile", profile, PROFILES)
        given = {**PROFILES[profile], **given}
        given |= {
            name: cls._of_variable(name, environment[variable])
            for name, variable in ENVIRONMENT.items()
            if environment.get(variable)
        }
        settings = cls.from_mapping(given)
        for name, wanted in _REMOTE if profile == "production" else ():
            if not getattr(settings, name).startswith(wanted):
                raise ConfigError(
                    f"the profile production keeps market data in PostgreSQL and on S3; set "
                    f"{ENVIRONMENT[name]} to an address that begins with {wanted}"
                )
        return settings

    @classmethod
    def checked(cls, section: object) -> dict[str, Any]:
        """Return a section ``[feed]`` whose every key and value is allowed, as it was written.

        Raises
        ------
        ConfigError
            If one is not, or holds a secret, which is then not shown.
        """
        if not isinstance(section, Mapping):
            raise ConfigError(f"feed is {type(section).__name__}; write it as a section [feed]")
        for name, value in section.items():
            if name in ENVIRONMENT and _holds_secret(name, value):
                raise ConfigError(
                    f"feed.{name} holds a user's name, a password or a key; give it by the "
                    f"environment variable {ENVIRONMENT[name]}"
                )
        values = dict(section)
        profile = values.pop("profile", "")
        if profile != "" and str(profile) not in PROFILES:
            raise unknown_name("profile", profile, PROFILES)
        known = [spec.name for spec in cls.parameters()]
        for name in values:
            if name not in known:
                raise unknown_name("key of [feed]", name, [*known, "profile"])
        cls(**values)
        return dict(section)

    @classmethod
    def located(cls, section: object, directory: Path) -> dict[str, Any]:
        """Return a checked section whose folders are in full: they are relative to its file.

        Raises
        ------
        ConfigError
            As :meth:`checked`.
        """
        found = cls.checked(section)
        for name in ("data_dir", "archive_url"):
            folder = found.get(name)
            if folder and "://" not in folder:
                found[name] = os.path.realpath(directory / folder)
        database = str(found.get("database_url", ""))
        if database.startswith(_SQLITE) and database != _SQLITE:
            file = os.path.realpath(directory / database.removeprefix(_SQLITE))
            found["database_url"] = f"{_SQLITE}{file}"
        return found

    @classmethod
    def _of_variable(cls, name: str, text: str) -> Any:
        """Return the value that a variable of the environment gives a setting."""
        (spec,) = (spec for spec in cls.parameters() if spec.name == name)
        if spec.kind == "text":
            return text
        try:
            return spec.check(int(text) if text.isascii() else text, section=cls.section)
        except ValueError:
            raise ConfigError(
                f"{ENVIRONMENT[name]} = {text[:40]!r} is not allowed; give {spec.allowed}"
            ) from None

    @property
    def folder(self) -> Path:
        """Folder of what is kept on this machine."""
        return Path(self.data_dir) if self.data_dir else _user_folder()


def open_feed(profile: str = "", *, settings: FeedSettings | None = None) -> Feed:
    """Open the feed: one door to market data, from the nearest tier that has it.

    Parameters
    ----------
    profile : {"development", "staging", "production"}
        Defaults of sizes and places; "" is that of BACKTEST_PY_PROFILE, or development.
    settings : FeedSettings, optional
        Instead of those of profile and environment.

    Returns
    -------
    Feed

    Raises
    ------
    ConfigError
        If a setting is not allowed.

    Examples
    --------
    >>> import tempfile
    >>> from backtest_py.data.settings import FeedSettings, open_feed
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_feed(settings=FeedSettings(data_dir=folder)) as feed:
    ...         feed.memory.status().entries
    0
    """
    from backtest_py.data.cache.archive import Archive  # noqa: PLC0415 - of the extra `data`
    from backtest_py.data.cache.database import Database  # noqa: PLC0415
    from backtest_py.data.cache.memory import Memory  # noqa: PLC0415
    from backtest_py.data.feed import Feed  # noqa: PLC0415
    from backtest_py.data.providers.binance import (  # noqa: PLC0415
        BULK_URL,
        EXCHANGE_URL,
        Binance,
    )

    chosen = FeedSettings.of(profile) if settings is None else settings
    folder = chosen.folder
    metrics = None
    if chosen.metrics_port:
        from backtest_py.monitoring.endpoint import (  # noqa: PLC0415 - only where it is wanted
            serve_metrics_unless_served,
        )

        metrics = serve_metrics_unless_served(chosen.metrics_port, chosen.metrics_host)
    exchange = Binance(
        _shared_folder(folder),
        scope=str(folder.absolute()),
        exchange_url=chosen.exchange_url or EXCHANGE_URL,
        bulk_url=chosen.bulk_url or BULK_URL,
        weight_limit=chosen.weight_limit,
    )
    return Feed(
        exchange,
        memory=Memory(chosen.memory_bytes),
        database=Database(chosen.database_url or f"sqlite:///{folder / 'market.sqlite'}"),
        archive=Archive(chosen.archive_url or folder / "archive", endpoint=chosen.s3_endpoint),
        locks=folder / "locks",
        workers=chosen.workers,
        metrics=metrics,
    )


def _is_address(text: str, *, with_user: bool) -> bool:
    """Tell whether a text is an http address, of which only the host may follow a user."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    user, _, host = parts.netloc.rpartition("@")
    known = parts.scheme in {"http", "https"} and bool(host)
    return known and "@" not in user + text.partition(parts.netloc)[2] and (with_user or not user)


def _holds_secret(name: str, value: object) -> bool:
    """Tell whether a setting may hold a user's name, a password or a key; a folder does not."""
    text = str(value)
    if name == "data_dir" or (name == "archive_url" and "://" not in text):
        return False
    return _SECRET.search(text) is not None


def _shared_folder(folder: Path) -> Path:
    """Return where request weight is counted: in one place, whatever folder the data is in.

    The exchange counts the weight of an address, and two folders of data do not make two addresses.
    Where that place cannot be written, as in a container, the folder of the data takes its turn.
    """
    shared = _user_folder() / "exchange"
    try:
        shared.mkdir(parents=True, exist_ok=True)
        writable = os.access(shared, os.W_OK)
    except OSError:
        writable = False
    return shared if writable else folder / "exchange"


def _user_folder() -> Path:
    """Return where this user's data belongs on this system."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "backtest-py"
    if sys.platform == "darwin":
        return home / "Library/Application Support/backtest-py"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "backtest-py"
