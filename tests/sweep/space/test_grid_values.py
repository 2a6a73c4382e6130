"""The values of a grid's axes: ranges, and what is refused before any work."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_py import BarraElefante, Contract, ExitRules
from backtest_py.errors import ConfigError
from backtest_py.strategies.user import function_strategy
from backtest_py.sweep.space.grid import Grid, GridRange


def build(grid, *, strategy=None, **options):
    return Grid.build(strategy or BarraElefante(), ExitRules(), Contract(), grid, **options)


# ranges


@given(
    start=st.integers(-50_000, 50_000),
    step=st.integers(1, 5_000),
    count=st.integers(1, 60),
    places=st.integers(0, 5),
)
def test_ranges_are_decimal(start, step, count, places):
    def unbounded(bars, *, x: float = 0.0):
        raise AssertionError

    scale = Decimal(10) ** -places
    first, stride = start * scale, step * scale
    last = first + (count - 1) * stride
    spec = GridRange(float(first), float(last), float(stride))
    grid = build({"strategy.x": spec}, strategy=function_strategy(unbounded)())
    expected = [float(first + k * stride) + 0.0 for k in range(count)]
    assert list(grid.axes[0].values) == expected


@given(start=st.floats(0, 1e6), stop=st.floats(0, 1e6), step=st.floats(1e-3, 1e6, exclude_min=True))
def test_any_range_follows_the_formula(start, stop, step):
    with localcontext() as context:
        context.prec = 1_000
        first, last, stride = (Decimal(repr(number)) for number in (start, stop, step))
        steps = int(((last - first) / stride).to_integral_value())
        expected = [float(first + k * stride) for k in range(min(steps, 1000) + 1)]
    if stop < start or steps > 999_999 or len(set(expected)) < len(expected):
        with pytest.raises(ConfigError):
            build({"rules.stop": GridRange(start, stop, step)})
    elif steps < 1000:
        assert list(build({"rules.stop": GridRange(start, stop, step)}).axes[0].values) == expected


@pytest.mark.parametrize(
    ("key", "spec", "values"),
    [
        ("rules.stop", {"start": 0.1, "stop": 0.3, "step": 0.1}, (0.1, 0.2, 0.3)),
        ("rules.stop", {"start": 1, "stop": 1, "step": 5}, (1.0,)),
        ("rules.stop", {"start": 0, "stop": 1, "step": 0.3}, (0.0, 0.3, 0.6, 0.9)),
        ("rules.stop", GridRange(np.float64(0.5), np.int64(1), 0.25), (0.5, 0.75, 1.0)),
        ("strategy.lookback", {"start": 5, "stop": 15, "step": 5}, (5, 10, 15)),
        ("strategy.lookback", {"min": 5, "max": 7}, (5, 6, 7)),
        ("strategy.entry_end", GridRange("09:55", "10:05", 5), ("09:55", "10:00", "10:05")),
        ("strategy.entry_end", GridRange("09:00", "11:00", "01:00"), ("09:00", "10:00", "11:00")),
        ("strategy.entry_end", {"min": "23:58", "max": "23:59"}, ("23:58", "23:59")),
    ],
)
def test_a_range_holds(key, spec, values):
    axis = build({key: spec}).axes[0]
    assert axis.values == values
    assert [type(value) for value in axis.values] == [type(value) for value in values]


# what is refused before any work


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        ({"rules.stop": []}, ['"rules.stop" = []', "empty", "a list of values"]),
        ({"rules.stop": ()}, ["empty"]),
        ({"rules.stop": np.array([])}, ["empty"]),
        ({"rules.stop": 1.0}, ['"rules.stop" = 1.0', "a list of values"]),
        ({"rules.stop": None}, ['"rules.stop" = None']),
        ({"rules.stop": "1.0"}, ["\"rules.stop\" = '1.0'"]),
        ({"rules.stop": {1.0, 2.0}}, ['"rules.stop" = {1.0, 2.0}']),
        ({"rules.stop": (x for x in [1.0])}, ['"rules.stop"', "a list of values"]),
        ({"rules.stop": {"start": 1, "stop": 2}}, ['"rules.stop"', "start", "step"]),
        ({"rules.stop": [1.0, float("nan")]}, ["value 2", "rules.stop = nan", "a finite number"]),
        ({"rules.stop": [1.0, -1.0]}, ["rules.stop = -1.0", "of at least 0"]),
        ({"rules.stop": [[1.0]]}, ["rules.stop = [1.0]"]),
        ({"rules.stop": [{}]}, ["rules.stop = {}"]),
        ({"rules.stop": [True]}, ["rules.stop = True"]),
        ({"rules.stop": [1, 2, 1.0]}, ["holds 1.0 twice", "values 1 and 3"]),
        ({"rules.stop": [0.0, -0.0]}, ["holds 0.0 twice"]),
        ({"rules.round_to_tick": [True, True]}, ["holds True twice"]),
        ({"rules.unit": ["atr", "ATR"]}, ["rules.unit = 'ATR'", "'atr', 'points'"]),
        ({"rules.atr_period": [14.0]}, ["rules.atr_period = 14.0", "a whole number"]),
        ({"rules.close_time": ["00:00"]}, ["rules.close_time = '00:00'", "00:01 to 23:59"]),
        ({"rules.stopp": [1]}, ["unknown key", "'rules.stopp'", "did you mean 'rules.stop'"]),
        ({"stop": [1]}, ["unknown key", "'stop'"]),
        ({3: [1]}, ["unknown key", "3"]),
        ({"metrics.risk_free_rate": [0]}, ["unknown key"]),
        ({"strategy.fast": [1]}, ["unknown key", "'strategy.fast'"]),
        ({"rules.stop": GridRange(1, 2, 0)}, ["step = 0 }", "a step above 0"]),
        ({"rules.stop": GridRange(1, 2, -0.5)}, ["step = -0.5 }", "upwards"]),
        ({"rules.stop": GridRange(2, 1, 0.5)}, ["start = 2", "upwards"]),
        ({"rules.stop": GridRange(2, 1, -0.5)}, ["upwards"]),
        ({"rules.stop": GridRange(float("nan"), 1, 1)}, ["start = nan", "finite numbers"]),
        ({"rules.stop": GridRange(0, float("inf"), 1)}, ["stop = inf", "finite numbers"]),
        ({"rules.stop": GridRange(0, 1, "1")}, ["step = '1'", "finite numbers"]),
        ({"rules.stop": GridRange(0, 1, True)}, ["step = True"]),
        ({"rules.stop": GridRange(0, 1, [])}, ["step = []"]),
        ({"rules.stop": GridRange(-1, 1, 1)}, ["rules.stop = -1.0"]),
        ({"rules.stop": GridRange(1e308, 1.7e308, 1e308)}, ["rules.stop = inf"]),
        ({"rules.stop": GridRange(1e17, 1e17 + 32, 1)}, ["twice"]),
        (
            {"rules.stop": GridRange(0, 1, 1e-30)},
            ["1,000,000,000,000,000,000,000,000,000,001 values"],
        ),
        ({"rules.stop": GridRange(0, 1e300, 1e-300)}, ["about 10^600 values", "at most 1,000,000"]),
        ({"strategy.lookback": GridRange(5, 10, 0.5)}, ["step = 0.5", "whole numbers"]),
        ({"strategy.lookback": GridRange(5.0, 10, 1)}, ["start = 5.0", "whole numbers"]),
        ({"strategy.lookback": {"min": 5, "max": 10**30}}, ["values; give at most"]),
        ({"strategy.entry_end": GridRange("9:00", "10:00", 10)}, ["start = '9:00'", "HH:MM"]),
        ({"strategy.entry_end": GridRange("09:00", "10:00", 0.5)}, ["step = 0.5", "times of day"]),
        ({"strategy.entry_end": GridRange(540, 600, 10)}, ["start = 540", "times of day"]),
        ({"strategy.entry_end": GridRange("23:00", "23:59", 100)}, ["value 2", "'24:40'"]),
        ({"rules.close_time": GridRange("", "10:00", 10)}, ["start = ''", "times of day"]),
        ({"rules.unit": GridRange(0, 1, 1)}, ["a range needs numbers or times", "'atr'"]),
        ({"rules.stop": {"min": 0.5, "max": 3.0}}, ["without steps", "sample"]),
    ],
)
def test_a_mistake_in_a_grid_is_named_with_what_is_allowed(grid, parts):
    with pytest.raises(ConfigError) as caught:
        build(grid)
    for part in parts:
        assert part in str(caught.value)


def test_combinations_that_cannot_be_numbered_are_counted_and_refused():
    names = [
        *(f"rules.{name}" for name in ("stop", "target", "trail", "target_through_ticks")),
        *(f"contract.{name}" for name in ("tick_size", "point_value", "quantity", "fee_per_side")),
        *(f"strategy.{name}" for name in ("min_range_mult", "lookback")),
    ]
    with pytest.raises(ConfigError) as caught:
        build({name: GridRange(1, 1000, 1) for name in names})
    assert "1,000,000,000,000,000,000,000,000,000,000 combinations (1,000 x" in str(caught.value)
    assert "at most 4,611,686,018,427,387,904" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"invalid": "drop"}, "invalid = 'drop' is not allowed"),
        ({"where": "rules.stop"}, "rules.stop is no condition"),
        ({"where": " "}, "expected a name or a value"),
        ({"where": None}, "where = None is not allowed"),
        ({"where": "rules.stop > rules.targt"}, "did you mean 'rules.target'"),
    ],
)
def test_a_mistake_beside_the_grid_is_refused(options, part):
    with pytest.raises(ConfigError, match=part):
        build({"rules.stop": [1.0]}, **options)


def test_a_grid_that_is_no_mapping_is_refused():
    with pytest.raises(ConfigError, match="give a mapping"):
        build([("rules.stop", [1.0])])
