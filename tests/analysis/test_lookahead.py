"""The check for look-ahead: what cheats is found and named, and what does not is left alone."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt
from backtest_py._jit import kernel
from backtest_py.strategies import base
from backtest_py.strategies.base import Strategy

WIN = Path("data") / "WIN_M5_2023H1.csv"


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=60)


def momentum(bars, *, n: int = 3):
    """An honest rule: so many closes up in a row."""
    up = np.diff(bars.close, prepend=bars.close[0]) > 0
    side = np.zeros(len(bars), np.int8)
    if len(bars) > n:
        rows = np.lib.stride_tricks.sliding_window_view(up, n)
        side[n - 1 :] = rows.all(axis=1)
    return side


def high_of_the_next_bar(bars):
    high = pd.Series(bars.high)
    return (high.shift(-1) > high * 1.001).to_numpy()


def next_close(bars):
    return np.append(np.sign(np.diff(bars.close)), 0)


def fifth_bar_ahead(bars):
    close = pd.Series(bars.close)
    return (close.shift(-5) > close * 1.002).to_numpy()


def centred_mean(bars):
    close = pd.Series(bars.close)
    away = np.sign(close - close.rolling(21, center=True).mean()).fillna(0)
    return away.where(away != away.shift(1), 0).to_numpy()


def full_sample_score(bars):
    score = (bars.close - bars.close.mean()) / bars.close.std()
    return (score > 1.5).astype(int) - (score < -1.5).astype(int)


def largest_volume_of_all(bars):
    return bars.volume > 0.8 * bars.volume.max()


def backfilled_mean(bars):
    close = pd.Series(bars.close)
    return (close > close.rolling(50).mean().bfill()).to_numpy()


def backfilled_gaps(bars):
    close = pd.Series(bars.close)
    known = close.where(pd.Series(bars.minute % 60 == 0)).bfill()
    return np.sign(known - close).fillna(0).to_numpy()


def close_of_the_day(bars):
    last = pd.Series(bars.close).groupby(bars.day).transform("last")
    return np.sign(last - bars.close).to_numpy()


def hour_joined_at_its_start(bars):
    frame = bars.to_frame()
    hours = frame["close"].resample("1h").last()
    known = hours.reindex(frame.index, method="ffill").to_numpy()
    return np.sign(known - bars.close)


def half_of_the_bars(bars):
    side = momentum(bars)
    side[: len(bars) // 2] = 0
    return side


def smoothed_both_ways(bars):
    close = pd.Series(bars.close)
    there = close.ewm(span=20).mean()
    back = there[::-1].ewm(span=20).mean()[::-1]
    return np.sign(close - back).to_numpy()


CHEATS = {
    high_of_the_next_bar: ("future", 1),
    next_close: ("future", 1),
    fifth_bar_ahead: ("future", 5),
    centred_mean: ("future", 10),
    full_sample_score: ("future", 100),
    largest_volume_of_all: ("future", 100),
    backfilled_mean: ("future", 40),
    backfilled_gaps: ("future", 8),
    close_of_the_day: ("future", 100),
    hour_joined_at_its_start: ("future", 8),
    half_of_the_bars: ("length", 100),
    smoothed_both_ways: ("future", 1),
}
"""What it is found to do, and how far ahead the first findings look, at least."""


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_cheats_are_found(bars, cheat, seed):
    found = bt.check_lookahead(cheat, bars, seed=seed)
    kind, reach = CHEATS[cheat]
    assert not found
    assert not found.ok
    assert {finding.kind for finding in found.findings} == {kind}
    assert max(finding.reach for finding in found.findings) >= reach
    if cheat not in {full_sample_score, largest_volume_of_all, close_of_the_day, half_of_the_bars}:
        # no further ahead than it really looks
        most = {fifth_bar_ahead: 5, centred_mean: 10, backfilled_mean: 49, backfilled_gaps: 12}
        most |= {hour_joined_at_its_start: 12, smoothed_both_ways: 400}
        assert max(finding.reach for finding in found.findings) <= most.get(cheat, 1)


@pytest.mark.parametrize("cheat", [high_of_the_next_bar, close_of_the_day, full_sample_score])
def test_a_finding_says_which_bar_saw_what(bars, cheat):
    real = np.asarray(cheat(bars)).astype(float)
    found = bt.check_lookahead(cheat, bars)
    for finding in found.findings:
        assert finding.column == "side"
        assert finding.value == real[finding.bar]
        assert finding.other != finding.value
        assert finding.bar < finding.cut
        assert finding.time == bars.time_text(finding.bar)
        assert 1 <= finding.n_changed <= finding.cut
        assert finding.reach >= finding.cut - finding.bar
        assert finding.bars_ahead >= 1
        assert finding.text in found.text or finding not in found.findings[:3]
    keys = [(finding.bar, finding.cut) for finding in found.findings]
    assert keys == sorted(keys)


def test_the_fewest_bars_that_change_an_answer(bars):
    for cheat, count in ((next_close, 1), (fifth_bar_ahead, 5)):
        assert [each.bars_ahead for each in bt.check_lookahead(cheat, bars).findings[:3]] == [
            count
        ] * 3


def vetoed_by(condition):
    """Return an honest rule with a veto that looks one bar ahead and seldom matters."""

    def rule(bars):
        side = momentum(bars, n=2)
        side[condition(bars)] = 0
        return side

    return rule


def crash_next(bars):
    return np.append(bars.low[1:], np.inf) < bars.close * 0.9984


def hectic_next(bars):
    return np.append(bars.volume[1:], 0.0) > 40_000.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("condition", [crash_next, hectic_next])
def test_a_filter_that_seldom_matters_is_found(bars, condition, seed):
    rule = vetoed_by(condition)
    vetoed = np.count_nonzero(rule(bars) != momentum(bars, n=2))
    assert 0 < vetoed < 20  # of 6,540 bars
    found = bt.check_lookahead(rule, bars, seed=seed)
    assert not found.ok
    assert found.findings[0].kind == "future"
    assert {finding.reach for finding in found.findings} == {1}


def test_one_bar_in_thousands_away_from_signals_is_found(bars):
    """The veto of one day alone, where cuts need not come by: every bar's next one is changed."""
    place = 3_000

    def rule(bars):
        side = momentum(bars)
        falls = np.append(bars.close[1:] < bars.close[:-1], False)
        if len(bars) > place:
            side[place] = falls[place]
        return side

    wanted = bt.check_lookahead(rule, bars, seed=3)
    assert place + 1 not in wanted.cuts
    (finding,) = wanted.findings
    assert (finding.bar, finding.cut, finding.reach, finding.bars_ahead) == (3_000, 3_001, 1, 1)
    assert wanted.n_cuts_seen == 0


