"""Coarser bars: against a slow definition, against pandas, on clocks that change, and refused."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bar_columns import PRICES, good, make

import backtest_py as bt
from backtest_py.bars import Bars
from backtest_py.errors import ConfigError, DataError

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
MINUTE = 60_000_000_000
DAY = 1440
LENGTHS = {"5m": 5, "15m": 15, "30m": 30, "45m": 45, "1h": 60, "90m": 90, "2h": 120, "3h": 180}
LENGTHS |= {"4h": 240, "7h": 420, "1d": 1440}
ZONES = {  # when their clocks change, UTC
    "": ["2023-03-10T12:00"],
    "UTC": ["2023-03-10T12:00"],
    "America/New_York": ["2023-03-12T07:00", "2023-11-05T06:00"],  # at 02:00
    "America/Sao_Paulo": ["2018-02-18T02:00", "2018-11-04T03:00"],  # at midnight
    "Australia/Lord_Howe": ["2023-04-01T15:00", "2023-09-30T15:30"],  # by half an hour
}


@cache
def on_clock(minute, zone):
    """Return the minutes since 1970 on a zone's clock."""
    if zone in {"", "UTC"}:
        return minute
    local = datetime.fromtimestamp(minute * 60, UTC).astimezone(ZoneInfo(zone))
    return minute + int(local.utcoffset() / timedelta(minutes=1))


