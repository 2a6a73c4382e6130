"""Options that several commands take, and the JSON that they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

__all__ = [
    "MOST_WORKERS",
    "ConfigFile",
    "EngineName",
    "Json",
    "Threads",
    "json_value",
    "print_json",
]

MOST_WORKERS: Final = 1_024
"""Threads or processes; more are surely a slip of the keyboard."""

ConfigFile = Annotated[Path, typer.Argument(metavar="FILE.toml", help="Configuration file.")]
EngineName = Annotated[str, typer.Option(help="auto, numba or rust, instead of [run].")]
Threads = Annotated[
    int, typer.Option(min=0, max=MOST_WORKERS, help="Threads, 0 for one per processor.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")]


def json_value(value: Any) -> Any:
    """Return a value that strict JSON can hold: nan and infinities become texts."""
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))
