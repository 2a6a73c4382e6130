"""What a Monte Carlo answers, what it refuses, and what it does with too little."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt
from backtest_py import overfitting

PNL = np.round(np.random.default_rng(1).normal(6, 50, 150), 2)


def run(kind="bootstrap", pnl=PNL, **how):
    return bt.monte_carlo(pnl, kind, **{"n_paths": 400, "initial_capital": 2_000.0, **how})


@pytest.fixture(scope="module")
def result():
    """Return a backtest, and one whose signals were given."""
    bars = bt.synthetic_bars(n_days=15)
    rules = bt.ExitRules(stop=1.0, target=1.5, close_time="17:00")
    return bt.run(bars, bt.BarraElefante(min_range_mult=1.2), rules)


def test_percentiles_are_those_of_the_table():
    found = run()
    table = found.table.drop(columns=["ruined", "below_level"])
    shares = [0.0, 0.05, 0.5, 0.77, 1.0]
    expected = table.quantile(shares)
    pd.testing.assert_frame_equal(
        found.quantiles(shares), expected.rename_axis("quantile"), check_dtype=False, rtol=1e-13
    )
    one = found.quantiles(0.5, "max_drawdown")
    assert one.shape == (1, 1)
    assert one.loc[0.5, "max_drawdown"] == table["max_drawdown"].median()


def test_a_frame_that_was_given_away_may_be_changed():
    found = run()
    table, fan = found.table, found.fan
    table["max_drawdown"] = 0.0
    fan["p50"] = 0.0
    assert found.table["max_drawdown"].max() > 0
    assert found.fan["p50"].max() > 0


@pytest.mark.parametrize("kind", ["bootstrap", "shuffle", "skip"])
def test_the_fan_begins_at_the_capital_and_ends_at_the_percentiles(kind):
    found = run(kind)
    fan = found.fan
    assert list(fan.columns) == ["p05", "p25", "p50", "p75", "p95", "observed"]
    assert fan.index[0] == 0
    assert fan.index[-1] == 150
    assert len(fan) == 101
    assert (fan.iloc[0] == 2_000.0).all()
    assert (np.diff(fan.iloc[:, :5].to_numpy(), axis=1) >= 0).all()
    if kind == "shuffle":
        np.testing.assert_allclose(fan.iloc[-1], 2_000.0 + PNL.sum(), rtol=1e-12)
    else:
        ends = found.quantiles([0.05, 0.25, 0.5, 0.75, 0.95])["final_equity"]
        assert fan.iloc[-1, :5].tolist() == ends.tolist()
    balance = 2_000.0 + np.cumsum(PNL)
    np.testing.assert_allclose(fan["observed"].iloc[1:], balance[fan.index[1:] - 1], rtol=1e-13)
    assert run(kind, pnl=PNL[:30]).fan.index.tolist() == list(range(31))


@pytest.mark.parametrize("sizing", ["fixed", "compound"])
def test_what_no_order_can_change_is_refused_with_the_reason(sizing):
    found = run("shuffle", sizing=sizing)
    for name in ("total_return", "total_return_pct", "final_equity", "win_rate", "profit_factor"):
        assert name not in found.table
        for ask in (
            lambda name=name: found.quantiles([0.5], [name]),
            lambda name=name: found.p_value(name),
        ):
            with pytest.raises(bt.ConfigError, match=f"{name} is the same in every order"):
                ask()
        assert "same in every order" in found.left_out[name]
    with pytest.raises(bt.ConfigError, match="same in every order of the same trades"):
        found.probability_below(1_000)
    with pytest.raises(bt.ConfigError, match="same in every order"):
        found.p_value()
    assert "reordering changes no total" in repr(found)
    # what an order does decide is answered
    assert found.table["max_drawdown"].nunique() > 100
    assert 0 < found.p_value("max_drawdown") <= 1


def test_a_block_of_all_trades_is_refused():
    with pytest.raises(bt.ConfigError, match="block_length = 150 is not below the 150 trades"):
        run("block", block_length=150)
    totals = run("block", block_length=149).table["total_return"]
    assert totals.min() < totals.max()


def test_a_p_value_counts_what_was_observed():
    found = run("shuffle", n_paths=199)
    seen = found.observed["max_drawdown"]
    better = (found.table["max_drawdown"] <= seen).sum()
    assert found.p_value("max_drawdown") == (1 + better) / 200
    # losses first: the worst order there is, and the best one
    worst = run("shuffle", pnl=np.sort(PNL), n_paths=199)
    assert worst.p_value("max_drawdown") == 1.0
    turns = np.array([30.0, -10.0] * 60)
    assert run("shuffle", pnl=turns, n_paths=199).p_value("max_drawdown") == 1 / 200


@pytest.mark.parametrize("kind", ["bootstrap", "block", "skip"])
def test_a_p_value_needs_a_null_model(kind):
    with pytest.raises(bt.ConfigError, match=r'keeps the edge.*give kind = "null"'):
        run(kind).p_value("total_return")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"kind": "bootstrp"}, "monte_carlo.kind = 'bootstrp' is not allowed; give one of"),
        ({"n_paths": 0}, "n_paths = 0 is not allowed; give a whole number from 1"),
        ({"n_paths": 10**7}, "n_paths = 10000000 is not allowed"),
        ({"n_paths": 10.5}, "n_paths = 10.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**64}, "seed = 18446744073709551616"),
        ({"sizing": "kelly"}, "sizing = 'kelly'"),
        ({"block_length": -1}, "block_length = -1"),
        ({"skip_probability": 1.5}, "skip_probability = 1.5"),
        ({"skip_probability": float("nan")}, "skip_probability = nan"),
        ({"slippage_noise": -1}, "slippage_noise = -1"),
        ({"max_delay": 0}, "max_delay = 0"),
        ({"null": "luck"}, "null = 'luck'"),
        ({"level": -5}, "level = -5"),
        ({"threads": -1}, "threads = -1"),
        ({"threads": True}, "threads = True"),
        ({"initial_capital": 0}, "initial_capital = 0"),
        ({"initial_capital": "much"}, "initial_capital = 'much'"),
        ({"initial_capital": None}, "give initial_capital"),
        ({"engine": "fortran"}, "unknown engine 'fortran'"),
        ({"pnl": []}, "there are no trades"),
        ({"pnl": [1.0, float("nan")]}, r"pnl\[1\] = nan is not a finite number"),
        ({"pnl": [float("inf")]}, r"pnl\[0\] = inf is not a finite number"),
        ({"pnl": [[1.0, 2.0]]}, "result is list, of which no paths can be made"),
        ({"pnl": "run"}, "result is str"),
        ({"pnl": pd.DataFrame({"profit": [1.0]})}, "result is DataFrame"),
        ({"kind": "noise"}, "needs the result of a run"),
        ({"kind": "delay"}, "needs the result of a run"),
        ({"kind": "null"}, "needs the result of a run"),
    ],
)
def test_what_cannot_be_asked_is_refused(how, message):
    with pytest.raises(bt.ConfigError, match=message):
        run(**how)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda mc: mc.quantiles([1.5]), "give shares from 0 to 1"),
        (lambda mc: mc.quantiles([]), "give shares from 0 to 1"),
        (lambda mc: mc.quantiles(["a"]), "give shares from 0 to 1"),
        (lambda mc: mc.quantiles([float("nan")]), "give shares from 0 to 1"),
        (lambda mc: mc.quantiles([0.5], "max_drawdwn"), "did you mean 'max_drawdown'"),
        (lambda mc: mc.quantiles([0.5], "ruined"), "ask for its probability"),
        (lambda mc: mc.probability_below("all"), "give an equity in money"),
        (lambda mc: mc.probability_below(float("nan")), "give an equity in money"),
    ],
)
def test_what_cannot_be_answered_is_refused(ask, message):
    with pytest.raises(bt.ConfigError, match=message):
        ask(run(n_paths=20))


def test_a_result_that_cannot_be_run_again_is_refused(result):
    bars, side = result.job.bars, np.tile([1, 0, 0, 0, 0], len(result.job.bars) // 5)
    given = bt.run_signals(bars, side.astype(np.int8), bt.ExitRules(max_bars=3))
    for null in ("directions", "blocks"):
        with pytest.raises(bt.ConfigError, match=r'signals of your own.*null = "entries"'):
            bt.monte_carlo(given, "null", null=null, n_paths=5)
    assert len(bt.monte_carlo(given, "null", n_paths=5).table) == 5
    with pytest.raises(bt.ConfigError, match="block_length = 9000 is not below"):
        bt.monte_carlo(result, "null", null="blocks", block_length=9_000, n_paths=5)
    with pytest.raises(bt.ConfigError, match="both 0, so that nothing would vary"):
        bt.monte_carlo(result, "noise", slippage_noise=0, n_paths=5)
    frame = bars.to_frame()
    frame[["open", "high", "low", "close"]] -= frame["low"].min()
    shifted = bt.run(bt.Bars.from_frame(frame), result.job.strategy, result.job.rules)
    with pytest.raises(bt.ConfigError, match=r"prices above 0.*bars.low\[\d+\] = 0.0"):
        bt.monte_carlo(shifted, "null", null="directions", n_paths=5)
    with_atr = bt.Bars.from_frame(bars.to_frame().assign(atr=50.0))
    rules = bt.ExitRules(atr_method="column", close_time="17:00")
    by_column = bt.run(with_atr, result.job.strategy, rules)
    with pytest.raises(bt.ConfigError, match="column atr does not belong"):
        bt.monte_carlo(by_column, "null", null="blocks", n_paths=5)


def test_a_streamed_result_has_trades_and_no_bars(result):
    bars, job = result.job.bars, result.job
    streamed = bt.run_chunked([bars[:700], bars[700:]], job.strategy, job.rules)
    table = bt.monte_carlo(streamed, n_paths=50).table
    assert table.equals(bt.monte_carlo(result, n_paths=50).table)
    for kind in ("null", "delay"):
        with pytest.raises(bt.UnsupportedError, match="these bars were streamed"):
            bt.monte_carlo(streamed, kind, n_paths=5)


def test_no_trades_at_all(result):
    empty = bt.run(result.job.bars, bt.BarraElefante(min_range_mult=1e9))
    for kind in ("bootstrap", "shuffle", "noise", "null", "delay"):
        with pytest.raises(bt.ConfigError, match="there are no trades"):
            bt.monte_carlo(empty, kind)


@pytest.mark.parametrize("kind", ["bootstrap", "block", "shuffle", "skip"])
def test_one_trade(engine, kind):
    found = run(kind, pnl=[-40.0], engine=engine)
    table = found.table
    if kind == "skip":
        assert set(table["total_return"]) == {0.0, -40.0}
        assert table["total_trades"].mean() == pytest.approx(0.9, abs=0.06)
    else:
        assert set(table["max_drawdown"]) == {40.0}
        assert set(table["max_consecutive_losses"]) == {1}
    assert found.fan.index.tolist() == [0, 1]
    assert "too few" in repr(found)


@pytest.mark.parametrize("sizing", ["fixed", "compound"])
@pytest.mark.parametrize("kind", ["bootstrap", "block", "shuffle"])
def test_equal_results_give_equal_paths(engine, kind, sizing):
    table = run(kind, pnl=[10.0] * 40, sizing=sizing, engine=engine).table
    assert len(table.drop_duplicates()) == 1
    assert (table["max_drawdown"] == 0).all()
    assert (table["max_consecutive_losses"] == 0).all()
    flat = run(kind, pnl=[0.0] * 40, sizing=sizing, engine=engine).table
    assert (flat[["max_drawdown", "max_drawdown_pct", "max_consecutive_losses"]] == 0).all(
        axis=None
    )


def test_only_losses(engine):
    found = run(pnl=[-100.0] * 12, engine=engine)
    assert found.probability_of_ruin == 0.0
    assert found.probability_below() == 1.0
    assert (found.table["max_drawdown"] == 1_200.0).all()
    assert (found.table["max_consecutive_losses"] == 12).all()
    ruined = run(pnl=[-100.0] * 40, engine=engine)
    assert ruined.probability_of_ruin == 1.0
    assert (ruined.table["total_trades"] == 20).all()
    assert (ruined.table["max_drawdown_pct"] == 100.0).all()
    assert (ruined.fan.iloc[20:] == 0.0).all(axis=None)


def test_nobody_trades_when_all_are_skipped(engine):
    table = run("skip", skip_probability=1, engine=engine).table
    assert (table["total_trades"] == 0).all()
    assert (table["final_equity"] == 2_000.0).all()
    kept = run("skip", skip_probability=0, engine=engine)
    assert (kept.table["total_return"] == kept.observed["total_return"]).all()


def test_an_account_that_overflows_is_the_same_on_both_engines():
    pnl = [1e200, -1e200, 3e200, -2e200, 1e199] * 30
    found = [
        run(pnl=pnl, sizing="compound", initial_capital=1.0, engine=name, n_paths=64)
        for name in ("numba", "rust")
    ]
    pd.testing.assert_frame_equal(found[0].table, found[1].table, check_exact=True)


def test_files(tmp_path, result):
    found = bt.monte_carlo(result, "null", n_paths=30)
    found.save(tmp_path / "mc")
    table = pd.read_parquet(tmp_path / "mc" / "paths.parquet")
    pd.testing.assert_frame_equal(table, found.table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "mc" / "fan.parquet"), found.fan)
    manifest = json.loads((tmp_path / "mc" / "manifest.json").read_text())
    assert manifest["settings"]["null"] == "entries"
    assert manifest["provenance"]["bars_hash"] == result.provenance.bars_hash
    assert manifest["p_values"]["total_return"] == found.p_value("total_return")
    found.save(tmp_path / "mc")
    result.save(tmp_path / "run")
    with pytest.raises(bt.ConfigError, match="of kind 'run', no Monte Carlo"):
        found.save(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(bt.ConfigError, match="a file stands there"):
        found.save(tmp_path / "file")


UNCHANGED = (
    *("total_return", "total_return_pct", "final_equity", "expectancy", "win_rate", "sqn"),
    *("avg_win", "avg_loss", "gross_profit", "gross_loss", "profit_factor", "payoff_ratio"),
    *("best_trade", "worst_trade", "winning_trades", "losing_trades"),
)
"""Metrics that every order of the same trades leaves as they are."""


def test_what_an_order_cannot_change_is_found_by_reordering(result):
    """The list is right: shuffled trades measured by the engine keep these and no drawdown."""
    metrics = result.metrics
    pnl = result.columns["pnl"]
    orders = [np.random.default_rng(seed).permutation(pnl) for seed in range(20)]
    for order in orders:
        again = overfitting.metric_intervals(np.zeros(9), {"pnl": order}, n_resamples=2)
        for name in set(UNCHANGED) & set(again):
            assert again[name].estimate == pytest.approx(metrics[name], rel=1e-9), name
    falls = {
        overfitting.metric_intervals(np.zeros(9), {"pnl": order}, n_resamples=2)[
            "max_drawdown"
        ].estimate
        for order in orders
    }
    assert len(falls) > 10
    found = bt.monte_carlo(result, "shuffle", n_paths=20)
    for name in UNCHANGED:
        for ask in (found.p_value, lambda name: found.quantiles(0.5, name)):
            with pytest.raises(bt.ConfigError, match=f"{name} is the same in every order"):
                ask(name)


def test_a_level_means_nothing_to_shuffled_trades():
    with pytest.raises(bt.ConfigError, match=r"level = 900 asks.*same in every order"):
        run("shuffle", level=900.0)
    assert run("bootstrap", level=900.0).settings.level == 900.0


@pytest.mark.parametrize("kind", ["bootstrap", "block", "shuffle", "skip", "noise"])
def test_what_takes_days_is_explained(result, kind):
    found = bt.monte_carlo(result, kind, n_paths=20)
    for name in ("sharpe", "sortino", "exposure"):
        with pytest.raises(bt.ConfigError, match=f"{name}, which takes days or bars"):
            found.quantiles(0.5, name)


@pytest.mark.parametrize("null", ["entries", "directions"])
def test_what_is_neither_good_nor_bad_has_no_p_value(result, null):
    found = bt.monte_carlo(result, "null", null=null, n_paths=20)
    for name in ("days", "total_trades", "exposure", "long_trades"):
        with pytest.raises(bt.ConfigError, match="neither more nor less of it is better"):
            found.p_value(name)
    assert 0 < found.p_value("sharpe") <= 1
    shuffled = bt.monte_carlo(result, "shuffle", n_paths=20)
    with pytest.raises(bt.ConfigError, match="neither more nor less"):
        shuffled.p_value("total_trades")


@pytest.mark.parametrize("engine", ["numba", "rust"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["bootstrap", "shuffle", "delay", "null"])
def test_progress_is_told_and_changes_nothing(result, kind, threads, engine):
    seen = []
    how = {"n_paths": 60, "threads": threads, "engine": engine}
    told = bt.monte_carlo(result, kind, progress=seen.append, **how)
    assert [now.total for now in seen] == [60] * len(seen)
    done = [now.done for now in seen]
    assert done == sorted(done)
    assert done[-1] == 60
    assert len(done) == (8 if kind in {"delay", "null"} else 1)
    assert seen[-1].seconds_left == 0.0
    pd.testing.assert_frame_equal(told.table, bt.monte_carlo(result, kind, **how).table)


def test_saving_replaces_no_other_manifest(result, tmp_path):
    found = run(n_paths=20)
    found.save(tmp_path / "mc")
    found.save(tmp_path / "mc")
    result.save(tmp_path / "run")
    with pytest.raises(bt.ConfigError, match="of kind 'run', no Monte Carlo"):
        found.save(tmp_path / "run")
    with pytest.raises(bt.ConfigError, match="of kind 'monte_carlo', no run"):
        result.save(tmp_path / "mc")
    manifest = json.loads((tmp_path / "mc" / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        content = (tmp_path / "mc" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "mc" / "fan.parquet"), found.fan)
