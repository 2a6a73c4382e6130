"""Times near the ends of int64 nanoseconds: right, or refused; never wrapped to another century."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.bars import Bars
from backtest_py.data import load_bars, synthetic_bars
from backtest_py.data.inspection import inspect_bars

TOP = np.iinfo(np.int64).max
LAST = np.array([TOP - 3 * 10**12, TOP - 2 * 10**12, TOP])
FIRST = -LAST[::-1]
PRICES = {name: [1.0, 1.0, 1.0] for name in ("open", "high", "low", "close")}


@pytest.mark.parametrize(
    ("instants", "zone", "shown"),
    [
        (LAST, "UTC", "2262-04-11 23:47:16.854775807"),
        (LAST, "America/Sao_Paulo", "2262-04-11 20:47:16.854775807"),
        (FIRST, "UTC", "1677-09-21 01:02:43.145224193"),
        (FIRST, "Asia/Tokyo", "1677-09-21 10:21:42.145224193"),
    ],
)
def test_what_the_clock_of_the_session_can_show_is_shown(instants, zone, shown):
    bars = Bars(instants, **PRICES, session_timezone=zone)
    assert bars.time_text(2) == shown
    assert bars.time.tolist() == instants.tolist()
    hour, minute = shown[11:16].split(":")
    assert bars.minute[2] == int(hour) * 60 + int(minute)
    assert inspect_bars(bars).rows == 3


@pytest.mark.parametrize(("instants", "zone"), [(LAST, "Asia/Tokyo"), (FIRST, "America/Sao_Paulo")])
class TestBeyondTheEnds:
    def test_of_instants(self, instants, zone):
        with pytest.raises(bt.DataError, match=rf"time\[0\] = .* clock of {zone}"):
            Bars(instants, **PRICES, session_timezone=zone)

    def test_of_one_row_among_others(self, instants, zone):
        near = np.array([0, 10**15])
        rows = np.append(near, TOP) if instants is LAST else np.append(-TOP, -near[::-1])
        place = rows.tolist().index(TOP if instants is LAST else -TOP)
        with pytest.raises(bt.DataError, match=rf"time\[{place}\] = (2262|1677).* clock of {zone}"):
            Bars(rows, **PRICES, session_timezone=zone)

    def test_of_a_frame_and_a_file(self, instants, zone, tmp_path):
        stamps = pd.DatetimeIndex(instants).tz_localize("UTC").tz_convert(zone)
        with pytest.raises(bt.DataError, match=f"clock of {zone}"):
            Bars.from_frame(pd.DataFrame({"time": stamps, **PRICES}))
        table = pa.table({"time": pa.array(instants, pa.timestamp("ns", tz=zone)), **PRICES})
        pq.write_table(table, tmp_path / "bars.parquet")
        with pytest.raises(bt.DataError, match=rf"bars\.parquet: time in row .* clock of {zone}"):
            load_bars(tmp_path / "bars.parquet")


@pytest.mark.parametrize(
    ("walls", "zone"), [(LAST, "America/Sao_Paulo"), (FIRST, "Asia/Tokyo"), (LAST, "Etc/GMT+1")]
)
def test_a_wall_clock_whose_instants_lie_beyond_the_ends(walls, zone):
    with pytest.raises(bt.DataError, match=rf"time\[\d\] = .* clock of {zone}".replace("+", r"\+")):
        Bars(walls.view("M8[ns]"), **PRICES, timezone=zone)


@pytest.mark.parametrize(
    ("unit", "count"),
    [("Y", 10**6), ("M", 2**61), ("W", 2**60), ("D", 10**15), ("h", 2**60), ("m", 2**60),
     ("s", 2**62), ("ms", 2**62), ("us", TOP), ("25s", 2**60), ("s", -(2**62)), ("D", -(10**15))],
)  # fmt: skip
def test_units_that_reach_further_than_nanoseconds(unit, count):
    times = np.array([count - 2, count - 1, count]).view(f"M8[{unit}]")
    with pytest.raises(bt.DataError, match=r"bars\.time\[0\] lies outside the years 1678 to 2261"):
        Bars(times, **PRICES)


@pytest.mark.parametrize("hours", [-3, 3])
def test_datetimes_that_python_itself_cannot_move_to_utc(hours):
    zone = timezone(timedelta(hours=hours))
    edge = datetime(9999, 12, 31, 23, tzinfo=zone) if hours < 0 else datetime(1, 1, 1, tzinfo=zone)
    with pytest.raises(bt.DataError, match=r"bars\.time\[0\] lies outside the years"):
        Bars([edge] * 3, **PRICES)


def test_bars_of_more_centuries_than_a_difference_can_count():
    with pytest.raises(bt.DataError, match="more than 292 years after"):
        Bars(np.array([-TOP, 0, TOP]), **PRICES)
    with pytest.raises(bt.DataError, match="lies before the bar above it"):
        Bars(np.array([TOP, 0, -TOP]), **PRICES)


@pytest.mark.parametrize("start", ["2262-04-10", "9999-12-31"])
def test_synthetic_bars(start):
    with pytest.raises(bt.DataError, match="lies outside the years"):
        synthetic_bars(start=start)


@pytest.mark.parametrize(
    "edge",
    ["9999-01-01", datetime(9999, 1, 1), np.datetime64(2**62, "s"), np.datetime64(10**6, "Y")],  # noqa: DTZ001
)
def test_ends_of_a_range(edge):
    bars = synthetic_bars(n_days=2)
    for span in ((edge, None), (None, edge)):
        with pytest.raises(bt.ConfigError, match=r"range\.(start|end) lies outside the years"):
            bars.bounds(*span)
