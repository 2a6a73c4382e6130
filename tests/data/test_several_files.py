"""Several files as one series: put in order, overlaps compared row by row, gaps noted."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backtest_py as bt
from backtest_py.config import Config
from backtest_py.data.source import source_of

FRAME = bt.synthetic_bars(n_days=4).to_frame()
N = len(FRAME)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def whole(folder):
    FRAME.to_csv(folder / "whole.csv")
    return bt.load_bars(folder / "whole.csv")


def parts(folder, *spans, change=None):
    """Write the rows of each span into a file, and return the paths."""
    paths = []
    for number, (start, stop) in enumerate(spans):
        frame = FRAME[start:stop].copy()
        if change is not None and number == len(spans) - 1:
            frame = change(frame)
        paths.append(folder / f"{number}.csv")
        frame.to_csv(paths[-1])
    return paths


def assert_same(bars, whole):
    assert bars.content_hash == whole.content_hash
    for name in ("minute", "day", "session_dates"):
        np.testing.assert_array_equal(getattr(bars, name), getattr(whole, name))
    assert bars.has_volume == whole.has_volume


@given(
    cuts=st.lists(st.integers(1, N - 1), min_size=1, max_size=4, unique=True),
    overlap=st.integers(0, 30),
    data=st.data(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_any_parts_in_any_order_are_the_whole(folder, whole, cuts, overlap, data):
    edges = [0, *sorted(cuts), N]
    spans = [(max(0, edges[i] - overlap), edges[i + 1]) for i in range(len(edges) - 1)]
    paths = data.draw(st.permutations(parts(folder, *spans)))
    bars = bt.load_bars(paths)
    assert_same(bars, whole)
    assert bars.report.rows_read == sum(stop - start for start, stop in spans)


def test_a_row_that_differs_names_both_files_rows_and_values(folder):
    def change(frame):
        frame.iloc[4, 3] = frame.iloc[4, 2]  # the close is the low
        return frame

    paths = parts(folder, (0, 60), (50, 100), change=change)
    with pytest.raises(bt.DataError) as caught:
        bt.load_bars(paths[::-1])
    message = str(caught.value)
    close, low = float(FRAME.iloc[54, 3]), float(FRAME.iloc[54, 2])
    assert f"0.csv: close in data row 55 = {close!r} ({paths[0]})" in message
    assert f"1.csv: close in data row 5 = {low!r} ({paths[1]})" in message
    assert str(FRAME.index[54])[:16] in message
    assert "1 of the 10 rows" in message


@pytest.mark.parametrize("column", range(5))
def test_every_column_is_compared(folder, column):
    def change(frame):
        frame.iloc[0, column] *= {0: 1, 1: 1.001, 2: 0.999, 3: 1, 4: 2}[column]
        frame.iloc[0, column] += {0: 1e-9, 3: 1e-9}.get(column, 0.0)
        frame.iloc[0, 1] = max(frame.iloc[0, :4])
        frame.iloc[0, 2] = min(frame.iloc[0, :4])
        return frame

    paths = parts(folder, (0, 60), (59, 100), change=change)
    with pytest.raises(bt.DataError, match="one bar has two values"):
        bt.load_bars(paths)


def test_the_row_is_named_where_rows_before_it_were_dropped_and_turned_round(folder):
    def change(frame):
        frame.iloc[4, 4] += 1
        return frame

    paths = parts(folder, (0, 60), (50, 100), change=change)
    lines = paths[1].read_text().splitlines()
    newest_first = [lines[0], *reversed(lines[1:])]
    newest_first.insert(2, newest_first[1])  # a row that is there twice
    paths[1].write_text("\n".join(newest_first))
    with pytest.raises(bt.DataError) as caught:
        bt.load_bars(paths)
    row = newest_first.index(lines[5])
    assert f"1.csv: volume in data row {row} =" in str(caught.value)


def test_a_gap_is_a_note(folder):
    bars = bt.load_bars(parts(folder, (0, 60), (70, 100)))
    (note,) = bars.report.notes
    assert "no bar between" in note
    assert str(FRAME.index[59])[:16] in note
    assert str(FRAME.index[70])[:16] in note
    assert bt.load_bars(parts(folder, (0, 60), (60, 100))).report.notes == ()


def test_a_row_that_one_file_lacks_is_warned_of_and_taken(folder, whole):
    def change(frame):
        return frame.drop(frame.index[3:5])

    paths = parts(folder, (0, 80), (50, N), change=change)
    with pytest.warns(bt.BacktestWarning, match=r"1\.csv lacks 2 rows that .*0\.csv has") as caught:
        bars = bt.load_bars(paths)
    assert str(FRAME.index[53])[:16] in str(caught[0].message)
    assert_same(bars, whole)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.tz_localize("UTC"), "timezone is '' in the first and 'UTC'"),
        (lambda frame: frame.rename(columns={"volume": "ticks"}), "kind of volume is 'volume'"),
        (lambda frame: frame.assign(atr=1.0), "a column atr is 'no' in the first and 'yes'"),
    ],
)
def test_parts_that_mean_something_else_are_refused(folder, change, says):
    first, _ = parts(folder, (0, 50), (50, 100))
    other = folder / "other.csv"
    change(FRAME[50:100]).to_csv(other)
    with pytest.raises(bt.DataError, match="no parts of one series") as caught:
        bt.load_bars([first, other])
    assert says in str(caught.value)
    assert str(first) in str(caught.value)
    assert str(other) in str(caught.value)


def test_clocks_and_days_are_those_of_one_file(folder):
    zones = {"timezone": "UTC", "session_timezone": "America/Sao_Paulo"}
    FRAME.to_csv(folder / "whole.csv")
    whole = bt.load_bars(folder / "whole.csv", **zones)
    bars = bt.load_bars(parts(folder, (0, 37), (30, N)), **zones)
    assert_same(bars, whole)
    assert (bars.timezone, bars.session_timezone) == (whole.timezone, whole.session_timezone)


def test_layouts_may_differ(folder, whole):
    first, _ = parts(folder, (0, 50), (50, 100))
    FRAME[50:].to_parquet(folder / "rest.parquet")
    bars = bt.load_bars([folder / "rest.parquet", first])
    assert_same(bars, whole)
    assert bars.report.format == "csv, parquet"


def test_the_report_names_all(folder):
    bars = bt.load_bars(["1.csv", "0.csv"], directory=parts(folder, (0, 60), (50, N))[0].parent)
    assert bars.report.source == "0.csv, 1.csv"
    assert bars.report.path == ("0.csv", "1.csv")
    assert source_of(bars)["path"] == [str(folder / "0.csv"), str(folder / "1.csv")]
    assert "10 rows of several files are the same" in bars.report.notes
    copy = pickle.loads(pickle.dumps(bars))
    assert copy.report == bars.report
    json.dumps(bt.run(bars, "barra_elefante", engine="numba").manifest())


@pytest.mark.parametrize("path", [[], ()])
def test_no_file_is_refused(path):
    with pytest.raises(bt.ConfigError, match="names no file"):
        bt.load_bars(path)


def test_a_file_that_is_not_there_is_named(folder):
    with pytest.raises(bt.ConfigError, match=r"gone\.csv' does not exist"):
        bt.load_bars([*parts(folder, (0, 50)), folder / "gone.csv"])


def test_something_else_in_the_list_is_refused(folder):
    with pytest.raises(bt.ConfigError, match="path is of type int"):
        bt.load_bars([*parts(folder, (0, 50)), 5])


TOML = """
[data]
path = ["1.csv", "0.csv"]
[sweep.grid]
"rules.stop" = [1.0, 2.0]
"""


def test_of_a_configuration_run_sweep_and_replay(folder, whole, cli):
    parts(folder, (0, 60), (50, N))
    file = folder / "run.toml"
    file.write_text(TOML, encoding="utf-8")
    assert_same(Config.load(file).load_bars(), whole)
    assert "0.csv" in cli("run", file).out
    assert cli("sweep", file, "--out", folder / "sweep").status == 0
    replayed = json.loads(cli("replay", folder / "sweep", 1, "--json").out)
    assert replayed["provenance"]["bars_hash"] == whole.content_hash
    assert replayed["bars"]["path"] == [str(folder / "0.csv"), str(folder / "1.csv")]
    FRAME[60:].to_csv(folder / "1.csv")  # one row fewer in the overlap, and the same series
    assert cli("replay", folder / "sweep", 1).status == 0
    FRAME[61:].to_csv(folder / "1.csv")
    refused = cli("replay", folder / "sweep", 1)
    assert refused.status == 1
    assert "not the bars that were swept" in refused.err
