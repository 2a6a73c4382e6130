"""Changes to a question that must change the answer in a known way, on each engine.

Nothing here knows a formula: these tests hold even where engines and reference share a mistake.
"""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest

from backtest_py.engines.layouts import TRADE_DTYPE
from backtest_py.metrics.catalogue import METRICS
from parity import reference
from parity.cases import Case, Market, Seeded, make_bar, seeded_case
from parity.implementations import Answer, ask, to_bars

N_CASES = 150
PRICES = ("entry_price", "exit_price", "stop_price", "target_price")
MONEY_METRICS = (
    "total_return",
    "expectancy",
    "avg_win",
    "avg_loss",
    "gross_profit",
    "gross_loss",
    "best_trade",
    "worst_trade",
    "max_drawdown",
)
COLUMNS = ("open", "high", "low", "close")
DECIDED_AT_ENTRY = (
    "signal_bar",
    "entry_bar",
    "side",
    "entry_price",
    "stop_price",
    "target_price",
)


def suitable_cases(condition, number=N_CASES, start=1_000_000):
    """Return seeded cases that fulfil a condition."""
    found = []
    while len(found) < number:
        case = seeded_case(start)
        start += 1
        if condition(case):
            found.append(case)
    return found


def rebuilt(bars, **changes):
    """Return bars with some columns changed."""
    names = ("time", *COLUMNS, "volume", "atr", "session_timezone")
    return reference.Bars(**{name: changes.get(name, getattr(bars, name)) for name in names})


def with_columns(bars, change, **changes):
    """Return bars with a change to every price."""
    columns = {name: [change(x) for x in getattr(bars, name)] for name in COLUMNS}
    return rebuilt(bars, **{**columns, **changes})


def scaled(values, factor):
    return None if values is None else [x * factor for x in values]


def assert_same(left: Answer, right: Answer, columns=TRADE_DTYPE, metrics=METRICS):
    """Demand the same bits in some columns and metrics."""
    assert len(left) == len(right)
    for name in columns:
        assert_same_bits(name, left.trades[name], right.trades[name])
    for name in metrics:
        assert_same_bits(name, np.array(left.metric(name)), np.array(right.metric(name)))


def assert_same_bits(name, left, right):
    if left.dtype.kind == "f":
        nan = np.isnan(left) & np.isnan(right)
        left, right = (np.where(nan, 0.0, x).view(np.int64) for x in (left, right))
    np.testing.assert_array_equal(left, right, err_msg=name)


def cut(answer: Answer, rows) -> dict:
    return {name: column[rows] for name, column in answer.trades.items()}


def assert_same_rows(left, right, columns=TRADE_DTYPE):
    for name in columns:
        assert_same_bits(name, left[name], right[name])


# --- prices times a power of two -------------------------------------------------------------


def on_whole_grid(case):
    """Tell whether prices are multiples of a binary fraction, far from overflow and underflow."""
    contract = case.config["contract"]
    if contract["point_value"] < 1e-100:
        return False
    numbers = [contract["tick_size"], *(x for name in COLUMNS for x in getattr(case.bars, name))]
    return all(abs(x) < 2.0**40 and (x * 1024).is_integer() for x in numbers)


def scaled_case(case, factor):
    """Multiply prices, and with them all money and points."""
    bars = with_columns(case.bars, lambda x: x * factor, atr=scaled(case.bars.atr, factor))
    config = copy.deepcopy(case.config)
    for name in ("tick_size", "fee_per_side", "initial_capital"):
        config["contract"][name] *= factor
    if config["rules"]["unit"] == "points":
        for name in ("stop", "target", "trail"):
            if name in config["rules"]:
                config["rules"][name] *= factor
    return Case(case.name, bars, config, case.side, scaled(case.risk, factor))


@pytest.mark.parametrize("exponent", [-3, 1, 7])
def test_prices_times_a_power_of_two(engine, exponent):
    factor = 2.0**exponent
    n_trades = 0
    for case in suitable_cases(on_whole_grid):
        plain, large = ask(engine, case), ask(engine, scaled_case(case, factor))
        np.testing.assert_array_equal(plain.side, large.side)
        money = (*PRICES, "points", "pnl", "fees", "mae", "mfe")
        assert_same(plain, large, columns=[c for c in TRADE_DTYPE if c not in money], metrics=())
        for name in money:
            assert_same_bits(name, plain.trades[name] * factor, large.trades[name])
        for name in METRICS:
            by = factor if name in MONEY_METRICS else 1.0
            assert_same_bits(name, np.array(plain.metric(name) * by), np.array(large.metric(name)))
        n_trades += len(plain)
    assert n_trades > N_CASES


