"""Bootstrap confidence intervals against scipy, arch, the engines and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from arch.bootstrap import IIDBootstrap
from scipy import stats

import backtest_py as bt
from backtest_py.metrics.catalogue import METRICS
from backtest_py.overfitting import Resampling, confidence_interval, intervals, metric_intervals
from backtest_py.overfitting.metric_intervals import WITHOUT_INTERVAL
from backtest_py.rules import Reason

INDEPENDENT = Resampling(kind="independent", seed=3)


def mean(values):
    return values.mean()


@pytest.fixture(scope="module")
def result():
    rules = bt.ExitRules(stop=2.0, target=3.0, close_time="17:00", trail=1.0)
    return bt.run(
        bt.synthetic_bars(n_days=120), bt.BarraElefante(max_shadow_ratio=0.6), rules, engine="numba"
    )


def daily_returns(result):
    trades = result.trades
    pnl = trades["pnl"].groupby(trades["exit_time"].dt.normalize()).sum().to_numpy()
    before = 10_000.0 + np.append(0.0, np.cumsum(pnl)[:-1])
    return np.pad(pnl / before, (0, result.metrics.days - len(pnl)))


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize("kind", ["stationary", "block", "independent"])
def test_samples_do_not_hang_on_how_many_are_drawn_at_a_time(kind):
    draw = Resampling(kind=kind, block_size=4, seed=11)
    whole = draw.places(50, 0, 20)
    parts = np.vstack([draw.places(50, first, 5) for first in range(0, 20, 5)])
    np.testing.assert_array_equal(whole, parts)
    assert whole.min() >= 0
    assert whole.max() < 50
    assert not np.array_equal(whole, Resampling(kind=kind, block_size=4, seed=12).places(50, 0, 20))


def test_blocks_have_their_length():
    places = Resampling(kind="block", block_size=7, seed=1).places(100, 0, 50)
    steps = (np.diff(places, axis=1) % 100 == 1).reshape(-1)
    assert (np.diff(places, axis=1) % 100 == 1)[:, np.arange(99) % 7 != 6].all()
    assert steps.mean() < 0.88  # new blocks start anywhere


def test_stationary_blocks_have_a_mean_length():
    places = Resampling(block_size=8, seed=1).places(1000, 0, 200)
    breaks = (np.diff(places, axis=1) % 1000 != 1).mean()
    assert breaks == pytest.approx(1 / 8, rel=0.03)


@pytest.mark.parametrize("kind", ["stationary", "block", "independent"])
def test_every_place_is_as_likely(kind):
    drawn = Resampling(kind=kind, block_size=3, seed=2).places(20, 0, 4000)
    # neighbours in a block are not independent: counts by place of the first column are
    counts = np.bincount(drawn[:, 0], minlength=20)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert np.bincount(drawn.ravel(), minlength=20) == pytest.approx(np.full(20, 4000), rel=0.05)


def test_the_default_block_is_the_cube_root():
    default = Resampling(seed=5).places(200, 0, 3)
    np.testing.assert_array_equal(default, Resampling(block_size=6, seed=5).places(200, 0, 3))


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("statistic", [np.mean, np.std])
def test_interval_is_near_those_of_scipy_and_arch(method, statistic):
    values = np.random.default_rng(1).gamma(2.0, 1.0, 120)
    found = confidence_interval(
        values, statistic, method=method, n_resamples=4_000, resampling=INDEPENDENT, level=0.9
    )
    assert found.estimate == statistic(values)
    by_scipy = stats.bootstrap(
        (values,),
        statistic,
        method="BCa" if method == "bca" else "percentile",
        n_resamples=4_000,
        confidence_level=0.9,
        rng=np.random.default_rng(0),
    ).confidence_interval
    by_arch = IIDBootstrap(values, seed=np.random.default_rng(0)).conf_int(
        lambda x: np.atleast_1d(statistic(x)), 1_500, method=method, size=0.9
    )
    width = by_scipy.high - by_scipy.low
    for low, high, share in ((*by_scipy, 0.05), (*by_arch.ravel(), 0.1)):
        assert abs(found.low - low) < share * width
        assert abs(found.high - high) < share * width


def test_bca_by_hand():
    values = np.random.default_rng(4).exponential(1.0, 60)
    drawn = np.sort([values[at].mean() for at in INDEPENDENT.places(60, 0, 999)])
    bias = stats.norm.ppf((drawn < values.mean()).mean())
    left_out = np.array([np.delete(values, i).mean() for i in range(60)])
    away = left_out.mean() - left_out
    acceleration = np.sum(away**3) / (6 * np.sum(away**2) ** 1.5)
    ends = []
    for tail in (0.025, 0.975):
        z = bias + stats.norm.ppf(tail)
        share = stats.norm.cdf(bias + z / (1 - acceleration * z))
        ends.append(drawn[math.ceil(share * 999) - 1])
    found = confidence_interval(values, mean, n_resamples=999, resampling=INDEPENDENT)
    assert (found.low, found.high) == pytest.approx(tuple(ends))


def test_coverage_of_the_truth():
    inside = 0
    for seed in range(100):
        values = np.random.default_rng(seed).normal(1.0, 2.0, 80)
        found = confidence_interval(
            values, mean, n_resamples=400, method="percentile", resampling=INDEPENDENT, level=0.9
        )
        inside += found.low <= 1.0 <= found.high
    assert 0.80 < inside / 100 < 0.97


def test_blocks_widen_the_interval_of_what_hangs_together():
    rng = np.random.default_rng(0)
    values = np.convolve(rng.normal(size=620), np.ones(20) / 20, "valid")
    alone, blocks = (
        confidence_interval(values, mean, n_resamples=500, resampling=draw)
        for draw in (INDEPENDENT, Resampling(block_size=30))
    )
    assert blocks.high - blocks.low > 2.0 * (alone.high - alone.low)


def test_rows_are_drawn_together():
    table = np.random.default_rng(0).normal(size=(200, 2))
    table[:, 1] += 0.8 * table[:, 0]
    found = confidence_interval(table, lambda x: np.corrcoef(x.T)[0, 1], n_resamples=500)
    assert found.low < found.estimate < found.high
    assert found.low > 0.3


def test_same_seed_same_numbers_however_memory_is_cut(monkeypatch):
    values = np.random.default_rng(0).normal(size=300)
    one = confidence_interval(values, mean, n_resamples=300)
    assert confidence_interval(values, mean, n_resamples=300) == one
    monkeypatch.setattr(intervals, "_CELLS", 1000)
    assert confidence_interval(values, mean, n_resamples=300) == one
    other = confidence_interval(values, mean, n_resamples=300, resampling=Resampling(seed=1))
    assert other != one


def test_long_series_are_left_out_in_runs(monkeypatch):
    values = np.random.default_rng(0).exponential(1.0, 2_003)
    grouped = confidence_interval(values, mean, n_resamples=300)
    monkeypatch.setattr(intervals, "_GROUPS", 5_000)
    single = confidence_interval(values, mean, n_resamples=300)
    assert grouped.low == pytest.approx(single.low, abs=0.01)
    assert grouped.high == pytest.approx(single.high, abs=0.01)


@pytest.mark.parametrize("values", [[], [0.3]])
def test_too_few_to_learn_from(values):
    found = confidence_interval(values, lambda x: float(np.sum(x)))
    assert found.estimate == sum(values)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_undefined_samples_are_left_out_and_counted():
    values = np.array([1.0] + [0.0] * 9)
    found = confidence_interval(
        values,
        lambda x: x.mean() if x.any() else math.nan,
        method="percentile",
        resampling=INDEPENDENT,
    )
    assert found.undefined == pytest.approx(0.9**10, abs=0.03)
    assert found.low == 0.1
    never = confidence_interval(values, lambda x: math.nan)
    assert never.undefined == 1.0
    assert math.isnan(never.low)


def test_no_spread():
    found = confidence_interval([2.0] * 30, mean)
    assert (found.estimate, found.low, found.high) == (2.0, 2.0, 2.0)


# ---------------------------------------------------------------- the package's metrics


def test_every_metric_has_the_value_of_the_engines(result):
    assert len(result.trades) > 50
    found = metric_intervals(
        daily_returns(result), result.trades, n_bars=len(bt.synthetic_bars(n_days=120))
    )
    assert tuple(found) == tuple(name for name in METRICS if name not in WITHOUT_INTERVAL)
    for name, interval in found.items():
        assert interval.estimate == pytest.approx(result.metrics[name], rel=1e-9, nan_ok=True), name
        if not math.isnan(interval.estimate):
            assert interval.low <= interval.high, name
    for name in ("sharpe", "expectancy", "win_rate", "profit_factor", "sqn", "avg_bars_held"):
        assert found[name].low < found[name].estimate < found[name].high, name


def test_vectorised_metrics_are_those_of_a_loop(result):
    """Every sample by the engines' own functions."""
    from backtest_py.metrics import functions as by_engine

    pnl = result.trades["pnl"].to_numpy()
    options = {"n_resamples": 60, "resampling": Resampling(seed=9), "method": "percentile"}
    found = metric_intervals(daily_returns(result), {"pnl": pnl}, **options)

    def of_pnl(function):
        return lambda sample: float(function(sample, engine="numba"))

    def equity(sample):
        return by_engine.equity_from_pnl(sample, engine="numba")

    def drawdown_pct(sample):
        return by_engine.max_drawdown_pct(equity(sample), initial_capital=1e4, engine="numba")

    own = {
        name: of_pnl(getattr(by_engine, name))
        for name in (
            "win_rate",
            "expectancy",
            "avg_win",
            "avg_loss",
            "profit_factor",
            "payoff_ratio",
            "sqn",
            "recovery_factor",
        )
    }
    own["max_drawdown_pct"] = drawdown_pct
    for name, function in own.items():
        loop = confidence_interval(pnl, function, **options)
        for part in ("estimate", "low", "high"):
            assert getattr(found[name], part) == pytest.approx(getattr(loop, part), rel=1e-9), name
    for name in ("sharpe", "sortino"):
        function = of_pnl(getattr(by_engine, f"{name}_ratio"))
        loop = confidence_interval(daily_returns(result), function, **options)
        assert found[name].low == pytest.approx(loop.low, rel=1e-9), name


