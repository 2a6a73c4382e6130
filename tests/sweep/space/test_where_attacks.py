"""Hostile conditions through every public door: typed errors, at once, and nothing executed."""

from __future__ import annotations

import json

import pytest

import backtest_py as bt

GRID = {"rules.stop": [1.0, 2.0], "rules.close_time": ["", "17:00"]}
HOSTILE = {
    "a megabyte": ("stop > 1 " * 120_000, "at most 2,000"),
    "ten thousand parentheses": ("(" * 10_000 + "stop > 1" + ")" * 10_000, "at most 2,000"),
    "nine hundred parentheses": ("(" * 900 + "stop > 1" + ")" * 900, "too many nested"),
    "ten thousand terms": (" and ".join(["stop > 1"] * 10_000), "at most 2,000"),
    "two thousand signs": ("stop > " + "-" * 1_990 + "1", "nested more than 50 deep"),
    "five hundred nots": ("not " * 490 + "stop > 1", "nested more than 50 deep"),
    "an import": ("__import__('os').system('touch x') == 0", "means nothing here"),
    "a call": ("open('x', 'w')", "means nothing here"),
    "a call of one": ("print(stop) > 1", "'print(stop)' is not allowed"),
    "a dunder": ("stop.__class__ == 1", "unknown name 'stop.__class__'"),
    "two dunders": ("stop.__class__.__mro__ == 1", "means nothing here"),
    "builtins": ("__builtins__ == 1", "unknown name '__builtins__'"),
    "a lambda": ("(lambda: stop)() > 1", "means nothing here"),
    "a comprehension": ("[x for x in stop]", "means nothing here"),
    "a walrus": ("(stop := 1) > 0", "means nothing here"),
    "a formatted text": ("rules.close_time == f'{stop}'", "is not allowed"),
    "a power": ("9 ** 9 ** 9 > stop", "is not allowed"),
    "a shift": ("1 << 99999 > stop", "is not allowed"),
    "long digits": ("stop > " + "9" * 1_900, "beyond the largest number"),
    "wide letters": ("\uff53\uff54\uff4f\uff50 > 1", "unknown name"),
    "a hidden space": ("stop\u200b > 1", "means nothing here"),
    "a bidirectional mark": ("stop > 1 \u202e", "means nothing here"),
    "a comment": ("stop > 1 # and all is well", "a condition has no comments"),
    "a second statement": ("stop > 1; import os", "means nothing here"),
    "a text for a number": ("stop > '1'", "cannot be compared with the text '1'"),
    "no time": ("close_time > '99:99'", "not a time of day"),
    "SQL": ("stop = 1 OR 1 = 1 --", 'write "==" to compare'),
    "SQL's words": ("stop > 1 AND stop < 2", 'write "and"'),
    "other languages' marks": ("stop > 1 && stop < 2", 'write "and"'),
}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=3)


@pytest.fixture(scope="module")
def done(bars, tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep") / "out"
    bt.sweep(bars, grid=GRID, engine="numba", out=directory)
    return directory


@pytest.mark.parametrize("name", HOSTILE)
def test_the_api_refuses_it(bars, done, name):
    text, fault = HOSTILE[name]
    result = bt.open_sweep(done, bars)
    for ask in (
        lambda: bt.sweep(bars, grid=GRID, where=text, engine="numba"),
        lambda: bt.plan_sweep(bars, grid=GRID, where=text, engine="numba"),
        lambda: bt.sweep(bars, grid=GRID, where=text, engine="numba", sample=bt.Sample(n=2)),
        lambda: result.top(3, where=text),
        lambda: result.table(where=text),
    ):
        with pytest.raises(bt.ConfigError) as caught:
            ask()
        assert str(caught.value).startswith("where ")
        assert fault in str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_command_line_refuses_it(cli, bars, done, write_toml, tmp_path, monkeypatch, name):
    text, fault = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    bars.to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    config = write_toml(
        f'[sweep]\nwhere = {json.dumps(text)}\n[sweep.grid]\n"rules.stop" = [1.0, 2.0]\n'
    )
    for arguments in (
        ("top", done, "--where", text),
        ("sweep", config, "--dry-run"),
        ("sweep", config, "--out", tmp_path / "out"),
    ):
        outcome = cli(*arguments)
        assert outcome.status == 2, outcome.err[:300]
        assert outcome.out == ""
        assert outcome.err.startswith("error: ")
        assert fault in outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {"bars.csv", "run.toml"}


@pytest.mark.parametrize("where", [3, 1.5, True, ["stop > 1"], b"stop > 1"])
def test_a_condition_is_a_text(bars, done, where):
    for ask in (
        lambda: bt.sweep(bars, grid=GRID, where=where, engine="numba"),
        lambda: bt.open_sweep(done, bars).top(3, where=where),
    ):
        with pytest.raises(bt.ConfigError, match="is not allowed; give a condition as text"):
            ask()


def test_half_a_character_is_refused(bars, done):
    for text in ("\ud800 > 1", "close_time == '\ud800'"):
        with pytest.raises(bt.ConfigError, match="where = "):
            bt.sweep(bars, grid=GRID, where=text, engine="numba")
        with pytest.raises(bt.ConfigError, match="where = "):
            bt.open_sweep(done, bars).top(where=text)


def test_a_condition_over_lines_is_one(bars, done):
    where = "\n  stop > 1\n  and (close_time == '17:00'\n\tor close_time == '')\n"
    assert bt.sweep(bars, grid=GRID, where=where, engine="numba").n_combos == 2
    assert len(bt.open_sweep(done, bars).top(9, where=where)) == 2
