"""Every fault through the feed, with all tiers: right bars or a typed error, and whole tiers after.

What single parts do about a fault stands beside them, in ``providers`` and ``cache``.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
import warnings
from http.server import SimpleHTTPRequestHandler

import numpy as np
import pytest
from tests.demo_candles import truth
from tests.services import free_port, silent_server, web_server

from backtest_py.data.cache import connections, database
from backtest_py.data.demo_exchange import FAULTS, DemoExchange, DemoMarket
from backtest_py.data.feed import Feed
from backtest_py.data.providers import transport
from backtest_py.data.settings import FeedSettings, open_feed
from backtest_py.errors import BacktestError, BacktestWarning, ConfigError, ExchangeError

NOW = 1_740_000_000_123
DAY = 86_400_000
MIDNIGHT = NOW // DAY * DAY
HOLE = (MIDNIGHT - 40 * DAY, MIDNIGHT - 40 * DAY + 3 * 3_600_000)
SYMBOLS = ("BTCUSDT", "1000PEPEUSDT", "WIN$N")
DEEP = (MIDNIGHT - 60 * DAY, MIDNIGHT - 20 * DAY)

pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.errors.BacktestWarning")


@pytest.fixture(scope="module")
def shared_exchange():
    markets = tuple(DemoMarket(name, MIDNIGHT - 120 * DAY, NOW, holes=(HOLE,)) for name in SYMBOLS)
    with DemoExchange(markets, lambda: NOW) as running:
        yield running


@pytest.fixture
def exchange(shared_exchange, monkeypatch):
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(transport, "LONGEST_WAIT", 0.02)
    monkeypatch.setattr(transport, "LIMITED_SECONDS", 0.05)
    monkeypatch.setattr(transport._Busy, "attempts", 2)
    yield shared_exchange
    shared_exchange.clear_faults()


@pytest.fixture
def settings(exchange, tmp_path):
    return settings_of(exchange, tmp_path)


@pytest.fixture
def servers(exchange, tmp_path, postgres, bucket, s3_endpoint):
    """Settings of tiers in PostgreSQL and on S3."""
    return settings_of(
        exchange,
        tmp_path,
        database_url=postgres.new_database(),
        archive_url=f"s3://{bucket[1]}/bars",
        s3_endpoint=s3_endpoint,
    )


@pytest.fixture(params=["settings", "servers"])
def either(request):
    """Settings of both kinds of tiers."""
    return request.getfixturevalue(request.param)


def settings_of(exchange, folder, **more):
    return FeedSettings(
        data_dir=str(folder), exchange_url=exchange.url, bulk_url=exchange.url,
        weight_limit=2_400, **more,
    )  # fmt: skip


def right(exchange, bars, interval, span):
    """Return whether bars are the candles that the market really had."""
    candles = truth(exchange.markets[bars.report.symbol], interval, *span)
    return np.array_equal(bars.time, candles.open_time * 1_000_000) and all(
        np.array_equal(getattr(bars, name), getattr(candles, name))
        for name in ("open", "high", "low", "close", "volume")
    )


def check_whole(exchange, settings):
    """Check every block of every tier against the market; return how many candles there are."""
    counts = []
    with open_feed(settings=settings) as feed:
        for tier in (feed.database, feed.archive):
            counts.append(0)
            for series, period in tier.periods():
                block = tier.get(series, period)
                for span in block.known:
                    real = truth(exchange.markets[series.symbol], series.interval.name, *span)
                    assert block.candles.within(span) == real
                counts[-1] += len(block.candles)
    return counts


# the exchange


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("name", [name for name in FAULTS if name != "rewritten"])
def test_every_fault_of_the_exchange(exchange, settings, name, lasting):
    of_archive = FAULTS[name].stage in {"archive", "zip", "table"}
    interval = "1m" if of_archive else "15m"
    span = (MIDNIGHT - 6 * DAY, MIDNIGHT - 4 * DAY)
    with open_feed(settings=settings) as feed:
        before = feed.bars("BTCUSDT", "4h", *DEEP)
        exchange.fault(name, times=None if lasting else 1)
        got, error = None, None
        try:
            got = feed.bars("BTCUSDT", interval, *span)
        except BacktestError as refused:
            error = refused
        assert right(exchange, got, interval, span) if got else len(str(error)) < 600
        # the exchange itself has what its archive has not
        assert got or not (of_archive or name == "slow")
        exchange.clear_faults()
        assert feed.bars("BTCUSDT", "4h", *DEEP) is before
    check_whole(exchange, settings)
    with open_feed(settings=settings) as feed:
        if "418" not in name or name == "status-418":
            assert right(exchange, feed.bars("BTCUSDT", interval, *span), interval, span)
        else:
            with contextlib.suppress(ExchangeError):  # whoever was banned asks for nothing
                assert right(exchange, feed.bars("BTCUSDT", interval, *span), interval, span)
        assert right(exchange, feed.bars("BTCUSDT", "4h", *DEEP), "4h", DEEP)


def test_an_exchange_that_is_gone_is_not_missed_for_what_is_kept(settings, exchange):
    with open_feed(settings=settings) as feed:
        feed.bars("BTCUSDT", "4h", *DEEP)
    gone = FeedSettings(
        data_dir=settings.data_dir, exchange_url=f"http://127.0.0.1:{free_port()}", bulk_url=""
    )
    with open_feed(settings=gone) as feed:
        assert right(exchange, feed.bars("BTCUSDT", "4h", *DEEP), "4h", DEEP)
        with pytest.raises(ExchangeError, match="ConnectError"):
            feed.bars("BTCUSDT", "4h", DEEP[0] - DAY, DEEP[1])
        assert right(exchange, feed.bars("BTCUSDT", "4h", *DEEP), "4h", DEEP)


# the database


def _sqlite(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


OF_SQLITE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zero bytes": lambda path: path.write_bytes(b""),
    "not a database": lambda path: path.write_bytes(b"no database at all\n" * 5_000),
    "header lost": lambda path: path.write_bytes(bytes(100) + path.read_bytes()[100:]),
    "older schema": lambda path: _sqlite(
        path,
        "update backtest_py_cache set value = 0 where name = 'layout'",
        "alter table backtest_py_blocks drop column n_rows",
    ),
    "newer schema": lambda path: _sqlite(
        path, "update backtest_py_cache set value = 99 where name = 'layout'"
    ),
    "other bytes": lambda path: _sqlite(
        path, "update backtest_py_blocks set payload = zeroblob(length(payload))"
    ),
    "other codec": lambda path: _sqlite(path, "update backtest_py_blocks set codec = 'pickle'"),
    "no table": lambda path: _sqlite(path, "drop table backtest_py_blocks"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", OF_SQLITE)
@pytest.mark.parametrize("archived", [True, False], ids=["with archive", "alone"])
def test_every_damage_of_sqlite(exchange, settings, tmp_path, damage, archived):
    with open_feed(settings=settings) as feed:
        feed.bars("BTCUSDT", "1h", *DEEP)
    OF_SQLITE[damage](tmp_path / "market.sqlite")
    if not archived:
        shutil.rmtree(tmp_path / "archive")
    asked = len(exchange.requests)
    for _ in range(2):
        with open_feed(settings=settings) as feed:
            assert right(exchange, feed.bars("BTCUSDT", "1h", *DEEP), "1h", DEEP)
    assert (len(exchange.requests) == asked) == archived
    if damage not in {"a folder", "newer schema"}:
        assert check_whole(exchange, settings) == [40 * 24 - 3] * 2
        with open_feed(settings=settings) as feed:
            feed.tiers.archive = None
            assert right(exchange, feed.bars("BTCUSDT", "1h", *DEEP), "1h", DEEP)


def test_a_database_that_is_locked(exchange, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with open_feed(settings=settings) as feed:
        feed.bars("BTCUSDT", "1h", *DEEP)
    with contextlib.closing(sqlite3.connect(tmp_path / "market.sqlite")) as holder:
        holder.execute("pragma locking_mode = exclusive")
        holder.execute("begin exclusive")
        began = time.monotonic()
        with open_feed(settings=settings) as feed:
            with pytest.warns(BacktestWarning, match="locked"):
                assert right(exchange, feed.bars("BTCUSDT", "1h", *DEEP), "1h", DEEP)
            later = (DEEP[0], DEEP[1] + DAY)
            assert right(exchange, feed.bars("BTCUSDT", "1h", *later), "1h", later)
        assert time.monotonic() - began < 10
        holder.rollback()
    with open_feed(settings=settings) as feed:
        assert right(exchange, feed.bars("BTCUSDT", "1h", *later), "1h", later)
    assert check_whole(exchange, settings)[1] == 41 * 24 - 3


# the archive


def _change(feed, settings, name, request, change):
    """Change the one file of the archive, wherever it lies."""
    if settings.archive_url:
        client, bucket = request.getfixturevalue("bucket")
        key = f"bars/{name}"
        content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        client.put_object(Bucket=bucket, Key=key, Body=change(content))
        return
    path = feed.archive._files._root / name
    path.write_bytes(change(path.read_bytes()))


def _foreign(_):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"open_time": [1, 2], "close": [1.0, 2.0]}), sink)
    return sink.getvalue()


def _flipped(content):
    at = len(content) // 3
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


OF_PARQUET = {
    "footer cut": lambda content: content[:-200],
    "half": lambda content: content[: len(content) // 2],
    "zero bytes": lambda _: b"",
    "foreign table": _foreign,
    "foreign text": lambda _: b"<html>Not here</html>" * 50,
    "one byte": _flipped,
}


@pytest.mark.parametrize("damage", OF_PARQUET)
def test_every_damage_of_the_archive(exchange, either, request, damage):
    with open_feed(settings=either) as feed:
        feed.bars("1000PEPEUSDT", "1h", *DEEP)
        name = "symbol=1000PEPEUSDT/interval=1h/2024.parquet"
        _change(feed, either, name, request, OF_PARQUET[damage])
        for series, period in feed.database.periods():
            feed.database.drop(series, period)
    asked = len(exchange.requests)
    with open_feed(settings=either) as feed:
        with pytest.warns(BacktestWarning, match="next tier"):
            assert right(exchange, feed.bars("1000PEPEUSDT", "1h", *DEEP), "1h", DEEP)
        assert len(exchange.requests) > asked
    asked = len(exchange.requests)
    with open_feed(settings=either) as feed, warnings.catch_warnings():
        warnings.simplefilter("error")  # it has been put right
        feed.tiers.database = None
        assert right(exchange, feed.bars("1000PEPEUSDT", "1h", *DEEP), "1h", DEEP)
    assert len(exchange.requests) == asked
    with open_feed(settings=either) as feed:
        feed.bars("1000PEPEUSDT", "1h", *DEEP)
    assert check_whole(exchange, either) == [40 * 24 - 3] * 2


# servers that stop, and come back


def test_postgresql_is_stopped_in_mid_run_and_comes_back(exchange, servers, postgres):
    spans = [(MIDNIGHT - n * DAY, MIDNIGHT - (n - 20) * DAY) for n in (100, 80, 60)]
    with open_feed(settings=servers) as feed:
        assert right(exchange, feed.bars("BTCUSDT", "1h", *spans[0]), "1h", spans[0])
        postgres.stop()
        try:
            began = time.monotonic()
            with pytest.warns(BacktestWarning, match="Database"):
                assert right(exchange, feed.bars("BTCUSDT", "1h", *spans[1]), "1h", spans[1])
            assert time.monotonic() - began < 8
        finally:
            postgres.start()
        assert right(exchange, feed.bars("BTCUSDT", "1h", *spans[2]), "1h", spans[2])
    whole = (spans[0][0], spans[2][1])
    with open_feed(settings=servers) as feed:
        asked = len(exchange.requests)
        assert right(exchange, feed.bars("BTCUSDT", "1h", *whole), "1h", whole)
        assert len(exchange.requests) == asked
    assert check_whole(exchange, servers) == [60 * 24] * 2


@contextlib.contextmanager
def gate(port):
    """Give a port before a server, and a switch: off, it takes connections and stays silent."""
    opened, up = [], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept():
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            opened.append(client)
            if up.is_set():
                server = socket.create_connection(("127.0.0.1", port))
                opened.append(server)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1], up
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
    for each in opened:
        each.close()


def test_a_production_feed_opens_while_its_servers_are_down(
    exchange, tmp_path, monkeypatch, bucket, s3_endpoint, postgres
):
    """Both servers take connections and say nothing: the worst there is."""
    url = postgres.new_database()
    with (
        gate(postgres.port) as (base_port, base_up),
        gate(int(s3_endpoint.rpartition(":")[2])) as (
            s3_port,
            s3_up,
        ),
    ):
        for name, value in {
            "PROFILE": "production",
            "DATA_DIR": str(tmp_path),
            "DATABASE_URL": url.replace(str(postgres.port), str(base_port)),
            "ARCHIVE_URL": f"s3://{bucket[1]}/bars",
            "S3_ENDPOINT": f"http://127.0.0.1:{s3_port}",
            "EXCHANGE_URL": exchange.url,
            "BULK_URL": exchange.url,
        }.items():
            monkeypatch.setenv(f"BACKTEST_PY_{name}", value)
        began = time.monotonic()
        with open_feed() as feed:
            assert time.monotonic() - began < 1
            assert right(exchange, feed.bars("WIN$N", "1h", *DEEP), "1h", DEEP)
            assert time.monotonic() - began < 20
            later = (DEEP[0], DEEP[1] + DAY)
            began = time.monotonic()
            assert right(exchange, feed.bars("WIN$N", "1h", *later), "1h", later)
            assert time.monotonic() - began < 2  # neither is asked again and again
            base_up.set()
            s3_up.set()
            for tier in (feed.database, feed.archive):
                tier._rest._until = 0.0  # half a minute later
            later = (DEEP[0], DEEP[1] + 2 * DAY)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert right(exchange, feed.bars("WIN$N", "1h", *later), "1h", later)
            assert [len(tier.periods()) for tier in (feed.database, feed.archive)] == [2, 2]


def test_an_s3_server_that_never_answers(exchange, tmp_path, s3_endpoint):
    assert s3_endpoint  # its keys
    with silent_server() as endpoint:
        settings = settings_of(exchange, tmp_path, archive_url="s3://b/bars", s3_endpoint=endpoint)
        began = time.monotonic()
        with open_feed(settings=settings) as feed, pytest.warns(BacktestWarning, match="s3://b"):
            assert right(exchange, feed.bars("BTCUSDT", "1h", *DEEP), "1h", DEEP)
        assert time.monotonic() - began < 15
    with open_feed(settings=settings) as feed:
        assert right(exchange, feed.bars("BTCUSDT", "1h", *DEEP), "1h", DEEP)


# an archive that is read over https


class Web(SimpleHTTPRequestHandler):
    """Gives files, or misbehaves by the first folder of the path."""

    def do_GET(self):
        _, kind, rest = self.path.split("/", 2)
        self.path = f"/{rest}"
        if kind == "right":
            super().do_GET()
            return
        self.send_response(404 if kind == "missing" else 302 if kind == "moved" else 200)
        if kind == "moved":
            self.send_header("Location", f"/right/{rest}")
        if kind == "cut":
            self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"<html>Something else</html>")

    def log_message(self, *_):
        """Write nothing."""


@pytest.mark.parametrize("kind", ["right", "missing", "moved", "html", "cut"])
def test_an_archive_behind_an_address(exchange, tmp_path, kind):
    filled = settings_of(exchange, tmp_path / "filled")
    with open_feed(settings=filled) as feed:
        feed.bars("WIN$N", "1h", *DEEP)
    folder = tmp_path / "filled" / "archive"
    kept = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    with web_server(folder, Web) as address:
        settings = settings_of(exchange, tmp_path / "other", archive_url=f"{address}/{kind}")
        asked = len(exchange.requests)
        with open_feed(settings=settings) as feed, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert right(exchange, feed.bars("WIN$N", "1h", *DEEP), "1h", DEEP)
        assert (len(exchange.requests) == asked) == (kind == "right")
        assert bool(told) == (kind not in {"right", "missing"})
        with open_feed(settings=settings) as feed:
            feed.tiers.archive = None
            assert right(exchange, feed.bars("WIN$N", "1h", *DEEP), "1h", DEEP)
    assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == kept


def test_an_archive_over_tls(exchange, tmp_path, monkeypatch):
    """A certificate that nobody vouches for is refused; one that the system trusts is not."""
    filled = settings_of(exchange, tmp_path / "filled")
    with open_feed(settings=filled) as feed:
        feed.bars("BTCUSDT", "1h", *DEEP)
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names,
         "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    folder = tmp_path / "filled" / "archive"
    with web_server(folder, Web, context) as address:
        url = f"{address}/right".replace("http:", "https:")
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
            settings = settings_of(exchange, tmp_path / str(trusted), archive_url=url)
            asked = len(exchange.requests)
            with open_feed(settings=settings) as feed, warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                assert right(exchange, feed.bars("BTCUSDT", "1h", *DEEP), "1h", DEEP)
            assert (len(exchange.requests) == asked) == trusted
            assert any("certificate" in str(each.message).lower() for each in told) != trusted


# names and times

NAMES = {
    "a path": "../../x",
    "a statement": "'; DROP TABLE backtest_py_blocks; --",
    "NUL": "BTC\0USDT",
    "10 kB": "A" * 10_000,
    "a device": "CON",
    "nothing": "",
    "space": " ",
    "other letters": "\u0412T\u0421USDT",
    "wide": "\uff22\uff34\uff23",
    "a line": "BTCUSDT\n",
    "percent": "BTC%2e%2e",
    "separator": "BTC/USDT",
    "option": "-",
    "dots": "..",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_refused_everywhere(exchange, settings, cli, monkeypatch, name, tmp_path):
    monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BACKTEST_PY_EXCHANGE_URL", exchange.url)
    monkeypatch.setenv("BACKTEST_PY_BULK_URL", exchange.url)
    asked, symbol = len(exchange.requests), NAMES[name]
    if name != "option":
        with open_feed(settings=settings) as feed:
            for ask in (
                lambda: feed.bars(symbol, "1h", *DEEP),
                lambda: feed.bars_many(["BTCUSDT", symbol], "1h", *DEEP),
                lambda: list(feed.chunks(symbol, "1h", *DEEP)),
            ):
                with pytest.raises(ConfigError, match="symbol = ") as refused:
                    ask()
                assert len(str(refused.value)) < 250
    span = ("--interval", "1h", "--start", "2025-01-01", "--end", "2025-01-02")
    if "\0" not in symbol and name != "option":
        done = cli("data", "fetch", *span, "--", symbol)
        assert (done.status, done.out) == (2, "")
        assert "symbol = " in done.err
    assert len(exchange.requests) == asked
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_names_that_are_odd_and_right(exchange, either, symbol):
    with open_feed(settings=either) as feed:
        assert right(exchange, feed.bars(symbol, "1h", *DEEP), "1h", DEEP)
        for tier in (feed.database, feed.archive):
            assert {series.symbol for series, _ in tier.periods()} == {symbol}


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("NaT", "2025-01-01"), ("yesterday", "2025-01-01"), (0, DEEP[1]), (-(2**63), DEEP[1]),
        (DEEP[0], DEEP[1] * 1_000_000), ("0001-01-01", "2025-01-01"), (True, DEEP[1]),
        (1.5e12, DEEP[1]), (None, DEEP[1]), ("2025-01-02", "2025-01-01"), ("2025-13-01", DEEP[1]),
        ("x" * 10_000, DEEP[1]), ("2025-01-01", "99999999999-01-01"),
    ],
)  # fmt: skip
def test_times_that_are_refused(exchange, settings, start, end):
    asked = len(exchange.requests)
    with open_feed(settings=settings) as feed, pytest.raises(ConfigError) as refused:
        feed.bars("BTCUSDT", "1h", start, end)
    assert len(str(refused.value)) < 250
    assert len(exchange.requests) == asked


def test_times_in_all_their_forms(exchange, settings):
    from datetime import UTC, date, datetime, timedelta, timezone

    zone = timezone(timedelta(hours=-3))
    with open_feed(settings=settings) as feed:
        found = feed.bars("BTCUSDT", "1h", "2025-01-02", "2025-01-04")
        for start, end in (
            (date(2025, 1, 2), np.datetime64("2025-01-04", "h")),
            (datetime(2025, 1, 2, tzinfo=UTC), datetime(2025, 1, 3, 21, tzinfo=zone)),
            ("2025-01-02T00:00:00Z", "2025-01-03 21:00:00-03:00"),
            (np.datetime64("2025-01-02"), np.datetime64("2025-01-04", "ns")),
        ):
            assert feed.bars("BTCUSDT", "1h", start, end) is found
        with pytest.raises(ConfigError, match="one text"):
            feed.bars_many("BTCUSDT", "1h", "2025-01-02", "2025-01-04")
    assert isinstance(feed, Feed)
