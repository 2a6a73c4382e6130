"""Walk-forward: the windows of a plain loop, whatever engine, threads and processes."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.walk_forward_by_hand import (
    CLOSE,
    GRID,
    MARKETS,
    SHARED,
    assert_same_walk,
    days_of,
    market,
    walk_by_hand,
)

import backtest_py as bt

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*off the tick grid:backtest_py.BacktestWarning"),
    pytest.mark.filterwarnings("ignore:.*closed its last position:backtest_py.BacktestWarning"),
    pytest.mark.filterwarnings("ignore:.*trades on weekends:backtest_py.BacktestWarning"),
]


def walk(name, grid=None, **options):
    bars, rules, contract = market(name)
    grid = GRID if grid is None else grid
    return bt.walk_forward(bars, "barra_elefante", grid, rules=rules, contract=contract, **options)


def assert_same(left, right):
    """Assert that two walk-forwards are the same bit for bit."""
    pd.testing.assert_frame_equal(left.windows, right.windows, check_exact=True)
    pd.testing.assert_frame_equal(left.trades, right.trades, check_exact=True)
    assert left.metrics == right.metrics


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize(
    ("lengths", "by"),
    [
        ({"train_days": 20, "test_days": 9}, "sharpe"),
        ({"train_days": 15, "test_days": 12, "anchored": True}, "max_drawdown"),
        ({"train_days": 20, "test_days": 15, "purge_days": 2, "embargo_days": 1}, "profit_factor"),
    ],
)
def test_the_windows_are_those_of_a_plain_loop(name, lengths, by, engine):
    bars, rules, contract = market(name)
    rows = walk_by_hand(
        bars,
        GRID,
        rules,
        contract,
        train=lengths["train_days"],
        test=lengths["test_days"],
        gap=lengths.get("purge_days", 0) + lengths.get("embargo_days", 0),
        anchored=lengths.get("anchored", False),
        by=by,
        small=by == "max_drawdown",
        min_trades=10,
    )
    wf = walk(name, **lengths, choose=by, min_trades=10, engine=engine)
    assert len(wf) > 1
    assert len(wf.trades) > 10
    assert_same_walk(wf, rows, GRID)


@pytest.mark.parametrize("name", MARKETS)
def test_engines_threads_and_processes_agree(name):
    lengths = {"train_days": 20, "test_days": 9, "min_trades": 5}
    first = walk(name, **lengths, engine="rust", threads=1)
    assert_same(first, walk(name, **lengths, engine="numba"))
    assert_same(first, walk(name, **lengths, engine="rust", threads=3))
    if name == "session":
        assert_same(first, walk(name, **lengths, engine="rust", processes=2))
        assert_same(first, walk(name, **lengths, engine="numba", processes=2))


def test_many_shards_and_windows(engine):
    """A sample is cut into shards of a few rows where there are many windows."""
    bars, rules, contract = market("session")
    grid = {**GRID, "rules.stop": [1.0, 1.5, 2.0, 2.5, 3.0]}
    options = {"train_bars": 300, "test_bars": 2, "min_trades": 3, "engine": engine}
    options |= {"rules": rules, "contract": contract}
    whole = bt.walk_forward(bars, "barra_elefante", grid, **options)
    assert len(whole) == 1_050
    place = 400
    row = whole.windows.iloc[place]
    sweep = bt.sweep(
        bars,
        "barra_elefante",
        grid,
        rules=rules,
        contract=contract,
        range=(row.train_start, row.train_end),
        engine=engine,
    )
    best = sweep.top(1, by="sharpe", where="total_trades >= 3 and not ruined").iloc[0]
    assert row.combo_id == best.combo_id
    assert row.train_sharpe == best.sharpe


def test_the_rows_reproduce_themselves(engine):
    """Range and parameters of a row give its metrics, also where a test had to wait."""
    bars, rules, contract = market("overnight")
    grid = {"rules.stop": [3.0, 5.0], "rules.target": [8.0], "strategy.lookback": [10]}
    wf = walk("overnight", grid, train_days=10, test_days=1, min_trades=0, engine=engine)
    days, waited, none = set(days_of(bars)), 0, 0
    for _, row in wf.windows.iterrows():
        waited += row.test_start.to_pydatetime() not in days
        if row.test_start == row.test_end:
            none += 1
            assert row.test_total_trades == row.test_days == 0
            continue
        result = bt.run(
            bars,
            bt.BarraElefante(lookback=int(row["strategy.lookback"])),
            replace(rules, stop=row["rules.stop"], target=row["rules.target"]),
            contract,
            range=(row.test_start, row.test_end),
            engine=engine,
        )
        found = [row[f"test_{name}"] for name in result.metrics]
        np.testing.assert_array_equal(
            np.array(found, float), np.array(list(result.metrics.values()), float)
        )
    assert waited > 5
    assert none > 0
    trades = wf.trades
    assert (trades.signal_bar.to_numpy()[1:] >= trades.exit_bar.to_numpy()[:-1]).all()


def test_a_grid_of_one_is_one_run(engine):
    """With nothing to choose, the tests together are one run over all of them."""
    for name in MARKETS:
        bars, rules, contract = market(name)
        wf = walk(name, {}, train_days=20, test_days=7, min_trades=0, engine=engine)
        start = wf.windows.test_start.iloc[0]
        result = bt.run(bars, "barra_elefante", rules, contract, range=(start, None), engine=engine)
        assert not result.metrics.ruined
        pd.testing.assert_frame_equal(wf.trades, result.trades, check_exact=True)
        pd.testing.assert_series_equal(wf.equity, result.equity, check_exact=True)
        assert wf.metrics == result.metrics
        columns = ["pnl", "returns", "equity"]
        pd.testing.assert_frame_equal(wf.daily, result.daily[columns], check_exact=True)
        assert (wf.windows.combo_id == 0).all()


def test_the_verdict_is_that_of_the_days_of_the_tests():
    """PSR and track record by the formulas' own doors, from the days of one plain run."""
    from backtest_py import overfitting as of

    bars, rules, contract = market("session")
    wf = walk("session", {}, train_days=20, test_days=7, min_trades=0)
    start = wf.windows.test_start.iloc[0]
    result = bt.run(bars, "barra_elefante", rules, contract, range=(start, None))
    returns = result.daily["returns"]
    assert len(returns) == result.metrics.days > (returns != 0.0).sum()
    moments = of.return_moments(returns)
    tails = {"skew": moments.skew, "kurtosis": moments.kurtosis}
    found = wf.verdict()
    assert found.trials == 1
    assert found.years == result.metrics.days / 252
    daily = result.metrics.sharpe / 252**0.5
    expected = of.probabilistic_sharpe(daily, len(returns), **tails)
    assert found.psr == expected
    assert found.dsr == pytest.approx(expected, abs=1e-12)
    assert found.min_track_record_years == of.min_track_record(daily, **tails) / 252
    many = wf.verdict(trials=50)
    assert many.dsr < found.dsr
    assert many.psr == found.psr
    assert many.expected_best_of_luck > found.expected_best_of_luck
    assert "\n  ".join(found.significance.split("\n")) in repr(wf)
    assert wf.to_mapping()["verdict"] == found.to_mapping()
    with pytest.raises(bt.ConfigError, match="trials"):
        wf.verdict(trials=0)


