"""One contender in a process of its own, asked over pipes: `python -m benches.sweep_contender`.

Its environment, such as the instruction level, is settled before it starts, and its peak memory is
its own. It waits while others work, so that contenders take turns.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

import backtest_py as bt
from backtest_py.bench.agreement import check_rows, digest_of
from backtest_py.bench.loop import N_LOOPED, straightforward_loop
from backtest_py.bench.timing import MAX_IN_MEMORY, peak_memory
from backtest_py.engines import resolve
from backtest_py.records import METRICS
from benches.sweep_cases import OWN_SECONDS, load_case
from benches.timing import ROOT, clock

__all__ = ["Contender"]

FEW = 1_000
"""Combinations up to which a call takes milliseconds, and a cold cache would be most of it."""
PEER_COMBOS = 24
"""Combinations that vectorbt is asked for, a multiple of every number of columns."""


class Contender:
    """The side of who asks.

    Parameters
    ----------
    kind : str
        ``rust``, ``numba``, ``run``, ``loop`` or ``vectorbt``.
    options : mapping
        What belongs to the kind.
    environment : str
        Variables of the process.
    """

    def __init__(self, kind: str, *, options: dict[str, Any] | None = None, **environment: str):
        self.kind = kind
        self._options = options or {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches.sweep_contender"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()

    def _ask(self, what: str, case: str) -> Any:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the contender has no pipes")
        request = {"kind": self.kind, "what": what, "case": case, **self._options}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.kind} died on {case}; its message stands above")
        return json.loads(answer)

    def check(self, case: str) -> dict[str, Any]:
        """Run it once, check its results against single runs, and say what they are."""
        return self._ask("check", case)

    def seconds(self, case: str) -> float:
        """Run it once more, timed."""
        return self._ask("time", case)["seconds"]


def timed(call, n_combos):
    """Return seconds; of milliseconds the median of some calls, after one that fills the caches."""
    if n_combos <= FEW:
        return clock(call, repeats=5)() / 1e9
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Sweeper:
    """A planner."""

    def __init__(self, request):
        self.case, self.engine = load_case(request["case"]), request["kind"]
        self.threads = request.get("threads", 2)

    def sweep(self, out=None):
        """Sweep as a user does; what is too large for memory goes to a directory."""
        if self.case.n_combos <= MAX_IN_MEMORY:
            return self.case.sweep(self.engine, threads=self.threads)
        return self.case.sweep(self.engine, threads=self.threads, out=out)

    def check(self):
        with tempfile.TemporaryDirectory() as folder:
            found = []
            peak = peak_memory(lambda: found.append(self.sweep(Path(folder) / "sweep")))
            check_rows(self.case, found[0], self.engine)
            digest = digest_of(found[0])
        OWN_SECONDS[0] = 0.0
        self.time()  # again, for what a function takes the first time is not what it takes
        return {
            "combos": digest.combos,
            "timed_combos": digest.combos,
            "distinct": digest.distinct,
            "trades": digest.trades,
            "sha256": digest.sha256,
            "peak": peak,
            "own": OWN_SECONDS[0],
            "bars": len(self.case.bars),
            "threads": self.threads,
        }

    def time(self):
        with tempfile.TemporaryDirectory() as folder:
            return timed(lambda: self.sweep(Path(folder) / "sweep"), self.case.n_combos)


class Runner:
    """A single run, beside which a sweep of one combination stands."""

    def __init__(self, request):
        self.case, self.engine = load_case(request["case"]), request["engine"]

    def run(self):
        case = self.case
        strategy, rules, contract = case.settings([0])[0]
        return bt.run(case.bars, strategy, rules, contract, engine=self.engine)

    def check(self):
        trades = len(self.run())
        one = {"combos": 1, "timed_combos": 1, "distinct": 1, "trades": trades, "threads": 1}
        return {**one, "bars": len(self.case.bars), "peak": peak_memory(self.run)}

    def time(self):
        return timed(self.run, 1)


class Loop:
    """The straightforward loop over a sample of the combinations."""

    def __init__(self, request):
        self.case, self.processes = load_case(request["case"]), request.get("threads", 2)
        chosen = self.case.chosen(min(N_LOOPED, self.case.n_combos))
        self.settings = self.case.settings(chosen)

    def loop(self):
        return straightforward_loop(self.case.bars, self.settings, self.processes)

    def check(self):
        """Compare with the Rust engine: what sweeps equal, too."""
        found = self.loop()
        rust, _ = resolve("rust")
        for row, (strategy, rules, contract) in enumerate(self.settings[:64]):
            once = bt.run(self.case.bars, strategy, rules, contract, engine=rust.name)
            if once.output.metrics.tobytes() != found[row].tobytes():
                raise AssertionError(f"{self.case.name}: row {row} of the loop differs")
        return {
            "combos": self.case.n_combos,
            "timed_combos": len(self.settings),
            "distinct": len({hashlib.sha256(row.tobytes()).digest() for row in found}),
            "trades": int(found[:, METRICS.index("total_trades")].sum()),
            "threads": self.processes,
            "bars": len(self.case.bars),
            "peak": None,
        }

    def time(self):
        return timed(self.loop, self.case.n_combos)


class Peer:
    """Vectorbt, which gets its signals and distances ready-made; the clock leaves that out."""

    def __init__(self, request):
        from benches import peer_vectorbt

        self.peer, self.case = peer_vectorbt, load_case(request["case"])
        self.engine, self.columns = request["engine"], request["columns"]
        self.bare = request["bare"]
        self.settings = self.case.settings(self.case.chosen(PEER_COMBOS))
        rust, _ = resolve("rust")
        bars = self.case.bars
        self.inputs = [
            peer_vectorbt.inputs_of(bars, rust.signals(bars, strategy).side, rules)
            for strategy, rules, _ in self.settings
        ]
        self.calls = [
            self._beside(self.inputs[start : start + self.columns])
            for start in range(0, len(self.inputs), self.columns)
        ]

    def _beside(self, inputs):
        if len(inputs) == 1:
            return inputs[0]
        own = {"entries", "short_entries", "sl_stop", "tp_stop"}
        return {
            name: np.column_stack([each[name] for each in inputs])
            if name in own
            else value[:, None]
            if isinstance(value, np.ndarray)
            else value
            for name, value in inputs[0].items()
        }

    def run(self):
        for inputs in self.calls:
            portfolio = self.peer.from_signals(inputs, self.engine)
            if not self.bare:
                portfolio.trades.records  # noqa: B018 - computed when it is asked for
                portfolio.total_return()
                portfolio.max_drawdown()

    def check(self):
        found = []
        for (strategy, rules, _), inputs in zip(self.settings, self.inputs, strict=True):
            ours = bt.run(self.case.bars, strategy, rules, self.peer.CONTRACT, engine="rust")
            portfolio = self.peer.from_signals(inputs, self.engine)
            found.append(self.peer.differences(ours, portfolio))
        total = {name: sum(each[name] for each in found) for name in found[0]}
        return {
            "combos": self.case.n_combos,
            "timed_combos": len(self.settings),
            "distinct": len(self.settings),
            "trades": total["their_trades"],
            "threads": 1,
            "bars": len(self.case.bars),
            "peak": peak_memory(self.run),
            "agreement": total,
        }

    def time(self):
        return timed(self.run, self.case.n_combos)


KINDS = {"rust": Sweeper, "numba": Sweeper, "run": Runner, "loop": Loop, "vectorbt": Peer}


@cache
def worker(text):
    request = json.loads(text)
    return KINDS[request["kind"]](request)


def main() -> None:
    """Answer every line."""
    warnings.simplefilter("ignore")  # those of the market, and vectorbt's own
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("what")
        told = worker(json.dumps(request))
        answer = told.check() if what == "check" else {"seconds": told.time()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
