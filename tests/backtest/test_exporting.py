"""Results in spreadsheets: what Excel in Brazil opens, and what no spreadsheet may execute."""

from __future__ import annotations

import builtins
import csv
import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import backtest_py as bt
from backtest_py.sweep.result import exporting

MARK = b"\xef\xbb\xbf"


@pytest.fixture(scope="module")
def result():
    made = bt.synthetic_bars(n_days=20).to_frame()
    bars = bt.Bars.from_frame(
        made, timezone="America/Sao_Paulo", session_timezone="America/Sao_Paulo"
    )
    rules = bt.ExitRules(stop=0, target=2.0, close_time="17:00")
    return bt.run(bars, bt.BarraElefante(min_range_mult=1.2), rules, bt.Contract(fee_per_side=0.25))


@pytest.fixture(scope="module")
def swept():
    grid = {"rules.stop": [1.0, 2.5], "strategy.entry_start": ["09:00", "23:30"]}
    return bt.sweep(bt.synthetic_bars(n_days=20), grid=grid)


def cells(path, sep=";"):
    text = path.read_bytes().decode("utf-8-sig")
    return list(csv.reader(text.splitlines(), delimiter=sep))


def test_excel_in_brazil_opens_the_trades(result, tmp_path):
    result.to_csv(tmp_path / "t.csv", locale="pt-BR")
    content = (tmp_path / "t.csv").read_bytes()
    assert content.startswith(MARK)
    assert content.count(b"\r\n") == content.count(b"\n") == len(result) + 1
    header, *rows = cells(tmp_path / "t.csv")
    trades = result.trades
    assert header == list(trades.columns)
    first = dict(zip(header, rows[0], strict=True))
    assert float(first["pnl"].replace(",", ".")) == trades["pnl"][0]
    assert "." not in first["pnl"]
    assert first["stop_price"] == "", "no stop is an empty cell"
    entered = result.job.bars.time_text(int(trades["entry_bar"][0]))
    assert first["entry_time"] == f"{entered}:00", "the clock of the session"
    read = pd.read_csv(tmp_path / "t.csv", sep=";", decimal=",", encoding="utf-8-sig")
    for name in ("entry_price", "exit_price", "points", "pnl", "mae", "mfe"):
        np.testing.assert_array_equal(read[name], trades[name])


def test_the_plain_form_stays_as_it_was(result, tmp_path):
    result.to_csv(tmp_path / "t.csv")
    expected = result.trades.to_csv(index=False, lineterminator="\n").encode()
    assert (tmp_path / "t.csv").read_bytes() == expected


def test_marks_can_be_chosen_one_by_one(result, tmp_path):
    result.to_csv(tmp_path / "t.csv", sep="|", decimal=",")
    content = (tmp_path / "t.csv").read_bytes()
    assert not content.startswith(MARK)
    assert b"\r" not in content
    read = pd.read_csv(tmp_path / "t.csv", sep="|", decimal=",")
    np.testing.assert_array_equal(read["pnl"], result.trades["pnl"])
    assert np.isneginf(read["stop_price"]).any()
    result.to_csv(tmp_path / "t.csv", locale="pt-BR", sep="\t")
    assert cells(tmp_path / "t.csv", "\t")[0] == list(result.trades.columns)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"decimal": ","}, "are both"),
        ({"sep": "x"}, "sep = 'x'"),
        ({"sep": ";", "decimal": "'"}, "decimal"),
        ({"locale": "pt"}, "pt-BR"),
    ],
)
def test_marks_that_cannot_be_read_back_are_refused(result, swept, tmp_path, how, words):
    for each in (result, swept):
        with pytest.raises(bt.ConfigError, match=words):
            each.to_csv(tmp_path / "t.csv", **how)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_opens_in_brazil_too(swept, tmp_path):
    swept.to_csv(tmp_path / "s.csv", locale="pt-BR")
    content = (tmp_path / "s.csv").read_bytes()
    assert content.startswith(MARK)
    assert content.count(b"\r\n") == content.count(b"\n") == 5
    header, *rows = cells(tmp_path / "s.csv")
    assert header == list(swept.columns)
    table = swept.table()
    for row, kept in zip(rows, table.to_pylist(), strict=True):
        for text, (name, value) in zip(row, kept.items(), strict=True):
            if isinstance(value, float) and np.isnan(value):
                assert text == "", name
            elif isinstance(value, float):
                assert float(text.replace(",", ".")) == value, name
            else:
                assert text in {str(value), str(value).lower()}, name
    assert any("" in row for row in rows), "some metrics of a row without trades are undefined"


def test_a_sweep_takes_columns_a_condition_and_marks(swept, tmp_path):
    swept.to_csv(
        tmp_path / "s.csv", ["combo_id", "rules.stop"], where="rules.stop > 2", sep=";", decimal=","
    )
    assert (tmp_path / "s.csv").read_text() == "combo_id;rules.stop\n2;2,5\n3;2,5\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_text_that_looks_like_a_formula_is_quoted(tmp_path, text):
    from backtest_py.sweep.result.result import SweepResult

    rows = pa.table({"combo_id": [0], "strategy.label": [text], "sharpe": [-1.5]})
    sweep = SweepResult.of_tables([rows], {"identity": {}})
    sweep.to_csv(tmp_path / "s.csv", locale="pt-BR")
    assert cells(tmp_path / "s.csv")[1] == ["0", f"'{text}", "-1,5"]


