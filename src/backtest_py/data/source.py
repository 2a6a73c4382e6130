"""Where the bars of a sweep came from, so that its rows can be replayed without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from backtest_py._io.paths import given_path
from backtest_py.bars import ReadOptions, build_bars
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.bars import Bars

__all__ = ["load_source", "source_of"]

_BEFORE_ZONES: Final = "dayfirst"
"""An option that sweeps did not note while a column's own zone was not yet the session's: theirs
was UTC then, and ``timezone`` was ignored for instants of whatever zone."""


def source_of(bars: Bars) -> dict[str, Any]:
    """Return how bars are read from their file again, empty where they came from none.

    Parameters
    ----------
    bars : Bars
        The bars.

    Returns
    -------
    dict of str to object
        Arguments of :func:`backtest_py.load_bars`, the path in full. Compare the hash of the
        bars after reading, because a file can change.

    Examples
    --------
    >>> from backtest_py import synthetic_bars
    >>> source_of(synthetic_bars(n_days=1))
    {}
    """
    return dict(bars.report.arguments or {})


def load_source(source: Mapping[str, Any]) -> Bars:
    """Read the bars again.

    Raises
    ------
    ConfigError
        If they came from no file, or the file is gone.
    DataError
        If the file is damaged.
    """
    if not source.get("path"):
        raise ConfigError(
            "the sweep's bars came from no file; give them: open_sweep(path, bars=bars)"
        )
    from backtest_py.data.readers import read_columns  # noqa: PLC0415 - imports pyarrow

    known = {spec.name for spec in ReadOptions.parameters()}
    options = ReadOptions.from_mapping({key: source[key] for key in source if key in known})
    columns, report = read_columns(given_path(source["path"]), options)
    if _BEFORE_ZONES not in source and columns.times.has_zone:
        session = options.session_timezone or "UTC"
        options = replace(options, timezone="", session_timezone=session)
    return build_bars(columns, options, report, identical="drop")