def test_days_and_bars_are_the_same_windows_where_days_are_equally_long():
    bars = bt.synthetic_bars(n_days=40, bars_per_day=50)
    options = {"rules": CLOSE, "min_trades": 5}
    days = bt.walk_forward(
        bars, grid=GRID, train_days=20, test_days=8, purge_days=1, embargo_days=2, **options
    )
    in_bars = bt.walk_forward(
        bars, grid=GRID, train_bars=1_000, test_bars=400, purge_bars=50, embargo_bars=100, **options
    )
    times = ["train_start", "train_end", "test_start", "test_end"]
    pd.testing.assert_frame_equal(
        days.windows.drop(columns=times), in_bars.windows.drop(columns=times), check_exact=True
    )
    pd.testing.assert_frame_equal(days.trades, in_bars.trades, check_exact=True)
    assert (in_bars.windows.test_start.dt.hour == 9).all()
    assert (in_bars.windows.test_start.dt.normalize() == days.windows.test_start).all()


def test_a_simple_forward_test(engine):
    bars, rules, contract = market("session")
    days = days_of(bars)
    options = {"rules": rules, "contract": contract, "min_trades": 5, "engine": engine}
    wf = bt.walk_forward(bars, grid=GRID, range=(days[5], days[30]), **options)
    assert len(wf) == 1
    row = wf.windows.iloc[0]
    assert (row.train_start, row.train_end, row.test_start, row.test_end) == tuple(
        map(pd.Timestamp, (days[5], days[30], days[30], days[-1]))
    )
    sweep = bt.sweep(
        bars,
        grid=GRID,
        rules=rules,
        contract=contract,
        range=(days[5], days[30]),
        engine=engine,
    )
    best = sweep.top(1, by="sharpe", where="total_trades >= 5").iloc[0]
    assert row.combo_id == best.combo_id
    judged = bt.run(
        bars,
        bt.BarraElefante(
            min_range_mult=row["strategy.min_range_mult"], lookback=int(row["strategy.lookback"])
        ),
        replace(rules, stop=row["rules.stop"], target=row["rules.target"]),
        contract,
        range=(days[30], None),
        engine=engine,
    )
    pd.testing.assert_frame_equal(wf.trades, judged.trades, check_exact=True)
    assert wf.metrics == judged.metrics
    late = bt.walk_forward(
        bars, grid=GRID, range=(days[5], days[30]), purge_days=2, embargo_days=1, **options
    )
    assert late.windows.test_start.iloc[0] == pd.Timestamp(days[33])
    open_start = bt.walk_forward(bars, grid=GRID, range=(None, days[30]), **options)
    assert open_start.windows.train_start.iloc[0] == pd.Timestamp(days[0])


