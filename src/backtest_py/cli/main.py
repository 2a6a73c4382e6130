"""The command line.

Commands are thin: they read, call the package and print. Everything heavy is imported inside the
command that needs it, so that ``--help`` and mistakes in arguments answer at once.

Exit status: 0 done; 1 the run failed; 2 wrong usage or configuration; 3 parity broken;
130 interrupted. Errors are one message on standard error, with a traceback only on ``--debug``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backtest_py._io.spreadsheets import dialect_of
from backtest_py.bars import ReadOptions  # noqa: TC001 - the decorator of inspect reads it
from backtest_py.cli import (
    data,
    lookahead,
    monte_carlo,
    overfit,
    replay,
    report,
    search,
    sweep,
    walk_forward,
)
from backtest_py.cli.options import (
    EXIT_INTERRUPTED,
    ConfigFile,
    CsvFile,
    EngineName,
    Json,
    Locale,
    MetricsPort,
    Threads,
    json_table,
    json_value,
    print_json,
    print_notes,
    with_read_options,
    write_trades,
)
from backtest_py.errors import BacktestError, BacktestWarning, ConfigError, ParityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backtest_py.backtest.result import BacktestResult, GroupBy
    from backtest_py.bars import Bars
    from backtest_py.config import Config

__all__ = ["app", "main"]

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_PARITY: Final = 3

app = typer.Typer(
    name="backtest-py",
    help="Backtests that two independent engines agree on, bit for bit.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(sweep.commands)
app.add_typer(replay.commands)
app.add_typer(walk_forward.commands)
app.add_typer(monte_carlo.commands)
app.add_typer(lookahead.commands)
app.add_typer(search.commands)
app.add_typer(overfit.commands)
app.add_typer(report.commands)
app.add_typer(data.commands)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if argv is not None:
        return _status_of(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = _status_of(given)
    for each in (signal.SIGINT, signal.SIGTERM):  # the work is over: there is nothing to stop
        signal.signal(each, signal.SIG_IGN)
    if any(thread.name.startswith("backtest-py") for thread in threading.enumerate()):
        # an engine is still computing, or a file is read that had just arrived, and neither can be
        # stopped; files on disk are always whole
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _status_of(given: list[str]) -> int:
    """Run a command, say what went wrong, and return the exit status."""
    # only this function uses --debug, so it may stand before or after the command
    arguments = [item for item in given if item != "--debug"]
    try:
        _refuse_nul(arguments)
        with _warnings_on_stderr():
            app(arguments, prog_name="backtest-py")
    except SystemExit as stop:
        # Typer makes an exit of Control-C; a command that says more itself leaves no cause behind
        if isinstance(getattr(stop.__context__, "__cause__", None), KeyboardInterrupt):
            print("interrupted", file=sys.stderr)  # noqa: T201 - as below
        return stop.code if isinstance(stop.code, int) else EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)  # noqa: T201 - standard error is the interface
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a command line says what went wrong, and how to see more
        if len(arguments) < len(given):
            traceback.print_exc()
        print(f"error: {_message(error)}", file=sys.stderr)  # noqa: T201
        return _status(error)
    return 0


def _refuse_nul(arguments: Sequence[str]) -> None:
    """Refuse what the system cannot take as part of a path; it comes from callers of ``main``."""
    for argument in arguments:
        if "\0" in argument:
            raise ConfigError(
                f"the argument {argument!r} holds a NUL character, which no name of a file can; "
                "remove it"
            )


def _status(error: Exception) -> int:
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    return EXIT_PARITY if isinstance(error, ParityError) else EXIT_FAILED


def _message(error: Exception) -> str:
    if isinstance(error, BacktestError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return (
        f"{type(error).__name__}: {error}; this is a bug in backtest-py, "
        "--debug shows where it happened"
    )


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Show each warning once, on one line."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = str(message)
        if text not in shown:
            shown.add(text)
            print(f"warning: {text}", file=sys.stderr)  # noqa: T201

    with warnings.catch_warnings():
        warnings.simplefilter("always", BacktestWarning)
        warnings.showwarning = show
        yield


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer calls it so
    if value:
        from backtest_py.provenance import package_version  # noqa: PLC0415

        typer.echo(f"backtest-py {package_version()}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Backtests that two independent engines agree on, bit for bit."""


