"""The benchmark report: ratios that are missed fail, rows that lose are published."""

from __future__ import annotations

import json

import pytest
from benches import report as bench_report

MS = 1_000_000


def bench(group, contender, milliseconds):
    stats = {"median": milliseconds / 1e3, "min": milliseconds / 1e3, "iqr": 0.0, "rounds": 9}
    return {"group": group, "extra_info": {"contender": contender}, "stats": stats}


@pytest.fixture
def report():
    peer = {"our_trades": 9, "their_trades": 8, "equal_trades": 7, "exits_on_entry_bar": 1}
    peer |= {"different_days": 1, "days": 5}
    groups = [f"Metric functions: {name} of equity_252k" for name in bench_report.CURVE_METRICS]
    return {
        "datetime": "2026-11-20T00:00:00",
        "machine_info": {"cpu": {"brand_raw": "A Processor", "l2_cache_size": 2_097_152}},
        "benchmarks": [
            bench(group, contender, milliseconds)
            for group in groups
            for contender, milliseconds in (("rust", 0.5), ("numba", 0.6))
        ],
        "comparisons": {
            bench_report.ENGINES: {"rust": [MS, MS, MS], "numba": [MS, 2 * MS, 2 * MS]},
            bench_report.PEER: {
                "backtest-py rust, full": [MS, 2 * MS, MS],
                "backtest-py rust, signals given": [MS, 2 * MS, MS],
                "vectorbt rust, from_signals": [9 * MS, 18 * MS, 9 * MS],
                "vectorbt numba, from_signals": [11 * MS, 22 * MS, 99 * MS],
                "vectorbt rust, with trades and two metrics": [20 * MS, 40 * MS, 20 * MS],
                "vectorbt numba, with trades and two metrics": [30 * MS, 60 * MS, 30 * MS],
            },
            bench_report.PYTHON: {
                "python, nothing else": [20 * MS],
                "import backtest_py": [150 * MS],
            },
            bench_report.COLD: {"rust": [300 * MS]},
            bench_report.CANDLES: {"rust": [5 * MS], "numba": [6 * MS]},
            bench_report.PATHS: {"rust": [30 * MS], "numpy": [1_500 * MS]},
            "Streaming: a strategy, rust": {"one run": [2 * MS], "pieces of 1,000": [3 * MS]},
        },
        "facts": {
            "cpus": 2,
            "system": "Linux x86_64",
            "load": [0.1, 0.2],
            "versions": {"numpy": "2"},
            "engines": {"rust": {"profile": "release", "rustc": "1.95", "level": "avx2"}},
            "columns_in_place": 7,
            "memory": {"columns": 72_000_000, "run": 300_000, "copy": 71_000_000},
            "streaming": {
                "rows": 50_000_000,
                "file": 706_000_000,
                "rust": {"bars": 50_000_000, "trades": 9, "seconds": 11.0, "megabytes": 314.0},
                "numba": {"bars": 50_000_000, "trades": 9, "seconds": 14.0, "megabytes": 440.0},
            },
            "vectorbt_rust": peer,
            "vectorbt_numba": peer,
        },
    }


def test_ratios_are_quotients_within_a_round(report):
    measured = [it.measured for it in bench_report.verdicts_of(report) if it.asserted]
    assert [text.split(",")[0] for text in measured] == [
        "20.00",
        "30.00",
        "9.00",
        "11.00",
        "2.00",
        "50.00",
    ]


def test_a_ratio_must_hold_between_the_minima_too(report):
    report["comparisons"][bench_report.PEER]["vectorbt rust, from_signals"] = [
        7 * MS, 20 * MS, 10 * MS,
    ]  # fmt: skip
    missed = [it for it in bench_report.verdicts_of(report) if it.asserted and not it.holds]
    assert [it.measured for it in missed] == ["10.00, of the minima 7.00"]


def test_ratios_that_hold_pass(report, tmp_path, capsys):
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    page = tmp_path / "page.md"
    assert bench_report.main([str(tmp_path / "report.json"), str(page)]) == 0
    assert "MISSED" not in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "A Processor" in text
    assert "**missed**" not in text
    assert "71.0 MB" in text
    assert "314 MB and 11.0 s on rust, 440 MB" in " ".join(text.split())
    assert "| a strategy, rust | one run |" in text
    assert "100,000 candles, validated, to metrics, numba | at most 50.0 ms" in text


@pytest.mark.parametrize(
    ("group", "contender", "samples"),
    [
        (bench_report.PEER, "vectorbt rust, from_signals", [7 * MS, 14 * MS, 7 * MS]),
        (bench_report.PEER, "vectorbt numba, from_signals", [9 * MS, 18 * MS, 9 * MS]),
        (bench_report.ENGINES, "numba", [3 * MS, 3 * MS, 3 * MS]),
    ],
)
def test_a_missed_ratio_fails(report, tmp_path, capsys, group, contender, samples):
    report["comparisons"][group][contender] = samples
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert bench_report.main([str(tmp_path / "report.json")]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_missed_time_is_reported_and_does_not_fail(report, tmp_path, capsys):
    report["comparisons"][bench_report.COLD]["rust"] = [700 * MS]
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert bench_report.main([str(tmp_path / "report.json")]) == 0
    assert "MISSED  cold process" in capsys.readouterr().out
    assert "| 0.700 s | **missed**, not asserted |" in bench_report.render(report)


def test_losing_rows_are_published(report):
    assert "Nowhere, in this run." in bench_report.render(report)
    report["benchmarks"][1] = bench(report["benchmarks"][0]["group"], "numba", 0.25)
    assert "| numba | rust | 2.00 |" in bench_report.render(report)
