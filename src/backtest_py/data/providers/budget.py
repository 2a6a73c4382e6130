"""The request weight that an address may use, shared by all threads and processes of a machine.

A ledger in a small SQLite file. A request stands in it from before it is sent until a whole window
after its answer came, so the exchange, which counts it somewhere between, can never measure more
than the ledger allowed. A bucket that stamps a request once, before it is sent, cannot promise
that: two requests that travel for different times arrive closer together than they left.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from backtest_py.errors import ExchangeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MINUTE_MS", "Budget", "Rule"]

MINUTE_MS: Final = 60_000
FLIGHT_MS: Final = 120_000
"""So long a request counts whose process died before its answer came."""
MARGIN_MS: Final = 250
"""So much longer than its window a rule looks back: clocks are read in steps, and are corrected."""
KEPT_MS: Final = 5_000
"""So much longer than a window entries are kept, to be compared with the exchange's count."""
LONGEST_PAUSE: Final = 3 * 86_400.0
"""The exchange bans for three days at most."""
BUSY_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.5
PATIENCE: Final = 600.0
BAN_PATIENCE: Final = 65.0
"""A pause that lasts longer is not waited for: whoever asked can come back."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS spent (id INTEGER PRIMARY KEY, host TEXT NOT NULL,
    at INTEGER NOT NULL, weight INTEGER NOT NULL, own INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS spent_at ON spent (host, at);
CREATE TABLE IF NOT EXISTS pauses (host TEXT NOT NULL, scope TEXT NOT NULL,
    until INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rules (host TEXT NOT NULL, scope TEXT NOT NULL,
    limited INTEGER NOT NULL, window INTEGER NOT NULL, read_at INTEGER NOT NULL);
"""
_inherited: Final[list[object]] = []
"""Connections of a parent process: closing one here would end locks that the parent holds."""


class Rule(NamedTuple):
    """So much request weight in any sliding window of so many milliseconds."""

    limit: int
    window: int


