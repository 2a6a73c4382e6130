"""One backtest on each of several markets, and one table of their results."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from backtest_py.backtest.job import expect, prepare
from backtest_py.backtest.result import BacktestResult
from backtest_py.backtest.run import answered, as_strategy
from backtest_py.backtest.saving import (
    check_manifest,
    folder,
    parquet_bytes,
    pretty_json,
    save_files,
)
from backtest_py.bars import Bars
from backtest_py.contract import Contract
from backtest_py.engines.registry import resolve
from backtest_py.errors import BacktestError, ConfigError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    import pandas as pd

    from backtest_py.contract import MetricSettings
    from backtest_py.engines.base import Engine, Job
    from backtest_py.rules import ExitRules
    from backtest_py.strategies.base import Strategy

    Moment = str | date | None

__all__ = [
    "ByMarket",
    "ManyResults",
    "contracts_by_market",
    "markets_by_name",
    "naming",
    "run_many",
]

ResultT = TypeVar("ResultT")


class ByMarket(Mapping[str, ResultT]):
    """Results by market, in the order in which the markets were given."""

    def __init__(self, results: Mapping[str, ResultT]) -> None:
        self._results = dict(results)

    def __getitem__(self, name: str) -> ResultT:
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each market, indexed by name."""
        import pandas as pd  # noqa: PLC0415 - a second of imports, only where it is used

        return pd.DataFrame(self._rows()).set_index("market")

    @abstractmethod
    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table; metrics are numbers, nan where undefined."""


class ManyResults(ByMarket[BacktestResult]):
    """The results of one backtest on several markets, by their names and in their order.

    Attributes
    ----------
    table : DataFrame
        One row for each market: where its bars come from, their span, and every metric.
    """

    def __repr__(self) -> str:
        lines = (
            f"{name}: {counted(len(result), 'trade')}, total return "
            f"{result.metrics.total_return:,.2f}, sharpe {result.metrics.sharpe:.4g}"
            for name, result in self.items()
        )
        return "\n  ".join((f"results of {counted(len(self), 'market')}", *lines))

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for name, result in self.items():
            bars = result.manifest()["bars"]
            rows.append(
                {
                    "market": name,
                    **result.provenance.market,
                    "n_bars": bars["n_bars"],
                    "first": bars["first"],
                    "last": bars["last"],
                    **result.metrics,
                }
            )
        return rows

    def to_mapping(self) -> dict[str, Any]:
        """Return the rows by market, ready for JSON: nan and infinities as texts."""
        return {
            name: {**row, **result.metrics.to_mapping()}
            for (name, result), row in zip(self.items(), self._rows(), strict=True)
        }

    def save(self, directory: str | Path) -> Path:
        """Write a folder for each market, and ``results.parquet`` and ``results.json``.

        Each folder is that of :meth:`BacktestResult.save`. Each file is complete or absent,
        whatever happens; ``manifest.json`` comes last and holds the SHA-256 of the tables.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; the same files of an earlier run are replaced.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        ConfigError
            If the directory is a file, holds the manifest of something else, or a market's name
            cannot be that of a folder.
        StorageError
            If it cannot be written.
        """
        import pyarrow as pa  # noqa: PLC0415 - a heavy import, only where it is used

        from backtest_py.data.market.symbols import check_symbol  # noqa: PLC0415

        directory = Path(directory)
        check_manifest(directory, "runs")
        for name in self:
            with naming(f"the folder of market {name!r:.60}"):
                check_symbol(name)
                check_manifest(directory / name, "run")
        files = {
            "results.parquet": parquet_bytes(pa.Table.from_pylist(self._rows())),
            "results.json": pretty_json(self.to_mapping()),
        }
        for name in self:
            with folder(directory / name):  # all of them, before anything is written
                pass
        for name, result in self.items():
            result.save(directory / name)
        return save_files(directory, files, self.manifest())

    def manifest(self) -> dict[str, Any]:
        """Return what each market's manifest says, ready for JSON."""
        return {
            "kind": "runs",
            "markets": {name: result.manifest() for name, result in self.items()},
        }


