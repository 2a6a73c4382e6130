"""The commands of sweeps: ``sweep`` and ``top``."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_py.cli.options import (
    MOST_WORKERS,
    ConfigFile,
    Directory,
    EngineName,
    Json,
    MetricsPort,
    Threads,
    json_value,
    print_json,
)
from backtest_py.errors import BacktestError, ConfigError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from backtest_py.config import Config
    from backtest_py.sweep.progress import Progress
    from backtest_py.sweep.result.result import SweepResult

__all__ = ["commands"]

EXIT_INTERRUPTED: Final = 130
BEST: Final = 10
"""Combinations that are shown when a sweep ends."""
UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

commands = typer.Typer()


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
    max_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory to take, as 500MB or 2GB.")
    ] = "1GB",
    scenarios: Annotated[
        bool, typer.Option("--scenarios", help="Settle ambiguous bars both ways.")
    ] = False,
    skip_gate: Annotated[
        bool, typer.Option("--skip-gate", help="Begin without comparing both engines.")
    ] = False,
    metrics_port: MetricsPort = 0,  # noqa: ARG001 - the option serves them
    as_json: Json = False,
) -> None:
    """Backtest every combination of a grid.

    The grid stands in [sweep.grid]. Control-C stops; --resume continues.
    """
    from backtest_py.config import Config  # noqa: PLC0415

    room = _bytes(max_memory)
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
    try:
        with _progress_bar(silent=silent) as progress:
            return config.run_sweep(**how, progress=progress)
    except KeyboardInterrupt:
        text = f"interrupted; what is done is kept in {how['out']}, --resume continues"
        typer.echo("\n".join((text, *_done_in(how["out"]))), err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


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

    show_sweep(result, gate_text(result.manifest["gate"]), out)
    show_best(best, "sharpe")


@commands.command()
def top(
    directory: Directory,
    *,
    by: Annotated[str, typer.Option(metavar="COLUMN", help="What to rank by.")] = "sharpe",
    n: Annotated[int, typer.Option("-n", help="How many.")] = 20,
    where: Annotated[
        str, typer.Option(metavar="CONDITION", help='Such as "total_trades >= 100".')
    ] = "",
    worst_case: Annotated[
        bool, typer.Option("--worst-case", help="Rank by the worse of both scenarios.")
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

    result = open_sweep(directory)
    best = result.top_table(n, by=by, where=where, worst_case=worst_case)
    if not result.complete:
        typer.echo(
            f"warning: the sweep in {directory} is not complete: {result.completeness}; what is "
            "missing may be better, sweep --resume computes it",
            err=True,
        )
    if csv is not None:
        _write_csv(best, csv)
    if as_json:
        facts = result.completeness.to_mapping()
        print_json({"kind": "top", "by": by, **facts, "rows": _json_rows(best)})
        return
    if best.num_rows == 0:
        typer.echo(_nothing_matches(where, len(result)))
    if csv is not None:
        typer.echo(f"Wrote {csv}")
    elif best.num_rows > 0:
        from backtest_py.report.sweep_tables import show_best  # noqa: PLC0415

        show_best(best, by)


def _nothing_matches(where: str, n_rows: int) -> str:
    if not where:
        return "the sweep has no row: no combination is done"
    return f"nothing of {counted(n_rows, 'row')} matches --where {where!r}"


def _bytes(text: str) -> int:
    """Return the number of bytes of a size such as ``1.5GB``, ``512MiB`` or ``1000000``."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(I?)B?", text.strip().upper())
    if match is None or (match[3] and not match[2]):
        raise ConfigError(
            f"--max-memory {text[:40]!r} is not allowed; give a size such as 500MB, 2GB or 1.5GiB"
        )
    return int(Fraction(match[1]) * (1024 if match[3] else 1000) ** UNITS[match[2]])


def _json_rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: json_value(value) for name, value in row.items()} for row in table.to_pylist()]


def _write_csv(table: pa.Table, file: Path) -> None:
    from pyarrow.csv import write_csv  # noqa: PLC0415

    from backtest_py._io.files import replacing  # noqa: PLC0415

    try:
        with replacing(file) as opened:
            write_csv(table, opened)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from error


@contextmanager
def _progress_bar(*, silent: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Yield a function that shows progress on standard error, or None if that is no terminal."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Display  # noqa: PLC0415

    from backtest_py.sweep.progress import duration_text  # noqa: PLC0415

    display = Display(
        TextColumn("Sweep"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
    )
    with display:
        task = display.add_task("", total=None, text="checking both engines")

        def show(now: Progress) -> None:
            left = duration_text(now.seconds_left) if now.combos_per_second else "?"
            text = (
                f"{now.combos_per_second:,.0f} combinations a second, {left} left, "
                f"shard {now.shards:,} of {now.total_shards:,}"
            )
            display.update(task, total=now.total_combos, completed=now.combos, text=text)
            display.refresh()

        display.refresh()
        yield show