class Budget:
    """A ledger of request weight, kept in a file; whoever shares the file shares the budget.

    Parameters
    ----------
    path : Path
        The file, on a local disk.
    limit : int
        Weight that this machine may use in any sliding minute. What others behind the same
        address use counts against the exchange's own rules only.
    host : str
        Of the exchange: each has its own weight.
    scope : str
        Who shares what the exchange said, its rules and its pauses. Weight is shared by all.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> budget = Budget(Path(mkdtemp()) / "weight.sqlite", 2_400)
    >>> with budget.spending(2) as request:
    ...     request.used = {60_000: 2}  # what the header of the answer says
    >>> budget.spent(60_000)
    2
    """

    def __init__(self, path: Path, limit: int, *, host: str = "", scope: str = "") -> None:
        if limit < 10:
            raise ExchangeError(f"a request weight of {limit} a minute is too little; give 10")
        self._path = path
        self._own = Rule(limit, MINUTE_MS)
        self._host = host
        self._heard = (host, scope)
        self._opened: tuple[int, sqlite3.Connection] | None = None
        self._turns: dict[int, threading.Lock] = {}

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._turn():
            opened, self._opened = self._opened, None
            if opened is not None and opened[0] == os.getpid():
                opened[1].close()

    @contextmanager
    def spending(
        self, weight: int, *, stop: threading.Event | None = None, patience: float = PATIENCE
    ) -> Iterator[Spending]:
        """Wait until a request of some weight may be sent, and count it while it is under way.

        Raises
        ------
        ExchangeError
            If the wait would take longer than ``patience`` seconds, the exchange has banned the
            address for longer than a minute, or ``stop`` is set.
        """
        stop = stop or threading.Event()
        began = time.monotonic()
        while True:
            entry, wait = self._take(weight)
            if entry:
                break
            if time.monotonic() - began + wait > patience:
                raise ExchangeError(
                    f"the allowance of {self._own.limit:,} request weight a minute is used up for "
                    f"{wait:.0f} s more; try again later"
                )
            if stop.wait(min(wait, POLL_SECONDS) * random.uniform(1.0, 1.1)):  # noqa: S311
                raise ExchangeError("the download was stopped")
        request = Spending(time.monotonic() - began)
        try:
            yield request
        finally:
            self._settle(entry, request.used)

    def pause(self, seconds: float) -> None:
        """Let nobody on this machine send anything for some seconds."""
        until = _now() + int(min(max(seconds, 0.0), LONGEST_PAUSE) * 1000)
        with self._changing() as connection:
            connection.execute("INSERT INTO pauses VALUES (?, ?, ?)", (*self._heard, until))

    def paused(self) -> float:
        """Return for how many seconds nobody may send anything."""
        with self._changing() as connection:
            return self._paused(connection, _now()) / 1000

    def spent(self, window: int) -> int:
        """Return the weight that counts in the last ``window`` milliseconds."""
        with self._changing() as connection:
            return self._sum(connection, _now() - window, own=False)

    def rules(self, fresh_for: float) -> list[Rule] | None:
        """Return the exchange's own rules, or None where none were read lately."""
        oldest = _now() - int(fresh_for * 1000)
        with self._changing() as connection:
            found = connection.execute(
                "SELECT limited, window FROM rules WHERE host = ? AND scope = ? "
                "AND read_at BETWEEN ? AND ?",
                (*self._heard, oldest, _now()),
            ).fetchall()
        return [Rule(*row) for row in found] or None

    def learn(self, rules: Sequence[Rule]) -> None:
        """Keep the exchange's own rules, for every process."""
        rows = [(*self._heard, rule.limit, rule.window, _now()) for rule in rules]
        with self._changing() as connection:
            connection.execute(
                "DELETE FROM rules WHERE (host = ? AND scope = ?) OR read_at < ?",
                (*self._heard, _now() - 2 * 86_400_000),
            )
            connection.executemany("INSERT INTO rules VALUES (?, ?, ?, ?, ?)", rows)

    def _take(self, weight: int) -> tuple[int, float]:
        """Enter a request; return its entry and 0.0, or 0 and the seconds to wait."""
        with self._changing() as connection:
            now = _now()
            pause = self._paused(connection, now)
            if pause:
                if pause > BAN_PATIENCE * 1000:
                    raise ExchangeError(
                        f"the exchange asked this address to wait for {pause / 1000:,.0f} s more; "
                        "nothing is sent until then; try again later"
                    )
                return 0, pause / 1000
            stated = [(rule, False) for rule in self._stated(connection)]
            wait = 0
            for rule, own in ((self._own, True), *stated):
                if weight > rule.limit:
                    raise ExchangeError(
                        f"a request of weight {weight} is more than the {rule.limit} that the "
                        f"exchange allows in {rule.window / 1000:g} s"
                    )
                wait = max(wait, self._wait(connection, rule, weight, now, own=own))
            if wait:
                return 0, max(wait, 5) / 1000
            entered = connection.execute(
                "INSERT INTO spent (host, at, weight, own) VALUES (?, ?, ?, 1)",
                (self._host, now + FLIGHT_MS, weight),
            )
            return int(entered.lastrowid or 0), 0.0

    def _settle(self, entry: int, used: dict[int, int]) -> None:
        """Let an entry count from now on for a window; take over what the exchange counts more."""
        with self._changing() as connection:
            now = _now()
            connection.execute("UPDATE spent SET at = ? WHERE id = ?", (now, entry))
            for window, counted in used.items():
                more = counted - self._sum(connection, now - window - KEPT_MS, own=False)
                if more > 0:
                    connection.execute(
                        "INSERT INTO spent (host, at, weight, own) VALUES (?, ?, ?, 0)",
                        (self._host, now, more),
                    )
            windows = connection.execute("SELECT max(window) FROM rules").fetchone()
            longest = max(MINUTE_MS, windows[0] or 0, *used)
            connection.execute("DELETE FROM spent WHERE at < ?", (now - longest - KEPT_MS,))
            # a clock that was set back must not block anybody
            connection.execute("UPDATE spent SET at = ? WHERE at > ?", (now, now + 2 * FLIGHT_MS))

    def _stated(self, connection: sqlite3.Connection) -> list[Rule]:
        """Return the rules that the exchange stated; until they are asked for, those of others."""
        found = connection.execute(
            "SELECT scope, limited, window FROM rules WHERE host = ?", self._heard[:1]
        ).fetchall()
        own = [row for row in found if row[0] == self._heard[1]]
        return [Rule(*row[1:]) for row in own or found]

    def _sum(self, connection: sqlite3.Connection, since: int, *, own: bool) -> int:
        found = connection.execute(
            "SELECT sum(weight) FROM spent WHERE host = ? AND at > ? AND own >= ?",
            (self._host, since, int(own)),
        ).fetchone()
        return int(found[0] or 0)

    def _paused(self, connection: sqlite3.Connection, now: int) -> int:
        found = connection.execute(
            "SELECT max(until) FROM pauses WHERE host = ? AND scope = ?", self._heard
        ).fetchone()
        if found[0] is None:
            return 0
        if found[0] <= now or found[0] > now + LONGEST_PAUSE * 1000:
            connection.execute("DELETE FROM pauses WHERE host = ? AND scope = ?", self._heard)
            return 0
        return int(found[0]) - now

    def _wait(
        self, connection: sqlite3.Connection, rule: Rule, weight: int, now: int, *, own: bool
    ) -> int:
        """Return the milliseconds until a rule leaves room for a request."""
        window = rule.window + MARGIN_MS
        over = self._sum(connection, now - window, own=own) + weight - rule.limit
        if over <= 0:
            return 0
        entries = connection.execute(
            "SELECT at, weight FROM spent WHERE host = ? AND at > ? AND own >= ? ORDER BY at",
            (self._host, now - window, int(own)),
        )
        for at, freed in entries:
            over -= freed
            if over <= 0:
                return max(1, int(at) + window - now + 1)
        return window

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection of this process, in a transaction that nobody else is in."""
        try:
            with self._turn(), self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
        except sqlite3.Error as error:
            raise ExchangeError(
                f"{self._path}: the shared count of request weight cannot be kept ({error}); "
                "nothing is sent without it; free or delete the file"
            ) from error

    def _turn(self) -> threading.Lock:
        """Return what the threads of this process wait for, each for its turn.

        SQLite would have them try again and again. After a fork, the parent's may be held.
        """
        return self._turns.setdefault(os.getpid(), threading.Lock())

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of this process: none survives a fork."""
        if self._opened is not None:
            if self._opened[0] == os.getpid():
                return self._opened[1]
            _inherited.append(self._opened)
        try:
            connection = self._open()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # not a database: nothing in it is worth keeping
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            connection = self._open()
        self._opened = (os.getpid(), connection)
        return connection

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExchangeError(
                f"{self._path.parent}: the folder for the shared count of request weight cannot "
                f"be made ({error}); give another data folder"
            ) from error
        connection = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute("PRAGMA synchronous=OFF")  # lost with the power, and so is the load
                cursor.executescript(_TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


class Spending:
    """A request under way.

    Attributes
    ----------
    waited : float
        Seconds until it might be sent.
    used : dict of int to int
        Weight that the exchange counts for this address, by milliseconds of its window.
    """

    __slots__ = ("used", "waited")

    def __init__(self, waited: float) -> None:
        self.waited = waited
        self.used: dict[int, int] = {}


def _now() -> int:
    """Return the machine's clock, which all of its processes share, in ms."""
    return time.time_ns() // 1_000_000
