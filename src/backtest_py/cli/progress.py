"""The progress bar of commands that compute combinations."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backtest_py.sweep.progress import Progress

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(title: str, *, silent: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Yield a function that shows progress on standard error, or None if that is no terminal."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Display  # noqa: PLC0415

    from backtest_py.sweep.progress import duration_text  # noqa: PLC0415

    display = Display(
        TextColumn(title),
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