def test_reasons_by_name_and_by_code(result):
    trades = {"pnl": result.trades["pnl"], "reason": result.trades["reason"]}
    codes = np.array([Reason[name] for name in trades["reason"].astype(str)], np.int64)
    by_name = metric_intervals([0.0] * 9, trades, n_resamples=50)
    by_code = metric_intervals([0.0] * 9, trades | {"reason": codes}, n_resamples=50)
    assert str(by_name) == str(by_code)
    assert by_name["exits_stop_loss"].estimate == (codes == Reason.stop_loss).sum()


def test_only_wins_have_an_infinite_profit_factor():
    found = metric_intervals([0.01] * 5, {"pnl": [5.0, 7.0, 9.0]}, n_resamples=100)
    assert found["profit_factor"].estimate == math.inf
    assert found["profit_factor"].high == math.inf
    assert math.isnan(found["sharpe"].low)
    assert math.isnan(found["max_drawdown"].estimate) is False
    assert math.isnan(found["calmar"].estimate)


def test_some_samples_without_a_loss():
    pnl = [5.0] * 9 + [-3.0]
    found = metric_intervals([0.01] * 5, {"pnl": pnl}, n_resamples=500, method="percentile")
    assert found["profit_factor"].estimate == 15.0
    assert found["profit_factor"].low < 15.0
    assert found["profit_factor"].high == math.inf
    assert 0.2 < found["avg_loss"].undefined < 0.5
    assert found["avg_loss"].low == found["avg_loss"].high == -3.0


