"""Times that carry a zone: its clock is the session's, unless another is named."""

from __future__ import annotations

import warnings
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import dateutil.tz
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.bars import Bars
from backtest_py.bars.zones import zone_name
from backtest_py.config import Config
from backtest_py.data import load_bars, synthetic_bars

SAO_PAULO = "America/Sao_Paulo"
PRICES = ("open", "high", "low", "close")
PLAIN = synthetic_bars(n_days=5)
OFFSETS = "time,open,high,low,close\n2023-03-01T09:00:00-03:00,1,1,1,1\n"


def zoned(zone):
    return PLAIN.to_frame().tz_localize(zone)


def by_index(frame, path):
    return lambda **options: Bars.from_frame(frame, **options)


def by_column(frame, path):
    return lambda **options: Bars.from_frame(frame.reset_index(), **options)


def by_arrays(frame, path):
    columns = {name: frame[name].to_numpy() for name in (*PRICES, "volume")}
    return lambda **options: Bars(frame.index, **columns, **options)


def by_datetimes(frame, path):
    columns = {name: frame[name].to_numpy() for name in (*PRICES, "volume")}
    return lambda **options: Bars(list(frame.index.to_pydatetime()), **columns, **options)


def by_objects(frame, path):
    frame = frame.set_axis(frame.index.astype(object))
    return lambda **options: Bars.from_frame(frame, **options)


def by_arrow(frame, path):
    frame = frame.reset_index()
    kind = pa.timestamp("ns", tz=zone_name(frame["time"].dt.tz))
    frame["time"] = frame["time"].astype(pd.ArrowDtype(kind))
    return lambda **options: Bars.from_frame(frame, **options)


def by_parquet(frame, path):
    frame.to_parquet(path / "bars.parquet")
    return lambda **options: load_bars(path / "bars.parquet", **options)


def by_feather(frame, path):
    frame.reset_index().to_feather(path / "bars.feather")
    return lambda **options: load_bars(path / "bars.feather", **options)


WAYS = [by_index, by_column, by_arrays, by_datetimes, by_objects, by_arrow, by_parquet, by_feather]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request):
    return request.param


class TestNamedZone:
    def test_gives_the_session(self, way, tmp_path):
        bars = way(zoned(SAO_PAULO), tmp_path)()
        np.testing.assert_array_equal(bars.minute, PLAIN.minute)
        np.testing.assert_array_equal(bars.day, PLAIN.day)
        assert (bars.timezone, bars.session_timezone) == ("UTC", SAO_PAULO)
        assert any(SAO_PAULO in note for note in bars.report.notes)
        assert (
            bars.content_hash
            == way(zoned(SAO_PAULO), tmp_path)(session_timezone=SAO_PAULO).content_hash
        )

    def test_gives_way_to_a_session_that_is_named(self, way, tmp_path):
        bars = way(zoned(SAO_PAULO), tmp_path)(session_timezone="UTC")
        np.testing.assert_array_equal(bars.minute, PLAIN.minute + 120)  # summer time, then
        assert bars.report.notes == ()

    @pytest.mark.parametrize("name", ["UTC", "America/New_York", "Asia/Tokyo"])
    def test_another_clock_of_the_file_is_refused(self, way, tmp_path, name):
        read = way(zoned(SAO_PAULO), tmp_path)
        for session in ("", "UTC", SAO_PAULO):
            with pytest.raises(bt.DataError, match=rf"{SAO_PAULO}, but timezone = '{name}'"):
                read(timezone=name, session_timezone=session)

    @pytest.mark.parametrize("name", [SAO_PAULO, "Brazil/East"])
    def test_the_same_clock_by_any_name_is_taken(self, way, tmp_path, name):
        bars = way(zoned(SAO_PAULO), tmp_path)(timezone=name)
        np.testing.assert_array_equal(bars.minute, PLAIN.minute)
        assert bars.session_timezone == SAO_PAULO

    def test_trades_are_those_of_the_markets_hours(self, way, tmp_path):
        def trades(bars):
            strategy = bt.BarraElefante(
                min_range_mult=1.1, max_shadow_ratio=0.9, entry_end="11:00", lookback=5
            )
            return len(bt.run(bars, strategy, bt.ExitRules(close_time="12:15"), engine="numba"))

        bars = way(zoned(SAO_PAULO), tmp_path)()
        assert trades(bars) == trades(PLAIN) > 0
        named_utc = way(zoned(SAO_PAULO), tmp_path)(session_timezone="UTC")
        assert trades(named_utc) != trades(PLAIN)

    def test_summer_time_is_the_zones(self, way, tmp_path):
        bars = (
            synthetic_bars(n_days=40, start="2019-02-20").to_frame().tz_localize("America/New_York")
        )
        minutes = way(bars, tmp_path)().minute
        assert minutes.tolist() == synthetic_bars(n_days=40, start="2019-02-20").minute.tolist()

    def test_in_a_configuration(self, cli, tmp_path, write_toml):
        by_parquet(zoned(SAO_PAULO), tmp_path)
        assert Config.load(write_toml("", data="bars.parquet")).load_bars().minute[0] == 540
        file = write_toml('[data]\npath = "bars.parquet"\ntimezone = "UTC"\n')
        assert "names another clock" in cli("run", file).err
        assert SAO_PAULO in cli("inspect", tmp_path / "bars.parquet").out

    def test_that_is_unknown_asks_for_the_session(self, tmp_path):
        table = pa.Table.from_pandas(PLAIN.to_frame().reset_index(), preserve_index=False)
        stamps = table["time"].cast(pa.timestamp("ns", tz="Mars/Base"))
        pq.write_table(table.set_column(0, "time", stamps), tmp_path / "mars.parquet")
        with pytest.raises(bt.DataError, match=r"'Mars/Base', which is unknown.*session_timezone"):
            load_bars(tmp_path / "mars.parquet")
        bars = load_bars(tmp_path / "mars.parquet", session_timezone=SAO_PAULO)
        assert bars.session_timezone == SAO_PAULO


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", UTC, ZoneInfo("GMT"), dateutil.tz.tzutc()])
def test_utc_by_any_name_is_utc(way, tmp_path, zone):
    bars = way(zoned(zone), tmp_path)()
    assert (bars.timezone, bars.session_timezone) == ("UTC", "UTC")
    assert bars.report.warnings == ()


