"""From what was timed to docs/benchmarks.md: `python -m benches.report bench-report.json`.

Ratios that must hold are checked, and one that is missed fails. Times are only reported against
their bounds: they belong to the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

from benches.datasets import CURVES, MARKETS, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Row", "Verdict", "main", "render", "rows_of", "verdicts_of"]

ENGINES: Final = "Engines in turns: elephant_2k on b3_m5_140k"
PEER: Final = "vectorbt in turns: elephant_2k on b3_m5_140k"
PYTHON: Final = "Cold process: what Python itself takes"
COLD: Final = "Cold process: first result on 140,065 generated bars"
CANDLES: Final = "Validation to metrics: elephant_2k on b3_m5_100k"
PATHS: Final = "Monte Carlo: 10,000 paths of 1,000 trades"

FULL: Final = "backtest-py rust, full"
GIVEN: Final = "backtest-py rust, signals given"

RATIOS: Final = (
    ("full Rust backtest, times faster than vectorbt-rust with trades and two metrics",
     PEER, "vectorbt rust, with trades and two metrics", FULL, ">=", 8.0, True),
    ("full Rust backtest, times faster than vectorbt-numba with trades and two metrics",
     PEER, "vectorbt numba, with trades and two metrics", FULL, ">=", 10.0, True),
    ("Rust with signals given, times faster than vectorbt-rust's from_signals alone",
     PEER, "vectorbt rust, from_signals", GIVEN, ">=", 8.0, True),
    ("Rust with signals given, times faster than vectorbt-numba's from_signals alone",
     PEER, "vectorbt numba, from_signals", GIVEN, ">=", 10.0, True),
    ("full Rust backtest, times faster than vectorbt-rust's from_signals alone",
     PEER, "vectorbt rust, from_signals", FULL, ">=", 8.0, False),
    ("full Rust backtest, times faster than vectorbt-numba's from_signals alone",
     PEER, "vectorbt numba, from_signals", FULL, ">=", 10.0, False),
    ("Numba, compiled, times as long as Rust: full backtest",
     ENGINES, "numba", "rust", "<=", 2.0, True),
    ("Monte Carlo in Rust, times faster than vectorised NumPy",
     PATHS, "numpy", "rust", ">=", 10.0, True),
)  # fmt: skip
"""What, group, numerator, denominator, bound of the ratio, and whether a miss fails.

Like stands against like where a miss fails: whole backtests on both sides, or signals given to both
sides. A whole backtest of ours against the bare call of theirs is published beside them.
"""

PAGE: Final = Path(__file__).with_name("page.md")
WIDTH: Final = 118
"""The text around the tables."""

CURVE_METRICS: Final = ("sharpe", "sortino", "max_drawdown")


@dataclass(frozen=True, slots=True)
class Row:
    """The samples of one contender, in nanoseconds; ``ratio`` is to the first of its group."""

    group: str
    contender: str
    median: float
    least: float
    spread: float
    rounds: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Something that must hold, and whether it does."""

    what: str
    bound: str
    measured: str
    holds: bool
    asserted: bool

    @property
    def word(self) -> str:
        """Return how it went."""
        if self.holds:
            return "holds"
        return "**missed**" if self.asserted else "**missed**, not asserted"


def rows_of(report: Mapping[str, Any]) -> list[Row]:
    """Return every contender of the report, group by group."""
    groups: dict[str, list[tuple[str, Mapping[str, float]]]] = {}
    for bench in report["benchmarks"]:
        entry = (bench["extra_info"]["contender"], bench["stats"])
        groups.setdefault(bench["group"], []).append(entry)
    rows = []
    for group, entries in groups.items():
        first = entries[0][1]["median"]
        rows += [
            Row(
                group,
                contender,
                stats["median"] * 1e9,
                stats["min"] * 1e9,
                stats["iqr"] * 1e9,
                int(stats["rounds"]),
                stats["median"] / first,
            )
            for contender, stats in entries
        ]
    for group, contenders in report["comparisons"].items():
        first_samples = next(iter(contenders.values()))
        rows += [
            Row(
                group,
                contender,
                median(samples),
                min(samples),
                _spread(samples),
                len(samples),
                paired_ratio(samples, first_samples),
            )
            for contender, samples in contenders.items()
        ]
    return rows


def paired_ratio(numerator: Sequence[int], denominator: Sequence[int]) -> float:
    """Return the median over rounds of the quotient of two contenders in the same round."""
    return median(a / b for a, b in zip(numerator, denominator, strict=True))


def _spread(samples: Sequence[int]) -> float:
    if len(samples) < 2:
        return 0.0
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return high - low


