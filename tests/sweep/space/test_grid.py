"""The grid: numbers and values, ranges, what is admitted, and what is refused before any work."""

from __future__ import annotations

import itertools
import json
import pickle
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest_py import BarraElefante, Contract, ExitRules, MovingAverageCross, Strategy
from backtest_py.config import Config
from backtest_py.errors import ConfigError
from backtest_py.parameters import parameter
from backtest_py.strategies.user import function_strategy
from backtest_py.sweep.space.grid import Grid, GridRange
from backtest_py.sweep.space.sample import SampledGrid, grid_from_mapping

STANDARD = {
    "strategy.min_range_mult": GridRange(1.0, 4.0, 0.5),
    "strategy.min_volume_mult": GridRange(0.0, 3.0, 0.5),
    "strategy.max_shadow_ratio": [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1],
    "strategy.lookback": GridRange(5, 30, 5),
    "strategy.entry_start": GridRange("09:00", "09:40", 10),
    "strategy.entry_end": GridRange("10:30", "12:30", "00:30"),
    "rules.stop": GridRange(0.5, 3.0, 0.5),
    "rules.target_r": GridRange(1, 6, 1),
    "rules.trail": [0, 1],
}


def build(grid, *, strategy=None, rules=None, contract=None, **options):
    return Grid.build(
        strategy or BarraElefante(), rules or ExitRules(), contract or Contract(), grid, **options
    )


def standard():
    return build(STANDARD, rules=ExitRules(target=0, close_time="13:30"))


def box(grid):
    return tuple(map(range, grid.shape))


def is_allowed(grid, combo_id):
    try:
        grid.settings(combo_id)
    except ConfigError:
        return False
    return True


def fastest(work, times=5):
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return min(durations)


# the standard grid


def test_the_standard_grid_has_its_size_and_its_first_and_last_combination():
    grid = standard()
    grid.check()
    assert grid.size == grid.count() == 4_233_600
    assert grid.shape == (7, 7, 8, 6, 5, 5, 6, 6, 2)
    assert (grid.strategy_axes, grid.rules_axes, grid.contract_axes) == (
        (0, 1, 2, 3, 4, 5),
        (6, 7, 8),
        (),
    )
    assert list(grid.values(0).items()) == [
        ("strategy.min_range_mult", 1.0),
        ("strategy.min_volume_mult", 0.0),
        ("strategy.max_shadow_ratio", 0.0),
        ("strategy.lookback", 5),
        ("strategy.entry_start", "09:00"),
        ("strategy.entry_end", "10:30"),
        ("rules.stop", 0.5),
        ("rules.target_r", 1.0),
        ("rules.trail", 0.0),
    ]
    assert list(grid.values(4_233_599).values()) == [4.0, 3.0, 1.0, 30, "09:40", "12:30", 3, 6, 1]
    assert [axis.values for axis in grid.axes][3:5] == [
        (5, 10, 15, 20, 25, 30),
        ("09:00", "09:10", "09:20", "09:30", "09:40"),
    ]


def test_the_standard_grid_gives_the_objects_that_run_takes():
    strategy, rules, contract = standard().settings(4_233_599)
    assert strategy == BarraElefante(
        min_range_mult=4.0,
        min_volume_mult=3.0,
        max_shadow_ratio=1.0,
        lookback=30,
        entry_start="09:40",
        entry_end="12:30",
    )
    assert rules == ExitRules(stop=3.0, target=0.0, target_r=6.0, trail=1.0, close_time="13:30")
    assert contract == Contract()


@given(st.integers(0, 4_233_599))
def test_the_standard_grid_decodes_and_encodes(combo_id):
    grid = standard()
    values = grid.values(combo_id)
    assert grid.combo_id(values) == combo_id
    assert grid.combo_id(dict(reversed(values.items()))) == combo_id
    assert tuple(grid.digit_rows(np.array([combo_id]))[0]) == grid.digits(combo_id)


def test_the_last_axis_is_the_fastest():
    grid = standard()
    assert grid.values(1) == {**grid.values(0), "rules.trail": 1.0}
    assert grid.values(2) == {**grid.values(0), "rules.target_r": 2.0}