@app.command()
def run(
    file: ConfigFile,
    *,
    engine: EngineName = "",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write trades.parquet, metrics.json and manifest.json; of several markets, a "
            "folder for each and a table.",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP", help="Also group the trades by month, weekday, hour, side or reason."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Draw price, trades and equity.")
    ] = None,
    csv: CsvFile = None,
    locale: Locale = "",
    metrics_port: MetricsPort = 0,  # noqa: ARG001 - the option serves them
    as_json: Json = False,
) -> None:
    """Run one backtest and print its metrics.

    Where [data] names several markets, it is run on each, and one table is printed.
    """
    from backtest_py.config import Config  # noqa: PLC0415

    config = Config.load(file)
    groups = _checked_groups(by or [])
    dialect_of(locale=locale)
    if plot is not None:
        from backtest_py.report.plot import check_image  # noqa: PLC0415

        check_image(plot)
    if config.markets:
        from backtest_py.cli.many import run_markets  # noqa: PLC0415

        files = {"plot": plot, "csv": csv}
        run_markets(config, engine, out, files, groups, locale=locale, as_json=as_json)
        return
    result = config.backtest(engine=engine)
    if out is not None:
        result.save(out)
    if plot is not None:
        result.plot(plot)
    if csv is not None:
        write_trades(result, csv, locale)
    if as_json:
        told = {"metrics": result.metrics.to_mapping(), "notes": list(result.notes)}
        printed = {**result.manifest(), **told}
        if groups:
            printed["tables"] = {name: json_table(result.table(name)) for name in groups}
        print_json(printed)
        return
    _print_result(config, result, groups)
    print_notes(result)
    if out is not None:
        typer.echo(f"Wrote trades.parquet, metrics.json and manifest.json to {out}")
    for written in filter(None, (plot, csv)):
        typer.echo(f"Wrote {written}")


def _checked_groups(names: list[str]) -> list[GroupBy]:
    from backtest_py.backtest.result import TABLES  # noqa: PLC0415
    from backtest_py.parameters import unknown_name  # noqa: PLC0415

    for name in names:
        if name not in TABLES:
            raise unknown_name("table", name, TABLES)
    return [name for name in TABLES if name in names]


def _print_result(config: Config, result: BacktestResult, groups: list[GroupBy]) -> None:
    from backtest_py.parameters import toml_value  # noqa: PLC0415
    from backtest_py.report import tables  # noqa: PLC0415

    bars, job = result.job.bars, result.job
    span = "all bars"
    if job.last - job.first < len(bars):
        span = f"signals from {bars.time_text(job.first)} to {bars.time_text(job.last - 1)}"
    params = ", ".join(
        f"{name} = {toml_value(value)}" for name, value in config.strategy.to_mapping().items()
    )
    facts = {
        "Bars": f"{config.data.label}: {len(bars):,}, {bars.time_text(0)} to "
        f"{bars.time_text(len(bars) - 1)}",
        "Range": span,
        "Strategy": f"{config.strategy.name} ({params})",
        "Engine": f"{result.engine}: {result.reason}",
    }
    tables.show(
        tables.facts_table(facts),
        "",
        tables.metric_table(result.metrics),
        *(tables.group_table(result, name) for name in groups),
    )


@app.command()
def parity(file: ConfigFile, *, as_json: Json = False) -> None:
    """Compare both engines on one backtest.

    Every trade and every metric must be the same, bit for bit.
    """
    from backtest_py.config import Config  # noqa: PLC0415
    from backtest_py.engines.registry import resolve  # noqa: PLC0415
    from backtest_py.parameters import counted  # noqa: PLC0415
    from backtest_py.parity import compare  # noqa: PLC0415

    config = Config.load(file)
    for name in ("numba", "rust"):
        resolve(name)
    bars = config.load_bars()
    numba = config.backtest(bars, engine="numba")
    rust = config.backtest(bars, engine="rust")
    comparison = compare(numba.output, rust.output)
    if as_json:
        print_json(
            {
                "kind": "parity",
                "same": comparison.same,
                "n_trades": {"numba": len(numba), "rust": len(rust)},
                "n_metrics": len(numba.metrics),
                "largest_relative_difference": json_value(comparison.largest),
                "differences": [
                    {
                        "field": item.field,
                        "trade": item.trade,
                        "signal_bar": item.bar,
                        "numba": json_value(item.left),
                        "rust": json_value(item.right),
                        "ulps": item.ulps,
                    }
                    for item in comparison.differences
                ],
                "provenance": {
                    "numba": numba.provenance.to_mapping(),
                    "rust": rust.provenance.to_mapping(),
                },
            }
        )
    if not comparison.same:
        raise ParityError(f"numba and rust disagree:\n{comparison.describe('numba', 'rust')}")
    if not as_json:
        typer.echo(
            f"numba and rust agree, bit for bit: {counted(len(numba), 'trade')} on "
            f"{counted(len(bars), 'bar')}, {len(numba.metrics)} metrics"
        )


