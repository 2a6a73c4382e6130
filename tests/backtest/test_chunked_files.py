"""A Parquet file that is streamed gives what it gives when it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parity.golden import shared_folder

import backtest_py as bt

STRATEGY = bt.BarraElefante(min_range_mult=1.0, min_volume_mult=0.5, max_shadow_ratio=0.9)
RULES = bt.ExitRules(stop=2.0, target=3.0, atr_method="sma", close_time="17:00")
SIZES = (1, 7, 1000, 10**6)
BARS = bt.synthetic_bars(n_days=5)


def frame(**columns):
    table = BARS.to_frame().reset_index()
    table["time"] = table["time"].astype("datetime64[ms]")
    return table.assign(**columns)


def written(path, table, **options):
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path, **options)
    return path


def check(path, sizes=SIZES, **options):
    """Require of every size what the loaded file gives, and the same report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        bars = bt.load_bars(path, **options)
        whole = bt.run(bars, STRATEGY, RULES)
        for size in sizes:
            parts = bt.run_chunked(path, STRATEGY, RULES, chunk_rows=size, **options)
            assert parts.metrics == whole.metrics
            assert parts.trades.equals(whole.trades)
            assert parts.provenance == whole.provenance
            assert parts.manifest() == whole.manifest()
            assert parts.job.bars.report == bars.report
    return whole


