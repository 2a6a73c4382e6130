"""Section ``[data]`` of an exchange, ``[feed]`` and ``[contracts]``: what they take and refuse."""

from __future__ import annotations

import tomllib

import pytest

from backtest_py.config import Config, commented_toml
from backtest_py.errors import ConfigError

DATA = {
    "source": "binance",
    "symbol": "BTCUSDT",
    "interval": "4h",
    "start": "2025-02-22",
    "end": "2026-02-22",
}
SEVERAL = {key: value for key, value in DATA.items() if key != "symbol"} | {
    "symbols": ["BTCUSDT", "ETHUSDT"]
}


def refusal(data, **sections):
    with pytest.raises(ConfigError) as caught:
        Config.from_mapping({"data": data, **sections})
    return str(caught.value)


def test_one_market_of_an_exchange():
    config = Config.from_mapping({"data": DATA})
    assert config.markets == ()
    assert config.data.label == "BTCUSDT 4h (binance)"
    with pytest.raises(ConfigError, match="not of one file"):
        _ = config.path
    with pytest.raises(ConfigError, match=r"\[data\] names one market"):
        config.load_many()


def test_several_markets_of_an_exchange():
    config = Config.from_mapping({"data": SEVERAL})
    assert config.markets == ("BTCUSDT", "ETHUSDT")
    with pytest.raises(ConfigError, match=r"names 2 markets \(BTCUSDT, ETHUSDT\), and this takes"):
        config.load_bars()


def test_dates_may_stand_without_quotes(write):
    text = """[data]
source = "binance"
symbol = "BTCUSDT"
interval = "4h"
start = 2025-02-22
end = 2026-02-22 12:00:00
"""
    written = Config.load(write(text, name="run.toml"))
    quoted = {**DATA, "end": "2026-02-22 12:00:00"}
    assert written.data == Config.from_mapping({"data": quoted}).data


@pytest.mark.parametrize("missing", ["symbol", "interval", "start", "end"])
def test_what_is_missing_is_named_with_an_example(missing):
    message = refusal({key: value for key, value in DATA.items() if key != missing})
    assert f"data.{missing}" in message
    assert "missing" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "kraken"}, ["data.source = 'kraken'", "'binance'"]),
        ({"source": 5}, ["data.source = 5", "'binance'"]),
        ({"path": "bars.csv"}, ["data.path = 'bars.csv'", "key of a file", "leave it or source"]),
        ({"paths": {}}, ["data.paths", "key of a file"]),
        ({"format": "csv"}, ["data.format = 'csv'", "key of a file"]),
        ({"timezone": "UTC"}, ["data.timezone = 'UTC'", "key of a file"]),
        ({"symbl": "BTCUSDT"}, ["unknown key of [data] 'symbl'", "did you mean 'symbol'"]),
        ({"symbol": 5}, ["data.symbol = 5", "a text in quotes"]),
        ({"symbol": "../../x"}, ["data.symbol = '../../x'", "A-Z"]),
        ({"symbol": "btcusdt"}, ["data.symbol = 'btcusdt'", "A-Z"]),
        ({"symbol": "A" * 10_000}, ["10,002 characters"]),
        ({"symbol": "CON"}, ["data.symbol = 'CON'"]),
        ({"symbols": ["ETHUSDT"]}, ["data.symbol and data.symbols exclude each other"]),
        ({"interval": "4x"}, ["unknown data.interval '4x'", "known: "]),
        ({"interval": 4}, ["data.interval = 4", "a text in quotes"]),
        ({"start": "2025-13-01"}, ["data.start = '2025-13-01'", "2025-02-22"]),
        ({"end": "soon"}, ["data.end = 'soon'", "a date or time, UTC"]),
        ({"start": "2026-02-22"}, ["data.start = '2026-02-22' is not before data.end"]),
        ({"start": 20250222}, ["data.start = 20250222"]),
        ({"session_timezone": "Mars"}, ["Mars"]),
    ],
)
def test_what_is_not_allowed_is_named_with_its_value(change, words):
    message = refusal({**DATA, **change})
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        ([], "data.symbols = [] is not allowed; give a text in quotes, or a list of them"),
        (["BTCUSDT", 5], "data.symbols = ['BTCUSDT', 5] is not allowed"),
        (["BTCUSDT", "BTCUSDT"], "data.symbols names 'BTCUSDT' twice"),
        (["BTCUSDT", ""], "data.symbol = '' is not allowed"),
    ],
)
def test_lists_of_symbols_that_are_not_allowed(symbols, words):
    assert words in refusal({**SEVERAL, "symbols": symbols})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"path": "bars.csv", "symbol": "BTCUSDT"}, ["data.symbol = 'BTCUSDT'", "an exchange"]),
        ({"path": "bars.csv", "start": "2025-01-01"}, ["data.start", "[range]"]),
        ({"symbol": "BTCUSDT", "interval": "4h"}, ["data.symbol", 'add source = "binance"']),
        ({"path": ["a.csv", 5]}, ["data.path = ['a.csv', 5]", "or a list of them"]),
        ({"path": []}, ["data.path = []"]),
        ({"path": ["a.csv", ""]}, ["data.path", "holds no name"]),
        ({"path": ["a.csv", "b\tc.csv"]}, ["'b\\tc.csv' holds a control character"]),
        ({"path": "a.csv", "paths": {"WIN": "a.csv"}}, ["exclude each other"]),
        ({"paths": {}}, ["data.paths = {}", "name the file of each market"]),
        ({"paths": ["a.csv"]}, ["data.paths = ['a.csv']", "name the file of each market"]),
        ({"paths": {"../x": "a.csv"}}, ["data.paths: symbol = '../x'"]),
        ({"paths": {"WIN": 5}}, ["data.paths.WIN = 5"]),
        ({}, ["data.path is missing", 'source = "binance"']),
    ],
)
def test_files_that_are_not_allowed(data, words):
    message = refusal(data)
    assert [word for word in words if word not in message] == []


