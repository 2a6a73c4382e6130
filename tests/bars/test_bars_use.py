"""Bars in use: slices, identity, what they remember, workers, ranges, and what they tell."""

from __future__ import annotations

import pickle
import threading
import time as clock
from datetime import UTC, date, datetime

import joblib
import numpy as np
import pandas as pd
import pytest
from tests.bar_columns import PRICES, good, make

from backtest_py.bars import Bars
from backtest_py.data.synthetic import synthetic_bars
from backtest_py.errors import ConfigError, DataError


class TestSlices:
    def test_keep_clocks_and_number_days_from_zero(self):
        bars = synthetic_bars(n_days=3, timezone="America/Sao_Paulo")
        part = bars[150:250]
        assert len(part) == 100
        np.testing.assert_array_equal(part.close, bars.close[150:250])
        np.testing.assert_array_equal(part.minute, bars.minute[150:250])
        assert (part.day[0], part.day[-1]) == (0, 1)
        assert part.session_timezone == bars.session_timezone
        assert part.content_hash != bars.content_hash
        assert not part.day.flags.writeable
        assert part.session_dates.tolist() == bars.session_dates[1:].tolist()

    def test_open_ends_and_negative_numbers(self):
        bars = make()
        assert len(bars[:]) == 6
        assert len(bars[:-1]) == 5
        assert bars[-2:].time.tolist() == bars.time[-2:].tolist()

    def test_volume_is_looked_at_again(self):
        volume = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
        assert not make(volume=volume)[:3].has_volume

    def test_atr_column_comes_along(self):
        assert make(atr=np.arange(6.0))[2:4].atr_column.tolist() == [2.0, 3.0]

    @pytest.mark.parametrize("part", [slice(3, 3), slice(9, 12), slice(4, 2)])
    def test_no_bar(self, part):
        with pytest.raises(DataError, match="holds no bar"):
            make()[part]

    @pytest.mark.parametrize("part", [0, slice(None, None, 2), slice(None, None, -1), "close"])
    def test_only_slices_without_step(self, part):
        with pytest.raises(TypeError, match="slice"):
            make()[part]


class TestContentHash:
    def test_is_the_same_for_the_same_bars(self):
        assert make().content_hash == make().content_hash
        assert len(make().content_hash) == 64

    @pytest.mark.parametrize("name", [*PRICES, "volume"])
    def test_every_column_counts(self, name):
        # S11: two engines were fed different arrays, and nothing said so.
        columns = good()
        columns[name] = columns[name].copy()
        columns[name][3] = np.nextafter(columns[name][3], 1000)
        assert Bars(**columns).content_hash != make().content_hash

    def test_time_clocks_and_atr_count(self):
        hashes = {
            make().content_hash,
            make(time=good()["time"] + np.timedelta64(1, "ns")).content_hash,
            make(timezone="UTC").content_hash,
            make(timezone="America/Sao_Paulo").content_hash,
            make(timezone="UTC", session_timezone="America/Sao_Paulo").content_hash,
            make(atr=np.ones(6)).content_hash,
            make(atr=np.zeros(6)).content_hash,
        }
        assert len(hashes) == 7

    def test_columns_cannot_trade_places(self):
        swapped = make(open=good()["close"], close=good()["open"])
        assert swapped.content_hash != make().content_hash

    def test_the_way_in_does_not_count(self):
        assert Bars.from_frame(pd.DataFrame(good())).content_hash == make().content_hash


