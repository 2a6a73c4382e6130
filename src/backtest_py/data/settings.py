"""Settings of the feed: environment over TOML over the profile's defaults."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from backtest_py.data.feed import Feed
from backtest_py.errors import ConfigError
from backtest_py.monitoring.endpoint import LOOPBACK, serve_metrics_unless_served
from backtest_py.parameters import Settings, parameter, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROFILES", "FeedSettings", "open_feed"]

PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "development": {"memory_bytes": 512 << 20, "workers": 2, "weight_limit": 1_200},
    "staging": {"memory_bytes": 2 << 30, "workers": 4, "weight_limit": 1_200},
    "production": {"memory_bytes": 4 << 30, "workers": 8, "weight_limit": 2_400},
}
"""What each profile sets."""

ENVIRONMENT: Final = {
    "data_dir": "BACKTEST_PY_DATA_DIR",
    "database_url": "BACKTEST_PY_DATABASE_URL",
    "archive_url": "BACKTEST_PY_ARCHIVE_URL",
    "s3_endpoint": "BACKTEST_PY_S3_ENDPOINT",
    "exchange_url": "BACKTEST_PY_EXCHANGE_URL",
    "bulk_url": "BACKTEST_PY_BULK_URL",
    "metrics_port": "BACKTEST_PY_METRICS_PORT",
    "metrics_host": "BACKTEST_PY_METRICS_HOST",
}
"""Variables that take the place of a setting. A password stands nowhere else."""
SECRET: Final = ("database_url",)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FeedSettings(Settings):
    """Section ``[feed]``: where market data comes from, and where it is kept.

    Examples
    --------
    >>> FeedSettings.of("development", {}, environment={}).workers
    2
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
    metrics_host: str = parameter(LOOPBACK, "text", "address on which that page is served")

    def __repr__(self) -> str:
        """Return the settings without what may hold a password."""
        shown = (
            f"{spec.name}={'***' if spec.name in SECRET and value else value!r}"
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
        """Return the settings of a profile, with those of TOML and environment over them.

        Raises
        ------
        ConfigError
            If a profile, key or value is not allowed, or production lacks what it needs.
        """
        profile = profile or environment.get("BACKTEST_PY_PROFILE", "") or "development"
        if profile not in PROFILES:
            raise unknown_name("profile", profile, PROFILES)
        given = {**PROFILES[profile], **(section or {})}
        if "@" in str(given.get("database_url", "")):
            raise ConfigError(
                "feed.database_url holds a user's name or password; give it by the environment "
                "variable BACKTEST_PY_DATABASE_URL"
            )
        given |= {
            name: environment[variable]
            for name, variable in ENVIRONMENT.items()
            if environment.get(variable)
        }
        if str(given.get("metrics_port", "")).isdecimal():  # the environment's are texts
            given["metrics_port"] = int(str(given["metrics_port"]))
        settings = cls.from_mapping(given)
        if profile == "production":
            for name, wanted in (("database_url", "postgresql"), ("archive_url", "s3://")):
                if not getattr(settings, name).startswith(wanted):
                    raise ConfigError(
                        f"the profile production keeps market data in PostgreSQL and on S3; set "
                        f"{ENVIRONMENT[name]} to an address that begins with {wanted}"
                    )
        return settings

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
    from backtest_py.data.providers.binance import (  # noqa: PLC0415
        BULK_URL,
        EXCHANGE_URL,
        Binance,
    )

    chosen = FeedSettings.of(profile) if settings is None else settings
    folder = chosen.folder
    metrics = None
    if chosen.metrics_port:
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
