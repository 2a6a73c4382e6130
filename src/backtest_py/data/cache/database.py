"""The second tier: one row for each block, in SQLite or PostgreSQL, by the same code."""

from __future__ import annotations

import sqlite3
import time
import warnings
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import finalize

from backtest_py.data.cache.connections import BEGIN, BUSY_SECONDS, Address, make_engine
from backtest_py.data.cache.encoding import DamagedError, Encoded, NewerError, decode, encode
from backtest_py.data.cache.faults import Rest, renew_in_forks
from backtest_py.data.extras import required
from backtest_py.data.market.blocks import in_order
from backtest_py.data.market.candles import Series
from backtest_py.data.market.spans import Span
from backtest_py.data.recording import reads, writes
from backtest_py.errors import BacktestWarning, CacheError, ConfigError
from backtest_py.monitoring.catalogue import CORRUPTIONS, DROPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backtest_py.data.market.blocks import Block

__all__ = ["DAY_SECONDS", "TTL_SECONDS", "Database", "Entry"]

DAY_SECONDS: Final = 86_400
TTL_SECONDS: Final = 7 * DAY_SECONDS
"""How long a block is kept after it was last asked for."""
TOUCH_SECONDS: Final = 3_600
"""A block's last access is noted at most so often, so that most reads write nothing."""
LAYOUT: Final = 2
"""Version of the database's tables."""
_LOCK: Final = 4_207_849_484
"""PostgreSQL's lock under which one process at a time makes the tables."""
_DAMAGED: Final = ("not a database", "malformed", "disk image")
"""What SQLite says of a file that cannot be mended."""


class Entry(NamedTuple):
    """How many bytes a block has, as it is stored, and when it was last asked for, s since 1970."""

    n_bytes: int
    last_access: int