def test_excel_gets_numbers_times_and_undefined_cells(result, tmp_path):
    import openpyxl

    result.to_excel(tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert book.sheetnames == ["trades", "metrics", "settings"]
    header, *rows = book["trades"].iter_rows(values_only=True)
    trades = result.trades
    assert list(header) == list(trades.columns)
    first = dict(zip(header, rows[0], strict=True))
    assert first["pnl"] == pytest.approx(trades["pnl"][0], rel=1e-15)  # a cell has 16 digits
    assert first["stop_price"] is None
    assert isinstance(first["entry_time"], dt.datetime)
    entered = result.job.bars.time_text(int(trades["entry_bar"][0]))
    assert first["entry_time"].strftime("%Y-%m-%d %H:%M") == entered
    metrics = dict(book["metrics"].iter_rows(min_row=2, values_only=True))
    assert metrics["total_return"] == pytest.approx(result.metrics.total_return, rel=1e-15)
    settings = dict(book["settings"].iter_rows(min_row=2, values_only=True))
    assert settings["contract.fee_per_side"] == 0.25
    assert settings["strategy.name"] == "barra_elefante"


def test_excel_gets_a_sweep_and_executes_nothing(swept, tmp_path):
    import openpyxl

    from backtest_py.sweep.result.result import SweepResult

    swept.to_excel(tmp_path / "s.xlsx", where="rules.stop > 2")
    sheet = openpyxl.load_workbook(tmp_path / "s.xlsx")["sweep"]
    assert sheet.max_row == 3
    rows = pa.table({"combo_id": [0], "strategy.label": ["=HYPERLINK(1)"], "=x": [1.0]})
    SweepResult.of_tables([rows], {"identity": {}}).to_excel(tmp_path / "f.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "f.xlsx")["sweep"]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} == {"s", "n"}


def test_excel_refuses_other_names_and_too_many_rows(result, swept, tmp_path, monkeypatch):
    with pytest.raises(bt.ConfigError, match="xlsx"):
        result.to_excel(tmp_path / "r.xls")
    monkeypatch.setattr(exporting, "MOST_ROWS", 3)
    with pytest.raises(bt.ConfigError, match="where="):
        swept.to_excel(tmp_path / "s.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_without_openpyxl_the_remedy_is_named(result, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "openpyxl":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(bt.ConfigError, match=r'pip install "backtest-py\[xlsx\]"'):
        result.to_excel(tmp_path / "r.xlsx")


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
def test_run_writes_them(cli, write_toml, tmp_path, name):
    bt.synthetic_bars(n_days=20).to_frame().to_csv(tmp_path / "bars.csv")
    config = write_toml('[contract]\nfee_per_side = 0.25\n[rules]\nclose_time = "17:00"\n')
    outcome = cli("run", config, "--csv", tmp_path / name, "--locale", "pt-BR")
    assert outcome.status == 0
    assert f"Wrote {tmp_path / name}" in outcome.out.replace("\n", "")
    result = bt.Config.load(config).backtest()
    if name == "t.csv":
        assert len(cells(tmp_path / name)) == len(result) + 1
    else:
        pd.testing.assert_series_equal(pd.read_excel(tmp_path / name)["pnl"], result.trades["pnl"])
    outcome = cli("run", config, "--csv", tmp_path / "no.csv", "--locale", "xx")
    assert outcome.status == 2
    assert not (tmp_path / "no.csv").exists()


def test_each_of_several_markets_has_its_own_file(cli, write_toml, tmp_path):
    for name in ("A", "B"):
        bt.synthetic_bars(n_days=20).to_frame().to_csv(tmp_path / f"{name}.csv")
    config = write_toml('[data]\npaths = { A = "A.csv", B = "B.csv" }\n')
    assert cli("run", config, "--csv", tmp_path / "t.csv").status == 0
    assert {path.name for path in tmp_path.glob("t-*")} == {"t-A.csv", "t-B.csv"}


def test_libraries_of_returns_find_the_same_ratios(result):
    import empyrical

    returns = result.to_quantstats()
    assert isinstance(returns.index, pd.DatetimeIndex)
    assert returns.index.tz is None
    assert returns.index.is_unique
    assert len(returns) == result.metrics.days
    assert empyrical.sharpe_ratio(returns) == pytest.approx(result.metrics.sharpe, rel=1e-12)
    assert empyrical.sortino_ratio(returns) == pytest.approx(result.metrics.sortino, rel=1e-12)
    import quantstats

    assert quantstats.stats.sharpe(returns) == pytest.approx(result.metrics.sharpe, rel=1e-12)
