"""Measuring sweeps: agreement before any clock, and the page that comes out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.bench import bench as benching
from backtest_py.bench.agreement import Digest, check_rows, digest_of
from backtest_py.bench.bench import bench
from backtest_py.bench.cases import SIZES, standard_case
from backtest_py.bench.loop import straightforward_loop
from backtest_py.bench.printing import print_bench
from backtest_py.cli import main
from backtest_py.errors import ConfigError, ParityError
from backtest_py.records import METRICS

pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_what_they_say(size):
    assert standard_case(size, n_days=2).n_combos == size


def test_the_largest_size_is_the_whole_standard_grid():
    whole = standard_case(max(SIZES), n_days=2).grid
    assert [len(values) for values in whole.values()] == [7, 7, 8, 6, 5, 5, 6, 6, 2]
    assert whole["strategy.min_range_mult"] == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


def test_the_loop_gives_the_rows_of_the_sweep():
    case = standard_case(1_000, n_days=10)
    result = case.sweep("numba")
    check_rows(case, result, "numba")
    chosen = case.chosen(5)
    assert len(set(chosen)) == 5
    looped = straightforward_loop(case.bars, case.settings(chosen), 1)
    table = result.table(list(METRICS)).to_pandas().to_numpy(np.float64)
    assert looped.tobytes() == table[chosen].tobytes()


def test_a_row_that_differs_is_found():
    case = standard_case(1_000, n_days=10)
    other = standard_case(1_000, n_days=10, slippage_ticks=2.0)
    with pytest.raises(ParityError, match=r"of combination [\d,]+ is .* in a single run"):
        check_rows(case, other.sweep("numba"), "numba")


def test_a_digest_sees_one_bit():
    case = standard_case(1_000, n_days=10)
    result = case.sweep("numba")
    digest = digest_of(result)
    assert (digest.combos, digest.trades) == (1_000, sum(
        result.table(["total_trades"])["total_trades"].to_pylist()
    ))  # fmt: skip
    assert 1 <= digest.distinct <= 1_000
    other = standard_case(1_000, n_days=10, slippage_ticks=1.0000001)
    assert digest_of(other.sweep("numba")).sha256 != digest.sha256


def test_engines_that_differ_stop_it(monkeypatch):
    digests = iter("ab")
    monkeypatch.setattr(benching, "digest_of", lambda _: Digest(1, 1, 1, next(digests, "c")))
    if sum(status.available for status in bt.engine_status()) < 2:
        pytest.fail("both engines are needed")
    with pytest.raises(ParityError, match="differ"):
        bench(1, rounds=1, n_days=10)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((7,), "size = 7"),
        ((1, {"rounds": 0}), "rounds = 0"),
        ((1, {"threads": -1}), "threads = -1"),
    ],
)
def test_wrong_arguments(arguments, match):
    size, options = (*arguments, {})[:2]
    with pytest.raises(ConfigError, match=match):
        bench(size, **options)


def test_command_prints_a_table_or_json(capsys, monkeypatch):
    monkeypatch.setattr(
        benching, "bench", lambda size, **options: bench(size, **options, n_days=10)
    )
    assert main(["bench", "--size", "1", "--rounds", "1", "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert "numba loop" in shown
    assert "equal single runs" in shown
    assert main(["bench", "--size", "1", "--rounds", "1", "--threads", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "bench"
    assert [row["contender"] for row in report["rows"]][-1] == "numba loop"
    assert main(["bench", "--size", "7"]) == 2


def test_counts_of_one_are_written_as_one(capsys):
    row = {
        "case": "a case", "contender": "rust", "combos": 2, "timed_combos": 1, "distinct": 1,
        "trades": 1, "bars": 1, "threads": 1, "peak_bytes": None, "extrapolated_seconds": 1.0,
        "combos_per_second": 1.0, "distinct_per_second": 1.0, "ns_per_trade": 1.0,
    }  # fmt: skip
    agreement = {"single_runs": 1, "rows_compared": 0, "engines": ["rust"]}
    print_bench({"rows": [row], "agreement": agreement, "ratios": {}})
    words = " ".join(capsys.readouterr().out.split())
    assert "a case: 1 bar, 1 thread, 1 trade" in words
    assert "extrapolated from 1 combination" in words
    assert "extrapolated from 1 combinations" not in words
    assert "rows that equal single runs, bit for bit: 1" in words


def test_combinations_of_a_grid_without_conditions_are_chosen():
    case = replace(standard_case(1, n_days=5), grid={"contract.quantity": [1.0, 2.0, 3.0, 4.0]})
    assert sorted(case.chosen(4)) == [0, 1, 2, 3]
