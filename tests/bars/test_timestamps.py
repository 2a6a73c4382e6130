# ruff: noqa: DTZ001 - wall clocks without a zone are the point
"""Times as files and users write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_py.bars.timestamps import as_times, epoch_times, parse_times, time_text
from backtest_py.errors import DataError

AT = "row {}".format


def parse(*texts, dayfirst=None):
    return parse_times(np.array([text.encode() for text in texts]), AT, dayfirst=dayfirst)


def read(*texts, dayfirst=None):
    times = parse(*texts, dayfirst=dayfirst)
    return [time_text(value) for value in times.ns.tolist()], times.has_zone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-02-01 11:30:00", "2023-02-01 11:30"),
        ("2023-02-01T11:30", "2023-02-01 11:30"),
        ("2023.02.01 11:30:05", "2023-02-01 11:30:05"),
        ("2023/2/1 9:05", "2023-02-01 09:05"),
        ("2023-02-01", "2023-02-01 00:00"),
        ("20230201", "2023-02-01 00:00"),
        ("20230201 113000", "2023-02-01 11:30"),
        ("18/05/2022 17:50", "2022-05-18 17:50"),
        ("18.5.2022 17:50:01", "2022-05-18 17:50:01"),
        ("05.06.2022 17:50", "2022-06-05 17:50"),
        ("05/18/2022", "2022-05-18 00:00"),
        ("2022-01-01 23:01:00.000000", "2022-01-01 23:01"),
        ("2022-01-01 23:01:00,5", "2022-01-01 23:01:00.500000000"),
        ("2022-01-01 23:01:00.123456789", "2022-01-01 23:01:00.123456789"),
        ("2024-02-29", "2024-02-29 00:00"),
        ("1969-12-31 23:59", "1969-12-31 23:59"),
    ],
)
def test_wall_clocks(text, expected):
    assert read(text) == ([expected], False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-02-01T11:30:00Z", "2023-02-01 11:30"),
        ("2023-02-01 11:30:00 UTC", "2023-02-01 11:30"),
        ("2023-02-01 11:30:00-03:00", "2023-02-01 14:30"),
        ("2023-02-01 11:30:00+0530", "2023-02-01 06:00"),
        ("2023-02-01 01:30:00 +02", "2023-01-31 23:30"),
        ("1727740800", "2024-10-01 00:00"),
        ("1727740800.0", "2024-10-01 00:00"),
        ("1727740800000", "2024-10-01 00:00"),
        ("1727740800000000", "2024-10-01 00:00"),
        ("1727740800000000001", "2024-10-01 00:00:00.000000001"),
    ],
)
def test_instants(text, expected):
    assert read(text) == ([expected], True)


@pytest.mark.parametrize(
    "text",
    ["", "nan", "2023-13-01", "2023-02-29", "2023-02-01 24:00", "2023-02-01 11:60",
     "2023-02-01 11:30:60",
     "2023-00-10", "2023-01-00", "2023-02.01", "11:30", "45292.375", "2023-02-01 9 am",
     "2023-02-01x",
     "20231301", "20230201 240000", "12345", "99999999999999999999", "-1727740800", "abc"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_its_row(text):
    with pytest.raises(DataError, match="row 1"):
        parse("2023-02-01", text)


def test_a_year_that_nanoseconds_cannot_count():
    for text in ("1500-01-01", "2500-01-01", "20240102090000"):
        with pytest.raises(DataError, match="row 0 lies outside the years 1678 to 2261"):
            parse(text)


def test_rows_of_several_widths():
    texts = ["2023-02-01 9:55", "2023-02-01 10:00", "2023-02-01 10:05:30", "2023-02-01"]
    expected = ["2023-02-01 09:55", *texts[1:3], "2023-02-01 00:00"]
    assert read(*texts)[0] == expected


def test_offsets_of_both_signs_in_one_file():
    assert read("2023-02-01 12:00+01:00", "2023-02-01 12:00-01:00")[0] == [
        "2023-02-01 11:00",
        "2023-02-01 13:00",
    ]


@pytest.mark.parametrize(
    "texts",
    [
        ("2023-02-01 12:00", "2023-02-01 12:00Z"),
        ("2023-02-01", "1727740800"),
        ("13/02/2023", "2023-02-14"),
    ],
)
def test_mixtures_are_refused(texts):
    with pytest.raises(DataError, match=r"row 1 .* are mixed"):
        parse(*texts)


class TestDayOrMonthFirst:
    def test_one_row_settles_all(self):
        assert read("01/02/2023", "13/02/2023")[0] == ["2023-02-01 00:00", "2023-02-13 00:00"]
        assert read("01/02/2023", "02/13/2023")[0] == ["2023-01-02 00:00", "2023-02-13 00:00"]

    def test_open_question_is_refused(self):
        with pytest.raises(DataError, match=r"row 0 = '01/02/2023' could be month first"):
            parse("01/02/2023", "02/02/2023")

    def test_contradiction_is_refused(self):
        with pytest.raises(DataError, match=r"row 1 .*month first as well as day-first"):
            parse("13/02/2023", "02/13/2023")

    def test_the_caller_may_know(self):
        assert read("01/02/2023", dayfirst=True)[0] == ["2023-02-01 00:00"]

    def test_known_order_still_checks_the_calendar(self):
        with pytest.raises(DataError, match="row 0"):
            parse("02/13/2023", dayfirst=True)


@given(st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)), min_size=1, max_size=20))
def test_any_isoformat_is_read_as_python_does(moments):
    expected = [(m - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000 for m in moments]
    assert parse(*(m.isoformat(" ") for m in moments)).ns.tolist() == expected
    zoned = [m.replace(tzinfo=timezone(timedelta(hours=-3))).isoformat() for m in moments]
    assert (parse(*zoned).ns - 3 * 3600 * 10**9).tolist() == expected


class TestEpoch:
    @pytest.mark.parametrize(
        ("factor", "unit"), [(1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")]
    )
    def test_the_size_tells_the_unit(self, factor, unit):
        counts = np.array([100_000_000, 1_727_740_800]) * factor
        if unit != "s":
            counts = counts[1:]
        expected = np.array([100_000_000, 1_727_740_800])[-len(counts) :] * 10**9
        assert epoch_times(counts, AT).tolist() == expected.tolist()

    def test_a_change_of_unit_within_a_file_is_refused(self):
        # Binance's spot archives went from milliseconds to microseconds in January 2025.
        with pytest.raises(DataError, match=r"row 1 = 1735689600000000 is in us, .* are in ms"):
            epoch_times(np.array([1_735_689_540_000, 1_735_689_600_000_000]), AT)

    @pytest.mark.parametrize("count", [0, 45_292, 20_240_102, -5])
    def test_small_numbers_are_no_times(self, count):
        with pytest.raises(DataError, match="row 0"):
            epoch_times(np.array([count]), AT)

    def test_too_late(self):
        with pytest.raises(DataError, match="row 0 lies outside"):
            epoch_times(np.array([99_999_999_999]), AT)

    def test_none(self):
        assert epoch_times(np.array([], np.int64), AT).tolist() == []


class TestAsTimes:
    NOON = 1_704_110_400_000_000_000

    @pytest.mark.parametrize(
        ("values", "has_zone"),
        [
            (np.array(["2024-01-01T12:00"], "M8[m]"), False),
            (np.array(["2024-01-01T12:00"], "M8[ns]"), False),
            (np.array([NOON]), True),
            (np.array([NOON], np.uint64), True),
            (["2024-01-01 12:00"], False),
            (np.array(["2024-01-01 12:00"]), False),
            ([b"2024-01-01 12:00"], False),
            ([datetime(2024, 1, 1, 12)], False),
            ([datetime(2024, 1, 1, 12, tzinfo=UTC)], True),
            ([datetime(2024, 1, 1, 9, tzinfo=timezone(timedelta(hours=-3)))], True),
            (pd.DatetimeIndex(["2024-01-01 12:00"]), False),
            (pd.DatetimeIndex(["2024-01-01 12:00"]).as_unit("s"), False),
            (pd.DatetimeIndex(["2024-01-01 09:00"], tz="America/Sao_Paulo"), True),
            (pd.Series(pd.DatetimeIndex(["2024-01-01 12:00"], tz="UTC").as_unit("ms")), True),
            (pd.Series(["2024-01-01 12:00"]), False),
            (pd.Series([pd.Timestamp("2024-01-01 12:00")], dtype=object), False),
        ],
    )
    def test_noon(self, values, has_zone):
        times = as_times(values, AT)
        assert times.ns.tolist() == [self.NOON]
        assert times.has_zone is has_zone

    def test_dates(self):
        assert as_times([date(2024, 1, 1)], AT).ns.tolist() == [self.NOON - 12 * 3600 * 10**9]

    def test_a_view_with_a_step(self):
        times = np.array(["2024-01-01T12:00", "NaT"] * 3, "M8[ns]")[::2]
        assert as_times(times, AT).ns.tolist() == [self.NOON] * 3

    def test_whole_floats_count_where_the_size_may_tell(self):
        assert as_times(np.array([1_704_110_400.0]), AT, integers="magnitude").ns.tolist() == [
            self.NOON
        ]
        for bad in (1_704_110_400.5, np.nan, 1.7e18):
            with pytest.raises(DataError, match="row 0"):
                as_times(np.array([bad]), AT, integers="magnitude")

    @pytest.mark.parametrize(
        "values",
        [
            np.array(["2024-01-01", "NaT"], "M8[s]"),
            np.array(["2024-01-01", "NaT"], "M8[ns]"),
            pd.DatetimeIndex(["2024-01-01", pd.NaT]),
            pd.DatetimeIndex(["2024-01-01", pd.NaT], tz="UTC"),
            np.array([0, np.iinfo(np.int64).min]),
            [datetime(2024, 1, 1), None],
            pd.Series([datetime(2024, 1, 1), pd.NaT], dtype=object),
            [datetime(2024, 1, 1), float("nan")],
            [datetime(2024, 1, 1), pd.NA],
        ],
    )
    def test_a_missing_time_is_refused(self, values):
        with pytest.raises(DataError, match="row 1 has no value"):
            as_times(values, AT)

    @pytest.mark.parametrize(
        "values",
        [
            [1.5, 2.5],
            [True, False],
            np.array([[1, 2]]),
            [datetime(2024, 1, 1), 5],
            [datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)],
            ["2024-01-01", "2024-01-0é"],
            np.array(["9999-01-01"], "M8[s]"),
            np.array([2**63], np.uint64),
            [timedelta(hours=1)],
            [datetime(2024, 1, 1), "2024-01-02"],
        ],
    )
    def test_no_times(self, values):
        with pytest.raises(DataError):
            as_times(values, AT)
