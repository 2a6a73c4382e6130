"""The plot: that it shows what happened, not only that it does not fail."""

from __future__ import annotations

import builtins
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

from backtest_py.backtest.result import BacktestResult
from backtest_py.backtest.run import run, run_signals
from backtest_py.bars import Bars
from backtest_py.contract import Contract, MetricSettings
from backtest_py.data.readers import load_bars
from backtest_py.data.synthetic import synthetic_bars
from backtest_py.engines.base import EngineOutput, Job
from backtest_py.engines.layouts import TRADE_DTYPE
from backtest_py.errors import BacktestError, ConfigError
from backtest_py.metrics.catalogue import METRICS
from backtest_py.rules import ExitRules
from backtest_py.strategies import BarraElefante

ENGINE = SimpleNamespace(name="rust", build={})


def make_result(n_bars=300, n_trades=8):
    rng = np.random.default_rng(7)
    close = 100_000 + 5 * np.cumsum(rng.integers(-20, 21, n_bars)).astype(float)
    opened = np.append(close[0], close[:-1])
    time = np.datetime64("2023-02-01T12:00", "ns").astype(np.int64)
    bars = Bars(
        time + 300_000_000_000 * np.arange(n_bars),
        opened,
        np.maximum(opened, close) + 25.0,
        np.minimum(opened, close) - 25.0,
        close,
        rng.integers(1, 100, n_bars).astype(float),
        timezone="UTC",
        session_timezone="America/Sao_Paulo",
    )
    entry = np.linspace(5, n_bars - 30, n_trades).astype(np.int64)
    held = rng.integers(1, max(2, (n_bars - 30) // max(n_trades, 1)), n_trades)
    leave = np.minimum(entry + held, n_bars - 1)
    side = np.where(np.arange(n_trades) % 2, -1, 1)
    points = side * (close[leave] - opened[entry])
    columns = {
        "signal_bar": entry - 1,
        "entry_bar": entry,
        "exit_bar": leave,
        "side": side,
        "entry_price": opened[entry],
        "exit_price": close[leave],
        "stop_price": opened[entry] - side * 150.0,
        "target_price": np.where(side > 0, math.inf, -math.inf),
        "points": points,
        "pnl": points * 2.0,
    }
    trades = {
        name: np.asarray(columns.get(name, np.zeros(n_trades)), dtype)
        for name, dtype in TRADE_DTYPE.items()
    }
    if n_trades:
        trades["stop_price"][-1] = -math.inf
    metrics = np.zeros(len(METRICS))
    metrics[METRICS.index("total_trades")] = n_trades
    job = Job(bars, BarraElefante(), None, ExitRules(), Contract(), MetricSettings(), 0, len(bars))
    return BacktestResult(job, EngineOutput(trades, metrics), ENGINE, "asked for")


def pixels(path):
    image = mpl.image.imread(path)[..., :3]
    return (image * 255).round().astype(np.uint8)


def share_of(image, color):
    wanted = (np.array(mpl.colors.to_rgb(color)) * 255).round()
    return float((np.abs(image - wanted).max(axis=2) < 12).mean())


def test_a_png_shows_price_trades_equity_and_drawdown(tmp_path):
    figure = make_result().plot(tmp_path / "plot.png")
    image = pixels(tmp_path / "plot.png")
    assert image.shape[0] > 600
    assert image.shape[1] > 1000
    assert share_of(image, "white") < 0.98
    for color in ("#0072B2", "#E69F00", "#009E73", "#D55E00"):
        assert share_of(image, color) > 1e-4, color
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["price", "equity", "drawdown, %"]


def test_every_trade_is_drawn_at_its_bars_and_prices(tmp_path):
    result = make_result()
    price = result.plot(tmp_path / "plot.png").axes[0]
    drawn = {
        collection.get_label().split(" (")[0]: np.asarray(collection.get_offsets())
        for collection in price.collections
        if "entry" in str(collection.get_label()) or "exit" in str(collection.get_label())
    }
    columns = result.columns
    for label, mask, bar, value in (
        ("long entry", columns["side"] > 0, "entry_bar", "entry_price"),
        ("short entry", columns["side"] < 0, "entry_bar", "entry_price"),
        ("exit with a profit", columns["pnl"] > 0, "exit_bar", "exit_price"),
        ("exit without profit", columns["pnl"] <= 0, "exit_bar", "exit_price"),
    ):
        expected = np.column_stack((columns[bar][mask], columns[value][mask]))
        np.testing.assert_array_equal(drawn[label], expected)


def test_only_finite_stops_are_drawn(tmp_path):
    result = make_result()
    price = result.plot(tmp_path / "plot.png").axes[0]
    (stops,) = (item for item in price.collections if item.get_label() == "first stop")
    assert len(stops.get_segments()) == np.isfinite(result.columns["stop_price"]).sum() == 7


def test_equity_and_drawdown_are_those_of_the_result(tmp_path):
    result = make_result()
    _, equity, _ = result.plot(tmp_path / "plot.png").axes
    line = equity.lines[0]
    np.testing.assert_array_equal(line.get_ydata()[:-1], result.balance)
    np.testing.assert_array_equal(line.get_xdata()[1:-1], result.columns["exit_bar"])


def test_a_part_can_be_drawn(tmp_path):
    result = make_result()
    figure = result.plot(tmp_path / "plot.png", start="2023-02-01 12:00", end="2023-02-01 18:00")
    first, last = result.job.bars.bounds("2023-02-01 12:00", "2023-02-01 18:00")
    assert figure.axes[2].get_xlim() == (first - 0.5, last - 0.5)
    equity = figure.axes[1].lines[0]
    exits = result.columns["exit_bar"]
    inside = exits[(exits >= first) & (exits < last)]
    assert 0 < len(inside) < len(exits)
    before = exits[exits < first][-1]
    np.testing.assert_array_equal(equity.get_xdata(), [before, *inside, last - 1])


def test_labels_are_the_clock_of_the_session(tmp_path):
    figure = make_result().plot(tmp_path / "plot.png")
    axes = figure.axes[2]
    assert axes.xaxis.get_major_formatter()(0) == "2023-02-01\n09:00"
    assert axes.xaxis.get_major_formatter()(-3) == ""
    assert axes.get_xlabel() == "session time, America/Sao_Paulo"


def test_many_bars_become_an_envelope_that_keeps_every_extreme(tmp_path):
    result = make_result(n_bars=30_000, n_trades=300)
    figure = result.plot(tmp_path / "plot.png", title="thinned")
    price = figure.axes[0]
    assert price.get_title(loc="left") == "thinned"
    envelope = price.collections[0].get_paths()[0].vertices[:, 1]
    assert envelope.max() == result.job.bars.high.max()
    assert envelope.min() == result.job.bars.low.min()
    assert len(price.lines[0].get_xdata()) <= 2_000


@pytest.mark.parametrize("n_bars", [1, 300])
def test_without_a_trade_the_plot_is_still_drawn(tmp_path, n_bars):
    result = make_result(n_bars=300, n_trades=0)
    if n_bars == 1:
        job = result.job
        one = Job(job.bars[:1], job.strategy, None, job.rules, job.contract, job.metrics, 0, 1)
        result = BacktestResult(one, result.output, ENGINE, "asked for")
    result.plot(tmp_path / "plot.png")
    assert share_of(pixels(tmp_path / "plot.png"), "white") < 0.99


def test_a_notebook_draws_the_figure_once(tmp_path):
    """The value of the cell is shown; what pyplot knows would be shown at its end once more."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    figure = make_result().plot()
    assert isinstance(figure, mpl.figure.Figure)
    assert plt.get_fignums() == before
    (tmp_path / "shown.png").write_bytes(figure._repr_png_())
    image = pixels(tmp_path / "shown.png")
    assert share_of(image, "#0072B2") > 1e-4
    make_result().plot(tmp_path / "plot.png")
    assert plt.get_fignums() == before


def test_a_plot_needs_no_screen(tmp_path):
    script = (
        "import sys; import backtest_py as bt; "
        "result = bt.run(bt.synthetic_bars(n_days=10), 'barra_elefante', engine='numba'); "
        f"result.plot().savefig({str(tmp_path / 'plot.svg')!r}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    environment = {**os.environ, "MPLBACKEND": "TkAgg", "DISPLAY": ""}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == ["False"], done.stderr
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def ranged(start, end):
    """Return a result whose range is some days, and the bars from its first to its last exit."""
    bars = synthetic_bars(n_days=20)
    side = np.zeros(len(bars), np.int8)
    side[::7] = 1
    rules = ExitRules(unit="points", stop=400, target=400)
    return run_signals(bars, side, rules, Contract(), range=(start, end), engine="numba")


def test_only_the_range_that_ran_is_drawn(tmp_path):
    bars = synthetic_bars(n_days=20)
    days = [str(day) for day in bars.session_dates]
    result = ranged(days[5], days[8])
    job = result.job
    last = max(job.last, int(result.columns["exit_bar"].max()) + 1)
    assert last > job.last, "a trade of the range is open at its end"
    figure = result.plot(tmp_path / "plot.png")
    price, _, drawdown = figure.axes
    assert drawdown.get_xlim() == (job.first - 0.5, last - 0.5)
    np.testing.assert_array_equal(price.lines[0].get_xdata(), np.arange(job.first, last))
    title = price.get_title(loc="left")
    assert f"{days[5]} to {days[7]}" in title
    # each side that is given counts, the other is the range's
    drawn = result.plot(start=days[6]).axes[2].get_xlim()
    assert drawn == (bars.bounds(days[6])[0] - 0.5, last - 0.5)
    drawn = result.plot(end=days[7]).axes[2].get_xlim()
    assert drawn == (job.first - 0.5, bars.bounds(None, days[7])[1] - 0.5)
    drawn = result.plot(start=days[0], end=days[2]).axes[2].get_xlim()
    assert drawn == (-0.5, bars.bounds(None, days[2])[1] - 0.5)
    drawn = result.plot(start=days[15]).axes[2].get_xlim()  # outside the range
    assert drawn == (bars.bounds(days[15])[0] - 0.5, len(bars) - 0.5)


def test_the_title_counts_one_trade_as_one(tmp_path):
    for n_trades, text in ((0, "0 trades,"), (1, "1 trade,"), (2, "2 trades,")):
        title = make_result(n_trades=n_trades).plot().axes[0].get_title(loc="left")
        assert f": {text}" in title


def test_an_unknown_image_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="png"):
        make_result().plot(tmp_path / "plot.xyz")


@pytest.mark.parametrize("path", [None, "plot.png"])
def test_without_matplotlib_the_remedy_is_named(monkeypatch, path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    result = make_result()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BacktestError, match=r'pip install "backtest-py\[plot\]"'):
        result.plot(path)


def test_a_zoom_tells_its_own_figures():
    bars = synthetic_bars(n_days=20)
    result = run_signals(
        bars, np.tile(np.array([1, 0, 0, 0, 0, 0, 0], np.int8), len(bars))[: len(bars)],
        ExitRules(unit="points", stop=200, target=300, close_time="17:00"), Contract(),
    )  # fmt: skip
    days = [str(day) for day in bars.session_dates]
    title = result.plot(start=days[4], end=days[7]).axes[0].get_title(loc="left")
    trades = result.trades
    day = bars.session_dates[bars.day[trades["exit_bar"]]].astype(str)
    inside = trades[(day >= days[4]) & (day < days[7])]
    assert 0 < len(inside) < len(trades)
    assert f"{days[4]} to {days[6]}, a part of the run: {len(inside)} trades closed" in title
    assert f"profit {inside['pnl'].sum():,.2f}" in title
    assert f"{100 * (inside['pnl'] > 0).mean():.0f} % won" in title
    assert "Sharpe" not in title
    whole = result.plot(start=days[0]).axes[0].get_title(loc="left")
    assert f"{len(trades)} trades, return" in whole, "all of it is no part"
    one = result.plot(start=days[4], end=days[5]).axes[0].get_title(loc="left")
    assert f", {days[4]}, a part of the run" in one


def test_targets_are_lines_where_there_are_some():
    result = make_result()
    assert "target" not in [item.get_label() for item in result.plot().axes[0].collections]
    bars = synthetic_bars(n_days=5)
    side = np.zeros(len(bars), np.int8)
    side[5:200:30] = 1
    result = run_signals(bars, side, ExitRules(unit="points", stop=90, target=120), Contract())
    (lines,) = (each for each in result.plot().axes[0].collections if each.get_label() == "target")
    drawn = [segment[0][1] for segment in lines.get_segments()]
    np.testing.assert_array_equal(drawn, result.columns["target_price"])


def vertical_lines(axes):
    """Return the bars before which a day, a month or a year begins."""
    found = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    return sorted({each[0] + 0.5 for each in found if each[0] == each[1]})


@pytest.mark.parametrize(("n_days", "unit"), [(6, "D"), (100, "M"), (1_100, "Y")])
def test_days_months_or_years_are_marked(n_days, unit):
    bars = synthetic_bars(n_days=n_days)
    result = run_signals(bars, np.zeros(len(bars), np.int8))
    dates = bars.session_dates[bars.day].astype(f"M8[{unit}]")
    expected = np.flatnonzero(dates[1:] != dates[:-1]) + 1
    assert 1 < len(expected) <= 40
    for axes in result.plot().axes:
        assert vertical_lines(axes) == expected.tolist()


def test_numbers_have_thousands_separators_and_the_market_a_name(tmp_path):
    synthetic_bars(n_days=10).to_frame().to_csv(tmp_path / "WIN_M5.csv")
    result = run(load_bars(tmp_path / "WIN_M5.csv"), "barra_elefante")
    price, equity, _ = result.plot().axes
    assert price.yaxis.get_major_formatter()(110_500.0) == "110,500"
    assert equity.yaxis.get_major_formatter()(-1_234_567.5) == "-1,234,567.5"
    assert price.get_title(loc="left").startswith("barra_elefante on WIN_M5.csv, ")
