"""Files of klines: what is taken over, what is refused with rows and values, what is written."""

from __future__ import annotations

import io
import json
import os
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.exporting import export_series
from backtest_py.data.importing import import_files
from backtest_py.data.market.candles import Series
from backtest_py.data.settings import FeedSettings, open_feed
from backtest_py.data.verification import verify
from backtest_py.errors import (
    ConfigError,
    DataError,
    ExchangeError,
    MissingDataError,
    StorageError,
)

DAY = 86_400_000
NOW = 1_740_000_000_123
HOLE = (1_735_700_400_000, 1_735_711_200_000)
SPAN = ("2024-12-20", "2025-01-20")
NOBODY = "http://127.0.0.1:9"
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
MINUTE = 60_000
START = 1_730_419_200_000  # 2024-11-01


def settings_in(folder, url=NOBODY):
    return FeedSettings(
        data_dir=str(folder), exchange_url=url, bulk_url=url, weight_limit=2_400, workers=1
    )


@pytest.fixture
def feed(tmp_path):
    """A feed whose exchange nobody can reach."""
    with open_feed(settings=settings_in(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def exchange():
    market = DemoMarket("BTCUSDT", NOW - 120 * DAY, NOW, holes=(HOLE,))
    with DemoExchange((market,), lambda: NOW) as running:
        yield running


@pytest.fixture(scope="module")
def shared_data():
    folder = os.environ.get("BACKTEST_PY_SHARED")
    if folder is None:
        pytest.skip("set BACKTEST_PY_SHARED to the folder of shared inputs")
    return Path(folder) / "data"


def lines(n=60, start=START, step=MINUTE, **changed):
    """Return lines of n candles; ``changed`` is by row and column, such as r7_volume="0"."""
    names = [*HEADER.split(",")]
    rows = []
    for k in range(n):
        close = 100 + k % 7
        low, high = close - 2, close + 2
        base = 10 + k % 3
        row = [
            *(start + k * step, close - 1, high, low, close, base, start + (k + 1) * step - 1),
            *(base * close, 5, base / 2, base * close / 2, 0),
        ]
        rows.append([str(each) for each in row])
    for name, value in changed.items():
        row, _, column = name[1:].partition("_")
        rows[int(row)][names.index(column)] = value
    return [",".join(row) for row in rows]


def zipped(path, text, member="BTCUSDT-1m-2024-11-01.csv", extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, text)
        for name in extra:
            file.writestr(name, text)
    return path


def taken(feed, path, interval="1m", **options):
    (found,) = import_files(feed, [path], "BTCUSDT", interval, **options)
    return found


def nothing_kept(feed):
    return feed.database.periods() == feed.archive.periods() == []


class TestSharedFiles:
    """Two caches of one symbol: one with quote volume, one with a candle that was open."""

    @pytest.mark.parametrize(
        ("name", "interval", "shown"),
        [
            ("4h", "4h", ["row 0 (2025-09-08 00:00:00)", "87545540.330959", "quote asset"]),
            ("h4", "4h", ["row 703 (2026-02-21 12:00:00)", "296,301,373", "open candle"]),
            ("h1", "1h", ["row 262 (2026-02-21 12:00:00)", "296,301,373", "open candle"]),
        ],
    )
    def test_each_is_refused_with_rows_and_values(self, feed, shared_data, name, interval, shown):
        path = shared_data / f"1000PEPEUSDT_{name}.parquet"
        with pytest.raises(DataError) as refused:
            import_files(feed, [path], "1000PEPEUSDT", interval)
        for each in shown:
            assert each in str(refused.value)
        assert nothing_kept(feed)

    def test_together_they_show_the_mix_up_row_by_row(self, feed, shared_data):
        paths = [shared_data / f"1000PEPEUSDT_{name}.parquet" for name in ("4h", "h4")]
        with pytest.raises(DataError) as refused:
            import_files(feed, paths, "1000PEPEUSDT", "4h")
        text = str(refused.value)
        assert "volume = 8556100774.0, and 61506193.1967871 in 1000PEPEUSDT_4h.parquet" in text
        assert "703 of 704: the other's volume is that of the quote asset" in text
        assert "row 703 (2026-02-21 12:00:00): close = 0.0042914, and 0.00426" in text
        assert nothing_kept(feed)

    def test_the_zip_is_imported_with_its_checksum(self, feed, shared_data):
        path = shared_data / "FILUSDT-1m-2024-10-01_02.zip"
        (found,) = import_files(feed, [path], "FILUSDT", "1m")
        assert (found.n_candles, found.n_new, found.verified) == (2_880, 2_880, True)
        assert found.sha256 == sha256(path.read_bytes()).hexdigest()
        bars = feed.bars("FILUSDT", "1m", "2024-10-01", "2024-10-03")
        assert (len(bars), bars.report.source) == (2_880, "import")
        assert (bars.open[0], bars.close[-1], bars.volume[0]) == (3.809, 3.534, 162058.7)
        certificate = feed.certificate("FILUSDT", "1m", "2024-10-01", "2024-10-03")
        assert [each[1:] for each in certificate.sources] == [(f"import:{path.name}", found.sha256)]
        assert verify(feed).problems == []
        with pytest.raises(ExchangeError):  # the rest of the month is not known
            feed.bars("FILUSDT", "1m", "2024-10-01", "2024-10-04")
        (again,) = import_files(feed, [path], "FILUSDT", "1m")
        assert again.n_new == 0


class TestZips:
    @pytest.mark.parametrize("header", [True, False])
    def test_with_and_without_a_header(self, feed, tmp_path, header):
        text = "\n".join([HEADER] * header + lines())
        found = taken(feed, zipped(tmp_path / "any name.zip", text))
        assert (found.n_candles, found.verified, found.gaps) == (60, False, [])
        bars = feed.bars("BTCUSDT", "1m", "2024-11-01T00:00", "2024-11-01T01:00")
        assert bars.close[:3].tolist() == [100.0, 101.0, 102.0]

    def test_a_checksum_beside_it(self, feed, tmp_path):
        path = zipped(tmp_path / "x.zip", "\n".join(lines()))
        right = sha256(path.read_bytes()).hexdigest()
        beside = tmp_path / "x.zip.CHECKSUM"
        for text in (f"{'0' * 64}  x.zip", "", "no checksum"):
            beside.write_text(text)
            with pytest.raises(DataError, match=r"x\.zip\.CHECKSUM says"):
                taken(feed, path)
        assert nothing_kept(feed)
        beside.write_text(f"{right.upper()}  x.zip\n")
        assert taken(feed, path).verified

    @pytest.mark.parametrize(
        ("member", "extra", "text", "message"),
        [
            ("a.csv", ["b.csv"], "", "2 files"),
            ("ETHUSDT-1m-2024-11-01.csv", [], "", "not of BTCUSDT 1m"),
            ("BTCUSDT-5m-2024-11-01.csv", [], "", "not of BTCUSDT 1m"),
            ("BTCUSDT-1m-2024-11-01.csv", [], "\0" * 9_000_000, "unpacks to"),
            ("BTCUSDT-1m-2024-11-01.txt", [], "", "x.zip"),
        ],
    )
    def test_that_are_refused(self, feed, tmp_path, member, extra, text, message):
        path = zipped(tmp_path / "x.zip", text or "\n".join(lines()), member, extra)
        with pytest.raises(DataError, match=message):
            taken(feed, path)
        assert nothing_kept(feed)

    @pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all"])
    def test_that_are_none(self, feed, tmp_path, content):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(DataError, match="no zip"):
            taken(feed, tmp_path / "x.zip")


def as_parquet(path, rows, drop=(), **renamed):
    from pyarrow import csv

    text = "\n".join([HEADER, *rows]).encode()
    table = csv.read_csv(io.BytesIO(text)).drop_columns(list(drop))
    table = table.rename_columns([renamed.get(each, each) for each in table.column_names])
    pq.write_table(table, path)
    return path


class TestTables:
    def test_gaps_are_told_and_stay_unknown(self, feed, tmp_path):
        rows = lines()
        path = as_parquet(tmp_path / "x.parquet", rows[:20] + rows[25:])
        found = taken(feed, path)
        gap = (START + 20 * MINUTE, START + 25 * MINUTE)
        assert [tuple(each) for each in found.gaps] == [gap]
        assert found.to_dict()["gaps"] == [["2024-11-01 00:20:00", "2024-11-01 00:25:00"]]
        assert len(feed.bars("BTCUSDT", "1m", "2024-11-01T00:00", "2024-11-01T00:20")) == 20
        with pytest.raises(ExchangeError):
            feed.bars("BTCUSDT", "1m", "2024-11-01T00:00", "2024-11-01T00:30")

    def test_names_and_kinds_of_time(self, feed, tmp_path):
        rows = lines()
        path = as_parquet(tmp_path / "a.parquet", rows, open_time="timestamp", count="trades")
        assert taken(feed, path).n_new == 60
        table = pq.read_table(path)
        for unit in ("s", "ms", "us", "ns"):
            times = (
                table["timestamp"].cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp(unit, "UTC"))
            )
            pq.write_table(table.set_column(0, "open_time", times), tmp_path / "b.parquet")
            assert taken(feed, tmp_path / "b.parquet").n_new == 0
        late = pc.add(pc.multiply(table["timestamp"].cast(pa.int64()), 1_000), 500)
        pq.write_table(table.set_column(0, "open_time", late), tmp_path / "b.parquet")
        with pytest.raises(DataError, match=r"open_time, row 0: .* no whole millisecond"):
            taken(feed, tmp_path / "b.parquet")
        far = pa.array([253_000_000_000] * len(table), pa.timestamp("s"))
        pq.write_table(table.set_column(0, "open_time", far), tmp_path / "b.parquet")
        with pytest.raises(DataError, match=r"column open_time: .* out of bounds"):
            taken(feed, tmp_path / "b.parquet")
        (tmp_path / "c.csv").write_text("\n".join([HEADER, *rows]))
        (tmp_path / "d.csv").write_text("\n".join(rows))
        assert taken(feed, tmp_path / "c.csv").n_new == 0
        assert taken(feed, tmp_path / "d.csv").n_new == 0

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"r7_high": "50"}, r"row 7 \(2024-11-01 00:07:00\) has a price above its high"),
            ({"r7_volume": "-1"}, "row 7 .* negative amount"),
            ({"r7_close": "nan"}, "close lacks 1 values, the first in row 7"),
            ({"r7_open": "0", "r7_low": "0"}, "row 7 .* not above 0"),
            ({"r7_open_time": str(START + 6 * MINUTE)}, "row 7 .* does not open after"),
            ({"r7_open_time": str(START + 7 * MINUTE + 1)}, "row 7 .* off the interval"),
            ({"r7_close_time": str(START)}, "row 7 .* closes at 2024-11-01 00:00:00"),
            ({"r7_quote_volume": "11"}, r"row 7 .*quote_volume / volume = 11.0 / 11.0 is no price"),
            ({"r59_volume": "0.5", "r59_quote_volume": "51.5"}, "row 59 .* is an open candle"),
        ],
    )
    def test_rows_that_are_refused(self, feed, tmp_path, changed, message):
        path = as_parquet(tmp_path / "x.parquet", lines(**changed))
        with pytest.raises(DataError, match=message):
            taken(feed, path)
        assert nothing_kept(feed)

    def test_swapped_volumes_are_called_so(self, feed, tmp_path):
        names = {"volume": "quote_volume", "quote_volume": "volume"}
        path = as_parquet(tmp_path / "x.parquet", lines(), **names)
        with pytest.raises(DataError, match="the two are swapped"):
            taken(feed, path)

    def test_a_small_last_candle_is_taken_on_ones_word(self, feed, tmp_path):
        rows = lines(r59_volume="0.5", r59_quote_volume="51.5")
        path = as_parquet(tmp_path / "x.parquet", rows)
        assert taken(feed, path, closed=True).n_new == 60

    def test_a_candle_that_closes_in_the_future(self, feed, tmp_path):
        import time

        start = int(time.time() * 1000) // MINUTE * MINUTE - 58 * MINUTE
        path = as_parquet(tmp_path / "x.parquet", lines(start=start))
        with pytest.raises(DataError, match=r"row 59 .* the candle is open; leave it out"):
            taken(feed, path, closed=True)

    def test_another_interval(self, feed, tmp_path):
        path = as_parquet(tmp_path / "x.parquet", lines(step=5 * MINUTE), drop=("close_time",))
        with pytest.raises(DataError, match="5 minutes apart, which is not 1m"):
            taken(feed, path)
        with pytest.raises(DataError, match="off the interval 15m"):
            taken(feed, path, "15m")
        assert taken(feed, path, "5m").n_new == 60

    @pytest.mark.parametrize("name", ["quote_volume", "count", "taker_buy_volume", "high"])
    def test_columns_that_lack(self, feed, tmp_path, name):
        path = as_parquet(tmp_path / "x.parquet", lines(), drop=(name,))
        with pytest.raises(DataError, match="missing"):
            taken(feed, path)

    @pytest.mark.parametrize("name", ["x.txt", "x", "x.feather"])
    def test_kinds_that_are_not_read(self, feed, tmp_path, name):
        (tmp_path / name).write_text("1")
        with pytest.raises(ConfigError, match="no kind that is read"):
            taken(feed, tmp_path / name)

    def test_paths_that_are_none(self, feed, tmp_path):
        with pytest.raises(ConfigError, match="does not exist"):
            taken(feed, tmp_path / "x.csv")
        (tmp_path / "y.csv").mkdir()
        with pytest.raises(DataError):
            taken(feed, tmp_path / "y.csv")
        for content in (b"", b"PAR1", b"a,b\n1,2\n", b"\xff\xfe\x00"):
            for name in ("z.csv", "z.parquet"):
                (tmp_path / name).write_bytes(content)
                with pytest.raises(DataError):
                    taken(feed, tmp_path / name)
        with pytest.raises(ConfigError):
            import_files(feed, [tmp_path / "z.csv"], "../../x", "1m")

    def test_rows_that_differ_from_what_is_known(self, feed, tmp_path):
        taken(feed, as_parquet(tmp_path / "a.parquet", lines()))
        other = as_parquet(tmp_path / "b.parquet", lines(90, r41_close="107", r50_close="103"))
        before = feed.bars("BTCUSDT", "1m", "2024-11-01T00:00", "2024-11-01T01:00")
        with pytest.raises(DataError, match=r"row 41 .*close = 107.0, and 106.0 .*2 of 60 rows"):
            taken(feed, other)
        feed.memory.drop_where(lambda _: True)
        after = feed.bars("BTCUSDT", "1m", "2024-11-01T00:00", "2024-11-01T01:00")
        assert before.content_hash == after.content_hash
        longer = as_parquet(tmp_path / "c.parquet", lines(90))
        assert taken(feed, longer).n_new == 30

    def test_a_candle_where_the_exchange_has_a_hole(self, exchange, tmp_path):
        with open_feed(settings=settings_in(tmp_path / "d", exchange.url)) as feed:
            feed.bars("BTCUSDT", "1m", "2025-01-01T00:00", "2025-01-01T12:00")
            path = as_parquet(tmp_path / "x.parquet", lines(60, start=HOLE[0] + 10 * MINUTE))
            with pytest.raises(DataError, match=r"row 0 .* is known as a hole"):
                taken(feed, path)