def means_crossing(bars):
    close = pd.Series(bars.close)
    fast, slow = close.ewm(span=50).mean(), close.ewm(span=200).mean()
    side = np.sign(np.sign(fast - slow).diff().fillna(0))
    return side.to_numpy(), close.rolling(14).std().to_numpy()


def wilder_risk(bars):
    true_range = pd.Series(bars.high - bars.low)
    return momentum(bars), true_range.ewm(alpha=1 / 14, adjust=False).mean().to_numpy()


def convolved_in_one_go(bars):
    """Rounding of its risk hangs on how many bars there are, far behind the point."""
    padded = np.concatenate([bars.close, np.zeros(64)])
    kernel = np.zeros(len(padded))
    kernel[:64] = 1 / 64
    mean = np.fft.irfft(np.fft.rfft(padded) * np.fft.rfft(kernel), len(padded))[: len(bars)]
    risk = np.abs(bars.close - mean) + 1.0
    risk[:64] = np.nan
    return momentum(bars), risk


def position_machine(bars):
    side = np.zeros(len(bars), np.int8)
    held, mark = 0, bars.close[0]
    for row, close in enumerate(bars.close.tolist()):
        if held == 0 and close > mark * 1.004:
            held, mark, side[row] = 1, close, 1
        elif held == 1 and close < mark * 0.997:
            held, mark, side[row] = 0, close, -1
        mark = max(mark, close * 0.99)
    return side


