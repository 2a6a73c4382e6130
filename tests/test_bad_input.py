"""What is refused, with which exit status and which words, and what is legal all the same.

Everything goes through the command line, because that is where people meet it; what only Python
can hand over (unsorted ``Bars``, signals) goes through the package. Each refusal must be one line
on standard error that names the place, the value and what to do, with nothing on standard output.
"""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import backtest_py as bt

USAGE, FAILED = 2, 1


def bars_rows(n_bars=60, *, per_day=20):
    """Return valid rows: an elephant now and then, on volume."""
    rows = []
    for i in range(n_bars):
        day, place = divmod(i, per_day)
        big = i % 7 == 5
        size = 12 if big else 2
        opened, close = 100 + i % 3, 100 + i % 3 + (size if i % 2 else -size)
        rows.append(
            [
                f"2024-01-{day + 1:02d} {9 + place // 12:02d}:{place % 12 * 5:02d}:00",
                opened,
                max(opened, close) + 1,
                min(opened, close) - 1,
                close,
                50 if big else 10,
            ]
        )
    return rows


@pytest.fixture
def good(write_bars):
    return write_bars(bars_rows())


def assert_refused(outcome, status, *parts):
    assert outcome.status == status, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert "Traceback" not in outcome.err
    assert "bug in backtest-py" not in outcome.err
    for part in parts:
        assert part in outcome.err


# ---------------------------------------------------------------- data: exit status 1


@pytest.mark.parametrize(
    ("column", "value", "parts"),
    [
        ("open", "nan", ["open", "nan"]),
        ("high", "NaN", ["high", "nan"]),
        ("close", "", ["close"]),
        ("close", "inf", ["close", "inf"]),
        ("low", "-inf", ["low", "inf"]),
        ("high", "1", ["high", "1.0", "below"]),
        ("low", "1000", ["low", "1000.0"]),
        ("close", "500", ["close = 500.0"]),
        ("close", "0.5", ["close = 0.5"]),
        ("open", "500", ["open = 500.0"]),
        ("volume", "-1", ["volume", "-1.0"]),
        ("volume", "nan", ["volume", "nan"]),
        ("volume", "inf", ["volume", "inf"]),
        ("close", "abc", ["close", "abc"]),
    ],
)
def test_a_bar_that_breaks_a_rule(cli, write_toml, write_bars, engine, column, value, parts):
    rows = bars_rows()
    rows[17][["time", "open", "high", "low", "close", "volume"].index(column)] = value
    write_bars(rows)
    outcome = cli("run", write_toml(""), "--engine", engine)
    assert_refused(outcome, FAILED, "bars.csv", *parts)


def test_one_time_with_two_rows(cli, write_toml, write_bars, engine):
    rows = bars_rows()
    rows.insert(18, [rows[17][0], 100, 120, 90, 100, 3])
    write_bars(rows)
    outcome = cli("run", write_toml(""), "--engine", engine)
    assert_refused(outcome, FAILED, "one time with two rows", "2024-01-01")


def test_rows_in_no_order(cli, write_toml, write_bars, engine):
    rows = bars_rows()
    rows[17], rows[30] = rows[30], rows[17]
    write_bars(rows)
    assert_refused(cli("run", write_toml(""), "--engine", engine), FAILED, "before")


def unsorted_arrays():
    columns = {name: [1.0, 2.0, 3.0] for name in ("open", "high", "low", "close", "volume")}
    return ["2024-01-02 09:00", "2024-01-02 09:10", "2024-01-02 09:05"], columns


def test_unsorted_bars():
    time, columns = unsorted_arrays()
    with pytest.raises(bt.DataError, match=r"bars\.time\[2\] = 2024-01-02 09:05 lies before"):
        bt.Bars(time, **columns)


def test_descending_bars_are_not_turned_round():
    time, columns = unsorted_arrays()
    with pytest.raises(bt.DataError, match="lies before"):
        bt.Bars(sorted(time, reverse=True), **columns)


def test_an_unsorted_frame():
    time, columns = unsorted_arrays()
    with pytest.raises(bt.DataError, match="lies before"):
        bt.Bars.from_frame(pd.DataFrame(columns, index=pd.DatetimeIndex(time)))