@pytest.fixture(scope="module")
def filled(exchange, tmp_path_factory):
    """A feed that knows two spans, with a hole in one."""
    with open_feed(settings=settings_in(tmp_path_factory.mktemp("x"), exchange.url)) as opened:
        opened.bars("BTCUSDT", "1h", *SPAN)
        opened.bars("BTCUSDT", "1h", "2024-11-20", "2024-11-25")
        yield opened


class TestExport:
    @pytest.mark.parametrize("suffix", ["parquet", "csv"])
    def test_there_and_back_again(self, filled, feed, tmp_path, suffix):
        path = tmp_path / f"bars.{suffix}"
        found = export_series(filled, "BTCUSDT", "1h", path)
        assert found.n_candles == 36 * 24 - 3
        back = taken(feed, path, "1h")
        assert back.n_new == found.n_candles
        assert len(back.gaps) == 1  # between the two spans
        there = filled.bars("BTCUSDT", "1h", *SPAN)
        here = feed.bars("BTCUSDT", "1h", *SPAN)  # with the hole, and nobody is asked
        assert here.content_hash == there.content_hash
        assert (here.report.source, there.report.source) == ("import", "binance")
        (evidence,) = feed.certificate("BTCUSDT", "1h", *SPAN).to_dict()["first_gaps"]
        assert evidence["evidence"].startswith(f"bars.{suffix}: GET /fapi")
        series = Series.of("BTCUSDT", "1h")
        for at in filled.archive.periods():
            if at[0] == series:
                assert feed.archive.get(*at).candles == filled.archive.get(*at).candles

    def test_any_reader_can_read_it(self, filled, tmp_path):
        for suffix in ("parquet", "csv"):
            path = tmp_path / f"bars.{suffix}"
            export_series(filled, "BTCUSDT", "1h", path)
            read = bt.load_bars(path)
            assert len(read) == 36 * 24 - 3

    def test_the_certificate_goes_with_it(self, filled, tmp_path):
        found = export_series(filled, "BTCUSDT", "1h", tmp_path / "x.parquet")
        stated = json.loads(pq.read_metadata(found.path).metadata[b"backtest_py.certificate"])
        assert stated["sha256"] == found.certificate.hash
        assert stated["rows"] == found.n_candles
        export_series(filled, "BTCUSDT", "1h", tmp_path / "x.csv")
        assert (tmp_path / "x.csv").read_text().startswith(f"{HEADER}\n1")
        beside = json.loads((tmp_path / "x.csv.certificate.json").read_text())
        assert beside["sha256"] == stated["sha256"]

    def test_a_file_that_was_changed_is_refused(self, filled, feed, tmp_path):
        path = tmp_path / "x.csv"
        export_series(filled, "BTCUSDT", "1h", path)
        text = path.read_text().splitlines()
        row = text[9].split(",")
        row[5] = str(float(row[5]) + 0.001)
        path.write_text("\n".join([*text[:9], ",".join(row), *text[10:]]))
        with pytest.raises(DataError, match="hash of its certificate"):
            taken(feed, path, "1h")
        path.write_text("\n".join(text[:-1]))
        with pytest.raises(DataError, match="hash of its certificate"):
            taken(feed, path, "1h")
        with pytest.raises(DataError, match="certificate is of BTCUSDT 1h"):
            import_files(feed, [path], "ETHUSDT", "1h")
        assert nothing_kept(feed)

    def test_it_overwrites_nothing_unless_told_to(self, filled, tmp_path):
        path = tmp_path / "x.parquet"
        path.write_text("mine")
        with pytest.raises(ConfigError, match="is there already"):
            export_series(filled, "BTCUSDT", "1h", path)
        assert path.read_text() == "mine"
        export_series(filled, "BTCUSDT", "1h", path, overwrite=True)
        assert pq.read_table(path).num_rows == 36 * 24 - 3
        assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]

    def test_what_cannot_be_written(self, filled, feed, tmp_path):
        with pytest.raises(MissingDataError, match="nothing is known"):
            export_series(feed, "BTCUSDT", "1h", tmp_path / "x.parquet")
        with pytest.raises(ConfigError, match="no kind that is written"):
            export_series(filled, "BTCUSDT", "1h", tmp_path / "x.feather")
        with pytest.raises(StorageError, match="cannot be written"):
            export_series(filled, "BTCUSDT", "1h", tmp_path / "no" / "x.parquet")
        assert list(tmp_path.glob("*.*")) == []