def scrambled(bars, first, seed=0):
    """Return the same bars with others of the same times from one on."""
    rng = np.random.default_rng(seed)
    order = np.r_[np.arange(first), first + rng.permutation(len(bars) - first)]
    shift = np.r_[np.zeros(first), rng.normal(0, 500, len(bars) - first).round()]
    prices = [getattr(bars, name)[order] + shift for name in ("open", "high", "low", "close")]
    return bars.with_prices(prices, bars.volume[order])


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("by", ["sharpe", "total_return"])
def test_no_test_bar_influences_a_choice(name, by):
    """Whatever follows a training, the choice and its metrics stay the same to the bit."""
    bars, rules, contract = market(name)
    purge = 0 if rules.close_time else 4
    lengths = {"train_days": 18, "test_days": 8, "purge_days": purge, "min_trades": 3}
    before = walk(name, **lengths, choose=by)
    for place in (0, len(before) - 1):
        first = bars.bounds(before.windows.test_start.iloc[place])[0]
        after = bt.walk_forward(
            scrambled(bars, first),
            "barra_elefante",
            GRID,
            rules=rules,
            contract=contract,
            choose=by,
            **lengths,
        )
        kept = [each for each in before.windows if each.startswith(("train", "combo"))] + list(GRID)
        pd.testing.assert_frame_equal(
            before.windows[kept].iloc[: place + 1],
            after.windows[kept].iloc[: place + 1],
            check_exact=True,
            check_dtype=False,  # counts are not whole numbers where a later window stays flat
        )
        assert not before.windows.iloc[place].equals(after.windows.iloc[place])


def test_overlap_is_warned_of_and_the_purge_that_avoids_it_is_named():
    bars, rules, contract = market("overnight")
    grid = {"rules.stop": [3.0, 5.0], "rules.target": [8.0], "strategy.lookback": [10]}
    options = {"rules": rules, "contract": contract, "train_days": 10, "test_days": 5}
    options |= {"min_trades": 0}
    with pytest.warns(bt.BacktestWarning, match="closed its last position") as caught:
        wf = bt.walk_forward(bars, "barra_elefante", grid, **options)
    text = next(str(each.message) for each in caught if "purge" in str(each.message))
    late, longest = 0, 0
    for _, row in wf.windows.iterrows():
        result = bt.run(
            bars,
            bt.BarraElefante(lookback=10),
            replace(rules, stop=row["rules.stop"], target=8.0),
            contract,
            range=(row.train_start, row.train_end),
        )
        exit_bar = result.columns["exit_bar"].max()
        last = bars.bounds(None, row.train_end)[1] - 1
        late += exit_bar > last
        longest = max(longest, bars.day[exit_bar] - bars.day[last])
    assert f"in {late} of {len(wf)} windows" in text
    assert f"purge_days={longest}" in text
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", bt.BacktestWarning)
        warnings.filterwarnings("ignore", ".*(tick grid|weekends)")
        purged = bt.walk_forward(bars, "barra_elefante", grid, **options, purge_days=int(longest))
        assert len(purged) > 3
    with pytest.warns(bt.BacktestWarning, match="closed its last position"):
        bt.walk_forward(bars, "barra_elefante", grid, **options, purge_days=int(longest) - 1)


