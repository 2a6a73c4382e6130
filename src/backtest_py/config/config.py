"""The TOML file as typed, validated, immutable objects.

One file serves every command. Each section is a :class:`~backtest_py.parameters.Settings` class,
so that a value is checked the same way in Python and in TOML; this module adds the sections that
only a file has, and what a command does with the whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest_py.bars import ReadOptions
from backtest_py.config.monte_carlo import MonteCarloSection
from backtest_py.config.reading import read_toml
from backtest_py.config.sections import (
    SECTIONS,
    RangeSettings,
    RunSettings,
    SweepSettings,
    range_of,
    settings_of,
    strategy_of,
    sweep_of,
)
from backtest_py.config.wording import BACKSLASHES
from backtest_py.contract import Contract, MetricSettings
from backtest_py.errors import ConfigError
from backtest_py.parameters import parameter, unknown_name
from backtest_py.rules import ExitRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.analysis.monte_carlo.result import MonteCarlo
    from backtest_py.backtest.result import BacktestResult
    from backtest_py.bars import Bars
    from backtest_py.strategies import Strategy
    from backtest_py.sweep.compute.forecast import Forecast
    from backtest_py.sweep.result.result import SweepResult
    from backtest_py.sweep.space.combinations import Combinations

__all__ = ["Config", "DataSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings(ReadOptions):
    """Section ``[data]``: the file that holds the bars, and how to read it."""

    path: str = parameter("", "text", "file with the bars, relative to this file")

    def validate(self) -> None:
        """Require a path, and no control character in it: those are escapes read by mistake."""
        ReadOptions.validate(self)
        if not self.path:
            raise ConfigError(
                'data.path is missing; name the file that holds the bars, as in path = "WIN_M5.csv"'
            )
        if any(character < " " for character in self.path):
            raise ConfigError(f"data.path = {self.path!r} holds a control character; {BACKSLASHES}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration file, read and checked.

    Attributes
    ----------
    directory : Path
        Folder that ``data.path`` is relative to.

    Examples
    --------
    >>> config = Config.from_mapping({"data": {"path": "WIN_M5.csv"}, "rules": {"stop": 1.5}})
    >>> config.rules.stop, config.strategy.name
    (1.5, 'barra_elefante')
    """

    data: DataSettings
    strategy: Strategy
    rules: ExitRules = field(default_factory=ExitRules)
    contract: Contract = field(default_factory=Contract)
    metrics: MetricSettings = field(default_factory=MetricSettings)
    range: RangeSettings = field(default_factory=RangeSettings)
    run: RunSettings = field(default_factory=RunSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    monte_carlo: MonteCarloSection = field(default_factory=MonteCarloSection)
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
        strategy = strategy_of(document)
        rules, contract = settings_of(ExitRules, document), settings_of(Contract, document)
        return cls(
            data=settings_of(DataSettings, document),
            strategy=strategy,
            rules=rules,
            contract=contract,
            metrics=settings_of(MetricSettings, document),
            range=range_of(document),
            run=settings_of(RunSettings, document),
            sweep=sweep_of(document, strategy, rules, contract),
            monte_carlo=settings_of(MonteCarloSection, document),
            directory=Path(directory),
        )

    @property
    def path(self) -> Path:
        """File with the bars."""
        return self.directory / self.data.path

    def load_bars(self) -> Bars:
        """Read the bars that ``[data]`` describes.

        Raises
        ------
        ConfigError, DataError
            As :func:`backtest_py.load_bars`.
        """
        from backtest_py.data.readers import load_bars  # noqa: PLC0415 - pyarrow, only when used

        options = self.data.to_mapping()
        del options["path"]
        return load_bars(self.data.path, directory=self.directory, **options)

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

        source = {**self.data.to_mapping(), "path": os.path.realpath(self.path)}
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
        self, bars: Bars | None = None, *, engine: str = "", threads: int = 0, **changed: Any
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
        return run_settings(trades, section.settings(), engine=name, threads=threads)

    def _sweep_settings(self, engine: str) -> dict[str, Any]:
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
            "invalid": settings.invalid,
            "sample": settings.sample,
            "scenarios": settings.scenarios,
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
