"""What people get wrong in a TOML file: the line, the key, what stands there and what to write."""

from __future__ import annotations

import time

import pytest

import backtest_py as bt
from backtest_py.config import Config
from backtest_py.errors import ConfigError

DATA = '[data]\npath = "bars.csv"\n'


@pytest.fixture
def refusal(tmp_path, cli):
    """Return a function that gives the one-line error of a file, of status 2 as a command."""

    def refuse(content):
        file = tmp_path / "run.toml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigError) as caught:
            Config.load(file)
        outcome = cli("run", file)
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.err == f"error: {caught.value}\n"
        assert len(outcome.err) < 1_000
        return str(caught.value)

    return refuse


def in_section(text):
    return f"{DATA}[rules]\n{text}\n"


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("stop = 2,5", "stop = 2.5"),
        ("stop = 0,25  # a quarter", "stop = 0.25"),
        ("stop = 1.234,5", "stop = 1234.5"),
        ("stop = 1,234.5", "stop = 1234.5"),
        ("stop = .5", "stop = 0.5"),
        ("stop = 2.", "stop = 2.0"),
        ("stop = 02", "stop = 2"),
        ("stop = 2.5;", "stop = 2.5"),
        ("stop = 2.5,", "stop = 2.5"),
        ("stop = 5%", "stop = 5"),
        ("stop == 2.5", "stop = 2.5"),
        ("stop := 2.5", "stop = 2.5"),
        ("stop: 2.5", "stop = 2.5"),
        ("stop 2.5", "stop = 2.5"),
        ("round_to_tick = False", "round_to_tick = false"),
        ("round_to_tick = True # as in Python", "round_to_tick = true"),
        ("round_to_tick = yes", "round_to_tick = true"),
        ("close_time = 17:00", 'close_time = "17:00"'),
        ("close_time = 9:05", 'close_time = "09:05"'),
        ("close_time = None", 'close_time = 0, or ""'),
        ("unit = points", 'unit = "points"'),
        ("unit = \u201cpoints\u201d", 'unit = "points"'),
        ("start = 2023/3/1", 'start = "2023-03-01"'),
        ("start = 25/12/2023", 'start = "2023-12-25"'),
        ("start = 03/04/2023", 'start = "2023-04-03" or "2023-03-04"'),
        ("path = C:\\bars\\win.csv", "path = 'C:\\bars\\win.csv'"),
        ("path = bars/win 5.csv", 'path = "bars/win 5.csv"'),
    ],
)
def test_line_key_and_remedy(refusal, written, wanted):
    message = refusal(in_section(written))
    assert "run.toml is not valid TOML: line 4: " in message
    assert written.partition("#")[0].strip() in message
    assert message.endswith(wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("params = { lookback = 20, min_range_mult = 1,5 }", "line 4: min_range_mult = 1,5 is not"),
        ("params = { entry_start = 09:15, lookback = 9 }", 'write entry_start = "09:15"'),
        ('"rules.close_time" = [17:00, 17:30]', 'line 4: 17:00 in "rules.close_time" is not'),
        ('"rules.close_time" = [\n"17:00",\n  17:30 ]', 'line 6: 17:30 in "rules.close_time"'),
        ('"rules.round_to_tick" = [true, False]', "False in"),
        ('"rules.stop" = { start = 0,5, stop = 3.0, step = 0.5 }', "write start = 0.5"),
        ('"rules.stop" = { start = 0.5, stop = 3.0,\nstep = 1 }', "stands in one line"),
        ('"rules.stop" = [1.0, 2.0\nstop = 1', 'line 5: stop = 1: the list of "rules.stop"'),
        (
            "stop = 1\ntarget = 2\nstop = 3",
            "line 6: stop = 3: the key stop stands here and in line 4",
        ),
        ("[data]\nstop = 3", "line 4: [data]: [data] stands here and in line 1"),
        ("stop =", "a value is missing after the ="),
        ('unit = "atr', 'line 4: unit = "atr: a quote is not closed'),
        ("unit = 'atr\nstop = 2", "line 4: unit = 'atr: a quote is not closed"),
        ("[contract", "line 4: [contract: a section is a name in brackets"),
        ("stop\u00a0= 2", "line 4: stop\u00a0= 2: column 5 holds a character that cannot be seen"),
        ("start = 2023-02-30", "start = 2023-02-30: there is no such date"),
        ("stop = 2 atr", "line 4: stop = 2 atr: nothing but a comment follows a value"),
        ("stop", "line 4: stop: a line is a [section] or a key = value"),
    ],
)
def test_what_else_goes_wrong(refusal, text, words):
    assert words in refusal(in_section(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rules]\nclose_time = 17:00:00", "line 2: rules.close_time = 17:00:00 is not allowed"),
        ("[rules]\nclose_time = 17:00:00", 'give a time of day "HH:MM" in quotes: "17:00"'),
        ("[strategy.params]\nentry_end = 16:30:00", "line 2: strategy.entry_end = 16:30:00"),
        ('[sweep.grid]\n"rules.close_time" = ["16:00", 17:00:00]', '"17:00"'),
        ("[strategy]\nname = 2023-03-01", 'in quotes, as in name = "2023-03-01"'),
        ("[range]\nstart = 09:00:00", 'give a date with it: "2023-03-01 09:00:00"'),
    ],
)
def test_a_date_or_time_without_quotes(refusal, text, words):
    assert words in refusal(f"{text}\n{DATA}")


