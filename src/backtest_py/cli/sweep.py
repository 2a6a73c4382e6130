"""The commands of sweeps: ``sweep`` and ``top``."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_py.cli.options import (
    MOST_WORKERS,
    ConfigFile,
    Directory,
    EngineName,
    Json,
    MaxMemory,
    MetricsPort,
    SkipGate,
    Threads,
    json_value,
    keeping,
    memory_bytes,
    print_json,
)
from backtest_py.cli.progress import combos_bar
from backtest_py.errors import BacktestError, ConfigError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from backtest_py.config import Config
    from backtest_py.sweep.result.result import SweepResult

__all__ = ["commands"]

BEST: Final = 10
"""Combinations that are shown when a sweep ends."""
FEW: Final = 30
"""Trades below which a row says little."""

commands = typer.Typer()

By = Annotated[
    str,
    typer.Option(
        metavar="COLUMN", help='What to rank by, or arithmetic: "total_return/max_drawdown".'
    ),
]
Where = Annotated[str, typer.Option(metavar="CONDITION", help='Such as "total_trades >= 100".')]
MinTrades = Annotated[
    int, typer.Option(min=0, metavar="N", help="Leave out rows with fewer trades.")
]


@commands.command()
def sweep(
    file: ConfigFile,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the results are written.")
    ] = None,
    engine: EngineName = "",
    threads: Threads = 0,
    processes: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_WORKERS, help="Processes that compute shards, each with one thread."
        ),
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the sweep in DIR, or begin one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and what it takes.")
    ] = False,
    max_memory: MaxMemory = "1GB",
    scenarios: Annotated[
        bool, typer.Option("--scenarios", help="Settle ambiguous bars both ways.")
    ] = False,
    skip_gate: SkipGate = False,
    metrics_port: MetricsPort = 0,  # noqa: ARG001 - the option serves them
    as_json: Json = False,
) -> None:
    """Backtest every combination of a grid.

    The grid stands in [sweep.grid]. Control-C stops; --resume continues.
    """
    from backtest_py.config import Config  # noqa: PLC0415

    room = memory_bytes(max_memory)
    config = Config.load(file)
    how: dict[str, Any] = {"engine": engine, "threads": threads, "max_memory": room}
    if scenarios:
        how["scenarios"] = True
    if dry_run:
        plan = config.plan_sweep(**how)
        if as_json:
            print_json({"kind": "plan", **plan.to_mapping()})
        else:
            typer.echo(plan.explain())
        return
    if out is None:
        raise ConfigError(
            "no directory for the results; give --out DIR, or --dry-run to see the plan"
        )
    if skip_gate:
        how["gate"] = None
    how |= {"out": out, "resume": resume, "processes": processes}
    _report(_swept(config, how, silent=as_json), out, as_json=as_json)


def _swept(config: Config, how: dict[str, Any], *, silent: bool) -> SweepResult:
    """Sweep with a progress bar; an interruption says what is done and how to continue."""
    with (
        keeping(how["out"], lambda: _done_in(how["out"])),
        combos_bar("Sweep", "checking both engines", silent=silent) as progress,
    ):
        return config.run_sweep(**how, progress=progress)


def _done_in(directory: Path) -> list[str]:
    """Say how much of the sweep in a directory is done, or nothing where that is unknown."""
    from backtest_py.sweep.result.completeness import Completeness  # noqa: PLC0415

    try:
        return [str(Completeness.of_directory(directory))]
    except (BacktestError, KeyboardInterrupt):  # no sweep there yet, or Control-C once more
        return []


def _report(result: SweepResult, out: Path, *, as_json: bool) -> None:
    from backtest_py.sweep.gate.gate import gate_text  # noqa: PLC0415

    best = result.top_table(BEST)
    if as_json:
        print_json(
            {
                **result.manifest,
                **result.completeness.to_mapping(),
                "by": "sharpe",
                "best": _json_rows(best),
            }
        )
        return
    from backtest_py.report.sweep_tables import show_best, show_sweep  # noqa: PLC0415
    from backtest_py.report.tables import show  # noqa: PLC0415
    from backtest_py.sweep.result.verdict import verdict_text  # noqa: PLC0415

    show_sweep(result, gate_text(result.manifest["gate"]), out)
    show_best(best, "sharpe")
    show("", verdict_text(result))


@commands.command()
def top(
    directory: Directory,
    *,
    by: By = "sharpe",
    n: Annotated[int, typer.Option("-n", help="How many.")] = 20,
    where: Where = "",
    min_trades: MinTrades = 0,
    worst_case: Annotated[
        bool, typer.Option("--worst-case", help="Rank by the worse of both scenarios.")
    ] = False,
    plateau: Annotated[
        bool,
        typer.Option("--plateau", help="Rank by the worst that one step of a parameter may cost."),
    ] = False,
    store: Annotated[
        bool, typer.Option("--store", help="With --plateau: keep the plateaus as columns in DIR.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write them as CSV instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the best combinations of a sweep.

    Ruined accounts rank last, whatever decides.
    """
    from backtest_py.sweep.result.result import open_sweep  # noqa: PLC0415
    from backtest_py.sweep.result.verdict import verdict_facts, verdict_text  # noqa: PLC0415

    if store and not plateau:
        raise ConfigError("--store keeps plateaus; give --plateau with it")
    result = open_sweep(directory)
    if store:
        result = result.store_plateaus(by)
    how: dict[str, Any] = {"where": where, "min_trades": min_trades, "worst_case": worst_case}
    best = result.top_table(n, by=by, plateau=plateau, **how)
    report = result.plateau_report(by, **how) if plateau else None
    if not result.complete:
        typer.echo(
            f"warning: the sweep in {directory} is not complete: {result.completeness}; what is "
            "missing may be better, sweep --resume computes it",
            err=True,
        )
    _ask_for_min_trades(best, where, min_trades)
    if csv is not None:
        _write_csv(best, csv)
    if as_json:
        facts = result.completeness.to_mapping()
        around = {"plateau": _strict(report.to_mapping())} if report else {}
        said = {**around, "verdict": verdict_facts(result)}
        print_json({"kind": "top", "by": by, **facts, **said, "rows": _json_rows(best)})
        return
    if best.num_rows == 0:
        typer.echo(_nothing_matches(where, min_trades, len(result)))
    if csv is not None:
        typer.echo(f"Wrote {csv}")
    elif best.num_rows > 0:
        from backtest_py.report.sweep_tables import show_best, show_plateaus  # noqa: PLC0415
        from backtest_py.report.tables import show  # noqa: PLC0415

        show_best(best, by)
        if report is not None:
            show_plateaus(report)
        show("", verdict_text(result))


