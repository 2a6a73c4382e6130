"""The sections of the TOML file: what each one holds, and how a table becomes settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar, cast

import numpy as np

from backtest_py.bars.timestamps import parse_times
from backtest_py.contract import Contract
from backtest_py.engines.registry import ENGINE_NAMES
from backtest_py.errors import ConfigError, DataError
from backtest_py.parameters import Settings, parameter, unknown_name
from backtest_py.strategies.base import get_strategy

if TYPE_CHECKING:
    from pathlib import Path

    from backtest_py.rules import ExitRules
    from backtest_py.strategies import Strategy
    from backtest_py.sweep.space.axis import GridSpec
    from backtest_py.sweep.space.sample import Sample

__all__ = [
    "DEFAULT_STRATEGY",
    "SECTIONS",
    "RangeSettings",
    "RunSettings",
    "SweepSettings",
    "contracts_of",
    "date_text",
    "feed_of",
    "range_of",
    "settings_of",
    "strategy_of",
    "sweep_of",
    "table_of",
]

SettingsT = TypeVar("SettingsT", bound=Settings)

SECTIONS: Final = (
    "data",
    "feed",
    "strategy",
    "rules",
    "contract",
    "contracts",
    "metrics",
    "range",
    "run",
    "sweep",
    "walk_forward",
    "monte_carlo",
    "search",
)
DEFAULT_STRATEGY: Final = "barra_elefante"


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
    blocks: int = parameter(
        16, "int", "blocks of days whose sums are kept, even; 0 keeps none", minimum=0, maximum=20
    )
    grid: Mapping[str, GridSpec] = field(default_factory=lambda: MappingProxyType({}))
    sample: Sample | None = None

    def validate(self) -> None:
        """Require a number of blocks that can be cut in half."""
        if self.blocks % 2:
            raise ConfigError(
                f"sweep.blocks = {self.blocks} is not allowed; give an even number, or 0"
            )


def table_of(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a section of a document, empty where it has none."""
    value = document.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} = {value!r} is not allowed; write it as a section [{name}]")
    return cast("Mapping[str, object]", value)


def settings_of(kind: type[SettingsT], document: Mapping[str, object]) -> SettingsT:
    """Return the settings of a section that is nothing but keys and values."""
    return kind.from_mapping(table_of(document, kind.section))


def strategy_of(document: Mapping[str, object]) -> Strategy:
    """Return the strategy that ``[strategy]`` names, with its parameters."""
    table = table_of(document, "strategy")
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


def range_of(document: Mapping[str, object]) -> RangeSettings:
    """Return the range, whose dates may be written in quotes or without."""
    table = table_of(document, "range")
    return RangeSettings.from_mapping({key: date_text(value) for key, value in table.items()})


def contracts_of(
    document: Mapping[str, object], markets: tuple[str, ...]
) -> Mapping[str, Contract]:
    """Return the contract of each of several markets: ``[contracts.NAME]`` over ``[contract]``."""
    table, common = table_of(document, "contracts"), table_of(document, "contract")
    if table and not markets:
        raise ConfigError(
            "[contracts] is for several markets, and [data] names one; write its keys in [contract]"
        )
    for name, own in table.items():
        if name not in markets:
            raise unknown_name("market in [contracts]", name, markets)
        if not isinstance(own, Mapping):
            raise ConfigError(
                f"contracts.{name} = {own!r} is not allowed; write it as [contracts.{name}]"
            )
    found = {}
    for name in markets:
        own = cast("Mapping[str, object]", table.get(name, {}))
        try:
            found[name] = Contract.from_mapping({**common, **own})
        except ConfigError as error:
            raise ConfigError(f"[contracts.{name}]: {error}" if own else str(error)) from None
    return MappingProxyType(found)


def feed_of(document: Mapping[str, object], directory: Path) -> Mapping[str, object]:
    """Return ``[feed]`` as it is written, folders taken as relative to the file."""
    if "feed" not in document:
        return MappingProxyType({})
    from backtest_py.data.settings import FeedSettings  # noqa: PLC0415 - of a feed alone

    return MappingProxyType(FeedSettings.located(document["feed"], directory))


def date_text(value: object) -> object:
    """Return TOML's own dates as text, anything else as it is."""
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


def sweep_of(
    document: Mapping[str, object], strategy: Strategy, rules: ExitRules, contract: Contract
) -> SweepSettings:
    """Return the sweep, its keys and values checked; which combinations fit is not asked here."""
    table = table_of(document, "sweep")
    if not table:
        return SweepSettings()
    # imported here, because most commands need no grid
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
        sample=Sample.from_mapping(table_of(table, "sample")) if "sample" in table else None,
    )
    check_grid(strategy, rules, contract, settings.grid, settings.where, settings.invalid)
    return settings
