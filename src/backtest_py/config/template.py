"""The commented configuration file that `backtest-py init` writes."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from backtest_py.config.market import DataSettings, ExchangeSettings
from backtest_py.config.markets import NOT_KNOWN, Fitted
from backtest_py.config.monte_carlo import MonteCarloSection
from backtest_py.config.search import SearchSection
from backtest_py.config.sections import DEFAULT_STRATEGY, RunSettings, SweepSettings
from backtest_py.config.walk_forward import WalkForwardSection
from backtest_py.contract import Contract, MetricSettings
from backtest_py.parameters import toml_value
from backtest_py.rules import DEFAULT_TARGET, ExitRules
from backtest_py.strategies.base import get_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


def commented_toml(path: str = "WIN_M5.csv", *, fitted: Fitted | None = None) -> str:
    """Return a configuration file with every key, its default and what it accepts.

    A default that a value elsewhere replaces, as ``target_r`` does that of ``target``, stands in a
    comment: written out it would be a choice of the user's, which nothing replaces.

    Parameters
    ----------
    path : str, optional
        File with the bars.
    fitted : Fitted, optional
        Values that fit a market or a file, instead of defaults.

    Examples
    --------
    >>> import tomllib
    >>> tomllib.loads(commented_toml())["rules"]["stop"]
    2.0
    """
    from backtest_py.sweep.space.sample import Sample  # noqa: PLC0415 - as in _sweep

    strategy = get_strategy(DEFAULT_STRATEGY)
    fit = fitted or Fitted()
    fit.values.setdefault("data", {}).setdefault("path", path)
    lines = ["# backtest-py configuration. Every value but data.path is the default."]
    if fitted is not None:
        lines = ["# backtest-py configuration.", *(f"# {line}" for line in fit.head)]
    settings = sorted(DataSettings.parameters(), key=lambda spec: spec.name != "path")
    lines += _section("data", tuple(settings), fit)
    lines += ["", "# [data]  # instead: candles of an exchange, fetched once and kept"]
    lines += [f"# {line}" for line in _keys(ExchangeSettings.parameters(), _EXCHANGE)]
    lines += [
        "",
        "# [feed]  # where these are kept; docs/data.md has all keys, the environment comes first",
        '# profile = "development"',
    ]
    lines += ["", "[strategy]", f"name = {json.dumps(strategy.name)}"]
    lines += _section("strategy.params", strategy.parameters(), fit)
    lines += _section("rules", ExitRules.parameters(), fit, note='0 or "" switches a rule off')
    lines += _section("contract", Contract.parameters(), fit)
    lines += [
        "",
        "# [contracts.WDO]  # of one of several markets, where [contract] differs",
    ]
    lines += ["# point_value = 10.0"]
    lines += _section("metrics", MetricSettings.parameters(), fit)
    lines += ["", "[range]  # optional: admits signals from start up to, but not at, end"]
    lines += ['# start = "2023-03-01"', '# end = "2023-05-01"']
    lines += _section("run", RunSettings.parameters(), fit)
    lines += _section("sweep", SweepSettings.parameters(), fit, note="a single run ignores it")
    lines += ["", "[sweep.grid]  # a list, or an inclusive range, for any parameter above"]
    lines += ['# "strategy.min_range_mult" = [1.0, 1.5, 2.0]']
    lines += ['# "rules.stop" = { start = 0.5, stop = 3.0, step = 0.5 }']
    lines += ["", "# [sweep.sample]  # some combinations instead of all"]
    lines += [f"# {line}" for line in _keys(Sample.parameters())]
    lines += ["", "# [walk_forward]  # what `backtest-py walk-forward` asks, of the grid above"]
    lines += [f"# {line}" for line in _keys(WalkForwardSection.parameters())]
    lines += ["", "# [monte_carlo]  # what `backtest-py monte-carlo` asks"]
    lines += [f"# {line}" for line in _keys(MonteCarloSection.parameters())]
    lines += ["", "# [search]  # what `backtest-py search` asks, of the grid of [sweep]"]
    lines += ['# objective = "sharpe"  # or { sharpe = "max", max_drawdown = "min" }']
    lines += [f"# {line}" for line in _keys(SearchSection.parameters())]
    return "\n".join(lines) + "\n"


def _section(
    name: str, specs: tuple[Parameter, ...], fit: Fitted, *, note: str = ""
) -> Iterator[str]:
    yield ""
    yield f"[{name}]" + (f"  # {note}" if note else "")
    remarks = {spec.name: fit.remarks.get(f"{name}.{spec.name}", "") for spec in specs}
    yield from _keys(specs, fit.values.get(name, {}), remarks)


def _keys(
    specs: tuple[Parameter, ...],
    given: Mapping[str, object] = MappingProxyType({}),
    remarks: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str]:
    values = {spec.name: given.get(spec.name, spec.default) for spec in specs}
    keys = {}
    for spec in specs:
        # what nobody knows, and what another value replaces, is no choice of the user's
        open_ = remarks.get(spec.name, "").startswith(NOT_KNOWN) or spec.default is DEFAULT_TARGET
        keys[spec.name] = f"{'# ' if open_ else ''}{spec.name} = {toml_value(values[spec.name])}"
    width = max(map(len, keys.values()))
    for spec in specs:
        allowed = "" if spec.kind in {"text", "texts"} else f" ({spec.allowed})"
        said = remarks.get(spec.name) or f"{spec.doc}{allowed}"
        yield f"{keys[spec.name]:<{width}}  # {said}"
