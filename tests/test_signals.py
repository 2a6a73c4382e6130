"""Signals of the user's own: which arrays are taken, and how the others are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt

UNIT = bt.ExitRules(unit="strategy", stop=1.0, target=2.0)


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=5)


@pytest.fixture(scope="module")
def zoned(bars):
    """The same bars in São Paulo: their times are instants."""
    return bt.Bars.from_frame(bars.to_frame(), timezone="America/Sao_Paulo")


@pytest.fixture(scope="module")
def side(bars):
    side = np.zeros(len(bars), np.int8)
    side[3::9] = 1
    side[7::9] = -1
    return side


def risk_of(bars):
    return np.where(np.arange(len(bars)) % 2, 40.0, np.nan)


FORMS = {
    "int16": lambda side, _: side.astype(np.int16),
    "int64": lambda side, _: side.astype(np.int64),
    "float16": lambda side, _: side.astype(np.float16),
    "float64": lambda side, _: side.astype(np.float64),
    "long double": lambda side, _: side.astype(np.longdouble),
    "negative zero": lambda side, _: side * -1.0 * -1.0 - 0.0,
    "big-endian": lambda side, _: side.astype(">i4"),
    "not contiguous": lambda side, _: np.repeat(side, 2)[::2],
    "objects": lambda side, _: side.astype(object),
    "list": lambda side, _: side.tolist(),
    "tuple of floats": lambda side, _: tuple(map(float, side)),
    "nullable array": lambda side, _: pd.array(side, dtype="Int8"),
    "Series": lambda side, bars: pd.Series(side, bars.to_frame().index),
    "Series of floats": lambda side, bars: pd.Series(side * 1.0, bars.to_frame().index),
    "nullable Series": lambda side, bars: pd.Series(side, bars.to_frame().index, dtype="Int64"),
    "arrow Series": lambda side, bars: pd.Series(
        side, bars.to_frame().index, dtype="int8[pyarrow]"
    ),
    "Series in microseconds": lambda side, bars: pd.Series(
        side, bars.to_frame().index.as_unit("us")
    ),
    "Series by bars.time": lambda side, bars: pd.Series(side, bars.time),
}


class TestTaken:
    @pytest.mark.parametrize("form", FORMS)
    def test_any_whole_numbers_equal_int8(self, bars, side, engine, form):
        expected = bt.run_signals(bars, side, UNIT, risk=risk_of(bars), engine=engine)
        given = FORMS[form](side, bars)
        result = bt.run_signals(bars, given, UNIT, risk=risk_of(bars), engine=engine)
        assert result.trades.equals(expected.trades)
        assert len(result) > 3
        assert result.metrics.short_trades > 0

    def test_bools_and_unsigned_integers_go_long(self, bars, side, engine):
        longs = side > 0
        expected = bt.run_signals(bars, longs.astype(np.int8), engine=engine).trades
        for given in (longs, longs.tolist(), longs.astype(np.uint8), longs.astype(object)):
            assert bt.run_signals(bars, given, engine=engine).trades.equals(expected)

    def test_instants_may_be_named_in_any_zone(self, zoned, side, engine):
        expected = bt.run_signals(zoned, side, engine=engine).trades
        for zone in ("UTC", "America/Sao_Paulo", "Asia/Tokyo"):
            index = zoned.to_frame().index.tz_convert(zone)
            assert bt.run_signals(zoned, pd.Series(side, index), engine=engine).trades.equals(
                expected
            )

    def test_a_risk_as_a_series(self, bars, side, engine):
        risk = risk_of(bars)
        expected = bt.run_signals(bars, side, UNIT, risk=risk, engine=engine).trades
        index = bars.to_frame().index
        for given in (
            pd.Series(risk, index),
            pd.Series(risk, index, dtype="Float64"),
            risk.tolist(),
            [None if np.isnan(each) else each for each in risk],
        ):
            result = bt.run_signals(bars, side, UNIT, risk=given, engine=engine)
            assert result.trades.equals(expected)

    def test_the_array_itself_is_not_kept(self, bars, side):
        given = side.copy()
        result = bt.run_signals(bars, given)
        given[:] = 0
        assert result.job.signals.side.any()
        assert given.flags.writeable


INDICES = {
    "numbers": (lambda index: pd.RangeIndex(len(index)), "RangeIndex of int64, not of times"),
    "texts": (lambda index: index.astype(str), "not of times"),
    "another order": (lambda index: index[::-1], r"value 0 belongs to 2019-01-08 18:00:00, but"),
    "one bar later": (lambda index: index + pd.Timedelta("5min"), r"bar 0 opens at 2019-01-02 09"),
    "one bar off": (
        lambda index: index[:9].append(index[9:10] + pd.Timedelta("1ns")).append(index[10:]),
        r"value 9 .*bar 9 opens at 2019-01-02 09:45 \(1 of 545 differ\)",
    ),
    "a zone": (lambda index: index.tz_localize("UTC"), "its times have a zone"),
    "far times": (lambda index: index.as_unit("s") + pd.DateOffset(years=900), "no bar can have"),
}


class TestIndex:
    @pytest.mark.parametrize("case", INDICES)
    @pytest.mark.parametrize("what", ["side", "risk"])
    def test_a_series_of_another_index_is_refused(self, bars, side, what, case):
        make, words = INDICES[case]
        given = {"side": side, "risk": risk_of(bars)}
        given[what] = pd.Series(given[what], make(bars.to_frame().index))
        advice = rf"{what}\.reindex\(bars\.to_frame\(\)\.index.*{what}\.to_numpy\(\)"
        with pytest.raises(bt.ConfigError, match=f"{what} is a Series.*{words}.*{advice}"):
            bt.run_signals(bars, given["side"], risk=given["risk"])

    def test_a_series_of_other_length(self, bars, side):
        index = bars.to_frame().index[:-1]
        with pytest.raises(bt.ConfigError, match="has 544 times for 545 bars"):
            bt.run_signals(bars, pd.Series(side[:-1], index))

    def test_an_index_without_a_zone_is_not_that_of_instants(self, zoned, side):
        index = zoned.to_frame().index.tz_localize(None)
        with pytest.raises(bt.ConfigError, match="its times have no zone, those of the bars are"):
            bt.run_signals(zoned, pd.Series(side, index))

    def test_the_advice_works(self, bars, side):
        late = pd.Series(side, bars.to_frame().index)[::-1]
        expected = bt.run_signals(bars, side).trades
        aligned = late.reindex(bars.to_frame().index, fill_value=0)
        assert bt.run_signals(bars, aligned).trades.equals(expected)

    @pytest.mark.parametrize("what", ["side", "risk"])
    def test_of_a_function_too(self, bars, side, what):
        def mine(bars):
            given = {"side": side, "risk": risk_of(bars)}
            given[what] = pd.Series(given[what])
            return given["side"], given["risk"]

        with pytest.raises(bt.ConfigError, match=f"mine: {what} is a Series whose index"):
            bt.run(bars, mine, UNIT)
        with pytest.raises(bt.ConfigError, match=f"mine: {what} is a Series whose index"):
            bt.sweep(bars, mine, {"rules.stop": [1.0, 2.0]}, rules=UNIT)

    def test_a_function_may_return_series_of_the_bars(self, bars, side, engine):
        def mine(bars):
            index = bars.to_frame().index
            return pd.Series(side * 1.0, index), pd.Series(risk_of(bars), index)

        expected = bt.run_signals(bars, side, UNIT, risk=risk_of(bars), engine=engine)
        assert bt.run(bars, mine, UNIT, engine=engine).trades.equals(expected.trades)


def put(side, value, dtype):
    changed = side.astype(dtype)
    changed[[20, 300]] = value
    return changed


class TestRefused:
    @pytest.mark.parametrize(
        ("value", "dtype", "shown"),
        [
            (np.nan, np.float64, "nan"),
            (np.inf, np.float64, "inf"),
            (0.5, np.float32, "0.5"),
            (1.0000000000000002, np.float64, "1.0000000000000002"),
            (2, np.int64, "2"),
            (-128, np.int8, "-128"),
            (256, np.int64, "256"),
            (2**32, np.int64, "4294967296"),
            ("1", object, "'1'"),
            (None, object, "None"),
            (1.0, object, "1.0"),
            (pd.NA, object, "<NA>"),
        ],
    )
    def test_the_first_bad_bar_is_named(self, bars, side, engine, value, dtype, shown):
        with pytest.raises(bt.ConfigError) as caught:
            bt.run_signals(bars, put(side, value, dtype), engine=engine)
        message = str(caught.value)
        assert f"side[20] = {shown} is not allowed" in message
        assert "(bar 20 opens at 2019-01-02 10:40; 2 such bars)" in message
        assert "-1, 0 or 1" in message

    def test_255_is_not_minus_1(self, bars, side, engine):
        with pytest.raises(bt.ConfigError, match=r"side\[7\] = 255"):
            bt.run_signals(bars, side.view(np.uint8), engine=engine)

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda side: side.astype(str), r"side\[0\] = 0 .*give integers, bools or whole"),
            (lambda side: [*side[:-1].tolist(), "long"], r"side\[544\] = 'long'"),
            (lambda side: [*side[:-1].tolist(), 2**70], r"side\[544\] = 1180591620717411303424"),
            (lambda side: side.astype(complex), r"side\[0\] = 0j"),
            (lambda side: side.astype("M8[ns]"), "not an array of numbers"),
            (lambda side: side[:, None], r"shape \(545, 1\); give one value per bar"),
            (lambda side: side[:-1], r"shape \(544,\)"),
            (lambda side: [[1], [1, 2]], "not an array of numbers"),
            (lambda side: 1, r"shape \(\)"),
            (lambda side: None, r"shape \(\)"),
            (lambda side: np.ma.masked_equal(side, 1), r"masked values.*side\.filled\(0\)"),
            (lambda side: pd.array([*side[:-1], None], dtype="Int8"), r"side\[544\] = "),
        ],
    )
    def test_what_is_no_array_of_sides(self, bars, side, make, words):
        with pytest.raises(bt.ConfigError, match=words):
            bt.run_signals(bars, make(side))

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (-1.0, r"risk\[20\] = -1\.0 .*bar 20 opens at 2019-01-02 10:40; 2 such bars"),
            (np.inf, r"risk\[20\] = inf"),
            ("40", r"risk\[20\] = '40'"),
            (1j, r"risk\[20\] = 1j"),
        ],
    )
    def test_a_risk(self, bars, side, engine, value, words):
        risk = put(risk_of(bars), value, object if isinstance(value, str | complex) else float)
        with pytest.raises(bt.ConfigError, match=words):
            bt.run_signals(bars, side, UNIT, risk=risk, engine=engine)
