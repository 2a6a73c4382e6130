"""Numbers and paths on the command line that nobody means: wrong usage, never a bug."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("digits", ["9" * 5_000, "9" * 4_000, "9" * 30, "-1", "1e400"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("sweep", "run.toml", "--threads"),
        ("sweep", "run.toml", "--processes"),
        ("bench", "--rounds"),
        ("bench", "--size"),
        ("bench", "--threads"),
        ("replay", "nowhere"),
        ("top", "nowhere", "-n"),
        ("inspect", "nowhere.csv", "--tick-size"),
    ],
)
def test_a_number_that_nobody_means_is_wrong_usage(cli, arguments, digits):
    outcome = cli(*arguments, digits)
    assert outcome.status == 2
    assert outcome.out == ""
    assert "bug" not in outcome.err


@pytest.mark.parametrize("size", ["9" * 5_000, "9" * 5_000 + "GB", "1." + "9" * 5_000 + "GB"])
def test_a_size_of_thousands_of_digits(cli, write_toml, size):
    outcome = cli("sweep", write_toml(""), "--max-memory", size, "--dry-run")
    assert outcome.status == 2
    assert "--max-memory '" in outcome.err
    assert len(outcome.err) < 200


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "{nul}"),
        ("run", "{file}", "--out", "{nul}"),
        ("run", "{file}", "--plot", "{nul}.png"),
        ("sweep", "{file}", "--out", "{nul}"),
        ("top", "{nul}"),
        ("replay", "{nul}", "0"),
        ("parity", "{nul}"),
        ("inspect", "{nul}"),
        ("init", "{nul}"),
    ],
)
def test_a_path_with_a_nul_is_wrong_usage(cli, write_toml, arguments):
    outcome = cli(*(each.format(file=write_toml(""), nul="a\0b") for each in arguments))
    assert outcome.status == 2
    assert outcome.err.startswith("error: the argument 'a\\x00b")
    assert outcome.err.endswith("holds a NUL character, which no name of a file can; remove it\n")