def test_choose_a_function(engine):
    """A function of columns; it sees metrics and swept parameters."""
    seen = set()

    def mine(columns):
        seen.update(columns)
        return columns["total_return"] / (1.0 + columns["max_drawdown"]) - columns["rules.stop"]

    wf = walk("session", train_days=20, test_days=10, min_trades=5, choose=mine, engine=engine)
    assert seen == {*GRID, *wf.metrics}
    for _, row in wf.windows.iterrows():
        sweep = bt.sweep(
            market("session")[0],
            grid=GRID,
            rules=CLOSE,
            contract=market("session")[2],
            range=(row.train_start, row.train_end),
            engine=engine,
        )
        table = sweep.table().to_pandas()
        score = mine({name: table[name].to_numpy() for name in table.columns})
        score = np.where(table.total_trades >= 5, score, -np.inf)
        assert row.combo_id == table.combo_id[int(score.argmax())]


def test_a_function_that_compares_rows_is_refused():
    def ranked(columns):
        return np.argsort(np.argsort(columns["sharpe"])).astype(float)

    with pytest.raises(bt.ConfigError, match="depend on that row alone"):
        walk("session", train_days=20, test_days=10, min_trades=5, choose=ranked)
    for wrong, words in (
        (lambda _: 1.0, "one float for each row"),
        (lambda columns: ["x"] * len(columns["sharpe"]), "return one float for each row"),
    ):
        with pytest.raises(bt.ConfigError, match=words):
            walk("session", train_days=20, test_days=10, choose=wrong)


def test_choose_an_own_metric(engine):
    """The largest drawdown, as a metric of one's own, chooses what the metric itself chooses."""
    lengths = {"train_days": 20, "test_days": 10, "min_trades": 5, "engine": engine}
    own = bt.ColumnMetric(lambda c: c["max_drawdown"], name="fall", smaller_is_better=True)
    wf = walk("session", choose=own, **lengths)
    named = walk("session", choose="max_drawdown", **lengths)
    assert wf.windows.equals(named.windows)
    largest = walk("session", choose=lambda c: c["max_drawdown"], **lengths)
    assert not wf.windows["combo_id"].equals(largest.windows["combo_id"])
    choice = wf.provenance["identity"]["choice"]
    assert choice["choose"] == "fall"
    assert choice["own"]["smaller_is_better"] is True
    with pytest.raises(bt.ConfigError, match="fall is a TradeMetric, which needs a backtest of"):
        walk("session", choose=bt.TradeMetric(lambda r: r.metrics.sqn, name="fall"), **lengths)


def test_plateau(engine):
    from backtest_py.overfitting import GridValues

    grid = {
        "strategy.min_range_mult": [1.0, 1.25, 1.5, 1.75, 2.0],
        "rules.stop": [1.0, 1.5, 2.0, 2.5],
    }
    bars, rules, contract = market("session")
    options = {"rules": rules, "contract": contract, "engine": engine}
    differ = 0
    for by, better in (("sharpe", "large"), ("max_drawdown_pct", "small")):
        lengths = {"train_days": 20, "test_days": 10, "min_trades": 8, "choose": by}
        wf = bt.walk_forward(bars, grid=grid, plateau=True, **lengths, **options)
        plain = bt.walk_forward(bars, grid=grid, **lengths, **options)
        differ += (wf.windows.combo_id != plain.windows.combo_id).sum()
        for _, row in wf.windows.iterrows():
            span = (row.train_start, row.train_end)
            table = bt.sweep(bars, grid=grid, range=span, **options).table().to_pandas()
            bad = table.ruined | (table.total_trades < 8)
            values = GridValues(table[by].mask(bad), [5, 4], better=better)
            assert row.combo_id == values.plateaus().best
    assert differ > 0