def expanding_extremes(bars):
    return (bars.high >= np.maximum.accumulate(bars.high)).astype(np.int8)


def not_on_the_last_bar_of_a_day(bars):
    side = momentum(bars)
    side[np.append(bars.day[1:] != bars.day[:-1], False)] = 0
    return side


def only_the_clock(bars):
    return (bars.minute == 10 * 60).astype(np.int8)


def long_warm_up(bars):
    _ = bars.close[200]
    return momentum(bars)


def closed_days(bars):
    """Yesterday's close, as it should be used."""
    last = pd.Series(bars.close).groupby(bars.day).last().shift(1)
    known = last.reindex(bars.day).to_numpy()
    return np.sign(np.nan_to_num(bars.close - known))


def never(bars):
    return np.zeros(len(bars), np.int8)


HONEST = [
    momentum,
    means_crossing,
    wilder_risk,
    convolved_in_one_go,
    position_machine,
    expanding_extremes,
    not_on_the_last_bar_of_a_day,
    only_the_clock,
    long_warm_up,
    closed_days,
    never,
    "barra_elefante",
    bt.BarraElefante(min_range_mult=1.2, confirm_breakout=True),
    "opening_range_breakout",
    bt.MovingAverageCross(fast=20, slow=150),
]


@pytest.mark.parametrize("honest", HONEST, ids=lambda each: getattr(each, "__name__", str(each)))
def test_honest_strategies_are_not_accused(bars, honest):
    for seed in (0, 5):
        found = bt.check_lookahead(honest, bars, seed=seed)
        assert found, found.text
        assert found.ok
        assert found.findings == ()
        assert len(found.table) == 0
        assert "no look-ahead found" in found.text


def test_most_bars_are_covered(bars):
    for honest in (momentum, means_crossing, wilder_risk, "barra_elefante"):
        assert bt.check_lookahead(honest, bars).covered > 0.9 * len(bars)


@pytest.mark.parametrize("engine", ["numba", "rust"])
@pytest.mark.parametrize("name", ["barra_elefante", "opening_range_breakout"])
def test_both_engines_on_real_bars(shared_win, engine, name):
    found = bt.check_lookahead(name, shared_win, engine=engine)
    assert found.ok
    assert found.engine == engine
    assert found.n_active > 0
    assert bt.check_lookahead(high_of_the_next_bar, shared_win).findings[0].reach == 1


@pytest.fixture(scope="module")
def shared_win():
    folder = Path(os.environ.get("BACKTEST_PY_SHARED", "shared"))
    return bt.load_bars(folder / WIN)[:6_000]


