"""Options that several commands take, and the JSON that they print."""

from __future__ import annotations

import inspect
import json
import os
import re
from contextlib import contextmanager
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_py.bars import ReadOptions
from backtest_py.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from backtest_py.backtest.result import BacktestResult

__all__ = [
    "EXIT_INTERRUPTED",
    "MOST_WORKERS",
    "ConfigFile",
    "CsvFile",
    "Directory",
    "EngineName",
    "Json",
    "Locale",
    "MaxMemory",
    "MetricsPort",
    "SkipGate",
    "Threads",
    "json_table",
    "json_value",
    "keeping",
    "memory_bytes",
    "print_json",
    "print_notes",
    "with_read_options",
    "write_trades",
]

EXIT_INTERRUPTED: Final = 130
MOST_WORKERS: Final = 1_024
"""The most threads or processes; more must be a typing mistake."""
UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
"""Letters of sizes, and the power of a thousand that each stands for."""

ConfigFile = Annotated[Path, typer.Argument(metavar="FILE.toml", help="Configuration file.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a sweep.")]
EngineName = Annotated[str, typer.Option(help="auto, numba or rust, instead of [run].")]
Threads = Annotated[
    int, typer.Option(min=0, max=MOST_WORKERS, help="Threads, 0 for one per processor.")
]
CsvFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the trades as CSV, or FILE.xlsx with metrics and settings."
    ),
]
Locale = Annotated[
    str, typer.Option(help="Whose Excel opens the CSV file: pt-BR has ; and decimal commas.")
]
MaxMemory = Annotated[str, typer.Option(metavar="SIZE", help="Memory to take, as 500MB or 2GB.")]
SkipGate = Annotated[
    bool, typer.Option("--skip-gate", help="Begin without comparing both engines.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")]


def _serve_metrics(context: typer.Context, port: int) -> int:
    """Serve the page of metrics until the command ends."""
    if port and not context.resilient_parsing:
        from backtest_py.monitoring import serve_metrics  # noqa: PLC0415 - only where it is wanted

        host = os.environ.get("BACKTEST_PY_METRICS_HOST", "")
        context.with_resource(serve_metrics(port, host))
    return port


MetricsPort = Annotated[
    int,
    typer.Option(
        min=0,
        max=65_535,
        envvar="BACKTEST_PY_METRICS_PORT",
        callback=_serve_metrics,
        help="Serve metrics for Prometheus on this port while it runs; 0 does not.",
    ),
]


def with_read_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that takes ``options: ReadOptions`` take each of them from the command line."""
    signature = inspect.signature(command, eval_str=True)
    own = [item for item in signature.parameters.values() if item.name != "options"]
    specs = ReadOptions.parameters()
    taken = [
        inspect.Parameter(
            spec.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=spec.default,
            annotation=Annotated[
                bool if spec.kind == "bool" else str,
                typer.Option(
                    f"--{spec.name.replace('_', '-')}",
                    help=f"{spec.doc[0].upper()}{spec.doc[1:]}"
                    + (f": {', '.join(spec.choices)}." if spec.choices else "."),
                ),
            ],
        )
        for spec in specs
    ]

    @wraps(command)
    def wrapped(**given: Any) -> None:
        command(options=ReadOptions(**{spec.name: given.pop(spec.name) for spec in specs}), **given)

    parameters = [*own, *taken]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapped


@contextmanager
def keeping(out: Path | None, done: Callable[[], Sequence[str]] = list) -> Iterator[None]:
    """End a command that is interrupted, and say what is kept and how to continue.

    Parameters
    ----------
    out : Path or None
        Directory of what is done; None where nothing is kept.
    done : callable
        Returns further lines.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = f"what is done is kept in {out}, --resume continues" if out else "nothing is kept"
        typer.echo("\n".join((f"interrupted; {kept}", *done())), err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def write_trades(result: BacktestResult, file: Path, locale: str) -> None:
    """Write the trades as CSV, or as an Excel file where the name says so."""
    if file.suffix.lower() == ".xlsx":
        result.to_excel(file)
    else:
        result.to_csv(file, locale=locale)


def print_notes(result: BacktestResult, market: str = "") -> None:
    """Print on standard error what often points to a mistake in a result."""
    for note in result.notes:
        typer.echo(f"warning: {market and f'{market}: '}{note}", err=True)


def json_value(value: Any) -> Any:
    """Return a value that strict JSON can hold: nan and infinities become texts."""
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value


def json_table(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame, its index first, ready for strict JSON."""
    rows = frame.reset_index().to_dict("records")
    return [{str(name): json_value(value) for name, value in row.items()} for row in rows]


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def memory_bytes(text: str) -> int:
    """Return the number of bytes of a size such as ``1.5GB``, ``512MiB`` or ``1000000``."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(I?)B?", text.strip().upper())
    if match is None or (match[3] and not match[2]):
        raise ConfigError(
            f"--max-memory {text[:40]!r} is not allowed; give a size such as 500MB, 2GB or 1.5GiB"
        )
    return int(Fraction(match[1]) * (1024 if match[3] else 1000) ** UNITS[match[2]])
