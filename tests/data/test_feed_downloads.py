"""Downloads: fetched once, by threads and processes; and nothing twice after an interruption."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from tests.demo_candles import truth

from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.demo_exchange.reply import Reply
from backtest_py.data.market.blocks import periods
from backtest_py.data.market.candles import Series
from backtest_py.data.market.spans import Span
from backtest_py.data.settings import FeedSettings, open_feed
from backtest_py.data.tiers import Tiers
from backtest_py.errors import BacktestWarning

NOW = 1_740_000_000_123
DAY = 86_400_000
MIDNIGHT = NOW // DAY * DAY
SYMBOLS = tuple(f"N{n}USDT" for n in range(10))
YEAR = (MIDNIGHT - 400 * DAY, MIDNIGHT - 35 * DAY)
COMMAND = "import sys; from backtest_py.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def open_exchange():
    opened = []

    def start(**settings):
        markets = tuple(DemoMarket(name, MIDNIGHT - 500 * DAY, NOW) for name in SYMBOLS)
        for market in markets[:3]:
            market.prepare()
        opened.append(DemoExchange(markets, lambda: NOW, **settings))
        return opened[-1].start()

    yield start
    for exchange in opened:
        exchange.stop()


def settings_of(exchange, folder):
    return FeedSettings(
        data_dir=str(folder), exchange_url=exchange.url, bulk_url=exchange.url, weight_limit=2_400
    )


def environment(exchange, folder):
    return {
        **os.environ,
        "BACKTEST_PY_DATA_DIR": str(folder),
        "BACKTEST_PY_EXCHANGE_URL": exchange.url,
        "BACKTEST_PY_BULK_URL": exchange.url,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "xterm",
    }


def script(exchange, folder, text, *arguments):
    """Run a program in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)],
        capture_output=True, text=True, timeout=100, check=False,
        env=environment(exchange, folder),
    )  # fmt: skip


def fetching(exchange, folder, *symbols, interval="1m", span, terminal=None, options=("--json",)):
    """Start the command that fetches in a process of its own."""
    start, end = (str(np.datetime64(each, "ms")) for each in span)
    arguments = ("--interval", interval, "--start", start, "--end", end, *options)
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "data", "fetch", *symbols, *arguments],
        stdout=subprocess.PIPE,
        stderr=terminal or subprocess.PIPE,
        env=environment(exchange, folder),
    )


def asked(exchange):
    """Return how often each page and file was asked for, but for the one candle of a listing."""
    return Counter(
        (path, query.get("symbol"), query.get("startTime"), query.get("interval"))
        for _, path, query, _ in list(exchange.requests)
        if "klines" in path and query.get("limit") != "1"
    )


def pages(exchange):
    """Return how many pages were asked for."""
    return sum(n for (path, *_), n in asked(exchange).items() if path.startswith("/fapi"))


def right(exchange, bars, interval, span):
    candles = truth(exchange.markets[bars.report.symbol], interval, *span)
    return np.array_equal(bars.time, candles.open_time * 1_000_000) and all(
        np.array_equal(getattr(bars, name), getattr(candles, name))
        for name in ("open", "high", "low", "close", "volume")
    )


# interrupted


def without_archive(path, _query, reply):
    return Reply(404, b"", {}) if path.startswith("/data/") else reply


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_after_an_interruption_only_the_rest_is_fetched(open_exchange, tmp_path, how):
    exchange = open_exchange(latency=0.25)
    exchange.faults.append(without_archive)
    in_all = 3 * sum(
        -(-Series.of(SYMBOLS[0], "15m").interval.count(*part) // 499)
        for period in periods(Series.of(SYMBOLS[0], "15m"), Span(*YEAR))
        for part in [(max(period.start, YEAR[0]), min(period.end, YEAR[1]))]
    )
    process = fetching(exchange, tmp_path, *SYMBOLS[:3], interval="15m", span=YEAR)
    while pages(exchange) < in_all * 3 // 4:
        time.sleep(0.01)
    process.send_signal(how)
    out, err = process.communicate(timeout=20)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), err
    assert out == b""
    time.sleep(0.3)  # what was under way arrives
    exchange.latency = 0.0
    with open_feed(settings=settings_of(exchange, tmp_path)) as feed:
        for bars in feed.bars_many(SYMBOLS[:3], "15m", *YEAR).values():
            assert right(exchange, bars, "15m", YEAR)
    # 16 pages were under way and 32 waited to be looked at; a month has one page more where it was
    # begun; and what came while the last blocks were written is lost with a process that is killed
    lost = 16 + 32 + 6 + (0 if how == signal.SIGINT else 48)
    assert pages(exchange) <= in_all + lost < in_all * 7 // 4


