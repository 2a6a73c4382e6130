"""A search that is interrupted goes on as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import backtest_py as bt
from backtest_py.analysis.search import evaluation
from backtest_py.analysis.search import run as search_run

AXES = {
    "strategy.lookback": {"min": 3, "max": 40},
    "rules.stop": {"start": 0.5, "stop": 3.0, "step": 0.01},
    "rules.target": {"start": 0.5, "stop": 3.0, "step": 0.01},
    "rules.intrabar": ["stop_first", "target_first"],
}
RULES = bt.ExitRules(close_time="17:00")
HOW = {"rules": RULES, "min_trades": 1, "n_trials": 110, "batch": 20, "seed": 4}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=10)


def search(bars, **asked):
    return bt.search(bars, "barra_elefante", AXES, **{**HOW, **asked})


def files(directory):
    return {name: (directory / name).read_bytes() for name in ("trials.parquet", "manifest.json")}


@pytest.fixture(scope="module")
def whole(bars, tmp_path_factory):
    """Return the directory of a search that nobody interrupted."""
    out = tmp_path_factory.mktemp("whole") / "search"
    search(bars, out=out)
    return out


def interrupted(bars, out, after, **asked):
    """Search until so many batches are done."""

    def stop(progress):
        if progress.shards == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(bars, out=out, progress=stop, **asked)


def counting(monkeypatch):
    """Return the numbers of combinations that are computed from now on, call by call."""
    counts = []

    def evaluated(spec, engine, combo_ids, own=(), **how):
        counts.append(len(combo_ids))
        return evaluation.evaluated(spec, engine, combo_ids, own, **how)

    monkeypatch.setattr(search_run, "evaluated", evaluated)
    return counts


@pytest.mark.parametrize("after", [1, 3, 5])
def test_it_goes_on_where_it_was(bars, whole, tmp_path, monkeypatch, after):
    out = tmp_path / "search"
    interrupted(bars, out, after)
    assert json.loads((out / "manifest.json").read_text())["status"] == "interrupted"
    computed = counting(monkeypatch)
    found = search(bars, out=out, resume=True)
    assert sum(computed) == 110 - 20 * after
    assert found.n_trials == 110
    assert files(out) == files(whole)


def test_a_search_of_several_objectives_goes_on(bars, tmp_path):
    how = {"objective": ["sharpe", "max_drawdown"]}
    search(bars, out=tmp_path / "whole", **how)
    interrupted(bars, tmp_path / "search", 3, **how)
    search(bars, out=tmp_path / "search", resume=True, **how)
    assert files(tmp_path / "search") == files(tmp_path / "whole")


def test_own_metrics_of_trades_are_kept(bars, tmp_path):
    calls = []

    def longest(result):
        calls.append(1)
        return -float(result.trades["bars_held"].max())

    how = {"objective": bt.TradeMetric(longest), "n_trials": 60}
    search(bars, out=tmp_path / "whole", **how)
    interrupted(bars, tmp_path / "search", 2, **how)
    calls.clear()
    search(bars, out=tmp_path / "search", resume=True, **how)
    assert len(calls) == 20
    assert files(tmp_path / "search") == files(tmp_path / "whole")


def test_kill_9_in_the_middle(bars, whole, tmp_path):
    """A real process, killed while it writes batches; then it is resumed to the same bytes."""
    out = tmp_path / "search"
    script = textwrap.dedent(f"""
        import time
        import backtest_py as bt
        bt.search(bt.synthetic_bars(n_days=10), "barra_elefante", {AXES!r},
                  rules=bt.ExitRules(close_time="17:00"), min_trades=1, n_trials=110, batch=20,
                  seed=4, out={str(out)!r}, progress=lambda now: time.sleep(0.3))
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    batches, end = out / "batches", time.monotonic() + 60
    while not batches.is_dir() or len(list(batches.glob("shard-*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert json.loads((out / "manifest.json").read_text())["status"] == "running"
    assert not (out / "trials.parquet").exists()
    search(bars, out=out, resume=True)
    assert files(out) == files(whole)


def test_control_c_while_it_computes(bars, whole, tmp_path, monkeypatch):
    out = tmp_path / "search"

    batch_of = itertools.count()

    def evaluated(*given, **how):
        if next(batch_of) == 3:
            signal.raise_signal(signal.SIGINT)
        return evaluation.evaluated(*given, **how)

    with monkeypatch.context() as patch:
        patch.setattr(search_run, "evaluated", evaluated)
        with pytest.raises(KeyboardInterrupt):
            search(bars, out=out)
    search(bars, out=out, resume=True)
    assert files(out) == files(whole)


@pytest.mark.parametrize("harm", ["torn", "flipped", "gone", "no journal", "cut manifest", "stray"])
def test_what_is_spoilt_is_computed_again(bars, whole, tmp_path, monkeypatch, harm):
    out = tmp_path / "search"
    shutil.copytree(whole, out)
    file = out / "batches" / "shard-000002.parquet"
    content = file.read_bytes()
    anew = 20
    if harm == "torn":
        file.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        file.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif harm == "gone":
        file.unlink()
    elif harm == "no journal":
        (out / "journal.jsonl").unlink()
        anew = 110
    elif harm == "cut manifest":
        (out / "manifest.json").write_text("{", encoding="utf-8")
        anew = 0
    else:
        (out / "batches" / f".shard-000009.parquet.{'0' * 32}.tmp").write_bytes(b"x")
        anew = 0
    computed = counting(monkeypatch)
    search(bars, out=out, resume=True)
    assert sum(computed) == anew
    assert files(out) == files(whole)
    assert len(list((out / "batches").iterdir())) == 6


def test_more_trials_can_be_asked_for_later(bars, whole, tmp_path, monkeypatch):
    out = tmp_path / "search"
    shutil.copytree(whole, out)
    computed = counting(monkeypatch)
    found = search(bars, out=out, resume=True, n_trials=150)
    assert found.n_trials == 150
    assert sum(computed) == 40
    search(bars, out=tmp_path / "long", n_trials=150)
    assert files(out) == files(tmp_path / "long")
    with pytest.raises(bt.ConfigError, match="fewer than the 150"):
        search(bars, out=out, resume=True, n_trials=110)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 5}, "search.seed was 4, now 5"),
        ({"sampler": "random"}, "search.sampler"),
        ({"objective": "profit_factor"}, "search.objective"),
        ({"objective": {"sharpe": "min"}}, "search.objective"),
        ({"min_trades": 2}, "search.min_trades"),
        ({"batch": 10}, "search.batch"),
        ({"rules": bt.ExitRules(close_time="16:00")}, "close_time"),
        ({"where": "rules.target > rules.stop"}, "where"),
        ({"range": ("2019-01-08", None)}, "range"),
        ({"engine": "numba"}, "engine"),
    ],
)
def test_another_question_is_refused(bars, whole, other, said):
    before = files(whole)
    with pytest.raises(bt.ConfigError, match="another search") as refused:
        search(bars, out=whole, resume=True, **{"engine": "rust", **other})
    assert said in str(refused.value)
    assert files(whole) == before


