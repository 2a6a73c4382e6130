"""The budget of request weight: one for all threads and processes, and never overdrawn."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings

import pytest
from tests.demo_candles import MIDNIGHT, Fetched, fetched, series, truth

from backtest_py.data.demo_exchange import DemoMarket
from backtest_py.data.market.intervals import DAY, MINUTE
from backtest_py.data.market.spans import Span
from backtest_py.data.providers import budget as budget_module
from backtest_py.data.providers.budget import Budget, Rule
from backtest_py.errors import ExchangeError

FETCH = """
import sys
from pathlib import Path
from backtest_py.data.market.candles import Series
from backtest_py.data.market.spans import Span
from backtest_py.data.providers.binance import Binance

folder, url, symbol, start, end = sys.argv[1:]
client = Binance(Path(folder), exchange_url=url, use_bulk=False)
wanted = [(Series.of(symbol, "1m"), Span(int(start), int(end)))]
print(sum(len(block.candles) for block in client.fetch_many(wanted)))
"""


def spend(budget, weight, seconds=0.0):
    with budget.spending(weight):
        time.sleep(seconds)


def test_four_processes_never_use_more_than_is_allowed(open_exchange, tmp_path):
    names = [f"N{n}USDT" for n in range(4)]
    markets = [DemoMarket(name, MIDNIGHT - 20 * DAY, MIDNIGHT) for name in names]
    exchange = open_exchange(*markets, limit=40, window=2.0, latency=0.02)
    refused = []
    exchange.faults.append(lambda p, q, r: refused.append(r.status) or r if r.status > 400 else r)
    n_candles = 499 * 12
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", FETCH, str(tmp_path), exchange.url, name),
                *(str(MIDNIGHT - n_candles * MINUTE), str(MIDNIGHT)),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for name in names
    ]
    answers = [process.communicate(timeout=100)[0] for process in started]
    assert [int(answer) for answer in answers] == [n_candles] * 4
    assert refused == []
    assert 30 < exchange.most_weight <= 40


def test_threads_and_their_requests_that_are_under_way(tmp_path):
    """A request counts until a window after its answer, however long it was under way."""
    budget = Budget(tmp_path / "w.sqlite", 1_000)
    budget.learn([Rule(10, 200)])
    done = []

    def work():
        spend(budget, 5, seconds=1.0)
        done.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done)[2] - sorted(done)[1] > 0.2 + 1.0


def test_what_others_use_at_the_address_counts(tmp_path):
    budget = Budget(tmp_path / "w.sqlite", 2_400)
    budget.learn([Rule(2_400, 60_000)])
    with budget.spending(2) as request:
        request.used = {60_000: 2_399}
    assert budget.spent(60_000) == 2_399
    with pytest.raises(ExchangeError, match="used up for"):
        spend_now(budget, 2)
    spend_now(budget, 1)
    with budget.spending(0) as request:
        request.used = {60_000: 2_400}  # what is known already is not counted twice
    assert budget.spent(60_000) == 2_400


def spend_now(budget, weight):
    with budget.spending(weight, patience=0.01):
        pass


def test_the_profile_limits_what_this_machine_uses(tmp_path):
    budget = Budget(tmp_path / "w.sqlite", 20)
    budget.learn([Rule(2_400, 60_000)])
    with budget.spending(2) as request:
        request.used = {60_000: 1_000}  # others use more than this machine may; that is theirs
    spend_now(budget, 18)
    with pytest.raises(ExchangeError, match="allowance of 20 request weight"):
        spend_now(budget, 1)


def test_a_request_that_weighs_more_than_all(tmp_path):
    budget = Budget(tmp_path / "w.sqlite", 2_400)
    budget.learn([Rule(1, 60_000)])
    with pytest.raises(ExchangeError, match="more than the 1"):
        spend(budget, 2)


def test_a_process_that_was_killed_does_not_block_the_others(tmp_path, monkeypatch):
    path = tmp_path / "w.sqlite"
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from backtest_py.data.providers.budget import Budget\n"
        "with Budget(Path(sys.argv[1]), 10).spending(10):\n"
        "    print('sent', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == b"sent\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    budget = Budget(path, 10)
    with pytest.raises(ExchangeError, match="used up"):  # it may have arrived: it counts
        spend_now(budget, 1)
    later = time.time_ns() + 181 * 10**9
    monkeypatch.setattr(budget_module.time, "time_ns", lambda: later)
    spend_now(budget, 10)


def test_a_clock_that_is_set_back_blocks_nobody(tmp_path, monkeypatch):
    budget = Budget(tmp_path / "w.sqlite", 10)
    spend(budget, 9)
    budget.pause(10)
    earlier = time.time_ns() - 10 * 86_400 * 10**9
    monkeypatch.setattr(budget_module.time, "time_ns", lambda: earlier)
    spend_now(budget, 1)
    monkeypatch.setattr(budget_module.time, "time_ns", lambda: earlier + 62 * 10**9)
    spend_now(budget, 10)


@pytest.mark.parametrize(
    "content", [b"", b"not a database" * 100, b"SQLite format 3\0" + bytes(99)]
)
def test_a_file_that_is_no_ledger_is_begun_anew(tmp_path, content):
    path = tmp_path / "w.sqlite"
    path.write_bytes(content)
    budget = Budget(path, 10)
    spend(budget, 2)
    assert budget.spent(60_000) == 2


def test_a_ledger_that_cannot_be_kept_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExchangeError, match="cannot be made"):
        spend(Budget(tmp_path / "file" / "w.sqlite", 10), 1)
    monkeypatch.setattr(budget_module, "BUSY_SECONDS", 0.1)
    budget = Budget(tmp_path / "w.sqlite", 10)
    spend(budget, 1)
    holder = sqlite3.connect(tmp_path / "w.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ExchangeError, match=r"w\.sqlite: the shared count.*locked"):
        spend(budget, 1)
    holder.close()
    spend(budget, 1)


def test_waiting_ends_when_it_is_stopped(tmp_path):
    budget = Budget(tmp_path / "w.sqlite", 10)
    budget.pause(30)
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(ExchangeError, match="stopped"), budget.spending(1, stop=stop):
        pass
    assert time.monotonic() - began < 5


def test_it_costs_little(tmp_path):
    budget = Budget(tmp_path / "w.sqlite", 10**6)
    times = []
    for _ in range(600):
        began = time.perf_counter()
        spend(budget, 2)
        times.append(time.perf_counter() - began)
    assert sorted(times)[300] < 0.005  # about 0.5 ms on an idle machine


def test_a_client_can_be_used_on_both_sides_of_a_fork(open_exchange, open_client):
    exchange = open_exchange()
    client = open_client(exchange, use_bulk=False)
    span = Span(MIDNIGHT - 3 * DAY, MIDNIGHT)
    expected = truth(exchange.markets["BTCUSDT"], "1m", *span)
    assert fetched(client, "1m", *span).candles == expected
    answers = multiprocessing.get_context("fork").Queue()

    def child():
        found = Fetched(client.fetch(series("1m"), span)).candles
        client.server_time()
        # neither a connection to the exchange nor one to the ledger may be the parent's
        mine = client._rest._session.pid == client._budget._opened[0] == os.getpid()
        answers.put(found == expected and mine)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: threads and fork
        children = [multiprocessing.get_context("fork").Process(target=child) for _ in range(2)]
        for process in children:
            process.start()
    assert fetched(client, "1m", *span).candles == expected
    assert [answers.get(timeout=60) for _ in children] == [True, True]
    for process in children:
        process.join(30)
    assert client._budget.spent(60_000) == sum(request[3] for request in exchange.requests)


def test_folders_share_weight_but_hear_the_exchange_by_themselves(tmp_path):
    path, settings = tmp_path / "w.sqlite", {"host": "exchange:1"}
    first = Budget(path, 2_400, scope="first", **settings)
    second = Budget(path, 2_400, scope="second", **settings)
    first.learn([Rule(10, 60_000)])
    spend_now(first, 10)
    with pytest.raises(ExchangeError, match="used up"):  # before it has asked for the rules
        spend_now(second, 1)
    assert second.rules(60) is None
    second.learn([Rule(12, 60_000)])
    spend_now(second, 2)
    first.pause(30)
    assert (first.paused() > 29, second.paused()) == (True, 0)
    elsewhere = Budget(path, 2_400, scope="first", host="exchange:2")
    assert (elsewhere.spent(60_000), elsewhere.paused(), elsewhere.rules(60)) == (0, 0, None)
