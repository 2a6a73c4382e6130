"""Walk-forwards on several markets, beside each other."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest_py.analysis.walk_forward.result import WalkForward
from backtest_py.analysis.walk_forward.single import Walk
from backtest_py.backtest.many import ByMarket, contracts_by_market, markets_by_name, naming
from backtest_py.backtest.saving import (
    check_manifest,
    folder,
    parquet_bytes,
    pretty_json,
    save_files,
)
from backtest_py.data.market.symbols import check_symbol
from backtest_py.errors import BacktestWarning
from backtest_py.parameters import counted
from backtest_py.sweep.executors.base import POLL_SECONDS
from backtest_py.sweep.executors.interrupts import Interrupts
from backtest_py.sweep.executors.processes import in_workers
from backtest_py.sweep.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backtest_py.analysis.walk_forward.single import Asked
    from backtest_py.bars import Bars
    from backtest_py.contract import Contract
    from backtest_py.sweep.executors.work import Resources

    Found = tuple[WalkForward, str]

__all__ = ["MANY", "WalkForwards", "walk_markets"]

MANY: Final = "walk_forwards"


class WalkForwards(ByMarket[WalkForward]):
    """Walk-forwards by market, in the order in which the markets were given.

    Attributes
    ----------
    table : DataFrame
        One row for each market: windows, those that stayed flat, efficiency, every metric.
    """

    def __repr__(self) -> str:
        lines = (
            f"{name}: {counted(len(each), 'window')}, total return "
            f"{each.metrics.total_return:,.2f}, sharpe {each.metrics.sharpe:.4g}, efficiency "
            f"{each.efficiency:.4g}"
            for name, each in self.items()
        )
        return "\n  ".join((f"walk-forwards of {counted(len(self), 'market')}", *lines))

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "market": name,
                "windows": len(each),
                "flat_windows": each.rows["combo_id"].count(-1),
                "efficiency": each.efficiency,
                **each.metrics,
            }
            for name, each in self.items()
        ]

    def save(self, directory: str | Path) -> Path:
        """Write a folder for each market, as :meth:`WalkForward.save`, and ``results.parquet``.

        Raises
        ------
        ConfigError
            If the directory is a file, holds something else, or a market's name cannot be that of a
            folder.
        StorageError
            If it cannot be written.
        """
        path = Path(directory)
        check_manifest(path, MANY)
        _check_names(self)
        with folder(path):
            pass
        for name, each in self.items():
            each.save(path / name)
        return self.save_table(path)

    def save_table(self, path: Path) -> Path:
        """Write ``results.parquet``, ``results.json`` and the manifest beside the markets."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        rows = {
            name: {**row, **each.metrics.to_mapping(), "efficiency": _plain(each.efficiency)}
            for (name, each), row in zip(self.items(), self._rows(), strict=True)
        }
        files = {
            "results.parquet": parquet_bytes(pa.Table.from_pylist(self._rows())),
            "results.json": pretty_json(rows),
        }
        return save_files(path, files, {"kind": MANY, "markets": list(self)})


def _plain(number: float) -> float | str:
    """Return a number ready for JSON."""
    return number if math.isfinite(number) else str(number)


def _check_names(markets: Mapping[str, object]) -> None:
    for name in markets:
        with naming(f"the folder of market {name!r:.60}"):
            check_symbol(name)


def walk_markets(
    asked: Asked,
    bars: Mapping[str, Bars],
    contract: Contract | Mapping[str, Contract] | None,
    resources: Resources,
    out: str | Path | None,
    *,
    resume: bool,
) -> tuple[WalkForwards, list[str]]:
    """Walk through several markets, and return the results and what to warn of.

    All markets are checked first, in order; where one cannot be walked, none is.

    Raises
    ------
    ConfigError, ParityError, StorageError, WorkerError, KeyboardInterrupt
        As :func:`backtest_py.walk_forward`; the message begins with the market's name.
    """
    markets = markets_by_name(bars)
    contracts = contracts_by_market(contract, list(markets))
    folders: dict[str, Path | None] = dict.fromkeys(markets)
    if out is not None:
        _check_names(markets)
        check_manifest(Path(out), MANY)
        folders = {name: Path(out) / name for name in markets}
    walks, texts = {}, []
    for name, given in markets.items():
        with naming(name), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            walks[name] = Walk.of(asked, given, contracts[name])
        texts += [f"{name}: {each.message}" for each in caught]
    tally = _Tally(walks, resources.progress)
    threads = all(walk.question.engine.name == "rust" for walk in walks.values())
    with Interrupts() as interrupts, interrupts.raised():
        if (threads and not resources.processes) or multiprocessing.current_process().daemon:
            found = _in_threads(walks, resources, folders, tally, resume=resume)
        else:
            how = asked, contracts, resources, folders
            found = _in_processes(markets, *how, tally, resume=resume)
    texts += [f"{name}: {warning}" for name, (_, warning) in found.items() if warning]
    results = WalkForwards({name: result for name, (result, _) in found.items()})
    if out is not None:
        results.save_table(Path(out))
    return results, texts