def test_a_box_of_the_standard_grid_is_masked():
    grid = build(
        STANDARD, rules=ExitRules(target=0), where="target_r * stop > 4 and entry_end > '11:00'"
    )
    slices = (range(3, 4), range(2), range(8), range(6), *map(range, grid.shape[4:]))
    mask = grid.box_mask(slices)
    stops, targets = np.arange(0.5, 3.5, 0.5)[:, None, None], np.arange(1, 7)[:, None]
    late = np.array([False, False, True, True, True])[:, None, None, None]
    expected = np.broadcast_to(late & (stops * targets > 4), mask.shape)
    np.testing.assert_array_equal(mask, expected)
    assert mask.shape == (1, 2, 8, 6, 5, 5, 6, 6, 2)
    assert grid.count() == int(mask.sum()) * 7 * 7 // 2


def test_a_billion_combinations_cost_neither_time_nor_memory():
    large = {**STANDARD, "contract.slippage_ticks": GridRange(0, 236, 1)}
    where = "target_r * stop > 2 and entry_start < entry_end and lookback * min_range_mult > 10"

    def work():
        grid = build(large, rules=ExitRules(target=0), where=where)
        grid.check()
        return grid

    assert work().size == 1_003_363_200
    assert fastest(work) < 0.1
    tracemalloc.start()
    try:
        work()
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


# numbers and values


@st.composite
def small_grids(draw):
    """Draw grids of every section, some combinations of which are invalid."""
    choices = {
        "strategy.fast": st.integers(1, 9),
        "strategy.slow": st.integers(2, 9),
        "strategy.entry_start": st.sampled_from(["08:00", "09:00", "10:30", "12:00"]),
        "strategy.entry_end": st.sampled_from(["09:00", "10:00", "10:30", "23:59"]),
        "rules.stop": st.sampled_from([0, 0.5, 1, 2.5]),
        "rules.target": st.sampled_from([0, 1.0, 3.0]),
        "rules.target_r": st.sampled_from([0, 1.5, 2]),
        "rules.close_time": st.sampled_from(["", "11:00", "17:00"]),
        "rules.round_to_tick": st.booleans(),
        "rules.unit": st.sampled_from(["atr", "points", "percent"]),
        "contract.quantity": st.integers(1, 5),
    }
    keys = draw(st.lists(st.sampled_from(sorted(choices)), min_size=1, max_size=5, unique=True))
    return {key: draw(st.lists(choices[key], min_size=1, max_size=3, unique=True)) for key in keys}


CONDITIONS = {
    "": lambda s, r, c: True,
    "fast < slow": lambda s, r, c: s.fast < s.slow,
    "rules.target > rules.stop or target_r > 0": lambda s, r, c: (
        r.target > r.stop or r.target_r > 0
    ),
    "entry_start <= entry_end and quantity >= 2": lambda s, r, c: (
        s.entry_start <= s.entry_end and c.quantity >= 2
    ),
    "not (unit == 'atr' and stop == 0) and slow - fast != quantity": lambda s, r, c: (
        not (r.unit == "atr" and r.stop == 0) and s.slow - s.fast != c.quantity
    ),
    "close_time == '' or round_to_tick": lambda s, r, c: r.close_time == "" or r.round_to_tick,
    "entry_end - entry_start >= 60": lambda s, r, c: (
        minutes(s.entry_end) - minutes(s.entry_start) >= 60
    ),
    "target == 0": lambda s, r, c: r.target == 0,
    "quantity > 9": lambda s, r, c: c.quantity > 9,
}


def minutes(clock):
    return int(clock[:2]) * 60 + int(clock[3:])


class Loose:
    """Settings of a combination as plain attributes, valid or not."""

    def __init__(self, base, values, section):
        for spec in base.parameters():
            setattr(self, spec.name, values.get(f"{section}.{spec.name}", getattr(base, spec.name)))
        if section == "rules" and "rules.target" not in values and self.target_r > 0:
            self.target = 0.0