def test_contracts_over_the_contract():
    config = Config.from_mapping(
        {
            "data": SEVERAL,
            "contract": {"tick_size": 0.1, "fee_rate": 0.001},
            "contracts": {"ETHUSDT": {"tick_size": 0.01}},
        }
    )
    found = {name: (each.tick_size, each.fee_rate) for name, each in config.contracts.items()}
    assert found == {"BTCUSDT": (0.1, 0.001), "ETHUSDT": (0.01, 0.001)}


@pytest.mark.parametrize(
    ("data", "contracts", "words"),
    [
        (DATA, {"BTCUSDT": {}}, "[contracts] is for several markets"),
        (SEVERAL, {"XRPUSDT": {}}, "unknown market in [contracts] 'XRPUSDT'"),
        (SEVERAL, {"BTCUSDT": 5}, "contracts.BTCUSDT = 5"),
        (SEVERAL, {"BTCUSDT": {"tick": 1}}, "[contracts.BTCUSDT]: unknown parameter"),
        (SEVERAL, {"BTCUSDT": {"tick_size": -1}}, "contract.tick_size = -1"),
    ],
)
def test_contracts_that_are_not_allowed(data, contracts, words):
    assert words in refusal(data, contracts=contracts)


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ({"worker": 1}, "unknown key of [feed] 'worker'"),
        ({"workers": 0}, "feed.workers = 0 is not allowed; give a whole number from 1 to 64"),
        ({"profile": "test"}, "unknown profile 'test'"),
        (5, "[feed]"),
    ],
)
def test_a_feed_that_is_not_allowed_is_refused_before_it_is_needed(feed, words):
    assert words in refusal(DATA, feed=feed)
    assert words in refusal({"path": "bars.csv"}, feed=feed)


def test_folders_of_the_feed_are_relative_to_the_file(tmp_path, write):
    text = commented_toml("bars.csv") + '\n[feed]\ndata_dir = "cache"\n'
    assert Config.load(write(text, name="run.toml")).feed == {"data_dir": str(tmp_path / "cache")}


def test_the_commented_file_shows_an_exchange_that_loads(write):
    lines = commented_toml().splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("# [data]"))
    end = next(at for at in range(start, len(lines)) if not lines[at])
    shown = [line.removeprefix("# ") for line in lines[start:end]]
    shown = [line for line in shown if not line.startswith("symbols")]
    assert tomllib.loads("\n".join(shown))["data"]["source"] == "binance"
    assert Config.load(write("\n".join(shown), name="run.toml")).data.label == (
        "BTCUSDT 4h (binance)"
    )