@pytest.mark.parametrize("text", ["", "time,open,high,low,close,volume\n"], ids=["bytes", "rows"])
def test_an_empty_file(cli, write_toml, tmp_path, engine, text):
    (tmp_path / "bars.csv").write_text(text)
    assert_refused(cli("run", write_toml(""), "--engine", engine), FAILED, "bars.csv")


def test_a_binary_file_for_a_csv(cli, write_toml, tmp_path, engine):
    (tmp_path / "bars.csv").write_bytes(bytes(range(256)) * 20)
    assert_refused(cli("run", write_toml(""), "--engine", engine), FAILED, "bars.csv")


def test_a_negative_true_range(cli, write_toml, write_bars, engine):
    rows = [[*row, 1.0] for row in bars_rows()]
    rows[3][-1] = -0.5
    write_bars(rows, header="time,open,high,low,close,volume,atr")
    outcome = cli("run", write_toml('[rules]\natr_method = "column"'), "--engine", engine)
    assert_refused(outcome, FAILED, "atr", "-0.5")


# ---------------------------------------------------------------- files: exit status 2


def test_a_missing_file(cli, write_toml, engine):
    outcome = cli("run", write_toml("", data="nothing.csv"), "--engine", engine)
    assert_refused(outcome, USAGE, "nothing.csv", "does not exist")


def test_a_directory_for_a_file(cli, write_toml, tmp_path, engine):
    (tmp_path / "folder.csv").mkdir()
    outcome = cli("run", write_toml("", data="folder.csv"), "--engine", engine)
    assert_refused(outcome, USAGE, "folder.csv", "is a directory")


def test_a_missing_configuration(cli, tmp_path):
    assert_refused(cli("run", tmp_path / "no.toml"), USAGE, "no.toml", "does not exist")


def test_a_directory_for_a_configuration(cli, tmp_path):
    assert_refused(cli("run", tmp_path), USAGE, "is a directory")


# ---------------------------------------------------------------- values: exit status 2

FRACTIONS = ["-0.1", "nan", "inf", "-inf", '"1"', "true", "[1.0]", "1e999"]
COUNTS = ["0", "-1", "100001", "1.0", '"20"', "true"]
POSITIVES = ["0", "0.0", "-1.0", "nan", "inf", '"1"', "true"]
CLOCKS = ["900", '"24:00"', '"9:15"', '"09:60"', '"0915"', '"09:15:00"', '" 09:15"', "09:15:00"]

BAD_VALUES = {
    "strategy.lookback": COUNTS,
    "strategy.min_range_mult": FRACTIONS,
    "strategy.min_volume_mult": FRACTIONS,
    "strategy.max_shadow_ratio": [*FRACTIONS, "1.0000001", "2"],
    "strategy.entry_start": [*CLOCKS, '""'],
    "strategy.entry_end": [*CLOCKS, '""'],
    "strategy.confirm_breakout": ["0", "1", '"true"'],
    "rules.stop": FRACTIONS,
    "rules.target": FRACTIONS,
    "rules.target_r": FRACTIONS,
    "rules.trail": FRACTIONS,
    "rules.unit": ['"ATR"', '""', "0", '"tick"'],
    "rules.atr_period": COUNTS,
    "rules.atr_method": ['"ema"', '""', "0"],
    "rules.round_to_tick": ["0", '"false"'],
    "rules.target_through_ticks": FRACTIONS,
    "rules.close_time": [*CLOCKS, '"00:00"'],
    "rules.max_bars": ["-1", "1.5", '"3"', "true", "9223372036854775808"],
    "rules.intrabar": ['"stop"', '""'],
    "contract.tick_size": POSITIVES,
    "contract.point_value": POSITIVES,
    "contract.quantity": POSITIVES,
    "contract.initial_capital": POSITIVES,
    "contract.fee_per_side": FRACTIONS,
    "contract.fee_rate": FRACTIONS,
    "contract.slippage_ticks": FRACTIONS,
    "metrics.risk_free_rate": ["nan", "inf", "-inf", '"0"', "true"],
    "metrics.periods_per_year": POSITIVES,
    "run.engine": ['"cuda"', '""', '"Rust"', "1"],
    "data.format": ['"xls"', "1"],
    "data.empty": ['"fill"', '""'],
    "data.decimal": ['";"', "1"],
    "data.ambiguous": ['"first"'],
    "data.nonexistent": ['"drop"'],
}


