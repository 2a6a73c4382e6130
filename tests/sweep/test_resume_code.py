"""A sweep is not resumed with another version of a user's strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import backtest_py as bt
from backtest_py._jit import kernel
from backtest_py.parameters import parameter
from backtest_py.strategies.base import Strategy
from backtest_py.sweep.compute import shards, sources
from backtest_py.sweep.store.journal import Journal

RULES = bt.ExitRules(close_time="17:00")
AXES = {
    "strategy.span": [1, 2, 3, 4],
    "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.5},
    "strategy.gap": [0.0, 0.001],
}
TWISTED = {"span": 0}
"""The span for which the helper of ``mine`` gives other signals than before; 0 for none."""


def helper(bars, span, gap):
    side = (bars.close < np.roll(bars.close, span) * (1.0 - gap)).astype(np.int8)
    side[:span] = 0
    return -side if span == TWISTED["span"] else side


def mine(bars, *, span: int = 9, gap: float = 0.0):
    return helper(bars, span, gap), bars.high - bars.low


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=10)


@pytest.fixture(autouse=True)
def changed(monkeypatch):
    """Cut grids into small shards, and return a function that changes the helper."""
    monkeypatch.setattr(shards, "MAX_ROWS", 12)
    monkeypatch.setattr(shards, "MAX_EXITS", 3)
    monkeypatch.setattr(shards, "MAX_SAMPLES", 12)
    monkeypatch.setitem(TWISTED, "span", 0)
    return lambda span: monkeypatch.setitem(TWISTED, "span", span)


def interrupted(bars, strategy, axes, out, after=3, **options):
    """Sweep until so many shards are done."""

    def stop(progress):
        if progress.shards >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bt.sweep(bars, strategy, axes, out=out, rules=RULES, gate=None, progress=stop, **options)


def resumed(bars, strategy, axes, out, **options):
    return bt.sweep(bars, strategy, axes, out=out, rules=RULES, gate=None, resume=True, **options)


def content_of(out):
    return {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}


def spans_done(out):
    return set(bt.open_sweep(out).table(["strategy.span"])["strategy.span"].to_pylist())


@pytest.mark.parametrize("options", [{}, {"sample": bt.Sample(n=40)}, {"processes": 2}])
def test_a_helper_that_changed_for_a_set_that_is_done(bars, engine, tmp_path, changed, options):
    interrupted(bars, mine, AXES, tmp_path, engine=engine, **options)
    before = content_of(tmp_path)
    for span in spans_done(tmp_path):
        changed(span)
        words = rf"'mine' gives other signals for strategy.span = {span}, strategy.gap = 0\.0"
        with pytest.raises(bt.ConfigError, match=f"cannot be resumed.*{words}"):
            resumed(bars, mine, AXES, tmp_path, engine=engine, **options)
        assert {file: file.read_bytes() for file in before if file.name != ".lock"} == {
            file: content for file, content in before.items() if file.name != ".lock"
        }
    changed(0)
    result = resumed(bars, mine, AXES, tmp_path, engine=engine, **options)
    whole = bt.sweep(bars, mine, AXES, rules=RULES, gate=None, engine=engine, **options)
    assert result.table().equals(whole.table())


def test_a_set_that_nobody_needs_again_counts_too(bars, tmp_path, changed, monkeypatch):
    """The rows of one version would stand beside those of another in one directory."""
    monkeypatch.setattr(sources, "MAX_COMMON", 0)  # so that signals, not exits, come in turn
    monkeypatch.setattr(shards, "MAX_ROWS", 3)
    interrupted(bars, mine, AXES, tmp_path, after=5)
    done = spans_done(tmp_path)
    assert 1 in done
    assert 4 not in done
    changed(1)
    with pytest.raises(bt.ConfigError, match=r"strategy\.span = 1,"):
        resumed(bars, mine, AXES, tmp_path)


def test_a_set_that_is_not_done_may_change(bars, tmp_path, changed, monkeypatch):
    monkeypatch.setattr(sources, "MAX_COMMON", 0)
    monkeypatch.setattr(shards, "MAX_ROWS", 3)
    interrupted(bars, mine, AXES, tmp_path, after=5)
    changed(4)
    result = resumed(bars, mine, AXES, tmp_path)
    whole = bt.sweep(bars, mine, AXES, rules=RULES, gate=None)
    assert result.table().equals(whole.table())


def test_a_risk_that_changed_counts_where_rules_measure_in_it(bars, tmp_path):
    factor = {"value": 1.0}

    def risky(bars, *, span: int = 3):
        side = helper(bars, span, 0.0)
        return side, (bars.high - bars.low) * (factor["value"] if span == 2 else 1.0)

    axes = {key: AXES[key] for key in ("strategy.span", "rules.stop")}
    interrupted(bars, risky, axes, tmp_path / "not measured", after=1)
    measured = {**axes, "rules.unit": ["strategy"]}
    interrupted(bars, risky, measured, tmp_path / "measured", after=1)
    factor["value"] = 2.0
    result = resumed(bars, risky, axes, tmp_path / "not measured")
    assert result.manifest["status"] == "complete"
    with pytest.raises(bt.ConfigError, match=r"strategy\.span = 2 than"):
        resumed(bars, risky, measured, tmp_path / "measured")


@pytest.mark.parametrize("axes", [{"strategy.span": [1, 2]}, {"strategy.span": [1, 2, 3]}])
def test_a_complete_sweep_of_another_version_is_refused_too(bars, tmp_path, changed, axes):
    bt.sweep(bars, mine, axes, out=tmp_path, rules=RULES)
    assert resumed(bars, mine, axes, tmp_path).manifest["status"] == "complete"
    changed(2)
    with pytest.raises(bt.ConfigError, match=r"strategy\.span = 2,? .*when shard 0"):
        resumed(bars, mine, axes, tmp_path)


def test_the_journal_holds_eight_bytes_for_a_set(bars, tmp_path):
    bt.sweep(bars, mine, AXES, out=tmp_path / "function", rules=RULES)
    entries, _ = Journal.read(tmp_path / "function" / "journal.jsonl")
    assert {len(entry.signals) for entry in entries.values()} <= {12, 24, 32, 44}
    bt.sweep(bars, grid={"rules.stop": [1.0, 2.0, 3.0]}, out=tmp_path / "named", rules=RULES)
    assert b"signals" not in (tmp_path / "named" / "journal.jsonl").read_bytes()


# strategies with a kernel


def make_kernel_strategy(shift, sign):
    """Return a strategy class; its kernel reads a constant and calls another kernel."""

    @kernel
    def direction(close, before):
        return sign if close < before else -sign

    @kernel
    def signal(bars, values, start, side, risk):
        span = int(values[0])
        for t in range(len(side)):
            bar = start + t
            side[t] = 0
            if bar >= span + shift:
                side[t] = direction(bars.close[bar], bars.close[bar - span - shift])

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Own(Strategy):
        name: ClassVar[str] = "own"
        kernel: ClassVar = signal
        span: int = parameter(3, "int", "bars back", minimum=1)

    return Own


def test_a_kernel_whose_constant_or_callee_changed(bars, tmp_path):
    axes = {"strategy.span": [1, 2, 3, 4], "rules.stop": AXES["rules.stop"]}
    interrupted(bars, make_kernel_strategy(0, 1), axes, tmp_path, after=1)
    before = content_of(tmp_path)
    for shift, sign in ((1, 1), (0, -1)):
        with pytest.raises(bt.ConfigError, match="the strategy's own code changed: code was"):
            resumed(bars, make_kernel_strategy(shift, sign), axes, tmp_path)
    assert {file.name for file in before} == {file.name for file in content_of(tmp_path)}
    result = resumed(bars, make_kernel_strategy(0, 1), axes, tmp_path)
    assert result.manifest["status"] == "complete"


def make_strategy_on_njit(sign):
    """Return a strategy class whose kernel calls a function that numba compiled by itself."""
    import numba

    @numba.njit
    def inner(close):
        return sign if close > 0 else -sign

    @numba.njit
    def outer(close):
        return inner(close)

    @kernel
    def signal(bars, values, start, side, risk):
        for t in range(len(side)):
            side[t] = outer(bars.close[start + t])

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Own(Strategy):
        name: ClassVar[str] = "own"
        kernel: ClassVar = signal
        span: int = parameter(3, "int", "bars back", minimum=1)

    return Own


def test_functions_of_numba_that_a_kernel_calls_count():
    codes = [make_strategy_on_njit(sign).code_fingerprint() for sign in (1, 1, -1)]
    assert codes[0] == codes[1] != codes[2]


def test_strategies_of_the_package_have_no_code_of_their_own():
    for strategy in (bt.BarraElefante, bt.MovingAverageCross, bt.OpeningRangeBreakout):
        assert strategy.code_fingerprint() == ""
    assert (
        make_kernel_strategy(0, 1).code_fingerprint()
        == make_kernel_strategy(0, 1).code_fingerprint()
    )
    codes = {make_kernel_strategy(*each).code_fingerprint() for each in ((0, 1), (1, 1), (0, -1))}
    assert len(codes) == 3
