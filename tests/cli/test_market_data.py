"""Commands on an exchange's bars: run, sweep, replay, resume, parity, inspect, plots, tables."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.config import Config
from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.source import source_of
from backtest_py.provenance import canonical_json, sha256

DAY = 86_400_000
NOW = 1_740_000_000_123
SPAN = ("2024-12-01", "2025-02-01")
TOML = """
[data]
source = "binance"
{symbols}
interval = "1h"
start = "2024-12-01"
end = "2025-02-01"
session_timezone = "America/Sao_Paulo"
[feed]
data_dir = "market"
exchange_url = "{url}"
bulk_url = "{url}"
[strategy]
params = {{ lookback = 5, min_range_mult = 1.2 }}
[contract]
tick_size = 0.01
{contracts}
[metrics]
periods_per_year = 365
[sweep.grid]
"rules.stop" = [1.0, 2.0]
"""
pytestmark = pytest.mark.filterwarnings("ignore::backtest_py.BacktestWarning")


def markets(**seeds):
    return tuple(DemoMarket(name, NOW - 120 * DAY, NOW, **kind) for name, kind in seeds.items())


@pytest.fixture(scope="module")
def exchange():
    with DemoExchange(markets(BTCUSDT={}, ETHUSDT={}), lambda: NOW) as running:
        yield running


@pytest.fixture(scope="module")
def kept(tmp_path_factory, exchange):
    """Return a folder of data in which everything is kept already."""
    folder = tmp_path_factory.mktemp("kept")
    file = folder / "two.toml"
    file.write_text(
        TOML.format(symbols='symbols = ["BTCUSDT", "ETHUSDT"]', url=exchange.url, contracts="")
    )
    Config.load(file).load_many()
    return folder / "market"


@pytest.fixture
def configured(tmp_path, exchange, kept):
    """Return a function that writes a configuration beside data that is kept already."""
    shutil.copytree(kept, tmp_path / "market")

    def write(symbols='symbol = "BTCUSDT"', contracts="", url=exchange.url, name="run.toml"):
        file = tmp_path / name
        file.write_text(TOML.format(symbols=symbols, url=url, contracts=contracts))
        return file

    return write


@pytest.fixture
def one(configured):
    return configured()


@pytest.fixture
def two(configured):
    return configured(
        'symbols = ["ETHUSDT", "BTCUSDT"]', "[contracts.ETHUSDT]\npoint_value = 10", name="two.toml"
    )


class TestOneMarket:
    def test_run_prints_and_writes_where_its_bars_come_from(self, cli, one, tmp_path):
        outcome = cli("run", one, "--out", tmp_path / "out", "--plot", tmp_path / "chart.png")
        assert outcome.status == 0, outcome.err
        assert "BTCUSDT 1h (binance): 1,488, 2024-11-30 21:00 to 2025-01-31 20:00" in outcome.out
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        market = manifest["provenance"]["market"]
        assert set(market) == {"source", "symbol", "interval", "certificate"}
        assert (market["source"], market["symbol"], market["interval"]) == (
            "binance",
            "BTCUSDT",
            "1h",
        )
        assert len(market["certificate"]) == 64
        assert market["certificate"] == Config.load(one).load_bars().report.certificate
        assert (tmp_path / "chart.png").stat().st_size > 10_000

    def test_every_command_gets_the_same_bars(self, cli, one, tmp_path):
        expected = Config.load(one).load_bars().content_hash
        run = json.loads(cli("run", one, "--json").out)
        assert run["provenance"]["bars_hash"] == expected
        assert json.loads(cli("inspect", one, "--json").out)["content_hash"] == expected
        assert "Market" in cli("inspect", one).out
        compared = json.loads(cli("parity", one, "--json").out)
        assert compared["same"] is True
        assert compared["n_trades"]["rust"] > 0
        assert compared["provenance"]["numba"]["market"]["symbol"] == "BTCUSDT"
        swept = json.loads(cli("sweep", one, "--out", tmp_path / "sweep", "--json").out)
        assert swept["identity"]["bars_hash"] == expected
        assert swept["market"] == run["provenance"]["market"]
        assert json.loads(cli("sweep", one, "--dry-run", "--json").out)["kind"] == "plan"
        replayed = json.loads(cli("replay", tmp_path / "sweep", 1, "--json").out)
        assert replayed["provenance"]["market"] == run["provenance"]["market"]
        assert replayed["provenance"]["bars_hash"] == expected
        assert replayed["metrics"] == run["metrics"]  # rules.stop = 2 is the default
        (tmp_path / "elsewhere").mkdir()
        file = tmp_path / "elsewhere" / "row.toml"
        assert cli("replay", tmp_path / "sweep", 1, "--toml", file).status == 0
        again = json.loads(cli("run", file, "--json").out)
        assert again["metrics"] == run["metrics"]
        assert again["provenance"]["bars_hash"] == expected

    def test_inspect_takes_its_options_from_the_file_alone(self, cli, one):
        refused = cli("inspect", one, "--timezone", "UTC")
        assert refused.status == 2
        assert "--timezone" in refused.err

    def test_the_tiers_alone_serve_it_again(self, cli, configured):
        file = configured(url="http://127.0.0.1:9")  # where nobody answers
        assert cli("run", file).status == 0

    def test_a_sweep_says_what_it_swept(self, cli, one, tmp_path):
        out = cli("sweep", one, "--out", tmp_path / "sweep").out
        assert "BTCUSDT 1h (binance)" in out
        assert "on BTCUSDT 1h (binance), complete" in repr(bt.open_sweep(tmp_path / "sweep"))


class TestSweepsGetTheirBarsAgain:
    @pytest.fixture
    def swept(self, cli, one, tmp_path):
        assert cli("sweep", one, "--out", tmp_path / "sweep").status == 0
        return tmp_path / "sweep"

    def test_the_manifest_says_how(self, swept, tmp_path, exchange):
        assert bt.open_sweep(swept).manifest["data"] == {
            "source": "binance",
            "symbol": "BTCUSDT",
            "interval": "1h",
            "start": SPAN[0],
            "end": SPAN[1],
            "session_timezone": "America/Sao_Paulo",
            "feed": {
                "data_dir": str(tmp_path / "market"),
                "exchange_url": exchange.url,
                "bulk_url": exchange.url,
            },
        }

    def test_resuming_accepts_the_same_bars(self, cli, one, swept):
        assert cli("sweep", one, "--out", swept, "--resume").status == 0

    def test_another_history_is_refused_with_both_hashes(self, cli, configured, swept, tmp_path):
        before = bt.open_sweep(swept).manifest["identity"]["bars_hash"]
        shutil.rmtree(tmp_path / "market")
        with DemoExchange(markets(BTCUSDT={"seed": 99}, ETHUSDT={}), lambda: NOW) as rewritten:
            file = configured(url=rewritten.url)
            manifest_of_another = resigned(swept, url=rewritten.url)
            now = Config.load(file).load_bars().content_hash
            for command in (
                ("replay", swept, 1),
                ("sweep", file, "--out", swept, "--resume"),
            ):
                refused = cli(*command)
                assert refused.status in {1, 2}
                assert "the exchange's history or what the tiers keep of it has changed" in (
                    refused.err
                )
                assert before in refused.err
                assert now in refused.err
                assert "certificate was" in refused.err
        assert manifest_of_another["identity"]["bars_hash"] == before
        # the rows are as they were
        assert len(bt.open_sweep(swept)) == 2

    def test_of_a_sweep_in_python(self, exchange, tmp_path, monkeypatch):
        monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path / "market"))
        monkeypatch.setenv("BACKTEST_PY_EXCHANGE_URL", exchange.url)
        monkeypatch.setenv("BACKTEST_PY_BULK_URL", exchange.url)
        with bt.open_feed() as feed:
            bars = feed.bars("BTCUSDT", "1h", *SPAN)[100:700]
        assert source_of(bars) == {
            "source": "binance",
            "symbol": "BTCUSDT",
            "interval": "1h",
            "start": "2024-12-05 04:00:00",
            "end": "2024-12-30 04:00:00",
            "session_timezone": "UTC",
        }
        made = bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]}, out=tmp_path / "sweep")
        again = bt.open_sweep(tmp_path / "sweep").replay(1)
        assert again.job.bars.content_hash == bars.content_hash
        assert again.metrics == made.replay(1).metrics

    def test_coarser_bars_have_no_way_back(self, one, tmp_path):
        bars = Config.load(one).load_bars().resample("4h")
        assert source_of(bars) == {}
        bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]}, out=tmp_path / "coarse")
        with pytest.raises(bt.ConfigError, match="came from no file; give them"):
            bt.open_sweep(tmp_path / "coarse").replay(0)
        assert bt.open_sweep(tmp_path / "coarse", bars=bars).replay(0)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("source", "kraken"),
            ("source", 5),
            ("symbol", None),
            ("symbol", "../../x"),
            ("interval", ["4h"]),
            ("start", None),
            ("end", {}),
            ("session_timezone", 5),
            ("feed", 5),
            ("feed", {"data_dir": 5}),
            ("feed", {"unknown": 5}),
            ("feed", {"exchange_url": "http://user:hidden@host"}),
        ],
    )
    def test_a_manifest_that_was_changed_is_refused_in_words(self, cli, swept, key, value):
        resigned(swept, **{key: value})
        refused = cli("replay", swept, 1)
        assert refused.status in {1, 2}
        assert "bug" not in refused.err
        assert "hidden" not in refused.err


def resigned(swept, url="", **changes):
    """Change the data that a manifest speaks of, and sign it anew."""
    file = swept / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["checksum"]
    if url:
        manifest["data"]["feed"] |= {"exchange_url": url, "bulk_url": url}
    manifest["data"] |= changes
    manifest["checksum"] = sha256(canonical_json(manifest))
    file.write_text(json.dumps(manifest))
    return manifest


class TestSeveralMarkets:
    def test_run_prints_one_table_in_order_and_writes_a_folder_for_each(self, cli, two, tmp_path):
        image = tmp_path / "chart.png"
        outcome = cli("run", two, "--out", tmp_path / "out", "--by", "side", "--plot", image)
        assert outcome.status == 0, outcome.err
        rows = [line.split()[0] for line in outcome.out.splitlines() if "1,488" in line]
        assert rows == ["ETHUSDT", "BTCUSDT"]
        assert outcome.out.count("long") == 2
        assert (tmp_path / "chart-ETHUSDT.png").exists()
        table = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
        assert [row["symbol"] for row in table] == ["ETHUSDT", "BTCUSDT"]
        for row in table:
            manifest = json.loads((tmp_path / "out" / row["market"] / "manifest.json").read_text())
            value = 10.0 if row["symbol"] == "ETHUSDT" else 1.0
            assert manifest["configuration"]["contract"]["point_value"] == value
            assert manifest["provenance"]["market"]["symbol"] == row["symbol"]

    def test_json_has_all(self, cli, two, one):
        printed = json.loads(cli("run", two, "--json", "--by", "month").out)
        alone = json.loads(cli("run", one, "--json").out)
        assert list(printed["markets"]) == ["ETHUSDT", "BTCUSDT"]
        assert printed["markets"]["BTCUSDT"]["metrics"] == alone["metrics"]
        assert printed["markets"]["BTCUSDT"]["tables"]["month"]

    @pytest.mark.parametrize("command", ["sweep", "parity", "inspect"])
    def test_other_commands_take_one(self, cli, two, tmp_path, command):
        more = ("--out", tmp_path / "sweep") if command == "sweep" else ()
        refused = cli(command, two, *more)
        assert refused.status == 2
        assert "names 2 markets (ETHUSDT, BTCUSDT)" in refused.err
        assert not (tmp_path / "sweep").exists()

    def test_where_one_cannot_be_had_nothing_is_written(self, cli, configured, tmp_path):
        file = configured('symbols = ["BTCUSDT", "NOSUCH"]')
        refused = cli("run", file, "--out", tmp_path / "out")
        assert refused.status in {1, 2}
        assert "NOSUCH" in refused.err
        assert not (tmp_path / "out").exists()

    def test_of_files(self, cli, tmp_path):
        for name, seed in (("a", 1), ("b", 2)):
            frame = bt.synthetic_bars(n_days=20, seed=seed).to_frame()
            frame[:600].to_csv(tmp_path / f"{name}1.csv")
            frame[500:].to_csv(tmp_path / f"{name}2.csv")
        file = tmp_path / "files.toml"
        file.write_text(
            '[data]\npaths = { WIN = ["a2.csv", "a1.csv"], "WDO$N" = "b1.csv" }\n'
            "[contract]\ntick_size = 5\n"
        )
        printed = json.loads(cli("run", file, "--json", "--out", tmp_path / "out").out)
        found = {
            name: (each["bars"]["n_bars"], each["provenance"]["market"]["symbol"])
            for name, each in printed["markets"].items()
        }
        assert found == {"WIN": (2_180, ""), "WDO$N": (600, "")}
        assert (tmp_path / "out" / "WDO$N" / "trades.parquet").exists()


class TestBarsKnowTheirMarket:
    @pytest.fixture
    def bars(self, one):
        return Config.load(one).load_bars()

    def test_wherever_they_go(self, bars):
        sent = pickle.loads(pickle.dumps(bars[10:500]))
        assert sent.report == bars.report
        assert (sent.report.symbol, sent.report.interval) == ("BTCUSDT", "1h")
        assert repr(sent).startswith("Bars(BTCUSDT 1h (binance), 490 bars, ")

    def test_results_name_it(self, bars):
        result = bt.run(bars, "barra_elefante", contract=bt.Contract(tick_size=0.01))
        assert "barra_elefante on BTCUSDT 1h (binance), 1,488 bars" in repr(result)
        figure = result.plot()
        assert "barra_elefante on BTCUSDT 1h (binance)" in figure.axes[0].get_title(loc="left")
        copy = pickle.loads(pickle.dumps(result))
        assert copy.provenance.market == result.provenance.market
        with pytest.raises(TypeError):
            result.provenance.market["symbol"] = "ETHUSDT"

    def test_processes_of_a_sweep_get_the_same(self, bars, tmp_path):
        grid = {"rules.stop": [1.0, 2.0, 3.0], "strategy.lookback": [5, 6]}
        result = bt.sweep(bars, grid=grid, out=tmp_path / "sweep", processes=2, gate=None)
        assert result.manifest["market"]["symbol"] == "BTCUSDT"
        np.testing.assert_array_equal(
            result.table()["sharpe"].to_numpy(), bt.sweep(bars, grid=grid).table()["sharpe"]
        )

    def test_of_a_file_nothing_is_invented(self, bars, tmp_path):
        bars.to_frame().to_csv(tmp_path / "BTCUSDT_1h.csv")
        read = bt.load_bars(tmp_path / "BTCUSDT_1h.csv")
        market = bt.run(read, "barra_elefante").provenance.market
        assert dict(market) == {
            "source": "BTCUSDT_1h.csv",
            "symbol": "",
            "interval": "",
            "certificate": "",
        }
