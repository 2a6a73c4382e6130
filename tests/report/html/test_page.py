"""The report as a file: what it says without scripts, in both languages, whatever was run."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.report.html.conftest import B3, KINDS, Page, b3_bars, elephants, on_side

import backtest_py as bt
from backtest_py.errors import ConfigError, DataError, StorageError, UnsupportedError
from backtest_py.metrics.catalogue import CATALOGUE
from backtest_py.report.html.page import SCRIPTS

NAMES = ("summary", "price", "account", "months", "times", "exits", "excursions", "streaks")
NAMES += ("costs", "against", "trades", "metrics", "settings", "data")


@pytest.mark.parametrize("lang", ["en", "pt-BR"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_result_makes_a_whole_page(kind, lang, reports, read):
    page = read(reports(kind, lang=lang))
    assert [found["id"] for tag, found in page.elements if tag == "section"] == list(NAMES)
    assert ("html", {"lang": lang}) in page.elements
    names = [found["id"] for _, found in page.elements if "id" in found]
    assert len(set(names)) == len(names)
    told = {found["aria-labelledby"] for tag, found in page.elements if tag == "svg"}
    assert {name for names in told for name in names.split()} <= set(names)
    assert page.text.rstrip().endswith("https://www.tradingview.com/")
    for word in ("nan", "None", "inf", "NaN", "{", "}", "Infinity"):
        assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", page.text), word
    for tag, found in page.elements:
        for name, value in found.items():
            if name in {"d", "viewbox", "x", "y", "width", "height"}:
                assert "nan" not in value, tag
                assert "inf" not in value, tag


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_is_on_the_page_with_its_exact_value(kind, results, reports, read):
    page = read(reports(kind))
    assert set(page.metrics) == set(CATALOGUE)
    for name, value in results(kind).metrics.items():
        for exact, text in page.metrics[name]:
            assert exact == repr(value)
            if math.isnan(value):
                assert text == "n/a"
                continue
            if isinstance(value, bool):
                assert text == ("yes" if value else "no")
                continue
            if math.isinf(value):
                assert text == "∞"
                continue
            shown = float(re.sub(r"[^\d.-]", "", text))
            shown = shown / 100 if CATALOGUE[name].unit == "share" else shown
            decimals = len(text.partition(".")[2].rstrip("%").split()[0]) if "." in text else 0
            unit = 10.0**-decimals / (100 if CATALOGUE[name].unit == "share" else 1)
            assert shown == pytest.approx(value, abs=0.5001 * unit)


def test_portuguese_writes_commas_and_brazilian_dates(reports, read):
    page = read(reports("b3", lang="pt-BR", currency="BRL"))
    assert page.metrics["total_return"][0][1].startswith(("R$\xa0", "-R$\xa0"))
    assert re.fullmatch(r"-?R\$\xa0[\d.]+,\d\d", page.metrics["total_return"][0][1])
    assert re.fullmatch(r"\d+,\d%", page.metrics["win_rate"][0][1])
    assert "02/01/2019" in page.text
    assert "Resultado líquido" in page.text
    assert "Rebaixamento" in page.text
    assert "Net result" not in page.text
    assert not re.search(r"\d\.\d\d(?!\d)", page.text.partition("Configuração")[0])


def test_the_clock_is_the_sessions_whatever_the_machines(reports, read, results):
    result = results("b3")
    page = read(reports("b3"))
    first = result.trades.sort_values("pnl", ascending=False, kind="stable").iloc[0]
    there = first["entry_time"].tz_convert("America/Sao_Paulo")
    assert f"{there.day} {there:%b %Y %H:%M}" in page.text
    assert "America/Sao_Paulo" in page.text


def test_ticks_and_currency_are_the_contracts(reports, read, results):
    page = read(reports("crypto", currency="USDT"))
    assert re.fullmatch(r"-?[\d,]+\.\d\d\xa0USDT", page.metrics["total_return"][0][1])
    best = results("crypto").trades.sort_values("pnl").iloc[-1]
    assert f"{best['entry_price']:,.1f}" in page.text


@pytest.mark.parametrize(
    ("name", "currency"),
    [
        ("WINJ24_M5.csv", "BRL"),
        ("WDO.csv", "BRL"),
        ("WIN$N.csv", "BRL"),
        ("BTCUSDT_4h.csv", "USDT"),
        ("window.csv", ""),
    ],
)
def test_the_currency_is_that_which_the_markets_name_tells(name, currency, tmp_path):
    from backtest_py.report.html.report import currency_of

    file = tmp_path / name
    b3_bars(n_days=1).to_frame().to_csv(file)
    assert currency_of(bt.load_bars(file)) == currency


def test_months_add_up_to_the_result(reports, read, results):
    result = results("b3")
    frame = result.table("month")
    text = read(reports("b3")).text.partition("Months and years Net")[2]
    digits = 0 if frame["pnl"].abs().max() >= 100 else 2
    for total in [*frame["pnl"], result.metrics.total_return]:
        assert f" {total:,.{digits}f} " in text


def test_hours_weekdays_reasons_and_sides_are_those_of_the_tables(reports, read, results):
    result, text = results("b3"), read(reports("b3")).text
    for by in ("hour", "weekday", "reason", "side"):
        for name, row in result.table(by).iterrows():
            label = f"{name:02d}:00" if by == "hour" else str(name).replace("_", " ").capitalize()
            money = f"{row['pnl']:,.2f}".replace("-0.00", "0.00")
            told = f"{label} {row['trades']:,.0f} {100 * row['win_rate']:.1f}% {money}"
            assert told in text, told


def test_the_interval_is_that_of_both_runs(read, tmp_path):
    bars = b3_bars()
    rules = {"stop": 0.3, "target": 0.3, "close_time": "17:00"}
    both = [
        elephants(bars, bt.ExitRules(**rules, intrabar=way))
        for way in ("stop_first", "target_first")
    ]
    assert both[0].metrics.ambiguous_trades > 0
    assert both[0].metrics.total_return != both[1].metrics.total_return
    pages = []
    for number, result in enumerate(both):
        result.report(tmp_path / f"{number}.html")
        pages.append(read(tmp_path / f"{number}.html").text)
    for page in pages:
        for result in both:
            assert f"{result.metrics.total_return:,.2f}" in page
            assert f"{result.metrics.sharpe:.3f}" in page


def test_buy_and_hold_pays_the_same_costs(reports, read, results):
    bars = results("b3").job.bars
    points = (bars.close[-1] - 5.0) - (bars.open[0] + 5.0)
    total = points * B3.point_value - 2 * B3.fee_per_side
    assert f"Buy and hold {total:,.2f} {total / 100:,.2f}%" in read(reports("b3")).text


def test_costs_are_fees_and_the_slippage_of_market_orders(reports, read, results):
    trades = results("b3").trades
    orders = 2 * len(trades) - int((trades["reason"] == "take_profit").sum())
    slippage, fees = orders * 5 * 0.2, trades["fees"].sum()
    text = read(reports("b3")).text
    assert f"Fees {-fees:,.2f}" in text
    assert f"Slippage {-slippage:,.2f}" in text
    before = results("b3").metrics.total_return + fees + slippage
    assert f"Result before costs {before:,.2f}" in text


def test_what_makes_numbers_mean_less_is_said(reports, read):
    assert "the account was empty" in read(reports("ruined")).text
    assert "No signal became a trade" in read(reports("no_trades")).text
    assert "Fewer than 30 trades" in read(reports("one_trade")).text
    assert "held overnight" in read(reports("overnight")).text
    assert "held overnight" not in read(reports("crypto")).text
    assert "held overnight" not in read(reports("b3")).text
    free = on_side(b3_bars(), 40, bt.ExitRules(close_time="17:00"), bt.Contract(tick_size=5))
    assert "has no costs" in Page(_text(free)).text


def _text(result, **how):
    from backtest_py.report.html import backtest_report

    return backtest_report(result, **how)


def test_settings_and_provenance_are_there_to_do_it_again(reports, read, results):
    result, text = results("sub_range"), read(reports("sub_range")).text
    assert result.provenance.config_hash in text
    assert result.provenance.bars_hash in text
    assert result.provenance.engine in text
    assert "min_range_mult 1.4" in text
    assert "close_time 17:00" in text
    assert "range.end 2019-01-25T14:00:00Z" in text


def test_the_certificate_of_the_bars_is_there():
    from dataclasses import replace

    bars = b3_bars()
    seal = "ab" * 32
    report = replace(
        bars.report, symbol="BTCUSDT", interval="5m", source="binance", certificate=seal
    )
    text = Page(_text(elephants(bars.reported(report)))).text
    assert seal in text
    assert "barra_elefante · BTCUSDT 5m (binance)" in text
    assert "USDT" in text


def test_only_our_scripts_may_run_and_no_address_may_be_asked(reports):
    text = reports("b3").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert len(scripts) == len(SCRIPTS)
    assert "connect-src" not in rules
    assert not re.search(r'(src|href)="(?!#|data:,)', text)


def test_the_parts_of_others_are_named(reports):
    text = reports("b3").read_text(encoding="utf-8")
    assert "TradingView Lightweight Charts™ v5.2.1" in text
    assert "Licensed under Apache License 2.0" in text
    assert "Copyright (c) 2026 TradingView, Inc. https://www.tradingview.com/" in Page(text).text


@pytest.fixture(scope="module")
def large():
    bars = bt.synthetic_bars(n_days=1285, timezone="America/Sao_Paulo")
    assert len(bars) == 140_065
    result = bt.run(
        bars, bt.BarraElefante(min_range_mult=1.5), bt.ExitRules(close_time="17:00"), B3
    )
    assert len(result) >= 1_900
    return result


def test_a_large_report_is_small_and_quick(large, tmp_path):
    large.report(tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size < 1_500_000
    seconds = []
    for _ in range(3):
        start = time.process_time()  # others use this machine too
        large.report(tmp_path / "large.html")
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0


def test_the_same_result_makes_the_same_bytes(results, tmp_path):
    for name in ("a", "b"):
        results("b3").report(tmp_path / f"{name}.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_both_engines_make_the_same_page_but_for_their_names(tmp_path):
    bars = b3_bars()
    texts = [_text(elephants(bars, engine=engine)) for engine in ("numba", "rust")]
    cut = [text.partition('<section id="data"')[0] for text in texts]
    assert cut[0] == cut[1]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"lang": "de"}, "lang"),
        ({"lang": "pt"}, "pt-BR"),
        ({"currency": "x" * 11}, "currency"),
        ({"currency": "B\nL"}, "currency"),
    ],
)
def test_a_wrong_argument_is_refused(how, said, results, tmp_path):
    with pytest.raises(ConfigError, match=said):
        results("b3").report(tmp_path / "a.html", **how)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_page_or_cannot_be_written_is_refused(results, tmp_path):
    with pytest.raises(ConfigError, match=r"\.html"):
        results("b3").report(tmp_path / "report.pdf")
    with pytest.raises((StorageError, ConfigError)):
        results("b3").report(tmp_path / "missing" / "report.html")


def test_an_account_beyond_all_numbers_is_refused(tmp_path):
    huge = bt.Contract(tick_size=5, quantity=1e305)
    result = on_side(b3_bars(), 40, bt.ExitRules(stop=1, target=2), huge)
    with pytest.raises(DataError, match=r"quantity = 1e\+305"):
        result.report(tmp_path / "huge.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [7_000_000_000, 1_234_567_891])
def test_bars_of_seconds_and_less_tell_their_seconds(step, tmp_path, read):
    rng = np.random.default_rng(1)
    close = 100.0 + np.round(rng.normal(size=300), 2)
    before = np.append(close[0], close[:-1])
    time = np.datetime64("2024-03-01T10:00", "ns").astype(np.int64) + step * np.arange(300)
    bars = bt.Bars(time, before, np.maximum(before, close), np.minimum(before, close), close)
    rules = bt.ExitRules(stop=0, target=0, max_bars=5)
    result = on_side(bars, 30, rules, bt.Contract(tick_size=0.01))
    result.report(tmp_path / "seconds.html")
    best = result.trades.sort_values("pnl", ascending=False, kind="stable").iloc[0]["entry_time"]
    assert f"1 Mar 2024 {best:%H:%M:%S}".removesuffix(":00") in read(tmp_path / "seconds.html").text


def test_bars_that_are_gone_make_no_report(tmp_path):
    bars = b3_bars()
    streamed = bt.run_chunked([bars[:1000], bars[1000:]], bt.BarraElefante())
    with pytest.raises(UnsupportedError, match="streamed"):
        streamed.report(tmp_path / "a.html")


def test_a_result_that_was_pickled_reports_the_same(results, tmp_path):
    import pickle

    again = pickle.loads(pickle.dumps(results("b3")))
    assert _text(again) == _text(results("b3"))


def test_templates_are_imported_only_for_a_report():
    code = "import sys, backtest_py as bt; bt.run(bt.synthetic_bars(n_days=2), 'barra_elefante'); "
    code += "print('jinja2' in sys.modules or 'markupsafe' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


TOML = """
[data]
path = "bars.csv"
timezone = "America/Sao_Paulo"
[strategy]
params = { min_range_mult = 1.4 }
[rules]
stop = 1.0
target = 1.5
close_time = "17:00"
[contract]
tick_size = 5
point_value = 0.2
fee_per_side = 0.25
slippage_ticks = 1
"""


def test_the_command_writes_what_python_writes(cli, tmp_path, write_toml):
    bars = bt.synthetic_bars(n_days=15)
    frame = bars.to_frame()
    frame.to_csv(tmp_path / "bars.csv")
    file, out = write_toml(TOML), tmp_path / "run.html"
    done = cli("report", file, "--out", out, "--lang", "pt-BR", "--currency", "BRL", "--title", "T")
    assert (done.status, done.err) == (0, "")
    assert str(out) in done.out
    bt.Config.load(file).backtest().report(
        tmp_path / "own.html", lang="pt-BR", currency="BRL", title="T"
    )
    assert out.read_bytes() == (tmp_path / "own.html").read_bytes()
    told = json.loads(cli("report", file, "--out", out, "--json").out)
    assert told["kind"] == "report"
    assert told["bytes"] == out.stat().st_size
    assert told["metrics"]["total_trades"] > 0


@pytest.mark.parametrize("wrong", [("--lang", "fr"), ("--currency", "x" * 20)])
def test_the_command_refuses_before_it_runs(wrong, cli, tmp_path, write_toml):
    done = cli("report", write_toml(TOML), "--out", tmp_path / "run.html", *wrong)
    assert done.status == 2
    assert wrong[0].strip("-") in done.err
    assert cli("report", write_toml(TOML), "--out", tmp_path / "run.txt").status == 2


def test_marked_to_market_counts_open_positions(results):
    from backtest_py.report.html.account import Account

    result = results("overnight")
    account, trades = Account.of(result), result.trades
    bars = result.job.bars
    for _, trade in trades.iterrows():
        for bar in (trade["entry_bar"], (trade["entry_bar"] + trade["exit_bar"]) // 2):
            before = result.balance[int((trades["exit_bar"] <= bar).sum())]
            points = trade["side"] * (bars.close[bar] - trade["entry_price"])
            expected = before + points * B3.point_value - B3.fee_per_side
            assert account.marked[bar] == pytest.approx(expected)
        assert account.marked[trade["exit_bar"]] == account.closed[trade["exit_bar"]]
    assert account.closed[-1] == result.balance[-1]
    assert np.count_nonzero(account.marked != account.closed) > len(bars) / 2


@pytest.mark.parametrize("kind", ["b3", "overnight", "ruined", "sub_range", "crypto", "no_trades"])
def test_the_account_at_the_end_of_each_day_is_that_of_daily(kind, results):
    from backtest_py.report.html.account import Account

    result = results(kind)
    account, daily = Account.of(result), result.daily
    dates, last = account.days(result.job.bars)
    n_days = len(daily)
    assert n_days <= len(dates)
    assert daily.index.to_numpy().astype("M8[D]").tolist() == dates[:n_days].tolist()
    assert daily["equity"].tolist() == account.closed[last][:n_days].tolist()
    assert daily["equity_marked"].tolist() == account.marked[last][:n_days].tolist()
