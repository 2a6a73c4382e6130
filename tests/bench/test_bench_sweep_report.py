"""The page of sweep benchmarks: ratios that are missed fail, rows that lose are published."""

from __future__ import annotations

import json

import pytest
from benches import sweep_report

STANDARD = sweep_report.STANDARD
SECONDS = {"rust": 1.0, "numba": 2.0, "numba loop": 4.0}


def row(group, case, who, combos, seconds, *, timed=None, **more):
    timed = timed or combos
    facts = {"combos": combos, "timed_combos": timed, "distinct": timed, "trades": 10 * timed}
    facts |= {"bars": 1_000, "threads": 2, "peak": 5_000_000, "seconds": [seconds] * 2}
    return {"group": group, "case": case, "contender": who, **facts, **more}


def everyone(group, case, combos, *, loop_timed):
    return [
        row(group, case, who, combos, seconds, timed=loop_timed if "loop" in who else None)
        for who, seconds in SECONDS.items()
    ]


@pytest.fixture
def report():
    n = int(STANDARD)
    peer = {"our_trades": 9, "their_trades": 8, "equal_trades": 7, "different_days": 1, "days": 5}
    shell = {"engine": "rust", "seconds": 5.0, "gate_seconds": 0.5, "sweep_seconds": 4.0}
    shell |= {"processor_seconds": 9.0, "peak": 600_000_000, "bytes": 450_000_000, "level": "avx2"}
    return {
        "date": "2026-11-20",
        "facts": {
            "processor": "A Processor",
            "processors": 2,
            "system": "Linux x86_64",
            "load": [0.1, 0.2],
            "versions": {"numpy": "2"},
            "engines": {"rust": {"profile": "release", "rustc": "1.95", "level": "avx2"}},
        },
        "rows": [
            *everyone("size", "1000", 1_000, loop_timed=512),
            *everyone("size", STANDARD, n, loop_timed=512),
            *(row("size", "1", who, 1, 0.003) for who in ("rust", "numba")),
            *(row("size", "1", f"one run, {who}", 1, 0.002) for who in ("rust", "numba")),
            *everyone("others", "10,000 random points", 10_000, loop_timed=512),
            *everyone("others", "own signals", n, loop_timed=512),
            *everyone("bars", "b3_m5_10k", 100_000, loop_timed=512),
            *everyone("peers", "common", n // 2, loop_timed=512),
            row("peers", "common", "vectorbt rust, 1 column a call", n // 2, 1.0, timed=24,
                agreement=peer),
            row("levels", STANDARD, "avx2", n, 1.0),
            row("threads", "100000", "rust, 1 thread", 100_000, 1.0),
        ],
        "shell": [
            {**shell, "size": n, "gate": True},
            {**shell, "size": 1_000, "gate": False, "seconds": 0.5},
        ],
    }  # fmt: skip


def write(tmp_path, report):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    return sweep_report.main([str(path), str(tmp_path / "page.md")])


def test_a_page_with_plots_that_are_the_same_each_time(report, tmp_path):
    assert write(tmp_path, report) == 0
    page = (tmp_path / "page.md").read_text()
    assert "**missed**" not in page
    assert "*(512)*" in page, "an extrapolation is told"
    plots = sorted((tmp_path / "img").glob("*.svg"))
    assert [plot.name for plot in plots] == [
        "sweep-bars.svg", "sweep-others.svg", "sweep-size.svg"
    ]  # fmt: skip
    before = [plot.read_bytes() for plot in plots]
    write(tmp_path, report)
    assert [plot.read_bytes() for plot in plots] == before


def test_the_loop_is_scaled_by_what_it_did(report):
    verdict = sweep_report.verdicts_of(report)[0]
    assert verdict.what.startswith("Rust on the standard grid")
    assert verdict.measured.startswith(f"{4 * int(STANDARD) / 512:,.2f}")


def test_vectorbt_is_given_all_processors(report):
    verdict = next(it for it in sweep_report.verdicts_of(report) if "vectorbt" in it.what)
    assert verdict.measured.startswith(f"{int(STANDARD) // 2 / 24 / 2:,.2f}")


def test_a_missed_ratio_fails_and_a_missed_time_does_not(report, tmp_path, capsys):
    report["shell"][0]["seconds"] = 13.0
    assert write(tmp_path, report) == 0
    assert "MISSED  standard grid from a shell" in capsys.readouterr().out
    slow = next(it for it in report["rows"] if (it["case"], it["contender"]) == (STANDARD, "rust"))
    slow["seconds"] = [1_000.0, 1_000.0]
    assert write(tmp_path, report) == 1
    assert "MISSED  Rust on the standard grid" in capsys.readouterr().out


def test_one_slow_round_cannot_hide_behind_the_other(report, tmp_path):
    loop = next(
        it for it in report["rows"] if (it["case"], it["contender"]) == (STANDARD, "numba loop")
    )
    loop["seconds"] = [0.01, 4.0]  # the median flatters, the minima do not
    assert write(tmp_path, report) == 1


def test_who_beats_rust_is_published(report):
    faster = next(
        it for it in report["rows"] if (it["case"], it["contender"]) == ("own signals", "numba")
    )
    faster["seconds"] = [0.5, 0.5]
    page = sweep_report.render(report)
    assert "| others | own signals | numba | rust | 2.00 |" in page