@settings(deadline=None, max_examples=300)
@given(small_grids(), st.sampled_from(sorted(CONDITIONS)))
def test_admitted_combinations_are_those_that_settings_and_condition_admit(chosen, where):
    grid = build(chosen, strategy=MovingAverageCross(), where=where, invalid="skip")
    holds = CONDITIONS[where]
    wanted, valid = np.empty(grid.size, bool), np.empty(grid.size, bool)
    for combo_id in range(grid.size):
        values = grid.values(combo_id)
        assert grid.combo_id(values) == combo_id
        wanted[combo_id] = holds(
            Loose(grid.strategy, values, "strategy"),
            Loose(grid.rules, values, "rules"),
            Loose(grid.contract, values, "contract"),
        )
        valid[combo_id] = is_allowed(grid, combo_id)
    mask = grid.box_mask(box(grid))
    np.testing.assert_array_equal(mask.ravel(), wanted & valid)
    assert grid.count() == mask.sum()

    strict = build(chosen, strategy=MovingAverageCross(), where=where)
    if (wanted & ~valid).any():
        first = int(np.argmax(wanted & ~valid))
        with pytest.raises(ConfigError, match=f"combination {first:,} of the grid is not allowed"):
            strict.check()
    elif not wanted.any():
        with pytest.raises(ConfigError, match="nothing is left"):
            strict.check()
    else:
        strict.check()
    if mask.any():
        grid.check()
    else:
        with pytest.raises(ConfigError, match="nothing is left"):
            grid.check()


@settings(deadline=None)
@given(small_grids(), st.data())
def test_any_box_is_a_part_of_the_whole_mask(chosen, data):
    grid = build(chosen, strategy=MovingAverageCross(), where="slow > 4 or stop > 1")
    slices = []
    for length in grid.shape:
        start = data.draw(st.integers(0, length - 1))
        slices.append(range(start, data.draw(st.integers(start + 1, length))))
    whole = grid.box_mask(box(grid))
    part = whole[tuple(slice(r.start, r.stop) for r in slices)]
    np.testing.assert_array_equal(grid.box_mask(slices), part)


def test_settings_equal_those_that_a_user_would_write():
    grid = build(
        {"rules.target_r": [0, 2], "strategy.lookback": [5, 10], "contract.tick_size": [5]},
        strategy=BarraElefante(min_volume_mult=0),
        rules=ExitRules(close_time="12:00"),
        contract=Contract(fee_per_side=0.25),
    )
    assert grid.settings(3) == (
        BarraElefante(min_volume_mult=0, lookback=10),
        ExitRules(target_r=2, close_time="12:00"),
        Contract(tick_size=5, fee_per_side=0.25),
    )


def test_a_section_that_does_not_vary_keeps_its_object():
    rules = ExitRules()
    assert build({"strategy.lookback": [5]}, rules=rules).settings(0)[1] is rules


def test_a_grid_without_axes_is_one_combination():
    grid = build({})
    grid.check()
    assert (grid.size, grid.shape, grid.count(), grid.values(0)) == (1, (), 1, {})
    assert grid.box_mask(()).shape == ()
    assert grid.box_mask(())
    assert grid.settings(0) == (BarraElefante(), ExitRules(), Contract())


def test_numpy_values_and_whole_numbers_for_floats_are_accepted():
    grid = build({"rules.stop": np.arange(1, 4), "strategy.lookback": range(5, 8)})
    assert grid.axes[0].values == (1.0, 2.0, 3.0)
    assert all(type(value) is float for value in grid.axes[0].values)
    assert grid.values(np.int64(4)) == {"rules.stop": 2.0, "strategy.lookback": 6}