@app.command()
@with_read_options
def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File with bars, or a TOML file with [data].")
    ],
    *,
    options: ReadOptions,
    tick_size: Annotated[
        float | None, typer.Option(help="Also count the prices that are not on this tick grid.")
    ] = None,
    calendar: Annotated[
        str, typer.Option(help="Also compare with the sessions of a market: win, wdo, crypto.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show what a file of bars holds.

    Rows, span, interval, gaps, sessions by month, tick grid, volume, and what looks wrong.
    """
    from backtest_py.contract import Contract  # noqa: PLC0415
    from backtest_py.data import load_bars  # noqa: PLC0415
    from backtest_py.data.inspection import inspect_bars  # noqa: PLC0415

    if tick_size is not None:
        Contract(tick_size=tick_size)
    with warnings.catch_warnings():
        # the reader's warnings are part of what is printed below
        warnings.simplefilter("ignore", BacktestWarning)
        bars = _configured(file, options) or load_bars(file, **options.to_mapping())
    facts = inspect_bars(bars)
    off_grid = None if tick_size is None else bars.off_grid_share(tick_size)
    check = None
    if calendar:
        from backtest_py.data import check_sessions  # noqa: PLC0415

        check = check_sessions(bars, market=calendar)
    if as_json:
        kept = {} if check is None else {"calendar": check.to_mapping()}
        print_json({"kind": "inspect", **facts.to_mapping(), "off_grid_share": off_grid, **kept})
        return
    from backtest_py.report.inspection import print_inspection  # noqa: PLC0415

    print_inspection(facts, tick_size=tick_size, off_grid_share=off_grid)
    if check is not None:
        from backtest_py.report.sessions import print_sessions  # noqa: PLC0415

        print_sessions(check)


def _configured(file: Path, options: ReadOptions) -> Bars | None:
    """Return the bars of a configuration's [data], None for any other file."""
    if file.suffix.lower() != ".toml":
        return None
    from backtest_py.config import Config  # noqa: PLC0415

    changed = [
        spec.name for spec in options.parameters() if getattr(options, spec.name) != spec.default
    ]
    if changed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise ConfigError(f"{names}: {file} itself says in [data] how its bars are read")
    return Config.load(file).load_bars()


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="File to write.")] = Path(
        "backtest.toml"
    ),
    *,
    data_file: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Look at this file of bars, and fit it."),
    ] = None,
    market: Annotated[
        str,
        typer.Option(metavar="NAME", help="Fit a market: win, wdo, ind, dol, btcusdt or ethusdt."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented configuration file.

    It holds every key, its default and what it accepts. With a market or a file of bars it holds
    the tick, value, costs, session and close that fit.
    """
    from backtest_py.config import commented_toml, fitted  # noqa: PLC0415

    fit = fitted(market, data_file, file.parent) if market or data_file is not None else None
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(commented_toml(fitted=fit))
    except FileExistsError as error:
        raise ConfigError(f"{file} exists; give another name, or --force to replace it") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from error
    for text in fit.warnings if fit is not None else ():
        typer.echo(f"warning: {text}", err=True)
    first = "" if data_file is not None else "set data.path, "
    typer.echo(f"Wrote {file}; {first}then: backtest-py run {file}")


@app.command()
def engines(*, as_json: Json = False) -> None:
    """Show which engines can run here.

    With their builds, and the one that `auto` takes.
    """
    from backtest_py.engines.registry import engine_status, resolve  # noqa: PLC0415

    found = engine_status()
    taken, reason = resolve("auto")
    if as_json:
        print_json(
            {
                "kind": "engines",
                "engines": [
                    {
                        "name": item.name,
                        "available": item.available,
                        "reason": item.reason,
                        "build": item.build,
                    }
                    for item in found
                ],
                "auto": {"engine": taken.name, "reason": reason},
            }
        )
        return
    from backtest_py.report import tables  # noqa: PLC0415

    rows = (
        (
            item.name,
            "yes" if item.available else "no",
            item.reason or ", ".join(f"{name} {value}" for name, value in item.build.items()),
        )
        for item in found
    )
    tables.show(
        tables.rows_table(("engine", "available", "build"), rows, n_texts=3),
        f"auto: {taken.name} ({reason})",
    )


@app.command()
def bench(
    *,
    size: Annotated[
        int, typer.Option(help="Combinations of the standard grid: 1, 1000, 100000 or 4233600.")
    ] = 100_000,
    rounds: Annotated[
        int, typer.Option(max=1_000, help="How many times each contender is timed.")
    ] = 3,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Time a sweep on both engines and as a plain loop.

    Engines must agree bit for bit before anything is timed.
    """
    from backtest_py.bench.bench import bench as measure  # noqa: PLC0415
    from backtest_py.bench.printing import print_bench  # noqa: PLC0415

    found = measure(size, rounds=rounds, threads=threads)
    if as_json:
        print_json(found)
    else:
        print_bench(found)


if __name__ == "__main__":
    sys.exit(main())