def test_other_bars_are_refused(whole):
    with pytest.raises(bt.ConfigError, match="bars_hash"):
        search(bt.synthetic_bars(n_days=11), out=whole, resume=True)


def test_another_function_is_refused(bars, tmp_path):
    how = {"n_trials": 20, "out": tmp_path / "search"}
    search(bars, objective=bt.ColumnMetric(lambda c: c["sharpe"], name="mine"), **how)
    changed = bt.ColumnMetric(lambda c: c["sharpe"] * 2, name="mine")
    with pytest.raises(bt.ConfigError, match="another search"):
        search(bars, objective=changed, resume=True, **how)


def test_results_are_not_overwritten(bars, whole, tmp_path):
    with pytest.raises(bt.ConfigError, match="--resume"):
        search(bars, out=whole)
    swept = tmp_path / "sweep"
    bt.sweep(bars, grid={"rules.stop": [1.0, 2.0, 3.0]}, out=swept)
    for resume in (False, True):
        with pytest.raises(bt.ConfigError, match="something else"):
            search(bars, out=swept, resume=resume)
    with pytest.raises(bt.ConfigError, match="a file stands there"):
        search(bars, out=whole / "trials.parquet")
    with pytest.raises(bt.ConfigError, match="name it in out"):
        search(bars, resume=True)


def test_a_sweep_does_not_take_a_search_for_its_own(bars, whole):
    with pytest.raises(bt.ConfigError):
        bt.open_sweep(whole)
    with pytest.raises(bt.ConfigError):
        bt.sweep(bars, grid={"rules.stop": [1.0, 2.0, 3.0]}, out=whole)


def test_two_processes_do_not_share_a_directory(bars, whole, tmp_path):
    from backtest_py.sweep.store.lock import DirectoryLock

    out = tmp_path / "search"
    shutil.copytree(whole, out)
    lock = DirectoryLock(out)
    try:
        with pytest.raises(bt.ConfigError, match="is in use"):
            search(bars, out=out, resume=True)
    finally:
        lock.release()


def test_nothing_on_disk_is_a_pickle(whole):
    kinds = {file.suffix for file in whole.rglob("*") if file.is_file()}
    assert kinds == {".parquet", ".json", ".jsonl", ""}  # the lock has no suffix
