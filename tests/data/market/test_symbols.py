"""Names of markets: what could leave its folder or its query is refused."""

from __future__ import annotations

import pytest

from backtest_py.data.cache.archive import Archive, _parsed, _path
from backtest_py.data.market.blocks import period_of
from backtest_py.data.market.candles import Series
from backtest_py.data.market.intervals import INTERVALS
from backtest_py.errors import ConfigError

GOOD = ("WIN$N", "1000PEPEUSDT", "BTCUSDT_251226", "A", "BRK.B", "@X", "X" * 32, "COM10", "CONX")
BAD = (
    "../../x", "..", ".", "A..B", "A.", ".A", "'; DROP TABLE blocks; --", "A\0B", "A" * 33,
    "X" * 10_000, "CON", "NUL", "AUX.TXT", "COM1", "LPT9.X", "", " ", "A B", "A/B", "A\\B", "A:B",
    "btcusdt", "BTCUSDT\n", "ÀBC", "BTC%", "A?B=C", "A&B", "A#B", "A*B", "١٢", "\uff21", None, 7,
    b"A", ["A"],
)  # fmt: skip


@pytest.mark.parametrize("symbol", GOOD)
@pytest.mark.parametrize("interval", ["1m", "1M", "4h"])
def test_good_symbols_have_a_path_of_their_own(symbol, interval, tmp_path):
    series = Series.of(symbol, interval)
    period = period_of(series, 1_700_000_000_000)
    path = _path(series, period)
    assert _parsed(path) == (series, period)
    assert len((tmp_path / path).resolve().relative_to(tmp_path.resolve()).parts) == 3


@pytest.mark.parametrize("symbol", BAD, ids=lambda value: repr(value)[:20])
def test_bad_symbols_are_refused_in_few_words(symbol, tmp_path):
    with pytest.raises(ConfigError, match="symbol = ") as caught:
        Series.of(symbol, "1m")
    assert len(str(caught.value)) < 250
    assert "\0" not in str(caught.value)


def test_no_two_intervals_share_a_folder_where_case_does_not_count():
    names = [interval.archive_name.lower() for interval in INTERVALS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("interval", ["h4", "4H", "7m", "", None, 4, "1m/../..", ["1m"]])
def test_intervals_that_there_are_not(interval):
    with pytest.raises(ConfigError, match="interval"):
        Series.of("BTCUSDT", interval)


def test_an_archive_stays_in_its_folder(tmp_path):
    assert Archive(tmp_path / "a").periods() == []
    assert not (tmp_path / "a").exists()
