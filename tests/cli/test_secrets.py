"""A planted password appears in no output: not printed, not logged, not in any file."""

from __future__ import annotations

import logging
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote

import pytest
from tests.services import PostgreSQL, free_port, web_server

from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.providers.transport import NotThere, Transport

SECRET = "pl4nted-S3cret/%+x"
"""What no output may hold; quoted in addresses."""
PARTS = ("pl4nted", "S3cret")
DAY = 86_400_000
NOW = 1_740_000_000_123
TOML = """
[data]
source = "binance"
{symbols}
interval = "4h"
start = "2025-01-01"
end = "2025-02-01"
[contract]
tick_size = 0.01
[metrics]
periods_per_year = 365
[sweep.grid]
"rules.stop" = [1.0, 2.0]
"""


@pytest.fixture(scope="module")
def exchange():
    markets = tuple(DemoMarket(name, NOW - 120 * DAY, NOW) for name in ("BTCUSDT", "ETHUSDT"))
    with DemoExchange(markets, lambda: NOW) as running:
        yield running


@pytest.fixture(scope="module")
def server():
    started = PostgreSQL()
    yield started
    started.remove()


class Planted:
    """Commands in an environment full of secrets, and all that they leave."""

    def __init__(self, cli, folder, monkeypatch):
        self.cli, self.folder, self._patch = cli, folder, monkeypatch
        self.outputs = []
        for name, symbols in {
            "one.toml": 'symbol = "BTCUSDT"',
            "two.toml": 'symbols = ["BTCUSDT", "ETHUSDT"]',
        }.items():
            (folder / name).write_text(TOML.format(symbols=symbols), encoding="utf-8")

    def set(self, **variables):
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def run(self, *arguments):
        outcome = self.cli("--debug", *arguments)
        self.outputs.append(f"{arguments}: {outcome.out}{outcome.err}")
        return outcome

    def run_all(self):
        """Run every command that asks for market data, and return the exit statuses."""
        one, two = self.folder / "one.toml", self.folder / "two.toml"
        span = ("--interval", "4h", "--start", "2025-01-01", "--end", "2025-02-01")
        commands = (
            ("data", "fetch", "BTCUSDT", *span),
            ("data", "fetch", "BTCUSDT", "ETHUSDT", *span, "--json"),
            ("data", "status"),
            ("data", "status", "--json"),
            ("data", "verify"),
            ("data", "verify", "--against", "exchange", "--json"),
            ("data", "export", "BTCUSDT", *span[:2], "--out", self.folder / "x.parquet"),
            ("data", "sweep"),
            ("run", one, "--out", self.folder / "run"),
            ("run", one, "--json"),
            ("run", two, "--out", self.folder / "two"),
            ("run", two, "--json"),
            ("sweep", one, "--out", self.folder / "sweep", "--resume"),
            ("sweep", one, "--out", self.folder / "sweep", "--resume", "--json"),
            ("replay", self.folder / "sweep", 1, "--json"),
            ("parity", one),
            ("inspect", one, "--json"),
        )
        return [self.run(*command).status for command in commands]

    def leaks(self):
        """Return the outputs and files that hold a part of a secret."""
        found = [text[-800:] for text in self.outputs if any(part in text for part in PARTS)]
        files = (file for file in self.folder.rglob("*") if file.is_file())
        found += [
            str(file) for file in files if any(part.encode() in file.read_bytes() for part in PARTS)
        ]
        return found


@pytest.fixture
def planted(cli, tmp_path, monkeypatch, exchange):
    """Return commands whose environment holds secrets, and which log all there is to log."""
    handler = logging.FileHandler(tmp_path / "everything.log")
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    run = Planted(cli, tmp_path, monkeypatch)
    run.set(
        BACKTEST_PY_DATA_DIR=str(tmp_path / "data"),
        XDG_DATA_HOME=str(tmp_path / "user"),
        BACKTEST_PY_EXCHANGE_URL=with_user(exchange.url),
        BACKTEST_PY_BULK_URL=with_user(exchange.url),
        AWS_SECRET_ACCESS_KEY=SECRET,
        AWS_ACCESS_KEY_ID="planted",
        AWS_EC2_METADATA_DISABLED="true",
        NO_PROXY="127.0.0.1",
        HTTPS_PROXY=with_user("http://127.0.0.1:9"),
    )
    yield run
    root.removeHandler(handler)
    root.setLevel(before)
    handler.close()


def with_user(address):
    return address.replace("://", f"://user:{quote(SECRET, safe='')}@")


pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")


def test_where_all_goes_well(planted, exchange):
    seen = len(exchange.requests)
    assert set(planted.run_all()) == {0}
    assert len(exchange.requests) > seen
    assert planted.leaks() == []
    assert (planted.folder / "everything.log").stat().st_size > 1_000


def test_the_password_reaches_the_exchange_as_a_header():
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def __init__(self, *arguments, directory):
            del directory
            super().__init__(*arguments)

        def do_GET(self):
            seen.append((self.path, self.headers["Authorization"]))
            self.send_error(404)

        def log_message(self, *_):
            """Write nothing."""

    with web_server("", Handler) as address:
        transport = Transport(with_user(f"{address}/base"), None)
        with pytest.raises(NotThere, match=f"{address}/base/x is not there"):
            transport.json("/x", {}, lambda found: found, weight=1)
        transport.close()
    assert seen == [("/base/x", "Basic " + b64encode(f"user:{SECRET}".encode()).decode())]


