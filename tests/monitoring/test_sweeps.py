"""Sweeps on the page: progress, verdicts and outcomes, on both executors and by the commands."""

from __future__ import annotations

import socket
import threading
import time

import pyarrow.parquet as pq
import pytest
from tests.monitoring.pages import refused, samples_of, text_of
from tests.services import free_port

import backtest_py as bt
from backtest_py.data.settings import open_feed
from backtest_py.engines.numba_engine.engine import NumbaEngine
from backtest_py.errors import ConfigError, ParityError
from backtest_py.monitoring.instruments import recording
from backtest_py.sweep import run as sweep_module
from backtest_py.sweep.compute import shards

GRID = {"rules.stop": {"start": 0.5, "stop": 20.0, "step": 0.5}, "strategy.lookback": [5, 10, 20]}
COMBOS = 120


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=20)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "MAX_ROWS", 30)
    monkeypatch.setattr(shards, "MAX_EXITS", 10)


@pytest.mark.parametrize("processes", [0, 2])
def test_progress_of_a_sweep(page, bars, small_shards, tmp_path, processes):
    seen = []

    def look(now):
        if now.shards != (seen[-1][0] if seen else -1):
            seen.append((now.shards, samples_of(page.text())))

    how = {"engine": "rust", "out": tmp_path / "x", "processes": processes, "progress": look}
    result = bt.sweep(bars, grid=GRID, **how)
    assert len(result) == COMBOS
    n_shards = result.manifest["n_shards"]
    assert n_shards == 4
    assert [shard for shard, _ in seen][-1] == n_shards
    for shard, sample in seen:
        number = {name: value for (name, labels), value in sample.items() if not labels}
        assert number["backtest_py_sweep_running"] == 1
        assert number["backtest_py_sweep_shards_done"] == shard
        kept = number["backtest_py_sweep_shards_total"]
        assert shard <= kept <= n_shards
        assert number["backtest_py_sweep_combinations_total"] >= 30 * shard
        assert number["backtest_py_sweep_combinations_done"] >= 30 * shard
        assert number["backtest_py_sweep_combinations_planned"] == COMBOS
        assert number["backtest_py_sweep_shards_planned"] == n_shards
        if shard:
            assert number["backtest_py_sweep_combinations_per_second"] > 0
            assert number["backtest_py_sweep_eta_seconds"] >= 0
    assert page.value("sweep_eta_seconds") == 0
    assert page.value("sweep_running") == 0
    assert page.risen("sweep") == {
        "s_total,complete": 1,
        "_combinations_total": COMBOS,
        "_shards_total": n_shards,
        "_gates_total,not_needed": 1,
    }


def test_an_interrupted_sweep_counts_only_what_it_did(page, bars, small_shards, tmp_path):
    def stop(now):
        if now.shards == 2:
            raise KeyboardInterrupt

    how = {"grid": GRID, "engine": "rust", "out": tmp_path / "x"}
    with pytest.raises(KeyboardInterrupt):
        bt.sweep(bars, **how, progress=stop)
    assert page.risen("sweeps") == {"_total,interrupted": 1}
    done = sum(len(pq.read_table(file)) for file in (tmp_path / "x" / "results").iterdir())
    assert page.value("sweep_combinations_total") == done >= 60
    bt.sweep(bars, **how, resume=True)
    assert page.value("sweep_combinations_total") == COMBOS
    assert page.value("sweep_shards_total") == 4
    assert page.value("sweep_combinations_done") == COMBOS
    assert page.risen("sweeps") == {"_total,interrupted": 1, "_total,complete": 1}


def test_two_combinations_in_memory_are_counted_too(page, bars):
    bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]}, engine="rust")
    assert page.value("sweep_combinations_total") == 2
    assert page.value("sweep_shards_total") == 1