@pytest.mark.parametrize("combo_id", [-1, 18, 10**30, 1.0, "1", True, None])
def test_a_number_outside_the_grid_is_refused(combo_id):
    grid = build({"rules.stop": GridRange(0.5, 3, 0.5), "rules.target": [1, 2, 3]})
    with pytest.raises(ConfigError, match=r"combo_id = .*give a whole number from 0 to 17"):
        grid.values(combo_id)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"rules.stop": 1.0}, "needs a value of rules.target"),
        ({"rules.stop": 1.0, "rules.target": 9}, "rules.target = 9 is not in the grid"),
        ({"rules.stop": "1", "rules.target": 1}, "rules.stop = '1' is not allowed"),
        ({"rules.stop": 1, "rules.target": 1, "rules.trail": 1}, "unknown key of the grid"),
    ],
)
def test_values_outside_the_grid_are_refused(values, part):
    grid = build({"rules.stop": [1.0, 2.0], "rules.target": [1, 2, 3]})
    with pytest.raises(ConfigError, match=part):
        grid.combo_id(values)


# the default target


def test_target_r_turns_the_default_target_off_combination_by_combination():
    grid = build({"rules.target_r": [0, 1.5]})
    grid.check()
    assert [grid.settings(i)[1].target for i in range(2)] == [3.0, 0.0]


def test_a_target_that_was_chosen_is_not_turned_off():
    grid = build({"rules.target_r": [0, 1.5]}, rules=ExitRules(target=3.0))
    with pytest.raises(ConfigError, match=r"combination 1 .*rules\.target_r = 1\.5.*exclude"):
        grid.check()


def test_a_target_that_is_swept_is_not_turned_off():
    default = ExitRules().target
    grid = build({"rules.target": [0, default], "rules.target_r": [0, 1]}, invalid="skip")
    assert grid.box_mask(box(grid)).tolist() == [[True, True], [True, False]]


def test_conditions_see_the_target_of_the_combination():
    grid = build({"rules.target_r": [0, 1.5]}, where="rules.target == 3")
    assert grid.box_mask(box(grid)).tolist() == [True, False]


def test_whether_the_target_was_chosen_survives_processes_and_files():
    for rules in (ExitRules(), ExitRules(target=3.0), ExitRules(target=0)):
        grid = build({"rules.target_r": [0, 1.5]}, rules=rules, invalid="skip")
        for copy in (
            pickle.loads(pickle.dumps(grid)),
            grid_from_mapping(json.loads(json.dumps(grid.to_mapping()))),
        ):
            assert copy == grid
            assert copy.box_mask(box(copy)).tolist() == grid.box_mask(box(grid)).tolist()
            assert copy.to_mapping() == grid.to_mapping()


def test_a_base_whose_target_may_have_been_turned_off_is_refused_where_it_matters():
    with pytest.raises(ConfigError, match=r"rules\.target_r.*holds 0\.0.*leave target_r out"):
        build({"rules.target_r": [0, 1.5]}, rules=ExitRules(target_r=2.0))
    build({"rules.target_r": [1, 1.5]}, rules=ExitRules(target_r=2.0)).check()


# what the rules between parameters read


@dataclass(frozen=True, slots=True, kw_only=True)
class Fickle(Strategy):
    """Reads ``late`` only where ``mode`` asks for it, and ``idle`` never."""

    name = "fickle"

    idle: float = parameter(0.0, "float", "")
    mode: int = parameter(0, "int", "")
    late: int = parameter(0, "int", "")

    def validate(self):
        if self.mode == 2 and self.late > 3:
            raise ConfigError("late is too late")


def test_a_rule_that_reads_a_parameter_only_sometimes_is_judged_right():
    grid = build(
        {"strategy.idle": range(1000), "strategy.mode": range(4), "strategy.late": range(6)},
        strategy=Fickle(),
    )
    mask = grid.box_mask((range(7, 9), range(4), range(6)))
    expected = np.ones((2, 4, 6), bool)
    expected[:, 2, 4:] = False
    np.testing.assert_array_equal(mask, expected)
    with pytest.raises(ConfigError, match=r"combination 16 .*late is too late"):
        grid.check()


def test_rules_that_join_too_many_values_are_refused_at_once():
    grid = build(
        {"strategy.fast": range(1, 5000), "strategy.slow": range(1, 5000)},
        strategy=MovingAverageCross(),
    )
    with pytest.raises(ConfigError, match=r"strategy\.fast, strategy\.slow must fit together"):
        grid.check()