@pytest.mark.parametrize(
    "value",
    [
        "9" * 5_000,
        "9_" * 5_000 + "9",
        "9" * 4_000,
        "0x" + "f" * 9_000,
        "-" + "9" * 5_000,
        "9" * 310,
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        "[rules]\nmax_bars = {}",
        "[rules]\nstop = {}",
        "[sweep.grid]\n'rules.stop' = [1.0, {}]",
        "[sweep.grid]\n'rules.max_bars' = {{ start = 1, stop = {}, step = 1 }}",
        "[sweep.sample]\nseed = {}",
        "[rules]\nnonsense = {}",
        "[sweep.grid]\n'rules.intrabar' = {}",
    ],
)
def test_a_number_of_thousands_of_digits(refusal, place, value):
    message = refusal(f"{DATA}{place.format(value)}\n")
    assert "digits" in message
    assert "no setting takes a number of that size" in message


@pytest.mark.parametrize("value", ["1e400", "-1e400", "inf", "nan", "1" + "0" * 400 + ".0"])
def test_a_number_that_is_not_finite(refusal, value):
    assert "is not allowed; give a finite number" in refusal(in_section(f"stop = {value}"))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "[" * 150 + "]" * 150,
        "a = " + "{a=" * 150 + "1" + "}" * 150,
        "[rules]\na" + ".a" * 100_000 + " = 1",
        "[" + "a . " * 50_000 + "a]",
        "'a'." * 50_000 + "'a' = 1",
        '[sweep.grid]\n"rules.stop".' + "a." * 30 + "a = 1",
    ],
)
def test_nesting_has_a_limit_and_costs_nothing(refusal, text):
    start = time.perf_counter()
    assert "nested too deeply" in refusal(f"{text}\n")
    assert time.perf_counter() - start < 5


def test_a_grid_of_many_values_is_no_nesting(tmp_path):
    values = ", ".join(f"{number}.5" for number in range(1, 5_000))
    (tmp_path / "run.toml").write_text(f'{DATA}[sweep.grid]\n"rules.stop" = [{values}]\n')
    assert len(Config.load(tmp_path / "run.toml").sweep.grid["rules.stop"]) == 4_999


def test_a_path_of_many_points_is_no_nesting(tmp_path):
    (tmp_path / "run.toml").write_text(f"[data]\npath = '{'a.b/' * 200}bars.csv'\n")
    assert Config.load(tmp_path / "run.toml").data.path.endswith("bars.csv")


def test_a_huge_file_is_not_read(tmp_path, cli):
    with (tmp_path / "bars.csv").open("wb") as file:
        file.truncate(2**40)  # a terabyte, without a byte on the disk
    outcome = cli("run", tmp_path / "bars.csv")
    assert outcome.status == 2
    assert "larger than the 10,000,000 bytes that a configuration may have" in outcome.err


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(refusal, encoding):
    assert refusal(DATA.encode(encoding)).endswith("it is UTF-16 text; save it as UTF-8")


def test_another_encoding_is_named_with_its_line(refusal):
    message = refusal(f"{DATA}# São Paulo\n".encode("cp1252"))
    assert "byte 28 (line 3) is not UTF-8 text; save it as UTF-8" in message


def test_tabs_are_as_good_as_blanks(tmp_path):
    (tmp_path / "run.toml").write_text('[data]\n\tpath\t=\t"bars.csv"\n')
    assert Config.load(tmp_path / "run.toml").data.path == "bars.csv"


@pytest.mark.parametrize(
    "text", ['path = "a\\u0000b"', 'path = "a\\tb"', "path = 'a\x00b'", "path = 'a\x01b'"]
)
def test_a_control_character_in_the_path_of_the_data(refusal, text):
    message = refusal(f"[data]\n{text}\n")
    assert "control character" in message or "a character that cannot be seen (U+00" in message


@pytest.mark.parametrize("name", ["a\0b.toml", "x" * 5_000])
def test_a_name_that_no_file_can_have(name):
    with pytest.raises(ConfigError, match=r"NUL character|cannot be read"):
        Config.load(name)


class TestPython:
    """The same numbers through the classes themselves."""

    @pytest.mark.parametrize("name", ["stop", "max_bars", "round_to_tick", "unit", "close_time"])
    def test_a_number_that_python_does_not_write(self, name):
        with pytest.raises(ConfigError, match=rf"rules\.{name} = \(int of too many digits\)"):
            bt.ExitRules(**{name: 10**5_000})

    def test_a_long_value_is_shortened(self):
        with pytest.raises(ConfigError) as caught:
            bt.ExitRules(stop=[1.5] * 100_000)
        assert len(str(caught.value)) < 400
