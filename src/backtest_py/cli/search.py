"""The command ``search``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_py.cli.options import (
    ConfigFile,
    EngineName,
    Json,
    Threads,
    json_value,
    keeping,
    print_json,
)
from backtest_py.cli.progress import combos_bar

if TYPE_CHECKING:
    from backtest_py.analysis.search.result import SearchResult
    from backtest_py.config import Config

__all__ = ["commands"]

commands = typer.Typer()

SHOWN: Final = 10
"""Trials of a Pareto front that are printed; --json and trials.parquet have them all."""


@commands.command()
def search(
    file: ConfigFile,
    *,
    trials: Annotated[int | None, typer.Option(help="How many combinations to evaluate.")] = None,
    sampler: Annotated[str, typer.Option(help="auto, tpe, nsga2 or random.")] = "",
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same trials.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep every batch, trials.parquet and manifest.json."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the search in DIR, or begin one.")
    ] = False,
    engine: EngineName = "",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Search a grid that is too large to sweep.

    The grid stands in [sweep.grid], what to look for in [search], whose keys options replace.
    """
    from backtest_py.config import Config  # noqa: PLC0415

    config = Config.load(file)
    changed = {"n_trials": trials, "sampler": sampler, "seed": seed}
    changed = {name: value for name, value in changed.items() if value not in {None, ""}}
    how: dict[str, Any] = {"out": out, "resume": resume, "threads": threads}
    found = _found(config, engine, how, changed, silent=as_json)
    if as_json:
        print_json(_mapping(found))
        return
    _print(found)
    if out is not None:
        typer.echo(f"Wrote trials.parquet and manifest.json to {out}")


def _found(
    config: Config, engine: str, how: dict[str, Any], changed: dict[str, Any], *, silent: bool
) -> SearchResult:
    """Search with a progress bar; an interruption says how to continue."""
    with keeping(how["out"]), combos_bar("Search", "the first batch", silent=silent) as progress:
        return config.run_search(engine=engine, how={**how, "progress": progress}, **changed)


def _mapping(found: SearchResult) -> dict[str, Any]:
    """Return the result for --json: the manifest, the front with its numbers, and the verdict."""
    rows = [
        {name: json_value(value) for name, value in row.items()}
        for row in found.front.to_dict("records")
    ]
    return {**found.to_mapping(), "front": rows, "verdict": _verdict(found)}


def _verdict(found: SearchResult) -> str:
    """Return the verdict in words, or what it lacks."""
    from backtest_py.errors import ConfigError  # noqa: PLC0415

    try:
        return found.verdict().text
    except ConfigError as error:  # statistics are an extra of their own
        return f"no verdict: {error}"


def _print(found: SearchResult) -> None:
    from backtest_py.report.sweep_tables import show_best  # noqa: PLC0415
    from backtest_py.report.tables import show  # noqa: PLC0415

    show(*found.summary(), "")
    front = found.front.index.to_numpy()
    if len(front):
        show_best(found.table.take(front[:SHOWN]), found.objectives[0].name)
    if len(front) > SHOWN:
        show(f"and {len(front) - SHOWN:,} more on the Pareto front", "")
    show(*_verdict(found).split("\n"))