def test_a_function_of_the_users_own_is_swept():
    def three(bars, *, bars_up: int = 3, limit: float = 0.5, until: str = ""):
        raise AssertionError

    strategy = function_strategy(three)
    grid = build(
        {"strategy.bars_up": range(1, 4), "strategy.until": ["", "12:00"], "rules.stop": [1, 2]},
        strategy=strategy(),
        where="until == '' or bars_up > 1",
    )
    grid.check()
    assert grid.count() == 10
    assert grid.settings(11)[0] == strategy(bars_up=3, until="12:00")
    assert grid_from_mapping(grid.to_mapping(), strategy) == grid


# what is refused


def test_an_invalid_combination_is_named_with_all_its_values():
    grid = build({"strategy.entry_start": ["09:00", "11:00"], "strategy.entry_end": ["10:00"]})
    with pytest.raises(ConfigError) as caught:
        grid.check()
    message = str(caught.value)
    assert "combination 1 of the grid" in message
    assert "strategy.entry_start = '11:00', strategy.entry_end = '10:00'" in message
    assert "is after" in message
    assert 'set invalid = "skip"' in message


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        (["strategy.entry_end", "rules.stop", "rules.target_r"], 3),
        (["rules.stop", "rules.target_r", "strategy.entry_end"], 1),
    ],
)
def test_the_first_of_several_invalid_combinations_is_named(keys, first):
    axes = {
        "strategy.entry_end": ["10:00", "08:00"],
        "rules.stop": [1, 0],
        "rules.target_r": [0, 1],
    }
    grid = build({key: axes[key] for key in keys}, strategy=BarraElefante(entry_start="09:00"))
    with pytest.raises(ConfigError, match=f"combination {first} of the grid"):
        grid.check()


def test_an_invalid_combination_that_where_excludes_is_no_mistake():
    grid = build(
        {"rules.stop": [0, 1], "rules.target_r": [0, 1]}, where="target_r == 0 or stop > 0"
    )
    grid.check()
    assert grid.count() == 3


# configuration files


def test_a_file_gives_the_grid(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        """
[data]
path = "bars.csv"
[sweep]
where = "rules.target > rules.stop"
[sweep.grid]
"rules.stop" = { start = 0.1, stop = 0.3, step = 0.1 }
"rules.target" = [0.2, 3]
"strategy.entry_start" = { start = "09:00", stop = "09:40", step = "00:10" }
""",
        encoding="utf-8",
    )
    grid = Config.load(file).grid()
    assert grid.shape == (3, 2, 5)
    assert grid.axes[0].values == (0.1, 0.2, 0.3)
    assert grid.count() == 20


def test_a_file_may_ask_for_a_sample():
    config = Config.from_mapping(
        {
            "data": {"path": "bars.csv"},
            "sweep": {
                "grid": {"rules.stop": {"min": 0.5, "max": 3.0}},
                "sample": {"kind": "halton", "n": 10, "seed": 3},
            },
        }
    )
    grid = config.grid()
    assert isinstance(grid, SampledGrid)
    assert grid.size == 10


@pytest.mark.parametrize(
    ("sweep", "part"),
    [
        ({"sample": {"n": 0}}, "sample.n = 0 is not allowed"),
        ({"sample": {"size": 5}}, "unknown parameter of .sample. 'size'"),
        ({"sample": 5}, "write it as .sweep.sample."),
        ({"where": "rules.stop"}, "no condition"),
        ({"grid": {"rules.stop": [float("nan")]}}, "rules.stop = nan"),
    ],
)
def test_a_mistake_in_the_file_is_found_when_it_is_read(sweep, part):
    with pytest.raises(ConfigError, match=part):
        Config.from_mapping({"data": {"path": "bars.csv"}, "sweep": sweep})


def test_every_combination_of_a_small_grid_is_there_once():
    grid = build({"rules.stop": [1, 2], "rules.target": [3, 4, 5], "strategy.lookback": [6, 7]})
    assert [tuple(grid.values(i).values()) for i in range(grid.size)] == list(
        itertools.product([1.0, 2.0], [3.0, 4.0, 5.0], [6, 7])
    )
