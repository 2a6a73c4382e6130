"""A progress bar for analyses that take many runs."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backtest_py.analysis.steps import Steps

__all__ = ["steps_bar"]


@contextmanager
def steps_bar(title: str, noun: str, *, silent: bool) -> Iterator[Callable[[Steps], None] | None]:
    """Yield a function that shows steps on standard error, or None if that is no terminal.

    Parameters
    ----------
    title, noun : str
        What is done, and what is counted, as in "Monte Carlo" and "paths".
    silent : bool
        Whether nothing is shown, whatever standard error is.
    """
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    from backtest_py.sweep.progress import duration_text  # noqa: PLC0415

    columns = (
        TextColumn(title),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as display:
        task = display.add_task("", total=None, text="")

        def show(now: Steps) -> None:
            left = duration_text(now.seconds_left) if now.done else "?"
            text = f"{now.done:,} of {now.total:,} {noun}, {left} left"
            display.update(task, total=now.total, completed=now.done, text=text)
            display.refresh()

        display.refresh()
        yield show
