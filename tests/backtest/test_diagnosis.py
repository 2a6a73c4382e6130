"""What a result says of itself: why there are no trades, that nothing was charged, nights held."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import backtest_py as bt

COSTS = bt.Contract(fee_per_side=0.25)
BARS = bt.synthetic_bars(n_days=20)


def why(strategy, engine="auto", rules=None, **more):
    result = bt.run(BARS, strategy, rules, COSTS, engine=engine, **more)
    assert len(result) == 0
    reason = result.why_no_trades()
    assert f"note: no trades: {reason}" in repr(result)
    assert result.notes == (f"no trades: {reason}",)
    return reason


@pytest.mark.parametrize(
    ("strategy", "rules", "words"),
    [
        (
            bt.BarraElefante(entry_start="09:15"),
            bt.ExitRules(close_time="09:00"),
            ["entries from 09:15, close at 09:00"],
        ),
        (
            bt.BarraElefante(entry_start="20:00", entry_end="21:00"),
            None,
            ["window from 20:00 to 21:00 holds no bar", "from 09:00 to 18:00"],
        ),
        (
            bt.OpeningRangeBreakout(entry_end="08:00"),
            None,
            ["window from 00:00 to 08:00 holds no bar"],
        ),
        (
            bt.BarraElefante(lookback=9_000),
            None,
            ["lookback = 9,000 is more than there are bars: 2,180"],
        ),
        (bt.MovingAverageCross(fast=5, slow=3_000), None, ["strategy.slow = 3,000"]),
        (
            bt.BarraElefante(min_range_mult=1.0),
            bt.ExitRules(atr_period=5_000),
            ["average true range of 5,000 bars", "rules.atr_period"],
        ),
        (
            bt.BarraElefante(entry_start="16:30", min_range_mult=1.2),
            bt.ExitRules(close_time="16:31"),
            ["at or after the close at 16:31", "make rules.close_time later"],
        ),
    ],
)
def test_the_most_likely_reason_is_named(strategy, rules, words, engine):
    reason = why(strategy, engine, rules)
    for each in words:
        assert each in reason


def test_thresholds_say_how_many_bars_each_lets_pass(engine):
    """Counted again with a run of the strategy for every threshold, all others wide open."""
    strict = bt.BarraElefante(min_range_mult=30.0, max_shadow_ratio=0.3, min_volume_mult=1.5)
    reason = why(strict, engine)
    open_wide = {"min_range_mult": 0.0, "min_volume_mult": 0.0, "max_shadow_ratio": 1.0}
    counts = {}
    for name in open_wide:
        loose = {**open_wide, name: getattr(strict, name)}
        side = np.asarray(bt_signals(bt.BarraElefante(**loose)))
        counts[name] = int(np.count_nonzero(side))
        assert f"{name} = {getattr(strict, name)} alone lets {counts[name]:,} bar" in reason
    assert counts["min_range_mult"] == 0 < counts["max_shadow_ratio"]
    without = np.count_nonzero(
        bt_signals(bt.BarraElefante(min_range_mult=0, max_shadow_ratio=0.3, min_volume_mult=1.5))
    )
    assert f"without strategy.min_range_mult there would be {without} signals" in reason


def bt_signals(strategy):
    from backtest_py.engines import resolve

    return resolve("numba")[0].signals(BARS, strategy).side


def test_a_range_without_signals_counts_those_outside():
    days = [str(day) for day in BARS.session_dates]
    found = np.flatnonzero(bt_signals(bt.BarraElefante(min_range_mult=2.5)))
    quiet = next(day for day in range(1, 19) if day not in set(BARS.day[found].tolist()))
    reason = why(bt.BarraElefante(min_range_mult=2.5), range=(days[quiet], days[quiet + 1]))
    assert f"gives {len(found)} signals, none of them in the range from {days[quiet]}" in reason


def test_signals_of_ones_own_are_followed_too():
    assert "neither long nor short" in why(lambda bars: np.zeros(len(bars), np.int8))
    side = np.zeros(len(BARS), np.int8)
    side[-1] = 1
    result = bt.run_signals(BARS, side, bt.ExitRules(stop=0, target=0), COSTS)
    assert "1 come at the last bar of the data" in result.why_no_trades()
    side[100] = 1
    risk = np.full(len(BARS), np.nan)
    rules = bt.ExitRules(unit="strategy", stop=1.0)
    result = bt.run_signals(BARS, side, rules, COSTS, risk=risk)
    assert "of 2 signals none is traded" in result.why_no_trades()
    assert "undefined risk" in result.why_no_trades()


def test_parameters_of_ones_own_functions_are_clocks_only_where_they_are():
    def windowed(bars, *, entry_start: str = "09:15"):
        return np.zeros(len(bars), np.int8)

    def counted(bars, *, entry_start: int = 5):
        return np.zeros(len(bars), np.int8)

    rules = bt.ExitRules(close_time="09:00")
    assert why(windowed, rules=rules).startswith("entries from 09:15, close at 09:00")
    assert "neither long nor short" in why(counted, rules=rules)


def test_a_result_with_trades_has_no_such_reason():
    rules = bt.ExitRules(close_time="17:00")
    result = bt.run(BARS, "barra_elefante", rules, COSTS)
    assert len(result) > 0
    assert result.why_no_trades() == ""
    assert result.notes == ()
    assert "note" not in repr(result)


def test_a_result_that_travelled_says_the_same():
    result = bt.run(BARS, bt.BarraElefante(min_range_mult=50), None, COSTS)
    assert pickle.loads(pickle.dumps(result)).notes == result.notes


def test_streamed_bars_are_gone_and_nothing_breaks():
    result = bt.run_chunked([BARS], bt.BarraElefante(min_range_mult=50), None, COSTS)
    assert result.notes == ("no trades",)
    assert "no trades" in repr(result)
    with pytest.raises(bt.UnsupportedError):
        result.why_no_trades()


@pytest.mark.parametrize("cost", ["fee_per_side", "fee_rate", "slippage_ticks"])
def test_a_run_without_any_cost_says_so(cost):
    rules = bt.ExitRules(close_time="17:00")
    (note,) = bt.run(BARS, "barra_elefante", rules).notes
    assert "nothing was charged" in note
    assert bt.run(BARS, "barra_elefante", rules, bt.Contract(**{cost: 0.001})).notes == ()


def test_positions_held_overnight_by_accident_are_counted():
    result = bt.run(BARS, "barra_elefante", bt.ExitRules(), COSTS)
    trades = result.trades
    held = (BARS.day[trades["entry_bar"]] < BARS.day[trades["exit_bar"]]).sum()
    assert held > 0
    (note,) = result.notes
    assert note.startswith(f"{held} of {len(trades)} trades were held overnight")
    chunked = bt.run_chunked([BARS], "barra_elefante", bt.ExitRules(), COSTS)
    assert chunked.notes == result.notes


def test_markets_that_do_not_close_and_daily_bars_have_no_overnight():
    times = np.datetime64("2024-01-01", "ns").astype(np.int64) + 3_600_000_000_000 * np.arange(2400)
    price = 1000.0 + np.cumsum(np.random.default_rng(3).integers(-2, 3, 2400))
    columns = price, price + 1, price - 1, price
    always = bt.Bars(times, *columns, session_timezone="UTC")
    side = np.tile(np.array([1, 0, 0, 0, 0], np.int8), 480)
    rules, year = (
        bt.ExitRules(stop=0, target=0, max_bars=30),
        bt.MetricSettings(periods_per_year=365),
    )
    assert bt.run_signals(always, side, rules, COSTS, metrics=year).notes == ()
    days = bt.Bars(24 * (times[:1200] - times[0]) + times[0], *(each[:1200] for each in columns))
    result = bt.run_signals(days, side[:1200], rules, COSTS, metrics=year)
    assert len(result) > 0
    assert result.notes == ()


class TestCommand:
    @pytest.fixture(autouse=True)
    def _market(self, tmp_path):
        BARS.to_frame().to_csv(tmp_path / "bars.csv")

    def test_it_warns_on_standard_error(self, cli, write_toml):
        outcome = cli("run", write_toml("[rules]\nclose_time = '17:00'\n"))
        assert outcome.status == 0
        assert outcome.err.startswith("warning: nothing was charged")
        outcome = cli("run", write_toml("[contract]\nfee_per_side = 0.25\n"))
        assert "held overnight" in outcome.err

    def test_it_says_why_there_are_no_trades(self, cli, write_toml):
        text = "[strategy.params]\nentry_start = '09:15'\n[rules]\nclose_time = '09:00'\n"
        outcome = cli("run", write_toml(text))
        assert outcome.status == 0
        assert "warning: no trades: entries from 09:15, close at 09:00" in outcome.err

    def test_json_holds_the_notes_and_disturbs_nobody(self, cli, write_toml):
        outcome = cli("run", write_toml("[strategy.params]\nmin_range_mult = 50\n"), "--json")
        printed = json.loads(outcome.out)
        assert outcome.err == ""
        assert printed["notes"][0].startswith("no trades: no bar passes all thresholds")

    def test_each_of_several_markets_has_notes(self, cli, write_toml, tmp_path):
        BARS.to_frame().to_csv(tmp_path / "b.csv")
        text = "[data]\npaths = { A = 'bars.csv', B = 'b.csv' }\n[contract]\nfee_rate = 1e-5\n"
        outcome = cli("run", write_toml(text))
        assert "warning: A: " in outcome.err
        assert "warning: B: " in outcome.err
        printed = json.loads(cli("run", write_toml(text), "--json").out)
        assert "held overnight" in printed["markets"]["B"]["notes"][0]
