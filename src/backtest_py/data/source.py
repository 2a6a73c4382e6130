"""Where the bars of a sweep came from, so that its rows can be replayed without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest_py._io.paths import given_path
from backtest_py.bars import ReadOptions, build_bars
from backtest_py.bars.validation import market_title
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.bars import Bars

__all__ = ["history_change", "load_source", "market_of_manifest", "other_bars", "source_of"]

_MILLISECOND: Final = 1_000_000
_BEFORE_ZONES: Final = "dayfirst"
"""An option that sweeps did not note while a column's own zone was not yet the session's: theirs
was UTC then, and ``timezone`` was ignored for instants of whatever zone."""


def source_of(bars: Bars) -> dict[str, Any]:
    """Return how bars are had again, empty where they came from no file and no exchange.

    Parameters
    ----------
    bars : Bars
        The bars.

    Returns
    -------
    dict of str to object
        Arguments of :func:`backtest_py.load_bars`, paths in full; or ``source``, ``symbol``,
        ``interval``, ``start``, ``end`` and ``session_timezone`` of an exchange. Compare the hash
        of the bars afterwards, because files and histories change.

    Examples
    --------
    >>> from backtest_py import synthetic_bars
    >>> source_of(synthetic_bars(n_days=1))
    {}
    """
    arguments = dict(bars.report.arguments or {})
    if not arguments.get("source"):
        return arguments
    from backtest_py.data.market.intervals import interval_of  # noqa: PLC0415 - of a feed alone

    # the span is that of the bars themselves, which may be a slice
    first, last = (int(bars.time[row]) // _MILLISECOND for row in (0, -1))
    return {
        **arguments,
        "start": _text(first),
        "end": _text(interval_of(arguments["interval"]).after(last)),
        "session_timezone": bars.session_timezone,
    }


def _text(instant: int) -> str:
    return str(np.datetime_as_string(np.datetime64(instant, "ms"), unit="s")).replace("T", " ")


def history_change(manifest: Mapping[str, Any], bars_hash: str, certificate: str) -> str:
    """Say how an exchange's bars differ from those that a sweep's manifest speaks of.

    Parameters
    ----------
    manifest : mapping
        Of the sweep.
    bars_hash, certificate : str
        Of the bars that there are now.

    Returns
    -------
    str
        Empty where the bars are the same, or were those of a file.

    Examples
    --------
    >>> history_change({"identity": {"bars_hash": "a"}, "data": {"path": "bars.csv"}}, "b", "")
    ''
    """
    data, market = (_mapping(manifest.get(name)) for name in ("data", "market"))
    before = str(_mapping(manifest.get("identity")).get("bars_hash", ""))
    if not data.get("source") or before == bars_hash:
        return ""
    series = " ".join(str(data.get(name, "")) for name in ("symbol", "interval", "start", "end"))
    signed = str(market.get("certificate", ""))
    return (
        f"the bars of {series} from {data['source']} are not those that were swept: the exchange's "
        f"history or what the tiers keep of it has changed; the bars' hash was {before}, now "
        f"{bars_hash}; their certificate was {signed or 'unknown'}, now {certificate or 'unknown'}"
    )


def other_bars(manifest: Mapping[str, Any], expected: str, bars: Bars) -> str:
    """Say that bars are not those of a sweep, whose hash is ``expected``, and what to do."""
    changed = history_change(manifest, bars.content_hash, bars.report.certificate)
    if changed:
        return f"{changed}; sweep again, or give the bars that were swept"
    return (
        f"these are not the bars that were swept: their hash is {bars.content_hash[:12]}…, not "
        f"{expected[:12]}…; give the same file, read with the same options"
    )


def market_of_manifest(manifest: Mapping[str, Any]) -> str:
    """Return symbol, interval and exchange that were swept, "" where no symbol is known.

    Examples
    --------
    >>> market_of_manifest({"market": {"symbol": "BTCUSDT", "interval": "4h", "source": "x"}})
    'BTCUSDT 4h (x)'
    """
    market = _mapping(manifest.get("market"))
    return market_title(*(str(market.get(name, "")) for name in ("symbol", "interval", "source")))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def load_source(source: Mapping[str, Any]) -> Bars:
    """Read the bars again, or ask the feed for them.

    Raises
    ------
    ConfigError
        If they came from no file, or the file is gone.
    DataError
        If the file is damaged, or an exchange has the bars no more.
    ExchangeError
        If the exchange had to be asked and gave no usable answer.
    """
    if source.get("source"):
        return _from_feed(source)
    if not source.get("path"):
        raise ConfigError(
            "the sweep's bars came from no file; give them: open_sweep(path, bars=bars)"
        )
    from backtest_py.data.readers import read_columns, read_several  # noqa: PLC0415 - pyarrow

    known = {spec.name for spec in ReadOptions.parameters()}
    options = ReadOptions.from_mapping({key: source[key] for key in source if key in known})
    if isinstance(source["path"], list):
        return read_several([(str(each), given_path(each)) for each in source["path"]], options)
    columns, report = read_columns(given_path(source["path"]), options)
    if _BEFORE_ZONES not in source and columns.times.has_zone:
        session = options.session_timezone or "UTC"
        options = replace(options, timezone="", session_timezone=session)
    return build_bars(columns, options, report, identical="drop")


def _from_feed(source: Mapping[str, Any]) -> Bars:
    from backtest_py.data.market.gathering import EXCHANGE  # noqa: PLC0415 - of a feed alone
    from backtest_py.data.settings import FeedSettings, open_feed  # noqa: PLC0415

    if source["source"] != EXCHANGE:
        raise ConfigError(
            f"source = {source['source']!r} is no exchange that is known here; give the bars: "
            "open_sweep(path, bars=bars)"
        )
    with open_feed(settings=FeedSettings.of(section=source.get("feed"))) as feed:
        return feed.bars(
            *(source.get(name, "") for name in ("symbol", "interval", "start", "end")),
            session_timezone=source.get("session_timezone") or "UTC",
        )