def test_verdicts_of_the_gate(page, bars, monkeypatch):
    def verdicts():
        shown = {
            dict(own)["verdict"]
            for (name, own), value in samples_of(page.text()).items()
            if name == "backtest_py_sweep_gate_verdict" and value == 1
        }
        return shown, page.risen("sweep_gates")

    bt.sweep(bars, grid=GRID, engine="rust", gate=10)
    assert verdicts() == ({"agreed"}, {"_total,agreed": 1})
    bt.sweep(bars, grid=GRID, engine="rust", gate=None)
    assert verdicts()[0] == {"skipped"}

    def disagree(*_, **__):
        raise ParityError("sharpe of combination 7 differs")

    monkeypatch.setattr(sweep_module, "pass_gate", disagree)
    with pytest.raises(ParityError):
        bt.sweep(bars, grid=GRID, engine="rust", gate=10)
    assert verdicts() == (
        {"disagreed"},
        {"_total,agreed": 1, "_total,skipped": 1, "_total,disagreed": 1},
    )
    with pytest.raises(ConfigError):
        bt.sweep(bars, grid={"rules.nothing": [1]})
    assert page.risen("sweeps") == {
        "_total,complete": 2,
        "_total,disagreed": 1,
        "_total,refused": 1,
    }
    assert page.value("sweep_running") == 0


class Watcher:
    """Reads a page as soon and as often as it is there."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.texts = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self):
        while not self._stop.wait(0.005):
            try:
                self.texts.append(text_of(self.url))
            except OSError:
                continue

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)
        assert refused(self.url)

    def most(self, name):
        found = [samples_of(text).get((f"backtest_py_{name}", frozenset())) for text in self.texts]
        return max(filter(None, found), default=None)


def test_the_command_sweep_serves_while_it_runs(zeros, cli, bars, write, write_toml, tmp_path):
    bars.to_frame().to_csv(tmp_path / "bars.csv")
    toml = write_toml(
        '[sweep.grid]\n"rules.stop" = { start = 0.5, stop = 60.0, step = 0.01 }\n'
        '"strategy.lookback" = [5, 10, 15, 20, 25, 30]\n[run]\nengine = "rust"\n'
    )
    port = free_port()
    with Watcher(port) as watcher:
        outcome = cli("sweep", toml, "--out", tmp_path / "x", "--metrics-port", port)
    assert outcome.status == 0, outcome.err
    assert watcher.most("sweep_running") == 1
    assert watcher.most("sweep_combinations_planned") == 5_951 * 6


def test_the_command_run_serves_by_the_environment(
    zeros, cli, bars, write_toml, tmp_path, monkeypatch
):
    bars.to_frame().to_csv(tmp_path / "bars.csv")
    port = free_port()
    monkeypatch.setenv("BACKTEST_PY_METRICS_PORT", str(port))
    run = NumbaEngine.run

    def run_once_it_was_read(engine, job):
        deadline = time.monotonic() + 20
        while not watcher.texts and time.monotonic() < deadline:
            time.sleep(0.005)
        return run(engine, job)

    monkeypatch.setattr(NumbaEngine, "run", run_once_it_was_read)
    with Watcher(port) as watcher:
        outcome = cli("run", write_toml('[run]\nengine = "numba"\n'))
        assert outcome.status == 0, outcome.err
    assert any("backtest_py_build_info" in text for text in watcher.texts)
    monkeypatch.setenv("BACKTEST_PY_METRICS_PORT", "99999")
    outcome = cli("run", write_toml(""))
    assert outcome.status == 2
    assert "65535" in outcome.err


def test_the_command_fetch_serves_while_it_runs(zeros, cli, exchange, tmp_path, monkeypatch):
    for name in ("EXCHANGE", "BULK"):
        monkeypatch.setenv(f"BACKTEST_PY_{name}_URL", exchange.url)
    monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path))
    port = free_port()
    pages = []

    def look(path, query, reply):
        pages.append(text_of(f"http://127.0.0.1:{port}/metrics/"))
        return reply

    exchange.faults.append(look)
    span = ("--start", "2025-01-01", "--end", "2025-02-01")
    fetch = ("data", "fetch", "BTCUSDT", "--interval", "1h", *span)
    outcome = cli(*fetch, "--metrics-port", port)
    assert outcome.status == 0, outcome.err
    last = samples_of(pages[-1])
    asked = {("exchange", "binance"), ("endpoint", "time"), ("result", "ok")}
    assert last["backtest_py_exchange_requests_total", frozenset(asked)] == 1
    assert refused(f"http://127.0.0.1:{port}/metrics")
    with open_feed() as feed:
        assert len(feed.bars("BTCUSDT", "1h", "2025-01-01", "2025-02-01")) == 31 * 24 - 3


def test_a_command_whose_port_is_in_use_says_so(zeros, cli):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = cli("run", "nothing.toml", "--metrics-port", port)
    assert outcome.status == 2
    assert f"port {port}" in outcome.err
    assert not recording()