class TestRisksAndFlags:
    def test_a_risk_that_looks_ahead(self, bars):
        def rule(bars):
            risk = np.append(bars.high[1:] - bars.low[1:], np.nan)
            return momentum(bars), risk

        found = bt.check_lookahead(rule, bars)
        assert {finding.column for finding in found.findings} == {"risk"}
        assert {finding.reach for finding in found.findings} == {1}

    def test_a_risk_scaled_by_the_future(self, bars):
        found = bt.check_lookahead(
            lambda bars: (momentum(bars), (bars.high - bars.low) / bars.close.max()), bars
        )
        assert found.findings[0].column == "risk"

    @pytest.mark.parametrize("flag", ["exit_long", "exit_short"])
    @pytest.mark.parametrize("form", [tuple, dict])
    def test_a_flag_that_looks_ahead(self, bars, flag, form):
        def rule(bars):
            honest = momentum(bars) == 1
            cheat = np.append(honest[1:], False)
            flags = {"exit_long": honest, "exit_short": honest, flag: cheat}
            given = {"side": momentum(bars), "risk": None, **flags}
            return given if form is dict else tuple(given.values())

        found = bt.check_lookahead(rule, bars)
        assert {finding.column for finding in found.findings} == {flag}
        assert found.findings[0].bars_ahead == 1

    def test_honest_flags(self, bars):
        found = bt.check_lookahead(
            lambda bars: (momentum(bars), bars.high - bars.low, momentum(bars) == 0, never(bars)),
            bars,
        )
        assert found.ok
        assert found.n_active == len(bars)

    def test_series_are_taken_as_a_run_takes_them(self, bars):
        def rule(bars):
            index = bars.to_frame().index
            return pd.Series(momentum(bars), index), pd.Series(bars.high - bars.low, index)

        assert bt.check_lookahead(rule, bars).ok


class TestRegisteredAndClasses:
    def test_a_registered_function_by_name_class_and_instance(self, bars):
        @bt.register_strategy
        def peeks_when_told(bars, *, ahead: int = 1):
            close = pd.Series(bars.close)
            return (close.shift(-ahead) > close).to_numpy()

        for strategy in ("peeks_when_told", peeks_when_told, peeks_when_told()):
            assert not bt.check_lookahead(strategy, bars).ok
        assert bt.check_lookahead(peeks_when_told(ahead=0), bars).ok
        far = bt.check_lookahead(peeks_when_told(ahead=4), bars)
        assert max(finding.reach for finding in far.findings) == 4

    def test_a_kernel_that_looks_ahead(self, bars):
        @kernel
        def peeking(bars, values, start, side, risk):
            for t in range(len(side)):
                i = start + t
                side[t] = 0
                if i + 1 < len(bars.close) and bars.close[i + 1] > bars.close[i] + values[0]:
                    side[t] = 1

        @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
        class Peeking(Strategy):
            name = "peeking_kernel"
            from backtest_py.parameters import parameter

            points: float = parameter(0.0, "float", "more than so many points")

        Peeking.kernel = peeking
        found = bt.check_lookahead(Peeking(), bars, engine="numba")
        assert not found.ok
        assert found.findings[0].reach == 1


