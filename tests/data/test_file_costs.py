"""What a file may cost: time that grows with its size, memory that its size can explain."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest

import backtest_py as bt
from backtest_py.data import load_bars
from backtest_py.data.readers import parquet

HEADER = "time,open,high,low,close,volume\n"
ROW = "2024-01-02 09:00,1,2,0.5,1,1\n"
PRICES = ("open", "high", "low", "close")


def seconds(file):
    """Return the shortest of three readings, whether the file is taken or refused."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        with suppress(bt.DataError):
            load_bars(file)
        taken.append(time.perf_counter() - start)
    return min(taken)


@pytest.mark.parametrize(
    "line",
    ["\n", "\r\n", "\r", " \n", ",,,,,\n", ";\n", "\t\t\r\n"],
    ids=["lf", "crlf", "cr", "blank", "commas", "semicolon", "tabs"],
)
@pytest.mark.parametrize("tail", ["", "2024-01-03 09:00,1,2,0.5,1,1\n"], ids=["end", "middle"])
def test_blank_lines_take_time_in_proportion(write, line, tail):
    few, many = (
        seconds(write((HEADER + ROW + line * count + tail).encode()))
        for count in (250_000, 1_000_000)
    )
    assert many < 10 * few + 0.05  # squared, it would be 16 times, and minutes


def test_a_few_kilobytes_that_unpack_to_blank_lines(write):
    few, many = (
        seconds(write(gzip.compress((HEADER + ROW + "\n" * count).encode())))
        for count in (4_000_000, 16_000_000)
    )
    assert many < 10 * few + 0.05


@pytest.mark.parametrize("count", [2, 99])
def test_many_ways_to_write_a_time(write, count):
    """Each way is looked for in all rows that are left: rows times ways."""
    ways = [
        f"2024-01-02{mark}09:00{second}{zone}"
        for mark in " T"
        for second in ("", *(f":00.{'0' * digits}" for digits in range(1, 10)))
        for zone in ("Z", " Z", "UTC", " UTC", "GMT", " GMT")
    ]
    dated = [f"{way[:8]}{day % 28 + 1:02d}{way[10:]}" for day, way in enumerate(ways)]
    rows = "".join(f"{way},1,2,0.5,1,1\n" for way in dated)
    with pytest.raises(bt.DataError, match="written in more than 100 ways"):
        load_bars(write(HEADER + rows * count))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEADER}{'1' * 3_000_000}\n", "longer than 1 MiB"),
        (f'{HEADER}"{"a" * 3_000_000}', "longer than 1 MiB"),
        ("x" * 3_000_000, "first line has 3,000,000 bytes"),
        ('"' + "x" * 200_000, "first line has 200,001 bytes"),
        (",".join(f"c{column}" for column in range(100_000)), "first line has"),
    ],
)
def test_endless_lines_are_refused(write, text, says):
    with pytest.raises(bt.DataError, match=says):
        load_bars(write(text))


def test_thousands_of_columns_that_nobody_wants(write):
    rest = ",x" * 5_000
    text = "".join(f"{line}{rest}\n" for line in (HEADER.strip(), ROW.strip()))
    assert len(load_bars(write(text)).report.ignored) == 5_000


def table(n_rows, **columns):
    numbers = dict.fromkeys(PRICES, pa.array(np.ones(n_rows)))
    minutes = pa.array(np.arange(n_rows).astype("M8[m]").astype("M8[ns]"))
    return pa.table({"time": minutes, **numbers, **columns})


def repeated(text, n_rows):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([text]))


def save(content, path, compression="zstd"):
    if path.suffix == ".parquet":
        pq.write_table(content, path, compression=compression)
    else:
        pf.write_feather(content, path, compression=compression)
    return path


PEAK = """
import resource, sys
import backtest_py as bt
bt.load_bars(sys.argv[1])  # what Arrow takes by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    bt.load_bars(sys.argv[2])
except bt.DataError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("kind", ["time", "close", "symbol", "plain", "rows", "bytes"])
def test_small_files_that_unpack_to_gigabytes_take_little_memory(tmp_path, suffix, kind):
    small = save(table(10), tmp_path / f"small.{suffix}")
    if kind == "rows":
        content = table(10_000_000, time=pa.array(np.zeros(10_000_000, np.int64)))
    elif kind == "bytes":
        content = table(4_000, close=repeated(b"x" * 1_000_000, 4_000))
    elif kind == "plain":
        content = table(50_000, time=pa.array(["x" * 4_000] * 50_000))
    else:
        content = table(200_000, **{kind: repeated("2024-01-02" + "x" * 20_000, 200_000)})
    bomb = save(content, tmp_path / f"bomb.{suffix}")
    del content
    assert bomb.stat().st_size < 3_000_000
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, small, bomb], check=True, capture_output=True, text=True
    )
    peak, says = ran.stdout.split(" ", 1)
    assert any(words in says for words in ("does not hold bars", "is not a time", "is of type"))
    assert int(peak) < 250_000  # kilobytes


@pytest.mark.parametrize("compression", ["zstd", "lz4", "uncompressed"])
def test_sizes_in_the_headers_of_feather_are_those_of_the_batches(tmp_path, compression):
    content = table(1_000, symbol=repeated("WIN", 1_000))
    file = save(content, tmp_path / "bars.feather", compression)
    assert 5 * 8_000 <= parquet.feather_bytes(file) <= content.nbytes + 10_000
    assert len(load_bars(file)) == 1_000


def test_bars_that_pack_well_are_read(tmp_path):
    for name in ("bars.parquet", "bars.feather"):
        assert len(load_bars(save(table(1_000_000), tmp_path / name))) == 1_000_000


class TestPaths:
    @pytest.mark.parametrize("path", ["a\0b", "a\0b/bars.csv"])
    def test_nul(self, path, cli, write_toml, tmp_path):
        with pytest.raises(bt.ConfigError, match="data file"):
            load_bars(path)
        with pytest.raises(bt.ConfigError, match="data file"):
            load_bars("bars.csv", directory=path)
        assert cli("inspect", path).status == 2
        assert cli("run", write_toml('[data]\npath = "a\\u0000b"\n')).status == 2

    def test_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "bars.csv")
        with pytest.raises(bt.ConfigError, match="not a regular file"):
            load_bars(tmp_path / "bars.csv")

    def test_link_to_itself(self, tmp_path, cli, write_toml):
        (tmp_path / "bars.csv").symlink_to(tmp_path / "bars.csv")
        with pytest.raises(bt.ConfigError, match="data file"):
            load_bars(tmp_path / "bars.csv")
        swept = '[sweep.grid]\n"rules.stop" = [1.0, 2.0]\n'
        for command in ("run", "sweep"):
            out = ("--out", tmp_path / "out") if command == "sweep" else ()
            assert cli(command, write_toml(swept), *out).status == 2