@pytest.mark.parametrize("n_files", [1, 6, 12])
def test_control_c_while_files_are_read(open_exchange, tmp_path, n_files):
    """Arrow's code aborts an interpreter that ends while it runs in a thread."""
    exchange = open_exchange(latency=0.05)
    process = fetching(exchange, tmp_path, *SYMBOLS[:3], span=YEAR)
    while sum(path.endswith(".zip") for path, *_ in asked(exchange).elements()) < n_files:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"interrupted\n")


WRITER = """
import sys
from backtest_py.data.settings import open_feed
day, start = 86_400_000, int(sys.argv[1])
print("begun", flush=True)
for n in range(10_000):
    with open_feed() as feed:
        feed.bars(sys.argv[2], "15m", start + n % 90 * day, start + (n % 90 + 3) * day)
"""


def test_a_writer_that_is_killed_leaves_whole_tiers(open_exchange, tmp_path):
    exchange = open_exchange()
    settings = settings_of(exchange, tmp_path)
    start = MIDNIGHT - 200 * DAY
    for wait in (0.5, 0.9):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(start), SYMBOLS[0]],
            stdout=subprocess.PIPE,
            env=environment(exchange, tmp_path),
        )
        assert process.stdout.readline() == b"begun\n"
        time.sleep(wait)
        process.kill()
        process.communicate()
        with open_feed(settings=settings) as feed:
            for tier in (feed.database, feed.archive):
                for series, period in tier.periods():
                    block = tier.get(series, period)
                    for known in block.known:
                        assert block.candles.within(known) == truth(
                            exchange.markets[series.symbol], "15m", *known
                        )
            span = (start, start + 95 * DAY)
            assert right(exchange, feed.bars(SYMBOLS[0], "15m", *span), "15m", span)


# fetched once


def test_processes_fetch_one_range_once(open_exchange, tmp_path):
    exchange = open_exchange(latency=0.05)
    span = (MIDNIGHT - 70 * DAY, MIDNIGHT - 5 * DAY)
    orders = (SYMBOLS[:3], SYMBOLS[2::-1], (SYMBOLS[1], SYMBOLS[2], SYMBOLS[0]))
    started = [fetching(exchange, tmp_path, *order, interval="15m", span=span) for order in orders]
    hashes = set()
    for process, order in zip(started, orders, strict=True):
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        rows = json.loads(out)
        assert [row["symbol"] for row in rows] == list(order)
        hashes.add(tuple(sorted((row["symbol"], row["hash"]) for row in rows)))
    assert len(hashes) == 1
    assert max(asked(exchange).values()) == 1


