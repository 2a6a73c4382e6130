"""Which engine runs a job: the one that was asked for, or the one that can; never in silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py._jit import Kernel, kernel
from backtest_py.engines import Job, resolve
from backtest_py.engines.rust_engine import RustEngine
from backtest_py.parameters import parameter
from backtest_py.strategies import base


@kernel(allocates=False)
def long_at(bars, values, start, side, risk):
    for t in range(len(side)):
        side[t] = 1 if bars.minute[start + t] == int(values[0]) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LongAt(bt.Strategy):
    """A strategy that nobody wrote in Rust."""

    name: ClassVar[str] = "long_at"
    kernel: ClassVar[Kernel] = long_at

    at: str = parameter("10:00", "clock", "when to enter")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoKernel(bt.Strategy):
    """A strategy that nobody wrote at all."""

    name: ClassVar[str] = "no_kernel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Impostor(bt.BarraElefante):
    """Another strategy under the name of one that Rust knows."""

    kernel: ClassVar[Kernel] = long_at


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    base.register(LongAt)


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=10)


def job_of(bars, strategy):
    settings = bt.ExitRules(), bt.Contract(tick_size=5), bt.MetricSettings()
    return Job(bars, strategy, None, *settings, 0, len(bars))


@pytest.mark.parametrize("strategy", ["long_at", LongAt(), LongAt])
def test_auto_takes_numba_for_a_strategy_without_a_twin_in_rust(bars, strategy):
    result = bt.run(bars, strategy)
    assert result.metrics.total_trades > 0
    assert result.provenance.engine == "numba"
    assert result.provenance.reason == (
        "auto took numba: strategy 'long_at' (LongAt) has no twin in Rust"
    )


def test_rust_refuses_a_strategy_without_a_twin_and_names_the_remedy(bars):
    with pytest.raises(bt.UnsupportedError, match=r"'long_at'.*no twin in Rust") as caught:
        bt.run(bars, "long_at", engine="rust")
    assert 'use engine="auto" or "numba"' in str(caught.value)
    assert "engine_rust/src/strategies" in str(caught.value)


def test_the_command_fails_with_that_message(cli, write_toml, bars, tmp_path):
    bars.to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    config = write_toml('[strategy]\nname = "long_at"')
    refused = cli("run", config, "--engine", "rust")
    assert refused.status == 1
    assert "has no twin in Rust" in refused.err
    taken = cli("run", config)
    assert taken.status == 0
    assert "auto took numba" in taken.out


@pytest.mark.parametrize("strategy", [bt.BarraElefante(lookback=5), bt.OpeningRangeBreakout()])
def test_auto_takes_rust_for_what_rust_knows(bars, strategy):
    result = bt.run(bars, strategy)
    assert result.engine == "rust"
    assert result.reason == "auto takes rust where it is available and can do the job"


def test_signals_and_functions_need_no_twin(bars):
    def never(bars):
        return np.zeros(len(bars), np.int8)

    assert bt.run(bars, never, engine="rust").engine == "rust"
    assert bt.run(bars, never).engine == "rust"
    assert bt.run_signals(bars, never(bars)).engine == "rust"


def test_a_name_alone_makes_no_twin(bars):
    """Rust knows strategies by name, and would run the elephants of another class."""
    result = bt.run(bars, Impostor(min_volume_mult=0.0))
    assert result.engine == "numba"
    assert "(Impostor)" in result.reason
    with pytest.raises(bt.UnsupportedError, match="Impostor"):
        bt.run(bars, Impostor(), engine="rust")


def test_a_twin_with_other_parameters_is_none(bars, monkeypatch):
    """As after an update of the package whose extension was not built again."""
    from backtest_py.engines.rust_engine import engine as rust_engine

    known = {"barra_elefante": ["lookback"]}
    monkeypatch.setattr(rust_engine._engine_rust, "strategies", lambda: known)
    assert "no twin" in RustEngine().supports(job_of(bars, bt.BarraElefante()))
    assert bt.run(bars, bt.BarraElefante()).engine == "numba"


@pytest.mark.parametrize("engine", ["auto", "numba"])
def test_a_strategy_without_a_kernel_is_refused(bars, engine):
    with pytest.raises(bt.UnsupportedError, match="'no_kernel' has no kernel") as caught:
        bt.run(bars, NoKernel(), engine=engine)
    assert "register a function" in str(caught.value)
    with pytest.raises(bt.UnsupportedError, match="no kernel"):
        resolve("numba")[0].signals(bars, NoKernel())


def test_both_engines_know_the_strategies_of_the_package():
    known = {
        name: [spec.name for spec in base.get_strategy(name).parameters()]
        for name in bt.strategy_names()
        if type(base.get_strategy(name)).__module__.startswith("backtest_py.strategies.")
        and base.get_strategy(name).kernel is not None
    }
    assert _engine_rust.strategies() == known


def test_a_strategy_without_a_kernel_is_refused_by_rust(bars):
    with pytest.raises(bt.UnsupportedError, match="no twin"):
        bt.run(bars, NoKernel(), engine="rust")


def test_without_a_job_only_availability_counts(monkeypatch):
    assert resolve()[0].name == "rust"
    monkeypatch.setenv("BACKTEST_PY_NO_RUST", "1")
    engine, reason = resolve()
    assert engine.name == "numba"
    assert "BACKTEST_PY_NO_RUST" in reason


def test_a_blocked_extension_still_needs_a_kernel(bars, monkeypatch):
    monkeypatch.setenv("BACKTEST_PY_NO_RUST", "1")
    assert bt.run(bars, LongAt()).engine == "numba"
    with pytest.raises(bt.UnsupportedError, match="no kernel"):
        bt.run(bars, NoKernel())


def test_a_wrong_instruction_level_names_its_variable(monkeypatch):
    monkeypatch.setenv("BACKTEST_PY_SIMD", "sse9")
    with pytest.raises(bt.ConfigError, match=r"BACKTEST_PY_SIMD = 'sse9'.*baseline"):
        RustEngine()
    monkeypatch.setenv("BACKTEST_PY_SIMD", "baseline")
    assert RustEngine().level == "baseline"


def test_kernels_may_be_functions_of_numba_itself(bars):
    """What Python takes for a method must not be called with the strategy as bars."""
    from numba import njit

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Compiled(LongAt):
        name: ClassVar[str] = "compiled"
        kernel: ClassVar[object] = njit(long_at.py_func)

    expected, found = bt.run(bars, LongAt()), bt.run(bars, Compiled())
    assert found.columns["entry_bar"].tolist() == expected.columns["entry_bar"].tolist()


def test_a_strategy_needs_a_name():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Nameless(bt.Strategy):
        kernel: ClassVar[Kernel] = long_at

    for build in (Nameless, lambda: base.register(Nameless)):
        with pytest.raises(bt.ConfigError, match="Nameless has no name"):
            build()


def test_a_strategy_needs_its_decorator():
    class Bare(bt.Strategy):
        name = "bare"

    with pytest.raises(bt.ConfigError, match=r"Bare is no dataclass; .*@dataclass"):
        base.register(Bare)


def test_a_kernel_of_its_own_takes_no_thresholds_over(bars):
    assert Impostor.thresholds == ()
    assert Impostor.score_kernel is None
    axes = {"strategy.min_range_mult": [600.0, 610.0, 1e9], "rules.stop": [1.0, 2.0]}
    result = bt.sweep(bars, Impostor(), axes, engine="numba")
    for combo_id in range(6):
        once = result.replay(combo_id)
        assert once.metrics.total_trades == result.table()["total_trades"][combo_id].as_py()
    assert result.table()["total_trades"].to_pylist()[0] > 0
