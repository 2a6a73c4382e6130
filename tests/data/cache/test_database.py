"""SQLite: what goes wrong with its file becomes a CacheError, and never wrong data."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.market_blocks import PERIOD, SERIES, market_block

from backtest_py.data.cache import connections, database
from backtest_py.data.cache.database import DAY_SECONDS, Database
from backtest_py.data.market.candles import Series
from backtest_py.errors import BacktestWarning, CacheError, ConfigError

DAMAGED = {
    "not a database": lambda path: path.write_bytes(b"no database at all\n" * 1000),
    "cut in the header": lambda path: os.truncate(path, 50),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "first page lost": lambda path: _overwrite(path, 100, bytes(4000)),
    "all but the header lost": lambda path: _overwrite(path, 4096, bytes(path.stat().st_size)),
}


def _overwrite(path, at, content):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


def opened(path, **named):
    return Database(f"sqlite:///{path}", **named)


@pytest.mark.filterwarnings("always::backtest_py.errors.BacktestWarning")
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_set_aside_and_begun_anew(path, damage, recwarn):
    first = opened(path)
    first.put(market_block())
    first.close()
    DAMAGED[damage](path)
    cache = opened(path)
    try:
        found = cache.get(SERIES, PERIOD)
    except CacheError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is right
        found = cache.get(SERIES, PERIOD)
    assert found is None
    cache.put(market_block(seed=2))
    assert cache.get(SERIES, PERIOD) == market_block(seed=2)
    aside = list(path.parent.glob("cache.sqlite.damaged-*"))
    assert len(aside) >= 1
    assert any(aside[0].name in str(each.message) for each in recwarn)


def test_a_file_damaged_under_way_is_set_aside_once(path):
    """Another process may have begun a new one already: that one stays."""
    one, other = opened(path), opened(path)
    one.put(market_block())
    assert other.get(SERIES, PERIOD) is not None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    _overwrite(path, 4096, bytes(path.stat().st_size - 4096))
    with pytest.warns(BacktestWarning, match="damaged"), pytest.raises(CacheError):
        one.get(SERIES, PERIOD)
    one.put(market_block(seed=1))
    with pytest.raises(CacheError, match="opened anew"):
        other.get(SERIES, PERIOD)
    assert other.get(SERIES, PERIOD) == market_block(seed=1)


def test_a_database_of_another_program_keeps_its_tables(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table blocks (x)")
        connection.execute("insert into blocks values (7)")
        connection.commit()
    opened(path).put(market_block())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select x from blocks").fetchall() == [(7,)]


def _set(path, statement, *values):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_an_older_layout_is_made_anew(path):
    opened(path).put(market_block())
    _set(path, "update backtest_py_cache set value = 0 where name = 'layout'")
    _set(path, "alter table backtest_py_blocks drop column codec")
    cache = opened(path)
    assert cache.get(SERIES, PERIOD) is None
    cache.put(market_block())
    assert cache.get(SERIES, PERIOD) == market_block()


def test_a_newer_layout_is_refused_and_left_as_it_is(path):
    opened(path).put(market_block())
    _set(path, "update backtest_py_cache set value = 99 where name = 'layout'")
    with pytest.raises(CacheError, match=r"newer version of backtest-py \(layout 99"):
        opened(path).get(SERIES, PERIOD)
    _set(path, f"update backtest_py_cache set value = {database.LAYOUT} where name = 'layout'")
    assert opened(path).get(SERIES, PERIOD) == market_block()


@pytest.mark.parametrize(
    ("change", "says", "kept"),
    [
        ("schema_version = 99", "schema version 99", 1),
        ("schema_version = 0", "schema version 0", 0),
        ("codec = 'pickle'", "codec 'pickle'", 0),
        ("sha256 = 'abc'", "checksum", 0),
        ("payload = x'00'", "checksum", 0),
        ("payload = 12", "damaged", 0),
        ("payload = 'text'", "damaged", 0),
        ("symbol = 'BTCUSDT'", None, 1),
    ],
)
def test_a_row_that_is_not_right_is_dropped_but_for_a_newer_one(path, change, says, kept):
    cache = opened(path)
    cache.put(market_block())
    _set(path, f"update backtest_py_blocks set {change}")
    if says is None:
        assert cache.get(SERIES, PERIOD) is None
        with pytest.raises(CacheError, match="the block is of 1000PEPEUSDT 1m, not BTCUSDT 1m"):
            cache.get(Series.of("BTCUSDT", "1m"), PERIOD)
    else:
        with pytest.raises(CacheError, match=says):
            cache.get(SERIES, PERIOD)
        assert len(cache.periods()) == kept


def test_a_locked_database_fails_in_time_and_rests(path, monkeypatch):
    monkeypatch.setattr(connections, "BUSY_SECONDS", 1.2)
    monkeypatch.setattr(database, "BUSY_SECONDS", 1.2)
    cache = opened(path)
    cache.put(market_block())
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        assert cache.get(SERIES, PERIOD) == market_block()  # readers do not wait
        with pytest.raises(CacheError, match="locked"):
            cache.put(market_block())
        began = time.monotonic()
        with pytest.raises(CacheError, match="not asked again for"):
            cache.put(market_block())
        assert cache.get(SERIES, PERIOD) == market_block()  # while writers rest
        assert time.monotonic() - began < 0.5


def test_a_writer_waits_for_another(path):
    cache = opened(path)
    cache.put(market_block(100, hole=(1, 2)))
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("begin immediate")
        later = threading.Timer(0.3, lambda: holder.execute("commit"))
        later.start()
        cache.put(market_block())
        later.join()
    assert cache.get(SERIES, PERIOD) == market_block()


def test_a_read_does_not_wait_to_note_its_time(path):
    now = [1_000_000.0]
    cache = opened(path, clock=lambda: now[0])
    cache.put(market_block())
    now[0] += DAY_SECONDS
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        began = time.monotonic()
        assert cache.get(SERIES, PERIOD) == market_block()
        assert time.monotonic() - began < 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot be opened"):
        opened(tmp_path / "file" / "cache.sqlite").get(SERIES, PERIOD)


UNPRIVILEGED = """
import os, sys
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.archive import Archive
from backtest_py.errors import CacheError
from tests.market_blocks import market_block
block = market_block(200)
def tiers(folder):
    return (Database(f"sqlite:///{folder}/c.sqlite"), Archive(f"{folder}/archive"))
