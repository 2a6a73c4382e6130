"""The bars reach the Rust engine where they lie: no copy on the way in, none on the way out."""

from __future__ import annotations

import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from benches import peak_memory
from benches.peak_memory import COLUMNS

import backtest_py as bt
from backtest_py import _engine_rust
from backtest_py.engines import resolve
from backtest_py.errors import EngineError

RULES = bt.ExitRules(stop=2.0, target=3.0, close_time="17:00")


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=400)


def addresses(bars):
    return [getattr(bars, name).ctypes.data for name in COLUMNS]


def test_the_engine_reads_the_arrays_themselves(bars):
    assert _engine_rust.column_addresses(bars) == addresses(bars)


def test_a_slice_is_read_inside_the_columns_it_was_cut_from(bars):
    cut = bars[1_000:30_000]
    found = _engine_rust.column_addresses(cut)
    assert found == addresses(cut)
    for address, name in zip(found, COLUMNS, strict=True):
        if name != "day":  # renumbered from 0
            whole = getattr(bars, name)
            assert address == whole.ctypes.data + 1_000 * whole.itemsize


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_could_only_be_copied_is_refused(bars, name):
    columns = {column: getattr(bars, column) for column in COLUMNS}
    columns[name] = np.repeat(columns[name], 2)[::2]
    with pytest.raises(EngineError, match=name):
        _engine_rust.signals(SimpleNamespace(**columns), ("barra_elefante", VALUES))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_another_type_is_refused(bars, name):
    columns = {column: getattr(bars, column) for column in COLUMNS}
    columns[name] = columns[name].astype(np.float32)
    with pytest.raises((EngineError, TypeError), match=name):
        _engine_rust.signals(SimpleNamespace(**columns), ("barra_elefante", VALUES))


VALUES = list(bt.BarraElefante().values())


def test_python_allocates_nothing_like_the_bars_during_a_run(bars):
    # NumPy reports its buffers to tracemalloc: a conversion of one column would show.
    bt.run(bars, "barra_elefante", RULES, engine="rust")
    tracemalloc.start()
    try:
        bt.run(bars, "barra_elefante", RULES, engine="rust")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < bars.close.nbytes / 4


def test_trades_are_handed_over_and_not_copied(bars):
    result = bt.run(bars, "barra_elefante", RULES, engine="rust")
    assert len(result) > 100
    for column in result.columns.values():
        assert not column.flags.owndata  # the memory is the engine's vector, held by its base
        assert column.flags.c_contiguous


@pytest.mark.parametrize("engine", ["numba", "rust"])
def test_signals_of_a_user_are_copied_and_cannot_change_under_a_result(bars, engine):
    side = resolve("rust")[0].signals(bars, bt.BarraElefante()).side.copy()
    risk = np.ones(len(bars))
    untouched = bt.run_signals(bars, side.copy(), RULES, risk=risk.copy(), engine=engine)
    result = bt.run_signals(bars, side, RULES, risk=risk, engine=engine)
    side[:], risk[:] = 1, 7.0
    assert result.provenance.config_hash == untouched.provenance.config_hash
    assert result.manifest()["configuration"] == untouched.manifest()["configuration"]
    for column in (result.job.signals.side, result.job.signals.risk):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            column.flags.writeable = True


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux alone")
def test_a_run_does_not_raise_the_peak_of_the_process_by_the_bars():
    found = peak_memory.measure()
    assert found["copy"] > 0.9 * found["columns"]  # the measurement sees a copy
    assert found["run"] < 0.1 * found["columns"]
