"""The TOML file: what it accepts, what it refuses, and what the messages say."""

from __future__ import annotations

import tomllib

import pytest

from backtest_py.config import Config, commented_toml
from backtest_py.config.sections import SECTIONS
from backtest_py.errors import ConfigError
from backtest_py.rules import ExitRules
from backtest_py.sweep.space.grid import GridRange

DEFAULTS = {
    "data": {
        "path": "WIN_M5.csv",
        "format": "auto",
        "timezone": "",
        "session_timezone": "",
        "empty": "refuse",
        "dayfirst": False,
        "decimal": "auto",
        "ambiguous": "infer",
        "nonexistent": "refuse",
    },
    "strategy": {
        "name": "barra_elefante",
        "params": {
            "min_range_mult": 2.0,
            "min_volume_mult": 1.0,
            "max_shadow_ratio": 0.4,
            "lookback": 20,
            "entry_start": "00:00",
            "entry_end": "23:59",
            "confirm_breakout": False,
        },
    },
    "rules": {
        "stop": 2.0,
        "target_r": 0,
        "trail": 0,
        "unit": "atr",
        "atr_period": 14,
        "atr_method": "wilder",
        "round_to_tick": False,
        "target_through_ticks": 0,
        "close_time": "",
        "max_bars": 0,
        "intrabar": "stop_first",
    },
    "contract": {
        "tick_size": 1.0,
        "point_value": 1.0,
        "quantity": 1.0,
        "fee_per_side": 0.0,
        "fee_rate": 0.0,
        "slippage_ticks": 0.0,
        "initial_capital": 10000.0,
    },
    "metrics": {"risk_free_rate": 0.0, "periods_per_year": 252},
    "range": {},
    "run": {"engine": "auto"},
    "sweep": {"where": "", "invalid": "refuse", "scenarios": False, "blocks": 16, "grid": {}},
}
"""The defaults of the interface, written out again: nobody may change one by accident.

The target stands in a comment: written out, it would exclude a ``target_r``.
"""

DATA = '[data]\npath = "bars.csv"\n'


def load(tmp_path, text):
    file = tmp_path / "run.toml"
    file.write_text(text, encoding="utf-8")
    return Config.load(file)


def refusal(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "run.toml"))
    return message


def test_the_commented_file_holds_every_default():
    assert tomllib.loads(commented_toml()) == DEFAULTS


def test_the_commented_file_loads_and_equals_an_empty_one(tmp_path):
    written = load(tmp_path, commented_toml("bars.csv"))
    assert written == load(tmp_path, DATA)
    assert written.data.to_mapping() == {**DEFAULTS["data"], "path": "bars.csv"}
    assert written.strategy.to_mapping() == DEFAULTS["strategy"]["params"]
    assert written.rules.to_mapping() == {**DEFAULTS["rules"], "target": 3.0}
    assert written.contract.to_mapping() == DEFAULTS["contract"]
    assert written.metrics.to_mapping() == DEFAULTS["metrics"]


def test_the_commented_file_survives_any_path():
    assert tomllib.loads(commented_toml('C:\\bars "x"\té.csv'))["data"]["path"] == (
        'C:\\bars "x"\té.csv'
    )


def test_the_commented_file_names_every_section_and_their_examples_load(tmp_path):
    lines = commented_toml("bars.csv").splitlines()
    headers = [line.removeprefix("# ").lstrip("[") for line in lines if "[" in line[:3]]
    named = {header.partition("]")[0].partition(".")[0] for header in headers}
    assert named == set(SECTIONS)
    asked = lines.index(next(line for line in lines if line.startswith("# [walk_forward]")))
    examples = "\n".join(line.removeprefix("# ") for line in lines[asked:])
    assert load(tmp_path, f"{DATA}{examples}").monte_carlo == load(tmp_path, DATA).monte_carlo


def test_every_line_of_the_commented_file_says_what_it_is_for():
    values = [line for line in commented_toml().splitlines() if " = " in line and line[0] != "#"]
    assert [line for line in values if "  # " not in line] == ['name = "barra_elefante"']


def test_the_data_path_is_relative_to_the_file(tmp_path):
    assert load(tmp_path, DATA).path == tmp_path / "bars.csv"


def test_an_absolute_data_path_stays(tmp_path):
    bars = tmp_path / "elsewhere" / "bars.csv"
    assert load(tmp_path, f"[data]\npath = '{bars}'").path == bars


def test_integers_are_accepted_for_floats(tmp_path):
    assert load(tmp_path, DATA + "[rules]\nstop = 2\n").rules == ExitRules(stop=2.0, target=3.0)


