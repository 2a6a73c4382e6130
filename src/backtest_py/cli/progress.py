"""Progress bars on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backtest_py.analysis.steps import Steps
    from backtest_py.sweep.progress import Progress

__all__ = ["combos_bar", "steps_bar"]

NowT = TypeVar("NowT")


@contextmanager
def steps_bar(title: str, noun: str, *, silent: bool) -> Iterator[Callable[[Steps], None] | None]:
    """Yield a function that shows steps, or None where there is no terminal.

    Parameters
    ----------
    title, noun : str
        What is done, and what is counted, as in "Monte Carlo" and "paths".
    silent : bool
        Whether nothing is shown, whatever standard error is.
    """

    def told(now: Steps) -> tuple[int, int, str]:
        left = _left(now.seconds_left if now.done else None)
        return now.done, now.total, f"{now.done:,} of {now.total:,} {noun}, {left} left"

    with _bar(title, "", told, silent=silent) as show:
        yield show


@contextmanager
def combos_bar(
    title: str, first: str, *, silent: bool
) -> Iterator[Callable[[Progress], None] | None]:
    """Yield a function that shows combinations, or None where there is no terminal.

    Parameters
    ----------
    title, first : str
        What is done, and what comes before the first combination.
    silent : bool
        Whether nothing is shown, whatever standard error is.
    """

    def told(now: Progress) -> tuple[int, int, str]:
        left = _left(now.seconds_left if now.combos_per_second else None)
        text = (
            f"{now.combos_per_second:,.0f} combinations a second, {left} left, "
            f"shard {now.shards:,} of {now.total_shards:,}"
        )
        return now.combos, now.total_combos, text

    with _bar(title, first, told, silent=silent) as show:
        yield show


def _left(seconds: float | None) -> str:
    from backtest_py.sweep.progress import duration_text  # noqa: PLC0415 - as below

    return "?" if seconds is None else duration_text(seconds)


@contextmanager
def _bar(
    title: str, first: str, told: Callable[[NowT], tuple[int, int, str]], *, silent: bool
) -> Iterator[Callable[[NowT], None] | None]:
    """Yield what shows progress, of which ``told`` gives what is done, the total and a text."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    columns = (
        TextColumn(title),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as display:
        task = display.add_task("", total=None, text=first)

        def show(now: NowT) -> None:
            done, total, text = told(now)
            display.update(task, total=total, completed=done, text=text)
            display.refresh()

        display.refresh()
        yield show
