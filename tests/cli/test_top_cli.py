"""``top``: plateaus, few trades, ruined accounts, and sweeps that are not complete."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.csv as pc
import pytest

import backtest_py as bt
from backtest_py.sweep.store.manifest import read_manifest, write_manifest

GRID = """
[rules]
close_time = "17:00"
[contract]
tick_size = 5
point_value = 0.2
[sweep.grid]
"strategy.min_range_mult" = [0.5, 5.0, 6.0]
"strategy.lookback" = { start = 5, stop = 20, step = 5 }
"rules.stop" = [1.0, 2.0, 3.0]
"""
FEW = "trades, too few to tell luck from skill; --min-trades 30 leaves them out"


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    file = tmp_path_factory.mktemp("market") / "bars.csv"
    bt.synthetic_bars(n_days=30).to_frame().to_csv(file, lineterminator="\n")
    return file


@pytest.fixture
def config(market, tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text(f'[data]\npath = "{market.as_posix()}"\ntimezone = "America/Sao_Paulo"\n{GRID}')
    return file


@pytest.fixture
def out(cli, config, tmp_path):
    outcome = cli("sweep", config, "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    return tmp_path / "out"


def words_of(text):
    return " ".join(text.split())


def parsed(outcome):
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out, parse_constant=pytest.fail)


class TestPlateau:
    def test_the_best_plateau_stands_beside_the_best_row(self, cli, out):
        outcome = cli("top", out, "--plateau", "-n", 3, "--min-trades", 1)
        assert (outcome.status, outcome.err) == (0, "")
        words = words_of(outcome.out)
        sweep = bt.open_sweep(out)
        report = sweep.plateau_report(min_trades=1)
        assert words_of(report.text) in words
        for name in ("plateau worst", "plateau median", "sharpe", "Best row by sharpe", "Sensiti"):
            assert name in words.replace("_", " "), name
        best = sweep.top(3, plateau=True, min_trades=1)
        for combo_id in best["combo_id"]:
            assert str(combo_id) in words
        assert max(map(len, outcome.out.splitlines())) <= 80

    def test_json_holds_rows_and_report(self, cli, out):
        printed = parsed(cli("top", out, "--plateau", "-n", 4, "--by", "total_return", "--json"))
        sweep = bt.open_sweep(out)
        best = sweep.top(4, by="total_return", plateau=True)
        assert [row["combo_id"] for row in printed["rows"]] == best["combo_id"].tolist()
        assert [row["plateau_worst"] for row in printed["rows"]] == best["plateau_worst"].tolist()
        names = list(printed["rows"][0])
        at = names.index("total_return")
        assert names[at + 1 : at + 3] == ["plateau_worst", "plateau_median"]
        report = sweep.plateau_report("total_return")
        plateau = printed["plateau"]
        assert plateau["best_row"]["combo_id"] == report.best_row.combo_id
        assert plateau["best_plateau"]["combo_id"] == report.best_plateau.combo_id
        assert plateau["edges"] == list(report.edges)
        assert plateau["text"] == report.text
        assert set(plateau["explained"]) == {
            "strategy.min_range_mult", "strategy.lookback", "rules.stop",
        }  # fmt: skip

    def test_undefined_numbers_are_strict_json(self, cli, config, out, tmp_path):
        config.write_text(config.read_text().replace("[0.5, 5.0, 6.0]", "[1e8, 1e9]"))
        assert cli("sweep", config, "--out", tmp_path / "none").status == 0
        printed = parsed(cli("top", tmp_path / "none", "--plateau", "--json"))
        assert printed["plateau"]["best_row"] is None
        assert printed["rows"][0]["plateau_worst"] == "nan"
        assert "No row has a sharpe" in words_of(cli("top", tmp_path / "none", "--plateau").out)

    def test_they_are_stored_as_columns(self, cli, out):
        assert cli("top", out, "--plateau", "--store").status == 0
        columns = bt.open_sweep(out).columns[-3:]
        assert columns == (
            "plateau_sharpe_worst", "plateau_sharpe_median", "plateau_sharpe_score",
        )  # fmt: skip
        by_column = parsed(cli("top", out, "--by", columns[-1], "--json"))["rows"]
        ranked = parsed(cli("top", out, "--plateau", "--json"))["rows"]
        assert [row["combo_id"] for row in by_column] == [row["combo_id"] for row in ranked]
        some = parsed(cli("top", out, "--where", "plateau_sharpe_worst > 0", "--json"))["rows"]
        assert all(row["plateau_sharpe_worst"] > 0 for row in some)
        assert cli("top", out, "--by", columns[-1]).status == 0

    def test_a_sweep_with_stored_columns_is_still_complete_and_resumable(self, cli, config, out):
        assert cli("top", out, "--plateau", "--store", "--by", "total_return").status == 0
        assert cli("sweep", config, "--out", out, "--resume").status == 0
        assert "plateau_total_return_median" in bt.open_sweep(out).columns

    def test_store_needs_plateau(self, cli, out):
        refused = cli("top", out, "--store")
        assert refused.status == 2
        assert "--plateau" in refused.err

    def test_what_has_no_plateau_is_refused(self, cli, config, tmp_path):
        config.write_text(config.read_text() + '"rules.target_r" = { min = 1.0, max = 2.0 }\n')
        text = config.read_text() + "\n[sweep.sample]\nn = 20\n"
        config.write_text(text)
        outcome = cli("sweep", config, "--out", tmp_path / "drawn")
        assert outcome.status == 0, outcome.err
        refused = cli("top", tmp_path / "drawn", "--plateau")
        assert (refused.status, refused.out) == (2, "")
        assert "continuous" in refused.err


class TestFewTrades:
    def test_it_asks_for_min_trades(self, cli, out):
        sweep = bt.open_sweep(out)
        few = int((sweep.top(20)["total_trades"] < 30).sum())
        assert 1 < few < 20
        outcome = cli("top", out)
        assert outcome.status == 0
        assert f"note: {few} of 20 rows shown rest on fewer than 30 {FEW}" in words_of(outcome.err)
        json_too = cli("top", out, "--json")
        assert FEW in json_too.err
        assert len(parsed(json_too)["rows"]) == 20

    def test_it_does_not_where_the_user_has_decided(self, cli, out):
        for given in (
            ("--min-trades", 1),
            ("--where", "total_trades > 2"),
            ("--where", "stop == 1 and total_trades>1"),
            ("--by", "total_trades", "-n", 1),
        ):
            outcome = cli("top", out, *given)
            assert (outcome.status, outcome.err) == (0, ""), given
        assert FEW in cli("top", out, "--where", "stop <= 3").err

    def test_min_trades_leaves_rows_out(self, cli, out):
        outcome = cli("top", out, "--min-trades", 30, "--json", "-n", 100)
        rows = parsed(outcome)["rows"]
        assert outcome.err == ""
        expected = bt.open_sweep(out).top(100, where="total_trades >= 30")
        assert [row["combo_id"] for row in rows] == expected["combo_id"].tolist()
        assert 0 < len(rows) < 36

    def test_nothing_left_is_said(self, cli, out):
        outcome = cli("top", out, "--min-trades", 10**6)
        assert outcome.status == 0
        assert "nothing of 36 rows matches --min-trades 1000000" in words_of(outcome.out)
        both = cli("top", out, "--min-trades", 5, "--where", "stop > 9")
        assert "matches --where 'stop > 9' and --min-trades 5" in words_of(both.out)

    @pytest.mark.parametrize("given", ["-1", "many"])
    def test_nonsense_is_refused(self, cli, out, given):
        refused = cli("top", out, "--min-trades", given)
        assert refused.status == 2
        assert "--min-trades" in refused.err


def test_arithmetic_decides(cli, out, tmp_path):
    by = "total_return / max_drawdown"
    rows = parsed(cli("top", out, "--by", by, "--json", "-n", 5))["rows"]
    values = [row[by] for row in rows]
    assert values == sorted(values, reverse=True)
    assert values[0] == rows[0]["total_return"] / rows[0]["max_drawdown"]
    outcome = cli("top", out, "--by", by, "-n", 2, "--csv", tmp_path / "best.csv")
    assert outcome.status == 0
    np.testing.assert_array_equal(pc.read_csv(tmp_path / "best.csv")[by].to_pylist(), values[:2])
    assert by in words_of(cli("top", out, "--by", by, "-n", 2).out)
    refused = cli("top", out, "--by", "sharpe * __import__('os')")
    assert refused.status == 2
    assert "by = " in refused.err


def test_an_incomplete_sweep_says_so(cli, out):
    manifest = read_manifest(out)
    write_manifest(out, {**manifest, "n_combos": 72, "n_shards": 2, "status": "interrupted"})
    for given in ((), ("--plateau",), ("--json",), ("--by", "sharpe * 2")):
        outcome = cli("top", out, "--min-trades", 1, *given)
        assert outcome.status == 0, given
        assert "is not complete: 36 of 72 combinations are done (1 of 2 shards)" in outcome.err
    printed = parsed(cli("top", out, "--json", "--plateau"))
    assert (printed["complete"], printed["n_done"], printed["n_missing"]) == (False, 36, 36)
    refused = cli("top", out, "--plateau", "--store")
    assert refused.status == 2
    assert "36 of 72 combinations are done" in refused.err


def test_ruined_accounts_sink_and_are_shown(cli, config, tmp_path):
    config.write_text(
        config.read_text().replace("point_value = 0.2", "initial_capital = 3000.0")
        + '"contract.point_value" = [0.2, 20.0, 100.0]\n'
    )
    out = tmp_path / "ruin"
    assert cli("sweep", config, "--out", out).status == 0
    for given in ((), ("--plateau",), ("--by", "sharpe*2"), ("--by", "max_drawdown")):
        rows = parsed(cli("top", out, "--json", "-n", 200, *given))["rows"]
        flags = [row["ruined"] for row in rows]
        assert {True, False} == {*flags}
        assert flags == sorted(flags), given
        shown = cli("top", out, "-n", 200, *given).out
        assert "ruined" in shown
        assert "yes" in shown
        csv = tmp_path / "all.csv"
        assert cli("top", out, "-n", 200, "--csv", csv, *given).status == 0
        assert pc.read_csv(csv)["ruined"].to_pylist() == flags