def test_target_r_turns_off_a_target_that_is_not_written(tmp_path):
    assert load(tmp_path, DATA + "[rules]\ntarget_r = 1.5\n").rules.target == 0.0


def test_a_mark_of_windows_editors_is_skipped(tmp_path):
    assert load(tmp_path, "\ufeff" + DATA).data.path == "bars.csv"


def test_dates_may_be_written_with_or_without_quotes(tmp_path):
    quoted = load(tmp_path, DATA + '[range]\nstart = "2023-03-01"\nend = "2023-05-01 09:00:00"')
    bare = load(tmp_path, DATA + "[range]\nstart = 2023-03-01\nend = 2023-05-01 09:00:00")
    assert quoted.range == bare.range


def test_a_strategy_of_another_name_brings_its_own_parameters(tmp_path):
    config = load(
        tmp_path, DATA + '[strategy]\nname = "moving_average_cross"\nparams = { fast = 5 }'
    )
    assert config.strategy.to_mapping()["fast"] == 5


def test_a_grid_is_read_in_the_order_of_the_file(tmp_path):
    config = load(
        tmp_path,
        DATA
        + """
[sweep]
where = "rules.target > rules.stop"
invalid = "skip"
[sweep.grid]
"strategy.min_range_mult" = [1.0, 1.5, 2]
"rules.unit" = ["atr", "points"]
"rules.stop" = { start = 0.5, stop = 3.0, step = 0.5 }
"contract.quantity" = [1]
""",
    )
    assert list(config.sweep.grid.items()) == [
        ("strategy.min_range_mult", (1.0, 1.5, 2)),
        ("rules.unit", ("atr", "points")),
        ("rules.stop", GridRange(0.5, 3.0, 0.5)),
        ("contract.quantity", (1,)),
    ]
    assert config.sweep.where == "rules.target > rules.stop"
    assert config.sweep.invalid == "skip"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[rule]\nstop = 2.0", ["unknown section 'rule'", "did you mean 'rules'"]),
        ("stop = 2.0", ["unknown section 'stop'"]),
        ("rules = 3", ["rules = 3", "[rules]"]),
        ("[rules]\nstopp = 2.0", ["'stopp'", "[rules]", "did you mean 'stop'"]),
        ("[rules]\nstop = -1", ["rules.stop = -1", "at least 0"]),
        ('[rules]\nstop = "2.0"', ["rules.stop = '2.0'", "a finite number"]),
        ("[rules]\nstop = true", ["rules.stop = True", "a finite number"]),
        ("[rules]\nstop = nan", ["rules.stop = nan", "a finite number"]),
        ("[rules]\nstop = [1.0, 2.0]", ["rules.stop = [1.0, 2.0]", "a finite number"]),
        ("[rules]\natr_period = 14.0", ["rules.atr_period = 14.0", "a whole number"]),
        ("[rules]\nround_to_tick = 1", ["rules.round_to_tick = 1", "true or false"]),
        ("[rules]\nclose_time = 12:15:00", ["rules.close_time", "HH:MM"]),
        ('[rules]\nunit = "ATR"', ["rules.unit = 'ATR'", "'atr'", "'points'"]),
        ("[rules]\ntarget = 3.0\ntarget_r = 1.0", ["rules.target", "rules.target_r", "exclude"]),
        ("[strategy]\nname = 3", ["strategy.name = 3"]),
        ('[strategy]\nname = "barra"', ["unknown strategy 'barra'", "barra_elefante"]),
        ("[strategy]\nparams = [1]", ["strategy.params = [1]"]),
        ("[strategy]\nlookback = 30", ["'lookback'", "move it into strategy.params"]),
        ("[strategy]\nparam = {}", ["unknown key of [strategy] 'param'", "did you mean 'params'"]),
        ("[strategy.params]\nlookbak = 30", ["'lookbak'", "did you mean 'lookback'"]),
        ("[strategy.params]\nlookback = 0", ["strategy.lookback = 0", "from 1 to 100,000"]),
        ("[run]\nengine = 'cuda'", ["run.engine = 'cuda'", "'auto'", "'numba'", "'rust'"]),
        ("[run]\nengines = 'rust'", ["'engines'", "did you mean 'engine'"]),
        ("[metrics]\nperiods_per_year = 0", ["metrics.periods_per_year = 0", "above 0"]),
        ('[range]\nstart = "soon"', ["range.start = 'soon'", "2023-03-01"]),
        ('[range]\nstart = "2023-02-30"', ["range.start = '2023-02-30'"]),
        ("[range]\nstart = 2023-03-01T00:00:00Z", ["range.start", "without a zone"]),
        ("[range]\nstart = 20230301", ["range.start = 20230301", "a text in quotes"]),
        ("[range]\nstart = 2023-03-02\nend = 2023-03-01", ["range.start", "before range.end"]),
        ("[range]\nstart = 2023-03-01\nend = 2023-03-01", ["range.start", "before range.end"]),
        ("[sweep]\ninvalid = 'drop'", ["sweep.invalid = 'drop'", "'skip'"]),
        ("[sweep]\ngrid = [1]", ["sweep.grid = [1]"]),
        ("[sweep.grid]\nrules.stop = [1.0]", ["in quotes", '"rules.']),
        ('[sweep.grid]\n"rules.stopp" = [1.0]', ["'rules.stopp'", "did you mean 'rules.stop'"]),
        ('[sweep.grid]\n"rules.stop" = []', ['"rules.stop" = []', "a list of values"]),
        ('[sweep.grid]\n"rules.stop" = 1.0', ['"rules.stop" = 1.0', "a list of values"]),
        ('[sweep.grid]\n"rules.stop" = [[1.0]]', ['"rules.stop"', "value 1", "a finite number"]),
        ('[sweep.grid]\n"rules.stop" = { start = 1 }', ['"rules.stop"', "start", "step"]),
        (
            '[sweep.grid]\n"rules.stop" = { start = 1, stop = 2, step = "1" }',
            ['"rules.stop"', "start", "step"],
        ),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(tmp_path, text, parts):
    # sections of the case first, so that bare keys stand at the top level
    message = refusal(tmp_path, f"{text}\n{DATA}")
    for part in parts:
        assert part in message


