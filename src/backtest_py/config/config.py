"""The TOML file as typed, validated, immutable objects.

One file serves every command. Each section is a :class:`~backtest_py.parameters.Settings` class,
so that a value is checked the same way in Python and in TOML; this module adds the sections that
only a file has, and what a command does with the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from backtest_py.config.market import DataSettings, ExchangeSettings, data_of
from backtest_py.config.monte_carlo import MonteCarloSection
from backtest_py.config.reading import read_toml
from backtest_py.config.search import SearchSection, search_of
from backtest_py.config.sections import (
    SECTIONS,
    RangeSettings,
    RunSettings,
    SweepSettings,
    contracts_of,
    feed_of,
    range_of,
    settings_of,
    strategy_of,
    sweep_of,
    table_of,
)
from backtest_py.config.walk_forward import walk_forward_of
from backtest_py.contract import Contract, MetricSettings
from backtest_py.errors import ConfigError
from backtest_py.parameters import counted, unknown_name
from backtest_py.rules import ExitRules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backtest_py.analysis.monte_carlo.result import MonteCarlo
    from backtest_py.analysis.search.result import SearchResult
    from backtest_py.analysis.steps import Steps
    from backtest_py.analysis.walk_forward.many import WalkForwards
    from backtest_py.analysis.walk_forward.result import WalkForward
    from backtest_py.backtest.many import ManyResults
    from backtest_py.backtest.result import BacktestResult
    from backtest_py.bars import Bars
    from backtest_py.strategies import Strategy
    from backtest_py.sweep.compute.forecast import Forecast
    from backtest_py.sweep.result.result import SweepResult
    from backtest_py.sweep.space.combinations import Combinations

__all__ = ["Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration file, read and checked.

    Attributes
    ----------
    data : DataSettings or ExchangeSettings
        Files, or an exchange.
    contracts : mapping of str to Contract
        The contract of each market, where there are several.
    walk_forward : mapping of str to object
        The keys of ``[walk_forward]`` that are written, checked.
    feed : mapping of str to object
        What ``[feed]`` holds; the environment takes precedence when the feed is opened.
    directory : Path
        Folder that ``data.path`` is relative to.

    Examples
    --------
    >>> config = Config.from_mapping({"data": {"path": "WIN_M5.csv"}, "rules": {"stop": 1.5}})
    >>> config.rules.stop, config.strategy.name
    (1.5, 'barra_elefante')
    """

    data: DataSettings | ExchangeSettings
    strategy: Strategy
    rules: ExitRules = field(default_factory=ExitRules)
    contract: Contract = field(default_factory=Contract)
    metrics: MetricSettings = field(default_factory=MetricSettings)
    range: RangeSettings = field(default_factory=RangeSettings)
    run: RunSettings = field(default_factory=RunSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    monte_carlo: MonteCarloSection = field(default_factory=MonteCarloSection)
    search: SearchSection = field(default_factory=SearchSection)
    walk_forward: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    contracts: Mapping[str, Contract] = field(default_factory=lambda: MappingProxyType({}))
    feed: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    directory: Path = field(default_factory=Path)

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read a TOML file.

        Raises
        ------
        ConfigError
            If the file cannot be read, is not TOML, or holds a key or value that is not allowed;
            the message names the file, the key, the value and what is allowed.
        """
        path = Path(path)
        document = read_toml(path)
        try:
            return cls.from_mapping(document, directory=path.parent)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def from_mapping(cls, document: Mapping[str, object], *, directory: Path | str = "") -> Config:
        """Build from sections and their keys, as a TOML document gives them.

        Raises
        ------
        ConfigError
            If a section, key or value is not allowed.
        """
        for name in document:
            if name not in SECTIONS:
                raise unknown_name("section", name, SECTIONS)
        data, strategy, span = data_of(document), strategy_of(document), range_of(document)
        rules, contract = settings_of(ExitRules, document), settings_of(Contract, document)
        return cls(
            data=data,
            strategy=strategy,
            rules=rules,
            contract=contract,
            metrics=settings_of(MetricSettings, document),
            range=span,
            run=settings_of(RunSettings, document),
            sweep=sweep_of(document, strategy, rules, contract),
            monte_carlo=settings_of(MonteCarloSection, document),
            search=search_of(table_of(document, "search")),
            walk_forward=walk_forward_of(document, once=span != RangeSettings()),
            contracts=contracts_of(document, data.markets),
            feed=feed_of(document, Path(directory)),
            directory=Path(directory),
        )

    @property
    def path(self) -> Path:
        """The one file with the bars.

        Raises
        ------
        ConfigError
            If they come from several files, or from an exchange.
        """
        path = getattr(self.data, "path", "")
        if not path or not isinstance(path, str):
            raise ConfigError(f"the bars are those of {self.data.label}, not of one file")
        return self.directory / path

    @property
    def markets(self) -> tuple[str, ...]:
        """Names of the markets where ``[data]`` names several, else none."""
        return self.data.markets

    def load_bars(self) -> Bars:
        """Read the bars that ``[data]`` describes, or fetch what no tier has of them.

        Raises
        ------
        ConfigError, DataError, ExchangeError
            As :func:`backtest_py.load_bars` and :meth:`Feed.bars`; or if ``[data]`` names several
            markets.
        """
        if self.markets:
            raise ConfigError(
                f"[data] names {counted(len(self.markets), 'market')} ({', '.join(self.markets)}), "
                "and this takes one; name it in data.symbol or data.path"
            )
        return self.data.load(self.directory, self.feed)

    def load_many(self) -> dict[str, Bars]:
        """Read the bars of each market of ``[data]``, in order; they are fetched in parallel.

        Raises
        ------
        ConfigError, DataError, ExchangeError
            As :meth:`load_bars`; or if ``[data]`` names one market.
        """
        if not self.markets:
            raise ConfigError("[data] names one market; name several in data.symbols or data.paths")
        return self.data.load_many(self.directory, self.feed)

    def grid(self) -> Combinations:
        """Build the grid of ``[sweep]``, or the sample of it that ``[sweep.sample]`` asks for.

        Raises
        ------
        ConfigError
            As :func:`~backtest_py.sweep.space.sample.build_grid`: if a combination is not
            allowed, or none is left.
        """
        from backtest_py.sweep.space.sample import build_grid  # noqa: PLC0415 - as in _sweep

        return build_grid(
            self.strategy,
            self.rules,
            self.contract,
            self.sweep.grid,
            self.sweep.sample,
            where=self.sweep.where,
            invalid=self.sweep.invalid,
        )

    def backtest(self, bars: Bars | None = None, *, engine: str = "") -> BacktestResult:
        """Run the backtest, on the engine of ``[run]`` unless another is named.

        Parameters
        ----------
        bars : Bars, optional
            The bars of ``[data]``, where they have been read already.
        engine : str, optional
            ``"auto"``, ``"numba"`` or ``"rust"``.

        Raises
        ------
        BacktestError
            As :meth:`load_bars` and :func:`backtest_py.run`.
        """
        # the engines are imported here, because reading a file needs none
        from backtest_py.backtest.run import run  # noqa: PLC0415

        name = self._engine(engine)
        return run(
            self.load_bars() if bars is None else bars,
            self.strategy,
            self.rules,
            self.contract,
            metrics=self.metrics,
            range=self._span,
            engine=name,
        )

    def run_many(self, bars: Mapping[str, Bars] | None = None, *, engine: str = "") -> ManyResults:
        """Run the backtest on each market of ``[data]``.

        Parameters
        ----------
        bars : mapping of str to Bars, optional
            The bars of ``[data]``, where they have been read already.
        engine : str, optional
            As for :meth:`backtest`.

        Raises
        ------
        BacktestError
            As :meth:`load_many` and :func:`backtest_py.run_many`.
        """
        from backtest_py.backtest.many import run_many  # noqa: PLC0415 - as above

        name = self._engine(engine)
        return run_many(
            self.load_many() if bars is None else bars,
            self.strategy,
            self.rules,
            self.contracts,
            metrics=self.metrics,
            range=self._span,
            engine=name,
        )

    def run_sweep(self, bars: Bars | None = None, *, engine: str = "", **how: Any) -> SweepResult:
        """Sweep the grid of ``[sweep]``.

        Parameters
        ----------
        bars : Bars, optional
            The bars of ``[data]``, where they have been read already.
        engine : str, optional
            ``"auto"``, ``"numba"`` or ``"rust"`` instead of that of ``[run]``.
        **how
            Arguments of :func:`backtest_py.sweep` that no section has, such as ``out``, ``resume``
            and ``threads``; or that take the place of a key, such as ``scenarios``.

        Raises
        ------
        BacktestError
            As :meth:`load_bars` and :func:`backtest_py.sweep`.
        """
        from backtest_py.sweep.run import sweep  # noqa: PLC0415 - reading a file needs no engine

        source = self.data.origin(self.directory, self.feed)
        asked = {**self._sweep_settings(engine), "source": source, **how}
        return sweep(self.load_bars() if bars is None else bars, **asked)

    def plan_sweep(self, bars: Bars | None = None, *, engine: str = "", **how: Any) -> Forecast:
        """Say what :meth:`run_sweep` would do; arguments as there.

        Raises
        ------
        BacktestError
            As :meth:`load_bars` and :func:`backtest_py.plan_sweep`.
        """
        from backtest_py.sweep.run import plan_sweep  # noqa: PLC0415 - as above

        asked = {**self._sweep_settings(engine), **how}
        return plan_sweep(self.load_bars() if bars is None else bars, **asked)

    def run_monte_carlo(
        self,
        bars: Bars | None = None,
        *,
        engine: str = "",
        threads: int = 0,
        progress: Callable[[Steps], None] | None = None,
        **changed: Any,
    ) -> MonteCarlo:
        """Run the backtest, and the Monte Carlo of its trades that ``[monte_carlo]`` describes.

        Parameters
        ----------
        bars : Bars, optional
            The bars of ``[data]``, where they have been read already.
        engine : str, optional
            Instead of that of ``[monte_carlo]``, or else of ``[run]``.
        threads : int
            0 for one per processor.
        progress : callable, optional
            As for :func:`backtest_py.monte_carlo`.
        **changed
            Keys of ``[monte_carlo]`` that have another value.

        Raises
        ------
        BacktestError
            As :meth:`backtest` and :func:`backtest_py.monte_carlo`.
        """
        from backtest_py.analysis.monte_carlo.run import run_settings  # noqa: PLC0415 - as above
        from backtest_py.analysis.monte_carlo.trades import trades_of  # noqa: PLC0415

        section = replace(self.monte_carlo, **changed)
        name = self._engine(engine or section.engine)
        trades = trades_of(self.backtest(bars, engine=name), None)
        how: dict[str, Any] = {"engine": name, "threads": threads, "progress": progress}
        return run_settings(trades, section.settings(), **how)

    def run_search(
        self,
        bars: Bars | None = None,
        *,
        engine: str = "",
        how: Mapping[str, Any] | None = None,
        **changed: Any,
    ) -> SearchResult:
        """Search the grid of ``[sweep]`` as ``[search]`` describes.

        Parameters
        ----------
        bars : Bars, optional
            The bars of ``[data]``, where they have been read already.
        engine : str, optional
            Instead of that of ``[run]``.
        how : mapping, optional
            Arguments of :func:`backtest_py.search` that no section has, such as ``out``,
            ``resume``, ``threads`` and ``progress``.
        **changed
            Keys of ``[search]`` that have another value.

        Raises
        ------
        BacktestError
            As :meth:`load_bars` and :func:`backtest_py.search`.
        """
        from backtest_py.analysis.search.run import search  # noqa: PLC0415 - as above

        section = replace(self.search, **changed)
        asked = self._grid_settings(engine)
        asked |= {"objective": section.objective, **section.to_mapping(), **(how or {})}
        return search(self.load_bars() if bars is None else bars, **asked)

    def run_walk_forward(
        self,
        bars: Bars | Mapping[str, Bars] | None = None,
        *,
        engine: str = "",
        **how: Any,
    ) -> WalkForward | WalkForwards:
        """Walk the grid of ``[sweep]`` forward, as ``[walk_forward]`` says.

        With ``[range]`` it is a simple forward test: it trains there, and tests on all that
        follows.

        Parameters
        ----------
        bars : Bars, or mapping of str to Bars, optional
            The bars of ``[data]``, where they have been read already; a mapping for several
            markets.
        engine : str, optional
            Instead of that of ``[walk_forward]``, or else of ``[run]``.
        **how
            Arguments of :func:`backtest_py.walk_forward` that no section has, such as ``out``,
            ``resume`` and ``threads``; or that take the place of a key, such as ``choose``.

        Raises
        ------
        BacktestError
            As :meth:`load_bars` and :func:`backtest_py.walk_forward`.
        """
        from backtest_py.analysis.walk_forward.run import walk_forward  # noqa: PLC0415 - as above

        section = dict(self.walk_forward)
        name = section.pop("engine", "")
        grid = self._grid_settings(engine or name)
        grid |= {"invalid": self.sweep.invalid, "sample": self.sweep.sample}
        asked = {**grid, **section, **how}
        if asked["range"] == (None, None):
            del asked["range"]
        if self.markets:
            asked["contract"] = self.contracts
        if bars is None:
            bars = self.load_many() if self.markets else self.load_bars()
        result: WalkForward | WalkForwards = walk_forward(bars, **asked)
        return result

    def _sweep_settings(self, engine: str) -> dict[str, Any]:
        """Return what ``[sweep]`` asks of a sweep."""
        asked = self._grid_settings(engine)
        for name in ("invalid", "sample", "scenarios", "blocks"):
            asked[name] = getattr(self.sweep, name)
        return asked

    def _grid_settings(self, engine: str) -> dict[str, Any]:
        """Return the question of a grid, whatever is asked of it."""
        settings = self.sweep
        if not settings.grid:
            raise ConfigError(
                "there is nothing to sweep: [sweep.grid] is empty; name a parameter and its "
                'values, as in "rules.stop" = [1.0, 2.0]'
            )
        return {
            "strategy": self.strategy,
            "grid": settings.grid,
            "where": settings.where,
            "rules": self.rules,
            "contract": self.contract,
            "metrics": self.metrics,
            "range": self._span,
            "engine": self._engine(engine),
        }

    @property
    def _span(self) -> tuple[str | None, str | None]:
        return self.range.start or None, self.range.end or None

    def _engine(self, engine: str) -> str:
        """Return the name of an engine that can be loaded, before the bars are read."""
        from backtest_py.engines.registry import resolve  # noqa: PLC0415

        name = engine or self.run.engine
        resolve(name)
        return name
