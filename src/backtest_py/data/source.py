"""Where the bars of a sweep came from, so that a row can be replayed without being given them."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest_py.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest_py.bars import Bars

__all__ = ["load_source", "source_of"]


def source_of(bars: Bars) -> dict[str, str]:
    """Return how bars are read from their file again, empty where they came from none.

    Parameters
    ----------
    bars : Bars
        The bars.

    Returns
    -------
    dict of str to str
        Arguments of :func:`backtest_py.load_bars`, the path in full. Whoever reads by them
        compares the hash of the bars, because a file can change.

    Examples
    --------
    >>> from backtest_py import synthetic_bars
    >>> source_of(synthetic_bars(n_days=1))
    {}
    """
    report = bars.report
    if not report.path:
        return {}
    return {
        "path": str(Path(report.path).resolve()),
        "format": report.format,
        "timezone": bars.timezone,
        "session_timezone": bars.session_timezone,
        "empty": "drop" if report.empty_dropped else "refuse",
    }


def load_source(source: Mapping[str, Any]) -> Bars:
    """Read the bars again.

    Raises
    ------
    ConfigError
        If they came from no file, or the file is gone.
    DataError
        If the file is damaged, or the arguments are none of ``load_bars``.
    """
    if not source:
        raise ConfigError(
            "the sweep's bars came from no file; give them: open_sweep(path, bars=bars)"
        )
    from backtest_py.data.readers import load_bars  # noqa: PLC0415 - imports pyarrow

    try:
        signature(load_bars).bind(**source)
    except TypeError as error:
        raise DataError(
            f"the sweep does not say how its bars are read again ({error}); give them: "
            "open_sweep(path, bars=bars)"
        ) from error
    return load_bars(**source)