class _Tally:
    """Adds up how far all markets have come, and tells a callback from the thread that waits."""

    def __init__(
        self, walks: Mapping[str, Walk], callback: Callable[[Progress], None] | None
    ) -> None:
        self._totals = {
            name: (walk.question.spec.n_combos, walk.n_shards) for name, walk in walks.items()
        }
        self._callback = callback
        self._began = time.monotonic()
        self._combos = dict.fromkeys(walks, 0)
        self._shards = dict.fromkeys(walks, 0)
        self.stopped = False

    def of(self, market: str) -> Callable[[Progress], None]:
        """Return what takes the progress of one market, in any thread."""

        def take(now: Progress) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            self._combos[market], self._shards[market] = now.combos, now.shards

        return take

    def finish(self, market: str) -> None:
        """Count a market as done."""
        self._combos[market], self._shards[market] = self._totals[market]

    def tell(self) -> None:
        """Tell the callback."""
        if self._callback is None:
            return
        combos, seconds = sum(self._combos.values()), time.monotonic() - self._began
        total, total_shards = map(sum, zip(*self._totals.values(), strict=True))
        rate = combos / seconds if seconds > 0 else 0.0
        left = (total - combos) / rate if rate > 0 else float("nan")
        shards = sum(self._shards.values())
        self._callback(Progress(combos, total, shards, total_shards, seconds, rate, left))


def _in_threads(
    walks: Mapping[str, Walk],
    resources: Resources,
    folders: Mapping[str, Path | None],
    tally: _Tally,
    *,
    resume: bool,
) -> dict[str, Found]:
    """Walk through markets in threads, each on one thread of the engine."""
    n_threads = min(len(walks), resources.threads or os.cpu_count() or 1)

    def go(name: str) -> Found:
        own = replace(resources, threads=1, progress=tally.of(name))
        with naming(name):
            return walks[name].go(own, folders[name], resume=resume)

    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="markets")
    try:
        running = {name: pool.submit(go, name) for name in walks}
        return _awaited(running, tally)
    except BaseException:
        tally.stopped = True
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _awaited(running: Mapping[str, Future[Found]], tally: _Tally) -> dict[str, Found]:
    """Return all results; the first error of any market ends the wait."""
    found: dict[str, Found] = {}
    while len(found) < len(running):
        waiting = [future for name, future in running.items() if name not in found]
        wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
        for name, future in running.items():
            if name not in found and future.done():
                found[name] = future.result()
                tally.finish(name)
        tally.tell()
    return {name: found[name] for name in running}


def _in_processes(
    markets: Mapping[str, Bars],
    asked: Asked,
    contracts: Mapping[str, Contract],
    resources: Resources,
    folders: Mapping[str, Path | None],
    tally: _Tally,
    *,
    resume: bool,
) -> dict[str, Found]:
    """Walk through markets in processes of joblib's loky, each on one thread."""
    n_workers = min(len(markets), resources.processes or os.cpu_count() or 1)
    own = replace(resources, threads=1, processes=0, progress=None)
    tasks = {
        name: (name, asked, markets[name], contracts[name], own, folders[name], resume)
        for name in markets
    }
    with in_workers(n_workers, _walk_one, tasks) as running:
        return _awaited(running, tally)


def _walk_one(
    name: str,
    asked: Asked,
    bars: Bars,
    contract: Contract,
    resources: Resources,
    out: Path | None,
    resume: bool,  # noqa: FBT001 - a task of a pool takes its arguments by place
) -> Found:
    """Walk through one market in a worker; the parent has warned of its settings already."""
    with naming(name), warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)
        return Walk.of(asked, bars, contract).go(resources, out, resume=resume)
