"""The commented configuration file that `backtest-py init` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from backtest_py.config.market import DataSettings, ExchangeSettings
from backtest_py.config.monte_carlo import MonteCarloSection
from backtest_py.config.sections import DEFAULT_STRATEGY, RunSettings, SweepSettings
from backtest_py.contract import Contract, MetricSettings
from backtest_py.parameters import toml_value
from backtest_py.rules import DEFAULT_TARGET, ExitRules
from backtest_py.strategies.base import get_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backtest_py.parameters import Parameter

__all__ = ["commented_toml"]


_EXCHANGE: Final[dict[str, Any]] = {
    "symbol": "BTCUSDT",
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "interval": "4h",
    "start": "2025-02-22",
    "end": "2026-02-22",
}
"""Examples of what has no default."""


def commented_toml(path: str = "WIN_M5.csv") -> str:
    """Return a configuration file with every key, its default and what it accepts.

    A default that a value elsewhere replaces, as ``target_r`` does that of ``target``, stands in a
    comment: written out it would be a choice of the user's, which nothing replaces.

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
    settings = sorted(DataSettings.parameters(), key=lambda spec: spec.name != "path")
    lines += _section("data", tuple(settings), path=path)
    lines += ["", "# [data]  # instead: candles of an exchange, fetched once and kept"]
    lines += [f"# {line}" for line in _keys(ExchangeSettings.parameters(), **_EXCHANGE)]
    lines += [
        "",
        "# [feed]  # where these are kept; docs/data.md has all keys, the environment comes first",
        '# profile = "development"',
    ]
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
    lines += ["", "# [sweep.sample]  # some combinations instead of all"]
    lines += [f"# {line}" for line in _keys(Sample.parameters())]
    lines += ["", "# [monte_carlo]  # what `backtest-py monte-carlo` asks"]
    lines += [f"# {line}" for line in _keys(MonteCarloSection.parameters())]
    return "\n".join(lines) + "\n"


def _section(
    name: str, specs: tuple[Parameter, ...], *, note: str = "", **given: object
) -> Iterator[str]:
    yield ""
    yield f"[{name}]" + (f"  # {note}" if note else "")
    yield from _keys(specs, **given)


def _keys(specs: tuple[Parameter, ...], **given: object) -> Iterator[str]:
    values = {spec.name: given.get(spec.name, spec.default) for spec in specs}
    keys = {
        spec.name: f"{'# ' if spec.default is DEFAULT_TARGET else ''}{spec.name} = "
        f"{toml_value(values[spec.name])}"
        for spec in specs
    }
    width = max(map(len, keys.values()))
    for spec in specs:
        allowed = "" if spec.kind in {"text", "texts"} else f" ({spec.allowed})"
        yield f"{keys[spec.name]:<{width}}  # {spec.doc}{allowed}"