def test_threads_whose_sets_overlap_end_and_fetch_once(open_exchange, tmp_path):
    """In every order of symbols and of times."""
    exchange = open_exchange(latency=0.02)
    exchange.faults.append(without_archive)  # a month's file may be wanted by two
    spans = [(MIDNIGHT - n * DAY, MIDNIGHT - (n - 40) * DAY) for n in (120, 100, 80)]
    random = np.random.default_rng(3)
    orders = [
        (random.permutation(SYMBOLS[:4]).tolist(), spans[int(random.integers(3))]) for _ in range(9)
    ]
    with open_feed(settings=settings_of(exchange, tmp_path)) as feed:
        wrong = []

        def work(symbols, span):
            many = feed.bars_many(symbols, "15m", *span)
            wrong.extend(b for b in many.values() if not right(exchange, b, "15m", span))

        threads = [threading.Thread(target=work, args=each, daemon=True) for each in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    # two that want other parts of a month may both look for its file, which is not there
    asked_pages = [n for (path, *_), n in asked(exchange).items() if path.startswith("/fapi")]
    assert max(asked_pages) == 1


def test_two_writers_of_one_key_lose_nothing_of_each_other(open_exchange, tmp_path):
    exchange = open_exchange(latency=0.02)
    spans = [(MIDNIGHT - n * DAY, MIDNIGHT - (n - 8) * DAY) for n in (19, 12)]  # of one month
    started = [
        fetching(exchange, tmp_path, SYMBOLS[0], interval="15m", span=span) for span in spans
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    for process in started:
        process.communicate()
    seen = len(exchange.requests)
    with open_feed(settings=settings_of(exchange, tmp_path)) as feed:
        whole = (spans[0][0], spans[1][1])
        assert right(exchange, feed.bars(SYMBOLS[0], "15m", *whole), "15m", whole)
    assert len(exchange.requests) == seen


def test_the_lock_of_the_dead_is_free(open_exchange, tmp_path):
    exchange = open_exchange(latency=0.4)
    span = (MIDNIGHT - 30 * DAY, MIDNIGHT - 5 * DAY)
    process = fetching(exchange, tmp_path, SYMBOLS[0], interval="15m", span=span)
    while not any("klines" in path for _, path, _, _ in list(exchange.requests)):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    exchange.latency = 0.0
    began = time.monotonic()
    with open_feed(settings=settings_of(exchange, tmp_path)) as feed:
        assert right(exchange, feed.bars(SYMBOLS[0], "15m", *span), "15m", span)
    assert time.monotonic() - began < 5


MANY = """
import resource, sys
from pathlib import Path
from backtest_py.data import feed as module
from backtest_py.data.settings import open_feed
module.LOCKED = 8
start, end = map(int, sys.argv[1:3])
with open_feed() as feed:
    feed.bars(sys.argv[3], "30m", end - 86_400_000, end)  # all that is imported
    opened = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 110, opened + 110))
    many = feed.bars_many(sys.argv[3:], "30m", start, end)
    print(*sorted(len(bars) for bars in many.values()))
"""


def test_hundreds_of_blocks_do_not_use_up_open_files(open_exchange, tmp_path):
    exchange = open_exchange()
    span = (MIDNIGHT - 490 * DAY, MIDNIGHT - 2 * DAY)
    n_blocks = sum(1 for _ in periods(Series.of(SYMBOLS[0], "30m"), Span(*span)))
    assert n_blocks * len(SYMBOLS) > 160
    done = script(exchange, tmp_path, MANY, *span, *SYMBOLS)
    assert (done.stderr, done.stdout.split()) == ("", [str(488 * 48)] * len(SYMBOLS))


# what fails while it is kept


FULL = """
import resource, sys, warnings
from backtest_py.data.settings import open_feed
from backtest_py.errors import BacktestError
warnings.simplefilter("ignore")
start, end = map(int, sys.argv[2:4])
with open_feed() as feed:
    few = (sys.argv[1], "1h", start, start + 5 * 86_400_000)
    first = feed.bars(*few).content_hash
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    for n_bytes in (0, 5_000, 60_000, 200_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))
        try:
            print(feed.bars(sys.argv[1], "15m", start, end).content_hash)
        except BacktestError as error:
            print("refused:", type(error).__name__)
        feed.memory.drop_where(lambda _: True)
        assert feed.bars(*few).content_hash == first
        feed.memory.drop_where(lambda _: True)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    print(feed.bars(sys.argv[1], "15m", start, end).content_hash)
"""


def test_a_disk_that_is_full(open_exchange, tmp_path):
    exchange = open_exchange()
    span = (MIDNIGHT - 150 * DAY, MIDNIGHT - 20 * DAY)
    done = script(exchange, tmp_path, FULL, SYMBOLS[0], *span)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    hashes = {line for line in lines if not line.startswith("refused:")}
    assert len(lines) == 5
    assert len(hashes) == 1
    assert {line for line in lines if line.startswith("refused:")} <= {
        *("refused: ExchangeError", "refused: CacheError")
    }
    with open_feed(settings=settings_of(exchange, tmp_path)) as feed:
        bars = feed.bars(SYMBOLS[0], "15m", *span)
        assert right(exchange, bars, "15m", span)
        assert hashes == {bars.content_hash}
    assert not list(tmp_path.rglob("*.tmp"))


def test_where_no_lock_can_be_kept_bars_come_with_a_warning(open_exchange, tmp_path):
    exchange = open_exchange()
    (tmp_path / "locks").write_text("in the way")
    span = (MIDNIGHT - 30 * DAY, MIDNIGHT - 5 * DAY)
    with open_feed(settings=settings_of(exchange, tmp_path)) as feed:
        with pytest.warns(BacktestWarning, match="cannot hold locks"):
            bars = feed.bars(SYMBOLS[0], "1h", *span)
        assert right(exchange, bars, "1h", span)


def test_what_arrives_is_kept_while_the_rest_is_under_way(open_exchange, tmp_path, monkeypatch):
    exchange = open_exchange()
    monkeypatch.setattr("backtest_py.data.feed.KEEP_SECONDS", 0.0)
    kept = []
    monkeypatch.setattr(Tiers, "_told", lambda *arguments: kept.append(arguments))
    with open_feed(settings=settings_of(exchange, tmp_path)) as feed:
        told = []
        feed.bars_many(SYMBOLS[:2], "15m", *YEAR, progress=told.append)
        assert len(kept) > len(told)
        assert [each.n_answers for each in told] == list(range(1, len(told) + 1))
        assert told[-1].n_candles == told[-1].n_wanted == 2 * 365 * 96


# what a terminal shows


@pytest.mark.parametrize("options", [(), ("--json",), ("--quiet",)])
def test_a_bar_is_shown_on_a_terminal_alone(open_exchange, tmp_path, options):
    exchange = open_exchange(latency=0.1)
    span = (MIDNIGHT - 60 * DAY, MIDNIGHT - 5 * DAY)
    ours, theirs = pty.openpty()
    process = fetching(
        exchange, tmp_path, *SYMBOLS[:3], interval="15m", span=span, terminal=theirs,
        options=options,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:  # the terminal was closed
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.count(b"N1USDT") == 1
    if options:
        assert shown == b""
    else:
        assert b"Fetching" in shown
        assert b"candles" in shown
        assert b"pages and files" in shown