class TestOddFunctions:
    def test_random_answers(self, bars):
        generator = np.random.default_rng()
        found = bt.check_lookahead(
            lambda bars: (generator.random(len(bars)) > 0.5).astype(int), bars
        )
        assert [finding.kind for finding in found.findings] == ["random"]
        assert "asked again on the same bars" in found.text
        assert found.runs < 10

    def test_what_is_remembered_between_calls(self, bars):
        seen = []

        def rule(bars):
            seen.append(len(bars))
            return momentum(bars) if len(seen) == 1 else never(bars)

        found = bt.check_lookahead(rule, bars)
        assert [finding.kind for finding in found.findings] == ["memory"]

    def test_bars_are_not_to_be_changed(self, bars):
        def rule(bars):
            bars.close[0] = 1.0
            return momentum(bars)

        before = bars.close.copy()
        with pytest.raises(bt.ConfigError, match=r"read-only.*bars\.close\.copy\(\)") as caught:
            bt.check_lookahead(rule, bars)
        assert isinstance(caught.value.__cause__, ValueError)
        assert np.array_equal(bars.close, before)

    def test_short_pieces_fail_and_longer_ones_are_checked(self, bars):
        def rule(bars):
            _ = bars.close[200]
            return next_close(bars)

        found = bt.check_lookahead(rule, bars)
        assert found.findings[0].reach == 1
        (note,) = found.notes
        assert "it fails on" in note
        assert "IndexError" in note
        assert len(bt.check_lookahead(long_warm_up, bars).notes) == 1

    def test_signals_made_before_do_not_fit_shorter_bars(self, bars):
        made = momentum(bars)
        found = bt.check_lookahead(lambda bars: made, bars)
        assert [finding.kind for finding in found.findings] == ["failed"]
        assert "shape (6540,) for" in found.text

    def test_signals_made_before_and_cut_to_length_are_noted(self, bars):
        made = next_close(bars)
        found = bt.check_lookahead(lambda bars: made[: len(bars)], bars)
        assert found.ok
        assert any("whatever the prices are" in note for note in found.notes)
        assert not any("whatever the prices" in n for n in bt.check_lookahead(momentum, bars).notes)

    def test_the_calendar_is_known_ahead(self, bars):
        found = bt.check_lookahead(not_on_the_last_bar_of_a_day, bars)
        assert found.ok
        assert any("which bar ends a day is known ahead" in note for note in found.notes)

    def test_no_signal_is_noted(self, bars):
        assert "no signal" in bt.check_lookahead(never, bars).text

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            (lambda bars: np.full(len(bars), np.nan), r"side\[0\] = nan is not allowed"),
            (lambda bars: np.zeros(3), r"side has shape \(3,\)"),
            (lambda bars: (1, 2, 3), "returned 3 values"),
            (lambda bars: {"sides": never(bars)}, "returned 'sides'"),
            (lambda bars: 1 / 0, "ZeroDivisionError"),
            (lambda bars: (never(bars), None, never(bars) + 2, never(bars)), "exit_long"),
            (lambda bars: None, "side"),
        ],
    )
    def test_what_no_run_would_take(self, bars, rule, words):
        with pytest.raises(bt.ConfigError, match=words):
            bt.check_lookahead(rule, bars)

    def test_nan_only_where_the_future_is_missing(self, bars):
        """On all bars its sides are whole, because it fills the end; cut short it gives nan."""
        n_bars = len(bars)

        def rule(bars):
            side = np.append(np.sign(np.diff(bars.close)), np.nan)
            if len(bars) == n_bars:
                side[-1] = 0.0
            return side

        found = bt.check_lookahead(rule, bars)
        assert any(finding.kind == "future" for finding in found.findings)


class TestSmallAndOddBars:
    @pytest.mark.parametrize("count", [1, 2, 3, 10])
    def test_few_bars(self, bars, count):
        few = bars[:count]
        assert bt.check_lookahead(momentum, few).ok
        assert bt.check_lookahead(next_close, few).ok == (count == 1)

    def test_prices_at_and_below_zero(self, bars):
        low = bt.Bars(
            bars.time, *(getattr(bars, name) - 1.3e5 for name in ("open", "high", "low", "close"))
        )
        assert (low.low < 0).any()
        assert bt.check_lookahead(momentum, low).ok
        assert bt.check_lookahead(next_close, low).findings[0].reach == 1
        assert not bt.check_lookahead(full_sample_score, low).ok

    def test_equal_prices_and_no_volume(self):
        flat = bt.Bars(
            np.arange(500) * 300_000_000_000 + 1_600_000_000_000_000_000,
            *(np.full(500, 10.0) for _ in range(4)),
        )
        assert bt.check_lookahead(momentum, flat).ok
        assert not bt.check_lookahead(next_close, flat).ok

    def test_a_column_atr(self, bars):
        names = ("open", "high", "low", "close", "volume")
        with_atr = bt.Bars(
            bars.time, *(getattr(bars, name) for name in names), atr=bars.high - bars.low
        )
        honest = bt.check_lookahead(lambda bars: (momentum(bars), bars.atr_column * 2), with_atr)
        assert honest.ok
        ahead = bt.check_lookahead(
            lambda bars: (momentum(bars), np.append(bars.atr_column[1:], np.nan)), with_atr
        )
        assert ahead.findings[0].column == "risk"

    def test_volume_that_is_missing_is_refused_as_by_a_run(self, bars):
        silent = bt.Bars(bars.time, bars.open, bars.high, bars.low, bars.close)
        with pytest.raises(bt.ConfigError, match="needs volume"):
            bt.check_lookahead("barra_elefante", silent)


