"""Write docs/metrics.md: ``python -m backtest_py.report.metrics_page docs/metrics.md``.

The page is made of the catalogue in ``metrics/catalogue.py`` and of the docstrings of the public
metric functions, so that neither can be changed without it.
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Final

from backtest_py import metrics
from backtest_py.metrics.catalogue import CATALOGUE, SECTIONS, UNITS, MetricInfo, Section

__all__ = ["main", "metrics_page"]

_HEAD: Final = """\
# Metrics

This page is generated from `src/backtest_py/metrics/catalogue.py` by `make docs`; a test fails
when it is out of date. [semantics.md](semantics.md#5-metrics) is the contract; this page is the
same to look things up in.

`result.metrics` is an immutable mapping of the {count} names below, and each name is an attribute
too. Counts are `int`, `ruined` is `bool`, all others are `float`. Both engines give the same bits.

```python
import math

import backtest_py as bt

result = bt.run(bt.synthetic_bars(n_days=60), "barra_elefante", bt.ExitRules(close_time="17:00"))
print(result.metrics["sharpe"], result.metrics.total_trades)
assert len(result.metrics) == {count}
```

## How to read them

* **Undefined is `nan`**, never 0 and never a large number. The column "nan when" says when. In
  `metrics.json` it is the string `"nan"`, in the tables of the command line `n/a`. By definition
  only the profit factor can be `inf`.
* **Money** is in the currency of `point_value`, after fees and slippage. **Percent** is of
  `initial_capital`; for the drawdown, of the peak. A **fraction** of 0.01 is 1 percent.
* **Better** says which values a ranking puts first. Where neither is better, the large ones.
* **Names in the formulas.** `N` trades. `n` trading days, `k` of them with an exit. `eq` is the
  account after each trade. `S1` and `S2` are the sums of the daily returns and of their squares,
  `rf = risk_free_rate/periods_per_year`, `D` is the sum of the squares of `r - rf` over the days
  with an exit and a return `r` below `rf`. `P2` is the sum of the squares of `pnl`.
* **A daily return** is the result of the trades that exit on a day, over the account before that
  day. A day without an exit returns 0, and counts.
* **Equal** means equal but for rounding: a variance that is not above 1e-9 of its mean square
  counts as zero.
* **`periods_per_year`** is 252 by default. A market that trades on weekends wants 365:
  `bt.MetricSettings(periods_per_year=365)`.
"""

_FUNCTIONS: Final = """\
## The same for any series

`backtest_py.metrics` has functions for returns, equity curves and results of trades that come from
elsewhere. They take a list, an array or a Series of finite numbers, and `engine=` as `bt.run` does.
An equity curve starts with the capital: either it is the first element, or it is given as
`initial_capital=` and the curve holds what came after.

```python
from backtest_py import metrics

equity = result.balance  # the capital, then the account after each trade
assert metrics.max_drawdown(equity) == result.metrics.max_drawdown
assert metrics.profit_factor(result.trades["pnl"]) == result.metrics.profit_factor

daily = [0.01, -0.02, 0.03, -0.005, 0.0, 0.015, -0.01, 0.02]
print(metrics.sharpe_ratio(daily), metrics.sortino_ratio(daily, periods_per_year=365))
assert math.isnan(metrics.sharpe_ratio([0.01]))
```

`sharpe_ratio` and `sortino_ratio` want one return per period. Give them daily returns: on the
account after each trade they would measure something else. On the same daily returns they equal
those of empyrical and quantstats.
"""


def metrics_page() -> str:
    """Return the text of docs/metrics.md."""
    parts = [_HEAD.format(count=len(CATALOGUE))]
    parts += [_section(section, about) for section, about in SECTIONS.items()]
    parts += [_FUNCTIONS, _functions()]
    return "\n".join(parts)


def _section(section: Section, about: str) -> str:
    rows = [_row(name, info) for name, info in CATALOGUE.items() if info.section == section]
    head = ["| metric | what | unit | better | definition | nan when | note |", "| --- " * 7 + "|"]
    return "\n".join([f"## {section}", "", about, "", *head, *rows, ""])


def _row(name: str, info: MetricInfo) -> str:
    cells = (
        f"`{name}`",
        info.title,
        UNITS[info.unit],
        info.better,
        info.formula,
        info.undefined or "never",
        info.note,
    )
    return "| " + " | ".join(cells) + " |"


def _functions() -> str:
    rows = []
    for name in metrics.__all__:
        function = getattr(metrics, name)
        first = inspect.signature(function).parameters
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        text = summary.replace(":func:", "").replace("``", "`").rstrip(".")
        rows.append(f"| `{name}({next(iter(first))})` | {text} |")
    return "\n".join(["| function | what it does |", "| --- | --- |", *rows, ""])


def main(argv: list[str] | None = None) -> None:
    """Write the page to the file that the command line names."""
    parser = argparse.ArgumentParser(description="Write the page of all metrics.")
    parser.add_argument("file", type=Path, help="file to write, such as docs/metrics.md")
    file: Path = parser.parse_args(argv).file
    file.write_text(metrics_page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
