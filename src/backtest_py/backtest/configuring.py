"""A backtest as a configuration file that runs it again, bit for bit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from backtest_py.bars import ReadOptions
from backtest_py.data.source import source_of
from backtest_py.errors import BacktestError, ConfigError
from backtest_py.parameters import toml_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backtest_py.bars import Bars
    from backtest_py.engines.base import Job

__all__ = ["configuration_toml"]

_PLAIN: Final = re.compile("[A-Za-z0-9_]+")
_PACKAGE: Final = __name__.partition(".")[0]
_EXCHANGE: Final = ("source", "symbol", "interval", "start", "end")
"""What names the bars of an exchange, beside the clock of the session."""


def configuration_toml(
    job: Job, engine: str, *, source: Mapping[str, Any] | None = None, note: str = ""
) -> str:
    """Return the text of a TOML file whose run is this backtest: the same trades and metrics.

    Parameters
    ----------
    job : Job
        What was asked for.
    engine : str
        The engine that answered.
    source : mapping, optional
        Where the bars are had again, as a sweep's manifest has it; without it, what they report.
    note : str
        Said in a comment at the head of the file.

    Raises
    ------
    ConfigError
        If no file can say it: the strategy is a user's own, the bars came from no file, or the
        file no longer holds them.
    """
    strategy = _named_strategy(job)
    given = source_of(job.bars) if source is None else source
    _check_source(given, job.bars)
    lines = [f"# {line}" for line in note.splitlines()]
    feed = given.get("feed")
    known = ("path", *_EXCHANGE, *(spec.name for spec in ReadOptions.parameters()))
    lines += _section("data", {name: given[name] for name in known if name in given})
    if feed:
        lines += _section("feed", feed)
    lines += ["", "[strategy]", f"name = {toml_value(strategy.name)}"]
    lines += _section("strategy.params", strategy.to_mapping())
    for settings in (job.rules, job.contract, job.metrics):
        lines += _section(settings.section, settings.to_mapping())
    span = _span(job)
    if span:
        lines += _section("range", span)
    lines += _section("run", {"engine": engine})
    return "\n".join(lines).lstrip("\n") + "\n"


def _section(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"[{name}]"
    for key, value in values.items():
        # what a manifest says is data: a key that is no plain word is quoted
        yield f"{key if _PLAIN.fullmatch(key) else toml_value(key)} = {toml_value(value)}"


def _named_strategy(job: Job) -> Any:
    """Return the strategy, which a file can name."""
    remedy = "keep the program that ran it, and replay the row there"
    if job.strategy is None:
        raise ConfigError(
            "signals of your own cannot be written into a configuration, which names a strategy of "
            f"the package; {remedy}"
        )
    if not type(job.strategy).__module__.startswith(f"{_PACKAGE}."):
        raise ConfigError(
            f"strategy {job.strategy.name!r} is your own code, and a configuration names "
            f"strategies of the package alone, because a file should not run code; {remedy}"
        )
    return job.strategy


def _check_source(source: Mapping[str, Any], bars: Bars) -> None:
    """Refuse bars that would not be had again: a file would name others, or none."""
    remedy = 'write them (bars.to_frame().to_parquet("bars.parquet")), load that and run again'
    if not source.get("path") and not source.get("source"):
        raise ConfigError(
            f"these bars came from no file and no exchange, so no configuration can name them; "
            f"{remedy}"
        )
    if source.get("source"):
        return  # an exchange's bars are had from the span of these
    from backtest_py.data.readers import load_bars  # noqa: PLC0415 - pyarrow, only when used

    options = {spec.name for spec in ReadOptions.parameters()} & set(source)
    try:
        read = load_bars(source["path"], **{name: source[name] for name in options})
        same = read.has_hash(bars.content_hash)
    except (BacktestError, OSError) as error:
        raise ConfigError(f"the file of these bars cannot be read again: {error}") from error
    if not same:
        raise ConfigError(
            f"{source['path']} does not hold these bars, but others: they are a part of it, were "
            f"changed since they were read, or the file was; {remedy}"
        )


def _span(job: Job) -> dict[str, str]:
    """Return the range as its start and end on the session's clock, as far as it is bounded."""
    bars, span = job.bars, {}
    if job.first > 0:
        span["start"] = bars.time_text(job.first)
    if job.last < len(bars):
        span["end"] = bars.time_text(job.last)
    if bars.bounds(span.get("start"), span.get("end")) != (job.first, job.last):
        raise ConfigError(
            f"no dates say the range from bar {job.first:,} up to bar {job.last:,}: the session's "
            f"clock shows {' or '.join(span.values())} twice; choose a range that starts and ends "
            "on other days"
        )
    return span