# --- time ------------------------------------------------------------------------------------


def without_zone(case):
    return case.bars.session_timezone == ""


@pytest.mark.parametrize("days", [1, 3650, -45])
def test_time_shifted_by_whole_days(engine, days):
    n_trades = 0
    for case in suitable_cases(without_zone):
        shift = days * reference.DAY
        config = copy.deepcopy(case.config)
        for name, text in config.get("range", {}).items():
            if text:
                clock = reference.nanoseconds(reference.dt.datetime.fromisoformat(text)) + shift
                moved = reference.EPOCH + reference.dt.timedelta(microseconds=clock // 1000)
                config["range"][name] = moved.isoformat(" ")
        bars = rebuilt(case.bars, time=[t + shift for t in case.bars.time])
        before = ask(engine, case)
        assert_same(before, ask(engine, Case(case.name, bars, config, case.side, case.risk)))
        n_trades += len(before)
    assert n_trades > N_CASES


# --- long and short --------------------------------------------------------------------------


def dyadic(value):
    """Round to 64ths, so that sums and differences with whole prices are exact."""
    return value if math.isnan(value) else round(value * 64) / 64


def exact_case(case):
    """Make all arithmetic on prices exact, so that C - p loses nothing.

    Percent of the price and a fee on it know where zero is: they are no part of the mirror.
    """
    config = copy.deepcopy(case.config)
    rules, contract = config["rules"], config["contract"]
    rules["unit"] = "points" if rules["unit"] == "percent" else rules["unit"]
    for name in ("stop", "target", "trail", "target_r"):
        if name in rules:
            rules[name] = dyadic(rules[name])
    if rules.get("target_r", 0) > 0:
        rules["stop"] = rules["stop"] or 1.0
    if rules["atr_method"] != "column":
        rules["atr_method"], rules["atr_period"] = "sma", 4
    contract.update(fee_rate=0.0, slippage_ticks=dyadic(contract["slippage_ticks"]))
    if case.side is None and case.config["strategy"]["name"] == "moving_average_cross":
        params = config["strategy"]["params"]
        params["fast"], params["slow"] = 2, 8
    bars = rebuilt(case.bars, atr=case.bars.atr and [dyadic(x) for x in case.bars.atr])
    risk = case.risk and [dyadic(x) for x in case.risk]
    return Case(case.name, bars, config, case.side, risk)


def mirrored(case, centre):
    """Turn prices upside down: long becomes short."""
    bars = with_columns(case.bars, lambda x: centre - x)
    bars = rebuilt(bars, high=bars.low, low=bars.high)
    side = case.side and [-s for s in case.side]
    return Case(case.name, bars, case.config, side, case.risk)


def on_small_grid(case):
    """Tell whether prices are moderate multiples of a tick that the centre is a multiple of."""
    tick = case.config["contract"]["tick_size"]
    numbers = [x for name in COLUMNS for x in getattr(case.bars, name)]
    whole = all(abs(x) < 2.0**24 and (x * 64).is_integer() for x in numbers)
    return whole and tick in {0.25, 0.5, 1.0, 5.0, 1024.0}


def test_long_and_short_mirror_each_other(engine):
    swapped = {
        "long_trades": "short_trades",
        "short_trades": "long_trades",
    }
    n_trades = 0
    for case in map(exact_case, suitable_cases(on_small_grid)):
        centre = 1024.0 * 5 * 64
        up, down = ask(engine, case), ask(engine, mirrored(case, centre))
        np.testing.assert_array_equal(up.side, -down.side)
        np.testing.assert_array_equal(up.trades["side"], -down.trades["side"])
        unchanged = [name for name in TRADE_DTYPE if name not in (*PRICES, "side")]
        assert_same(up, down, unchanged, [name for name in METRICS if name not in swapped])
        for name in PRICES:
            assert_same_bits(name, up.trades[name], centre - down.trades[name])
        for name, other in swapped.items():
            assert up.metric(name) == down.metric(other)
        n_trades += len(up)
    assert n_trades > N_CASES


# --- no look-ahead ---------------------------------------------------------------------------


def looks_at_volume(case):
    return case.side is None and case.config["strategy"]["params"].get("min_volume_mult", 0) > 0


def cuts(case):
    """Return bars after which the future is taken away or changed."""
    n = len(case.bars.time)
    return sorted({n // 4, n // 2, n - 3, n - 2} & set(range(1, n - 1)))


def head(case, n):
    """Return the case on its first n bars, or None where it is no longer legal."""
    bars = case.bars
    if looks_at_volume(case) and not any(bars.volume[:n]):
        return None
    columns = {name: getattr(bars, name)[:n] for name in ("time", *COLUMNS, "volume")}
    short = rebuilt(bars, **columns, atr=bars.atr and bars.atr[:n])
    span = case.config.get("range", {})
    first, last = reference.bounds(short, span.get("start"), span.get("end"))
    if first >= last:
        return None
    return Case(
        case.name, short, case.config, case.side and case.side[:n], case.risk and case.risk[:n]
    )


def test_bars_cut_off_after_t_change_no_trade_closed_before(engine):
    n_trades = 0
    for case in suitable_cases(lambda case: len(case.bars.time) > 8):
        whole = ask(engine, case)
        for n in cuts(case):
            short_case = head(case, n)
            if short_case is None:
                continue
            part = ask(engine, short_case)
            np.testing.assert_array_equal(part.side, whole.side[:n])
            closed_part = part.trades["exit_bar"] < n - 1
            closed_whole = whole.trades["exit_bar"] < n - 1
            assert_same_rows(cut(part, closed_part), cut(whole, closed_whole))
            n_trades += int(closed_part.sum())
            # what is open at the last bar closes there; ruin and range aside it is one trade
            assert (part.trades["exit_bar"][~closed_part] == n - 1).all()
    assert n_trades > N_CASES


def scrambled(case, t, seed):
    """Replace prices, volumes, atr, risks and own signals after bar t; the calendar stays."""
    choices = Seeded(seed)
    market = Market(Seeded(12345))
    level = round(case.bars.close[t])
    bars = {name: list(getattr(case.bars, name)) for name in (*COLUMNS, "volume")}
    side, risk, atr = (list(x) if x else x for x in (case.side, case.risk, case.bars.atr))
    for j in range(t + 1, len(case.bars.time)):
        prices = make_bar(choices, market, level + choices.between(-30, 30))
        for name, price in zip(COLUMNS, prices, strict=True):
            bars[name][j] = float(price)
        bars["volume"][j] = float(choices.between(1, 50))
        if side:
            side[j] = choices.between(-1, 1)
        if risk:
            risk[j] = float(choices.below(5))
        if atr:
            atr[j] = float(choices.below(5))
    return Case(case.name, rebuilt(case.bars, **bars, atr=atr), case.config, side, risk)


def test_scrambling_what_comes_after_t_changes_no_decision_up_to_t(engine):
    n_trades = n_changed = 0
    for case in suitable_cases(lambda case: len(case.bars.time) > 8):
        whole = ask(engine, case)
        for t in cuts(case):
            other = ask(engine, scrambled(case, t, seed=t))
            np.testing.assert_array_equal(other.side[: t + 1], whole.side[: t + 1])
            if whole.risk is not None:
                assert_same_bits("risk", other.risk[: t + 1], whole.risk[: t + 1])
            assert_same_rows(
                cut(other, other.trades["exit_bar"] <= t), cut(whole, whole.trades["exit_bar"] <= t)
            )
            assert_same_rows(
                cut(other, other.trades["entry_bar"] <= t),
                cut(whole, whole.trades["entry_bar"] <= t),
                DECIDED_AT_ENTRY,
            )
            n_trades += int((whole.trades["entry_bar"] <= t).sum())
            n_changed += other.trades["pnl"].tobytes() != whole.trades["pnl"].tobytes()
    assert n_trades > N_CASES
    assert n_changed > N_CASES


# --- state -----------------------------------------------------------------------------------


def test_the_same_question_twice_has_the_same_answer(engine):
    cases = suitable_cases(lambda case: True)
    bars = [to_bars(case.bars) for case in cases]
    first = [ask(engine, case, b) for case, b in zip(cases, bars, strict=True)]
    copies = [copy.deepcopy(dict(answer.trades)) for answer in first]
    for case, b, answer, kept in zip(cases, bars, first, copies, strict=True):
        other_rules = {**case.config["rules"], "atr_period": 6, "stop": 0.5, "max_bars": 4}
        ask(engine, dataclasses.replace(case, config={**case.config, "rules": other_rules}), b)
        again = ask(engine, case, b)
        assert_same(answer, again)
        assert_same(answer, ask(engine, case))
        assert_same_rows(answer.trades, kept)  # nothing wrote into the first answer
        for name in TRADE_DTYPE:
            assert not np.shares_memory(answer.trades[name], again.trades[name])


def test_a_question_does_not_change_its_bars(engine):
    for case in suitable_cases(lambda case: True, number=30):
        bars = to_bars(case.bars)
        before = bars.content_hash
        ask(engine, case, bars)
        assert to_bars(case.bars).content_hash == before
        assert not bars.close.flags.writeable