def _ask_for_min_trades(best: pa.Table, where: str, min_trades: int) -> None:
    """Say how many of the rows shown rest on few trades, unless the user has decided on that."""
    if min_trades or re.search(r"\btotal_trades\b", where):
        return
    few = sum(trades < FEW for trades in best["total_trades"].to_pylist())
    if few:
        rest = "rests" if few == 1 else "rest"
        typer.echo(
            f"note: {few:,} of {counted(best.num_rows, 'row')} shown {rest} on fewer than {FEW} "
            f"trades, too few to tell luck from skill; --min-trades {FEW} leaves them out",
            err=True,
        )


def _nothing_matches(where: str, min_trades: int, n_rows: int) -> str:
    asked = [f"--where {where!r}"] if where else []
    asked += [f"--min-trades {min_trades}"] if min_trades else []
    if not asked:
        return "the sweep has no row: no combination is done"
    return f"nothing of {counted(n_rows, 'row')} matches {' and '.join(asked)}"


def _json_rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: json_value(value) for name, value in row.items()} for row in table.to_pylist()]


def _strict(value: Any) -> Any:
    """Return values in mappings and sequences as strict JSON holds them."""
    if isinstance(value, dict):
        return {str(name): _strict(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    return json_value(value)


def _write_csv(table: pa.Table, file: Path) -> None:
    from pyarrow.csv import write_csv  # noqa: PLC0415

    from backtest_py._io.files import replacing  # noqa: PLC0415

    try:
        with replacing(file) as opened:
            write_csv(table, opened)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from error