def test_efficiency_and_drift(engine):
    wf = walk("session", train_days=20, test_days=9, min_trades=5, engine=engine)
    windows = wf.windows
    tests = windows.test_total_return.sum() / windows.test_days.sum()
    trainings = windows.train_total_return.sum() / windows.train_days.sum()
    if trainings > 0:
        assert wf.efficiency == pytest.approx(tests / trainings, rel=1e-12)
    else:
        assert math.isnan(wf.efficiency)
    drift = wf.drift
    assert list(drift.index) == list(GRID)
    for key, values in GRID.items():
        places = [values.index(value) for value in windows[key]]
        moves = np.abs(np.diff(places))
        assert drift.changes[key] == np.count_nonzero(moves)
        assert drift.steps[key] == moves.sum()
        counts = np.bincount(places, minlength=len(values))
        assert drift.share[key] == counts.max() / len(windows)
        assert drift.most_frequent[key] == values[int(counts.argmax())]


def test_windows_have_the_columns_that_scripts_rely_on():
    wf = walk("session", train_days=20, test_days=9, min_trades=5)
    names = list(wf.windows.columns)
    assert names[:5] == ["train_start", "train_end", "test_start", "test_end", "combo_id"]
    assert names[5:9] == list(GRID)
    metrics = list(wf.metrics)
    assert names[9:] == [f"train_{name}" for name in metrics] + [f"test_{name}" for name in metrics]
    assert wf.windows["train_total_trades"].dtype == np.int64
    assert wf.windows["strategy.lookback"].dtype == np.int64
    assert len(wf.equity) == len(wf.trades)
    assert wf.equity.iloc[-1] == pytest.approx(10_000 + wf.metrics.total_return)
    assert "walk-forward of 5 windows" in repr(wf)
    again = pickle.loads(pickle.dumps(wf))
    assert_same(again, wf)


@pytest.mark.skipif(not SHARED, reason="needs the shared data")
def test_several_markets(engine):
    markets = {name: market(name)[0] for name in ("session", "overnight")}
    contracts = {name: market(name)[2] for name in markets}
    options = {"rules": CLOSE, "train_days": 20, "test_days": 9, "min_trades": 5, "engine": engine}
    walks = bt.walk_forward(markets, "barra_elefante", GRID, contract=contracts, **options)
    assert list(walks) == list(markets)
    for name, bars in markets.items():
        alone = bt.walk_forward(bars, "barra_elefante", GRID, contract=contracts[name], **options)
        assert_same(walks[name], alone)
    assert list(walks.table.index) == list(markets)
    assert walks.table.total_return["session"] == walks["session"].metrics.total_return


def test_a_large_grid_passes_the_gate_first(monkeypatch):
    from backtest_py.engines import resolve

    lengths = {"train_days": 20, "test_days": 9, "min_trades": 5, "engine": "rust"}
    gated = walk("session", **lengths, gate=10)
    assert gated.provenance["gate"]["verdict"] == "agreed"
    assert gated.provenance["gate"]["n_combos"] == 24
    assert gated.provenance["gate"]["bit_for_bit"]
    assert walk("session", **lengths, gate=None).provenance["gate"]["verdict"] == "skipped"
    assert walk("session", **lengths).provenance["gate"]["verdict"] == "not needed"
    engine = type(resolve("rust")[0])
    honest = engine.run

    def wrong(self, job):
        output = honest(self, job)
        return replace(output, metrics=output.metrics * 1.001)

    monkeypatch.setattr(engine, "run", wrong)
    with pytest.raises(bt.ParityError, match="combination"):
        walk("session", **{**lengths, "test_days": 8}, gate=10)
    with pytest.raises(bt.EngineError, match="please report it"):
        walk("session", **lengths, gate=None)


def test_warnings_of_several_markets_name_them():
    markets = {name: market("overnight")[0] for name in ("A", "B")}
    with pytest.warns(bt.BacktestWarning) as caught:
        bt.walk_forward(
            markets,
            grid={"rules.stop": [3.0, 5.0]},
            contract=bt.Contract(tick_size=7.0),
            train_days=10,
            test_days=5,
            min_trades=0,
            engine="rust",
        )
    texts = sorted(str(each.message)[:30] for each in caught)
    assert len(texts) == 4
    assert [text[:3] for text in texts] == ["A: ", "A: ", "B: ", "B: "]