class Database:
    """Blocks in a database, until nobody has asked for them for a while.

    Safe to use from several threads, from several processes and in forks. Nothing is opened before
    it is needed, and what fails now is tried again later.

    Parameters
    ----------
    url : str
        ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``. A password is never shown.
    ttl : float
        Seconds after its last access when a block is swept.
    clock : callable, optional
        Seconds since 1970.

    Attributes
    ----------
    damage : str
        What was done with a file that was damaged as a whole, "" where none was.

    Raises
    ------
    ConfigError
        If the address is of no kind that is known.

    Examples
    --------
    >>> Database("postgresql://me:secret@db.example/bars")
    Database(postgresql://db.example/bars)
    """

    name: Final = "database"
    read_only: Final = False

    def __init__(
        self,
        url: str,
        *,
        ttl: float = TTL_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = Address(url)
        self._ttl = ttl
        self._clock = clock
        self._facts, self._blocks = _tables()
        self._engine: Any = None
        self._file = 0
        self.damage = ""
        self._lock = RLock()
        self._rest, self._writers_rest = self._rests()
        self._next_look = 0
        renew_in_forks(self)

    def __repr__(self) -> str:
        return f"Database({self._address!r})"

    @reads
    def get(
        self, series: Series, period: Span, wanted: Span | None = None, *, details: bool = True
    ) -> Block | None:
        """Return a block, None where there is none; one that is damaged is dropped.

        Parameters
        ----------
        series, period : Series, Span
            Which block.
        wanted : Span, optional
            The part that is needed; here all of it comes.
        details : bool
            Without them only the columns of bars are read, and none of the block can be stored.

        Raises
        ------
        CacheError
            If the database cannot be read, or the block was damaged.
        """
        del wanted
        found = self._row(series, period, details=details)
        if found is None:
            return None
        *stored, last_access = found
        try:
            block = decode(_encoded(stored), series, period)
        except NewerError as error:
            raise CacheError(f"{self!r}, {series}: {error}") from None
        except CacheError as error:
            self.drop(series, period)
            DROPS.add(self.name, "damaged")
            raise DamagedError(f"{self!r}, {series}: {error}; the block was dropped") from error
        self._touch(series, period, last_access)
        return block

    def look(self, series: Series, period: Span) -> Block | None:
        """Return a block as :meth:`get` does, and leave everything as it is.

        Raises
        ------
        DamagedError
            If the block is damaged.
        CacheError
            If the database cannot be read.
        """
        found = self._row(series, period)
        try:
            return None if found is None else decode(_encoded(list(found[:-1])), series, period)
        except NewerError:
            raise
        except CacheError as error:
            raise DamagedError(f"{self!r}, {series}: {error}") from error

    @writes
    def put(self, block: Block) -> None:
        """Keep a block in the place of the one of its period.

        Raises
        ------
        CacheError
            If it cannot be written; what was there before is whole.
        """
        encoded, now = encode(block), int(self._clock())
        key = self._key(block.series, block.period)
        values = {
            "period_end": block.period.end,
            "codec": encoded.codec,
            "schema_version": encoded.schema_version,
            "sha256": encoded.sha256,
            "n_rows": len(block.candles),
            "payload": encoded.payload,
            "details": encoded.details,
            "written": now,
            "last_access": now,
        }
        insert = self._insert(self._blocks).values(**key, **values)
        with self._using() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=values))
        self.sweep_daily()

    def drop(self, series: Series, period: Span) -> None:
        """Forget a block."""
        with self._using() as connection:
            connection.execute(self._blocks.delete().where(*self._at(series, period)))

    def periods(self) -> list[tuple[Series, Span]]:
        """Return what is kept, in order of symbol, length of interval and time."""
        return in_order(self.entries())

    def entries(self) -> dict[tuple[Series, Span], Entry]:
        """Return bytes and last access of every block, in no order."""
        import sqlalchemy as sa  # noqa: PLC0415 - of the extra `data`

        blocks = self._blocks.c
        query = sa.select(
            *(blocks.symbol, blocks.interval, blocks.period, blocks.period_end),
            *(sa.func.length(blocks.payload) + sa.func.length(blocks.details), blocks.last_access),
        )
        with self._using("DEFERRED") as connection:
            rows = connection.execute(query).all()
        return {
            (self._series(row), Span(row.period, row.period_end)): Entry(row[4], row.last_access)
            for row in rows
        }

    def _series(self, row: Any) -> Series:
        try:
            return Series.of(row.symbol, row.interval)
        except ConfigError as error:
            raise CacheError(f"{self!r}: a row of no series was found ({error})") from error

    def n_bytes(self) -> int:
        """Return how many bytes all blocks have, as they are stored."""
        return sum(entry.n_bytes for entry in self.entries().values())

    def sweep(self) -> int:
        """Forget every block that nobody asked for within the time to live; return how many.

        Raises
        ------
        CacheError
            If the database cannot be written.
        """
        now = int(self._clock())
        with self._using() as connection:
            gone = connection.execute(
                self._blocks.delete().where(self._blocks.c.last_access < int(now - self._ttl))
            ).rowcount
            facts = self._facts
            connection.execute(facts.update().where(facts.c.name == "swept").values(value=now))
        DROPS.add(self.name, "expired", amount=gone)
        if self._address.is_sqlite:
            with self._using("") as connection:
                # as a script, or the driver would free one page and stop
                plain = connection.connection.driver_connection
                plain.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
        return int(gone)

    def sweep_daily(self) -> None:
        """Sweep if no process has done so within a day; every :meth:`put` sees to it."""
        now = int(self._clock())
        if 0 <= self._next_look - now <= TOUCH_SECONDS:
            return
        self._next_look = now + TOUCH_SECONDS
        facts = self._facts.c
        late = (facts.value <= now - DAY_SECONDS) | (facts.value > now)
        mark = self._facts.update().where(facts.name == "swept", late).values(value=now)
        with self._using() as connection:
            due = connection.execute(mark).rowcount
        if due:
            self.sweep()

    def close(self) -> None:
        """Let go of all connections; the next use makes new ones."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def renew(self) -> None:
        """Leave the parent's connections to the parent, in a process that was forked."""
        self._lock = RLock()
        self._rest, self._writers_rest = self._rests()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose(close=False)

    def _rests(self) -> tuple[Rest, Rest]:
        """Return what rests after a slow failure: in SQLite a lock keeps no reader waiting."""
        rest = Rest()
        return rest, Rest() if self._address.is_sqlite else rest

    # rows

    @staticmethod
    def _key(series: Series, period: Span) -> dict[str, Any]:
        return {
            "symbol": series.symbol,
            "interval": series.interval.name,
            "period": period.start,
        }

    def _at(self, series: Series, period: Span) -> list[Any]:
        columns = self._blocks.c
        return [columns[name] == value for name, value in self._key(series, period).items()]

    def _row(self, series: Series, period: Span, *, details: bool = True) -> Any:
        """Return the row of a block, None where there is none."""
        with self._using("DEFERRED") as connection:
            return connection.execute(self._select(series, period, details=details)).one_or_none()

    def _select(self, series: Series, period: Span, *, details: bool = True) -> Any:
        """Return the query of a block, its bytes as the driver gives them: they may be damaged."""
        import sqlalchemy as sa  # noqa: PLC0415 - of the extra `data`

        columns = self._blocks.c
        stored = [columns.payload, *([columns.details] if details else [])]
        return sa.select(
            *(columns.codec, columns.schema_version, columns.sha256),
            *(sa.type_coerce(column, sa.types.NullType()) for column in stored),
            columns.last_access,
        ).where(*self._at(series, period))

    @property
    def _insert(self) -> Any:
        if self._address.is_sqlite:
            from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415 - of the extra `data`

            return insert
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - as above

        return postgresql.insert

    def _touch(self, series: Series, period: Span, last_access: object) -> None:
        """Note that a block was asked for, unless that was done lately or another one writes."""
        now = int(self._clock())
        if isinstance(last_access, int) and now - TOUCH_SECONDS <= last_access <= now:
            return
        update = self._blocks.update().where(*self._at(series, period)).values(last_access=now)
        with suppress(CacheError), self._using(patient=False) as connection:
            connection.execute(update)

    @contextmanager
    def _using(self, begin: str = "IMMEDIATE", *, patient: bool = True) -> Iterator[Any]:
        """Give a connection in a transaction; what its driver raises becomes a CacheError."""
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - of the extra `data`

        rest = self._rest if begin == "DEFERRED" else self._writers_rest
        with rest.watched():
            engine = self._opened()
            try:
                with engine.connect() as plain:
                    connection = plain.execution_options(**{BEGIN: begin})
                    if not patient:
                        self._wait(connection, 0.05)
                    try:
                        with connection.begin():
                            yield connection
                    finally:
                        if not patient:
                            self._wait(connection, BUSY_SECONDS)
            except (SQLAlchemyError, sqlite3.Error) as error:
                raise self._fault(error, engine) from None

    def _wait(self, connection: Any, seconds: float) -> None:
        """Set how long a connection waits for other writers."""
        if self._address.is_sqlite:
            cursor = connection.connection.driver_connection
            cursor.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").close()

    # opening

    def _opened(self) -> Any:
        """Return an engine on tables of this layout; a file that is damaged is set aside."""
        with self._lock:
            if self._engine is not None:
                return self._engine
            engine = make_engine(self._address)
            try:
                self._prepare(engine)
            except CacheError:
                engine.dispose()
                if self._file or not self._address.is_sqlite:  # not set aside
                    raise
                engine = make_engine(self._address)
                self._prepare(engine)
            self._engine = engine
            finalize(self, engine.dispose)  # whoever forgets to close leaves no connection open
            return engine

    def _prepare(self, engine: Any) -> None:
        """Make the tables, or make them anew where an older version made them."""
        import sqlalchemy as sa  # noqa: PLC0415 - of the extra `data`
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        path = self._address.path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                self._file = path.stat().st_ino
            with engine.connect().execution_options(**{BEGIN: "DEFERRED"}) as connection:
                if self._layout(connection) == LAYOUT:
                    return
            with engine.connect() as connection, connection.begin():
                if path is None:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                self._make_tables(connection)
        except SQLAlchemyError as error:
            raise self._fault(error, engine) from None
        except OSError as error:
            if isinstance(error, CacheError):
                raise
            raise CacheError(f"{self!r} cannot be opened: {error}") from None

    def _layout(self, connection: Any) -> int | None:
        """Return the version of the tables, None where one of them is not there."""
        import sqlalchemy as sa  # noqa: PLC0415 - of the extra `data`

        facts, inspector = self._facts, sa.inspect(connection)
        if not inspector.has_table(facts.name):
            return None
        query = sa.select(facts.c.value).where(facts.c.name == "layout")
        found: int | None = connection.execute(query).scalar()
        if found is not None and found > LAYOUT:
            raise CacheError(
                f"{self!r} was written by a newer version of backtest-py (layout {found}, known: "
                f"{LAYOUT}); update, or give another database"
            )
        return found if inspector.has_table(self._blocks.name) else None

    def _make_tables(self, connection: Any) -> None:
        if self._layout(connection) == LAYOUT:
            return
        facts = self._facts
        facts.create(connection, checkfirst=True)
        self._blocks.drop(connection, checkfirst=True)
        self._blocks.create(connection)
        if not self._address.is_sqlite:  # the payload is compressed already
            connection.exec_driver_sql(
                f"ALTER TABLE {self._blocks.name} ALTER COLUMN payload SET STORAGE EXTERNAL, "
                "ALTER COLUMN details SET STORAGE EXTERNAL"
            )
        connection.execute(facts.delete())
        connection.execute(facts.insert(), [{"name": "layout", "value": LAYOUT}])
        connection.execute(facts.insert(), [{"name": "swept", "value": int(self._clock())}])

    # faults

    def _fault(self, error: Exception, engine: Any) -> CacheError:
        """Return what to raise for a driver's error; a damaged file is set aside."""
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        reason = self._address.without_secrets(reason)
        if self._address.is_sqlite and any(mark in reason for mark in _DAMAGED):
            reason = f"{reason}; {self._set_aside(engine)}"
        return CacheError(f"{self!r} cannot be used: {reason}")

    def _set_aside(self, engine: Any) -> str:
        """Move a damaged file out of the way, unless another process has done so."""
        filelock = required("filelock")
        path = self._address.path
        with self._lock:
            engine.dispose()
            self._engine, file, self._file = None, self._file, 0
            try:
                with filelock.FileLock(f"{path}.lock", timeout=BUSY_SECONDS):
                    if path is None or not path.exists() or path.stat().st_ino != file:
                        return "it is opened anew"
                    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
                    for suffix in ("-wal", "-shm", ""):  # what belongs to it must not outlive it
                        part = path.with_name(path.name + suffix)
                        if part.exists():
                            part.replace(aside.with_name(aside.name + suffix))
            except (OSError, NotImplementedError, filelock.Timeout) as fault:
                return f"it cannot be moved out of the way ({fault})"
        CORRUPTIONS.add(self.name, "file")
        self.damage = (
            f"{path} is damaged; it was moved to {aside.name}, and a new database is begun"
        )
        warnings.warn(self.damage, BacktestWarning, stacklevel=2)
        return f"it was moved to {aside.name}"


def _encoded(stored: list[Any]) -> Encoded:
    """Return what a row holds.

    Raises
    ------
    CacheError
        If its values are not of their types: the row is damaged.
    """
    kinds = (str, int, str, bytes, bytes)[: len(stored)]
    if not all(isinstance(value, kind) for value, kind in zip(stored, kinds, strict=True)):
        raise CacheError("the row is damaged")
    codec, version, checksum, payload, *details = stored
    return Encoded(codec, version, checksum, payload, details[0] if details else None)


def _tables() -> tuple[Any, Any]:
    import sqlalchemy as sa  # noqa: PLC0415 - of the extra `data`

    metadata = sa.MetaData()
    facts = sa.Table(
        "backtest_py_cache",
        metadata,
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    blocks = sa.Table(
        "backtest_py_blocks",
        metadata,
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("interval", sa.String(4), primary_key=True),
        sa.Column("period", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("period_end", sa.BigInteger, nullable=False),
        sa.Column("codec", sa.String(32), nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("n_rows", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("details", sa.LargeBinary, nullable=False),
        sa.Column("written", sa.BigInteger, nullable=False),
        sa.Column("last_access", sa.BigInteger, nullable=False, index=True),
    )
    return facts, blocks
