"""Sessions of B3 and of markets that never close, and bars that keep to them or do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt
from backtest_py.data import check_sessions, sessions, sessions_of
from backtest_py.data.market import calendars
from backtest_py.errors import ConfigError

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
SAO_PAULO = "America/Sao_Paulo"


def hours(found):
    """Return the opening and the close of each session on São Paulo's clock, by day."""
    frame = found.to_frame().tz_localize(None)
    return {
        day.date().isoformat(): tuple(
            row[name].tz_convert(SAO_PAULO).strftime("%H:%M") for name in ("open", "close")
        )
        for day, row in frame.iterrows()
    }


def win_bars(start, end, leave_out=(), minutes=5, zone=""):
    """Make bars that keep to the sessions of WIN, without those at some times."""
    times = []
    for day, (opens, closes) in hours(sessions("win", start, end)).items():
        edges = [np.datetime64(f"{day}T{clock}", "m") for clock in (opens, closes)]
        times.append(np.arange(*edges, np.timedelta64(minutes, "m")))
    kept = np.concatenate(times)
    kept = kept[~np.isin(kept, np.array(leave_out, "M8[m]"))]
    flat = np.full(len(kept), 100.0)
    return bt.Bars(kept.astype("M8[ns]"), flat, flat, flat, flat, flat, timezone=zone)


