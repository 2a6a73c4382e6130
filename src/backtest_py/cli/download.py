"""What a terminal shows while bars are fetched."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backtest_py.data.feed import Fetching

__all__ = ["download_bar"]


@contextmanager
def download_bar(*, silent: bool) -> Iterator[Callable[[Fetching], None] | None]:
    """Yield a function that shows progress on standard error, or None if that is no terminal."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - a heavy import, only where it is used
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    with Progress(
        TextColumn("Fetching"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=5,
    ) as display:
        task = display.add_task("", total=None, text="looking at what is kept")

        def show(now: Fetching) -> None:
            text = (
                f"{now.symbol}: {now.n_candles:,} of {now.n_wanted:,} candles, "
                f"{now.n_answers:,} pages and files"
            )
            display.update(task, total=now.n_wanted, completed=now.n_candles, text=text)

        yield show