class TestTheSameAsLoaded:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"timezone": "America/Sao_Paulo"},
            {"timezone": "Europe/London", "session_timezone": "America/New_York"},
        ],
    )
    def test_clocks(self, tmp_path, options):
        assert len(check(written(tmp_path / "bars.parquet", frame()), **options)) > 10

    @pytest.mark.parametrize("kind", ["ms", "s", "text", "zone", "date_first"])
    def test_times_of_every_kind(self, tmp_path, kind):
        time = frame()["time"]
        counts = time.astype("int64")
        given = {
            "ms": counts,
            "s": counts // 1000,
            "text": time.astype(str),
            "zone": time.dt.tz_localize("America/Sao_Paulo"),
            "date_first": time.dt.strftime("%d/%m/%Y %H:%M"),
        }[kind]
        path = written(tmp_path / "bars.parquet", frame(time=given))
        check(path, **({"dayfirst": True} if kind == "date_first" else {}))

    def test_row_groups_do_not_matter(self, tmp_path):
        check(written(tmp_path / "bars.parquet", frame(), row_group_size=11), sizes=(7, 1000))

    def test_rows_that_repeat_the_one_before(self, tmp_path):
        table = frame()
        table = table.loc[np.repeat(table.index, 1 + (np.arange(len(table)) % 3 == 0))]
        check(written(tmp_path / "bars.parquet", table))

    def test_empty_rows(self, tmp_path):
        table = frame()
        gaps = np.arange(len(table)) % 50 < 20
        gaps[-9:] = True
        table.loc[gaps, ["open", "high", "low", "close"]] = np.nan
        table.loc[gaps, "volume"] = 0.0
        path = written(tmp_path / "bars.parquet", table)
        check(path, empty="drop")
        with pytest.raises(bt.DataError, match=r"open in row 0 = nan.*empty = \"drop\""):
            bt.run_chunked(path, STRATEGY, RULES, chunk_rows=7)
        table[["open", "high", "low", "close"]] = np.nan
        table["volume"] = 0.0
        with pytest.raises(bt.DataError, match="nothing traded in any of the 545 bars"):
            bt.run_chunked(written(path, table), STRATEGY, RULES, chunk_rows=7, empty="drop")

    def test_empty_rows_that_repeat_the_one_before(self, tmp_path):
        table = frame()
        gaps = np.arange(len(table)) % 50 < 20
        table.loc[gaps, ["open", "high", "low", "close"]] = np.nan
        table.loc[gaps, "volume"] = 0.0
        table = table.loc[np.repeat(table.index, 1 + np.arange(len(table)) % 3)]
        check(written(tmp_path / "bars.parquet", table), empty="drop")

    def test_the_volume_that_serves_is_chosen_over_the_whole_file(self, tmp_path):
        volume = frame()["volume"].to_numpy()
        late = np.where(np.arange(len(volume)) < 300, 0.0, volume)
        for columns in (
            {"volume": 0.0, "tick_volume": volume, "quote_volume": volume},
            {"volume": late, "tick_volume": volume},
            {"volume": late, "tick_volume": [str(each) for each in volume]},
        ):
            check(written(tmp_path / "bars.parquet", frame(**columns)))

    def test_an_average_that_comes_with_the_bars(self, tmp_path):
        path = written(tmp_path / "bars.parquet", frame(atr=np.linspace(20, 90, len(BARS))))
        rules = bt.ExitRules(atr_method="column")
        whole = bt.run(bt.load_bars(path), STRATEGY, rules)
        parts = bt.run_chunked(path, STRATEGY, rules, chunk_rows=7)
        assert parts.trades.equals(whole.trades)
        assert parts.provenance == whole.provenance

    @pytest.mark.parametrize("ambiguous", ["infer", "earlier", "later"])
    def test_an_hour_that_occurs_twice(self, tmp_path, ambiguous):
        """Which of two instants a time is depends on the row before, in another piece or not."""
        hours = ["00:00", "00:30", "01:00", "01:20", "01:40", "01:00", "01:20", "01:40", "02:00"]
        if ambiguous != "infer":
            hours = sorted(set(hours))
        time = pd.to_datetime([f"2024-11-03 {each}" for each in hours])
        close = np.arange(len(time)) + 100.0
        table = pd.DataFrame(
            {"time": time, "open": close, "high": close + 1, "low": close - 1, "close": close}
        )
        path = written(tmp_path / "bars.parquet", table)
        options = {"timezone": "America/New_York", "ambiguous": ambiguous}
        bars = bt.load_bars(path, **options)
        strategy = bt.MovingAverageCross(fast=1, slow=2)
        settings = {"metrics": bt.MetricSettings(periods_per_year=365)}
        whole = bt.run(bars, strategy, **settings)
        for size in (1, 2, 3, 4, 5):
            parts = bt.run_chunked(path, strategy, chunk_rows=size, **options, **settings)
            assert parts.provenance == whole.provenance  # with the hash of all instants

    @pytest.mark.skipif(shared_folder() is None, reason="the shared data are not here")
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("BTCUSDT_30m_2021-2023H1.parquet", {}),
            ("BTCUSDT_30m_with_empty_bars.parquet", {"empty": "drop"}),
            ("BTC_1m_with_gaps_2017-11.parquet", {}),
        ],
    )
    def test_real_files(self, name, options):
        check(shared_folder() / "data" / name, sizes=(1000, 4999), **options)

    @pytest.mark.skipif(shared_folder() is None, reason="the shared data are not here")
    @pytest.mark.parametrize("size", [1, 7, 1000])
    @pytest.mark.parametrize("name", ["WIN_M5_2023H1.csv", "TIES_M5.csv"])
    def test_real_bars(self, name, size, engine):
        bars = bt.load_bars(shared_folder() / "data" / name)[:4000]
        contract = bt.Contract(tick_size=0.01)
        whole = bt.run(bars, STRATEGY, RULES, contract, engine=engine)
        pieces = (bars[first : first + size] for first in range(0, len(bars), size))
        parts = bt.run_chunked(pieces, STRATEGY, RULES, contract, engine=engine)
        assert len(whole) > 10
        assert parts.metrics == whole.metrics
        assert parts.trades.equals(whole.trades)
        assert parts.provenance == whole.provenance