class TestSessions:
    def test_carnival_and_ash_wednesday(self):
        found = hours(sessions("win", "2023-02-16", "2023-02-24"))
        assert found == {
            "2023-02-16": ("09:00", "18:25"),
            "2023-02-17": ("09:00", "18:25"),
            "2023-02-22": ("13:00", "18:25"),
            "2023-02-23": ("09:00", "18:25"),
        }

    @pytest.mark.parametrize(
        ("start", "end", "closes"),
        [
            # New York puts its clocks forward on the second Sunday of March, back in November
            ("2020-03-06", "2020-03-10", ["18:25", "17:55"]),
            ("2020-10-30", "2020-11-04", ["17:55", "18:25"]),  # the 2nd is a holiday
            ("2022-11-04", "2022-11-08", ["17:55", "18:25"]),
            ("2023-03-10", "2023-03-14", ["18:25", "17:55"]),
            # since 2024 futures close at the same time all year
            ("2024-03-08", "2024-03-12", ["18:25", "18:25"]),
            ("2024-11-01", "2024-11-05", ["18:25", "18:25"]),
        ],
    )
    def test_close_by_the_clocks_of_new_york(self, start, end, closes):
        found = list(hours(sessions("win", start, end)).values())
        assert [each[1] for each in (found[0], found[-1])] == closes
        later = list(hours(sessions("wdo", start, end)).values())
        assert [each[1] for each in (later[0], later[-1])] == [
            {"17:55": "18:00", "18:25": "18:30"}[close] for close in closes
        ]

    @pytest.mark.parametrize(
        ("day", "trades"),
        [
            ("2022-12-23", True),
            ("2021-12-24", False),  # Christmas Eve
            ("2022-12-30", False),  # the last working day of that year
            ("2021-12-30", True),
            ("2021-12-31", False),
            ("2023-04-07", False),  # Good Friday
            ("2023-06-08", False),  # Corpus Christi
            ("2023-06-09", True),
            ("2021-01-25", False),  # the city's day, a session since 2022
            ("2022-01-25", True),
            ("2023-11-20", True),
            ("2024-11-20", False),  # a holiday of the whole country since 2024
            ("2023-02-25", False),  # Saturday
        ],
    )
    def test_days(self, day, trades):
        following = date.fromisoformat(day).toordinal() + 1
        assert len(sessions("win", day, date.fromordinal(following))) == trades

    def test_never_closes(self):
        found = sessions("crypto", "2024-02-28", "2024-03-02")
        frame = found.to_frame()
        assert frame.index.strftime("%m-%d").tolist() == ["02-28", "02-29", "03-01"]
        assert ((frame["close"] - frame["open"]) == pd.Timedelta(days=1)).all()
        assert frame["open"].iloc[0] == pd.Timestamp("2024-02-28", tz="UTC")
        assert found.why[0] == "never closes"

    def test_hours_that_are_not_known(self):
        found = sessions("win", "2019-11-01", "2019-11-05")
        frame = found.to_frame()
        assert frame["open"].isna().tolist() == [True, False]
        assert found.why[0] == "hours before 2019-11-04 are not known"
        assert len(sessions("win", "2003-01-01", "2004-01-01")) > 240

    def test_days_are_given_in_many_ways(self):
        expected = sessions("win", "2023-02-22", "2023-02-24").dates.tolist()
        for start in (
            date(2023, 2, 22),
            datetime(2023, 2, 22, 9, tzinfo=UTC),
            np.datetime64("2023-02-22"),
        ):
            assert sessions("WIN", start, "2023-02-24").dates.tolist() == expected
        assert len(sessions("win", "2023-02-22", "2023-02-22")) == 0

    def test_of_bars_and_of_times(self):
        bars = win_bars("2023-02-16", "2023-02-24", zone=SAO_PAULO)
        for times in (bars, bars.time, bars.to_frame().index, ["2023-02-16", "2023-02-23 18:20"]):
            found = sessions_of(times, "win")
            assert found.dates.astype(str).tolist() == list(
                hours(sessions("win", "2023-02-16", "2023-02-24"))
            )

    def test_days_of_utc_are_not_those_of_sao_paulo(self):
        night = pd.DatetimeIndex(["2023-02-24 01:00"], tz="UTC")
        assert sessions_of(night, "win").dates.astype(str).tolist() == ["2023-02-23"]
        assert sessions_of(night, "crypto").dates.astype(str).tolist() == ["2023-02-24"]

    @pytest.mark.parametrize("market", ["nyse", "", None, ["win"], 3])
    def test_unknown_market(self, market):
        with pytest.raises(ConfigError, match="unknown market"):
            sessions(market, "2023-01-01", "2023-02-01")
        with pytest.raises(ConfigError, match="unknown market"):
            sessions_of(["2023-01-02"], market)

    @pytest.mark.parametrize(
        ("start", "end", "says"),
        [
            ("2023-02-30", "2023-03-01", "start = '2023-02-30' is not a day"),
            ("2023-02-01", "tomorrow", "end = 'tomorrow' is not a day"),
            ("2023-02-01", None, "end = None is not a day"),
            (20230201, "2023-03-01", "start = 20230201 is not a day"),
            ("2023-02-01", np.datetime64("NaT"), "is not a day"),
            ("2023-03-01", "2023-02-01", "start = 2023-03-01 lies after end = 2023-02-01"),
            ("1999-12-31", "2000-02-01", "start = 1999-12-31 lies outside of the calendar"),
            ("2023-03-01", "2300-01-01", "end = 2300-01-01 lies outside of the calendar"),
            ("2023-03-01", "2100-01-01", "the last day that the calendar of B3 knows"),
        ],
    )
    def test_days_that_cannot_be(self, start, end, says):
        with pytest.raises(ConfigError, match=says):
            sessions("win", start, end)

    def test_no_time(self):
        with pytest.raises(ConfigError, match="there is no time"):
            sessions_of([], "win")

    def test_the_package_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "exchange_calendars", None)
        calendars._calendar.cache_clear()
        with pytest.raises(ConfigError, match=r'pip install "backtest-py\[data\]"'):
            sessions("win", "2023-01-01", "2023-02-01")
        assert len(sessions("crypto", "2023-01-01", "2023-02-01")) == 31

    def test_is_loaded_only_when_it_is_used(self):
        code = (
            "import sys, backtest_py as bt; bt.synthetic_bars(n_days=3).resample('15m');"
            "import backtest_py.data;"
            "loaded = {'exchange_calendars', 'backtest_py.data.market.calendars'} & {*sys.modules};"
            "sys.exit(str(loaded) if loaded else 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        assert done.returncode == 0, done.stderr


class TestCheck:
    def test_clean(self):
        bars = win_bars("2023-02-16", "2023-03-20")
        found = check_sessions(bars, market="win")
        assert found.clean
        assert (found.sessions, found.traded) == (20, 20)
        for coarse in ("15m", "1h", "4h", "1d"):  # the last session ends within a bar
            assert check_sessions(bars.resample(coarse, incomplete="keep"), market="win").clean

    def test_of_another_clock(self):
        bars = win_bars("2023-03-09", "2023-03-16", zone=SAO_PAULO)
        utc = bt.Bars(bars.to_frame().index, *(bars.close,) * 4)
        assert utc.session_timezone == "UTC"
        assert check_sessions(utc, market="win").clean
        # taken for São Paulo's, the same readings are three hours late
        naive = bt.Bars(bars.time.view("M8[ns]"), *(bars.close,) * 4)
        found = check_sessions(naive, market="win")
        assert len(found.late_starts) == len(found.outside) == 5

    def test_everything_that_can_be_wrong(self):
        bars = win_bars(
            "2023-02-16",
            "2023-03-03",
            leave_out=[
                *np.arange("2023-02-22T13:00", "2023-02-22T18:25", 5, "M8[m]"),  # a session
                *np.arange("2023-02-23T09:00", "2023-02-23T10:00", 5, "M8[m]"),  # begins late
                *np.arange("2023-02-24T17:00", "2023-02-24T18:25", 5, "M8[m]"),  # ends early
                "2023-02-27T12:00",  # a gap within
                "2023-03-02T18:20",  # the end of the bars
            ],
        )
        times = bars.time.view("M8[ns]").astype("M8[m]")
        strays = ["2023-02-20T10:00", "2023-02-20T10:05", "2023-02-25T11:00"]  # carnival, Saturday
        strays += ["2023-02-28T08:55", "2023-02-28T18:25", "2023-02-28T18:30"]
        times = np.sort(np.concatenate([times, np.array(strays, "M8[m]")]))
        flat = np.full(len(times), 100.0)
        found = check_sessions(bt.Bars(times.astype("M8[ns]"), *(flat,) * 4), market="win")
        winter = "winter time in New York"
        assert not found.clean
        assert found.missing == ("2023-02-22",)
        assert found.unexpected == ("2023-02-20", "2023-02-25")
        assert found.late_starts == (("2023-02-23", "09:00", "10:00", winter),)
        assert found.early_ends == (
            ("2023-02-24", "18:25", "17:00", winter),
            ("2023-03-02", "18:25", "18:20", "the bars end here"),
        )
        assert found.outside == (("2023-02-28", 3, "08:55", "18:30"),)
        assert (found.first, found.last) == ("2023-02-16", "2023-03-02")
        assert (found.sessions, found.traded, found.hours_unknown) == (9, 8, 0)

    def test_ash_wednesday_opened_at_nine(self):
        times = np.arange("2023-02-22T09:00", "2023-02-22T18:25", 5, "M8[m]").astype("M8[ns]")
        found = check_sessions(bt.Bars(times, *(np.full(len(times), 9.0),) * 4), market="win")
        assert found.outside == (("2023-02-22", 48, "09:00", "12:55"),)

    def test_no_session_at_all(self):
        found = check_sessions(bt.Bars(["2023-02-20 10:00"], *([9.0],) * 4), market="win")
        assert (found.sessions, found.unexpected) == (0, ("2023-02-20",))

    def test_hours_that_are_not_known_are_not_judged(self):
        bars = bt.synthetic_bars(n_days=5, start="2019-03-11", first_minute=700, bars_per_day=3)
        found = check_sessions(bars, market="win")
        assert (found.hours_unknown, found.clean) == (5, True)

    def test_never_closes(self):
        times = np.arange("2024-01-01", "2024-01-05", 30, "M8[m]")
        times = times[
            (times < np.datetime64("2024-01-02")) | (times >= np.datetime64("2024-01-03T01"))
        ]
        found = check_sessions(
            bt.Bars(times.astype("M8[ns]"), *(np.full(len(times), 9.0),) * 4), market="24/7"
        )
        assert found.missing == ("2024-01-02",)
        assert found.late_starts == (("2024-01-03", "00:00", "01:00", "never closes"),)
        assert found.early_ends == ()
        cut = check_sessions(
            bt.Bars(times[:-1].astype("M8[ns]"), *(np.full(len(times) - 1, 9.0),) * 4),
            market="crypto",
        )
        assert cut.early_ends == (("2024-01-04", "24:00", "23:30", "the bars end here"),)

    def test_ready_for_json(self):
        found = check_sessions(bt.synthetic_bars(n_days=3), market="win").to_mapping()
        assert json.loads(json.dumps(found)) == {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
        }


@pytest.mark.skipif(not SHARED, reason="BACKTEST_PY_SHARED names no folder")
class TestRealBars:
    def test_mini_index(self):
        """102 sessions, carnival, Ash Wednesday and New York's summer time among them."""
        bars = bt.load_bars(Path(SHARED) / "data" / "WIN_M5_2023H1.csv")
        found = check_sessions(bars, market="win")
        assert (found.sessions, found.traded) == (102, 102)
        assert found.missing == found.unexpected == found.early_ends == found.outside == ()
        assert found.late_starts == (
            ("2023-02-01", "09:00", "11:30", "the bars begin here"),
            ("2023-06-12", "09:00", "11:25", "summer time in New York"),  # the source lacks them
        )
        expected = hours(sessions_of(bars, "win"))
        for day, first, last in (
            ("2023-02-22", "13:00", "18:20"),  # Ash Wednesday
            ("2023-03-10", "09:00", "18:20"),
            ("2023-03-13", "09:00", "17:50"),  # New York put its clocks forward on the 12th
        ):
            number = np.flatnonzero(bars.session_dates == np.datetime64(day))[0]
            rows = np.flatnonzero(bars.day == number)
            assert bars.time_text(rows[0])[-5:] == first == expected[day][0]
            assert bars.time_text(rows[-1])[-5:] == last
            assert expected[day][1] == {"18:20": "18:25", "17:50": "17:55"}[last]

    def test_profit_export_of_2022(self):
        bars = bt.load_bars(Path(SHARED) / "data" / "WIN_M5_sample_profit.csv")
        found = check_sessions(bars, market="win")
        assert found.late_starts == (("2022-05-16", "09:00", "10:45", "the bars begin here"),)
        assert (found.missing, found.early_ends, found.outside) == ((), (), ())

    def test_bitcoin(self):
        bars = bt.load_bars(Path(SHARED) / "data" / "BTCUSDT_30m_2021-2023H1.parquet")
        found = check_sessions(bars, market="crypto")
        assert (found.sessions, found.traded) == (911, 911)
        assert {each.date for each in found.early_ends} >= {"2022-02-14", "2023-03-15"}


class TestInspect:
    @pytest.fixture
    def file(self, tmp_path):
        bars = win_bars("2023-02-16", "2023-02-24", leave_out=["2023-02-22T13:00"])
        path = tmp_path / "win.csv"
        bars.to_frame().to_csv(path)
        return path

    def test_prints(self, cli, file):
        outcome = cli("inspect", file, "--calendar", "win")
        words = " ".join(outcome.out.split())
        assert outcome.status == 0
        assert "Calendar win (America/Sao_Paulo), 2023-02-16 to 2023-02-23: 4 sessions" in words
        assert "2023-02-22 late start 13:00 13:05 Ash Wednesday; winter time in New York" in words
        assert "Calendar" not in cli("inspect", file).out

    def test_json(self, cli, file):
        found = json.loads(cli("inspect", file, "--calendar", "win", "--json").out)["calendar"]
        assert found["late_starts"][0]["found"] == "13:05"
        assert found["clean"] is False
        assert "calendar" not in json.loads(cli("inspect", file, "--json").out)

    def test_many_days_are_cut_short(self, cli, write_bars):
        rows = [(f"2023-{month:02d}-01 10:00", 9, 9, 9, 9, 1) for month in range(1, 7)]
        out = " ".join(cli("inspect", write_bars(rows), "--calendar", "win").out.split())
        assert "more" in out
        assert "2023-01-02" in out

    def test_unknown_market(self, cli, file):
        outcome = cli("inspect", file, "--calendar", "nasdaq")
        assert outcome.status == 2
        assert "unknown market 'nasdaq'" in outcome.err