def run_many(
    bars: Mapping[str, Bars],
    strategy: str | Strategy | Callable[..., Any],
    rules: ExitRules | None = None,
    contract: Contract | Mapping[str, Contract] | None = None,
    *,
    metrics: MetricSettings | None = None,
    range: tuple[Moment, Moment] | None = None,  # noqa: A002
    engine: str = "auto",
    threads: int = 0,
) -> ManyResults:
    """Run one backtest on each of several markets.

    Every result is that of :func:`backtest_py.run`, bit for bit. All markets are checked first, in
    order; where one cannot be run, none is, and the error names it.

    Parameters
    ----------
    bars : mapping of str to Bars
        The bars of each market by its name, such as ``feed.bars_many(...)`` gives them.
    strategy, rules, metrics, range, engine
        As :func:`backtest_py.run` takes them, the same for all markets.
    contract : Contract, or mapping of str to Contract, optional
        One for all markets, or one for each.
    threads : int
        Markets at a time, 0 for one per processor; results do not depend on it.

    Returns
    -------
    ManyResults
        The results by market, in the order of ``bars``.

    Raises
    ------
    ConfigError
        If there is no market, a contract is missing, or as :func:`backtest_py.run`.
    BacktestError
        As :func:`backtest_py.run`; the message begins with the market's name.

    Examples
    --------
    >>> import backtest_py as bt
    >>> markets = {"A": bt.synthetic_bars(n_days=20), "B": bt.synthetic_bars(n_days=20, seed=7)}
    >>> results = bt.run_many(markets, "barra_elefante", contract=bt.Contract(tick_size=5))
    >>> list(results), results.table.index.tolist()
    (['A', 'B'], ['A', 'B'])
    """
    markets = markets_by_name(bars)
    contracts = contracts_by_market(contract, list(markets))
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise ConfigError(f"threads = {threads!r} is not allowed; give 0 or more")
    chosen = as_strategy(strategy)
    jobs: dict[str, tuple[Job, Engine, str]] = {}
    for name, given in markets.items():
        with naming(name):
            # a user's function is called here, one market after the other
            signals = chosen.compute(given)
            job = prepare(
                given, chosen, signals, rules, contracts[name], metrics, range, market=name
            )
            jobs[name] = (job, *resolve(engine, job))
    n_threads = min(len(jobs), threads or os.cpu_count() or 1)
    with ThreadPoolExecutor(n_threads, thread_name_prefix="markets") as pool:
        running = {name: pool.submit(runner.run, job) for name, (job, runner, _) in jobs.items()}
        results = {}
        for name, (job, runner, reason) in jobs.items():
            try:
                with naming(name):
                    output = running[name].result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            results[name] = answered(job, output, runner, reason, f"{name}: ")
    return ManyResults(results)


def markets_by_name(bars: object) -> dict[str, Bars]:
    """Return bars by name, checked."""
    advice = 'give them by name, as in {"BTCUSDT": bars, ...}'
    if not isinstance(bars, Mapping):
        raise ConfigError(f"bars is {type(bars).__name__}, no mapping of several bars; {advice}")
    if not bars:
        raise ConfigError(f"bars holds no market; {advice}")
    for name, each in bars.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"bars holds the name {name!r}, which is no text; {advice}")
        expect(f"bars[{name!r}]", each, Bars)
    return dict(cast("Mapping[str, Bars]", bars))


def contracts_by_market(contract: object, names: list[str]) -> dict[str, Contract]:
    """Return the contract of each market."""
    if not isinstance(contract, Mapping):
        one = Contract() if contract is None else contract
        expect("contract", one, Contract)
        return dict.fromkeys(names, cast("Contract", one))
    for name in contract:
        if name not in names:
            raise ConfigError(
                f"contract names {name!r}, which is no market of bars; give one of "
                f"{', '.join(names)}"
            )
    for name in names:
        if name not in contract:
            raise ConfigError(f"contract has none for {name!r}; give one for each market, or one")
        expect(f"contract[{name!r}]", contract[name], Contract)
    return dict(cast("Mapping[str, Contract]", contract))


@contextmanager
def naming(market: str) -> Iterator[None]:
    """Let errors say which market they are about."""
    try:
        yield
    except BacktestError as error:
        raise type(error)(f"{market}: {error}") from error
    except Exception as error:
        error.add_note(f"while {market} was run")
        raise