def section_of(key, value):
    section, name = key.split(".")
    if section == "data":
        return f'[data]\npath = "bars.csv"\n{name} = {value}\n'
    table = "strategy.params" if section == "strategy" else section
    return f"[{table}]\n{name} = {value}\n"


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values]
)
def test_a_value_outside_its_limits(cli, write_toml, good, key, value):
    outcome = cli("run", write_toml(section_of(key, value)))
    # The message names the key, the value as Python writes it, and what is allowed.
    assert_refused(outcome, USAGE, f"{key} = ", "give ")
    assert outcome.err.count("\n") == 1


def test_every_parameter_has_a_bad_value():
    """A new parameter must be added to the list above."""
    owners = (bt.ExitRules, bt.Contract, bt.MetricSettings, bt.BarraElefante)
    named = {f"{kind.section}.{spec.name}" for kind in owners for spec in kind.parameters()}
    assert named <= set(BAD_VALUES)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[rules]\ntarget = 3.0\ntarget_r = 1.5", ["rules.target", "rules.target_r", "exclude"]),
        ("[rules]\nstop = 0\ntarget_r = 1.5", ["rules.target_r = 1.5", "needs a stop"]),
        (
            '[strategy.params]\nentry_start = "11:00"\nentry_end = "10:59"',
            ["strategy.entry_start = '11:00'", "strategy.entry_end = '10:59'"],
        ),
        ('[rules]\natr_method = "column"', ['atr_method = "column"', 'no column "atr"', "add one"]),
        ('[rules]\nunit = "strategy"', ['rules.unit = "strategy"', "barra_elefante", "no risk"]),
        ('[range]\nstart = "2024-01-03"\nend = "2024-01-02"', ["range.start", "range.end"]),
        ('[range]\nstart = "2024-01-02"\nend = "2024-01-02"', ["range.start", "range.end"]),
        ('[range]\nstart = "2030-01-01"', ["holds no bar", "2030-01-01"]),
        ('[range]\nend = "2024-01-01 09:00"', ["holds no bar", "2024-01-01 09:00"]),
        (
            '[range]\nstart = "2024-01-01 20:00"\nend = "2024-01-01 21:00"',
            ["holds no bar", "2024-01-01 20:00"],
        ),
        ("[run]\nengine = 'cuda'", ["run.engine = 'cuda'"]),
        ("[strategy]\nname = 'barra'", ["unknown strategy 'barra'", "known: barra_elefante"]),
        ("[strategy.params]\nlook_back = 3", ["'look_back'", "did you mean 'lookback'"]),
        ("[rules]\nstop_loss = 3", ["'stop_loss'", "did you mean"]),
        ("[rule]\nstop = 3", ["unknown section 'rule'", "did you mean 'rules'"]),
        ("[walk-forward]\ntrain_days = 3", ["'walk-forward'", "did you mean 'walk_forward'"]),
        ("[montecarlo]\nn_paths = 3", ["'montecarlo'", "did you mean 'monte_carlo'"]),
        ("[overfit]\ntrials = 3", ["unknown section 'overfit'", "known: contract"]),
        ("[walk_forward]\ntrain_day = 3", ["'train_day'", "did you mean 'train_days'"]),
        ("[walk_forward]\nplateau = 1", ["walk_forward.plateau = 1", "true or false"]),
        ("[walk_forward]\nchoose = 3", ["walk_forward.choose = 3", "give a text"]),
        ("[monte_carlo]\npaths = 3", ["'paths'", "[monte_carlo]", "did you mean 'n_paths'"]),
        ("[monte_carlo]\nkind = 'blocks'", ["monte_carlo.kind = 'blocks'", "'block'"]),
        ("[search]\ntrials = 3", ["'trials'", "[search]", "did you mean 'n_trials'"]),
        ("[search]\nsampler = 'gp'", ["search.sampler = 'gp'", "'tpe'"]),
        ("[sweep]\nblocks = 3", ["sweep.blocks = 3", "give an even number"]),
        ("[sweep]\nblock = 4", ["'block'", "did you mean 'blocks'"]),
        ('[data]\npath = "bars.csv"\nzone = "UTC"', ["'zone'", "timezone"]),
        ('[data]\npath = "bars.csv"\ntimezone = "Brazil"', ["Brazil"]),
        ('[data]\npath = "bars.csv"\nsession_timezone = "Sao_Paulo"', ["Sao_Paulo"]),
        ('[data]\npath = ""', ["data.path is missing"]),
        ("[rules", ["not valid TOML", "line 1"]),
    ],
)
def test_settings_that_do_not_fit(cli, write_toml, good, engine, text, parts):
    outcome = cli("run", write_toml(text), "--engine", engine)
    assert_refused(outcome, USAGE, *parts)


