"""A user's own metrics: what they see, what they may return, and how mistakes are told."""

from __future__ import annotations

import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.metrics.custom import as_metric

COLUMNS = {
    "combo_id": np.arange(3),
    "rules.stop": np.array([1.0, 2.0, 3.0]),
    "sharpe": np.array([0.5, np.nan, 1.5]),
    "total_trades": np.array([4, 0, 9]),
    "ruined": np.array([False, True, False]),
}


def per_trade(columns):
    return columns["sharpe"] / columns["total_trades"]


def test_a_metric_of_columns_gives_a_float_for_each_row():
    metric = bt.ColumnMetric(per_trade)
    found = metric.values(COLUMNS)
    assert metric.name == "per_trade"
    assert not metric.smaller_is_better
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [0.125, np.nan, 1.5 / 9])


@pytest.mark.parametrize(
    "given", [[1, 2, 3], np.array([True, False, True]), np.arange(3, dtype=np.int8), (1.0, 2, 3)]
)
def test_whole_numbers_flags_and_lists_are_numbers(given):
    found = bt.ColumnMetric(lambda columns: given).values(COLUMNS)
    np.testing.assert_array_equal(found, np.array(given, dtype=float))


def test_division_by_zero_is_undefined_and_no_warning():
    found = bt.ColumnMetric(lambda c: c["total_trades"] / c["total_trades"]).values(COLUMNS)
    np.testing.assert_array_equal(found, [1.0, np.nan, 1.0])


def test_a_metric_cannot_change_the_columns():
    def spoil(columns):
        columns["sharpe"][:] = 9.0
        return columns["sharpe"]

    with pytest.raises(bt.ConfigError, match=r"the metric spoil failed: ValueError: .*read-only"):
        bt.ColumnMetric(spoil).values(COLUMNS)
    np.testing.assert_array_equal(COLUMNS["sharpe"], [0.5, np.nan, 1.5])


def test_columns_are_a_mapping():
    seen = []

    def look(columns):
        seen.extend([list(columns), len(columns), "sharpe" in columns, columns.get("no", 7)])
        return columns["rules.stop"]

    np.testing.assert_array_equal(bt.ColumnMetric(look).values(COLUMNS), [1.0, 2.0, 3.0])
    assert seen == [list(COLUMNS), 5, True, 7]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (1.0, r"the metric mine returned shape \(\) for 3 rows; return an array"),
        ([1.0, 2.0], r"shape \(2,\) for 3 rows"),
        (np.ones((3, 1)), r"shape \(3, 1\) for 3 rows"),
        ([1.0, None, 2.0], "returned None in row 1; return one float"),
        (["a", "b", "c"], "returned 'a' in row 0"),
        (np.array([1j, 2, 3]), r"returned 1j in row 0"),
        (None, r"shape \(\) for 3 rows"),
    ],
)
def test_anything_but_a_float_for_each_row_is_refused(returned, message):
    with pytest.raises(bt.ConfigError, match=message):
        bt.ColumnMetric(lambda columns: returned, name="mine").values(COLUMNS)


def test_a_column_that_is_not_there_is_named():
    metric = bt.ColumnMetric(lambda columns: columns["sharp"], name="mine")
    with pytest.raises(
        bt.ConfigError, match=r"the metric mine failed: unknown column 'sharp'; did.*'sharpe'"
    ):
        metric.values(COLUMNS)


def test_errors_of_the_function_carry_the_metric_and_their_cause():
    with pytest.raises(
        bt.ConfigError, match=r"the metric mine failed: ZeroDivisionError"
    ) as caught:
        bt.ColumnMetric(lambda columns: 1 // 0, name="mine").values(COLUMNS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


RESULT = SimpleNamespace(total=12.5)


@pytest.mark.parametrize("value", [1, 2.5, np.float32(0.5), np.array(3.0), np.bool_(True), -np.inf])
def test_a_metric_of_a_result_gives_a_float(value):
    found = bt.TradeMetric(lambda result: value).value(RESULT)
    assert type(found) is float
    assert found == float(value)


def test_a_metric_of_a_result_sees_the_result():
    assert bt.TradeMetric(lambda result: result.total).value(RESULT) == 12.5


@pytest.mark.parametrize("value", [None, "1.0", [1.0], np.ones(1), 1j])
def test_a_metric_of_a_result_that_gives_no_number_is_refused(value):
    metric = bt.TradeMetric(lambda result: value, name="mine")
    shown = re.escape(repr(value))
    message = f"the metric mine returned {shown} for combination 17; return a float"
    with pytest.raises(bt.ConfigError, match=message):
        metric.value(RESULT, "combination 17")


def test_errors_in_a_metric_of_a_result_name_the_combination():
    metric = bt.TradeMetric(lambda result: result.nothing, name="mine")
    with pytest.raises(
        bt.ConfigError, match="the metric mine failed for combination 17: AttributeError"
    ):
        metric.value(RESULT, "combination 17")


@pytest.mark.parametrize("kind", [bt.ColumnMetric, bt.TradeMetric])
def test_arguments_are_checked(kind):
    for given in ((7,), (per_trade, 7), (per_trade, "name", 1)):
        with pytest.raises(bt.ConfigError, match=kind.__name__):
            kind(*given)


@pytest.mark.parametrize("kind", [bt.ColumnMetric, bt.TradeMetric])
def test_names_come_from_the_function(kind):
    assert kind(per_trade).name == "per_trade"
    assert kind(lambda given: 0.0).name == "own_metric"
    assert kind(per_trade, "mine").name == "mine"
    assert pickle.loads(pickle.dumps(kind(per_trade, "mine", smaller_is_better=True))) == kind(
        per_trade, "mine", smaller_is_better=True
    )


def test_what_may_rank():
    own = bt.TradeMetric(per_trade)
    assert as_metric(own) is own
    assert as_metric("sharpe") == "sharpe"
    assert as_metric(per_trade) == bt.ColumnMetric(per_trade)
    for wrong in (None, 7, ["sharpe"], bt.ColumnMetric):
        with pytest.raises(bt.ConfigError, match=r"choose = .*is not allowed"):
            as_metric(wrong, "choose")