def test_with_postgresql(planted, server):
    url = server.new_database()
    planted.set(BACKTEST_PY_DATABASE_URL=url)
    assert set(planted.run_all()) == {0}
    assert [text for text in planted.outputs if server.password in text] == []
    for file in planted.folder.rglob("*"):
        assert not file.is_file() or server.password.encode() not in file.read_bytes(), file


def test_where_the_password_of_postgresql_is_wrong(planted, server):
    password = quote(SECRET, safe="")
    planted.set(BACKTEST_PY_DATABASE_URL=server.url(password=password))
    planted.run_all()
    assert "password authentication failed" in "".join(planted.outputs)
    assert planted.leaks() == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:{quoted}@127.0.0.1:{port}/bars",
        "postgresql://127.0.0.1:{port}/bars?user=u&password={quoted}",
        "postgresql://user:{plain}@127.0.0.1:{port}/bars",
        "postgresql://user:{quoted}@127.0.0.1:port/bars",
        "mysql://user:{quoted}@127.0.0.1/bars",
        "user:{quoted}@127.0.0.1/bars",
        "postgresql//user:{quoted}@127.0.0.1/bars",
        "postgresql://user:{quoted}@me@127.0.0.1/bars",
    ],
)
def test_where_the_address_of_the_database_is_of_no_use(planted, url):
    port = free_port()
    planted.set(
        BACKTEST_PY_DATABASE_URL=url.format(
            quoted=quote(SECRET, safe=""), plain=SECRET.replace("%", ""), port=port
        )
    )
    assert "database" in planted.run("data", "status").err.lower()
    assert planted.run("run", planted.folder / "one.toml", "--json").status in {0, 2}
    assert planted.leaks() == []


@pytest.mark.parametrize("variable", ["BACKTEST_PY_EXCHANGE_URL", "BACKTEST_PY_BULK_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "user:{quoted}@127.0.0.1:1",
        "ftp://user:{quoted}@127.0.0.1:1",
        "http://user:{plain}@127.0.0.1:1",
        "http://user:{quoted}@127.0.0.1:port",
        "http://user:{quoted}@",
        "http://user:{quoted}@[::1",
        "http://127.0.0.1:1/{quoted}@x",
        "http://user@me:{quoted}@127.0.0.1:1",
    ],
)
def test_where_the_address_of_the_exchange_is_none(planted, variable, url):
    planted.set(**{variable: url.format(quoted=quote(SECRET, safe=""), plain=SECRET)})
    outcome = planted.run("run", planted.folder / "one.toml")
    assert outcome.status == 2
    assert variable in outcome.err
    assert planted.leaks() == []


def test_where_nobody_answers(planted):
    port = free_port()
    planted.set(
        BACKTEST_PY_EXCHANGE_URL=with_user(f"http://127.0.0.1:{port}"),
        BACKTEST_PY_BULK_URL=with_user(f"http://127.0.0.1:{port}"),
    )
    outcome = planted.run("run", planted.folder / "one.toml")
    assert outcome.status == 1
    assert f"http://127.0.0.1:{port}" in outcome.err
    assert planted.leaks() == []


@pytest.mark.parametrize(
    "proxy",
    ["ftp://user:{}@127.0.0.1:1", "http://user:{}@127.0.0.1:port", "http://user:{}@127.0.0.1:1"],
)
def test_where_the_proxy_is_of_no_use(planted, monkeypatch, proxy):
    monkeypatch.delenv("NO_PROXY")
    planted.set(HTTP_PROXY=proxy.format(quote(SECRET, safe="")), http_proxy=proxy.format(SECRET))
    assert planted.run("run", planted.folder / "one.toml").status in {1, 2}
    assert planted.leaks() == []


@pytest.mark.parametrize(
    "archive", ["s3://key:{}@bucket/bars", "s3://bucket/bars", "https://user:{}@127.0.0.1:1/bars"]
)
def test_where_the_archive_is_of_no_use(planted, archive):
    planted.set(
        BACKTEST_PY_ARCHIVE_URL=archive.format(quote(SECRET, safe="")),
        BACKTEST_PY_S3_ENDPOINT=f"http://127.0.0.1:{free_port()}",
    )
    outcome = planted.run("run", planted.folder / "one.toml")
    assert outcome.status == (0 if archive == "s3://bucket/bars" else 2)
    assert planted.leaks() == []


@pytest.mark.parametrize(
    "line",
    [
        'database_url = "postgresql://user:{}@127.0.0.1/bars"',
        'database_url = "postgresql://127.0.0.1/bars?password={}"',
        'exchange_url = "http://user:{}@127.0.0.1:1"',
        'bulk_url = "http://user:{}@127.0.0.1:1"',
        'archive_url = "s3://key:{}@bucket"',
        's3_endpoint = "http://key:{}@127.0.0.1"',
        'database_url = ["postgresql://user:{}@127.0.0.1/bars"]',
    ],
)
def test_a_secret_in_the_configuration_is_refused(planted, line):
    file = planted.folder / "one.toml"
    written = file.read_text(encoding="utf-8")
    file.write_text(f"{written}[feed]\n{line.format('pl4nted')}\n", encoding="utf-8")
    outcome = planted.run("run", file)
    assert outcome.status == 2
    assert "environment variable BACKTEST_PY_" in outcome.err
    assert not any(part in outcome.err for part in PARTS)