def test_a_missing_data_path_is_named(tmp_path):
    assert "data.path is missing" in refusal(tmp_path, "[rules]\nstop = 2.0")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[data]\npath = \n", "line 2"),
        ('[data]\npath = "a"\npath = "b"\n', "line 3"),
        ("[data\n", "line 1"),
    ],
)
def test_a_syntax_error_is_named_with_its_line(tmp_path, text, part):
    message = refusal(tmp_path, text)
    assert "not valid TOML" in message
    assert part in message


@pytest.mark.parametrize("path", [r"C:\data\bars.csv", r"C:\unsorted\bars.csv", r"data\x\bars.csv"])
def test_a_path_of_windows_is_told_how_to_be_written(tmp_path, path):
    message = refusal(tmp_path, f'[data]\npath = "{path}"\n')
    assert "not valid TOML" in message
    assert message.endswith("write a path with forward slashes, or between single quotes")


def test_a_path_of_windows_in_single_quotes(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[data]\npath = 'C:\\data\\bars.csv'\n")
    assert Config.load(file).data.path == r"C:\data\bars.csv"


@pytest.mark.parametrize("path", [r"C:\temp\bars.csv", r"C:\new\bars.csv"])
def test_a_path_that_toml_reads_as_something_else(tmp_path, path):
    """TOML takes backslash and t for a tab: the path would be one that nobody wrote."""
    message = refusal(tmp_path, f'[data]\npath = "{path}"\n')
    assert "data.path = 'C:\\" in message
    assert "holds a control character; between double quotes a backslash" in message


def test_other_mistakes_are_not_told_of_backslashes(tmp_path):
    assert "backslash" not in refusal(tmp_path, "[data]\n# C:\\data\npath = \n")


def test_the_commented_file_takes_a_target_in_multiples_of_the_risk(tmp_path):
    (line,) = [line for line in commented_toml().splitlines() if "target = 3.0" in line]
    assert line.startswith("# target = 3.0")
    text = commented_toml("bars.csv").replace("target_r = 0.0", "target_r = 1.5")
    assert load(tmp_path, text).rules.target == 0.0


def test_the_commented_file_says_that_target_r_needs_a_target_of_0():
    (line,) = [line for line in commented_toml().splitlines() if line.startswith("target_r =")]
    assert "needs target = 0" in line


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.toml does not exist"):
        Config.load(tmp_path / "nothing.toml")


def test_a_directory_is_not_a_file(tmp_path):
    with pytest.raises(ConfigError, match="is a directory"):
        Config.load(tmp_path)


def test_a_binary_file_is_not_toml(tmp_path):
    file = tmp_path / "run.toml"
    file.write_bytes(b"PAR1\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        Config.load(file)


def test_a_deeply_nested_file_is_refused(tmp_path):
    assert "nested too deeply" in refusal(tmp_path, "a = " + "[" * 100_000)


def test_a_configuration_cannot_be_changed(tmp_path):
    config = load(tmp_path, DATA)
    with pytest.raises(AttributeError):
        config.rules = ExitRules()
    with pytest.raises(AttributeError):
        config.rules.stop = 1.0
    with pytest.raises(TypeError):
        config.sweep.grid["rules.stop"] = (1.0,)
