"""The comparator catches every kind of difference, and only differences."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from backtest_py.engines.layouts import TRADE_DTYPE
from backtest_py.errors import ParityError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.parity import AGREED_RTOL, compare, require_same, ulp_distance
from backtest_py.rules import Reason

FLOATS = [name for name, dtype in TRADE_DTYPE.items() if dtype.kind == "f"]
INTEGERS = [name for name, dtype in TRADE_DTYPE.items() if dtype.kind == "i"]
MODES = [0.0, AGREED_RTOL]


def make_output(n_trades=6):
    """Return a result of distinct trades, among them infinities and a metric that is nan."""
    rng = np.random.default_rng(1)
    trades = {}
    for name, dtype in TRADE_DTYPE.items():
        if dtype.kind == "f":
            trades[name] = rng.normal(size=n_trades)
        elif dtype.kind == "b":
            trades[name] = np.arange(n_trades) % 2 == 1
        else:
            trades[name] = (np.arange(n_trades) % 7).astype(dtype)
    trades["signal_bar"] = np.arange(n_trades, dtype=np.int64) * 10 + 5
    trades["stop_price"][1:2], trades["stop_price"][2:3] = -math.inf, math.inf
    metrics = rng.normal(size=len(METRICS))
    metrics[3], metrics[4] = math.nan, math.inf
    return SimpleNamespace(trades=trades, metrics=metrics)


@pytest.fixture
def left():
    return make_output()


@pytest.fixture
def right():
    return make_output()


@pytest.mark.parametrize("rtol", MODES)
def test_equal_results_are_the_same(left, right, rtol):
    comparison = compare(left, right, rtol=rtol)
    assert comparison.same
    assert comparison.describe() == ""
    assert comparison.largest == 0.0
    require_same(left, right, rtol=rtol)


@pytest.mark.parametrize("rtol", MODES)
def test_results_without_trades_are_the_same(rtol):
    assert compare(make_output(0), make_output(0), rtol=rtol).same


@pytest.mark.parametrize("rtol", MODES)
def test_nan_equals_nan_whatever_the_payload(left, right, rtol):
    payload = np.array([0xFFF8_0000_0000_0123], np.uint64).view(np.float64)[0]
    left.metrics[3], right.metrics[3] = math.nan, payload
    left.trades["mae"][2], right.trades["mae"][2] = payload, math.nan
    assert left.metrics[3:4].view(np.int64) != right.metrics[3:4].view(np.int64)
    assert compare(left, right, rtol=rtol).same


@pytest.mark.parametrize("field", FLOATS)
def test_one_ulp_in_a_trade_is_found(left, right, field):
    right.trades[field][4] = math.nextafter(right.trades[field][4], math.inf)
    found = compare(left, right).trades
    assert (found.trade, found.bar, found.field, found.ulps) == (4, 45, field, 1)
    assert compare(left, right, rtol=AGREED_RTOL).same


@pytest.mark.parametrize("index", [k for k in range(len(METRICS)) if k not in {3, 4}])
def test_one_ulp_in_a_metric_is_found(left, right, index):
    right.metrics[index] = math.nextafter(right.metrics[index], -math.inf)
    (found,) = compare(left, right).metrics
    assert (found.field, found.ulps) == (METRICS[index], 1)
    assert compare(left, right, rtol=AGREED_RTOL).same


def test_the_tolerance_is_relative_to_the_larger_magnitude(left, right):
    left.metrics[0], right.metrics[0] = 1000.0, 1000.0 * (1 + 0.9e-5)
    assert compare(left, right, rtol=AGREED_RTOL).same
    right.metrics[0] = 1000.0 * (1 + 1.2e-5)
    assert not compare(left, right, rtol=AGREED_RTOL).same
    left.metrics[0], right.metrics[0] = 1e-300, 1.1e-300
    assert not compare(left, right, rtol=AGREED_RTOL).same
    assert compare(left, right, rtol=AGREED_RTOL, atol=1e-12).same


@pytest.mark.parametrize("rtol", MODES)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (math.nan, 0.0),
        (math.nan, 1.5),
        (math.nan, math.inf),
        (math.inf, 1.7976931348623157e308),
        (math.inf, -math.inf),
        (2.5, -2.5),
        (1e-300, -1e-300),
        (0.0, 5e-324),
    ],
)
def test_what_no_tolerance_excuses(left, right, rtol, one, other):
    for first, second in ((one, other), (other, one)):
        left.metrics[7], right.metrics[7] = first, second
        left.trades["pnl"][2], right.trades["pnl"][2] = first, second
        comparison = compare(left, right, rtol=rtol)
        assert [item.field for item in comparison.differences] == ["pnl", METRICS[7]]
        assert comparison.largest > AGREED_RTOL


def test_a_zero_of_the_other_sign_differs_in_bits_alone(left, right):
    left.trades["fees"][0], right.trades["fees"][0] = 0.0, -0.0
    left.metrics[6], right.metrics[6] = -0.0, 0.0
    comparison = compare(left, right)
    assert [item.field for item in comparison.differences] == ["fees", METRICS[6]]
    assert comparison.trades.ulps == 0
    assert "0x8000000000000000" in comparison.describe()
    assert compare(left, right, rtol=AGREED_RTOL).same


@pytest.mark.parametrize("rtol", MODES)
@pytest.mark.parametrize("field", [*INTEGERS, "reason", "ambiguous"])
def test_a_changed_position_side_reason_or_flag_is_found(left, right, rtol, field):
    column = right.trades[field]
    column[3] = not column[3] if field == "ambiguous" else column[3] + 1
    found = compare(left, right, rtol=rtol).trades
    assert (found.trade, found.field) == (3, field)


def test_a_changed_reason_is_named(left, right):
    left.trades["reason"][2] = Reason.stop_loss
    right.trades["reason"][2] = Reason.trailing_stop
    text = compare(left, right).describe("numba", "rust")
    assert "trade 2 (signal bar 25), reason" in text
    assert "numba 0 (stop_loss), rust 1 (trailing_stop)" in text


def rebuilt(output, order):
    return SimpleNamespace(
        trades={name: column[order] for name, column in output.trades.items()},
        metrics=output.metrics,
    )


@pytest.mark.parametrize("rtol", MODES)
@pytest.mark.parametrize(
    ("order", "trade"),
    [
        ([0, 1, 2, 3, 4], 5),  # the last one missing
        ([0, 1, 3, 4, 5], 2),  # one in the middle missing
        ([1, 2, 3, 4, 5], 0),  # the first one missing
        ([0, 1, 2, 2, 3, 4, 5], 3),  # doubled
        ([0, 1, 2, 3, 4, 5, 5], 6),  # the last one doubled
        ([0, 2, 1, 3, 4, 5], 1),  # two in the wrong order
        ([], 0),
    ],
)
def test_missing_doubled_and_reordered_trades_are_found(left, rtol, order, trade):
    right = rebuilt(left, np.array(order, dtype=np.intp))
    for one, other in ((left, right), (right, left)):
        comparison = compare(one, other, rtol=rtol)
        assert comparison.trades.trade == trade
        counts = (len(one.trades["side"]), len(other.trades["side"]))
        assert comparison.trades.counts == counts
        if counts[0] != counts[1]:
            assert f"{counts[0]} trades against {counts[1]}" in comparison.describe()
            assert comparison.largest == math.inf


def test_the_first_trade_and_its_first_field_are_reported(left, right):
    right.trades["exit_price"][4] += 1.0
    right.trades["pnl"][2] += 1.0
    right.trades["points"][2] += 1.0
    right.trades["signal_bar"][5] += 1
    found = compare(left, right).trades
    assert (found.trade, found.field) == (2, "points")


def test_every_divergent_metric_is_listed(left, right):
    right.metrics[[0, 10, 20]] += 1.0
    names = [item.field for item in compare(left, right).metrics]
    assert names == [METRICS[0], METRICS[10], METRICS[20]]


@pytest.mark.parametrize("rtol", MODES)
def test_a_missing_extra_mistyped_or_short_column_is_found(left, rtol):
    def broken(change):
        right = make_output()
        change(right.trades)
        comparison = compare(left, right, rtol=rtol)
        assert comparison.largest == math.inf
        return comparison.trades.field, str(comparison.trades.right)

    assert broken(lambda t: t.pop("mfe")) == ("mfe", "absent")
    assert broken(lambda t: t.update(extra=t["mfe"])) == ("extra", "float64")
    assert broken(lambda t: t.update(mfe=t["mfe"].astype(np.float32))) == ("mfe", "float32")
    field, kind = broken(lambda t: t.update(mfe=t["mfe"][:-1]))
    assert field == "mfe"
    assert "shape (5,) for 6 trades" in kind


def test_a_column_that_both_lack_is_still_a_difference(left, right):
    del left.trades["fees"], right.trades["fees"]
    assert compare(left, right).trades.field == "fees"


@pytest.mark.parametrize("rtol", MODES)
def test_metrics_of_another_length_or_type_are_found(left, right, rtol):
    right.metrics = right.metrics[:-1]
    assert not compare(left, right, rtol=rtol).same
    right.metrics = make_output().metrics.astype(np.float32)
    assert not compare(left, right, rtol=rtol).same


def test_the_report_names_both_sides_with_bits_and_distance(left, right):
    left.trades["exit_price"][1], right.trades["exit_price"][1] = 1.0, math.nextafter(1.0, 2.0)
    with pytest.raises(ParityError) as caught:
        require_same(left, right, names=("numba", "reference"))
    text = str(caught.value)
    assert "trade 1 (signal bar 15), exit_price" in text
    assert "numba 1.0 (0x3ff0000000000000)" in text
    assert "reference 1.0000000000000002 (0x3ff0000000000001), 1 ulp apart" in text


def test_the_largest_difference_is_measured_even_where_it_is_tolerated(left, right):
    left.metrics[0], right.metrics[0] = 8.0, 8.0 * (1 + 2.0**-20)
    comparison = compare(left, right, rtol=AGREED_RTOL)
    assert comparison.same
    assert comparison.largest == pytest.approx(2.0**-20, rel=1e-5)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        (1.0, 1.0, 0),
        (0.0, -0.0, 0),
        (5e-324, -5e-324, 2),
        (0.0, 5e-324, 1),
        (1.0, math.nextafter(1.0, 0.0), 1),
        (1.7976931348623157e308, math.inf, 1),
        (-1.0, math.nextafter(-1.0, 0.0), 1),
        (math.nan, 1.0, None),
    ],
)
def test_ulp_distance(one, other, distance):
    assert ulp_distance(one, other) == distance
    assert ulp_distance(other, one) == distance
