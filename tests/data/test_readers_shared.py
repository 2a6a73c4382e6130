"""The readers on the shared real files, where BACKTEST_PY_SHARED names them.

Without the variable these tests do not exist; the same code runs in the other tests of the
readers, on files that they write.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from backtest_py.data import load_bars
from backtest_py.data.inspection import inspect_bars

SHARED = os.environ.get("BACKTEST_PY_SHARED", "")
DATA = Path(SHARED, "data")

# file: rows, first and last bar, format
FILES = {
    "WIN_M5_2023H1.csv": (10_963, "2023-02-01 11:30", "2023-06-30 17:50", "csv"),
    "WIN_M5_2023H1_mt5.csv": (10_963, "2023-02-01 11:30", "2023-06-30 17:50", "mt5"),
    "WIN_M5_sample_mt5_utf16.csv": (500, "2023-02-01 11:30", "2023-02-07 15:25", "mt5"),
    "WIN_M5_sample_profit.csv": (300, "2022-05-16 10:45", "2022-05-18 17:50", "profit"),
    "TIES_M5.csv": (4_800, "2024-01-02 09:00", "2024-04-08 17:55", "csv"),
    "BTC-PERP_1m_2022-01.csv.gz": (45_031, "2021-12-31 23:01", "2022-02-01 05:31", "csv"),
    "FILUSDT-1m-2024-10-01_02.zip": (2_880, "2024-10-01 00:00", "2024-10-02 23:59", "csv"),
    "BTCUSDT_30m_2021-2023H1.parquet": (43_683, "2021-01-01 00:00", "2023-06-30 23:30", "parquet"),
    "BTC_1m_with_gaps_2017-11.parquet": (13_681, "2017-11-04 23:02", "2017-11-14 22:59", "parquet"),
    "1000PEPEUSDT_4h.parquet": (1_000, "2025-09-08 00:00", "2026-02-21 12:00", "parquet"),
}


class TestSharedFiles:
    __test__ = bool(SHARED)

    @pytest.mark.parametrize("name", FILES)
    def test_is_read(self, name):
        bars = load_bars(DATA / name)
        rows, first, last, kind = FILES[name]
        assert len(bars) == rows
        assert (bars.time_text(0), bars.time_text(rows - 1)) == (first, last)
        report = bars.report
        assert report.format == kind
        assert report.newest_first is (kind == "profit")
        assert report.volume_kind == ("none" if kind == "profit" else "volume")
        assert (report.identical_dropped, report.empty_dropped, report.warnings) == (0, 0, ())
        assert inspect_bars(bars).rows == rows

    def test_prices_are_those_of_the_text_by_python(self):
        lines = (DATA / "WIN_M5_2023H1.csv").read_text().splitlines()[1:]
        rows = np.array([[float(cell) for cell in line.split(",")[1:]] for line in lines])
        bars = load_bars(DATA / "WIN_M5_2023H1.csv")
        for column, name in enumerate(("open", "high", "low", "close", "volume")):
            np.testing.assert_array_equal(getattr(bars, name), rows[:, column])

    def test_an_mt5_export_holds_the_same_bars_as_the_csv(self):
        csv = load_bars(DATA / "WIN_M5_2023H1.csv")
        assert load_bars(DATA / "WIN_M5_2023H1_mt5.csv").content_hash == csv.content_hash
        sample = load_bars(DATA / "WIN_M5_sample_mt5_utf16.csv")
        assert sample.content_hash == csv[:500].content_hash

    def test_empty_bars_are_refused_with_the_remedy_or_dropped(self):
        file = DATA / "BTCUSDT_30m_with_empty_bars.parquet"
        with pytest.raises(ValueError, match='empty = "drop"'):
            load_bars(file)
        bars = load_bars(file, empty="drop")
        assert len(bars) + bars.report.empty_dropped == 17_520
        assert bars.report.empty_dropped == 34

    def test_gaps_and_weekends(self):
        facts = inspect_bars(load_bars(DATA / "BTCUSDT_30m_2021-2023H1.parquet"))
        assert facts.missing_bars == 45
        assert facts.trades_weekends
        facts = inspect_bars(load_bars(DATA / "BTC_1m_with_gaps_2017-11.parquet"))
        assert (facts.n_gaps, facts.flat_bars) == (538, 1_935)

    def test_the_adjusted_series_is_warned_of_and_the_plain_one_is_not(self):
        adjusted = load_bars(DATA / "WIN_M5_2023H1.csv")
        assert adjusted.off_grid_share(5.0) > 0.9
        facts = inspect_bars(adjusted)
        assert facts.smallest_move == 5.09
        assert any("ratio-adjusted" in warning for warning in facts.warnings)
        assert load_bars(DATA / "WIN_M5_sample_profit.csv").off_grid_share(5.0) == 0.0

    def test_sessions_follow_the_summer_time_of_new_york(self):
        sessions = inspect_bars(load_bars(DATA / "WIN_M5_2023H1.csv")).sessions
        assert [month.last for month in sessions] == ["18:20", "17:50", "17:50", "17:50", "17:50"]

    def test_what_is_no_file_of_bars(self):
        with pytest.raises(ValueError, match="no column for open"):
            load_bars(DATA / "daily_returns_empyrical.csv")
        with pytest.raises(
            ValueError, match=r"no column for time|no header line|no column for open"
        ):
            load_bars(DATA / "FILUSDT-1m-2024-10-01_02.zip.CHECKSUM")
