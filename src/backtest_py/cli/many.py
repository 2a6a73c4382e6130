"""``backtest-py run`` on several markets: one table, and a folder for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from backtest_py.cli.options import json_table, print_json, print_notes, write_trades

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from backtest_py.backtest.many import ManyResults
    from backtest_py.backtest.result import GroupBy
    from backtest_py.config import Config

__all__ = ["run_markets"]


def run_markets(
    config: Config,
    engine: str,
    out: Path | None,
    files: Mapping[str, Path | None],
    groups: Sequence[GroupBy],
    *,
    locale: str,
    as_json: bool,
) -> None:
    """Run the backtest on each market of a configuration; nothing is written if one fails.

    Of the files ``plot`` and ``csv`` each market has its own, with its name before the suffix.
    """
    results = config.run_many(engine=engine)
    if out is not None:
        results.save(out)
    written = []
    for kind, file in files.items():
        if file is None:
            continue
        for name, result in results.items():
            own = file.with_name(f"{file.stem}-{name}{file.suffix}")
            if kind == "plot":
                result.plot(own)
            else:
                write_trades(result, own, locale)
            written.append(own)
    if as_json:
        print_json(_printed(results, groups))
        return
    from backtest_py.parameters import toml_value  # noqa: PLC0415
    from backtest_py.report import tables  # noqa: PLC0415

    params = ", ".join(
        f"{name} = {toml_value(value)}" for name, value in config.strategy.to_mapping().items()
    )
    tables.show(
        tables.facts_table({"Strategy": f"{config.strategy.name} ({params})"}),
        "",
        tables.markets_table(results),
    )
    for name, result in results.items():
        print_notes(result, name)
    for name, result in results.items() if groups else ():
        tables.show(name, *(tables.group_table(result, group) for group in groups))
    if out is not None:
        typer.echo(f"Wrote a folder for each, results.parquet and results.json to {out}")
    for file in written:
        typer.echo(f"Wrote {file}")


def _printed(results: ManyResults, groups: Sequence[GroupBy]) -> dict[str, Any]:
    printed = results.manifest()
    for name, result in results.items():
        printed["markets"][name]["metrics"] = result.metrics.to_mapping()
        printed["markets"][name]["notes"] = list(result.notes)
        if groups:
            found = {group: json_table(result.table(group)) for group in groups}
            printed["markets"][name]["tables"] = found
    return printed