class TestOffsets:
    def read(self, way, tmp_path, **options):
        return way(zoned(timezone(timedelta(hours=-3))), tmp_path)(**options)

    def test_without_a_session_there_is_a_warning(self, tmp_path):
        for way in (by_index, by_column, by_arrays, by_datetimes, by_objects, by_parquet):
            with pytest.warns(bt.BacktestWarning, match=r"UTC.*session_timezone") as caught:
                bars = self.read(way, tmp_path)
            assert [item.filename for item in caught] == [__file__]
            assert bars.session_timezone == "UTC"
            assert len(bars.report.warnings) == 1

    def test_with_one_there_is_none(self, way, tmp_path):
        for session in (SAO_PAULO, "UTC"):
            if way is not by_arrow:  # which cannot write the offset of datetime
                assert self.read(way, tmp_path, session_timezone=session).report.warnings == ()

    def test_of_texts(self, write, cli, write_toml):
        with pytest.warns(bt.BacktestWarning, match=r"data row 1 .*the session's clock is UTC"):
            assert load_bars(write(OFFSETS)).session_timezone == "UTC"
        bars = load_bars(write(OFFSETS), session_timezone=SAO_PAULO)
        assert bars.minute.tolist() == [540]
        off = '[strategy]\nname = "barra_elefante"\nparams = { min_volume_mult = 0 }\n'
        ran = cli("run", write_toml(off))
        assert ran.status == 0
        assert ran.err.count("session_timezone") == 1
        assert "the session's clock is UTC" in " ".join(cli("inspect", write(OFFSETS)).out.split())

    @pytest.mark.parametrize("text", ["Z", "+00:00", " UTC", "-0000", "+00"])
    def test_of_utc_need_no_warning(self, write, text):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_bars(write(OFFSETS.replace("-03:00", text))).minute.tolist() == [540]

    def test_of_a_zone_that_is_utc_in_winter_only(self, write):
        text = OFFSETS.replace("-03:00", "+00:00") + "2023-07-03T09:00:00+01:00,1,1,1,1\n"
        with pytest.warns(bt.BacktestWarning, match="session_timezone"):
            load_bars(write(text))


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (SAO_PAULO, SAO_PAULO),
        (ZoneInfo(SAO_PAULO), SAO_PAULO),
        (dateutil.tz.gettz(SAO_PAULO), SAO_PAULO),
        (dateutil.tz.tzoffset(None, 3600), ""),
        (timezone(timedelta(hours=5, minutes=30)), ""),
        ("+05:30", ""),
        ("-0300", ""),
        ("UTC+3", ""),
        ("+00:00", "UTC"),
        ("Etc/GMT+3", "Etc/GMT+3"),
        ("Zulu", "UTC"),
        (timezone(timedelta(0)), "UTC"),
    ],
)
def test_names_of_zones(zone, name):
    assert zone_name(zone) == name


def test_nanoseconds_of_timestamps_with_a_zone_are_kept():
    stamps = [pd.Timestamp("2024-01-02 09:00:00.123456789", tz=SAO_PAULO)]
    bars = Bars(stamps, **{name: [1.0] for name in PRICES})
    assert bars.time[0] % 1000 == 789
