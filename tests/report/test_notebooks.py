"""What notebooks show: small tables and lines, escaped, and a bar while a sweep runs."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest

import backtest_py as bt
from backtest_py._io.notebooks import columns_chart, facts, sparkline
from backtest_py.sweep.progress import NotebookBar, Progress
from backtest_py.sweep.result.result import SweepResult

EVIL = "</script><img src=x onerror=alert(1)>\"'&"


class Elements(HTMLParser):
    """Collects the elements of HTML, with how deep each one is."""

    def __init__(self, html):
        super().__init__()
        self.names, self.open = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        if tag not in {"br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def elements(html):
    parsed = Elements(html)
    assert parsed.open == []
    return parsed.names


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=20)


def test_bars_are_a_line_and_a_table(bars):
    html = bars._repr_html_()
    assert {"svg", "polyline", "table"} <= set(elements(html))
    assert "2,180 bars" in html


def test_a_result_is_a_line_its_figures_and_all_metrics_folded(bars):
    result = bt.run(bars, "barra_elefante", bt.ExitRules(close_time="17:00"))
    html = result._repr_html_()
    assert {"svg", "polyline", "details", "table"} <= set(elements(html))
    assert f"{len(result)} trades" in html
    assert "nothing was charged" in html


def test_a_sweep_is_a_distribution_and_its_best_rows(bars):
    grid = {"rules.stop": [1.0, 1.5, 2.0], "strategy.lookback": [5, 10, 15]}
    swept = bt.sweep(bars, grid=grid)
    html = swept._repr_html_()
    assert {"svg", "rect", "table"} <= set(elements(html))
    best = swept.top(5)
    for number in best["combo_id"]:
        assert f"<td>{number}</td>" in html
    assert "rules.stop" in html
    assert "sharpe of 9 rows" in html


def test_a_plan_is_a_table_of_its_facts(bars):
    plan = bt.plan_sweep(bars, grid={"rules.stop": [1.0, 2.0]})
    html = plan._repr_html_()
    assert "table" in elements(html)
    for line in plan.explain().splitlines():
        assert line.split("  ")[0] in html


def test_streamed_bars_and_empty_results_are_shown_too(bars):
    result = bt.run_chunked([bars], bt.BarraElefante(min_range_mult=50))
    assert "no trades" in result._repr_html_()
    assert "table" in elements(result.job.bars._repr_html_())
    rows = pa.table({"combo_id": [0], "sharpe": [float("nan")], "ruined": [False]})
    assert "nan" in SweepResult.of_tables([rows], {"identity": {}})._repr_html_()
    bare = pa.table({"combo_id": [0], "profit": [1.0]})
    assert elements(SweepResult.of_tables([bare], {"identity": {}})._repr_html_()) == ["h4"]


def test_names_run_nothing(bars, tmp_path):
    def evil(bars):
        return np.zeros(len(bars), np.int8)

    evil.__name__ = EVIL
    file = tmp_path / "x.csv"
    bars.to_frame().to_csv(file)
    loaded = bt.load_bars(file)
    named = loaded.reported(type(loaded.report)(source=EVIL, notes=(EVIL,)))
    rows = pa.table({"combo_id": [0], f"strategy.{EVIL}": [EVIL], "sharpe": [1.0]})
    manifest = {"identity": {"grid": {"strategy": {"name": EVIL}, "axes": [{"key": EVIL}]}}}
    for html in (
        bt.run(named, evil)._repr_html_(),
        named._repr_html_(),
        SweepResult.of_tables([rows], manifest)._repr_html_(),
        facts({EVIL: EVIL}),
        sparkline([1.0, 2.0], EVIL),
    ):
        assert "<img" not in html
        assert "<script" not in html
        assert not {"img", "script"} & set(elements(html))
        assert "&lt;img" in html


def test_a_line_keeps_extremes_and_leaves_out_what_is_undefined():
    values = np.zeros(100_000)
    values[777], values[50_000], values[9] = 5.0, -3.0, np.nan
    svg = ET.fromstring(sparkline(values.tolist(), "x"))
    (line,) = svg.iter("{http://www.w3.org/2000/svg}polyline")
    heights = [float(point.split(",")[1]) for point in line.get("points").split()]
    assert len(heights) <= 320
    assert (min(heights), max(heights)) == (2.0, 46.0)
    assert sparkline([1.0], "x") == sparkline([], "x") == sparkline([np.nan, np.inf], "x") == ""
    assert "polyline" in sparkline([3.0, 3.0], "flat")
    assert columns_chart([0, 0], "x") == ""


class Handle:
    """What IPython's display gives back."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, content):
        self.shown.append(content._repr_html_())


@pytest.fixture
def notebook(monkeypatch):
    """Pretend to run in a notebook; return the list of what its cells show."""
    shown = []
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.HTML = lambda html: html

    def show(html, *, display_id):
        assert display_id
        shown.append(html)
        return Handle(shown)

    display.display = show
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def at(combos, seconds):
    return Progress(combos, 1_000, 1, 2, seconds, combos / seconds, (1_000 - combos) * seconds)


def test_a_bar_shows_how_far_a_sweep_is(notebook):
    bar = NotebookBar()
    bar(at(10, 0.1))
    assert notebook == [], "a quick sweep needs none"
    bar(at(100, 1.0))
    bar(at(1_000, 9.0))
    assert len(notebook) == 2
    assert '<progress value="100" max="1000">' in notebook[0]
    assert "left" in notebook[0]
    assert "done in 9.0 s" in notebook[1]


def test_a_sweep_in_a_notebook_has_one(notebook, monkeypatch, bars, tmp_path):
    monkeypatch.setattr(sys.modules[NotebookBar.__module__], "_QUICK", 0.0)
    grid = {"rules.stop": [1.0, 1.5, 2.0], "strategy.lookback": list(range(5, 25))}
    bt.sweep(bars, grid=grid, out=tmp_path / "a")
    assert '<progress value="60" max="60">' in notebook[-1]
    notebook.clear()
    seen = []
    bt.sweep(bars, grid=grid, out=tmp_path / "b", progress=seen.append)
    assert notebook == []
    assert seen


def test_outside_a_notebook_nothing_is_shown(capsys):
    bar = NotebookBar()
    bar(at(100, 1.0))
    bar(at(1_000, 2.0))
    assert capsys.readouterr() == ("", "")
