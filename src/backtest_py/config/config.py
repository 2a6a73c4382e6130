"""The TOML file as typed, validated, immutable objects.

One file serves every command. Each section is a :class:`~backtest_py.parameters.Settings` class,
so that a value is checked the same way in Python and in TOML; this module adds the sections that
only a file has, reads the file, and writes a commented one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

import numpy as np

from backtest_py.bars.timestamps import parse_times
from backtest_py.contract import Contract, MetricSettings
from backtest_py.engines.registry import ENGINE_NAMES
from backtest_py.errors import ConfigError, DataError
from backtest_py.parameters import Parameter, Settings, parameter, unknown_name
from backtest_py.rules import ExitRules
from backtest_py.strategies.base import get_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backtest_py.backtest.result import BacktestResult
    from backtest_py.bars import Bars
    from backtest_py.strategies import Strategy
    from backtest_py.sweep.compute.plan import Plan
    from backtest_py.sweep.result.result import SweepResult
    from backtest_py.sweep.space.axis import GridSpec
    from backtest_py.sweep.space.grid import Grid
    from backtest_py.sweep.space.sample import Sample, SampledGrid

__all__ = [
    "Config",
    "DataSettings",
    "RangeSettings",
    "RunSettings",
    "SweepSettings",
    "commented_toml",
    "toml_value",
]

SettingsT = TypeVar("SettingsT", bound=Settings)

SECTIONS: Final = (
    "data",
    "strategy",
    "rules",
    "contract",
    "metrics",
    "range",
    "run",
    "sweep",
)
DEFAULT_STRATEGY: Final = "barra_elefante"
BACKSLASHES: Final = (
    "between double quotes a backslash begins an escape; write a path with forward slashes, or "
    "between single quotes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings(Settings):
    """Section ``[data]``: the file that holds the bars, and how to read it."""

    section: ClassVar[str] = "data"

    path: str = parameter("", "text", "file with the bars, relative to this file")
    format: str = parameter(
        "auto",
        "choice",
        "layout of the file",
        choices=("auto", "csv", "mt5", "profit", "parquet", "feather"),
    )
    timezone: str = parameter("", "text", 'the file\'s clock, such as "America/Sao_Paulo"')
    session_timezone: str = parameter(
        "", "text", 'the clock of minutes and days; "" is that of timezone'
    )
    empty: str = parameter(
        "refuse", "choice", "bars in which nothing traded", choices=("refuse", "drop")
    )
    decimal: str = parameter(
        "auto", "choice", "decimal mark of a text file", choices=("auto", ".", ",")
    )
    ambiguous: str = parameter(
        "infer",
        "choice",
        "a local time that occurs twice",
        choices=("infer", "earlier", "later", "refuse"),
    )
    nonexistent: str = parameter(
        "refuse",
        "choice",
        "a local time that the clock skips",
        choices=("refuse", "shift_forward"),
    )

    def validate(self) -> None:
        """Require a path, and no control character in it: those are escapes read by mistake."""
        if not self.path:
            raise ConfigError(
                'data.path is missing; name the file that holds the bars, as in path = "WIN_M5.csv"'
            )
        if any(character < " " for character in self.path):
            raise ConfigError(f"data.path = {self.path!r} holds a control character; {BACKSLASHES}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeSettings(Settings):
    """Section ``[range]``: the half-open range of signals, on the session's clock."""

    section: ClassVar[str] = "range"

    start: str = parameter("", "text", 'first date or time, as "2023-03-01"; "" is the first bar')
    end: str = parameter("", "text", 'the date or time before which it ends; "" is no end')

    def validate(self) -> None:
        """Require dates that exist, in order."""
        start, end = _moment("start", self.start), _moment("end", self.end)
        if start is not None and end is not None and start >= end:
            raise ConfigError(
                f"range.start = {self.start!r} is not before range.end = {self.end!r}; "
                "give a start before the end"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings(Settings):
    """Section ``[run]``."""

    section: ClassVar[str] = "run"

    engine: str = parameter("auto", "choice", "what computes the backtest", choices=ENGINE_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings(Settings):
    """Section ``[sweep]``: the grid, and optionally a sample of it."""

    section: ClassVar[str] = "sweep"

    where: str = parameter(
        "", "text", 'a condition between parameters, as "rules.target > rules.stop"'
    )
    invalid: str = parameter(
        "refuse", "choice", "combinations that are not allowed", choices=("refuse", "skip")
    )
    scenarios: bool = parameter(
        default=False, kind="bool", doc="compute every metric for both values of rules.intrabar"
    )
    grid: Mapping[str, GridSpec] = field(default_factory=lambda: MappingProxyType({}))
    sample: Sample | None = None


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
        document = _parse(path)
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
        strategy = _strategy(_table(document, "strategy"))
        rules, contract = _settings(ExitRules, document), _settings(Contract, document)
        return cls(
            data=_settings(DataSettings, document),
            strategy=strategy,
            rules=rules,
            contract=contract,
            metrics=_settings(MetricSettings, document),
            range=RangeSettings.from_mapping(
                {key: _date_text(value) for key, value in _table(document, "range").items()}
            ),
            run=_settings(RunSettings, document),
            sweep=_sweep(_table(document, "sweep"), strategy, rules, contract),
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

    def grid(self) -> Grid | SampledGrid:
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

        source = {**self.data.to_mapping(), "path": str(self.path.resolve())}
        asked = {**self._sweep_settings(engine), "source": source, **how}
        return sweep(self.load_bars() if bars is None else bars, **asked)

    def plan_sweep(self, bars: Bars | None = None, *, engine: str = "", **how: Any) -> Plan:
        """Say what :meth:`run_sweep` would do; arguments as there.

        Raises
        ------
        BacktestError
            As :meth:`load_bars` and :func:`backtest_py.plan_sweep`.
        """
        from backtest_py.sweep.run import plan_sweep  # noqa: PLC0415 - as above

        asked = {**self._sweep_settings(engine), **how}
        return plan_sweep(self.load_bars() if bars is None else bars, **asked)

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


def _parse(path: Path) -> dict[str, object]:
    if path.is_dir():
        raise ConfigError(f"{path} is a directory; give a TOML file")
    try:
        # utf-8-sig, because editors on Windows write a mark that TOML refuses
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist; `backtest-py init {path}` writes a commented one"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a TOML file: byte {error.start} is not UTF-8 text"
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        remedy = _remedy_of_backslashes(text, str(error))
        raise ConfigError(f"{path} is not valid TOML: {error}{remedy}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not a configuration: it is nested too deeply") from error


def _remedy_of_backslashes(text: str, error: str) -> str:
    """Return the remedy where the line that an error names holds a backslash, else ``""``."""
    line = re.search(r"at line (\d+)", error)
    if line is None or "\\" not in text.split("\n")[int(line[1]) - 1]:
        return ""
    return f"; {BACKSLASHES}"


def _table(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = document.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} = {value!r} is not allowed; write it as a section [{name}]")
    return cast("Mapping[str, object]", value)


def _settings(kind: type[SettingsT], document: Mapping[str, object]) -> SettingsT:
    return kind.from_mapping(_table(document, kind.section))


def _strategy(table: Mapping[str, object]) -> Strategy:
    known = ("name", "params")
    name = table.get("name", DEFAULT_STRATEGY)
    if not isinstance(name, str):
        raise ConfigError(f"strategy.name = {name!r} is not allowed; give a name in quotes")
    params = table.get("params", {})
    if not isinstance(params, Mapping):
        raise ConfigError(
            f"strategy.params = {params!r} is not allowed; give a table, as in "
            "params = { lookback = 20 }"
        )
    strategy = get_strategy(name, cast("Mapping[str, object]", params))
    for key in table:
        if key not in known:
            if key in {spec.name for spec in strategy.parameters()}:
                raise ConfigError(f"{key!r} stands in [strategy]; move it into strategy.params")
            raise unknown_name("key of [strategy]", key, known)
    return strategy


def _date_text(value: object) -> object:
    """Turn TOML's own dates into text, so that both ways to write one mean the same."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else value


def _moment(name: str, text: str) -> int | None:
    """Return a time of the session's clock in nanoseconds, None where it is open."""
    if not text:
        return None
    try:
        times = parse_times(np.array([text.encode("ascii", "replace")]), f"range.{name}".format)
    except DataError:
        times = None
    if times is None or times.has_zone:
        raise ConfigError(
            f"range.{name} = {text!r} is not allowed; give a date or time of the session's clock "
            'without a zone, as "2023-03-01" or "2023-03-01 09:00"'
        )
    return int(times.ns[0])


def _sweep(
    table: Mapping[str, object], strategy: Strategy, rules: ExitRules, contract: Contract
) -> SweepSettings:
    if not table:
        return SweepSettings()
    # imported here, because most commands know no grid
    from backtest_py.sweep.space.axis import grid_spec  # noqa: PLC0415
    from backtest_py.sweep.space.sample import Sample  # noqa: PLC0415
    from backtest_py.sweep.space.space import check_grid  # noqa: PLC0415

    tables = {name: table.get(name, {}) for name in ("grid", "sample")}
    for name, value in tables.items():
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"sweep.{name} = {value!r} is not allowed; write it as [sweep.{name}]"
            )
    grid = cast("Mapping[str, object]", tables["grid"])
    for key in grid:
        if key in {"strategy", "rules", "contract"}:
            raise ConfigError(f'a key of [sweep.grid] is written in quotes, as "{key}.…"')
    settings = SweepSettings.from_mapping(
        {key: value for key, value in table.items() if key not in tables}
    )
    settings = replace(
        settings,
        grid=MappingProxyType({key: grid_spec(key, value) for key, value in grid.items()}),
        sample=Sample.from_mapping(_table(table, "sample")) if "sample" in table else None,
    )
    check_grid(strategy, rules, contract, settings.grid, settings.where, settings.invalid)
    return settings


def commented_toml(path: str = "WIN_M5.csv") -> str:
    """Return a configuration file with every key, its default and what it accepts.

    Parameters
    ----------
    path : str, optional
        File with the bars.

    Examples
    --------
    >>> import tomllib
    >>> tomllib.loads(commented_toml())["rules"]["stop"]
    2.0
    """
    from backtest_py.sweep.space.sample import Sample  # noqa: PLC0415 - as in _sweep

    strategy = get_strategy(DEFAULT_STRATEGY)
    lines = ["# backtest-py configuration. Every value but data.path is the default."]
    lines += _section("data", DataSettings.parameters(), path=path)
    lines += ["", "[strategy]", f"name = {json.dumps(strategy.name)}"]
    lines += _section("strategy.params", strategy.parameters())
    lines += _section("rules", ExitRules.parameters(), note='0 or "" switches a rule off')
    lines += _section("contract", Contract.parameters())
    lines += _section("metrics", MetricSettings.parameters())
    lines += ["", "[range]  # optional: admits signals from start up to, but not at, end"]
    lines += ['# start = "2023-03-01"', '# end = "2023-05-01"']
    lines += _section("run", RunSettings.parameters())
    lines += _section("sweep", SweepSettings.parameters(), note="a single run ignores it")
    lines += ["", "[sweep.grid]  # a list, or an inclusive range, for any parameter above"]
    lines += ['# "strategy.min_range_mult" = [1.0, 1.5, 2.0]']
    lines += ['# "rules.stop" = { start = 0.5, stop = 3.0, step = 0.5 }']
    lines += ["", "# [sweep.sample]  # so many combinations instead of all"]
    lines += [f"# {line}" for line in _keys(Sample.parameters())]
    return "\n".join(lines) + "\n"


def _section(
    name: str, specs: tuple[Parameter, ...], *, note: str = "", path: str = ""
) -> Iterator[str]:
    yield ""
    yield f"[{name}]" + (f"  # {note}" if note else "")
    yield from _keys(specs, path=path)


def _keys(specs: tuple[Parameter, ...], *, path: str = "") -> Iterator[str]:
    values = {spec.name: path if spec.name == "path" else spec.default for spec in specs}
    keys = {spec.name: f"{spec.name} = {toml_value(values[spec.name])}" for spec in specs}
    width = max(map(len, keys.values()))
    for spec in specs:
        allowed = "" if spec.kind == "text" else f" ({spec.allowed})"
        yield f"{keys[spec.name]:<{width}}  # {spec.doc}{allowed}"


def toml_value(value: object) -> str:
    """Return a parameter's value as a TOML file writes it.

    Examples
    --------
    >>> toml_value(False), toml_value("09:15"), toml_value(2.0)
    ('false', '"09:15"', '2.0')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)
