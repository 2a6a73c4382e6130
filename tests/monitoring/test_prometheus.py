"""A real Prometheus reads the page on loopback, and answers what dashboard and rules ask."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from tests.monitoring.test_deploy import DEPLOY, PANEL_EXPRESSIONS, RECORDED, plain
from tests.services import free_port, needed

import backtest_py as bt
from backtest_py.data.settings import open_feed

SECONDS = 40.0
"""Longest wait for anything."""
QUIET = {"Sweep ready in", "Combinations a second"}
"""Panels that show something only while a sweep runs."""


@contextmanager
def prometheus(target, folder):
    """Run Prometheus on the deployed configuration, faster and on other ports."""
    if shutil.which("prometheus") is None:
        needed("prometheus")
    shutil.copytree(DEPLOY / "prometheus", folder / "etc")
    config = yaml.safe_load((folder / "etc" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"] = config["scrape_configs"][:1]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (folder / "etc" / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = (
        "prometheus",
        f"--config.file={folder / 'etc' / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def asked(server, path, **query):
    with urlopen(f"{server}/api/v1/{path}?{urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def awaited(question):
    """Return the first answer that holds something, within bounded time."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            if found := question():
                return found
        except (URLError, ConnectionError):
            pass
        time.sleep(0.2)
    pytest.fail("Prometheus did not answer in time")


def test_prometheus_answers_every_panel_and_rule(page, settings, tmp_path):
    target = page.url.removeprefix("http://").removesuffix("/metrics")
    grid = {"rules.stop": [1.0, 2.0, 3.0]}
    bars = bt.synthetic_bars(n_days=5)
    with open_feed(settings=settings) as feed, prometheus(target, tmp_path) as server:

        def query(text):
            return asked(server, "query", query=text)["result"]

        awaited(lambda: query('up{job="backtest-py"} == 1'))
        span = ("2025-01-01", "2025-01-20")
        feed.bars("BTCUSDT", "1h", *span)
        feed.bars("BTCUSDT", "1h", *span)
        bt.sweep(bars, grid=grid, engine="rust", gate=1, progress=lambda _: None)
        awaited(lambda: query("backtest_py_cache_hits_total{tier='memory'} == 1"))
        awaited(lambda: query("rate(backtest_py_exchange_requests_total[1m]) > 0"))
        (target,) = asked(server, "targets")["activeTargets"]
        assert target["health"] == "up"
        assert target["lastError"] == ""
        for name in RECORDED:
            awaited(lambda name=name: query(name))
        (hits,) = query('tier:backtest_py_cache_hits:ratio_rate5m{tier="memory"}')
        assert 0 < float(hits["value"][1]) < 1
        for title, expression in PANEL_EXPRESSIONS:
            found = query(plain(expression))
            assert found or title in QUIET, f"{title}: {expression} shows nothing"
        groups = asked(server, "rules")["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
