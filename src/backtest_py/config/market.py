"""Section ``[data]``: files of bars, or an exchange that is asked for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from backtest_py.bars import ReadOptions
from backtest_py.bars.zones import named_zone
from backtest_py.config.sections import date_text, table_of
from backtest_py.config.wording import BACKSLASHES, shortened
from backtest_py.errors import ConfigError
from backtest_py.parameters import Settings, parameter, unknown_name

if TYPE_CHECKING:
    from backtest_py.bars import Bars
    from backtest_py.data.feed import Feed

__all__ = ["DataSettings", "ExchangeSettings", "data_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings(ReadOptions):
    """Section ``[data]``: the file that holds the bars, and how to read it.

    Attributes
    ----------
    path : str or tuple of str
        One file, or several files of one series.
    paths : mapping of str to str or tuple of str
        Instead of ``path``: the file or files of each of several markets.
    """

    path: str | tuple[str, ...] = parameter(
        "", "texts", "file with the bars, relative to this file; or a list, of one series"
    )
    paths: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def validate(self) -> None:
        """Require a path, and no control character in it: those are escapes read by mistake."""
        ReadOptions.validate(self)
        if not self.path and not self.paths:
            raise ConfigError(
                "data.path is missing; name the file that holds the bars, as in path = "
                '"WIN_M5.csv", or write source = "binance" to fetch them'
            )
        if self.path and self.paths:
            raise ConfigError(
                f"data.path = {self.path!r} and data.paths exclude each other: path is one market, "
                "paths are several; leave one out"
            )
        for name, given in (("path", self.path), *self.paths.items()):
            for path in _files(given):
                if any(character < " " for character in path):
                    raise ConfigError(
                        f"data.{name} = {path!r} holds a control character; {BACKSLASHES}"
                    )
                if not path and given:
                    raise ConfigError(f"data.{name} = {given!r} holds no name; name a file")

    @property
    def markets(self) -> tuple[str, ...]:
        """Names of several markets, none where there is one."""
        return tuple(self.paths)

    @property
    def label(self) -> str:
        """What to call the bars where a result is shown."""
        return ", ".join(Path(path).name for path in _files(self.path))

    def load(self, directory: Path, _: Mapping[str, Any]) -> Bars:
        """Read the bars of the one market."""
        return self._read(self.path, directory)

    def load_many(self, directory: Path, _: Mapping[str, Any]) -> dict[str, Bars]:
        """Read the bars of several markets, in their order."""
        return {name: self._read(path, directory) for name, path in self.paths.items()}

    def _read(self, path: str | tuple[str, ...], directory: Path) -> Bars:
        from backtest_py.data.readers import load_bars  # noqa: PLC0415 - pyarrow, only when used

        options = self.to_mapping()
        del options["path"]
        return load_bars(path, directory=directory, **options)

    def origin(self, directory: Path, _: Mapping[str, Any]) -> dict[str, Any]:
        """Return how a sweep reads the bars again, paths in full."""
        full = [os.path.realpath(directory / path) for path in _files(self.path)]
        return {**self.to_mapping(), "path": full[0] if isinstance(self.path, str) else full}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings(Settings):
    """Section ``[data]`` with ``source``: candles of an exchange, from the nearest tier.

    Examples
    --------
    >>> span = {"start": "2025-02-22", "end": "2026-02-22"}
    >>> ExchangeSettings(symbol="BTCUSDT", interval="4h", **span).label
    'BTCUSDT 4h (binance)'
    """

    section: ClassVar[str] = "data"

    source: str = parameter(
        "binance", "choice", "exchange whose candles are fetched", choices=("binance",)
    )
    symbol: str = parameter("", "text", 'market, such as "BTCUSDT"')
    symbols: str | tuple[str, ...] = parameter((), "texts", "several markets instead of one")
    interval: str = parameter("", "text", 'how long a bar is, such as "1m", "4h" or "1d"')
    start: str = parameter("", "text", 'first date or time, UTC, as "2025-02-22"')
    end: str = parameter("", "text", "the date or time before which it ends, UTC")
    session_timezone: str = parameter("", "text", 'the clock of minutes and days; "" is UTC')

    def validate(self) -> None:
        """Require a market, an interval that there is, and dates in order."""
        from backtest_py.data.market.intervals import INTERVALS  # noqa: PLC0415 - of a feed alone
        from backtest_py.data.market.symbols import check_symbol  # noqa: PLC0415

        if bool(self.symbol) == bool(self.symbols):
            fault = "exclude each other" if self.symbol else "are missing"
            raise ConfigError(
                f'data.symbol and data.symbols {fault}; name one market, as in symbol = "BTCUSDT", '
                'or several, as in symbols = ["BTCUSDT", "ETHUSDT"]'
            )
        for symbol in self._symbols:
            try:
                check_symbol(symbol)
            except ConfigError as error:
                raise ConfigError(f"data.{error}") from None
            if self._symbols.count(symbol) > 1:
                raise ConfigError(f"data.symbols names {symbol!r} twice; name each market once")
        if not self.interval:
            raise ConfigError(f"data.interval is missing; give one of {', '.join(INTERVALS)}")
        if self.interval not in INTERVALS:
            raise unknown_name("data.interval", self.interval, INTERVALS)
        start, end = self._span
        if start >= end:
            raise ConfigError(
                f"data.start = {self.start!r} is not before data.end = {self.end!r}; give a start "
                "before the end"
            )
        if self.session_timezone not in {"", "UTC"}:
            named_zone(self.session_timezone)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return (self.symbol,) if self.symbol else _files(self.symbols)

    @property
    def _span(self) -> tuple[int, int]:
        return _instant("start", self.start), _instant("end", self.end)

    @property
    def markets(self) -> tuple[str, ...]:
        """Names of several markets, none where there is one."""
        return () if self.symbol else self._symbols

    @property
    def label(self) -> str:
        """What to call the bars where a result is shown."""
        return f"{', '.join(self._symbols)} {self.interval} ({self.source})"

    def load(self, _: Path, feed: Mapping[str, Any]) -> Bars:
        """Return the bars of the one market, from the nearest tier that has them."""
        with _opened(feed) as door:
            return door.bars(
                self.symbol, self.interval, *self._span, session_timezone=self._session
            )

    def load_many(self, _: Path, feed: Mapping[str, Any]) -> dict[str, Bars]:
        """Return the bars of several markets, in their order."""
        with _opened(feed) as door:
            return door.bars_many(
                self.markets, self.interval, *self._span, session_timezone=self._session
            )

    @property
    def _session(self) -> str:
        return self.session_timezone or "UTC"

    def origin(self, _: Path, feed: Mapping[str, Any]) -> dict[str, Any]:
        """Return how a sweep gets the bars again; no section of a file holds a secret."""
        names = ("source", "symbol", "interval", "start", "end", "session_timezone")
        return {name: getattr(self, name) for name in names} | ({"feed": {**feed}} if feed else {})


def data_of(document: Mapping[str, object]) -> DataSettings | ExchangeSettings:
    """Return the settings of ``[data]``: of files, or with ``source`` of an exchange.

    Raises
    ------
    ConfigError
        If a key or value is not allowed, or one belongs to the other kind.
    """
    table = table_of(document, "data")
    of_file = [spec.name for spec in DataSettings.parameters()] + ["paths"]
    of_exchange = [spec.name for spec in ExchangeSettings.parameters()]
    for key in table:
        if key not in {*of_file, *of_exchange}:
            raise unknown_name("key of [data]", key, {*of_file, *of_exchange})
    if "source" in table:
        _refuse(table, set(of_file) - set(of_exchange), "a file", "leave it or source out")
        moments = {name: date_text(table[name]) for name in ("start", "end") if name in table}
        return ExchangeSettings.from_mapping({**table, **moments})
    advice = 'add source = "binance", or leave it out'
    if "path" in table or "paths" in table:
        advice = "leave it out ([range] chooses a part of a file's bars)"
    _refuse(table, set(of_exchange) - set(of_file), "an exchange", advice)
    values: dict[str, Any] = dict(table)
    if "paths" in values:
        values["paths"] = _paths(values["paths"])
    return DataSettings(**values)


def _refuse(table: Mapping[str, object], names: set[str], kind: str, advice: str) -> None:
    """Refuse keys that belong to the other kind of data."""
    for key in table:
        if key in names:
            raise ConfigError(
                f"data.{key} = {shortened(repr(table[key]))} is a key of {kind}, which these data "
                f"are not; {advice}"
            )


def _paths(table: object) -> Mapping[str, str | tuple[str, ...]]:
    """Return the files of each market of ``[data.paths]``."""
    from backtest_py.data.market.symbols import check_symbol  # noqa: PLC0415 - seldom needed

    if not isinstance(table, Mapping) or not table:
        raise ConfigError(
            f"data.paths = {shortened(repr(table))} is not allowed; name the file of each market, "
            'as in paths = { WIN = "WIN_M5.csv", WDO = "WDO_M5.csv" }'
        )
    (spec,) = (spec for spec in DataSettings.parameters() if spec.name == "path")
    for name in table:
        try:
            check_symbol(name)
        except ConfigError as error:
            raise ConfigError(f"data.paths: {error}") from None
    checked = {
        name: replace(spec, name=f"paths.{name}").check(path, section="data")
        for name, path in table.items()
    }
    return MappingProxyType(checked)


def _files(path: str | tuple[str, ...]) -> tuple[str, ...]:
    return (path,) if isinstance(path, str) else path


def _instant(name: str, text: str) -> int:
    """Return an instant in milliseconds since 1970, UTC."""
    from backtest_py.data.market.asked import instant_of  # noqa: PLC0415 - of a feed alone

    if not text:
        raise ConfigError(
            f'data.{name} is missing; give a date or time, UTC, as in {name} = "2025-02-22"'
        )
    return instant_of(text, f"data.{name}")


def _opened(section: Mapping[str, Any]) -> Feed:
    from backtest_py.data.settings import FeedSettings, open_feed  # noqa: PLC0415 - of `data`

    return open_feed(settings=FeedSettings.of(section=section))
