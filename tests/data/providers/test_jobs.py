"""Jobs in threads: what they find, errors, and an end at once when nobody wants them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.demo_candles import MIDNIGHT, series

from backtest_py.data.market.intervals import DAY
from backtest_py.data.market.spans import Span
from backtest_py.data.providers.jobs import Done, run_jobs
from backtest_py.errors import ExchangeError


def finds(*results, more=()):
    return lambda _: Done(list(results), list(more))


def test_jobs_lead_to_jobs():
    jobs = [finds(1, more=[finds(2, more=[finds(3, 4)])]), finds(5), finds()]
    assert sorted(run_jobs(jobs, 2)) == [1, 2, 3, 4, 5]
    assert list(run_jobs([], 2)) == []


def test_after_an_error_what_was_found_is_still_given():
    begun = []

    def late(_):
        time.sleep(0.2)
        return Done(["late"], [finds("never")])

    def bad(_):
        raise ExchangeError("bad")

    jobs = [late, bad, *[lambda _: begun.append(1) or Done([], [])] * 50]
    results = run_jobs(jobs, 2)
    assert next(results) == "late"
    with pytest.raises(ExchangeError, match="bad"):
        next(results)
    assert len(begun) < 50


def test_whoever_closes_does_not_wait_and_jobs_hear_of_it():
    heard = threading.Event()

    def slow(stop):
        stop.wait(20)
        heard.set()
        return Done([], [])

    results = run_jobs([finds(1), slow, *[finds(2)] * 1_000], 2)
    assert next(results) == 1
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 1
    assert heard.wait(5)


def test_threads_end(open_exchange, open_client):
    before = set(threading.enumerate())  # other tests may have left some
    exchange = open_exchange()
    client = open_client(exchange)
    span = Span(MIDNIGHT - 50 * DAY, MIDNIGHT)
    blocks = client.fetch(series("1m"), span)
    next(blocks)
    blocks.close()
    list(client.fetch(series("4h"), span))
    client.close()
    exchange.stop()
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(threading.enumerate()) <= before


def test_control_c_ends_a_download_soon(open_exchange, tmp_path):
    exchange = open_exchange()
    exchange.fault("status-503")
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from backtest_py.data.market.candles import Series\n"
        "from backtest_py.data.market.spans import Span\n"
        "from backtest_py.data.providers import transport\n"
        "from backtest_py.data.providers.binance import Binance\n"
        "transport.FIRST_WAIT = transport.LONGEST_WAIT = 100.0\n"
        "client = Binance(Path(sys.argv[1]), exchange_url=sys.argv[2], use_bulk=False)\n"
        "list(client.fetch(Series.of('BTCUSDT', '1m'), Span(*map(int, sys.argv[3:]))))\n"
    )
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", script, str(tmp_path), exchange.url),
            *(str(MIDNIGHT - DAY), str(MIDNIGHT)),
        ],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while not any("klines" in path for _, path, _, _ in exchange.requests):
        time.sleep(0.02)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert b"KeyboardInterrupt" in err
