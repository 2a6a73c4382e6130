"""The archive: only what is needed is read, and what lies in a file's place is not believed."""

from __future__ import annotations

import io
import shutil
import time
from http.server import SimpleHTTPRequestHandler

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.market_blocks import MINUTE, PERIOD, SERIES, market_block
from tests.services import silent_server, web_server

from backtest_py.data.cache.archive import Archive
from backtest_py.data.cache.encoding import table_of
from backtest_py.data.market.blocks import period_of
from backtest_py.data.market.candles import Series
from backtest_py.data.market.spans import Span
from backtest_py.errors import CacheError, ConfigError

FILE = "symbol=1000PEPEUSDT/interval=1m/2023-11.parquet"


class Counting(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    total = 0

    def read(self, size=-1):
        found = super().read(size)
        Counting.total += len(found)
        return found


def test_only_the_row_groups_that_are_needed_are_read(tmp_path, monkeypatch):
    archive = Archive(tmp_path)
    block = market_block(43_000)
    archive.put(block)
    content = (tmp_path / FILE).read_bytes()
    monkeypatch.setattr(archive._files, "open", lambda path, *, whole: Counting(content))
    start = int(block.candles.open_time[9_000])
    wanted = Span(start, start + 10 * MINUTE)
    Counting.total = 0
    part = archive.get(SERIES, PERIOD, wanted)
    assert Counting.total < len(content) / 3
    assert part.missing(wanted) == []
    assert len(part.candles) == 8_192
    assert part.candles.within(wanted) == block.candles.within(wanted)
    assert part.known[0].end - part.known[0].start == 8_192 * MINUTE
    Counting.total = 0
    assert archive.get(SERIES, PERIOD) == block
    assert Counting.total >= len(content) * 0.9


def foreign(path):
    pq.write_table(pa.table({"x": [1, 2, 3]}), path)


def other_columns(path):
    file = pq.read_table(path)
    table = file.set_column(1, "open", file["open"].cast("float32"))
    pq.write_table(table.replace_schema_metadata(file.schema.metadata), path)


def other_values(path):
    """Leave the facts as they are, and other candles in their place."""
    facts = pq.read_schema(path).metadata
    table = table_of(market_block(20_000, seed=5).candles)
    pq.write_table(table.replace_schema_metadata(facts), path, row_group_size=8_192)


def other_facts(path):
    """Claim one more known minute than there was."""
    file = pq.read_table(path)
    changed = {
        key: value.replace(b'"known":[[', b'"known":[[ ')
        for key, value in file.schema.metadata.items()
    }
    pq.write_table(file.replace_schema_metadata(changed), path, row_group_size=8_192)


FAULTS = {
    "footer cut": lambda path: path.write_bytes(path.read_bytes()[:-1_000]),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zero bytes": lambda path: path.write_bytes(b""),
    "a few bytes": lambda path: path.write_bytes(b"PAR1"),
    "only zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "foreign table": foreign,
    "foreign text": lambda path: path.write_text("<html>no such page</html>" * 100),
    "other columns": other_columns,
    "other values": other_values,
    "other facts": other_facts,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_not_right_is_refused_and_replaced(tmp_path, fault):
    archive = Archive(tmp_path)
    archive.put(market_block())
    FAULTS[fault](tmp_path / FILE)
    wanted = Span(PERIOD.start, PERIOD.start + MINUTE)
    for part in (None, wanted):
        with pytest.raises(CacheError, match=FILE):
            archive.get(SERIES, PERIOD, part)
    if fault == "a folder":
        with pytest.raises(CacheError, match="cannot be written"):
            archive.put(market_block())
        return
    archive.put(market_block())
    assert archive.get(SERIES, PERIOD) == market_block()


def test_the_file_of_another_series_or_month_is_refused(tmp_path):
    archive = Archive(tmp_path)
    other = Series.of("BTCUSDT", "1m")
    archive.put(market_block())
    (tmp_path / "symbol=BTCUSDT/interval=1m").mkdir(parents=True)
    shutil.copy(tmp_path / FILE, tmp_path / FILE.replace("1000PEPEUSDT", "BTCUSDT"))
    with pytest.raises(CacheError, match="of 1000PEPEUSDT 1m, not BTCUSDT 1m"):
        archive.get(other, PERIOD)
    shutil.copy(tmp_path / FILE, tmp_path / FILE.replace("2023-11", "2023-12"))
    with pytest.raises(CacheError, match="the block is of"):
        archive.get(SERIES, period_of(SERIES, PERIOD.end))


def test_files_that_are_no_blocks_are_not_listed(tmp_path):
    archive = Archive(tmp_path)
    archive.put(market_block(10, hole=(1, 2)))
    monthly = Series.of("1000PEPEUSDT", "1M")
    archive.put(market_block(2, monthly, period_of(monthly, 1_700_000_000_000), hole=(2, 2)))
    folder = (tmp_path / FILE).parent
    for name in ("2023-13.parquet", "notes.parquet", ".2023-11.parquet.1.tmp", "2023.parquet"):
        (folder / name).write_bytes(b"")
    (tmp_path / "symbol=CON" / "interval=1m").mkdir(parents=True)
    (tmp_path / "symbol=CON" / "interval=1m" / "2023-11.parquet").write_bytes(b"")
    assert [str(series) for series, _ in archive.periods()] == [
        "1000PEPEUSDT 1m",
        "1000PEPEUSDT 1M",
    ]
    assert (tmp_path / "symbol=1000PEPEUSDT" / "interval=1mo" / "2023.parquet").exists()


# S3


def test_an_s3_server_that_never_answers_is_given_up(s3_endpoint):
    with silent_server() as endpoint:
        archive = Archive("s3://bucket/prefix", endpoint=endpoint)
        began = time.monotonic()
        with pytest.raises(CacheError, match="cannot be read"):
            archive.get(SERIES, PERIOD)
        assert time.monotonic() - began < 10
        again = time.monotonic()
        for ask in (lambda: archive.get(SERIES, PERIOD), lambda: archive.put(market_block())):
            with pytest.raises(CacheError, match="not asked again"):
                ask()
        assert time.monotonic() - again < 0.5


def test_an_object_written_in_half_is_refused_and_replaced(bucket, s3_endpoint):
    client, name = bucket
    archive = Archive(f"s3://{name}/prefix", endpoint=s3_endpoint)
    archive.put(market_block())
    key = f"prefix/{FILE}"
    content = client.get_object(Bucket=name, Key=key)["Body"].read()
    for part in (content[: len(content) // 2], content[:-1], b""):
        client.put_object(Bucket=name, Key=key, Body=part)
        for wanted in (None, Span(PERIOD.start, PERIOD.start + MINUTE)):
            with pytest.raises(CacheError, match=FILE):
                archive.get(SERIES, PERIOD, wanted)
    archive.put(market_block())
    assert archive.get(SERIES, PERIOD) == market_block()
    uploads = client.list_multipart_uploads(Bucket=name).get("Uploads", [])
    assert not uploads


def test_a_bucket_that_is_not_there(s3_endpoint):
    archive = Archive("s3://no-such-bucket/prefix", endpoint=s3_endpoint)
    assert archive.get(SERIES, PERIOD) is None
    for refused in (archive.periods, lambda: archive.put(market_block())):
        with pytest.raises(CacheError, match=r"cannot be (listed|written)"):
            refused()


# an address


class Misbehaving(SimpleHTTPRequestHandler):
    """Answers by the folder that is asked for."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            return
        if kind == "failing":
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"PAR1" if kind == "cut" else bytes(1_000_000))

    def log_message(self, *_):
        """Write nothing."""


@pytest.mark.parametrize("kind", ["redirect", "failing", "cut", "zeros"])
def test_an_address_that_misbehaves(tmp_path, kind):
    with (
        web_server(tmp_path, Misbehaving) as address,
        pytest.raises(CacheError, match=f"{kind}.*2023-11"),
    ):
        Archive(f"{address}/{kind}").get(SERIES, PERIOD)


def test_an_address_where_nobody_listens():
    with pytest.raises(CacheError, match="cannot be read"):
        Archive("http://127.0.0.1:1").get(SERIES, PERIOD)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "ftp://example.org/x",
        "http://example.org/bars",
        "s3://",
        "s3://KEY:planted@bucket/x",
        "https://me:planted@example.org/bars",
        "https://example.org/bars?token=planted",
    ],
)
def test_places_of_no_known_kind_are_refused(location):
    with pytest.raises(ConfigError, match="archive = ") as caught:
        Archive(location)
    assert "planted" not in str(caught.value)
