"""Damage to the tiers on disk, and faults of the exchange, as chance has it."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from backtest_py.data.demo_exchange import FAULTS, DemoExchange

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Damage", "Mischief"]

LEFT_OUT: Final = frozenset({"status-418-long", "status-418-bare", "rewritten"})
"""Bans of a day, and of an unknown time, for which all would wait; and what changes the truth."""
HELD_SECONDS: Final = (0.2, 1.5)


class _Chance:
    """A thread that does something every now and then until it is stopped."""

    def __init__(self, seed: str, pause: tuple[float, float]) -> None:
        self.done: Counter[str] = Counter()
        self.dice = random.Random(seed)
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self.dice.uniform(*self._pause)):
            self.act()

    def act(self) -> None:
        """Do one thing."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being done."""
        self._stop.set()
        self._thread.join()


class Mischief(_Chance):
    """Faults of the exchange, one or two at a time, from all that it knows."""

    def __init__(self, exchange: DemoExchange, seed: int) -> None:
        super().__init__(f"faults {seed}", (0.3, 1.0))
        self._exchange = exchange
        self._names = sorted(set(FAULTS) - LEFT_OUT)

    def act(self) -> None:
        """Switch other faults on, or none."""
        self._exchange.clear_faults()
        for _ in range(self.dice.choice((0, 0, 1, 2))):
            name = self.dice.choice(self._names)
            self._exchange.fault(name, self.dice.randint(1, 3), self.dice.randint(2, 6))
            self.done[name] += 1

    def stop(self) -> None:
        """End, with all faults switched off."""
        super().stop()
        self._exchange.clear_faults()


class Damage(_Chance):
    """Blocks with other bytes, files cut short, a database that somebody holds."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(f"damage {seed}", (0.2, 0.8))
        self._database = folder / "market.sqlite"
        self._archive = folder / "archive"

    def act(self) -> None:
        """Damage something."""
        kinds: list[Callable[[], bool]] = [self.row, self.row, self.lock, self.cut, self.flip,
                                           self.empty, self.delete]  # fmt: skip
        kind = self.dice.choice(kinds)
        with suppress(sqlite3.OperationalError, FileNotFoundError):  # busy, or gone
            if kind():
                self.done[kind.__name__] += 1

    def row(self) -> bool:
        """Change a byte of a block in the database."""
        column = self.dice.choice(("payload", "details"))
        with closing(sqlite3.connect(self._database, timeout=2)) as connection, connection:
            rows = connection.execute("select rowid from backtest_py_blocks").fetchall()
            if not rows:
                return False
            chosen = self.dice.choice(rows)
            query = f"select {column} from backtest_py_blocks where rowid = ?"
            found = connection.execute(query, chosen).fetchone()
            if found is None:
                return False
            content = bytearray(found[0])
            content[self.dice.randrange(len(content))] ^= self.dice.randint(1, 255)
            connection.execute(
                f"update backtest_py_blocks set {column} = ? where rowid = ?",
                (bytes(content), *chosen),
            )
        return True

    def lock(self) -> bool:
        """Hold the database, so that nobody can write."""
        with closing(
            sqlite3.connect(self._database, timeout=2, isolation_level=None)
        ) as connection:
            connection.execute("begin immediate")
            time.sleep(self.dice.uniform(*HELD_SECONDS))
            connection.execute("rollback")
        return True

    def _file(self) -> Path | None:
        files = sorted(self._archive.glob("*/*/*.parquet"))
        return self.dice.choice(files) if files else None

    def cut(self) -> bool:
        """Cut a file of the archive, in its place."""
        file = self._file()
        if file is None:
            return False
        with file.open("r+b") as opened:
            opened.truncate(self.dice.randrange(file.stat().st_size + 1))
        return True

    def flip(self) -> bool:
        """Change a byte of a file of the archive, in its place."""
        file = self._file()
        if file is None or not file.stat().st_size:
            return False
        with file.open("r+b") as opened:
            at = self.dice.randrange(file.stat().st_size)
            opened.seek(at)
            byte = opened.read(1)
            opened.seek(at)
            opened.write(bytes([byte[0] ^ self.dice.randint(1, 255)]) if byte else b"")
        return True

    def empty(self) -> bool:
        """Leave nothing in a file of the archive."""
        file = self._file()
        if file is not None:
            file.write_bytes(b"")
        return file is not None

    def delete(self) -> bool:
        """Delete a file of the archive."""
        file = self._file()
        if file is not None:
            file.unlink()
        return file is not None