@pytest.mark.parametrize("pnl", [[], [12.5], [0.0, 0.0, 0.0]])
def test_hardly_any_trades(pnl):
    found = metric_intervals([0.0, 0.001], {"pnl": pnl}, n_resamples=20)
    assert found["total_return"].estimate == sum(pnl)
    if len(pnl) < 2:
        assert math.isnan(found["total_return"].low)
    assert math.isnan(found["win_rate"].estimate) == (not pnl)
    assert math.isnan(found["sqn"].estimate)


def test_a_ruined_path_ends():
    pnl = [-60.0, -60.0, -500.0]
    found = metric_intervals([0.0, 0.0], {"pnl": pnl}, initial_capital=100.0, n_resamples=20)
    assert found["max_drawdown"].estimate == 120.0
    assert found["max_drawdown_pct"].estimate == pytest.approx(120.0)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: confidence_interval([1.0, 2.0], mean, level=1.0), bt.ConfigError, "level"),
        (lambda: confidence_interval([1.0, 2.0], mean, method="t"), bt.ConfigError, "method"),
        (lambda: confidence_interval([1.0, 2.0], mean, n_resamples=1), bt.ConfigError, "n_resam"),
        (lambda: confidence_interval([1.0, math.nan], mean), bt.DataError, "not finite"),
        (lambda: confidence_interval(["a"], mean), bt.DataError, "numbers in rows"),
        (lambda: Resampling(kind="daily"), bt.ConfigError, "kind"),
        (lambda: Resampling(block_size=-1), bt.ConfigError, "block_size"),
        (lambda: Resampling(seed=-1), bt.ConfigError, "seed"),
        (lambda: metric_intervals([0.0], {}), bt.ConfigError, "no pnl"),
        (lambda: metric_intervals([0.0], {"pnl": [math.nan]}), bt.DataError, "pnl"),
        (lambda: metric_intervals([0.0], {"pnl": [1.0], "side": [1, 1]}), bt.DataError, "1 trades"),
        (lambda: metric_intervals([0.0], {"pnl": [1.0], "reason": ["x"]}), bt.DataError, "'x'"),
    ],
)
def test_what_cannot_be_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()
