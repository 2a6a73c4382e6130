"""Many requests at once, with faults, over simulated days: `python -m benches.load_feed`.

Four processes of eight threads ask one local exchange through tiers that they share. Meanwhile the
exchange misbehaves, blocks and files are damaged, and its clock moves on by days. No bar may be
wrong, no request weight too much, no error without a type, and nothing may be left behind.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py.data.demo_exchange import DemoExchange
from backtest_py.data.market.intervals import DAY, interval_of
from backtest_py.errors import CacheError
from benches.load_damage import Damage, Mischief
from benches.load_worker import (
    BASE,
    LISTED,
    PHASES,
    STUCK_SECONDS,
    Plan,
    Request,
    Truth,
    markets,
    open_tiers,
    work,
)
from benches.sweep import facts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["measure", "problems_of"]

PROCESSES, THREADS = 4, 8
SHARES: Final = (0.25, 0.25, 0.2, 0.3)
"""Of the time, for each phase."""
TTL_DAYS: Final = 8
"""So far the clock jumps when the time to live is to pass; then it moves on by a day at a time."""
MOST_DAYS: Final = 40
WEIGHT, WINDOW = 2_400, 60.0
GROWTH_BYTES: Final = 200 << 20
GROWTH_OBJECTS: Final = 250_000
"""What a process may have beyond the first phase: the latency of each request is kept."""
WAL_BYTES: Final = 64 << 20
PACKAGES: Final = ("pyarrow", "SQLAlchemy", "cachetools", "httpx2", "filelock")


def measure(
    seconds: float, *, seed: int = 1, processes: int = PROCESSES, window: float = WINDOW
) -> dict[str, Any]:
    """Run the load for some seconds, and return what was seen."""
    load = os.getloadavg()[0]
    with TemporaryDirectory(prefix="backtest-py-load-") as place:
        found = _run(Path(place), seconds, seed, processes, window)
    found["date"] = str(datetime.now(UTC).date())
    found["facts"] = facts(load, PACKAGES)
    found["problems"] = problems_of(found)
    return found


def _run(place: Path, seconds: float, seed: int, processes: int, window: float) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    clock, phase = context.Value("q", BASE), context.Value("i", 0)
    ready = context.Barrier(processes + 1)
    folder = place / "data"
    folder.mkdir()
    limit = max(100, round(WEIGHT * window / WINDOW))
    with DemoExchange(
        markets(), lambda: int(clock.value), limit=limit, window=window, ban_seconds=3.0
    ) as exchange:
        plans = [
            Plan(number, seed, THREADS, str(folder), exchange.url, WEIGHT)
            for number in range(processes)
        ]
        outs = [place / f"worker-{plan.number}.json" for plan in plans]
        workers = [
            context.Process(target=work, args=(plan, clock, phase, ready, str(out)), daemon=True)
            for plan, out in zip(plans, outs, strict=True)
        ]
        for worker in workers:
            worker.start()
        ready.wait(STUCK_SECONDS)
        wal = _Largest(folder / "market.sqlite-wal")
        chances = [Mischief(exchange, seed), Damage(folder, seed)]
        for chance in chances:
            chance.start()
        days = _phases(seconds, clock, phase)
        for chance in chances:
            chance.stop()
        for worker in workers:
            worker.join(STUCK_SECONDS + 30)
        hung = [
            plan.number for plan, worker in zip(plans, workers, strict=True) if worker.is_alive()
        ]
        for worker in workers:
            worker.kill()
            worker.join()
        reports = [json.loads(out.read_text()) for out in outs if out.exists()]
        return {
            "seconds": seconds,
            "seed": seed,
            "processes": processes,
            "threads": THREADS,
            "days": days,
            "hung": hung,
            "silent": processes - len(reports),
            "workers": reports,
            "weight": {"most": exchange.most_weight, "limit": limit, "window": window},
            "requests_at_exchange": len(exchange.requests),
            "faults": chances[0].done,
            "damage": chances[1].done,
            "largest_wal": wal.stop(),
            "end": _end(folder, plans[0], lambda: int(clock.value)),
        }


def _phases(seconds: float, clock: Any, phase: Any) -> int:
    """Go through all phases; return the simulated days."""
    for number, share in enumerate(SHARES[:-1]):
        phase.value = number
        time.sleep(seconds * share)
    phase.value = len(SHARES) - 1
    days = TTL_DAYS
    clock.value = BASE + days * DAY
    pause = seconds * SHARES[-1] / (MOST_DAYS - TTL_DAYS)
    while days < MOST_DAYS:
        time.sleep(pause)
        days += 1
        clock.value = BASE + days * DAY
    phase.value = PHASES.index("end")
    return days


class _Largest:
    """The largest size that a file has while this watches."""

    def __init__(self, path: Path) -> None:
        self._path, self._found = path, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            if self._path.exists():
                self._found = max(self._found, self._path.stat().st_size)

    def stop(self) -> int:
        """Return it."""
        self._stop.set()
        self._thread.join()
        return self._found


def _end(folder: Path, plan: Plan, now: Any) -> dict[str, Any]:
    """Return what is left behind, and whether all is well once nothing misbehaves any more."""
    truth, wrong = Truth(), []
    feed = open_tiers(plan, now)
    found: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damage that nobody has seen so far
        with feed:
            tiers = [tier for tier in (feed.database, feed.archive) if tier is not None]
            for tier in tiers:
                for series, period in tier.periods():
                    try:
                        block = tier.get(series, period)
                    except CacheError:
                        found[f"{tier.name}: damaged"] += 1
                        continue
                    if block is None:
                        continue
                    found[f"{tier.name}: sound"] += 1
                    wrong += _wrong_block(truth, block)
            for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "HOLEUSDT"):
                for interval in ("15m", "4h"):
                    end = interval_of(interval).floor(now())
                    asked = Request(symbol, interval, LISTED, end)
                    problem = truth.wrong(asked, feed.bars(*asked))
                    wrong += [problem] if problem else []
            swept = feed.database.sweep() if feed.database is not None else 0
    left = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.endswith((".tmp", "-journal")) or ".damaged-" in path.name
    )
    wal = folder / "market.sqlite-wal"
    return {
        "blocks": found,
        "wrong": wrong,
        "swept": swept,
        "left": left,
        "locks": len(list((folder / "locks").glob("*"))),
        "wal": wal.stat().st_size if wal.exists() else 0,
    }


def _wrong_block(truth: Truth, block: Any) -> list[str]:
    """Return the known spans of a block whose candles are not those of the exchange."""
    wrong = []
    for span in block.known:
        candles = block.candles.within(span)
        asked = Request(block.series.symbol, block.series.interval.name, *span)
        table = truth.table(asked)
        first, last = np.searchsorted(table["time"], span)
        for name, values in table.items():
            kept = candles.open_time if name == "time" else getattr(candles, name)
            if not np.array_equal(kept, values[first:last]):
                wrong.append(f"{asked}: a block with another {name}")
    return wrong


def problems_of(found: dict[str, Any]) -> list[str]:
    """Return everything that must not be."""
    problems = [f"process {number} did not end" for number in found["hung"]]
    if found["silent"]:
        problems.append(f"{found['silent']} processes left no report")
    for number, worker in enumerate(found["workers"]):
        problems += [f"process {number}: {failure}" for failure in worker["failures"][:10]]
        before, after = worker["before"], worker["after"]
        for name in ("threads", "files"):
            if after[name] > before[name] + 2:
                problems.append(
                    f"process {number}: {name} {before[name]} before, {after[name]} after"
                )
        first = [sample for sample in worker["curve"] if sample[0] == 0][-1:]
        for name, at, more in (("rss", 1, GROWTH_BYTES), ("objects", 4, GROWTH_OBJECTS)):
            if first and after[name] > first[0][at] + more:
                text = f"{first[0][at]:,} in the first phase, {after[name]:,} at the end"
                problems.append(f"process {number}: {name} {text}")
    if not any(worker["evictions"] for worker in found["workers"]):
        problems.append("the first tier was never full, of no process")
    weight = found["weight"]
    if weight["most"] > weight["limit"]:
        problems.append(f"weight {weight['most']} in a window, allowed: {weight['limit']}")
    end = found["end"]
    problems += end["wrong"][:10]
    problems += [f"left behind: {name}" for name in end["left"]]
    if max(end["wal"], found["largest_wal"]) > WAL_BYTES:
        problems.append(f"the log of SQLite grew to {found['largest_wal']:,} bytes")
    if not sum(count for worker in found["workers"] for *_, count in worker["served"]):
        problems.append("nothing was served")
    return problems


def latencies(found: dict[str, Any]) -> dict[str, tuple[int, float, float]]:
    """Return requests, median and 99th percentile of seconds by the tier that had to be asked."""
    table = {}
    for tier in ("memory", "database", "archive", "exchange"):
        seconds = [s for worker in found["workers"] for s in worker["seconds"].get(tier, [])]
        if len(seconds) > 1:
            cuts = quantiles(seconds, n=100, method="inclusive")
            table[tier] = (len(seconds), cuts[49], cuts[98])
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write JSON, say what must not be, and return 1 if there was any of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="JSON to write")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--window", type=float, default=WINDOW, help="seconds of a weight's window")
    options = parser.parse_args(arguments)
    found = measure(options.seconds, seed=options.seed, window=options.window)
    options.report.write_text(json.dumps(found, indent=1), encoding="utf-8")
    served = sum(count for worker in found["workers"] for *_, count in worker["served"])
    print(f"{served:,} requests served, {found['requests_at_exchange']:,} at the exchange")
    for tier, (n, middle, most) in latencies(found).items():
        print(f"{tier:10} {n:8,} requests, p50 {middle * 1e3:9.3f} ms, p99 {most * 1e3:10.3f} ms")
    for problem in found["problems"]:
        print(f"PROBLEM  {problem}")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
