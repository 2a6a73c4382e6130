"""Walk-forward at its edges: too little data, nothing to choose, ruin, arguments that clash."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.walk_forward_by_hand import CLOSE, GRID, days_of, market

import backtest_py as bt

pytestmark = pytest.mark.timeout(120)

POINTS = bt.ExitRules(unit="points", stop=1.0, target=1.0, close_time="17:00")


def walk(bars, grid=None, strategy="barra_elefante", rules=CLOSE, **options):
    options = {"min_trades": 1, "contract": bt.Contract(tick_size=0.1), **options}
    return bt.walk_forward(bars, strategy, GRID if grid is None else grid, rules=rules, **options)


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=40, bars_per_day=40)


def level_bars(n_days, *, rises=0.0, bars_per_day=20):
    """Return bars of which each opens where the last closed and rises by the same."""
    times = [
        day + pd.Timedelta(hours=9, minutes=5 * bar)
        for day in pd.bdate_range("2024-01-01", periods=n_days)
        for bar in range(bars_per_day)
    ]
    opens = 1_000.0 + rises * np.arange(len(times))
    high, low = opens + max(rises, 0.0), opens + min(rises, 0.0)
    volume = np.ones(len(times))
    return bt.Bars(times, open=opens, high=high, low=low, close=opens + rises, volume=volume)


def at_ten(bars, *, side: int = 1):
    """Enter at 10:00."""
    return np.where(bars.minute == 600, side, 0).astype(np.int8)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ({}, ["40 days", "252 days of training", "train_days of at most 39"]),
        ({"train_days": 40}, ["40 days", "at most 39"]),
        ({"train_days": 10, "purge_days": 30}, ["30 days of purge and embargo", "at most 9"]),
        ({"train_days": 10, "purge_days": 500}, ["a shorter purge or embargo"]),
        ({"train_days": 10, "embargo_days": 39}, ["a shorter purge or embargo"]),
        ({"train_bars": 2_000, "test_bars": 10}, ["1,600 bars", "train_bars of at most 1,599"]),
        ({"train_bars": 10}, ["test_bars is missing"]),
        ({"purge_bars": 10}, ["train_bars is missing"]),
        ({"train_days": 10, "test_bars": 10}, ["train_days counts days", "test_bars bars"]),
        ({"train_days": 252, "purge_bars": 1}, ["one of them"]),
        ({"train_days": 0}, ["walk_forward.train_days = 0", "of at least 1"]),
        ({"test_days": -1}, ["test_days = -1"]),
        ({"test_days": 2.5}, ["test_days = 2.5", "whole number"]),
        ({"purge_days": -1}, ["purge_days = -1"]),
        ({"anchored": 1}, ["anchored = 1", "true or false"]),
        ({"range": ("2019-01-02", None)}, ["no bar follows to test on"]),
        ({"range": ("2019-01-02", "2029-01-01")}, ["no bar follows to test on"]),
        ({"range": ("2019-02-01", "2019-01-01")}, ["lies after"]),
        ({"range": "2019-02-01"}, ["start and end"]),
        ({"range": (None, "2019-02-01"), "train_days": 10}, ["train_days has no meaning"]),
        ({"range": (None, "2019-02-01"), "anchored": True}, ["anchored has no meaning"]),
        ({"range": (None, "2019-02-01"), "test_bars": 10}, ["test_bars has no meaning"]),
        ({"range": (None, "2019-02-01"), "purge_days": 300}, ["purge and embargo take 300 days"]),
        ({"choose": "sharp"}, ["unknown metric to choose by 'sharp'", "'sharpe'"]),
        ({"choose": 3}, ["choose = 3 is not allowed"]),
        ({"choose": ["sharpe"]}, ["choose = ['sharpe'] is not allowed"]),
        ({"min_trades": -1}, ["min_trades = -1"]),
        ({"min_trades": 2.0}, ["min_trades = 2.0"]),
        ({"plateau": "yes"}, ["plateau = 'yes'"]),
        ({"train_day": 10}, ["unknown argument of walk_forward 'train_day'", "'train_days'"]),
        ({"train_days": 10, "engine": "rost"}, ["unknown engine 'rost'"]),
        ({"threads": -1}, ["threads = -1"]),
        ({"train_days": 10, "resume": True}, ["resume continues", "name it in out"]),
        ({"train_days": 10, "plateau": True, "sample": bt.Sample(n=3)}, ["a sample has none"]),
    ],
)
def test_what_cannot_be_is_refused_in_words(bars, lengths, words):
    with pytest.raises(bt.ConfigError) as caught:
        walk(bars, **lengths)
    for each in words:
        assert each in str(caught.value)


def test_nothing_is_written_before_a_refusal(bars, tmp_path):
    with pytest.raises(bt.ConfigError):
        walk(bars, train_days=100, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_least_that_is_a_window(bars, engine):
    wf = walk(bars, train_days=39, engine=engine)
    assert len(wf) == 1
    assert wf.windows.test_days.iloc[0] == 1
    short = walk(bars, train_days=20, test_days=9, engine=engine)
    assert short.windows.test_days.tolist() == [9, 9, 2]
    assert short.windows.test_end.iloc[-1] == pd.Timestamp(days_of(bars)[-1])
    assert walk(bars, train_bars=1, test_bars=1_599, min_trades=0, choose="total_return").metrics


def test_anchored_windows_begin_with_the_first_day(bars):
    wf = walk(bars, train_days=15, test_days=10, anchored=True)
    assert (wf.windows.train_start == pd.Timestamp(days_of(bars)[0])).all()
    assert wf.windows.train_days.tolist() == [15, 25, 35]


def assert_flat(wf, n):
    windows = wf.windows
    assert windows.combo_id.tolist() == [-1] * n
    assert windows[list(GRID)].isna().all().all()
    assert windows[[f"train_{name}" for name in wf.metrics]].isna().all().all()
    assert (windows.test_total_trades == 0).all()
    assert (windows.test_total_return == 0).all()
    assert windows.test_sharpe.isna().all()
    assert (windows.test_days > 0).all()
    assert len(wf.trades) == len(wf.equity) == 0
    assert wf.trades.columns.tolist() == walked_columns()
    assert wf.metrics.total_trades == 0
    assert wf.metrics.days == windows.test_days.sum()
    assert math.isnan(wf.metrics.sharpe)
    assert (wf.daily["returns"] == 0).all()
    assert len(wf.daily) == wf.metrics.days
    assert math.isnan(wf.verdict().psr)
    assert "There is nothing to judge" in repr(wf)
    assert math.isnan(wf.efficiency)
    assert wf.drift.share.isna().all()
    assert (wf.drift.changes == 0).all()


def walked_columns():
    small = bt.synthetic_bars(n_days=3)
    return bt.run(small, "barra_elefante", CLOSE).trades.columns.tolist()


def test_no_window_with_a_choice(bars, engine):
    """Too many trades asked for; undefined metrics everywhere; all accounts ruined."""
    lengths = {"train_days": 15, "test_days": 10, "engine": engine}
    assert_flat(walk(bars, min_trades=10_000, **lengths), 3)
    never = {**GRID, "strategy.min_range_mult": [500.0, 600.0, 700.0]}
    assert_flat(walk(bars, never, min_trades=0, **lengths), 3)
    poor = bt.Contract(tick_size=1.0, initial_capital=1.0, fee_per_side=50.0)
    assert_flat(walk(bars, contract=poor, min_trades=0, choose="total_trades", **lengths), 3)


def test_a_window_without_trades_may_be_chosen(bars, engine):
    """Without trades the total return is 0, which is better than a loss."""
    dear = bt.Contract(tick_size=1.0, fee_per_side=20.0, initial_capital=1e6)
    grid = {"strategy.min_range_mult": [1.0, 500.0]}
    wf = walk(
        bars,
        grid,
        contract=dear,
        min_trades=0,
        choose="total_return",
        train_days=15,
        test_days=10,
        engine=engine,
    )
    assert wf.windows.combo_id.tolist() == [1, 1, 1]
    assert wf.windows.train_total_trades.tolist() == [0, 0, 0]
    assert wf.metrics.total_trades == 0
    assert math.isnan(wf.efficiency)
    assert wf.drift.share.tolist() == [1.0]


def test_ties_go_to_the_lowest_number(bars, engine):
    """The same combination three times over: a value that changes nothing."""
    grid = {"rules.max_bars": [400, 300, 500], "rules.stop": [1.0, 2.0]}
    wf = walk(bars, grid, train_days=15, test_days=10, engine=engine)
    assert (wf.windows["rules.max_bars"] == 400).all()


def test_one_trade_and_constant_returns(engine):
    """One trade a day that always earns the same: no variance, so no Sharpe ratio."""
    bars = level_bars(30, rises=0.1)
    grid = {"strategy.side": [1, -1]}
    options = {"strategy": at_ten, "rules": POINTS, "train_days": 10, "engine": engine}
    options["contract"] = bt.Contract(tick_size=0.1, initial_capital=1e12)
    flat = walk(bars, grid, test_days=10, choose="sharpe", **options)
    assert flat.windows.combo_id.tolist() == [-1, -1]
    wf = walk(bars, grid, test_days=1, choose="total_return", **options)
    assert wf.windows.combo_id.tolist() == [0] * 20
    assert wf.windows.test_total_trades.tolist() == [1] * 20
    assert wf.windows.test_sharpe.isna().all()
    assert wf.metrics.total_trades == 20
    assert math.isnan(wf.metrics.sharpe)
    assert wf.efficiency == pytest.approx(1.0)


def test_prices_that_never_move(engine):
    wf = walk(
        level_bars(30),
        {"strategy.side": [1, -1]},
        at_ten,
        bt.ExitRules(unit="points", stop=1.0, target=1.0, close_time="10:30"),
        min_trades=1,
        choose="total_return",
        train_days=10,
        test_days=10,
        engine=engine,
    )
    assert wf.windows.combo_id.tolist() == [0, 0]
    assert wf.metrics.total_return == 0.0
    assert math.isnan(wf.efficiency)


def test_a_function_and_a_single_combination(bars, engine):
    grid = {"strategy.side": [1, -1], "rules.stop": [2.0, 4.0]}
    wf = walk(bars, grid, at_ten, CLOSE, train_days=15, test_days=10, engine=engine)
    row = wf.windows.iloc[1]
    result = bt.run(
        bars,
        lambda given: at_ten(given, side=int(row["strategy.side"])),
        replace(CLOSE, stop=row["rules.stop"]),
        bt.Contract(tick_size=0.1),
        range=(row.test_start, row.test_end),
        engine=engine,
    )
    assert result.metrics.total_return == row.test_total_return
    one = walk(bars, {"rules.stop": [2.0]}, train_days=15, test_days=10, engine=engine)
    assert (one.windows.combo_id == 0).all()
    plateau = walk(
        bars, {"rules.stop": [2.0]}, train_days=15, test_days=10, plateau=True, engine=engine
    )
    assert (plateau.windows.combo_id == -1).all(), "without neighbours there is no plateau"


def test_a_sample_is_walked_through(bars, engine):
    grid = {"rules.stop": {"min": 0.5, "max": 3.0}, "rules.target": {"min": 0.5, "max": 3.0}}
    sample = bt.Sample(n=40, kind="halton", seed=3)
    wf = walk(bars, grid, sample=sample, train_days=15, test_days=10, engine=engine)
    row = wf.windows.iloc[0]
    sweep = bt.sweep(
        bars,
        grid=grid,
        sample=sample,
        rules=CLOSE,
        contract=bt.Contract(tick_size=0.1),
        range=(row.train_start, row.train_end),
        engine=engine,
    )
    assert row.combo_id == sweep.top(1).combo_id.iloc[0]
    assert wf.drift.steps.isna().all()


def test_where_leaves_combinations_out(bars, engine):
    where = "rules.target > rules.stop"
    wf = walk(bars, where=where, train_days=15, test_days=5, engine=engine)
    assert (wf.windows["rules.target"] > wf.windows["rules.stop"]).all()


def test_the_account_ends_where_it_is_ruined(engine):
    """Every window starts with the whole capital; the account that goes through all does not."""
    bars = level_bars(30, rises=-0.1)
    contract = bt.Contract(tick_size=0.1, initial_capital=10.0)
    rules = bt.ExitRules(unit="points", stop=1.0, target=1.0, close_time="17:00")
    wf = walk(
        bars,
        {},
        at_ten,
        rules,
        contract=contract,
        min_trades=0,
        choose="total_return",
        train_days=5,
        test_days=5,
        engine=engine,
    )
    assert not wf.windows.test_ruined.any()
    assert wf.windows.test_total_trades.tolist() == [5] * 5
    assert wf.metrics.ruined
    assert wf.equity.iloc[-1] <= 0 < wf.equity.iloc[-2]
    assert len(wf.trades) == wf.metrics.total_trades < 25
    assert wf.metrics.days == len(wf.trades)
    assert "the account is ruined in window 3, and ends there" in repr(wf)


def test_nothing_is_left_of_the_trainings_where_the_account_is_ruined(engine):
    """Twelve days earn 0.7 each, all others lose it: of 7, the account is ruined on day 24."""
    up, down = level_bars(12, rises=0.1), level_bars(27, rises=-0.1)[12 * 20 :]
    columns = {
        name: np.append(getattr(up, name), getattr(down, name) + (name != "volume") * 48.0)
        for name in ("open", "high", "low", "close", "volume")
    }
    bars = bt.Bars(np.append(up.time, down.time), **columns)
    wf = walk(
        bars,
        {},
        at_ten,
        bt.ExitRules(unit="points", stop=1.0, target=1.0, close_time="17:00"),
        contract=bt.Contract(tick_size=0.1, initial_capital=6.9),
        min_trades=0,
        choose="total_return",
        train_days=10,
        test_days=5,
        anchored=True,
        engine=engine,
    )
    assert wf.windows.test_total_trades.tolist() == [5, 5, 5, 2]
    assert wf.windows.train_total_return.tolist() == pytest.approx([7.0, 6.3, 2.8, -0.7])
    assert wf.metrics.ruined
    assert wf.metrics.days == wf.metrics.total_trades < 17
    # those who traded it lost all of it, whatever the windows behind the ruin show
    left = wf.metrics.total_return / wf.metrics.days
    assert wf.efficiency == pytest.approx(left / (15.4 / 70))
    assert wf.notes[0].startswith("the account is ruined in window 3, and ends there")


def test_more_than_a_day_between_windows_counts_every_day(bars, engine):
    wf = walk(bars, train_days=15, test_days=10, purge_days=3, engine=engine)
    assert wf.windows.test_days.tolist() == [10, 10, 2]
    assert wf.metrics.days == 22
    assert (wf.windows.test_start.iloc[1:].to_numpy() == wf.windows.test_end.iloc[:-1]).all()


def test_several_markets_are_checked_before_any_is_walked(bars):
    markets = {"A": bars, "B": bt.synthetic_bars(n_days=5)}
    with pytest.raises(bt.ConfigError, match=r"^B: there are 5 days"):
        walk(markets, train_days=15, test_days=10)
    with pytest.raises(bt.ConfigError, match="holds no market"):
        walk({}, train_days=15)
    with pytest.raises(bt.ConfigError, match="contract has none for 'B'"):
        walk(markets, contract={"A": bt.Contract()}, train_days=2, test_days=2)
    with pytest.raises(bt.ConfigError, match="contract is dict"):
        walk(bars, contract={"A": bt.Contract()}, train_days=15)


def test_progress_counts_every_combination_once(bars):
    seen = []
    walk(bars, train_days=15, test_days=10, progress=seen.append)
    assert seen[-1].combos == seen[-1].total_combos == 24
    seen.clear()
    markets = {"A": bars, "B": market("session")[0]}
    walk(markets, train_days=15, test_days=10, progress=seen.append, engine="rust")
    assert seen[-1].combos == seen[-1].total_combos == 48
    assert [each.combos for each in seen] == sorted(each.combos for each in seen)


def test_a_range_may_begin_and_end_within_a_day(bars):
    """Then the test begins at the very bar, unless there is a gap in days."""
    day = days_of(bars)[20]
    noon = pd.Timestamp(day) + pd.Timedelta(hours=11)
    span = (pd.Timestamp(day) - pd.Timedelta(days=20), noon)
    wf = walk(bars, range=span)
    row = wf.windows.iloc[0]
    assert (row.train_start, row.train_end, row.test_start) == (*span, noon)
    assert bars.minute[bars.bounds(row.test_start)[0]] == 660
    later = walk(bars, range=span, purge_days=1).windows.iloc[0]
    assert later.test_start == pd.Timestamp(days_of(bars)[22])
    in_bars = walk(bars, range=span, purge_bars=3).windows.iloc[0]
    assert in_bars.test_start == noon + pd.Timedelta(minutes=15)


def test_memory_is_kept_or_refused_before_anything_is_written(bars, tmp_path):
    how = {"train_days": 15, "test_days": 1, "out": tmp_path / "x"}
    with pytest.raises(bt.ConfigError, match="max_memory"):
        walk(bars, **how, max_memory=100_000)
    with pytest.raises(bt.ConfigError, match="plateau keeps the scores"):
        walk(bars, **how, max_memory=5_000, plateau=True)
    assert not (tmp_path / "x").exists()


def test_clocks_that_are_turned_back():
    """Windows of bars that begin in the hour that comes twice still are ranges."""
    times = pd.date_range("2023-10-27", "2023-11-02", freq="30min", tz="UTC")
    rng = np.random.default_rng(0)
    close = 100.0 + rng.normal(0, 1, len(times)).cumsum()
    frame = pd.DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0},
        index=times,
    )
    bars = bt.Bars.from_frame(frame, session_timezone="Europe/Berlin")
    rules = bt.ExitRules(unit="points", stop=2.0, target=2.0)

    def often(given):
        return np.where(np.arange(len(given)) % 2 == 0, 1, -1).astype(np.int8)

    options = {"train_bars": 20, "test_bars": 1, "min_trades": 0, "choose": "total_return"}
    contract = bt.Contract(tick_size=0.01, initial_capital=1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        wf = bt.walk_forward(bars, often, {}, rules=rules, contract=contract, **options)
        for _, row in wf.windows.iterrows():
            if row.test_start == row.test_end:
                continue
            span = (row.test_start, row.test_end)
            result = bt.run(bars, often, rules, contract, range=span)
            assert result.metrics.total_return == row.test_total_return
    trades = wf.trades
    assert (trades.signal_bar.to_numpy()[1:] >= trades.exit_bar.to_numpy()[:-1]).all()
