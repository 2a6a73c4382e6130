"""The command ``walk-forward``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest_py.cli.options import (
    MOST_WORKERS,
    ConfigFile,
    EngineName,
    Json,
    MaxMemory,
    SkipGate,
    Threads,
    keeping,
    memory_bytes,
    print_json,
)
from backtest_py.cli.progress import combos_bar
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from backtest_py.analysis.walk_forward.many import WalkForwards
    from backtest_py.analysis.walk_forward.result import WalkForward

__all__ = ["commands"]

commands = typer.Typer()


@commands.command("walk-forward")
def walk_forward(
    file: ConfigFile,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the results are written.")
    ] = None,
    choose: Annotated[str, typer.Option(metavar="METRIC", help="What trainings choose by.")] = "",
    min_trades: Annotated[
        int | None, typer.Option(help="Trades that a choice has in its training at least.")
    ] = None,
    plateau: Annotated[
        bool, typer.Option("--plateau", help="Judge each with its neighbours in the grid.")
    ] = False,
    anchored: Annotated[
        bool, typer.Option("--anchored", help="Every training begins with the first bar.")
    ] = False,
    engine: EngineName = "",
    threads: Threads = 0,
    processes: Annotated[
        int, typer.Option(min=0, max=MOST_WORKERS, help="Processes instead of threads.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the walk-forward in DIR, or begin one.")
    ] = False,
    max_memory: MaxMemory = "1GB",
    skip_gate: SkipGate = False,
    as_json: Json = False,
) -> None:
    """Choose on one stretch of time, judge on the next, and go on.

    The grid stands in [sweep.grid], the windows in [walk_forward]. Options take the place of keys.
    """
    from backtest_py.config import Config  # noqa: PLC0415

    how: dict[str, Any] = {"max_memory": memory_bytes(max_memory)}
    config = Config.load(file)
    changed = {"choose": choose, "min_trades": min_trades, "plateau": plateau, "anchored": anchored}
    # 0 is a number of trades, and no option that was left out
    how |= {name: value for name, value in changed.items() if value is not None and value != ""}
    for name in ("plateau", "anchored"):
        if not how[name]:
            del how[name]
    if skip_gate:
        how["gate"] = None
    if resume and out is None:
        raise ConfigError("--resume continues what --out DIR holds; give --out DIR")
    how |= {"out": out, "resume": resume, "threads": threads, "processes": processes}
    with (
        keeping(out),
        combos_bar("Walk-forward", "checking both engines", silent=as_json) as progress,
    ):
        result = config.run_walk_forward(engine=engine, **how, progress=progress)
    if as_json:
        print_json(_mapping(result))
        return
    _print(result)
    if out is not None:
        typer.echo(f"Wrote {_names(result)} to {out}")


def _mapping(result: WalkForward | WalkForwards) -> dict[str, Any]:
    from backtest_py.analysis.walk_forward.many import WalkForwards  # noqa: PLC0415

    if isinstance(result, WalkForwards):
        markets = {name: _mapping(each) for name, each in result.items()}
        return {"kind": "walk_forwards", "markets": markets}
    return result.to_mapping()


def _names(result: WalkForward | WalkForwards) -> str:
    from backtest_py.analysis.walk_forward.many import WalkForwards  # noqa: PLC0415

    if isinstance(result, WalkForwards):
        return "a folder for each, results.parquet and results.json"
    return "windows.parquet, trades.parquet, daily.parquet, metrics.json and manifest.json"


def _print(result: WalkForward | WalkForwards) -> None:
    from backtest_py.analysis.walk_forward.many import WalkForwards  # noqa: PLC0415
    from backtest_py.report import walk_forward_tables as shown  # noqa: PLC0415

    if isinstance(result, WalkForwards):
        shown.show_markets(result)
    else:
        shown.show_walk_forward(result)
