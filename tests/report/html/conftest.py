"""What the tests of reports share: runs of every kind, and a page that is read as a reader does."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.browsers import chromium

import backtest_py as bt

B3 = bt.Contract(
    tick_size=5, point_value=0.20, fee_per_side=0.25, slippage_ticks=1, initial_capital=10_000
)
RULES = bt.ExitRules(stop=1.0, target=1.5, close_time="17:00")


def elephants(bars, rules=RULES, contract=B3, **how):
    return bt.run(bars, bt.BarraElefante(min_range_mult=1.4), rules, contract, **how)


def on_side(bars, every, rules, contract=B3, **how):
    """Go long and short in turn, every so many bars."""
    side = np.zeros(len(bars), np.int8)
    chosen = side[min(20, len(side) - 1) :: every]
    chosen[:] = np.where(np.arange(len(chosen)) % 2, -1, 1)
    return bt.run_signals(bars, side, rules, contract, **how)


def b3_bars(**how):
    return bt.synthetic_bars(**{"n_days": 30, "timezone": "America/Sao_Paulo", **how})


def crypto_bars(n_bars=1500, minutes=60, tick=0.1):
    """Return bars of every hour of the week, in UTC."""
    rng = np.random.default_rng(3)
    close = 20_000 + np.cumsum(rng.integers(-300, 301, n_bars)) * 0.1
    opened = np.append(close[0], close[:-1])
    ticks = [np.round(each / tick) / 10 for each in (opened, close)]
    high, low = np.maximum(*ticks) + 12.5, np.minimum(*ticks) - 12.5
    time = np.datetime64("2024-10-01", "ns").astype(np.int64)
    time = time + 60_000_000_000 * minutes * np.arange(n_bars)
    return bt.Bars(time, ticks[0], high, low, ticks[1], np.full(n_bars, 3.0))


def without_volume():
    bars = b3_bars()
    return bt.Bars(
        bars.time,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        timezone="America/Sao_Paulo",
        session_timezone="America/Sao_Paulo",
    )


def ruined():
    return on_side(
        b3_bars(),
        5,
        bt.ExitRules(stop=0, target=0, max_bars=2),
        bt.Contract(tick_size=5, point_value=0.2, fee_per_side=9.0, initial_capital=100),
    )


CRYPTO = bt.Contract(tick_size=0.1, point_value=1.0, fee_rate=0.0005, initial_capital=10_000)
YEAR = bt.MetricSettings(periods_per_year=365)
KINDS = {
    "b3": lambda: elephants(b3_bars()),
    "no_trades": lambda: on_side(b3_bars(), 10**6, RULES, range=("2019-01-04", None)),
    "one_trade": lambda: on_side(b3_bars(), 10**6, RULES),
    "ruined": ruined,
    "sub_range": lambda: elephants(b3_bars(), range=("2019-01-15", "2019-01-25 12:00")),
    "no_volume": lambda: on_side(without_volume(), 25, RULES),
    "overnight": lambda: on_side(b3_bars(), 90, bt.ExitRules(stop=0, target=0, max_bars=150)),
    "crypto": lambda: on_side(
        crypto_bars(), 31, bt.ExitRules(stop=1, target=2), CRYPTO, metrics=YEAR
    ),
    "one_minute": lambda: on_side(
        b3_bars(n_days=4, bars_per_day=540, interval_minutes=1), 40, RULES
    ),
    "one_bar": lambda: on_side(b3_bars(n_days=1, bars_per_day=1), 1, RULES),
    "naive": lambda: elephants(bt.synthetic_bars(n_days=12)),
}
"""A result of every kind that a report meets."""


@pytest.fixture(scope="module")
def results():
    """Return each of the results, made once."""
    made = {}

    def result(kind):
        if kind not in made:
            made[kind] = KINDS[kind]()
        return made[kind]

    return result


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def reports(results, tmp_path_factory):
    """Return the file of a report of a kind, written once."""
    folder = tmp_path_factory.mktemp("reports")

    def report(kind, **how):
        name = "-".join([kind, *map(str, how.values())])
        file = folder / f"{name}.html"
        if not file.exists():
            results(kind).report(file, **how)
        return file

    return report


class Page(HTMLParser):
    """What a reader without scripts gets of a page.

    Attributes
    ----------
    text : str
        Everything that is shown, with single spaces.
    metrics : dict of str to list of (exact value, text)
        Cells that carry a metric.
    elements : list of (name, attributes)
        Every element.
    """

    def __init__(self, text):
        super().__init__()
        self.metrics, self.elements = {}, []
        self._words, self._hidden, self._metric = [], 0, None
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self._words))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append((tag, found))
        self._hidden += tag in {"script", "style"}
        if "data-metric" in found:
            self._metric = (found["data-metric"], found["data-value"])

    def handle_endtag(self, tag):
        self._hidden -= tag in {"script", "style"}

    def handle_data(self, data):
        if self._hidden:
            return
        self._words.append(data)
        if self._metric and data.strip():
            name, value = self._metric
            self.metrics.setdefault(name, []).append((value, data.strip()))
            self._metric = None


@pytest.fixture
def read():
    """Return a function that reads a file as a page."""
    return lambda file: Page(file.read_text(encoding="utf-8"))