def verdicts_of(report: Mapping[str, Any]) -> list[Verdict]:
    """Return what must hold, the asserted ratios first."""
    comparisons = report["comparisons"]
    verdicts = []
    for what, group, over, under, sign, bound, asserted in RATIOS:
        samples, base = comparisons[group][over], comparisons[group][under]
        # On a busy machine a long call is interrupted and a short one is not, which flatters the
        # short one; the quotient of the minima is blind to that. Both must hold.
        ratios = paired_ratio(samples, base), min(samples) / min(base)
        holds = min(ratios) >= bound if sign == ">=" else max(ratios) <= bound
        word = "at least" if sign == ">=" else "at most"
        measured = f"{ratios[0]:.2f}, of the minima {ratios[1]:.2f}"
        verdicts.append(Verdict(what, f"{word} {bound:g}", measured, holds, asserted))
    first_import = median(
        ours - bare
        for ours, bare in zip(
            comparisons[PYTHON]["import backtest_py"],
            comparisons[PYTHON]["python, nothing else"],
            strict=True,
        )
    )
    times = [
        ("full Rust backtest of 140,065 bars", 3e6, median(comparisons[ENGINES]["rust"])),
        ("cold process to the first Rust result", 600e6, median(comparisons[COLD]["rust"])),
        ("import backtest_py", 200e6, first_import),
        (
            "10,000 Monte Carlo paths of 1,000 trades, Rust",
            60e6,
            median(comparisons[PATHS]["rust"]),
        ),
        *(
            (f"100,000 candles, validated, to metrics, {engine}", 50e6, median(samples))
            for engine, samples in comparisons[CANDLES].items()
        ),
    ]
    rows = {(row.group, row.contender): row.median for row in rows_of(report)}
    for metric in CURVE_METRICS:
        group = f"Metric functions: {metric} of equity_252k"
        times += [
            (f"{metric} of 252,000 points, {engine}", 2e6, rows[group, engine])
            for engine in ("rust", "numba")
        ]
    verdicts += [
        Verdict(what, f"at most {_time(bound)}", _time(found), found <= bound, asserted=False)
        for what, bound, found in times
    ]
    return verdicts


