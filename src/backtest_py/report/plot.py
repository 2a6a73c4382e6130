"""The plot of a result: price with its trades, equity, drawdown.

The horizontal axis counts bars, so nights and weekends take no room; its labels are the session's
clock. Matplotlib is an optional extra, imported only when something is drawn.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from backtest_py.errors import BacktestError, ConfigError, StorageError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from backtest_py.backtest.metrics import Metrics
    from backtest_py.bars import Bars
    from backtest_py.engines.base import Job

__all__ = ["check_image", "plot"]

# Okabe and Ito's palette, which every kind of colour vision can tell apart
_LONG: Final = "#0072B2"
_SHORT: Final = "#E69F00"
_WIN: Final = "#009E73"
_LOSS: Final = "#D55E00"
_PRICE: Final = "#404040"
_CANDLES: Final = 400
"""With more bars a candle is narrower than two pixels, and a line is easier to read."""
_COLUMNS: Final = 2_000
"""Points of a line over many bars: more than the figure has pixels across."""
_LINES: Final = 40
"""Days, months or years that are marked."""
_SIZE: Final = (14.0, 9.0)


class Drawable(Protocol):
    """What a plot shows of a result: its bars and range, its trades, its account and metrics."""

    @property
    def job(self) -> Job: ...

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]: ...

    @property
    def balance(self) -> NDArray[np.float64]: ...

    @property
    def metrics(self) -> Metrics: ...


def plot(
    result: Drawable,
    path: str | Path | None = None,
    *,
    start: str | None = None,
    end: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a result; arguments and errors as in :meth:`BacktestResult.plot`."""
    bars = result.job.bars
    first, last = _shown(result, start, end)
    if path is not None:
        check_image(path)
    figure = _new_figure()
    price, equity, drawdown = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": (5, 2, 1)}
    )
    _draw_price(price, bars, first, last)
    _draw_trades(price, result, first, last)
    _draw_account(equity, drawdown, result, first, last)
    price.set_title(_title(result, first, last) if title is None else title, loc="left")
    drawdown.set_xlim(first - 0.5, max(last - 0.5, first + 0.5))
    _label_times(drawdown, bars)
    for axes in (price, equity, drawdown):
        axes.grid(alpha=0.25)
        axes.margins(y=0.08)
        _separate_thousands(axes)
        _draw_calendar(axes, bars, first, last)
    if path is not None:
        try:
            figure.savefig(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    return figure


def _shown(result: Drawable, start: str | None, end: str | None) -> tuple[int, int]:
    """Return the first bar to draw and the one after the last.

    By default these are the bars of the run's range, and those after it until its last trade ends.
    """
    job = result.job
    given = job.bars.bounds(start, end)
    first = given[0] if start else job.first
    last = given[1] if end else max(job.last, int(result.columns["exit_bar"].max(initial=-1)) + 1)
    # a start or an end that lies outside the range asks for bars to its own side of it
    return (first, last) if first < last else given


def check_image(path: str | Path) -> None:
    """Refuse a file whose suffix is not that of an image, before anything is computed for it.

    Raises
    ------
    BacktestError
        If matplotlib is not installed.
    ConfigError
        If matplotlib writes no such files.
    """
    with _matplotlib():
        from matplotlib.backend_bases import FigureCanvasBase  # noqa: PLC0415

    kinds = FigureCanvasBase.get_supported_filetypes()
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in kinds:
        raise ConfigError(
            f"{path} cannot be drawn: its suffix is not that of an image; give one of "
            f"{', '.join(sorted(kinds))}"
        )


def _new_figure() -> Figure:
    with _matplotlib():
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415

        from backtest_py.report.figure import PlotFigure  # noqa: PLC0415

    figure = PlotFigure(figsize=_SIZE, layout="constrained", dpi=120)
    FigureCanvasAgg(figure)  # draws on no screen
    return figure


@contextmanager
def _matplotlib() -> Iterator[None]:
    """Say how to install matplotlib if it cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise BacktestError(
            "a plot needs matplotlib, which is not installed; "
            'install it with: pip install "backtest-py[plot]"'
        ) from error


def _title(result: Drawable, first: int, last: int) -> str:
    """Name strategy, market and days, and what came of them: of the run, or of the part drawn."""
    job, metrics = result.job, result.metrics
    name = "signals" if job.strategy is None else job.strategy.name
    report = job.bars.report
    market = report.market or report.source
    where = f"{name} on {market}" if market else name
    whole = _shown(result, None, None)
    if (first, last) == whole:
        days = _days(job.bars, job.first, job.last)
        return (
            f"{where}, {days}: {counted(metrics.total_trades, 'trade')}, "
            f"return {metrics.total_return_pct:,.2f} %, "
            f"max drawdown {metrics.max_drawdown_pct:,.2f} %, Sharpe {metrics.sharpe:.2f}"
            f"{', ruined' if metrics.ruined else ''}"
        )
    exits = result.columns["exit_bar"]
    pnl = result.columns["pnl"][(exits >= first) & (exits < last)]
    won = f", {100.0 * np.count_nonzero(pnl > 0) / len(pnl):.0f} % won" if len(pnl) else ""
    return (
        f"{where}, {_days(job.bars, first, last)}, a part of the run: "
        f"{counted(len(pnl), 'trade')} closed, profit {pnl.sum() + 0.0:,.2f}{won}"
    )


def _days(bars: Bars, first: int, last: int) -> str:
    ends = bars.session_dates[bars.day[[first, max(last - 1, first)]]]
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _draw_price(axes: Axes, bars: Bars, first: int, last: int) -> None:
    axes.set_ylabel("price")
    if last - first > _CANDLES:
        at, low, high, close = _thinned(bars, first, last)
        axes.fill_between(at, low, high, color=_PRICE, alpha=0.2, linewidth=0, label="low to high")
        axes.plot(at, close, color=_PRICE, linewidth=0.8, label="close")
        return
    at = np.arange(first, last)
    part = slice(first, last)
    opened, close = bars.open[part], bars.close[part]
    colors = np.where(close >= opened, "white", _PRICE)
    axes.vlines(at, bars.low[part], bars.high[part], color=_PRICE, linewidth=0.8)
    axes.bar(
        at,
        np.abs(close - opened),
        bottom=np.minimum(opened, close),
        width=0.7,
        color=colors,
        edgecolor=_PRICE,
        linewidth=0.8,
        zorder=2,
    )


def _thinned(
    bars: Bars, first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the last bar, lowest low, highest high and last close of equal runs of bars."""
    step = -(-(last - first) // _COLUMNS)
    begins = np.arange(first, last, step)
    ends = np.minimum(begins + step, last) - 1
    low = np.minimum.reduceat(bars.low[:last], begins)
    high = np.maximum.reduceat(bars.high[:last], begins)
    return ends, low, high, bars.close[ends]


def _draw_trades(axes: Axes, result: Drawable, first: int, last: int) -> None:
    columns = result.columns
    entry, left = columns["entry_bar"], columns["exit_bar"]
    shown = (left >= first) & (entry < last)
    side, won = columns["side"], columns["pnl"] > 0
    size = 60 if np.count_nonzero(shown) <= 200 else 25
    for name, color, label in (
        ("stop_price", _LOSS, "first stop"),
        ("target_price", _WIN, "target"),
    ):
        level = columns[name]
        held = shown & np.isfinite(level)
        if name == "target_price" and not held.any():
            continue
        axes.hlines(
            level[held],
            entry[held],
            left[held],
            color=color,
            linewidth=1.2,
            linestyle=":",
            label=label,
        )
    _join_trades(axes, columns, shown & won, _WIN)
    _join_trades(axes, columns, shown & ~won, _LOSS)
    for mask, bar, price, marker, color, label in (
        (side > 0, "entry_bar", "entry_price", "^", _LONG, "long entry"),
        (side < 0, "entry_bar", "entry_price", "v", _SHORT, "short entry"),
        (won, "exit_bar", "exit_price", "o", _WIN, "exit with a profit"),
        (~won, "exit_bar", "exit_price", "X", _LOSS, "exit without profit"),
    ):
        chosen = shown & mask
        axes.scatter(
            columns[bar][chosen],
            columns[price][chosen],
            s=size,
            marker=marker,
            color=color,
            edgecolor="white",
            linewidth=0.5,
            zorder=3,
            label=f"{label} ({np.count_nonzero(chosen):,})",
        )
    axes.legend(loc="upper left", ncols=8, fontsize="small", framealpha=0.8)


def _join_trades(axes: Axes, columns: Any, chosen: NDArray[np.bool_], color: str) -> None:
    """Draw a line from each entry to its exit."""
    from matplotlib.collections import LineCollection  # noqa: PLC0415 - an optional extra

    begin = np.column_stack((columns["entry_bar"][chosen], columns["entry_price"][chosen]))
    end = np.column_stack((columns["exit_bar"][chosen], columns["exit_price"][chosen]))
    axes.add_collection(
        LineCollection(
            list(np.stack((begin, end), axis=1)), colors=color, linewidths=0.9, alpha=0.7
        )
    )


def _draw_account(equity: Axes, drawdown: Axes, result: Drawable, first: int, last: int) -> None:
    balance = result.balance
    peak = np.maximum.accumulate(balance)
    fall = 100.0 * (balance - peak) / peak
    # up to the first exit the balance is the capital, from the first bar of the range on
    at = np.append(min(result.job.first, len(result.job.bars) - 1), result.columns["exit_bar"])
    begin = max(int(np.searchsorted(at, first, side="right")) - 1, 0)
    end = max(int(np.searchsorted(at, last - 1, side="right")), begin + 1)
    # the last balance lasts until the end of what is drawn
    at = np.append(at[begin:end], last - 1)
    balance = np.append(balance[begin:end], balance[end - 1])
    fall = np.append(fall[begin:end], fall[end - 1])
    equity.step(at, balance, where="post", color=_LONG, linewidth=1.2)
    equity.axhline(result.job.contract.initial_capital, color=_PRICE, linewidth=0.8, linestyle="--")
    equity.set_ylabel("equity")
    drawdown.fill_between(at, fall, 0.0, step="post", color=_LOSS, alpha=0.5, linewidth=0)
    drawdown.set_ylabel("drawdown, %")


def _separate_thousands(axes: Axes) -> None:
    """Write the numbers of the vertical axis with thousands separators, and never as a power."""
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - an optional extra

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _draw_calendar(axes: Axes, bars: Bars, first: int, last: int) -> None:
    """Draw a line where each day begins, or each month or year where days would be too many."""
    starts = np.flatnonzero(np.diff(bars.day[first:last])) + first + 1
    dates = bars.session_dates[bars.day[starts]]
    before = bars.session_dates[bars.day[starts - 1]]
    for unit in ("D", "M", "Y"):
        kept = starts[dates.astype(f"M8[{unit}]") != before.astype(f"M8[{unit}]")]
        if len(kept) <= _LINES:
            break
    for bar in kept[:_LINES] - 0.5:
        axes.axvline(bar, color=_PRICE, linewidth=0.7, alpha=0.5, linestyle=(0, (2, 3)), zorder=0)


def _label_times(axes: Axes, bars: Bars) -> None:
    """Label bar numbers with the date and time of the bar."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415 - an optional extra

    def text(position: float, _: int | None = None) -> str:
        bar = round(position)
        if not 0 <= bar < len(bars):
            return ""
        minute = int(bars.minute[bar])
        return f"{bars.session_dates[bars.day[bar]]}\n{minute // 60:02d}:{minute % 60:02d}"

    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(text))
    zone = bars.session_timezone or bars.timezone
    axes.set_xlabel(f"session time, {zone}" if zone else "session time")
