"""Bars that come piece by piece: what is accepted, refused and warned of, and what a result keeps.

That results are the same bit for bit is shown in parity/test_streaming.py.
"""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import backtest_py as bt
from backtest_py._jit import kernel
from backtest_py.parameters import parameter
from backtest_py.strategies.base import History

STRATEGY = bt.BarraElefante(min_range_mult=1.2, min_volume_mult=0.5)
RULES = bt.ExitRules(stop=2.0, target=3.0, trail=2.0, close_time="17:00")
CONTRACT = bt.Contract(tick_size=5, point_value=0.2, fee_per_side=0.25, slippage_ticks=1)
BARS = bt.synthetic_bars(n_days=12)


def cut(bars, size):
    return (bars[first : first + size] for first in range(0, len(bars), size))


def stream(pieces, **options):
    return bt.run_chunked(pieces, STRATEGY, RULES, CONTRACT, **options)


def times(first, n, minutes=5):
    return np.datetime64(first, "ns") + np.arange(n) * np.timedelta64(minutes, "m")


def flat_bars(time, price=100.0, **options):
    n = len(time)
    level = np.full(n, price)
    return bt.Bars(time, level, level + 5, level - 5, level, np.ones(n), **options)


class TestTheResult:
    def test_it_is_that_of_a_run(self, engine):
        whole = bt.run(BARS, STRATEGY, RULES, CONTRACT, engine=engine)
        assert len(whole) > 20
        for size in (1, 7, 1000, 10**6):
            parts = stream(cut(BARS, size), engine=engine)
            assert parts.metrics == whole.metrics
            assert parts.trades.equals(whole.trades)
            assert parts.equity.equals(whole.equity)
            assert parts.provenance == whole.provenance
            assert parts.manifest() == whole.manifest()
            assert repr(parts) == repr(whole)
            for name in ("month", "weekday", "hour", "side", "reason"):
                assert parts.table(name).equals(whole.table(name))

    def test_it_is_saved_as_that_of_a_run(self, tmp_path):
        bt.run(BARS, STRATEGY, RULES, CONTRACT).save(tmp_path / "whole")
        stream(cut(BARS, 100)).save(tmp_path / "parts")
        for name in ("trades.parquet", "metrics.json", "manifest.json"):
            whole, parts = (tmp_path / each / name for each in ("whole", "parts"))
            assert whole.read_bytes() == parts.read_bytes(), name

    def test_it_is_pickled(self):
        parts = stream(cut(BARS, 100))
        again = pickle.loads(pickle.dumps(parts))
        assert again.trades.equals(parts.trades)
        assert again.manifest() == parts.manifest()

    def test_it_has_no_bars_to_draw(self):
        result = stream(cut(BARS, 100))
        assert repr(result.job.bars) == f"Streamed{BARS!r}"
        for ask in (result.plot, result.job.bars.to_frame, lambda: result.job.bars.close):
            with pytest.raises(bt.UnsupportedError, match=r"these bars were streamed.*use bt.run"):
                ask()
        with pytest.raises(bt.UnsupportedError, match="these bars were streamed"):
            bt.run(result.job.bars, STRATEGY)
        assert not hasattr(result.job.bars, "no_such_thing")

    def test_a_position_may_stay_open_over_many_pieces(self, engine):
        rules = bt.ExitRules(stop=0, target=0, unit="points")
        whole = bt.run(BARS, STRATEGY, rules, CONTRACT, engine=engine)
        parts = bt.run_chunked(cut(BARS, 3), STRATEGY, rules, CONTRACT, engine=engine)
        assert len(whole) == 1
        assert whole.trades["bars_held"][0] > 1000
        assert parts.trades.equals(whole.trades)

    @pytest.mark.parametrize("size", [1, 50])
    def test_a_range_is_that_of_the_wall_clock(self, size):
        bars = bt.Bars(
            BARS.time,
            *(getattr(BARS, name) for name in ("open", "high", "low", "close", "volume")),
            session_timezone="America/Sao_Paulo",
        )
        for span in (
            ("2019-01-04", "2019-01-08"),
            ("2019-01-07 11:00", None),
            (None, "2019-01-09"),
        ):
            whole = bt.run(bars, STRATEGY, RULES, CONTRACT, range=span)
            parts = stream(cut(bars, size), range=span)
            assert parts.metrics == whole.metrics
            assert (parts.job.first, parts.job.last) == (whole.job.first, whole.job.last)
            assert parts.manifest() == whole.manifest()

    def test_one_bar_is_enough(self, engine):
        result = stream([BARS[:1]], engine=engine)
        assert result.metrics == bt.run(BARS[:1], STRATEGY, RULES, CONTRACT).metrics
        assert len(result) == 0

    def test_days_of_several_series_are_one_count(self):
        """A piece of its own numbers its days from 0, and may begin in the middle of one."""
        pieces = [
            flat_bars(times("2024-01-02 09:00", 60)),
            flat_bars(times("2024-01-02 14:00", 10)),
            flat_bars(times("2024-01-03 09:00", 10)),
        ]
        metrics = stream(pieces).metrics
        assert metrics.days == 2