class TestRemember:
    def test_computes_once_and_hands_out_read_only_arrays(self):
        bars, calls = make(), []

        def compute():
            calls.append(1)
            return np.zeros(3)

        first = bars.remember("key", compute)
        assert bars.remember("key", compute) is first
        assert len(calls) == 1
        assert not first.flags.writeable

    def test_none_is_a_value(self):
        bars, calls = make(), []
        for _ in range(2):
            assert bars.remember("key", lambda: calls.append(1)) is None
        assert len(calls) == 1

    def test_a_failure_is_not_remembered(self):
        bars = make()
        with pytest.raises(ZeroDivisionError):
            bars.remember("key", lambda: 1 // 0)
        assert bars.remember("key", lambda: 5) == 5

    def test_one_value_may_need_another(self):
        bars = make()
        assert bars.remember("a", lambda: bars.remember("b", lambda: 1) + 1) == 2

    def test_threads_wait_for_one_computation(self):
        bars, calls, results = make(), [], []
        start = threading.Barrier(8)

        def compute():
            calls.append(1)
            clock.sleep(0.02)
            return object()

        def work():
            start.wait()
            results.append(bars.remember("key", compute))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1
        assert len(set(map(id, results))) == 1

    def test_other_keys_do_not_wait(self):
        bars = make()
        inside, leave = threading.Event(), threading.Event()

        def slow():
            inside.set()
            assert leave.wait(10)
            return 1

        thread = threading.Thread(target=lambda: bars.remember("slow", slow))
        thread.start()
        assert inside.wait(10)
        assert bars.remember("quick", lambda: 2) == 2
        leave.set()
        thread.join()


class TestWorkers:
    def test_travel_without_what_was_remembered(self):
        bars = make(timezone="America/Sao_Paulo", atr=np.ones(6))
        bars.remember("key", lambda: lambda: None)  # cannot be pickled
        again = pickle.loads(pickle.dumps(bars))
        assert again.content_hash == bars.content_hash
        assert again.report == bars.report
        assert again.session_timezone == bars.session_timezone
        np.testing.assert_array_equal(again.day, bars.day)
        assert not again.close.flags.writeable
        assert again.remember("key", lambda: 3) == 3

    def test_joblib_hands_them_to_processes(self):
        bars = synthetic_bars(n_days=30)
        work = joblib.delayed(Bars.off_grid_share)
        assert joblib.Parallel(n_jobs=2)(work(bars, 5.0) for _ in range(2)) == [0.0, 0.0]


class TestBounds:
    """Semantics, section 4: the first bars at or after start and end, on the session's clock."""

    def bars(self, **clocks):
        times = [f"2024-01-0{day} {hour}:00" for day in (2, 3, 4) for hour in ("09", "10", "11")]
        return Bars(**good(9, time=times), **clocks)

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (None, None, (0, 9)),
            ("", "", (0, 9)),
            ("2024-01-03", None, (3, 9)),
            (None, "2024-01-03", (0, 3)),
            ("2024-01-03", "2024-01-04", (3, 6)),
            ("2024-01-03 10:00", "2024-01-03 10:30", (4, 5)),
            ("2024-01-03T09:30", "2024-01-04 09:00:01", (4, 7)),
            ("1999-01-01", "2050-01-01", (0, 9)),
            (date(2024, 1, 3), datetime(2024, 1, 4, 10), (3, 7)),  # noqa: DTZ001
            (np.datetime64("2024-01-03"), pd.Timestamp("2024-01-04 10:00"), (3, 7)),
        ],
    )
    def test_positions(self, start, end, expected):
        assert self.bars().bounds(start, end) == expected

    def test_are_half_open_and_keep_the_last_day(self):
        # S36: the loader dropped everything after midnight of the end date.
        first, last = self.bars().bounds("2024-01-02", "2024-01-04")
        assert (first, last) == (0, 6)

    def test_on_the_session_clock(self):
        bars = self.bars(timezone="UTC", session_timezone="Asia/Tokyo")
        assert bars.bounds("2024-01-02 19:00", None) == (1, 9)

    def test_first_bar_on_a_clock_that_goes_back(self):
        walls = ["2023-11-05 00:30", "2023-11-05 01:30", "2023-11-05 01:00", "2023-11-05 02:00"]
        bars = Bars(**good(4, time=walls), timezone="America/New_York")
        assert bars.bounds("2023-11-05 01:15", None) == (1, 4)

    @pytest.mark.parametrize(
        ("start", "end", "says"),
        [
            ("2024-01-04", "2024-01-03", r"range.start = 2024-01-04 lies after range.end"),
            ("2024-01-03", "2024-01-03", "holds no bar"),
            ("2024-01-05", None, "holds no bar; the bars run from 2024-01-02 09:00"),
            (None, "2024-01-01", "holds no bar"),
            ("2024-01-03 12:00", "2024-01-03 13:00", "holds no bar"),
            ("yesterday", None, r"range.start = 'yesterday' is not a time"),
            (None, "2024-02-30", "range.end"),
            ("2024-01-03T00:00Z", None, "carries a zone"),
            (datetime(2024, 1, 3, tzinfo=UTC), None, "carries a zone"),
            (20240103, None, "range.start"),
            ("ação", None, "range.start"),
        ],
    )
    def test_refused(self, start, end, says):
        with pytest.raises(ConfigError, match=says):
            self.bars().bounds(start, end)


class TestOffGridShare:
    def test_on_the_grid(self):
        assert synthetic_bars(n_days=3).off_grid_share(5.0) == 0.0
        assert synthetic_bars(n_days=3, tick_size=0.01).off_grid_share(0.01) == 0.0

    def test_rounding_is_no_fault(self):
        # 0.1 + 0.2 and 0.01 * 7 are one bit off the decimal price.
        close = np.array([0.1 + 0.2, 0.01 * 7, 0.01 * 1_000_003])
        assert make(n=3, open=close, high=close, low=close, close=close).off_grid_share(0.01) == 0.0

    def test_share_is_of_prices(self):
        bars = make(n=4, open=[100.0] * 4, high=[110.0] * 4, low=[90.0] * 4, close=[101.0] * 4)
        assert bars.off_grid_share(10.0) == 0.25

    def test_ratio_adjusted_series(self):
        bars = synthetic_bars(n_days=5)
        ratio = {name: np.round(getattr(bars, name) * 1.0171, 2) for name in PRICES}
        adjusted = Bars(bars.time, **ratio)
        assert adjusted.off_grid_share(5.0) > 0.9

    def test_more_ticks_than_a_double_counts_are_off_the_grid(self):
        assert make().off_grid_share(5e-324) == 1.0

    def test_is_remembered_by_tick(self):
        bars = make()
        assert bars.off_grid_share(1.0) != bars.off_grid_share(0.5)


class TestWeekends:
    def dates(self, *texts):
        return make(n=len(texts), time=list(texts)).trades_weekends

    def test_seven_days(self):
        assert self.dates(*(f"2024-01-{day:02d}" for day in range(1, 20)))

    def test_weekdays(self):
        assert not synthetic_bars(n_days=30).trades_weekends

    def test_a_sunday_evening_is_no_weekend_market(self):
        assert not self.dates("2024-01-05", "2024-01-07", "2024-01-08", "2024-01-12", "2024-01-14")

    def test_without_a_weekend_in_the_span(self):
        assert not self.dates("2024-01-02", "2024-01-04")
        assert not self.dates("2024-01-02")

    def test_a_saturday_alone(self):
        assert self.dates("2024-01-06")

    def test_on_the_session_clock(self):
        times = pd.date_range("2024-01-05 22:00", "2024-01-06 20:00", freq="h")
        assert make(n=len(times), time=times).trades_weekends
        assert not make(
            n=3, time=times[:3], timezone="UTC", session_timezone="America/Chicago"
        ).trades_weekends


def test_repr_names_span_and_clock():
    assert repr(make()) == "Bars(6 bars, 2024-01-02 09:00 to 2024-01-02 09:25, 1 day, no zone)"
