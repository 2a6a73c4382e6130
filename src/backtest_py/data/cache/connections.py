"""Connections of the second tier: addresses without their secrets, SQLite and PostgreSQL set up."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from backtest_py.data.extras import required
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

__all__ = ["Address", "make_engine"]

BUSY_SECONDS: Final = 5.0
"""How long one writer waits for another."""
CONNECT_SECONDS: Final = 3
STATEMENT_SECONDS: Final = 30
BEGIN: Final = "backtest_py_begin"
"""Execution option: how a transaction of SQLite begins, "" for none."""
_SHORTEST: Final = 4
"""A shorter password could be any part of a text; then the text is not shown at all."""
_PRAGMAS: Final = (
    # the first two count only before the first table
    "page_size = 16384",
    "auto_vacuum = INCREMENTAL",
    "journal_mode = WAL",
    "synchronous = NORMAL",
)


class Address:
    """The address of a database, of which a password is never shown.

    Parameters
    ----------
    url : str
        ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``.

    Raises
    ------
    ConfigError
        If it is of no kind that is known, or what it needs is not installed.

    Examples
    --------
    >>> Address("postgresql://me:secret@db.example/bars")
    postgresql://db.example/bars
    """

    def __init__(self, url: str) -> None:
        self.url = _parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(str(self.url.database)).absolute() if self.is_sqlite else None
        if self.path is not None:
            self.url = self.url.set(database=str(self.path))
        else:
            self.url = self.url.set(drivername="postgresql+psycopg")

    def __repr__(self) -> str:
        if self.path is not None:
            return f"sqlite:///{self.path}"
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{self.url.host or ''}{port}/{self.url.database or ''}"

    def without_secrets(self, text: str) -> str:
        """Return a driver's text as it may be shown."""
        values = [self.url.password]
        for value in self.url.query.values():  # a password may be among them
            values += [value] if isinstance(value, str) else value
        for secret in [str(value) for value in values if value]:
            if len(secret) < _SHORTEST:
                return "the driver gave a reason that is not shown, as it may hold the password"
            for form in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(form, "***")
        return text


def _parsed(url: str) -> URL:
    sqlalchemy = required("sqlalchemy")
    try:
        found: URL = sqlalchemy.make_url(url)
        backend = found.get_backend_name()
    except (sqlalchemy.exc.ArgumentError, ValueError):
        backend = ""
    known = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    if backend not in {"sqlite", "postgresql"}:
        raise ConfigError(f"the database's address is of no kind that is known; {known}")
    if backend == "sqlite" and found.database in {None, "", ":memory:"}:
        raise ConfigError(f"the database's address names no file; {known}")
    if any("@" in part for part in (found.host or "", found.database or "") if backend != "sqlite"):
        raise ConfigError(
            "the database's address holds more than one @; write those of the password as %40"
        )
    return found


def make_engine(address: Address) -> Engine:
    """Return an engine; nothing is connected yet.

    Raises
    ------
    ConfigError
        If the driver is not installed.
    """
    return _sqlite_engine(address) if address.is_sqlite else _postgres_engine(address)


def _sqlite_engine(address: Address) -> Engine:
    from sqlalchemy import create_engine, event  # noqa: PLC0415 - of the extra `data`

    engine = create_engine(
        address.url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where this code begins them
        for setting in _PRAGMAS:
            _set(connection, setting)

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        how = connection.get_execution_options().get(BEGIN, "IMMEDIATE")
        if how:
            connection.exec_driver_sql(f"BEGIN {how}")

    return engine


def _set(connection: Any, setting: str) -> None:
    """Set a pragma; the change to WAL does not wait for others by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA {setting}").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _postgres_engine(address: Address) -> Engine:
    from sqlalchemy import create_engine  # noqa: PLC0415 - of the extra `data`

    psycopg = required("psycopg", "postgres")

    class BinaryCursor(psycopg.Cursor):  # type: ignore[misc, name-defined, unused-ignore]
        """A cursor to which the server sends values as they are, not as text."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.format = psycopg.pq.Format.BINARY

    milliseconds = STATEMENT_SECONDS * 1000
    return create_engine(
        address.url,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": milliseconds,
            "application_name": "backtest-py",
            "cursor_factory": BinaryCursor,
            "options": f"-c statement_timeout={milliseconds} "
            f"-c lock_timeout={int(BUSY_SECONDS * 1000)}",
        },
    )
