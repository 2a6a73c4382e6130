"""The page: where it is served, how it ends, and what it costs while nobody asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.monitoring.pages import Page, promtool, refused, samples_of, text_of
from tests.services import free_port

from backtest_py.data.market.candles import ROW_BYTES
from backtest_py.data.settings import FeedSettings, open_feed
from backtest_py.errors import BacktestError, ConfigError
from backtest_py.monitoring import serve_metrics
from backtest_py.monitoring.catalogue import HITS, METRICS, PROCESS, READ_SECONDS, WEIGHT_LIMIT
from backtest_py.monitoring.instruments import Histogram, recording


def test_the_page_shows_all_that_is_declared(page):
    text = page.text()
    promtool("check", "metrics", given=text)
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.about}\n" in text
        assert f"# TYPE {metric.name} {metric.kind}\n" in text
    if sys.platform == "linux":
        samples = samples_of(text)
        for name in PROCESS:
            assert (name, frozenset()) in samples
        assert samples["process_resident_memory_bytes", frozenset()] > 10_000_000
    (build,) = (own for name, own in samples_of(text) if name == "backtest_py_build_info")
    assert dict(build)["python"] == sys.version.split()[0]


def test_both_paths_and_no_other(page):
    root = page.url.removesuffix("/metrics")
    assert "backtest_py_build_info" in text_of(f"{root}/metrics/")
    for path in ("", "/", "/metric", "/metrics/x", "/../metrics"):
        with pytest.raises(HTTPError, match="404") as error:
            urlopen(f"{root}{path}", timeout=5)
        error.value.close()
    accepted = Request(page.url, headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    with urlopen(accepted, timeout=5) as answer:
        assert answer.read().endswith(b"# EOF\n")


def test_it_listens_on_loopback_and_ends_cleanly(zeros):
    port = free_port()
    with serve_metrics(port) as server:
        assert (server.host, server.port) == ("127.0.0.1", port)
        assert server.url == f"http://127.0.0.1:{port}/metrics" in repr(server)
        assert recording()
        text_of(server.url)
    assert not recording()
    assert refused(server.url)
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]
    server.close()
    with serve_metrics(port) as again:  # the port is free at once
        text_of(again.url)


def test_no_host_is_this_machine_alone(zeros):
    with serve_metrics(0, "") as server:
        assert server.host == "127.0.0.1"


def test_a_port_in_use_is_refused(zeros):
    script = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        port = int(other.stdout.readline())
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port}: .*another port"):
            serve_metrics(port)
        other.stdin.close()
    assert not recording()


@pytest.mark.parametrize("port", [-1, 65_536, True, "9464", 1.5])
def test_a_port_that_is_none(port):
    with pytest.raises(ConfigError, match="metrics port"):
        serve_metrics(port)


def test_an_address_of_another_machine():
    with pytest.raises(ConfigError, match=r"203\.0\.113\.1"):
        serve_metrics(0, "203.0.113.1")


def test_who_shares_a_port_does_not_end_it_for_others(zeros):
    first = serve_metrics()
    with serve_metrics(first.port) as second:
        assert second.port == first.port
        first.close()
        first.close()
        HITS.add("memory")
        assert Page(second).value("cache_hits_total", tier="memory") == 1
    assert refused(first.url)


def test_without_prometheus_client_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r'pip install "backtest-py\[monitoring\]"'):
        serve_metrics()


def test_a_feed_serves_by_its_settings(zeros, tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.setenv("BACKTEST_PY_METRICS_PORT", str(port))
    monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path))
    with open_feed() as feed:
        url = f"http://127.0.0.1:{port}/metrics"
        feed.memory.put("key", "value", 10)
        text = text_of(url)
        assert samples_of(text)["backtest_py_cache_memory_bytes", frozenset()] >= 10
        with open_feed():  # shares it
            text_of(url)
        text_of(url)
    assert refused(url)
    monkeypatch.setenv("BACKTEST_PY_METRICS_PORT", "http")
    with pytest.raises(ConfigError, match="whole number from 0 to 65"):
        open_feed()
    monkeypatch.setenv("BACKTEST_PY_METRICS_PORT", "0")
    assert FeedSettings.of().metrics_port == 0


def test_nothing_is_counted_while_nobody_serves(zeros):
    HITS.add("memory", amount=5)
    READ_SECONDS.observe(1.0, "memory")
    WEIGHT_LIMIT.set(5, "binance")
    with serve_metrics() as server:
        page = Page(server)
        assert page.risen("cache") == {}
        assert page.value("cache_read_seconds_count") == 0
        assert "binance" not in page.text()


def test_recording_imports_nothing(tmp_path):
    script = """