def _time(nanoseconds: float) -> str:
    """Return a time with three digits that count and a unit that fits."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= 0.1 * size:
            return f"{_digits(nanoseconds / size)} {unit}"
    return f"{_digits(nanoseconds / 1e3)} µs"


def _digits(number: float) -> str:
    return f"{number:#.3g}".removesuffix(".")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _timings(rows: Sequence[Row], heading: str) -> str:
    """Return the table of all groups whose names start with a heading."""
    shown = [row for row in rows if row.group.startswith(f"{heading}: ")]
    head = ["what", "who", "median", "min", "IQR", "rounds", "to the first"]
    lines = []
    for position, row in enumerate(shown):
        repeated = position > 0 and shown[position - 1].group == row.group
        lines.append(
            [
                "" if repeated else row.group.removeprefix(f"{heading}: "),
                row.contender,
                _time(row.median),
                _time(row.least),
                _time(row.spread),
                str(row.rounds),
                f"{row.ratio:.2f}" if repeated else "1",
            ]
        )
    return _table(head, lines)


def _lost(rows: Sequence[Row]) -> str:
    """Return the rows that beat, by 2 % or more, the first of their group: whom we would back."""
    lines = []
    first: Row | None = None
    for row in rows:
        if first is None or row.group != first.group:
            first = row
        elif row.ratio <= 0.98 and not (
            row.group == PEER and row.contender.endswith("signals given")
        ):
            times = f"{1 / row.ratio:.2f}"
            lines.append([row.group, row.contender, first.contender, times])
    if not lines:
        return "Nowhere, in this run."
    return _table(["what", "faster", "than", "times"], lines)


def _machine(report: Mapping[str, Any]) -> str:
    facts, cpu = report["facts"], report["machine_info"]["cpu"]
    rust = facts["engines"]["rust"]
    load = ", ".join(f"{value:.1f}" for value in facts["load"])
    caches = ", ".join(
        f"{name} {int(cpu[key]) // 1024:,} KiB"
        for name, key in (("L2", "l2_cache_size"), ("L3", "l3_cache_size"))
        if str(cpu.get(key, "")).isdigit()
    )
    processor = (
        f"{cpu.get('brand_raw', 'unknown')}, family {cpu.get('family', '?')}, "
        f"model {cpu.get('model', '?')}, {cpu.get('hz_advertised_friendly', '?')}"
    )
    lines = [
        ("date", report["datetime"][:10]),
        ("processor", processor),
        ("processors to run on", str(facts["cpus"])),
        ("caches", caches or "unknown"),
        ("system", facts["system"]),
        ("load average before and after", load or "unknown"),
        ("Rust engine", f"{rust['profile']} build, {rust['level']}"),
        ("rustc", rust["rustc"].removeprefix("rustc ")),
        *((name, text) for name, text in facts["versions"].items()),
    ]
    return _table(["", ""], lines)


def _agreement(facts: Mapping[str, Any]) -> str:
    lines = []
    for engine in ("rust", "numba"):
        found = facts[f"vectorbt_{engine}"]
        text = (
            f"vectorbt-{engine} makes {found['their_trades']:,} trades where there should be "
            f"{found['our_trades']:,}. {found['equal_trades']:,} are the same, on all but "
            f"{found['different_days']} of {found['days']:,} days with a trade; each of those "
            f"days has one of the two reasons below ({found['exits_on_entry_bar']} exits on the "
            "entry bar)."
        )
        lines.append(textwrap.fill(text, WIDTH))
    return "\n".join(lines)


def _memory(facts: Mapping[str, Any]) -> str:
    text = (
        f"The addresses at which the extension reads its {facts['columns_in_place']} columns are "
        "those of the NumPy arrays."
    )
    if "memory" in facts:
        found = facts["memory"]
        text += (
            f" On 1,500,120 bars these columns hold {found['columns'] / 1e6:.1f} MB. One full run "
            f"raises the peak of the process's resident memory by {found['run'] / 1e6:.1f} MB; "
            f"copying the columns once raises it by {found['copy'] / 1e6:.1f} MB."
        )
    return textwrap.fill(text, WIDTH)


def _long_file(facts: Mapping[str, Any]) -> str:
    found = facts["streaming"]
    engines = (
        f"{found[name]['megabytes']:,.0f} MB and {found[name]['seconds']:,.1f} s on {name}"
        for name in ("rust", "numba")
    )
    text = (
        f"A Parquet file of {found['rows']:,} bars, {found['file'] / 1e6:,.0f} MB, with "
        f"{found['rust']['trades']:,} trades: {', '.join(engines)}. That is the peak of the whole "
        "process's resident memory, Python and all libraries included."
    )
    return textwrap.fill(text, WIDTH)


def render(report: Mapping[str, Any]) -> str:
    """Return the page."""
    rows, facts = rows_of(report), report["facts"]
    return PAGE.read_text(encoding="utf-8").format(
        machine=_machine(report),
        verdicts=_table(
            ["what", "bound", "measured", ""],
            [[it.what, it.bound, it.measured, it.word] for it in verdicts_of(report)],
        ),
        lost=_lost(rows),
        engines=_timings(rows, "Engines in turns"),
        full=_timings(rows, "Full backtest"),
        threads=_timings(rows, "Threads"),
        levels=_timings(rows, "Full backtest by instruction level"),
        detection=_timings(rows, "Detection"),
        detection_levels=_timings(rows, "Detection by instruction level"),
        simulation=_timings(rows, "Simulation and metrics"),
        atr=_timings(rows, "Average true range, not yet remembered"),
        loop=_timings(rows, "Straight loop"),
        metrics=_timings(rows, "Metric functions"),
        cold=_timings(rows, "Cold process"),
        memory=_memory(facts),
        pieces=_timings(rows, "Streaming"),
        candles=_timings(rows, "Validation to metrics"),
        long_file=_long_file(facts),
        peer=_timings(rows, "vectorbt in turns"),
        agreement=_agreement(facts),
        inputs=_inputs(),
    )


def _inputs() -> str:
    lines = []
    for name, market in MARKETS.items():
        bars = market.n_days * market.bars_per_day
        day = f"{market.bars_per_day} a day from 09:00"
        text = f"{bars:,} bars of {market.interval_minutes} min, {day}"
        lines.append([f"`{name}`", text, f"`{market.sha256[:16]}`"])
    for name, (points, sha256) in CURVES.items():
        lines.append([f"`{name}`", f"{points:,} points of an equity curve", f"`{sha256[:16]}`"])
    for name, work in WORKLOADS.items():
        lines.append([f"`{name}`", f"`{work.strategy!r}`, `{work.rules!r}`", ""])
    return _table(["name", "what", "SHA-256 begins"], lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, say what must hold, and return 1 if an asserted ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="what pytest-benchmark wrote")
    parser.add_argument("page", type=Path, nargs="?", help="where the page goes")
    options = parser.parse_args(arguments)
    report = json.loads(options.report.read_text(encoding="utf-8"))
    if options.page:
        options.page.write_text(render(report), encoding="utf-8")
    status = 0
    for verdict in verdicts_of(report):
        word = "holds " if verdict.holds else "MISSED"
        note = "" if verdict.holds or verdict.asserted else " (reported, not asserted)"
        print(f"{word}  {verdict.what}: {verdict.measured}, {verdict.bound}{note}")
        if verdict.asserted and not verdict.holds:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