def test_an_unknown_engine_on_the_command_line(cli, write_toml, good):
    outcome = cli("run", write_toml(""), "--engine", "cuda")
    assert_refused(outcome, USAGE, "unknown engine 'cuda'", "numba", "rust", "auto")


@pytest.mark.parametrize("volumes", ["absent", "zero"])
def test_a_volume_filter_without_volume(cli, write_toml, write_bars, engine, volumes):
    if volumes == "zero":
        write_bars([[*row[:5], 0] for row in bars_rows()])
    else:
        write_bars([row[:5] for row in bars_rows()], header="time,open,high,low,close")
    outcome = cli("run", write_toml(""), "--engine", engine)
    assert_refused(outcome, USAGE, "min_volume_mult", "no volume", "min_volume_mult = 0")
    off = write_toml("[strategy.params]\nmin_volume_mult = 0")
    assert cli("run", off, "--engine", engine).status == 0


def test_the_message_is_the_same_on_both_engines(cli, write_toml, write_bars):
    rows = bars_rows()
    rows[17][2] = 1
    write_bars(rows)
    file = write_toml("")
    numba, rust = (cli("run", file, "--engine", name) for name in ("numba", "rust"))
    assert numba == rust


@pytest.mark.parametrize("path", [None, b"bars.csv", 3, pd.DataFrame()])
def test_a_path_that_is_none(path):
    with pytest.raises(bt.ConfigError, match=r"load_bars: path is of type .*pathlib\.Path"):
        bt.load_bars(path)


def test_equity_that_overflows_is_warned_of_once(engine):
    bars = bt.synthetic_bars(n_days=10)
    huge = bt.Contract(tick_size=5, point_value=1e308)
    with pytest.warns(bt.BacktestWarning, match="the total return is .*overflows") as caught:
        bt.run(bars, "barra_elefante", contract=huge, engine=engine)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda rules: pickle.loads(pickle.dumps(rules))]
)
def test_rules_that_travelled_know_what_was_chosen(copied):
    plain = copied(bt.ExitRules())
    assert plain == bt.ExitRules()
    assert replace(plain, target_r=2.0) == bt.ExitRules(target_r=2.0)
    chosen = copied(bt.ExitRules(target=float("3")))
    with pytest.raises(bt.ConfigError, match="exclude each other"):
        replace(chosen, target_r=2.0)
    multiples = bt.ExitRules(target_r=1.5, close_time="12:00")
    assert copied(multiples) == multiples


# ---------------------------------------------------------------- signals of the user's own


@pytest.fixture
def bars(good):
    return bt.load_bars(good)


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (np.zeros(59, np.int8), r"\(59,\)"),
        (np.zeros((60, 1), np.int8), r"\(60, 1\)"),
        (np.full(60, 2, np.int8), r"side\[0\] = 2"),
        (np.append(np.zeros(59, np.int8), np.int8(-2)), r"side\[59\] = -2"),
    ],
)
def test_a_side_that_is_not_allowed(bars, engine, side, words):
    with pytest.raises(bt.ConfigError, match=words):
        bt.run_signals(bars, side, engine=engine)


@pytest.mark.parametrize(
    ("risk", "words"),
    [
        (np.full(60, -1.0), r"risk\[0\] = -1"),
        (np.full(60, np.inf), r"risk\[0\] = inf"),
        (np.ones(59), r"\(59,\)"),
        (["a"] * 60, "not an array of numbers"),
    ],
)
def test_a_risk_that_is_not_allowed(bars, engine, risk, words):
    with pytest.raises(bt.ConfigError, match=words):
        bt.run_signals(bars, np.zeros(60, np.int8), risk=risk, engine=engine)


def test_a_strategy_unit_without_a_risk(bars, engine):
    rules = bt.ExitRules(unit="strategy")
    with pytest.raises(bt.ConfigError, match="gives no risk"):
        bt.run_signals(bars, np.zeros(60, np.int8), rules, engine=engine)