import sys, backtest_py as bt
assert "backtest_py.monitoring" not in sys.modules
from backtest_py.data.settings import FeedSettings
bt.open_feed(settings=FeedSettings(data_dir=sys.argv[1])).close()
bt.sweep(bt.synthetic_bars(n_days=5), grid={"rules.stop": [1.0, 2.0, 3.0]}, engine="rust")
for name in ("prometheus_client", "http.server"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)


def test_labels_that_were_not_declared_are_refused(page):
    for labels in (("memry",), (), ("memory", "x")):
        with pytest.raises(BacktestError, match="backtest_py_cache_hits_total has no labels"):
            HITS.add(*labels)
    with pytest.raises(BacktestError, match="has no labels"):
        READ_SECONDS.observe(1.0, "memry")
    assert page.risen("cache") == {}


def test_a_histogram_counts_at_its_bounds():
    histogram = Histogram("test_seconds", "A test.", buckets=(1.0, 2.0))
    with serve_metrics():
        for value in (0.5, 1.0, 1.5, 2.0, 9.0):
            histogram.observe(value)
    (sums,) = histogram.values().values()
    assert (sums.counts, sums.total) == ([2, 2, 1], 14.0)


def test_threads_lose_no_count(page):
    def work(_):
        for _ in range(2_000):
            HITS.add("memory")
            READ_SECONDS.observe(0.001, "memory")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert page.value("cache_hits_total", tier="memory") == 16_000
    assert page.value("cache_read_seconds_count", tier="memory") == 16_000
    assert page.value("cache_read_seconds_bucket", tier="memory", le="+Inf") == 16_000
    assert page.value("cache_read_seconds_bucket", tier="memory", le="0.00025") == 0


def test_a_candle_has_the_bytes_that_are_counted():
    assert ROW_BYTES == 80


FORKS = """
import os, sys, threading, time, warnings
from urllib.request import urlopen
from backtest_py.monitoring import serve_metrics
from backtest_py.monitoring.catalogue import HITS
from backtest_py.monitoring.instruments import recording
from backtest_py.data.cache.memory import Memory

warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
memory = Memory(100)
memory.put("key", 1, 10)
server = serve_metrics()
HITS.add("database", amount=7)

def busy():
    while True:
        memory.get("key")

def read():
    while True:
        urlopen(server.url).read()

for work in (busy, read):
    threading.Thread(target=work, daemon=True).start()
children = []
for _ in range(8):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        assert not recording()
        HITS.add("database")
        assert set(HITS.values().values()) == {0.0}
        with serve_metrics() as own:
            assert own.port != server.port
            memory.get("key")
            page = urlopen(own.url).read().decode()
            assert 'cache_hits_total{tier="memory"} 1.0' in page, page
            assert 'cache_hits_total{tier="database"} 0.0' in page
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert 'cache_hits_total{tier="database"} 7.0' in urlopen(server.url).read().decode()
there, say = os.pipe()
if os.fork() == 0:  # a child that outlives the page does not keep its port
    os.write(say, b"x")
    time.sleep(20)
    os._exit(0)
os.read(there, 1)
server.close()
serve_metrics(server.port).close()
print("done", flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_begins_with_nothing_and_leaves_the_port():
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as parent:
        try:
            timer = threading.Timer(60, os.killpg, (parent.pid, signal.SIGKILL))
            timer.start()  # where a child hangs, nothing more would be read
            out = b"".join(takewhile(b"done\n".__ne__, iter(parent.stdout.readline, b"")))
            timer.cancel()
            assert parent.wait(10) == 0, out.decode()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)
