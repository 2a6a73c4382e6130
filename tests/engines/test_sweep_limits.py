"""What the outcomes of an engine cannot hold is refused, or swept by the other engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.sweep_rows import same_rows

import backtest_py as bt
from backtest_py.engines import reference, resolve
from backtest_py.records import METRICS
from backtest_py.signals import Signals

pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")

MAX_DAYS = 65_535
AXES = {"rules.target": [1e6, 2e6, 3.0], "contract.slippage_ticks": [0.0, 1.0]}
RULES = bt.ExitRules(stop=0.0, target=1e6, unit="points")


def long_bars(n_days):
    """One bar for each of so many days."""
    time = np.datetime64("1900-01-01T12:00", "ns") + np.arange(n_days) * np.timedelta64(1, "D")
    close = 100.0 + np.arange(n_days) % 7
    return bt.Bars(time, open=close, high=close + 1, low=close - 1, close=close, timezone="UTC")


def first_and_some(bars):
    """Go long on the first bar, and now and then later."""
    side = np.zeros(len(bars), np.int8)
    side[::1_000] = 1
    return side


@pytest.fixture(scope="module")
def bars_at_the_limit():
    return long_bars(MAX_DAYS)


@pytest.fixture(scope="module")
def bars_beyond():
    return long_bars(66_000)


@pytest.mark.parametrize("engine", ["auto", "rust", "numba"])
def test_a_trade_may_last_all_days_of_the_limit(bars_at_the_limit, engine):
    result = bt.sweep(bars_at_the_limit, first_and_some, AXES, rules=RULES, engine=engine)
    assert result.manifest["identity"]["engine"] == ("rust" if engine == "auto" else engine)
    table = result.table()
    for combo_id in range(len(result)):
        strategy, rules, contract = result.grid.settings(combo_id)
        run = bt.run(bars_at_the_limit, strategy, rules, contract, engine="numba")
        swept = [table[name][combo_id].as_py() for name in METRICS]
        np.testing.assert_array_equal(np.array(swept, float), run.output.metrics)
    held = bt.run(bars_at_the_limit, first_and_some, RULES).columns
    assert (held["entry_bar"][0], held["exit_bar"][0]) == (1, MAX_DAYS - 1)


@pytest.mark.parametrize("axes", [AXES, {"rules.target": [3.0, 4.0]}, {"rules.target": [3.0]}])
def test_auto_takes_numba_beyond_a_limit_of_rust_and_says_so(bars_beyond, axes):
    asked = bars_beyond, first_and_some, axes
    result = bt.sweep(*asked, rules=RULES)
    assert result.manifest["identity"]["engine"] == "numba"
    assert result.manifest["engine_reason"] == (
        "auto took numba: engine='rust' cannot sweep these bars: it takes at most 65,535 days in "
        "a sweep, and here are 66,000"
    )
    expected = bt.sweep(*asked, rules=RULES, engine="numba")
    assert same_rows(result, expected)
    assert bt.plan_sweep(*asked, rules=RULES).combos == len(result)
    # one run has no such limit
    assert bt.run(bars_beyond, first_and_some, RULES, engine="auto").engine == "rust"
    assert result.replay(0).metrics.total_trades == result.table()["total_trades"][0].as_py()


@pytest.mark.parametrize("do", [bt.sweep, bt.plan_sweep])
def test_rust_refuses_beyond_a_limit_and_names_the_remedy(bars_beyond, do, tmp_path):
    with pytest.raises(bt.ConfigError, match=r"at most 65,535 days .* 66,000") as caught:
        do(bars_beyond, first_and_some, AXES, rules=RULES, engine="rust")
    assert 'give engine="numba"' in str(caught.value)
    with pytest.raises(bt.ConfigError, match="at most 65,535 days"):
        bt.sweep(bars_beyond, first_and_some, AXES, engine="rust", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["max_bars", "max_days"])
def test_either_limit_binds(monkeypatch, name):
    bars = bt.synthetic_bars(n_days=20)
    rust, _ = resolve("rust")
    monkeypatch.setattr(type(rust), "sweep_limits", replace(rust.sweep_limits, **{name: 19}))
    with pytest.raises(bt.ConfigError, match=f"at most 19 {name[4:]}"):
        bt.sweep(bars, grid={"rules.stop": [1.0, 2.0, 3.0]}, engine="rust")
    result = bt.sweep(bars, grid={"rules.stop": [1.0, 2.0, 3.0]})
    assert result.manifest["identity"]["engine"] == "numba"


def test_a_plan_that_is_asked_directly_refuses_too(bars_beyond):
    """A cell that cannot hold the days must not hold others instead."""
    rust, _ = resolve("rust")
    signals = [Signals(first_and_some(bars_beyond))]
    plan = rust.sweep_plan(bars_beyond, strategies=None, signals=signals, loosest=[], threads=1)
    exits = [(RULES, bt.Contract(), None)]
    with pytest.raises(bt.EngineError, match="at most 65535 days, and here are 66000"):
        plan.load(exits)
    rest = np.zeros(1, np.uint32), np.zeros(0), bt.MetricSettings(), [(0, len(bars_beyond))]
    with pytest.raises(bt.EngineError, match="no exits are loaded"):
        plan.evaluate(*rest)
    # without a table there is no limit
    run = bt.run(bars_beyond, first_and_some, RULES, engine="numba")
    np.testing.assert_array_equal(plan.evaluate_each(exits, *rest)[0, :, 0], run.output.metrics)


def test_numba_refuses_what_its_cells_cannot_hold(monkeypatch):
    from backtest_py.engines.numba_engine.sweep import outcomes

    bars = bt.synthetic_bars(n_days=20)
    plan = reference().sweep_plan(
        bars, strategies=None, signals=[Signals(first_and_some(bars))], loosest=[], threads=1
    )
    monkeypatch.setattr(outcomes, "MAX_DAYS", 19)
    with pytest.raises(bt.EngineError, match="at most 19 days, and here are 20"):
        plan.load([(RULES, bt.Contract(), None)])


@pytest.mark.parametrize("engine", ["numba", "rust"])
def test_a_table_takes_the_bytes_that_its_engine_says(engine):
    limits = resolve(engine)[0].sweep_limits
    assert limits.table_bytes(1_000, 9) == 1_000 * 2 * limits.lanes * limits.cell_bytes
    assert limits.table_bytes(1_000, 0) == 0
    assert (limits.lanes, limits.cell_bytes) == (8, {"numba": 24, "rust": 16}[engine])


def test_there_is_one_reference():
    found = [resolve(name)[0] for name in bt.engines.ENGINE_NAMES if name != "auto"]
    assert [engine.name for engine in found if engine.is_reference] == ["numba"]
    assert reference().name == "numba"
