"""Parquet and Feather: every type that holds a time or a price, and every way to be broken."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest

from backtest_py.bars import Bars
from backtest_py.data import load_bars, synthetic_bars
from backtest_py.data.readers import parquet
from backtest_py.errors import ConfigError, DataError

FORMATS = ("parquet", "feather")
PRICES = ("open", "high", "low", "close")
BARS = synthetic_bars(n_days=2, tick_size=0.01)


def columns(**changes):
    frame = BARS.to_frame().reset_index()
    table = {name: pa.array(frame[name].to_numpy()) for name in frame}
    return {name: column for name, column in (table | changes).items() if column is not None}


@pytest.fixture(params=FORMATS)
def write(tmp_path, request):
    """Return a function that writes a table in either format and returns the path."""

    def write(table, **options):
        if isinstance(table, dict):
            table = pa.table(table)
        file = tmp_path / f"bars.{request.param}"
        if request.param == "parquet":
            pq.write_table(table, file, **options)
        else:
            pf.write_feather(table, file)
        return file

    write.format = request.param
    return write


def test_plain(write):
    bars = load_bars(write(columns()))
    assert bars.content_hash == BARS.content_hash
    assert bars.report.format == write.format
    assert bars.report.rows_read == len(BARS)
    assert bars.report.volume_kind == "volume"


def test_named_or_found(write):
    file = write(columns())
    assert load_bars(file, format=write.format).content_hash == BARS.content_hash
    for wrong in {*FORMATS, "csv", "mt5"} - {write.format}:
        with pytest.raises(DataError, match='format = "auto"'):
            load_bars(file, format=wrong)


def test_the_name_of_the_file_says_nothing(write):
    file = write(columns())
    other = file.rename(file.with_name("bars.csv"))
    assert load_bars(other).content_hash == BARS.content_hash


@pytest.mark.parametrize("name", ["time", "timestamp", "date", "open_time", "Datetime"])
def test_names_of_the_time(write, name):
    table = {name if key == "time" else key: column for key, column in columns().items()}
    assert load_bars(write(table)).content_hash == BARS.content_hash


NS = BARS.time


class TestTimes:
    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize("tz", [None, "UTC", "America/Sao_Paulo", "+03:00"])
    def test_timestamps(self, write, unit, tz):
        stamps = pa.array(NS.view("M8[ns]").astype(f"M8[{unit}]")).cast(pa.timestamp(unit, tz=tz))
        session = "UTC" if tz == "+03:00" else ""  # a mere offset, of which nobody can be sure
        bars = load_bars(write(columns(time=stamps)), session_timezone=session)
        np.testing.assert_array_equal(bars.time, NS)
        assert bars.is_naive is (tz is None)
        assert bars.session_timezone == {None: "", "+03:00": "UTC"}.get(tz, tz)

    @pytest.mark.parametrize("factor", [10**9, 10**6, 1000, 1])
    @pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.float64()])
    def test_counts_since_1970(self, write, factor, kind):
        if kind == pa.float64() and factor == 1:
            with pytest.raises(DataError, match="no whole number"):
                load_bars(write(columns(time=pa.array(NS + 0.5))))
            return
        bars = load_bars(write(columns(time=pa.array(NS // factor).cast(kind))))
        np.testing.assert_array_equal(bars.time, NS)
        assert bars.session_timezone == "UTC"

    @pytest.mark.parametrize(
        "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    )
    def test_texts(self, write, kind):
        texts = pa.array([BARS.time_text(row) for row in range(len(BARS))]).cast(kind)
        assert load_bars(write(columns(time=texts))).content_hash == BARS.content_hash

    @pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
    def test_dates(self, write, kind):
        days = pa.array([date(2024, 1, 2), date(2024, 1, 3)]).cast(kind)
        table = {name: column[:2] for name, column in columns().items()} | {"time": days}
        assert load_bars(write(table)).time_text(1) == "2024-01-03 00:00"

    def test_clocks(self, write):
        bars = load_bars(write(columns()), timezone="America/Sao_Paulo")
        assert bars.minute[0] == 540
        assert bars.time[0] - NS[0] == 2 * 3600 * 10**9  # summer time, then

    @pytest.mark.parametrize(
        ("stamps", "says"),
        [
            (pa.array([None, *NS[1:].tolist()], pa.timestamp("ns")), "time in row 0 has no value"),
            (pa.array([True] * len(NS)), "is of type bool"),
            (pa.array([1.5] * len(NS)), "no whole number"),
            (pa.array(np.arange(len(NS))), "time in row 0 = 0 is no time since 1970"),
            (pa.array([253402300799] * len(NS), pa.timestamp("s")), "outside the years"),
            (pa.array(["soon"] * len(NS)), "time in row 0 = 'soon' is not a time"),
        ],
    )
    def test_refused(self, write, stamps, says):
        with pytest.raises(DataError, match=says):
            load_bars(write(columns(time=stamps)))


class TestPandasIndex:
    @pytest.mark.parametrize("name", [None, "time", "date", "Date"])
    def test_holds_the_time(self, tmp_path, name):
        file = tmp_path / "bars.parquet"
        BARS.to_frame().rename_axis(name).to_parquet(file)
        assert load_bars(file).content_hash == BARS.content_hash

    def test_with_a_zone(self, tmp_path):
        file = tmp_path / "bars.parquet"
        frame = BARS.to_frame()
        frame.index = pd.DatetimeIndex(frame.index).tz_localize("America/Sao_Paulo")
        frame.to_parquet(file)
        bars = load_bars(file, session_timezone="America/Sao_Paulo")
        np.testing.assert_array_equal(bars.minute, BARS.minute)

    def test_that_is_a_plain_count_is_no_time(self, tmp_path):
        file = tmp_path / "bars.parquet"
        BARS.to_frame().reset_index(drop=True).to_parquet(file)
        with pytest.raises(DataError, match="no column for time"):
            load_bars(file)


class TestNumbers:
    def test_s7_float32_is_widened_as_it_stands(self, write):
        narrow = {name: columns()[name].cast(pa.float32()) for name in PRICES}
        bars = load_bars(write(columns(**narrow)))
        for name in PRICES:
            np.testing.assert_array_equal(
                getattr(bars, name), narrow[name].to_numpy().astype(float)
            )

    @pytest.mark.parametrize("kind", [pa.float16(), pa.int32(), pa.uint16(), pa.int64()])
    def test_other_numbers(self, write, kind):
        ones = {name: pa.array(np.full(len(BARS), 3)).cast(kind) for name in PRICES}
        assert load_bars(write(columns(**ones))).close[0] == 3.0

    def test_whole_numbers_beyond_2_53(self, write):
        volume = pa.array([2**53 + 1] * len(BARS))
        assert load_bars(write(columns(volume=volume))).volume[0] == 2.0**53

    @pytest.mark.parametrize("kind", ["decimal", "text"])
    def test_decimals_become_the_nearest_double(self, write, kind):
        generator = np.random.default_rng(3)
        texts = [f"{a}.{b:09d}" for a, b in generator.integers(0, 10**9, (len(BARS), 2)).tolist()]
        texts[:3] = ["0.000000001", "123456789.123456789", "0.100000000"]
        prices = pa.array(texts)
        if kind == "decimal":
            prices = pa.array([Decimal(text) for text in texts], pa.decimal128(30, 9))
        bars = load_bars(write(columns(**dict.fromkeys(PRICES, prices))))
        np.testing.assert_array_equal(bars.close, [float(text) for text in texts])

    def test_a_missing_value_is_nan(self, write):
        close = pa.array([None, *BARS.close[1:].tolist()])
        with pytest.raises(DataError, match="close in row 0 = nan is no price"):
            load_bars(write(columns(close=close)))

    def test_empty_bars(self, write):
        gone = {
            name: pa.array([column[0].as_py(), None, *column[2:].to_pylist()])
            for name, column in columns().items()
            if name in PRICES
        }
        volume = pa.array([5.0, 0.0, *[5.0] * (len(BARS) - 2)])
        file = write(columns(**gone, volume=volume))
        with pytest.raises(DataError, match=r'open in row 1 = nan: nothing traded.*empty = "drop"'):
            load_bars(file)
        bars = load_bars(file, empty="drop")
        assert len(bars) == len(BARS) - 1
        assert bars.report.empty_dropped == 1

    def test_atr_column(self, write):
        atr = pa.array([None, *[1.5] * (len(BARS) - 1)])
        np.testing.assert_array_equal(
            load_bars(write(columns(atr=atr))).atr_column[:2], [np.nan, 1.5]
        )

    @pytest.mark.parametrize("kind", [pa.bool_(), pa.binary(), pa.list_(pa.float64())])
    def test_no_numbers(self, write, kind):
        value = {pa.bool_(): True, pa.binary(): b"1"}.get(kind, [1.0])
        close = pa.array([value] * len(BARS), kind)
        with pytest.raises(DataError, match="close in row 0 is of type"):
            load_bars(write(columns(close=close)))

    def test_text_that_is_no_number(self, write):
        close = pa.array(["1.5", "1,5"] * (len(BARS) // 2))
        with pytest.raises(DataError, match="close in row 1 = '1,5' is not a number"):
            load_bars(write(columns(close=close)))


class TestTables:
    def test_newest_first_and_repeated_rows(self, write):
        order = np.repeat(np.arange(len(BARS))[::-1], 2)
        bars = load_bars(write(pa.table(columns()).take(order)))
        assert bars.content_hash == BARS.content_hash
        assert bars.report.newest_first
        assert bars.report.identical_dropped == len(BARS)

    def test_disorder(self, write):
        order = np.arange(len(BARS))
        order[[3, 4]] = [4, 3]
        with pytest.raises(DataError, match=r"time in row 4 = 2019-01-02 09:15 lies before"):
            load_bars(write(pa.table(columns()).take(order)))

    def test_contracts_unless_all_zero(self, write):
        ticks = pa.array(np.full(len(BARS), 9))
        zero = pa.array(np.zeros(len(BARS)))
        table = columns(tick_volume=ticks)
        assert load_bars(write(table)).volume[0] == BARS.volume[0]
        bars = load_bars(write(table | {"volume": zero}))
        assert bars.volume[0] == 9.0
        assert bars.report.volume_kind == "ticks"

    def test_without_volume(self, write):
        assert not load_bars(write(columns(volume=None))).has_volume

    def test_other_columns_are_not_even_read(self, write):
        nested = pa.array([{"a": 1}] * len(BARS))
        bars = load_bars(write(columns(extra=nested)))
        assert bars.content_hash == BARS.content_hash
        assert bars.report.ignored == ("extra",)

    def test_several_instruments(self, write):
        symbols = pa.array(["A", "B"] * (len(BARS) // 2))
        with pytest.raises(DataError, match="several instruments"):
            load_bars(write(columns(symbol=symbols)))
        assert len(load_bars(write(columns(symbol=pa.array(["A"] * len(BARS)))))) == len(BARS)

    @pytest.mark.parametrize("missing", ["time", *PRICES])
    def test_missing_column(self, write, missing):
        with pytest.raises(DataError, match=f"no column for {missing}"):
            load_bars(write(columns(**{missing: None})))

    def test_two_columns_for_one(self, write):
        with pytest.raises(DataError, match="could both be the close"):
            load_bars(write(columns(Close=columns()["close"])))

    def test_two_columns_of_one_name(self, write):
        table = pa.table(columns())
        with pytest.raises(DataError, match="the same name"):
            load_bars(write(table.append_column("time", table["time"])))

    def test_an_unused_kind_of_volume_is_not_read(self, write):
        money = pa.array(["1.2K"] * len(BARS))
        assert load_bars(write(columns(turnover=money))).content_hash == BARS.content_hash

    def test_too_much_text(self, write, monkeypatch):
        monkeypatch.setattr(parquet, "MAX_TEXT", 1000)
        texts = pa.array([BARS.time_text(row) for row in range(len(BARS))])
        with pytest.raises(DataError, match="bytes of text"):
            load_bars(write(columns(time=texts)))

    def test_no_rows(self, write):
        with pytest.raises(DataError, match="there is no row"):
            load_bars(write(pa.table(columns())[:0]))

    def test_many_pieces(self, write):
        pieces = pa.concat_tables(
            [pa.table(columns())[start : start + 7] for start in range(0, 218, 7)]
        )
        options = {"row_group_size": 5} if write.format == "parquet" else {}
        assert load_bars(write(pieces, **options)).content_hash == BARS.content_hash

    def test_too_many_rows(self, write, monkeypatch):
        monkeypatch.setattr(parquet, "MAX_ROWS", 100)
        with pytest.raises(DataError, match="218 rows are more than 100"):
            load_bars(write(columns()))


class TestDamage:
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
    def test_cut_off(self, write, share):
        file = write(columns())
        whole = file.read_bytes()
        file.write_bytes(whole[: max(8, int(len(whole) * share))])
        with pytest.raises(DataError, match="damaged"):
            load_bars(file)

    def test_magic_alone(self, write):
        file = write(columns())
        file.write_bytes(file.read_bytes()[:8])
        with pytest.raises(DataError, match="damaged"):
            load_bars(file)

    def test_a_flipped_byte_is_refused_or_harmless(self, write):
        options = {"write_page_checksum": True} if write.format == "parquet" else {}
        file = write(columns(), **options)
        whole = bytearray(file.read_bytes())
        for place in range(9, len(whole) - 8, max(1, len(whole) // 60)):
            damaged = whole.copy()
            damaged[place] ^= 0xFF
            file.write_bytes(damaged)
            try:
                bars = load_bars(file)
            except DataError:
                continue
            assert isinstance(bars, Bars)

    def test_folder_of_parts(self, tmp_path):
        pq.write_to_dataset(pa.table(columns()), tmp_path / "bars")
        with pytest.raises(ConfigError, match="is a directory"):
            load_bars(tmp_path / "bars")