def slow(bars, length, origin="midnight", source=5):
    """Return (open minute, open, high, low, close, volume, complete) of each coarse bar.

    A coarse bar reaches as far, minute by minute, as the date and the place on the clock stay the
    same, unless the clock is set back just from its end to its start.
    """
    zone = bars.session_timezone
    minutes = [int(time) // MINUTE for time in bars.time]
    anchors = {}
    for minute in minutes:
        wall = on_clock(minute, zone)
        given_minute = {"midnight": 0, "session": wall % DAY}.get(origin)
        if given_minute is None:
            given_minute = int(origin[:2]) * 60 + int(origin[3:])
        anchors.setdefault(wall // DAY, given_minute)

    def key(wall):
        return wall // DAY, (wall % DAY - anchors.get(wall // DAY, 0)) // length

    def steps_on(minute):
        """Tell whether the minute after this one belongs to the same coarse bar."""
        wall, after = on_clock(minute, zone), on_clock(minute + 1, zone)
        begins_anew = after <= wall and key(after - 1) != key(after) and key(wall + 1) != key(wall)
        return key(wall) == key(after) and not begins_anew

    rows, at = [], 0
    while at < len(minutes):
        first = at
        while at + 1 < len(minutes) and all(map(steps_on, range(minutes[at], minutes[at + 1]))):
            at += 1
        opens, ends = minutes[first], minutes[at] + 1
        while steps_on(opens - 1):
            opens -= 1
        while steps_on(ends - 1):
            ends += 1
        volume = 0.0
        for row in range(first, at + 1):
            volume += float(bars.volume[row])
        rows.append(
            (
                opens,
                float(bars.open[first]),
                max(bars.high[first : at + 1].tolist()),
                min(bars.low[first : at + 1].tolist()),
                float(bars.close[at]),
                volume,
                minutes[at] + source >= ends,
                minutes[at] + source > ends,
            )
        )
        at += 1
    return rows


@st.composite
def fine_bars(draw):
    """Bars of 5 minutes with gaps, over the days on which a clock may change."""
    zone = draw(st.sampled_from(sorted(ZONES)))
    change = int(np.datetime64(draw(st.sampled_from(ZONES[zone])), "m").astype(np.int64))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n_slots = draw(st.sampled_from([12, 36, 100, 600]))
    kept = rng.random(n_slots) < draw(st.sampled_from([0.05, 0.2, 0.9, 1.0]))
    hours = draw(st.sampled_from([(0, 24), (0, 24), (9, 18), (1, 3)]))
    start = change - 5 * draw(st.integers(0, n_slots + 12))
    minutes = start + 5 * np.arange(n_slots)
    local = [on_clock(int(minute), zone) % DAY // 60 for minute in minutes]
    kept &= np.array([hours[0] <= hour < hours[1] for hour in local])
    minutes = minutes[kept]
    if not len(minutes):
        minutes = np.array([start])
    n = len(minutes)
    close = np.cumsum(rng.normal(size=n)) + 100.0
    opening = close + rng.normal(size=n)
    times = (minutes * MINUTE).astype("M8[ns]")
    if zone:
        times = pd.DatetimeIndex(times, tz="UTC")
    return Bars(
        times,
        open=opening,
        high=np.maximum(opening, close) + rng.random(n),
        low=np.minimum(opening, close) - rng.random(n),
        close=close,
        volume=np.where(rng.random(n) < 0.2, 0.0, rng.random(n) * 10.0 ** rng.integers(-9, 9, n)),
        session_timezone=zone,
    )


def same_as_slow(coarse, rows):
    assert (coarse.time // MINUTE).tolist() == [row[0] for row in rows]
    for number, name in enumerate((*PRICES, "volume"), 1):
        expected = np.array([row[number] for row in rows])
        np.testing.assert_array_equal(
            getattr(coarse, name).view(np.int64), expected.view(np.int64), err_msg=name
        )


class TestAgainstTheDefinition:
    @settings(max_examples=400, deadline=None)
    @given(
        bars=fine_bars(),
        interval=st.sampled_from(["5m", "15m", "30m", "45m", "1h", "90m", "2h", "3h", "4h", "1d"]),
        origin=st.sampled_from(["midnight", "session", "09:00", "01:30", "00:05"]),
    )
    def test_kept(self, bars, interval, origin):
        rows = slow(bars, LENGTHS[interval], origin)
        ask = {"origin": origin, "source": "5m", "incomplete": "keep"}
        if any(row[7] for row in rows):
            with pytest.raises(ConfigError, match="across the end of"):
                bars.resample(interval, **ask)
            return
        coarse = bars.resample(interval, **ask)
        same_as_slow(coarse, rows)
        # valid bars, and what their times say of the clock
        again = Bars(
            coarse.to_frame().index,
            **{name: getattr(coarse, name) for name in (*PRICES, "volume")},
            session_timezone=coarse.session_timezone,
        )
        assert again.minute.tolist() == coarse.minute.tolist()
        assert again.day.tolist() == coarse.day.tolist()
        assert coarse.session_dates.tolist() == bars.session_dates.tolist()

    @settings(max_examples=200, deadline=None)
    @given(
        bars=fine_bars(),
        interval=st.sampled_from(["15m", "1h", "90m", "2h", "3h", "4h", "7h", "1d"]),
        origin=st.sampled_from(["session", "01:30", "09:00"]),
    )
    def test_only_the_last_bar_may_be_dropped(self, bars, interval, origin):
        rows = slow(bars, LENGTHS[interval], origin)
        if any(row[7] for row in rows):
            return
        done = rows if rows[-1][6] else rows[:-1]
        if done:
            same_as_slow(bars.resample(interval, origin=origin, source="5m"), done)
        else:
            with pytest.raises(DataError, match="no bar is left"):
                bars.resample(interval, origin=origin, source="5m")

    @settings(max_examples=60, deadline=None)
    @given(
        bars=fine_bars(),
        interval=st.sampled_from(["15m", "1h", "4h", "1d"]),
        share=st.floats(0.01, 1.0),
        origin=st.sampled_from(["midnight", "session"]),
    )
    def test_what_comes_later_changes_nothing(self, bars, interval, share, origin):
        """Bars of a prefix are a prefix of the bars: nothing is known before it is over."""
        ask = {"origin": origin, "source": "5m"}
        try:
            part = bars[: max(1, int(share * len(bars)))].resample(interval, **ask)
            whole = bars.resample(interval, **ask)
        except (ConfigError, DataError):
            return
        for name in ("time", *PRICES, "volume", "minute", "day"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[: len(part)])

    def test_volume_is_summed_from_left_to_right(self):
        # in pairs, or from the right, the small ones would add up before they meet the large one
        volume = np.array([2.0**53, *([1.0] * 287)])
        coarse = make(**good(288, time=day_of("2024-01-02", 288), volume=volume)).resample("1d")
        assert coarse.volume.tolist() == [2.0**53]
        assert volume.sum() > 2.0**53

    def test_zeros_have_no_sign(self):
        zeros = {name: np.full(3, -0.0) for name in (*PRICES, "volume")}
        coarse = make(**good(3, **zeros)).resample("15m")
        for name in (*PRICES, "volume"):
            assert not np.signbit(getattr(coarse, name)).any()
        assert not coarse.has_volume


def day_of(date, n_bars, minutes=5):
    return np.datetime64(date, "ns") + np.arange(n_bars) * np.timedelta64(minutes, "m")


class TestAgainstPandas:
    @pytest.mark.parametrize("interval", ["15m", "30m", "1h", "4h", "12h", "1d"])
    def test_around_the_clock(self, interval):
        rng = np.random.default_rng(3)
        kept = np.sort(rng.choice(10 * 288, 2000, replace=False))
        close = 100.0 + np.cumsum(rng.integers(-3, 4, 2000))
        bars = Bars(
            day_of("2024-01-02", 10 * 288)[kept],
            open=close,
            high=close + 2,
            low=close - 1,
            close=close + 1,
            volume=rng.integers(0, 1000, 2000),
            timezone="UTC",
        )
        assert_as_pandas(bars, interval)

    @pytest.mark.skipif(not SHARED, reason="BACKTEST_PY_SHARED names no folder")
    @pytest.mark.parametrize("interval", ["1h", "4h", "1d"])
    def test_bitcoin(self, interval):
        bars = bt.load_bars(Path(SHARED) / "data" / "BTCUSDT_30m_2021-2023H1.parquet")
        coarse = assert_as_pandas(bars, interval)
        assert len(coarse) < (912 * DAY) // LENGTHS[interval] or interval != "1h"  # no bar invented

    @pytest.mark.skipif(not SHARED, reason="BACKTEST_PY_SHARED names no folder")
    @pytest.mark.parametrize("interval", ["15m", "30m", "60m"])
    def test_mini_index(self, interval):
        bars = bt.load_bars(Path(SHARED) / "data" / "WIN_M5_2023H1.csv")
        coarse = assert_as_pandas(bars, interval)
        assert coarse.session_dates.tolist() == bars.session_dates.tolist()
        ash = coarse.day == np.flatnonzero(coarse.session_dates == np.datetime64("2023-02-22"))[0]
        assert coarse.minute[ash][0] == 13 * 60
        for first, second in pairwise(("15m", "30m")):
            twice = bars.resample(first, incomplete="keep").resample(second, incomplete="keep")
            once = bars.resample(second, incomplete="keep")
            assert twice.close.tolist() == once.close.tolist()


def assert_as_pandas(bars, interval):
    """Compare with pandas, whose days are those of midnight where clocks never change."""
    frame = bars.to_frame().resample(
        interval.replace("m", "min").replace("d", "D"),
        label="left",
        closed="left",
        origin="start_day",
    )
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    expected = frame.agg(rules).dropna()
    coarse = bars.resample(interval, incomplete="keep")
    assert coarse.to_frame().index.tolist() == expected.index.tolist()
    for name in PRICES:
        assert getattr(coarse, name).tolist() == expected[name].tolist()
    np.testing.assert_allclose(coarse.volume, expected["volume"], rtol=1e-12)
    return coarse


class TestDaysOfOtherLengths:
    def half_hours(self, zone, start, n_bars):
        times = pd.date_range(start, periods=n_bars, freq="30min", tz=zone)
        values = np.arange(1.0, n_bars + 1)
        return Bars(times, open=values, high=values, low=values, close=values, volume=values)

    def test_clocks_put_back(self):
        """25 hours: the hour that comes twice gives two bars; longer ones run on through it."""
        bars = self.half_hours("America/New_York", "2023-11-05", 50)
        assert bars.day[-1] == 0
        hours = bars.resample("1h")
        assert (len(hours), hours.day[-1]) == (25, 0)
        assert np.unique(np.diff(hours.time)).tolist() == [60 * MINUTE]
        assert hours.minute[:4].tolist() == [0, 60, 60, 120]
        long = bars.resample("4h")
        assert long.minute.tolist() == [0, 240, 480, 720, 960, 1200]
        assert (np.diff(long.time) // MINUTE).tolist() == [300, 240, 240, 240, 240]
        assert len(bars.resample("1d")) == 1

    def test_a_bar_that_ends_where_the_clock_goes_back(self):
        """From 01:30 to 03:00, but after half an hour it is 01:00 again: it was over."""
        bars = self.half_hours("America/New_York", "2023-11-05", 50)
        assert bars[:4].resample("90m").minute.tolist() == [0, 90]
        assert bars.resample("90m").minute[:4].tolist() == [0, 90, 60, 90]

    def test_clocks_put_forward(self):
        bars = self.half_hours("America/New_York", "2023-03-12", 46)
        assert bars.day[-1] == 0
        hours = bars.resample("1h")
        assert len(hours) == 23
        assert hours.minute[:4].tolist() == [0, 60, 180, 240]
        long = bars.resample("4h")
        assert long.minute.tolist() == [0, 240, 480, 720, 960, 1200]
        assert long.volume[0] == 1 + 2 + 3 + 4 + 5 + 6
        assert (np.diff(long.time) // MINUTE).tolist() == [180, 240, 240, 240, 240]
        assert len(bars.resample("1d")) == 1

    @pytest.mark.parametrize("change", ["2023-03-11", "2023-11-04"])
    def test_step_by_step(self, change):
        """Bars of four hours on the clock, of which one has three or five, make longer ones."""
        bars = self.half_hours("America/New_York", change, 3 * 48 + 5)
        for longer in ("4h", "8h", "12h", "1d"):
            once = bars.resample(longer)
            twice = bars.resample("4h").resample(longer)
            assert twice.time.tolist() == once.time.tolist()
            assert twice.volume.tolist() == once.volume.tolist()
        days = bars.resample("1d")
        assert days.resample("1d").time.tolist() == days.time.tolist()

    def test_bars_of_another_clock(self):
        """Four hours of UTC start at odd hours of London's summer: no day of it holds them."""
        times = pd.DatetimeIndex(day_of("2023-03-25", 12, 240), tz="UTC")
        bars = make(**good(12, time=times, session_timezone="Europe/London"))
        assert len(bars[:7].resample("8h")) == 3
        with pytest.raises(ConfigError, match=r"bars\[7\], 4h from 2023-03-26 05:00 on"):
            bars.resample("8h")

    def test_a_day_without_midnight(self):
        """In Brazil clocks were put forward at midnight: the day opened at 01:00."""
        bars = self.half_hours("America/Sao_Paulo", "2018-11-04 01:00", 46)
        coarse = bars.resample("4h")
        assert coarse.time_text(0) == "2018-11-04 01:00"
        assert coarse.minute.tolist() == [60, 240, 480, 720, 960, 1200]


class TestOrigin:
    def test_first_bar_of_the_day(self):
        bars = bt.synthetic_bars(n_days=2)  # 09:00 to 18:00
        coarse = bars.resample("2h", origin="session")
        assert coarse.minute[:5].tolist() == [540, 660, 780, 900, 1020]
        assert coarse.day.tolist() == [0] * 5 + [1] * 4  # the last ends at 19:00, the bars at 18:05

    def test_time_of_day(self):
        late = bt.synthetic_bars(n_days=1)[7:]
        assert late.resample("1h", origin="09:30").minute.tolist()[:2] == [570, 630]
        assert late.resample("1h", origin="session").minute.tolist()[:2] == [575, 635]
        coarse = late.resample("90m", origin="10:00")
        assert coarse.minute.tolist() == [510, 600, 690, 780, 870, 960]

    def test_a_bar_ends_with_the_day(self):
        bars = make(**good(288, time=day_of("2024-01-02", 288)))
        coarse = bars.resample("7h", origin="session")
        assert coarse.minute.tolist() == [0, 420, 840, 1260]
        assert bars.resample("7h", origin="10:00").minute.tolist() == [0, 180, 600, 1020]
        assert coarse.volume.sum() == bars.volume.sum()

    def test_does_not_divide_the_day(self):
        with pytest.raises(ConfigError, match=r'does not divide the day.*origin="session"'):
            make().resample("35m")
        assert len(make(**good(14)).resample("35m", origin="session")) == 2


class TestIncomplete:
    def test_last_bar(self):
        bars = make(**good(8))  # 09:00 to 09:40
        assert bars.resample("15m").minute.tolist() == [540, 555]
        kept = bars.resample("15m", incomplete="keep")
        assert kept.minute.tolist() == [540, 555, 570]
        assert kept.close[-1] == bars.close[-1]
        assert "was dropped" in bars.resample("15m").report.notes[-1]
        assert "09:40, it ends at 2024-01-02 09:45" in kept.report.notes[-1]
        assert make(**good(9)).resample("15m").minute.tolist() == [540, 555, 570]

    def test_a_gap_in_the_middle_is_no_reason(self):
        bars = make(**good(8, time=day_of("2024-01-02T09:00", 12)[[0, 4, 5, 6, 8, 9, 10, 11]]))
        coarse = bars.resample("15m")
        assert coarse.minute.tolist() == [540, 555, 570, 585]
        assert coarse.open.tolist() == bars.open[[0, 1, 3, 5]].tolist()

    def test_no_bar_is_invented(self):
        bars = make(**good(6, time=day_of("2024-01-02T09:00", 60)[[0, 1, 2, 57, 58, 59]]))
        assert bars.resample("15m").minute.tolist() == [540, 825]

    def test_nothing_left(self):
        with pytest.raises(DataError, match=r'no bar is left.*incomplete="keep"'):
            make(**good(2)).resample("15m")

    def test_a_first_bar_without_its_beginning_is_noted(self):
        notes = make(**good(6)).resample("1h", incomplete="keep").report.notes
        assert not any("first bar" in note for note in notes)
        notes = make(**good(6))[2:].resample("1h", incomplete="keep").report.notes
        assert "the first bar of 1h, from 2024-01-02 09:00, has only bars from" in notes[1]


class TestSource:
    def test_said_by_the_report(self):
        bars = bt.synthetic_bars(n_days=1).resample("15m")
        assert bars.report.interval == "15m"
        coarse = bars[::][:8].resample("30m")
        assert "of 15m" in coarse.report.notes[-1]
        with pytest.raises(ConfigError, match="'5m' is finer than that of the bars, 15m"):
            bars[:1].resample("5m")

    def test_smallest_step_of_a_day(self):
        times = day_of("2024-01-02T09:00", 40)[[0, 2, 4, 6, 9, 11]]
        with pytest.raises(ConfigError, match="'5m' is finer than that of the bars, 10m"):
            make(time=times).resample("5m")
        with pytest.raises(ConfigError, match="'15m' is not a multiple of that of the bars, 10m"):
            make(time=times).resample("15m")
        assert make(time=times).resample("15m", source="5m").minute.tolist() == [540, 555, 570, 585]

    def test_not_known(self):
        times = np.array(["2024-01-02T09:00", "2024-01-03T09:00"], "M8[ns]")
        with pytest.raises(ConfigError, match="no day has two bars"):
            make(**good(2, time=times)).resample("1d")
        assert len(make(**good(2, time=times)).resample("1h", source="1h")) == 2

    def test_contradicted(self):
        with pytest.raises(ConfigError, match=r"said to be of 10m, but bars\[1\] opens 5m after"):
            make().resample("30m", source="10m")

    def test_across_an_edge(self):
        times = day_of("2024-01-02T09:02", 6)
        with pytest.raises(ConfigError, match=r"bars\[2\], 5m from 2024-01-02 09:12 on"):
            make(time=times).resample("15m")
        assert make(time=times).resample("15m", origin="session").minute.tolist() == [542, 557]

    def test_across_midnight(self):
        """Four hours of UTC begin at 21:00 in São Paulo, and end on another trading day."""
        times = pd.DatetimeIndex(day_of("2024-01-02", 12, 240), tz="UTC")
        bars = make(**good(12, time=times, session_timezone="America/Sao_Paulo"))
        for origin in ("midnight", "session", "21:00"):
            with pytest.raises(ConfigError, match="end of its trading day"):
                bars.resample("12h", origin=origin)


class TestWhatComesAlong:
    def test_report(self):
        bars = make(atr=np.ones(6))
        coarse = bars.resample("15m")
        assert coarse.atr_column is None
        assert coarse.report.interval == "15m"
        assert coarse.report.notes == (
            "made of 6 bars of 5m, origin midnight",
            "the column atr is left out: it holds the ranges of the finer bars",
        )
        assert make().resample("30m").report.interval == "30m"
        assert make(**good(12)).resample("60m").report.interval == "1h"

    def test_file(self, write_bars):
        rows = [(f"2024-01-02 09:{m:02d}", 10, 12, 9, 11, 3) for m in range(0, 60, 5)]
        bars = bt.load_bars(write_bars(rows))
        coarse = bars.resample("30m")
        assert coarse.report.source == "bars.csv"
        assert coarse.report.volume_kind == bars.report.volume_kind
        # the file would give the finer bars again
        assert (bars.report.arguments is None, coarse.report.arguments) == (False, None)

    def test_clocks(self):
        bars = bt.synthetic_bars(n_days=3, timezone="America/Sao_Paulo")
        coarse = bars.resample("1h")
        assert (coarse.timezone, coarse.session_timezone) == (bars.timezone, bars.session_timezone)
        assert coarse.session_dates.tolist() == bars.session_dates.tolist()
        assert not coarse.close.flags.writeable
        assert coarse.content_hash == pickle.loads(pickle.dumps(coarse)).content_hash
        assert bars.resample("1h").content_hash == coarse.content_hash

    def test_on_both_engines(self):
        bars = bt.synthetic_bars(n_days=60).resample("15m")
        results = [
            bt.run(
                bars,
                bt.BarraElefante(min_range_mult=1.2, min_volume_mult=0.8, lookback=10),
                bt.ExitRules(stop=1.5, target=2.0, close_time="17:30"),
                bt.Contract(tick_size=5, point_value=0.2),
                engine=engine,
            )
            for engine in ("numba", "rust")
        ]
        assert results[0].metrics["total_trades"] > 20
        pd.testing.assert_frame_equal(results[0].trades, results[1].trades, check_exact=True)
        assert repr(dict(results[0].metrics)) == repr(dict(results[1].metrics))

    def test_sum_too_large(self):
        with pytest.raises(DataError, match=r"volumes of bars\[0\] to bars\[2\] add up"):
            make(volume=np.full(6, 1.7e308)).resample("15m")

    @pytest.mark.parametrize("date", ["1677-09-21T00:15", "2262-04-11T23:00"])
    def test_far_times(self, date):
        with pytest.raises(DataError, match="not wholly within what nanoseconds"):
            make(**good(3, time=day_of(date, 3))).resample("15m")


class TestRefusals:
    @pytest.mark.parametrize(
        "text",
        ["", "15", "m", "15min", "0m", "-15m", "1.5h", " 15m", "15m\n", "M15", "٣m", "9" * 99],
    )
    def test_no_interval(self, text):
        with pytest.raises(ConfigError, match="is no interval; write a number"):
            make().resample(text)

    @pytest.mark.parametrize("value", [15, None, 15.0, timedelta(minutes=15), ["15m"], b"15m"])
    def test_no_text(self, value):
        with pytest.raises(ConfigError, match="is no interval; write a number"):
            make().resample(value)

    @pytest.mark.parametrize("text", ["2d", "3d", "1w", "1M", "25h", "1441m"])
    def test_longer_than_a_day(self, text):
        with pytest.raises(ConfigError, match="never crosses a trading day"):
            make().resample(text)

    @pytest.mark.parametrize("label", ["close", "right"])
    def test_label_of_the_close(self, label):
        with pytest.raises(ConfigError, match="the time of a bar is when it opens"):
            make().resample("15m", label=label)

    def test_closed_on_the_right(self):
        with pytest.raises(ConfigError, match="belongs to the next one"):
            make().resample("15m", closed="right")

    @pytest.mark.parametrize(
        "choice",
        [
            {"label": "left side"},
            {"label": ["open"]},
            {"closed": "both"},
            {"incomplete": "maybe"},
            {"origin": "noon"},
            {"origin": "9:00"},
            {"origin": "24:00"},
            {"origin": 9},
            {"source": "tick"},
        ],
    )
    def test_unknown_choice(self, choice):
        with pytest.raises(ConfigError):
            make().resample("15m", **choice)

    def test_defaults_by_their_names(self):
        ask = {"label": "open", "closed": "left", "origin": "midnight", "incomplete": "drop"}
        assert make().resample("15m", **ask).time.tolist() == make().resample("15m").time.tolist()
        assert len(make().resample("15m", label="left")) == 2