for tier in tiers(sys.argv[2]):
    tier.put(block)  # imports what is needed while that can be read
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for tier in tiers(sys.argv[1]):
    try:
        tier.put(block)
    except CacheError as error:
        print("refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders are protected in another way there")
def test_a_read_only_folder_is_refused(tmp_path):
    folder = tmp_path / "protected"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in (tmp_path, *tmp_path.parents):
        if parent == Path("/tmp"):
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    out = child(UNPRIVILEGED, folder, tmp_path / "open")
    assert out.count("refused:") == 2
    assert "ermission" in out


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])}


def child(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL_DISK = """
import resource, sys
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.archive import Archive
from backtest_py.errors import CacheError
from tests.market_blocks import market_block, SERIES, PERIOD
for tier in (Database(f"sqlite:///{sys.argv[1]}/c.sqlite"), Archive(f"{sys.argv[1]}/archive")):
    tier.put(market_block(500))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        tier.put(market_block(30_000, seed=1))
    except CacheError as error:
        print("refused:", error)
    assert tier.get(SERIES, PERIOD) == market_block(500)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    tier.put(market_block(30_000, seed=1))
    assert tier.get(SERIES, PERIOD) == market_block(30_000, seed=1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files is not limited there")
def test_a_full_disk_leaves_what_was_there(tmp_path):
    assert child(FULL_DISK, tmp_path).count("refused:") == 2
    assert not list(tmp_path.rglob(".*.tmp"))


WRITER = """
import sys
from backtest_py.data.cache.database import Database
from backtest_py.data.cache.archive import Archive
from tests.market_blocks import market_block
blocks = [market_block(8_000, seed=seed) for seed in (0, 1)]
tier = Database(sys.argv[1]) if "://" in sys.argv[1] else Archive(sys.argv[1])
for turn in range(100_000):
    tier.put(blocks[turn % 2])
    if turn == 1:
        print("written", flush=True)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "folder"])
def test_a_writer_that_is_killed_leaves_a_whole_block(tmp_path, kind, request):
    from backtest_py.data.cache.archive import Archive

    place = f"sqlite:///{tmp_path}/cache.sqlite"
    if kind == "postgres":
        place = request.getfixturevalue("postgres").new_database()
    if kind == "folder":
        place = str(tmp_path / "archive")
    blocks = [market_block(8_000, seed=seed) for seed in (0, 1)]
    for wait in (0.017,):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, place],
            stdout=subprocess.PIPE,
            env=environment(),
        ) as writer:
            assert writer.stdout.readline() == b"written\n"
            time.sleep(wait)
            writer.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        tier = Archive(place) if kind == "folder" else Database(place)
        assert tier.get(SERIES, PERIOD) in blocks
        tier.put(blocks[0])
        assert tier.get(SERIES, PERIOD) == blocks[0]
        if kind != "folder":
            tier.close()


# time to live


def test_what_nobody_asks_for_is_swept_after_the_time_to_live(path):
    now = [1_800_000_000.0]
    cache = opened(path, clock=lambda: now[0])
    for day in range(12):
        series = Series.of(f"DAY{day}", "1m")
        cache.put(market_block(20_000, series, seed=day))
        now[0] += DAY_SECONDS
        cache.get(Series.of("DAY0", "1m"), PERIOD)
    before = path.stat().st_size
    # any put sweeps once a day; what was asked for every day is still there
    kept = [series.symbol for series, _ in cache.periods()]
    assert kept == ["DAY0", "DAY10", "DAY11", *(f"DAY{day}" for day in range(4, 10))]
    now[0] += 6.5 * DAY_SECONDS
    assert cache.sweep() == len(kept) - 1
    assert [series.symbol for series, _ in cache.periods()] == ["DAY0"]
    assert path.stat().st_size < before / 4
    assert path.with_name("cache.sqlite-wal").stat().st_size == 0


def test_one_process_sweeps_a_day(path):
    now = [1_800_000_000.0]
    first, second = (opened(path, clock=lambda: now[0]) for _ in range(2))
    swept = []
    for cache in (first, second):
        cache.sweep = lambda cache=cache: swept.append(cache)
    first.put(market_block(10, hole=(1, 2)))
    now[0] += DAY_SECONDS + 1
    for cache in (first, second, first):
        cache.put(market_block(10, hole=(1, 2)))
    assert swept == [first]
    now[0] -= 3 * DAY_SECONDS  # the clock is set back
    second.put(market_block(10, hole=(1, 2)))
    assert swept == [first, second]


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://me@host/x", "sqlite://", "sqlite:///:memory:", "postgresql"]
)
def test_addresses_of_no_known_kind_are_refused(url):
    with pytest.raises(ConfigError, match="database's address"):
        Database(url)


def test_a_database_is_opened_when_it_is_needed(path):
    cache = opened(path)
    assert not path.exists()
    assert repr(cache) == f"Database(sqlite:///{path})"
    assert cache.periods() == []
    assert path.exists()
    cache.close()
    cache.close()
    assert cache.periods() == []