def test_commands(cli, exchange, tmp_path, monkeypatch):
    monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BACKTEST_PY_EXCHANGE_URL", NOBODY)
    monkeypatch.setenv("BACKTEST_PY_BULK_URL", NOBODY)
    rows = lines()
    path = as_parquet(tmp_path / "x.parquet", rows[:20] + rows[25:])
    series = ("--symbol", "BTCUSDT", "--interval", "1m")
    found = cli("data", "import", path, *series)
    assert (found.status, found.err) == (0, "")
    assert "55 candles, 55 of them new" in found.out
    assert "nothing from 2024-11-01 00:20:00 to 2024-11-01 00:25:00" in found.out
    (again,) = json.loads(cli("data", "import", path, *series, "--json").out)
    assert again["n_new"] == 0
    wrong = as_parquet(tmp_path / "y.parquet", lines(r41_close="107"))
    refused = cli("data", "import", wrong, *series)
    assert (refused.status, "row 41" in refused.err, refused.out) == (1, True, "")
    (row,) = json.loads(cli("data", "status", "--json").out)
    assert (row["sources"], row["candles"]) == (["import:x.parquet"], 55)
    out = tmp_path / "out.parquet"
    arguments = ("data", "export", "BTCUSDT", "--interval", "1m", "--out", out)
    assert cli(*arguments).status == 0
    assert cli(*arguments).status == 2
    assert cli(*arguments, "--overwrite").status == 0
    assert np.array_equal(pq.read_table(out)["trades"].to_numpy(), np.full(55, 5))
    assert cli("data", "verify").status == 0