class TestPieces:
    def test_there_must_be_one(self):
        with pytest.raises(bt.DataError, match="at least one bar is needed"):
            stream([])

    @pytest.mark.parametrize(
        ("pieces", "says"),
        [
            (BARS, r"pieces is a bt.Bars; give a list"),
            (5, "pieces is of type int; give an iterable"),
            ([BARS[:5], 5], r"pieces\[1\] is int, not bt.Bars"),
            ([BARS.to_frame()], r"pieces\[0\] is DataFrame.*from_frame"),
        ],
    )
    def test_they_must_be_bars(self, pieces, says):
        with pytest.raises(bt.ConfigError, match=says):
            stream(pieces)

    @pytest.mark.parametrize("first", [9, 0, 5])
    def test_they_must_follow_each_other(self, first):
        with pytest.raises(bt.DataError, match=r"pieces\[1\] begins at .*; give every bar once"):
            stream([BARS[:10], BARS[first : first + 5]])

    def test_they_must_be_of_one_kind(self):
        time = times("2024-01-02 09:00", 10)
        one = flat_bars(time[:5], timezone="UTC")
        for other, says in (
            (flat_bars(time[5:]), "timezone is ''"),
            (
                flat_bars(time[5:], timezone="UTC", session_timezone="Asia/Tokyo"),
                "session_timezone is 'Asia/Tokyo'",
            ),
            (flat_bars(time[5:], timezone="UTC", atr=np.ones(5)), "has a column atr"),
        ):
            with pytest.raises(bt.DataError, match=says):
                stream([one, other])
        with_atr = flat_bars(time[:5], timezone="UTC", atr=np.ones(5))
        with pytest.raises(bt.DataError, match="lacks a column atr"):
            stream([with_atr, flat_bars(time[5:], timezone="UTC")])

    @pytest.mark.parametrize("name", ["symbol", "interval"])
    def test_they_must_be_of_one_market(self, name):
        def named(bars, value):
            return bars.reported(dataclasses.replace(bars.report, **{name: value}))

        one, other = BARS[:50], BARS[50:100]
        with pytest.raises(bt.DataError, match=f"report.{name} is 'b'.*'a'"):
            stream([named(one, "a"), named(other, "b")])
        assert getattr(stream([one, named(other, "b")]).job.bars.report, name) == "b"

    def test_a_generator_is_closed_where_it_is_left(self):
        closed = []

        def pieces():
            try:
                yield BARS[:50]
                yield BARS[:50]
                yield BARS[50:]
            finally:
                closed.append(True)

        with pytest.raises(bt.DataError, match="begins at"):
            stream(pieces())
        assert closed == [True]

    def test_an_error_of_a_generator_is_the_users(self):
        def pieces():
            yield BARS[:50]
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            stream(pieces())

    def test_nothing_is_read_before_the_settings_are_checked(self):
        def pieces():
            raise AssertionError("must not be asked")
            yield

        for options, says in (
            ({"range": ("2024-02-01", "2024-01-01")}, "lies after range.end"),
            ({"range": "2024"}, "is not allowed; give its start and end"),
            ({"chunk_rows": 0}, "chunk_rows = 0 is not allowed"),
            ({"timezone": "Nowhere/Else"}, "Nowhere/Else"),
            ({"timezone": "UTC"}, "pieces is no path"),
            ({"metrics": 3}, "metrics is int"),
        ):
            with pytest.raises(bt.ConfigError, match=says):
                stream(pieces(), **options)

    def test_a_range_without_bars_is_refused(self):
        with pytest.raises(bt.ConfigError) as refused:
            bt.run(BARS, STRATEGY, RULES, CONTRACT, range=("2030-01-01", None))
        with pytest.raises(bt.ConfigError) as refused_too:
            stream(cut(BARS, 100), range=("2030-01-01", None))
        assert str(refused.value) == str(refused_too.value)


