# ruff: noqa: DTZ001 - wall clocks without a zone are the point
"""Clocks against Python's own datetimes, one time at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_py.bars import ReadOptions
from backtest_py.bars.clocks import minutes_and_days, resolve_clocks, to_instants, wall_clock
from backtest_py.bars.timestamps import Times, time_text
from backtest_py.errors import ConfigError, DataError

EPOCH = datetime(1970, 1, 1)
ZONES = [
    "America/Sao_Paulo",
    "America/New_York",
    "Europe/Lisbon",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Pacific/Apia",
    "America/St_Johns",
    "UTC",
]


def ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def moments(*texts):
    return Times(np.array([ns(datetime.fromisoformat(text)) for text in texts]), has_zone=False)


def utc_texts(instants):
    return [time_text(instant) for instant in instants.tolist()]


def localise(zone, *texts, **choices):
    options = ReadOptions(timezone=zone, **choices)
    return to_instants(options, moments(*texts), "row {}".format)


@pytest.mark.parametrize("zone", ZONES)
def test_wall_clock_is_that_of_python(zone):
    instants = np.arange(
        ns(datetime(2000, 1, 1)), ns(datetime(2027, 1, 1)), 7_777_777_777_777_777 // 9
    )
    expected = [
        ns((EPOCH.replace(tzinfo=UTC) + timedelta(microseconds=instant // 1000))
           .astimezone(ZoneInfo(zone)).replace(tzinfo=None))
        for instant in instants.tolist()
    ]  # fmt: skip
    np.testing.assert_array_equal(wall_clock(instants, zone) // 1000 * 1000, expected)


@settings(max_examples=300, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    minutes=st.lists(st.integers(0, 20 * 366 * 24 * 60), min_size=1, max_size=30),
    ambiguous=st.sampled_from(["earlier", "later"]),
)
def test_each_time_means_what_python_says(zone, minutes, ambiguous):
    walls = [datetime(2005, 1, 1) + timedelta(minutes=minute) for minute in sorted(minutes)]
    fold = 0 if ambiguous == "earlier" else 1
    expected = []
    for wall in walls:
        utc = wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
        if utc.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall:
            # Never shown. Walk to the first minute that is.
            while utc.astimezone(ZoneInfo(zone)).replace(tzinfo=None) > wall:
                utc -= timedelta(minutes=1)
            utc += timedelta(minutes=1)
        expected.append(ns(utc.replace(tzinfo=None)))
    times = Times(np.array([ns(wall) for wall in walls]), has_zone=False)
    options = ReadOptions(timezone=zone, ambiguous=ambiguous, nonexistent="shift_forward")
    assert to_instants(options, times, str).tolist() == expected


def test_changes_of_one_year_are_those_of_the_tz_database():
    hours = pd.date_range("1990-01-01", "2037-12-31", freq="h")
    for zone in ZONES:
        theirs = hours.tz_localize("UTC").tz_convert(zone).tz_localize(None)
        ours = wall_clock(hours.as_unit("ns").asi8, zone)
        np.testing.assert_array_equal(ours, theirs.as_unit("ns").asi8)


class TestRepeatedHour:
    """New York, 2023-11-05: 01:00 to 01:59 came twice, first at UTC-4, then at UTC-5."""

    FIRST = "2023-11-05 05:30"
    SECOND = "2023-11-05 06:30"

    def test_infer_takes_the_earlier(self):
        instants = localise("America/New_York", "2023-11-05 01:30", "2023-11-05 03:00")
        assert utc_texts(instants) == [self.FIRST, "2023-11-05 08:00"]

    def test_infer_takes_the_later_where_the_earlier_would_not_increase(self):
        instants = localise("America/New_York", "2023-11-05 01:30", "2023-11-05 01:30")
        assert utc_texts(instants) == [self.FIRST, self.SECOND]

    def test_infer_reads_both_hours_of_a_day_in_full(self):
        walls = [
            f"2023-11-05 0{hour}:{minute:02d}"
            for hour in (0, 1, 1, 2)
            for minute in range(0, 60, 15)
        ]
        instants = localise("America/New_York", *walls)
        assert (np.diff(instants) == 15 * 60 * 10**9).all()

    def test_infer_decides_row_by_row(self):
        # The second 01:00 must be the later, and so must everything after it that would fall back.
        instants = localise(
            "America/New_York", "2023-11-05 01:45", "2023-11-05 01:00", "2023-11-05 01:50"
        )
        assert utc_texts(instants) == ["2023-11-05 05:45", "2023-11-05 06:00", "2023-11-05 06:50"]

    def test_infer_compares_with_an_ordinary_row_too(self):
        # After 02:00 EST nothing of the repeated hour increases: the later, and still too early.
        instants = localise("America/New_York", "2023-11-05 02:00", "2023-11-05 01:30")
        assert utc_texts(instants) == ["2023-11-05 07:00", self.SECOND]

    @pytest.mark.parametrize(("choice", "expected"), [("earlier", FIRST), ("later", SECOND)])
    def test_explicit_choice(self, choice, expected):
        instants = localise("America/New_York", "2023-11-05 01:30", ambiguous=choice)
        assert utc_texts(instants) == [expected]

    def test_refusal_names_the_rows(self):
        walls = [
            "2023-11-05 00:59",
            *(f"2023-11-05 01:{minute:02d}" for minute in range(7)),
            "2023-11-05 02:00",
        ]
        with pytest.raises(
            DataError, match=r"row 1 = 2023-11-05 01:00, row 2 = .* and 2 more: .*twice"
        ):
            localise("America/New_York", *walls, ambiguous="refuse")

    def test_the_bounds_of_the_hour(self):
        walls = ["2023-11-05 00:59:59.999999", "2023-11-05 01:59:59.999999", "2023-11-05 02:00"]
        later = localise("America/New_York", *walls, ambiguous="later")
        assert np.diff(later).tolist() == [2 * 3600 * 10**9, 1000]


class TestSkippedHour:
    """New York, 2023-03-12: after 01:59 came 03:00."""

    def test_refusal_names_the_rows(self):
        with pytest.raises(DataError, match=r"row 1 = 2023-03-12 02:30: .*skipped.*shift_forward"):
            localise("America/New_York", "2023-03-12 01:30", "2023-03-12 02:30", "2023-03-12 03:00")

    def test_shift_forward_takes_the_first_instant_after(self):
        instants = localise("America/New_York", "2023-03-12 02:30", nonexistent="shift_forward")
        assert utc_texts(instants) == ["2023-03-12 07:00"]

    def test_the_hours_around_it_exist(self):
        instants = localise("America/New_York", "2023-03-12 01:59", "2023-03-12 03:00")
        assert utc_texts(instants) == ["2023-03-12 06:59", "2023-03-12 07:00"]

    def test_midnight_can_be_skipped(self):
        # Sao Paulo, until 2018: summer time began at midnight.
        with pytest.raises(DataError, match="skipped"):
            localise("America/Sao_Paulo", "2018-11-04 00:00")


def test_sao_paulo_has_had_no_summer_time_since_2019():
    instants = localise("America/Sao_Paulo", "2022-01-03 09:00", "2022-07-01 09:00")
    assert utc_texts(instants) == ["2022-01-03 12:00", "2022-07-01 12:00"]


def test_the_far_ends_of_nanoseconds_are_read():
    walls = ["1677-09-22 00:00", "2262-04-10 00:00"]
    instants = localise("America/New_York", *walls)
    np.testing.assert_array_equal(wall_clock(instants, "America/New_York"), moments(*walls).ns)


class TestWhichClockHolds:
    NAIVE = Times(np.array([0]), has_zone=False)
    AWARE = Times(np.array([0]), has_zone=True)

    @pytest.mark.parametrize(
        ("timezone", "session", "naive", "aware"),
        [
            ("", "", ("", ""), ("UTC", "UTC")),
            ("Asia/Tokyo", "", ("Asia/Tokyo", "Asia/Tokyo"), ("UTC", "UTC")),
            ("", "Asia/Tokyo", ("UTC", "Asia/Tokyo"), ("UTC", "Asia/Tokyo")),
            ("UTC", "Asia/Tokyo", ("UTC", "Asia/Tokyo"), ("UTC", "Asia/Tokyo")),
        ],
    )
    def test_by_both_names(self, timezone, session, naive, aware):
        options = ReadOptions(timezone=timezone, session_timezone=session)
        assert resolve_clocks(options, self.NAIVE, str) == naive
        assert resolve_clocks(options, self.AWARE, str) == aware

    def test_timezone_is_ignored_for_instants(self):
        options = ReadOptions(timezone="Asia/Tokyo")
        assert to_instants(options, self.AWARE, str).tolist() == [0]


@pytest.mark.parametrize("key", ["timezone", "session_timezone"])
@pytest.mark.parametrize(
    "name", ["Sao Paulo", "America/Sao_Paolo", "America", "../etc/passwd", "/etc", "\0"]
)
def test_unknown_zone(key, name):
    with pytest.raises(ConfigError, match="time zone"):
        ReadOptions(**{key: name})


def test_unknown_zone_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'America/Sao_Paulo'"):
        ReadOptions(timezone="America/Sao_Paolo")


@pytest.mark.parametrize("key", ["ambiguous", "nonexistent", "timezone"])
@pytest.mark.parametrize("value", ["guess", 3, None])
def test_unknown_choice(key, value):
    with pytest.raises(ConfigError):
        ReadOptions(**{key: value})


class TestMinutesAndDays:
    @staticmethod
    def of(*texts):
        minute, day = minutes_and_days(moments(*texts).ns)
        assert minute.dtype == day.dtype == np.int32
        return minute.tolist(), day.tolist()

    def test_minutes_are_floored(self):
        assert self.of("2024-01-02 09:00:59.999999", "2024-01-02 23:59:59") == ([540, 1439], [0, 0])

    def test_before_1970(self):
        assert self.of("1969-12-31 23:59:30", "1970-01-01 00:00") == ([1439, 0], [0, 1])

    def test_days_count_dates_that_have_bars(self):
        assert self.of("2024-01-05 10:00", "2024-01-05 11:00", "2024-01-08 10:00")[1] == [0, 0, 1]

    def test_one_bar_and_none(self):
        assert self.of("2024-01-05 10:00") == ([600], [0])
        assert self.of() == ([], [])

    @given(
        st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=20)
    )
    def test_against_python(self, walls):
        minute, day = minutes_and_days(np.array([ns(wall) for wall in walls]))
        assert minute.tolist() == [wall.hour * 60 + wall.minute for wall in walls]
        number, expected = 0, [0]
        for before, here in pairwise(walls):
            number += before.date() != here.date()
            expected.append(number)
        assert day.tolist() == expected