# ---------------------------------------------------------------- legal


def trades_of(outcome):
    assert outcome.status == 0, outcome
    return int(re.search(r"^.*\bTrades +([\d,]+) *$", outcome.out, re.MULTILINE)[1])


def run_rows(cli, write_toml, write_bars, engine, rows, text=""):
    write_bars(rows)
    return trades_of(cli("run", write_toml(text), "--engine", engine))


def test_one_bar(cli, write_toml, write_bars, engine):
    assert run_rows(cli, write_toml, write_bars, engine, bars_rows(1)) == 0


def test_fewer_bars_than_the_lookback(cli, write_toml, write_bars, engine):
    assert run_rows(cli, write_toml, write_bars, engine, bars_rows(19)) == 0
    text = "[strategy.params]\nlookback = 100000\n[rules]\natr_period = 100000"
    assert run_rows(cli, write_toml, write_bars, engine, bars_rows(), text) == 0


def test_all_prices_equal(cli, write_toml, write_bars, engine):
    rows = [[row[0], 100, 100, 100, 100, 10] for row in bars_rows()]
    assert run_rows(cli, write_toml, write_bars, engine, rows) == 0
    time = pd.DatetimeIndex([row[0] for row in rows])
    flat = np.full(60, 100.0)
    bars = bt.Bars(time, flat, flat, flat, flat, flat)
    side = np.zeros(60, np.int8)
    side[20] = 1
    # An ATR of zero puts stop and target on the entry: both are reached at once.
    result = bt.run_signals(bars, side, engine=engine)
    assert result.trades["pnl"].tolist() == [0.0]
    assert result.trades["ambiguous"].tolist() == [True]


def test_no_signal(cli, write_toml, write_bars, engine):
    text = "[strategy.params]\nmin_range_mult = 1e300"
    assert run_rows(cli, write_toml, write_bars, engine, bars_rows(), text) == 0


def test_signals_but_no_trade(cli, write_toml, write_bars, engine):
    # every entry would come at or after the close
    text = '[strategy.params]\nlookback = 2\nmin_range_mult = 0\n[rules]\nclose_time = "00:01"'
    assert run_rows(cli, write_toml, write_bars, engine, bars_rows(), text) == 0


def test_some_trades(cli, write_toml, write_bars, engine):
    """The same bars do trade: the tests above are not empty by accident."""
    text = "[strategy.params]\nlookback = 5"
    assert run_rows(cli, write_toml, write_bars, engine, bars_rows(), text) > 0


@pytest.mark.parametrize(
    "text",
    [
        "[strategy.params]\nlookback = 1",
        "[strategy.params]\nmin_range_mult = 0\nmin_volume_mult = 0\nmax_shadow_ratio = 0",
        "[strategy.params]\nmax_shadow_ratio = 1",
        '[strategy.params]\nentry_start = "09:30"\nentry_end = "09:30"',
        "[rules]\nstop = 0\ntarget = 0",
        "[rules]\nstop = 0\ntarget = 0\ntrail = 1",
        "[rules]\ntarget = 0\ntarget_r = 1.5",
        "[rules]\natr_period = 1",
        '[rules]\nclose_time = "00:01"',
        '[rules]\nclose_time = "23:59"',
        "[rules]\nmax_bars = 1",
        "[rules]\nmax_bars = 9223372036854775807",
        "[rules]\nstop = 1e300",
        "[contract]\ntick_size = 1e-300",
        "[contract]\nfee_rate = 1.0",
        "[metrics]\nrisk_free_rate = -0.5\nperiods_per_year = 0.001",
        '[range]\nstart = "2024-01-02"\nend = "2030-01-01"',
        '[range]\nstart = "2000-01-01"',
        '[rules]\nunit = "percent"\natr_method = "column"',
    ],
)
def test_values_on_their_limits(cli, write_toml, good, engine, text):
    outcome = cli("run", write_toml(text), "--engine", engine)
    assert outcome.status == 0, outcome.err


def test_a_column_of_true_ranges(cli, write_toml, write_bars, engine):
    rows = [[*row, 1.0] for row in bars_rows()]
    write_bars(rows, header="time,open,high,low,close,volume,atr")
    outcome = cli("run", write_toml('[rules]\natr_method = "column"'), "--engine", engine)
    assert outcome.status == 0
