"""What is kept can be trusted: certificates of bars, verification, history that was rewritten."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from backtest_py.data.cache.database import DAY_SECONDS, TTL_SECONDS, Database
from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.market.blocks import period_of
from backtest_py.data.market.candles import Candles, Series
from backtest_py.data.market.spans import Span
from backtest_py.data.rewrites import Journal, Rewrite
from backtest_py.data.settings import FeedSettings, open_feed
from backtest_py.data.verification import verify
from backtest_py.errors import BacktestWarning

DAY = 86_400_000
NOW = 1_740_000_000_123
HOLE = (1_735_700_400_000, 1_735_711_200_000)  # 2025-01-01, 03:00 to 06:00
SPAN = ("2024-12-20", "2025-01-20")
SYMBOL = "BTCUSDT"


@pytest.fixture
def exchange():
    market = DemoMarket(SYMBOL, NOW - 120 * DAY, NOW, holes=(HOLE,))
    with DemoExchange((market,), lambda: NOW) as running:
        yield running


@pytest.fixture
def settings(exchange, tmp_path):
    return settings_in(tmp_path, exchange)


def settings_in(folder, exchange, **others):
    urls = {"exchange_url": exchange.url, "bulk_url": exchange.url}
    return FeedSettings(data_dir=str(folder), weight_limit=2_400, **{**urls, **others})


def places(feed, interval):
    return [at for at in feed.database.periods() if at[0].interval.name == interval]


class TestCertificates:
    def test_bars_have_that_of_their_candles(self, exchange, settings):
        with open_feed(settings=settings) as feed:
            bars = feed.bars(SYMBOL, "1h", *SPAN)
            found = feed.certificate(SYMBOL, "1h", *SPAN)
            assert bars.report.certificate == found.hash
            assert (found.n_rows, found.n_expected) == (len(bars), 31 * 24)
            assert found.to_dict()["missing"] == 3
            assert "GET /fapi/v1/klines" in found.to_dict()["first_gaps"][0]["evidence"]
            again = feed.bars_many([SYMBOL], "1h", *SPAN)[SYMBOL]
            assert again is bars
            pieces = [piece.report.certificate for piece in feed.chunks(SYMBOL, "1h", *SPAN)]
            assert len(set(pieces)) == 2
            assert pieces[1] == feed.bars(SYMBOL, "1h", "2025-01-01", SPAN[1]).report.certificate

    def test_two_users_have_the_same_one(self, exchange, tmp_path):
        """Whatever else they asked for before, and when, and wherever it lies."""
        with open_feed(settings=settings_in(tmp_path / "a", exchange)) as feed:
            first = feed.bars(SYMBOL, "1m", *SPAN).report.certificate
            assert feed.bars(SYMBOL, "1m", *SPAN, session_timezone="America/Sao_Paulo").report
        with open_feed(settings=settings_in(tmp_path / "b", exchange)) as feed:
            feed.bars(SYMBOL, "1m", "2025-01-10", "2025-01-12")
            feed.bars(SYMBOL, "1m", "2024-12-01", "2024-12-25")
            feed.bars(SYMBOL, "1m", "2024-12-25", "2025-02-01")
            feed.memory.drop_where(lambda _: True)
            database, feed.tiers.database = feed.database, None
            by_archive = feed.bars(SYMBOL, "1m", *SPAN).report.certificate
            feed.memory.drop_where(lambda _: True)
            feed.tiers.database, feed.tiers.archive = database, None
            by_database = feed.bars(SYMBOL, "1m", *SPAN).report.certificate
        assert first == by_archive == by_database
        with open_feed(settings=settings_in(tmp_path / "c", exchange)) as feed:
            feed.bars(SYMBOL, "1m", "2025-01-10T00:00", "2025-01-10T12:00")
            other = feed.bars(SYMBOL, "1m", *SPAN)
        # half a day came over REST here, and from the month's file there: other sources
        assert other.report.certificate != first


class TestRewritten:
    def test_verify_finds_other_files_and_other_values(self, exchange, settings, caplog):
        with open_feed(settings=settings) as feed:
            old_1m = feed.bars(SYMBOL, "1m", *SPAN)  # from files
            old_4h = feed.bars(SYMBOL, "4h", *SPAN)  # over REST
            assert verify(feed, ask_exchange=True).problems == []
            exchange.fault("rewritten")
            assert verify(feed).problems == []  # here nothing has changed
            with caplog.at_level(logging.WARNING, logger="backtest_py.data"):
                found = verify(feed, ask_exchange=True)
            kinds = {problem.kind for problem in found.problems}
            assert kinds == {"rewritten"}
            for interval in ("1m", "4h"):
                of = [each for each in found.rewrites if each.series.interval.name == interval]
                assert sum(each.n_changed for each in of) == 31  # one candle a day
            # the bars in memory went as well
            new_1m, new_4h = feed.bars(SYMBOL, "1m", *SPAN), feed.bars(SYMBOL, "4h", *SPAN)
        for old, new in ((old_1m, new_1m), (old_4h, new_4h)):
            assert np.count_nonzero(old.high != new.high) == 31
            assert np.array_equal(old.close, new.close)
            assert old.report.certificate != new.report.certificate
            assert old.content_hash != new.content_hash
        logged = [record for record in caplog.records if record.name == "backtest_py.data"]
        assert len(logged) == len(found.rewrites)
        for record, rewrite in zip(logged, found.rewrites, strict=True):
            assert rewrite.old in record.getMessage()
            assert rewrite.new in record.getMessage()
            assert rewrite.old != rewrite.new
            assert f"{rewrite.n_changed:,} candles" in record.getMessage()
        # every tier has the new candles, and the exchange confirms them
        with open_feed(settings=settings) as feed:
            assert verify(feed, ask_exchange=True).problems == []
            feed.tiers.database = None
            assert feed.bars(SYMBOL, "1m", *SPAN).content_hash == new_1m.content_hash
            assert [each.to_dict() for each in feed.journal.entries()] == [
                each.to_dict() for each in found.rewrites
            ]

    def test_files_with_another_checksum_and_the_same_candles(self, exchange, settings):
        with open_feed(settings=settings) as feed:
            old = feed.bars(SYMBOL, "1m", *SPAN)
            exchange.fault("microseconds")  # another file, the same candles
            found = verify(feed, ask_exchange=True)
            assert {each.n_changed for each in found.rewrites} == {0}
            assert all(each.old == each.new for each in found.rewrites)
            assert all(each.old_checksum != each.new_checksum for each in found.rewrites)
            new = feed.bars(SYMBOL, "1m", *SPAN)
            assert old.content_hash == new.content_hash
            assert old.report.certificate != new.report.certificate

    def test_a_fetch_from_a_file_that_is_another_one_now(self, exchange, settings):
        """Half a month is known from a file; the other half comes from its successor."""
        with open_feed(settings=settings) as feed:
            feed.bars(SYMBOL, "1m", "2024-12-01", "2024-12-11")
            exchange.fault("rewritten")
            bars = feed.bars(SYMBOL, "1m", "2024-12-01", "2025-01-01")
            (rewrite,) = feed.journal.entries()
            assert rewrite.n_changed == 10
            sources = feed.certificate(SYMBOL, "1m", "2024-12-01", "2025-01-01").sources
        assert len({checksum for _, _, checksum in sources}) == 1
        with open_feed(settings=settings_in(settings.folder / "new", exchange)) as other:
            fresh = other.bars(SYMBOL, "1m", "2024-12-01", "2025-01-01")
        assert bars.content_hash == fresh.content_hash
        assert bars.report.certificate == fresh.report.certificate

    def test_another_process_forgets_its_bars(self, exchange, settings):
        with open_feed(settings=settings) as one, open_feed(settings=settings) as other:
            old = one.bars(SYMBOL, "4h", *SPAN)
            kept = one.bars(SYMBOL, "1h", *SPAN)
            assert one.bars(SYMBOL, "4h", *SPAN) is old
            exchange.fault("rewritten")
            for place in places(other, "4h"):
                other.ask_again(*place, lambda block: list(block.known))
            new = one.bars(SYMBOL, "4h", *SPAN)
            assert new.content_hash != old.content_hash
            assert one.bars(SYMBOL, "4h", *SPAN) is new
            assert one.bars(SYMBOL, "1h", *SPAN) is kept  # another series
            assert len(exchange.requests) > 0

    def test_a_tier_that_still_has_the_old_candles_is_not_believed(
        self, exchange, settings, monkeypatch
    ):
        with open_feed(settings=settings) as feed:
            old = feed.bars(SYMBOL, "4h", *SPAN)
            exchange.fault("rewritten")
            with monkeypatch.context() as patch:
                patch.setattr(feed.archive._files, "write", _full_disk)
                with pytest.warns(BacktestWarning, match="not kept there"):
                    assert verify(feed, ask_exchange=True).rewrites
            new = feed.bars(SYMBOL, "4h", *SPAN)
            feed.memory.drop_where(lambda _: True)
            feed.tiers.database = None
            again = feed.bars(SYMBOL, "4h", *SPAN)  # fetched, though the archive has the old ones
        assert old.content_hash != new.content_hash == again.content_hash

    def test_a_result_of_the_old_bars_can_be_told(self, exchange, settings):
        import backtest_py as bt

        rules = {
            "contract": bt.Contract(tick_size=0.1),
            "metrics": bt.MetricSettings(periods_per_year=365),
        }
        with open_feed(settings=settings) as feed:
            old = bt.run(feed.bars(SYMBOL, "4h", *SPAN), "moving_average_cross", **rules)
            exchange.fault("rewritten")
            verify(feed, ask_exchange=True)
            new = bt.run(feed.bars(SYMBOL, "4h", *SPAN), "moving_average_cross", **rules)
        assert old.provenance.bars_hash != new.provenance.bars_hash


def _full_disk(*_, **__):
    from backtest_py.errors import CacheError

    raise CacheError("no space left on device")


def damage(path, n_bytes=64):
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    for at in range(middle, middle + n_bytes):
        content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def edit(settings, statement):
    with closing(sqlite3.connect(settings.folder / "market.sqlite")) as connection, connection:
        connection.execute(statement)


class TestVerify:
    def test_all_is_well(self, settings):
        with open_feed(settings=settings) as feed:
            bars = feed.bars(SYMBOL, "1h", *SPAN)
            found = verify(feed)
            assert (found.problems, found.notes, found.n_blocks) == ([], [], 4)
            assert found.n_candles == 2 * len(bars)
            assert {block["tier"] for block in found.blocks} == {"database", "archive"}
            hashes = {block["certificate"]["sha256"] for block in found.blocks}
            assert len(hashes) == 2  # a year each, alike in both tiers

    def test_looking_changes_nothing(self, settings):
        with open_feed(settings=settings) as feed:
            feed.bars(SYMBOL, "1h", *SPAN)
            before = feed.database.entries()
            edit(settings, "update backtest_py_blocks set last_access = 5")
            assert verify(feed).problems == []
            after = feed.database.entries()
            assert before.keys() == after.keys()
            assert {entry.last_access for entry in after.values()} == {5}

    @pytest.mark.parametrize("tier", ["database", "archive"])
    def test_a_damaged_block_is_told_and_repaired(self, exchange, settings, tier):
        with open_feed(settings=settings) as feed:
            bars = feed.bars(SYMBOL, "1h", *SPAN)
        if tier == "archive":
            damage(next(settings.folder.glob("archive/*/*/2024.parquet")))
        else:
            edit(
                settings,
                "update backtest_py_blocks set payload = substr(payload, 1, 900) where "
                "period < 1735689600000",
            )
        with open_feed(settings=settings) as feed:
            for repair in (False, True):
                found = verify(feed, repair=repair)
                (problem,) = found.problems
                assert problem.kind == "damaged"
                assert problem.where == f"{SYMBOL} 1h, 2024-01-01 00:00:00, {tier}"
                assert found.notes == ([f"{SYMBOL} 1h, 2024-01-01 00:00:00: repaired"] * repair)
            before = len(exchange.requests)
            assert verify(feed).problems == []
            if tier == "archive":
                feed.tiers.database = None
            assert feed.bars(SYMBOL, "1h", *SPAN).content_hash == bars.content_hash
            assert len(exchange.requests) == before  # from the other tier

    def test_a_database_that_is_damaged_as_a_whole_is_a_problem(self, exchange, settings):
        with open_feed(settings=settings) as feed:
            bars = feed.bars(SYMBOL, "1h", *SPAN)
        (settings.folder / "market.sqlite").write_bytes(b"no database " * 1_000)
        with open_feed(settings=settings) as feed:
            with pytest.warns(BacktestWarning, match="moved to market.sqlite.damaged"):
                found = verify(feed)
            (problem,) = found.problems
            assert (problem.kind, problem.where) == ("damaged", "database")
            assert "market.sqlite.damaged-" in problem.text
            assert found.n_blocks == 2  # of the archive
        with open_feed(settings=settings) as feed:
            assert verify(feed).problems == []
            assert feed.bars(SYMBOL, "1h", *SPAN).content_hash == bars.content_hash

    def test_a_block_that_is_damaged_everywhere_is_fetched(self, exchange, settings):
        with open_feed(settings=settings) as feed:
            bars = feed.bars(SYMBOL, "1h", *SPAN)
            for file in settings.folder.glob("archive/*/*/*.parquet"):
                file.write_bytes(b"PAR1")
            edit(settings, "update backtest_py_blocks set sha256 = 'x'")
            before = len(exchange.requests)
            assert len(verify(feed, repair=True).problems) == 4
            assert len(exchange.requests) > before
            assert verify(feed).problems == []
            feed.memory.drop_where(lambda _: True)
            assert feed.bars(SYMBOL, "1h", *SPAN).content_hash == bars.content_hash

    def test_blocks_that_contradict_each_other_or_a_rule(self, exchange, settings):
        series = Series.of(SYMBOL, "1h")
        with open_feed(settings=settings) as feed:
            bars = feed.bars(SYMBOL, "1h", *SPAN)
            period = period_of(series, int(np.datetime64(SPAN[0], "ms").astype(int)))
            block = feed.archive.get(series, period)
            feed.archive.put(_changed(block, "volume", 3, 1.0))
            (problem,) = verify(feed).problems
            assert problem.kind == "differs"
            assert "2024-12-20" in problem.text
            assert [each.kind for each in verify(feed, repair=True).problems] == ["differs"]
            assert verify(feed).problems == []
            feed.archive.put(_changed(block, "taker_base", 3, -1.0))
            kinds = sorted(each.kind for each in verify(feed).problems)
            assert kinds == ["rule"]
            verify(feed, repair=True)
            assert verify(feed).problems == []
            wrong = _changed(block, "close", 3, float(block.candles.low[3]))
            wrong.candles.believe(block.candles.findings)  # a certificate of other candles
            feed.archive.put(wrong)
            assert "certificate" in {each.kind for each in verify(feed).problems}
            verify(feed, repair=True)
            assert verify(feed).problems == []
            feed.tiers.database = None
            feed.memory.drop_where(lambda _: True)
            assert feed.bars(SYMBOL, "1h", *SPAN).content_hash == bars.content_hash

    def test_a_tier_that_cannot_be_read_is_a_problem(self, settings, monkeypatch):
        with open_feed(settings=settings) as feed:
            feed.bars(SYMBOL, "1h", *SPAN)
            monkeypatch.setattr(feed.archive._files, "open", _full_disk)
            found = verify(feed)
            assert {problem.kind for problem in found.problems} == {"unreadable"}
            monkeypatch.undo()
            assert verify(feed).problems == []

    def test_an_exchange_that_does_not_answer_changes_nothing(self, exchange, settings):
        with open_feed(settings=settings) as feed:
            bars = feed.bars(SYMBOL, "1h", *SPAN)
        silent = settings_in(settings.folder, exchange, exchange_url="http://127.0.0.1:9")
        with open_feed(settings=silent) as feed:
            found = verify(feed, ask_exchange=True)
            assert {problem.kind for problem in found.problems} == {"unreadable"}
            assert feed.bars(SYMBOL, "1h", *SPAN).content_hash == bars.content_hash


def _changed(block, name, row, value):
    from dataclasses import replace

    from backtest_py.data.market.candles import COLUMNS

    columns = {each: getattr(block.candles, each).copy() for each in COLUMNS}
    columns[name][row] = value
    return replace(block, candles=Candles(**columns))


class TestJournal:
    def test_lines_that_are_no_entries_are_left_out(self, exchange, settings):
        with open_feed(settings=settings) as feed:
            feed.bars(SYMBOL, "4h", *SPAN)
            exchange.fault("rewritten")
            verify(feed, ask_exchange=True)
            n_entries = len(feed.journal.entries())
            path = feed.journal.path
            path.write_text(path.read_text() + "no json\n{}\n")
            with pytest.warns(BacktestWarning, match="is no entry"):
                assert len(feed.journal.entries()) == n_entries

    def test_the_latest_entry_of_each_series_outlives_many_others(self, tmp_path, monkeypatch):
        monkeypatch.setattr("backtest_py.data.rewrites.MOST_ENTRIES", 5)
        journal, other = (Journal(tmp_path / "rewritten.jsonl") for _ in range(2))
        series = [Series.of(f"COIN{number}", "1h") for number in range(20)]

        def entry(each, at):
            return Rewrite(each, Span(0, DAY), 1, "old", "new", "", "", at)

        before = other.generation(series[0])
        journal.add([entry(series[0], 100), entry(series[0], 200)])
        mark = other.generation(series[0])
        assert mark != before
        for number, each in enumerate(series[1:]):
            journal.add([entry(each, 1_000 + number)])
        assert other.generation(series[0]) == mark
        assert [each.series for each in journal.entries()] == series

    def test_it_cannot_be_written(self, exchange, settings):
        with open_feed(settings=settings) as feed:
            old = feed.bars(SYMBOL, "4h", *SPAN)
            (settings.folder / "rewritten.jsonl.lock").mkdir()
            exchange.fault("rewritten")
            with pytest.warns(BacktestWarning, match="other processes do not know"):
                verify(feed, ask_exchange=True)
            assert feed.bars(SYMBOL, "4h", *SPAN).content_hash != old.content_hash


def test_the_feed_sweeps_once_a_day_by_itself(exchange, settings):
    """Whoever only reads sweeps as well; what was asked for just now stays."""
    clock = [1_740_000_000.0]
    with open_feed(settings=settings) as feed:
        address = f"sqlite:///{settings.folder / 'market.sqlite'}"
        feed.tiers.database = Database(address, clock=lambda: clock[0])
        feed.bars(SYMBOL, "4h", *SPAN)
        feed.bars(SYMBOL, "1h", *SPAN)
        swept = []
        sweep = feed.database.sweep
        feed.database.sweep = lambda: swept.append(clock[0]) or sweep()

        def read(interval):
            feed.memory.drop_where(lambda _: True)
            feed.bars(SYMBOL, interval, *SPAN)

        for hours in (1, 23, 25, 26, 40, 50):
            clock[0] = 1_740_000_000.0 + hours * 3_600
            read("4h")
        assert len(swept) == 2  # after a day, and after two
        clock[0] += TTL_SECONDS + DAY_SECONDS
        read("4h")
        intervals = {series.interval.name for series, _ in feed.database.periods()}
        assert intervals == {"4h"}
        assert len(swept) == 3


class TestCommands:
    @pytest.fixture(autouse=True)
    def _environment(self, exchange, tmp_path, monkeypatch):
        monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("BACKTEST_PY_EXCHANGE_URL", exchange.url)
        monkeypatch.setenv("BACKTEST_PY_BULK_URL", exchange.url)

    def test_status_and_verify(self, cli, exchange, tmp_path):
        arguments = ("--interval", "4h", "--start", SPAN[0], "--end", SPAN[1])
        assert cli("data", "verify").status == 0
        assert "nothing is kept" in cli("data", "status").out
        assert cli("data", "fetch", SYMBOL, *arguments).status == 0
        fine = cli("data", "verify", "--against", "exchange", "--json")
        assert (fine.status, json.loads(fine.out)["problems"]) == (0, [])
        exchange.fault("rewritten")
        found = cli("data", "verify", "--against", "exchange")
        assert found.status == 1
        assert "rewritten: BTCUSDT 4h" in found.out
        again = cli("data", "verify", "--against", "exchange")
        assert again.status == 0
        assert "earlier: BTCUSDT 4h" in again.out
        (row,) = json.loads(cli("data", "status", "--json").out)
        assert (row["symbol"], row["interval"], row["candles"]) == (SYMBOL, "4h", 31 * 6)
        assert row["known"] == [["2024-12-20 00:00:00", "2025-01-20 00:00:00"]]
        assert row["sources"] == ["binance-rest"]
        assert min(row["database_bytes"], row["archive_bytes"]) > 1_000
        assert sum(each["n_changed"] for each in row["rewrites"]) == 31
        table = cli("data", "status")
        assert "BTCUSDT 4h" in table.out
        assert "rewritten by the exchange" in table.out
        damage(next(tmp_path.glob("archive/*/*/2025.parquet")))
        damaged = cli("data", "verify")
        assert (damaged.status, "damaged: BTCUSDT 4h" in damaged.out) == (1, True)
        assert cli("data", "verify", "--repair").status == 1
        assert cli("data", "verify").status == 0
        assert cli("data", "verify", "--against", "moon").status == 2