class TestWhatAllBarsDecide:
    def without_volume(self, first, last):
        return bt.Bars.from_frame(BARS.to_frame()[first:last].drop(columns="volume"))

    def test_volume_may_come_late_but_must_come(self):
        early = [self.without_volume(0, 100), BARS[100:]]
        assert len(stream(early)) > 0
        with pytest.raises(bt.ConfigError, match="needs volume, but the bars have no volume"):
            stream([self.without_volume(0, 100), self.without_volume(100, 200)])

    def test_rules_that_measure_in_what_is_not_there(self):
        rules = bt.ExitRules(atr_method="column")
        with pytest.raises(bt.ConfigError, match='have no column "atr"'):
            bt.run_chunked(cut(BARS, 100), STRATEGY, rules)
        with pytest.raises(bt.ConfigError, match="gives no risk"):
            bt.run_chunked(cut(BARS, 100), STRATEGY, bt.ExitRules(unit="strategy"))

    def test_warnings_are_those_of_a_run_and_come_once(self):
        week = flat_bars(times("2024-01-01", 14 * 24, minutes=60), price=100.3)
        told = []
        for run in (lambda: bt.run(week, STRATEGY), lambda: stream_all(week)):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run()
            assert {Path(each.filename).name for each in caught} == {Path(__file__).name}
            told.append([str(each.message) for each in caught])
        assert told[0] == told[1]
        assert len(told[0]) == 2

    def test_an_overflow_is_warned_of(self):
        contract = bt.Contract(point_value=1e308, quantity=1e10)
        with pytest.warns(bt.BacktestWarning, match="the total return is"):
            bt.run_chunked(cut(BARS, 100), STRATEGY, RULES, contract)


def stream_all(bars):
    return bt.run_chunked(cut(bars, 5), STRATEGY)


@kernel
def two_up(bars, values, start, side, risk):
    """Set the side where the close has risen twice."""
    for t in range(len(side)):
        i = start + t
        rises = i >= 2 and bars.close[i] > bars.close[i - 1] > bars.close[i - 2]
        side[t] = 1 if rises else 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Silent(bt.Strategy):
    """A kernel that does not say how far it looks back."""

    name: ClassVar[str] = "silent"
    kernel: ClassVar = two_up
    unused: int = parameter(1, "int", "nothing", minimum=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TwoUp(bt.Strategy):
    """The same, with its history."""

    name: ClassVar[str] = "two_up"
    kernel: ClassVar = two_up

    def history(self):
        return History(bars=2)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OwnElephant(bt.BarraElefante):
    """A kernel of its own looks back as far as it likes, not as its parent's."""

    name: ClassVar[str] = "own_elephant"
    kernel: ClassVar = two_up


class TestStrategiesOfUsers:
    def test_a_kernel_that_says_how_far_it_looks_back(self):
        whole = bt.run(BARS, TwoUp(), RULES, CONTRACT)
        parts = bt.run_chunked(cut(BARS, 1), TwoUp(), RULES, CONTRACT)
        assert len(whole) > 20
        assert parts.trades.equals(whole.trades)
        assert parts.provenance == whole.provenance
        with pytest.raises(bt.UnsupportedError, match="has no twin in Rust"):
            bt.run_chunked(cut(BARS, 100), TwoUp(), RULES, CONTRACT, engine="rust")

    @pytest.mark.parametrize("strategy", [Silent, OwnElephant])
    def test_a_kernel_that_does_not(self, strategy):
        with pytest.raises(bt.UnsupportedError, match=r"a method history that returns History"):
            bt.run_chunked(cut(BARS, 100), strategy(), RULES)

    def test_a_function(self):
        def always(bars):
            return np.ones(len(bars), np.int8)

        with pytest.raises(bt.UnsupportedError, match=r"'always' cannot be run piece by piece"):
            bt.run_chunked(cut(BARS, 100), always, RULES)