class TestTheResult:
    def test_the_same_seed_gives_the_same_result(self, bars):
        for rule in (centred_mean, means_crossing):
            first, second = (bt.check_lookahead(rule, bars, seed=4) for _ in range(2))
            assert first == second
            assert first.cuts == second.cuts
        assert bt.check_lookahead(momentum, bars, seed=5).cuts != first.cuts

    def test_cuts_lie_behind_signals_at_days_and_in_the_warm_up(self, bars):
        found = bt.check_lookahead(momentum, bars)
        cuts = np.array(found.cuts)
        assert len(cuts) == 32
        assert list(cuts) == sorted(set(cuts.tolist()))
        assert np.count_nonzero(momentum(bars)[cuts - 1]) >= 12
        starts = np.flatnonzero(np.diff(bars.day)) + 1
        assert len(np.intersect1d(cuts, starts)) >= 2
        assert len(np.intersect1d(cuts, starts + 1)) >= 2
        assert {1, 2, 4} <= set(found.cuts)

    def test_the_cost_is_bounded_and_told(self, bars):
        calls = []

        def rule(bars):
            calls.append(len(bars))
            return momentum(bars)

        for cuts in (1, 8, 32, 100):
            calls.clear()
            found = bt.check_lookahead(rule, bars, cuts=cuts)
            assert found.runs == len(calls) <= 8 + 7 * cuts
            assert found.seconds > 0
            assert f"{found.runs:,} runs" in found.text

    def test_a_vectorised_rule_on_many_bars_takes_seconds(self):
        many = bt.synthetic_bars(n_days=1_285)
        assert len(many) >= 140_000
        found = bt.check_lookahead(momentum, many)
        assert found.ok
        assert found.seconds < 5

    def test_progress(self, bars):
        seen = []
        bt.check_lookahead(momentum, bars, cuts=8, progress=seen.append)
        done = [now.done for now in seen]
        assert done == sorted(done)
        assert seen[-1].done <= seen[-1].total
        assert len(seen) > 20

    def test_the_table_and_json(self, bars):
        found = bt.check_lookahead(centred_mean, bars)
        assert isinstance(found, bt.LookaheadResult)
        table = found.table
        assert list(table["bar"]) == [finding.bar for finding in found.findings]
        assert {"kind", "column", "time", "value", "other", "cut", "bars_ahead", "reach"} <= set(
            table
        )
        printed = json.loads(json.dumps(found.to_mapping(), allow_nan=False))
        assert printed["ok"] is False
        assert printed["findings"][0]["bar"] == found.findings[0].bar
        assert printed["text"] == found.text == repr(found)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.findings[0].bar = 3

    @pytest.mark.parametrize(
        ("how", "words"),
        [
            ({"cuts": 0}, "cuts = 0"),
            ({"cuts": 2.5}, "cuts = 2.5"),
            ({"cuts": True}, "cuts = True"),
            ({"seed": -1}, "seed = -1"),
            ({"engine": "gpu"}, "unknown engine 'gpu'"),
        ],
    )
    def test_arguments_that_are_not_allowed(self, bars, how, words):
        with pytest.raises(bt.ConfigError, match=words):
            bt.check_lookahead(momentum, bars, **how)

    def test_what_is_no_strategy(self, bars):
        with pytest.raises(bt.ConfigError, match="give a strategy"):
            bt.check_lookahead(momentum(bars), bars)
        with pytest.raises(bt.ConfigError, match="bars is DataFrame"):
            bt.check_lookahead(momentum, bars.to_frame())

    def test_importing_it_is_light(self):
        code = (
            "import sys, backtest_py as bt; bt.check_lookahead; "
            "heavy = {'pandas', 'pyarrow', 'scipy', 'numba'}; "
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"