class TestRefused:
    def refuses(self, path, says, kind=bt.DataError, **options):
        for size in (1, 7, 1000):
            with pytest.raises(kind, match=says):
                bt.run_chunked(path, STRATEGY, RULES, chunk_rows=size, **options)

    def test_what_is_no_parquet(self, tmp_path, write_bars):
        path = write_bars([("2024-01-02 09:00", 1, 2, 0.5, 1.5, 3)])
        self.refuses(path, "only Parquet is read piece by piece.*load_bars", bt.ConfigError)
        self.refuses(tmp_path / "no.parquet", "does not exist", bt.ConfigError)
        self.refuses(tmp_path, "is a directory", bt.ConfigError)

    def test_a_file_that_is_cut(self, tmp_path):
        path = written(tmp_path / "bars.parquet", frame())
        content = path.read_bytes()
        for end in (20, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:end])
            self.refuses(path, "damaged or not what it seems")

    def test_a_page_that_is_spoilt_far_into_the_file(self, tmp_path):
        path = written(
            tmp_path / "bars.parquet",
            frame(),
            row_group_size=50,
            write_page_checksum=True,
            compression="none",
            use_dictionary=False,
        )
        content = bytearray(path.read_bytes())
        column = pq.ParquetFile(path).metadata.row_group(8).column(4)
        content[column.data_page_offset + column.total_compressed_size - 3] ^= 0xFF
        path.write_bytes(content)
        self.refuses(path, "damaged or not what it seems")

    def test_a_rule_that_a_late_row_breaks(self, tmp_path):
        table = frame()
        table.loc[500, "low"] = 1e9
        path = written(tmp_path / "bars.parquet", table)
        self.refuses(path, r"bars.parquet: high in row 500 = .* is below low")
        table = frame()
        table.loc[500, "time"] = table.loc[499, "time"]
        self.refuses(written(path, table), r"time in row 500 = .*one time with two rows")
        table.loc[500, "time"] = table.loc[3, "time"]
        self.refuses(written(path, table), r"time in row 500 = .* lies before the bar above it")

    def test_rows_that_run_backwards(self, tmp_path):
        path = written(tmp_path / "bars.parquet", frame().iloc[::-1])
        for size, says in ((1, "lies before the bar above it"), (100, "from the newest bar to")):
            with pytest.raises(bt.DataError, match=says):
                bt.run_chunked(path, STRATEGY, RULES, chunk_rows=size)

    def test_dates_whose_order_only_later_rows_could_settle(self, tmp_path):
        days = frame()["time"].dt.strftime("%d/%m/%Y %H:%M")
        path = written(tmp_path / "bars.parquet", frame(time=days))
        self.refuses(path, "could be month first")
        days = (frame()["time"] + pd.Timedelta(days=20)).dt.strftime("%d/%m/%Y %H:%M")
        self.refuses(written(path, frame(time=days)), "rows that are not read yet may show another")

    def test_two_instruments(self, tmp_path):
        symbol = np.where(np.arange(len(BARS)) < 300, "A", "B")
        path = written(tmp_path / "bars.parquet", frame(symbol=symbol))
        self.refuses(path, "names several instruments")

    def test_two_units_of_time(self, tmp_path):
        counts = frame()["time"].astype("int64")
        counts = np.where(np.arange(len(counts)) < 300, counts // 1000, counts)
        path = written(tmp_path / "bars.parquet", frame(time=counts))
        self.refuses(path, "time in row 300 = .* is in ms, the rows before it are in s")

    def test_a_file_without_rows(self, tmp_path):
        path = written(tmp_path / "bars.parquet", frame().iloc[:0])
        self.refuses(path, "there is no row in the file")


def test_warnings_of_the_file_come_once(tmp_path):
    time = frame()["time"].dt.strftime("%Y-%m-%d %H:%M:%S-03:00")
    path = written(tmp_path / "bars.parquet", frame(time=time))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bt.run_chunked(path, STRATEGY, RULES, chunk_rows=100)
    told = [str(each.message) for each in caught if "carry an offset" in str(each.message)]
    assert len(told) == 1


LIMIT = """
import json, pathlib, re, sys
import backtest_py as bt
result = bt.run_chunked(
    sys.argv[1], bt.BarraElefante(), bt.ExitRules(close_time="17:00"),
    bt.Contract(tick_size=5, initial_capital=1e8), engine=sys.argv[2],
    metrics=bt.MetricSettings(periods_per_year=365),
)
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss would be the parent's
peak = int(re.search("VmHWM: *(\\d+)", status.expandtabs())[1]) / 1024
print(json.dumps({"peak": peak, "bars": len(result.job.bars), "trades": len(result)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_does_not_grow_with_the_file(tmp_path, engine):
    """Four times the rows take the memory of their trades alone, some 250 bytes each."""
    from benches.long_file import write_long_file

    found = []
    for n_rows in (500_000, 2_000_000):
        path = tmp_path / f"{n_rows}.parquet"
        write_long_file(path, n_rows)
        done = subprocess.run(
            [sys.executable, "-c", LIMIT, str(path), engine],
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(json.loads(done.stdout))
    short, long = found
    assert long["bars"] == 2_000_000
    assert long["trades"] > 10_000
    assert long["peak"] < 450
    in_memory = 1_500_000 * 7 * 8 / 2**20
    assert long["peak"] - short["peak"] < in_memory / 2


def test_an_option_that_no_file_is_read_by_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'time_zone'"):
        bt.run_chunked("bars.parquet", "barra_elefante", time_zone="UTC")
