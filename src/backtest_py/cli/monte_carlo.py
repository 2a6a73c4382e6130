"""The command ``monte-carlo``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_py.cli.options import ConfigFile, EngineName, Json, Threads, print_json
from backtest_py.cli.progress import steps_bar

if TYPE_CHECKING:
    from backtest_py.analysis.monte_carlo.result import MonteCarlo

__all__ = ["commands"]

commands = typer.Typer()

SHARES: Final = (0.05, 0.5, 0.95)
"""Percentiles that are printed; --json and --out have more."""

SHOWN: Final = {
    "total_trades": "count",
    "final_equity": "money",
    "total_return": "money",
    "total_return_pct": "percent",
    "max_drawdown": "money",
    "max_drawdown_pct": "percent",
    "max_consecutive_losses": "count",
    "sharpe": "ratio",
    "profit_factor": "ratio",
}
"""Columns that are printed, where there are any, and their units."""


@commands.command("monte-carlo")
def monte_carlo(
    file: ConfigFile,
    *,
    kind: Annotated[
        str, typer.Option(help="bootstrap, block, shuffle, skip, noise, delay or null.")
    ] = "",
    null: Annotated[
        str, typer.Option(help="What a null makes random: entries, directions or blocks.")
    ] = "",
    paths: Annotated[int | None, typer.Option(help="How many paths.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same paths.")] = None,
    engine: EngineName = "",
    threads: Threads = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write paths.parquet, fan.parquet and manifest.json."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask what else the trades of a backtest could have come to.

    Options take the place of keys of [monte_carlo].
    """
    from backtest_py.config import Config  # noqa: PLC0415

    config = Config.load(file)
    changed: dict[str, Any] = {"kind": kind, "null": null, "n_paths": paths, "seed": seed}
    given = {name: value for name, value in changed.items() if value not in {None, ""}}
    with steps_bar("Monte Carlo", "paths", silent=as_json) as progress:
        found = config.run_monte_carlo(engine=engine, threads=threads, progress=progress, **given)
    if out is not None:
        found.save(out)
    if as_json:
        print_json(found.to_mapping())
        return
    _print(found)
    if out is not None:
        typer.echo(f"Wrote paths.parquet, fan.parquet and manifest.json to {out}")


def _print(found: MonteCarlo) -> None:
    from backtest_py.report import tables  # noqa: PLC0415

    shown = {name: unit for name, unit in SHOWN.items() if name in found.observed}
    quantiles = found.quantiles(SHARES, list(shown))
    rows = [
        (
            name.replace("_", " "),
            tables.number(found.observed[name], unit),  # type: ignore[arg-type]  # a Unit
            *(tables.number(value, unit) for value in quantiles[name]),  # type: ignore[arg-type]
        )
        for name, unit in shown.items()
    ]
    header = ("", "observed", *(f"{100 * share:g} %" for share in SHARES))
    tables.show(*found.summary(), "", tables.rows_table(header, rows))
