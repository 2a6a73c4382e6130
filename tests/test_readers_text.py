"""Text files of bars: what each program writes is read to the bit, and what is unclear refused."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest

from backtest_py.bars import Bars
from backtest_py.data import load_bars, synthetic_bars
from backtest_py.data.readers import _open, _text
from backtest_py.errors import BacktestWarning, ConfigError, DataError

PRICES = ("open", "high", "low", "close")
GENERIC = """\
time,open,high,low,close,volume
2024-01-02 09:00:00,100.5,102.25,99.0,101.0,12
2024-01-02 09:05:00,101.0,101.5,100.0,100.5,0
2024-01-02 09:10:00,100.5,100.5,98.0,98.75,31
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes text or bytes and returns the path."""

    def write(content, name="bars.csv", encoding="utf-8"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return file

    return write


def expected(**changes):
    columns = {
        "time": np.array(["2024-01-02T09:00", "2024-01-02T09:05", "2024-01-02T09:10"], "M8[ns]"),
        "open": [100.5, 101.0, 100.5],
        "high": [102.25, 101.5, 100.5],
        "low": [99.0, 100.0, 98.0],
        "close": [101.0, 100.5, 98.75],
        "volume": [12.0, 0.0, 31.0],
    }
    return Bars(**(columns | changes))


def same(bars, other):
    """Whether all columns and clocks agree, bit for bit."""
    return bars.content_hash == other.content_hash


class TestGeneric:
    def test_plain(self, write):
        bars = load_bars(write(GENERIC))
        assert same(bars, expected())
        assert bars.is_naive
        report = bars.report
        assert (report.format, report.encoding, report.rows_read) == ("csv", "utf-8", 3)
        assert report.source == "bars.csv"
        assert report.volume_kind == "volume"

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
    def test_delimiters_and_line_ends(self, write, delimiter, line_end):
        text = GENERIC.replace(",", delimiter).replace("\n", line_end)
        assert same(load_bars(write(text), decimal="."), expected())

    @pytest.mark.parametrize("tail", ["", "\n\n\n", "\r\n \r\n", "\n,,,,,\n;;;\n", "\n\t\n"])
    def test_blank_lines_at_the_end(self, write, tail):
        assert same(load_bars(write(GENERIC.rstrip() + tail)), expected())

    def test_blank_lines_elsewhere(self, write):
        text = "\n\n" + GENERIC.replace("12\n", "12\n\n").replace("volume\n", "volume\n\n")
        assert same(load_bars(write(text)), expected())

    def test_quotes_and_blanks(self, write):
        lines = [", ".join(f'"{cell}"' for cell in line.split(",")) for line in GENERIC.split()[:1]]
        lines += GENERIC.replace(",", " , ").splitlines()[1:]
        assert same(load_bars(write("\n".join(lines))), expected())
        quoted = "\n".join(
            ",".join(f'"{cell}"' for cell in line.split(",")) for line in GENERIC.splitlines()
        )
        assert same(load_bars(write(quoted)), expected())

    @pytest.mark.parametrize(
        "header",
        [
            "Date,Open,High,Low,Close,Volume",
            "timestamp,OPEN,HIGH,LOW,CLOSE,VOLUME",
            "open_time,o,h,l,c,v",
            "Datetime,Open Price,High Price,Low Price,Close Price,Base Volume",
            ",open,high,low,close,volume",
            "Data,Abertura,Máximo,Mínimo,Fechamento,Quantidade",
            "unix,open,high,low,close,contracts",
        ],
    )
    def test_names_of_columns(self, write, header):
        text = header + GENERIC[GENERIC.index("\n") :]
        assert same(load_bars(write(text)), expected())

    def test_other_columns_are_ignored_and_named(self, write):
        lines = [f"{line},x{number}" for number, line in enumerate(GENERIC.splitlines())]
        bars = load_bars(write("\n".join(lines)))
        assert same(bars, expected())
        assert bars.report.ignored == ("x0",)

    def test_date_and_time_of_day_in_two_columns(self, write):
        text = GENERIC.replace("time,", "date,time,").replace("02 09", "02,09")
        bars = load_bars(write(text))
        assert same(bars, expected())
        assert bars.report.columns["clock"] == "time"

    def test_a_full_time_beside_a_date(self, write):
        lines = GENERIC.splitlines()
        text = "\n".join([f"{lines[0]},date", *(f"{line},2024-01-02" for line in lines[1:])])
        assert same(load_bars(write(text)), expected())

    def test_without_volume(self, write):
        text = "\n".join(line.rpartition(",")[0] for line in GENERIC.splitlines())
        bars = load_bars(write(text))
        assert not bars.has_volume
        assert bars.report.volume_kind == "none"

    @pytest.mark.parametrize("columns", [5, 6, 12])
    def test_without_header(self, write, columns):
        rows = [line.split(",") for line in GENERIC.splitlines()[1:]]
        text = "\n".join(",".join((row + ["7"] * 6)[:columns]) for row in rows)
        bars = load_bars(write(text))
        assert same(bars, expected(volume=None) if columns == 5 else expected())
        assert "no header" in bars.report.notes[0]

    def test_without_header_date_and_time_apart(self, write):
        text = "\n".join(GENERIC.replace("-", ".").replace(" ", ",").splitlines()[1:])
        assert same(load_bars(write(text)), expected())

    def test_atr_column(self, write):
        lines = GENERIC.splitlines()
        text = "\n".join([f"{lines[0]},atr", f"{lines[1]},", f"{lines[2]},nan", f"{lines[3]},2.5"])
        np.testing.assert_array_equal(load_bars(write(text)).atr_column, [np.nan, np.nan, 2.5])

    def test_one_row(self, write):
        assert len(load_bars(write("\n".join(GENERIC.splitlines()[:2])))) == 1

    @pytest.mark.parametrize(
        ("text", "zone"),
        [
            ("2024-01-02T12:0{}:00Z", None),
            ("2024-01-02 12:0{}:00+00:00", None),
            ("2024-01-02 09:0{}:00-03:00", "America/New_York"),
        ],
    )
    def test_times_with_a_zone_are_instants(self, write, text, zone):
        rows = "\n".join(text.format(row * 5) + ",1,2,0.5,1,1" for row in range(2))
        file = write("time,open,high,low,close,volume\n" + rows)
        bars = load_bars(file, timezone=zone or "")
        assert str(bars.time.view("M8[ns]")[0])[:16] == "2024-01-02T12:00"
        assert bars.session_timezone == "UTC"
        assert load_bars(file, session_timezone="America/Sao_Paulo").minute[0] == 540

    def test_clocks_reach_the_bars(self, write):
        bars = load_bars(
            write(GENERIC), timezone="America/Sao_Paulo", session_timezone="America/New_York"
        )
        assert bars.minute[0] == 7 * 60
        assert str(bars.time.view("M8[ns]")[0])[:16] == "2024-01-02T12:00"


class TestRepeatedAndSkippedHours:
    WALLS = ("2023-11-05 00:30", "2023-11-05 01:30", "2023-11-05 01:30", "2023-11-05 02:30")

    def text(self, *walls):
        rows = [f"{wall},1,2,0.5,1,{number}" for number, wall in enumerate(walls, 1)]
        return "\n".join(["time,open,high,low,close,volume", *rows])

    @pytest.mark.parametrize("backwards", [False, True])
    def test_infer_reads_both_in_either_direction(self, write, backwards):
        text = self.text(*(self.WALLS[::-1] if backwards else self.WALLS))
        bars = load_bars(write(text), timezone="America/New_York")
        assert bars.minute.tolist() == [30, 90, 90, 150]
        assert (np.diff(bars.time) == 3600 * 10**9).all()
        assert bars.report.newest_first is backwards

    def test_identical_rows_in_the_repeated_hour_are_refused_unless_chosen(self, write):
        file = write(self.text(*self.WALLS).replace(",3\n", ",2\n"))
        with pytest.raises(DataError, match=r"time in data row 3 = .*01:30: .*doubled rows.*later"):
            load_bars(file, timezone="America/New_York")
        with pytest.raises(DataError, match="twice; choose"):
            load_bars(file, timezone="America/New_York", ambiguous="refuse")
        for choice in ("earlier", "later"):
            bars = load_bars(file, timezone="America/New_York", ambiguous=choice)
            assert (len(bars), bars.report.identical_dropped) == (3, 1)

    def test_doubled_rows_of_the_repeated_hour_are_not_moved_by_an_hour(self, write):
        walls = [f"2023-11-05 01:{minute:02d}" for minute in range(0, 60, 5)]
        lines = self.text(*walls).splitlines()
        file = write("\n".join([lines[0], *(line for line in lines[1:] for _ in range(2))]))
        with pytest.raises(DataError, match=r"data row 2 = 2023-11-05 01:00, .* and 7 more: "):
            load_bars(file, timezone="America/New_York")
        bars = load_bars(file, timezone="America/New_York", ambiguous="earlier")
        assert (len(bars), bars.report.identical_dropped) == (12, 12)
        assert (np.diff(bars.time) == 300 * 10**9).all()

    def test_doubled_rows_elsewhere_are_dropped_before_the_hour_is_inferred(self, write):
        lines = self.text(*self.WALLS).splitlines()
        file = write("\n".join([*lines[:2], lines[1], *lines[2:], lines[-1]]))
        bars = load_bars(file, timezone="America/New_York")
        assert bars.report.identical_dropped == 2
        assert bars.minute.tolist() == [30, 90, 90, 150]

    def test_two_times_shifted_to_one_instant_are_not_one_bar(self, write):
        file = write(
            self.text("2023-03-12 02:30", "2023-03-12 03:00").replace("0.5,1,2", "0.5,1,1")
        )
        with pytest.raises(DataError, match=r"row 2 = .*03:00 is the same instant as .*02:30"):
            load_bars(file, timezone="America/New_York", nonexistent="shift_forward")

    def test_refusals_name_the_rows_of_the_file(self, write):
        file = write(self.text(*self.WALLS))
        with pytest.raises(DataError, match=r"bars\.csv: time in data row 2 = 2023-11-05 01:30, "):
            load_bars(file, timezone="America/New_York", ambiguous="refuse")
        file = write(self.text("2023-03-12 03:30", "2023-03-12 02:30", "2023-03-12 01:30"))
        with pytest.raises(DataError, match=r"data row 2 = 2023-03-12 02:30: .*skipped"):
            load_bars(file, timezone="America/New_York")

    def test_choices(self, write):
        file = write(self.text("2023-03-12 01:30", "2023-03-12 02:30"))
        bars = load_bars(file, timezone="America/New_York", nonexistent="shift_forward")
        assert bars.minute.tolist() == [90, 180]
        file = write(self.text("2023-11-05 01:30"))
        bars = load_bars(file, timezone="America/New_York", ambiguous="later")
        assert str(bars.time.view("M8[ns]")[0])[:16] == "2023-11-05T06:30"


class TestEpoch:
    # Binance's public archive, with the header of newer files and without it as the older have.
    HEADER = (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
        "taker_buy_quote_volume,ignore\n"
    )
    ROWS = (
        "1727740800000,3.809,3.825,3.809,3.822,162058.7,1727740859999,618500.0,992,1.0,2.0,0\n"
        "1727740860000,3.822,3.827,3.816,3.818,17503.7,1727740919999,66904.2,344,1.0,2.0,0\n"
    )

    @pytest.mark.parametrize("header", [HEADER, ""])
    def test_binance_vision(self, write, header):
        bars = load_bars(write(header + self.ROWS))
        assert bars.time_text(0) == "2024-10-01 00:00"
        assert bars.session_timezone == "UTC"
        assert bars.volume.tolist() == [162058.7, 17503.7]
        assert bars.close.tolist() == [3.822, 3.818]

    @pytest.mark.parametrize("zeros", ["", "000", "000000", "000000000"])
    def test_units(self, write, zeros):
        rows = f"time,o,h,l,c\n1727740800{zeros},1,2,0.5,1\n1727740860{zeros},1,2,0.5,1\n"
        assert load_bars(write(rows)).time.tolist() == [1727740800 * 10**9, 1727740860 * 10**9]

    def test_a_change_of_unit_is_refused(self, write):
        rows = "time,o,h,l,c\n1735689540000,1,2,0.5,1\n1735689600000000,1,2,0.5,1\n"
        with pytest.raises(DataError, match=r"time in data row 2 = 1735689600000000 is in us"):
            load_bars(write(rows))

    def test_days_of_a_spreadsheet_are_refused(self, write):
        with pytest.raises(DataError, match=r"data row 1 = '45292\.375' is not a time"):
            load_bars(write("time,open,high,low,close\n45292.375,1,2,0.5,1\n"))


class TestOrder:
    def rows(self):
        return GENERIC.splitlines()[1:]

    def file(self, write, rows):
        return write("\n".join([GENERIC.splitlines()[0], *rows]))

    def test_newest_first_is_turned_round(self, write):
        bars = load_bars(self.file(write, self.rows()[::-1]))
        assert same(bars, expected())
        assert bars.report.newest_first

    @pytest.mark.parametrize("step", [1, -1])
    def test_identical_rows_are_dropped_and_counted(self, write, step):
        rows = [row for row in self.rows() for _ in range(2)][::step]
        bars = load_bars(self.file(write, rows))
        assert same(bars, expected())
        assert bars.report.identical_dropped == 3
        assert bars.report.rows_read == 6

    def test_rows_that_differ_in_an_ignored_column_only_are_identical(self, write):
        rows = [f"{row},{number}" for row in self.rows() for number in range(2)]
        bars = load_bars(write("\n".join([f"{GENERIC.splitlines()[0]},id", *rows])))
        assert same(bars, expected())

    @pytest.mark.parametrize("step", [1, -1])
    def test_one_time_with_two_rows_is_refused(self, write, step):
        rows = self.rows()
        rows.insert(2, rows[1].replace("101.0", "100.5"))
        at = 3 if step == 1 else 2
        with pytest.raises(DataError, match=rf"data row {at} = 2024-01-02 09:05 .*two rows"):
            load_bars(self.file(write, rows[::step]))

    def test_disorder_is_refused_with_its_row(self, write):
        rows = self.rows()
        disordered = [rows[1], rows[0], rows[2]]
        with pytest.raises(DataError, match="data row 2 = 2024-01-02 09:00 lies before"):
            load_bars(self.file(write, disordered))

    def test_two_files_in_one_are_refused(self, write):
        with pytest.raises(DataError, match="data row 4 = 2024-01-02 09:00 lies before"):
            load_bars(self.file(write, self.rows() * 2))


class TestRules:
    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ("102.25", "98", r"bars\.csv: high in data row 1 = 98\.0 is below low = 99\.0"),
            ("101.5,", "nan,", r"high in data row 2 = nan is no price"),
            ("101.5,", ",", r"high in data row 2 = nan is no price"),
            ("101.5,", "inf,", r"high in data row 2 = inf is no price"),
            (",31", ",-31", r"volume in data row 3 = -31\.0"),
            (",31", ",", r"volume in data row 3 = nan"),
            ("98.75", "98.7x", r"close in data row 3 = '98\.7x' is not a number"),
            ("98.75", "1_000", "is not a number"),
            ("101.0,12", "one,12", r"close in data row 1 = 'one' is not a number"),
            ("100.5,0", ",0", r"close in data row 2 = nan is no price"),
            ("98.75", "0x10", "is not a number"),
            ("09:05:00", "9h05", r"time in data row 2 = '2024-01-02 9h05' is not a time"),
            ("2024-01-02 09:05:00", "", "time in data row 2 has no value"),
            (",31", "", "Row #3: Expected 6 columns, got 5"),
            (",31", ",31,5", "Row #3: Expected 6 columns, got 7"),
        ],
    )
    def test_what_breaks_them_is_refused_with_its_row(self, write, old, new, says):
        assert old in GENERIC
        with pytest.raises(DataError, match=says):
            load_bars(write(GENERIC.replace(old, new)))

    def test_rows_of_a_file_that_runs_backwards(self, write):
        lines = GENERIC.replace("102.25", "98").splitlines()
        with pytest.raises(DataError, match="high in data row 3 = "):
            load_bars(write("\n".join([lines[0], *lines[:0:-1]])))

    def test_empty_bars(self, write):
        text = GENERIC.replace("101.0,101.5,100.0,100.5,0", ",,,,0")
        with pytest.raises(DataError, match=r'data row 2 = nan: nothing traded.*empty = "drop"'):
            load_bars(write(text))
        bars = load_bars(write(text), empty="drop")
        assert len(bars) == 2
        assert bars.report.empty_dropped == 1

    @pytest.mark.parametrize("text", ["nan", "NaN", "NA", "n/a", "null", "None", ""])
    def test_texts_that_mean_nothing(self, write, text):
        prices = ",".join([text] * 4)
        changed = GENERIC.replace("101.0,101.5,100.0,100.5,0", f"{prices},0")
        assert len(load_bars(write(changed), empty="drop")) == 2


class TestColumns:
    @pytest.mark.parametrize(
        ("header", "says"),
        [
            ("time,open,high,low,last,volume", "no column for close .*the columns are: time, open"),
            ("when,open,high,low,close,volume", "no column for time"),
            ("time,open,high,low,close,Close", "'close' and 'Close' could both be the close"),
            ("time,open,high,low,close,ticker", "names 3 instruments"),
        ],
    )
    def test_refused(self, write, header, says):
        with pytest.raises(DataError, match=says):
            load_bars(write(header + GENERIC[GENERIC.index("\n") :]))

    def test_no_bars_at_all(self, write):
        # A table that is none of bars: returns by date, without header.
        with pytest.raises(DataError, match="no column for open, high, low, close"):
            load_bars(write("2016-01-04,2.16\n2016-01-05,3.63\n"))

    def test_without_header_and_unclear(self, write):
        with pytest.raises(DataError, match="no header line"):
            load_bars(write("WIN,2024-01-02,1,2,0.5,1\nWIN,2024-01-03,1,2,0.5,1\n"))


class TestNearestDouble:
    def test_any_decimal_is_read_as_python_reads_it(self, write):
        generator = np.random.default_rng(7)
        texts = [
            f"{value:.{digits}f}"
            for digits in (2, 5, 8)
            for value in generator.uniform(1, 2e5, 400)
        ]
        texts += [repr(value) for value in generator.uniform(0.01, 1, 400).tolist()]
        whole = generator.integers(10**18, 9 * 10**18, 400)
        texts += [
            f"{number}e-{shift}"
            for number, shift in zip(whole, range(400), strict=True)
            if shift < 300
        ]
        texts += ["9007199254740993", "9007199254740992.9999999999", "0.1", "1e22", "1e23"]
        texts += ["1e-320", "5e-324", "2.2250738585072011e-308"]
        texts += ["0.500000000000000166533453693773481063544750213623046875"]
        start = np.datetime64("2000-01-01T00:00", "s")
        rows = [f"{start + n},{text},{text},{text},{text}" for n, text in enumerate(texts)]
        bars = load_bars(write("\n".join(["time,open,high,low,close", *rows])))
        values = np.array([float(text) for text in texts])
        np.testing.assert_array_equal(bars.close.view(np.int64), values.view(np.int64))

    def test_with_a_decimal_comma_too(self, write):
        texts = ["0,1", "126.340,07", "5,55", "1.234.567,891"]
        rows = [f"2024-01-0{day};{text};{text};{text};{text}" for day, text in enumerate(texts, 1)]
        bars = load_bars(write("\n".join(["time;open;high;low;close", *rows])))
        assert bars.close.tolist() == [0.1, 126340.07, 5.55, 1234567.891]

    def test_a_minus_zero_is_stored_as_zero(self, write):
        bars = load_bars(write("time,open,high,low,close\n2024-01-02,-0.0,1,-0.0,-0\n"))
        assert not np.signbit(bars.open).any()


class TestDecimalMark:
    """126.340 is a price of a hundred and of a hundred thousand: a file must say which."""

    def load(self, write, *prices, delimiter=";", **options):
        rows = [
            delimiter.join([f"2024-01-{day:02d}", *[price] * 4])
            for day, price in enumerate(prices, 1)
        ]
        header = delimiter.join(["time", "open", "high", "low", "close"])
        return load_bars(write("\n".join([header, *rows])), **options).close.tolist()

    @pytest.mark.parametrize(
        ("prices", "values"),
        [
            (("126340", "5"), [126340.0, 5.0]),
            (("126.340,00",), [126340.0]),
            (("126,340.00",), [126340.0]),
            (("126.340", "1.126.340"), [126340.0, 1126340.0]),
            (("126.340", "126.34"), [126.34, 126.34]),
            (("126,340", "126,5"), [126.34, 126.5]),
            (("0.125",), [0.125]),
            (("1234.125",), [1234.125]),
            (("1,10512",), [1.10512]),
            (("126.340", "99,5"), [126340.0, 99.5]),
            (("+1,5", "1e3"), [1.5, 1000.0]),
        ],
    )
    def test_settled_by_the_values(self, write, prices, values):
        assert self.load(write, *prices) == values

    @pytest.mark.parametrize("price", ["126.340", "126,340", "1.000"])
    def test_open_is_refused(self, write, price):
        with pytest.raises(DataError, match=rf"open in data row 1 = '{price}' .*thousands or dec"):
            self.load(write, price, "123.456".replace(".", price[-4]))

    def test_open_is_settled_by_the_caller(self, write):
        assert self.load(write, "126.340", decimal=".") == [126.34]
        assert self.load(write, "126.340", decimal=",") == [126340.0]

    def test_contradiction_is_refused(self, write):
        with pytest.raises(DataError, match=r"decimals after a point, .* after a comma"):
            self.load(write, "126340.5", "126340,5")

    @pytest.mark.parametrize("price", ["12.34,5", "1.2345,6", "1..234,5"])
    def test_thousands_that_are_none_are_refused(self, write, price):
        with pytest.raises(DataError, match=r"data row 2 = .* is not a number"):
            self.load(write, "1.234.567,5", price)

    def test_commas_between_columns_leave_the_point_to_decimals(self, write):
        assert self.load(write, "147.123", "147.456", delimiter=",") == [147.123, 147.456]
        assert self.load(write, '"126,340.00"', delimiter=",") == [126340.0]
        with pytest.raises(DataError, match="thousands or decimals"):
            self.load(write, '"126,340"', delimiter=",")

    def test_unknown_mark(self, write):
        with pytest.raises(ConfigError, match="choice for decimal"):
            self.load(write, "1", decimal="'")


MT5 = (
    "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\t\r\n"
    "2024.01.02\t09:00:00\t100.5\t102.25\t99.0\t101.0\t4\t12\t5\t\r\n"
    "2024.01.02\t09:05:00\t101.0\t101.5\t100.0\t100.5\t1\t0\t5\t\r\n"
    "2024.01.02\t09:10:00\t100.5\t100.5\t98.0\t98.75\t9\t31\t5\t\r\n"
)


class TestMetaTrader5:
    def test_plain(self, write):
        for text in (MT5, MT5.replace("\t\r\n", "\r\n"), MT5.replace("\r\n", "\n")):
            bars = load_bars(write(text))
            assert same(bars, expected())
            assert bars.report.format == "mt5"
            assert "<SPREAD>" in bars.report.ignored

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_encodings(self, write, encoding):
        bars = load_bars(write(MT5, encoding=encoding))
        assert same(bars, expected())
        assert bars.report.encoding == encoding

    @pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
    def test_utf_16_of_either_order(self, write, mark):
        body = MT5.encode("utf-16-le" if mark == b"\xff\xfe" else "utf-16-be")
        assert same(load_bars(write(mark + body)), expected())

    def test_short_times(self, write):
        assert same(load_bars(write(MT5.replace(":00\t", "\t"))), expected())

    def test_daily_files_have_no_time(self, write):
        lines = MT5.replace("<TIME>\t", "").splitlines()
        rows = [
            "\t".join([f"2024.01.{day:02d}", *row.split("\t")[2:]])
            for day, row in enumerate(lines[1:], 2)
        ]
        bars = load_bars(write("\n".join([lines[0], *rows])))
        assert bars.minute.tolist() == [0, 0, 0]
        assert bars.time_text(2) == "2024-01-04 00:00"

    def test_decimal_comma(self, write):
        header, *rows = MT5.splitlines()
        # The date, then the time, then numbers.
        rows = [row[:11] + row[11:].replace(".", ",") for row in rows]
        assert same(load_bars(write("\n".join([header, *rows]))), expected())

    def test_three_decimals_are_no_thousands(self, write):
        # USDJPY: MetaTrader never groups, so nothing is open here.
        text = MT5
        for price in ("100.5", "102.25", "99.0", "101.0", "101.5", "100.0", "98.0", "98.75"):
            text = text.replace(f"\t{price}\t", "\t147.123\t").replace(
                f"\t{price}\t", "\t147.123\t"
            )
        assert load_bars(write(text)).close.tolist() == [147.123] * 3

    @pytest.mark.parametrize("delimiter", [",", ";"])
    def test_other_delimiters(self, write, delimiter):
        text = MT5.replace("\t\r\n", "\r\n").replace("\t", delimiter)
        assert same(load_bars(write(text)), expected())

    def test_ticks_where_contracts_are_all_zero(self, write):
        bars = load_bars(write(MT5.replace("\t12\t", "\t0\t").replace("\t31\t", "\t0\t")))
        assert bars.volume.tolist() == [4.0, 1.0, 9.0]
        assert bars.report.volume_kind == "ticks"
        assert load_bars(write(MT5)).report.volume_kind == "volume"

    def test_ticks_where_there_is_no_contract_column(self, write):
        bars = load_bars(write(MT5.replace("<VOL>", "<X>")))
        assert bars.report.volume_kind == "ticks"

    def test_both_zero(self, write):
        zero = MT5
        for volumes in ("4\t12", "1\t0", "9\t31"):
            zero = zero.replace(volumes, "0\t0")
        bars = load_bars(write(zero))
        assert not bars.has_volume

    def test_dates_and_times_without_separators(self, write):
        text = MT5.replace("2024.01.02", "20240102").replace(":", "")
        assert same(load_bars(write(text)), expected())

    def test_without_a_header_that_names_the_columns(self, write):
        with pytest.raises(DataError, match="no header line"):
            load_bars(write(MT5.replace("<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>", "1\t2\t3\t4")))


PROFIT = (
    "Ativo;Data;Hora;Abertura;Máximo;Mínimo;Fechamento;Volume;Quantidade\r\n"
    "WINFUT;02/01/2024;09:10:00;126.340,00;126.500,00;126.300,00;126.450,00;1.015.474.338,60;1.031\r\n"
    "WINFUT;02/01/2024;09:05:00;126.200,00;126.400,00;126.150,00;126.340,00;974.338,60;44.286\r\n"
    "WINFUT;02/01/2024;09:00:00;126.100,00;126.250,00;126.050,00;126.200,00;15.474.338,60;54.524\r\n"
)
PROFIT_SHORT = (
    "Data;Open;High;Low;Close;Candle\r\n"
    "18/05/2022 17:50;106930;106995;106855;106965;107\r\n"
    "18/05/2022 17:45;106940;106960;106830;106935;106\r\n"
)


class TestProfit:
    def check(self, bars):
        assert bars.report.format == "profit"
        assert bars.report.newest_first
        assert bars.minute.tolist() == [540, 545, 550]
        assert bars.session_dates.tolist() == [np.datetime64("2024-01-02").item()]
        assert bars.close.tolist() == [126200.0, 126340.0, 126450.0]
        assert bars.volume.tolist() == [54524.0, 44286.0, 1031.0]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    def test_long_layout(self, write, encoding):
        bars = load_bars(write(PROFIT, encoding=encoding))
        self.check(bars)
        assert any("Windows-1252" in note for note in bars.report.notes) == (encoding == "cp1252")

    def test_contracts_are_the_volume_and_money_is_not(self, write):
        assert load_bars(write(PROFIT)).report.volume_kind == "volume"
        without = "\n".join(line.rpartition(";")[0] for line in PROFIT.splitlines())
        bars = load_bars(write(without))
        assert bars.report.volume_kind == "money"
        assert bars.volume[-1] == 1015474338.60

    def test_without_header(self, write):
        self.check(load_bars(write("".join(PROFIT.splitlines(keepends=True)[1:]))))

    def test_daily_without_header(self, write):
        prices = "126.340,00;126.500,00;126.300,00;126.450,00;974.338,60;1.031"
        rows = [f"WINFUT;{day}/01/2024;{prices}" for day in ("03", "02")]
        bars = load_bars(write("\n".join(rows)))
        assert bars.time_text(0) == "2024-01-02 00:00"
        assert bars.volume[0] == 1031.0

    def test_short_layout_without_volume(self, write):
        bars = load_bars(write(PROFIT_SHORT, encoding="utf-8-sig"))
        assert [bars.time_text(row) for row in (0, 1)] == ["2022-05-18 17:45", "2022-05-18 17:50"]
        assert bars.close.tolist() == [106935.0, 106965.0]
        assert not bars.has_volume
        assert bars.report.ignored == ("Candle",)

    def test_two_columns_for_one_are_refused(self, write):
        with pytest.raises(DataError, match="'Open' and 'Abertura' could both be the open"):
            load_bars(write(PROFIT_SHORT.replace("Candle", "Abertura")))

    def test_semicolons_alone_make_no_profit_export(self, write):
        bars = load_bars(write("2024-01-02 09:00;1,5;2,5;0,5;1,5\n"))
        assert bars.report.format == "csv"
        assert bars.high[0] == 2.5

    def test_days_come_first_even_where_that_is_open(self, write):
        text = PROFIT_SHORT.replace("18/05", "02/05")
        assert load_bars(write(text)).time_text(0) == "2022-05-02 17:45"

    def test_prices_that_could_be_thousands_or_decimals_are_refused(self, write):
        text = PROFIT_SHORT
        for price in (
            "106930",
            "106995",
            "106855",
            "106965",
            "106940",
            "106960",
            "106830",
            "106935",
        ):
            text = text.replace(price, f"{price[:3]}.{price[3:]}")
        with pytest.raises(DataError, match=r"open in data row 1 = '106\.930' could be thousands"):
            load_bars(write(text))
        assert load_bars(write(text), decimal=",").close[0] == 106935.0

    def test_several_instruments_are_refused(self, write):
        with pytest.raises(DataError, match="names 2 instruments, such as 'WDOFUT' and 'WINFUT'"):
            load_bars(write(PROFIT.replace("WINFUT", "WDOFUT", 1)))


class TestFormats:
    @pytest.mark.parametrize(
        ("text", "own"),
        [(GENERIC, "csv"), (MT5, "mt5"), (PROFIT, "profit"), (PROFIT_SHORT, "profit")],
    )
    def test_named_or_found_are_the_same(self, write, text, own):
        assert load_bars(write(text)).report.format == own
        assert same(load_bars(write(text), format=own), load_bars(write(text)))

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            (GENERIC, "mt5"),
            (GENERIC, "profit"),
            (MT5, "csv"),
            (MT5, "profit"),
            (PROFIT, "mt5"),
            (GENERIC, "parquet"),
            (GENERIC, "feather"),
        ],
    )
    def test_the_wrong_one_is_refused(self, write, text, wrong):
        with pytest.raises(DataError, match='format = "auto"'):
            load_bars(write(text), format=wrong)

    def test_the_name_of_the_file_says_nothing(self, write):
        assert same(load_bars(write(MT5, name="bars.parquet")), expected())

    @pytest.mark.parametrize("wrong", ["excel", "", "CSV", None])
    def test_unknown(self, write, wrong):
        with pytest.raises(ConfigError, match="unknown format"):
            load_bars(write(GENERIC), format=wrong)

    @pytest.mark.parametrize(
        "option", [{"empty": "fill"}, {"ambiguous": "x"}, {"nonexistent": "x"}, {"timezone": "x"}]
    )
    def test_unknown_choices_are_refused_before_the_file_is_read(self, option):
        with pytest.raises(ConfigError, match="unknown"):
            load_bars("no such file", **option)


class TestFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(ConfigError, match="does not exist"):
            load_bars(tmp_path / "bars.csv")

    def test_backslashes_are_shown_as_they_are(self):
        with pytest.raises(ConfigError) as caught:
            load_bars(r"C:\data\bars.csv")
        assert str(caught.value).startswith(r"data file 'C:\data\bars.csv' does not exist")

    def test_a_path_relative_to_a_directory(self, tmp_path):
        (tmp_path / "bars.csv").write_text("time,open,high,low,close\n2024-01-02 09:00,1,2,1,2\n")
        for path in ("bars.csv", str(tmp_path / "bars.csv")):
            assert load_bars(path, directory=tmp_path).report.path == path

    def test_directory(self, tmp_path):
        with pytest.raises(ConfigError, match="is a directory"):
            load_bars(tmp_path)

    @pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
    def test_no_path(self, path):
        with pytest.raises(ConfigError, match="data file"):
            load_bars(path)

    def test_device(self):
        with pytest.raises(ConfigError, match="no regular file"):
            load_bars("/dev/zero")

    @pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n", b"\xef\xbb\xbf", b"\xff\xfe"])
    def test_empty(self, write, content):
        with pytest.raises(DataError, match="the file is empty"):
            load_bars(write(content))

    def test_header_alone(self, write):
        for text in (
            "time,open,high,low,close\n",
            "time,open,high,low,close\n\n,,,,\n",
            MT5.splitlines()[0],
        ):
            with pytest.raises(DataError, match="no bar below it"):
                load_bars(write(text))

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"\x7fELF\x02\x01\x01\0\0\0", "NUL bytes"),
            (GENERIC.encode("utf-16-le"), "NUL bytes.*UTF-16 without a byte order mark"),
            (GENERIC.encode("utf-32"), "UTF-32"),
            (b"\xff\xfe" + GENERIC.encode("utf-16-le")[:-1], "not valid utf-16"),
            (GENERIC.encode() + b"\xe9\n", "not valid utf-8"),
            (bytes(range(1, 256)) * 4, "bars.csv"),
            (b"SQLite format 3\0", "NUL bytes"),
            (b"FEA1....", "Feather version 1"),
            (b"<html><body>404</body></html>", "no column for"),
            (b'{"code":-1121}', "no column for"),
        ],
    )
    def test_no_text_of_bars(self, write, content, says):
        with pytest.raises(DataError, match=says):
            load_bars(write(content))

    def test_s36_utf_8_of_even_length_is_not_taken_for_utf_16(self, write):
        # The predecessor tried UTF-16 first: any bytes of even length decode, to nonsense.
        for text in (GENERIC, GENERIC.rstrip()):
            assert same(load_bars(write(text)), expected())

    def test_an_endless_cell_is_refused(self, write):
        with pytest.raises(DataError, match="is not a time"):
            load_bars(write(GENERIC.replace("2024-01-02 09:05:00", "x" * 5000)))


class TestArchives:
    def test_gzip(self, write):
        assert same(load_bars(write(gzip.compress(GENERIC.encode()), "bars.csv.gz")), expected())

    def test_gzip_in_two_pieces(self, write):
        halves = gzip.compress(GENERIC[:50].encode()) + gzip.compress(GENERIC[50:].encode())
        assert same(load_bars(write(halves)), expected())

    def test_gzip_of_another_format(self, write):
        bars = load_bars(write(gzip.compress(MT5.encode("utf-16"))))
        assert same(bars, expected())

    def zipped(self, *members, method=zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, text in members:
                archive.writestr(name, text)
        return stream.getvalue()

    def test_zip(self, write):
        content = self.zipped(("folder/", ""), ("folder/bars.csv", GENERIC))
        assert same(load_bars(write(content, "bars.zip")), expected())

    @pytest.mark.parametrize(
        ("members", "says"),
        [
            ((), "holds 0 files"),
            ((("a.csv", GENERIC), ("b.csv", GENERIC)), "holds 2 files"),
            ((("[Content_Types].xml", ""), ("xl/workbook.xml", "")), "office document"),
        ],
    )
    def test_zip_of_other_things(self, write, members, says):
        content = self.zipped(*members) if members else self.zipped(("folder/", ""))
        with pytest.raises(DataError, match=says):
            load_bars(write(content))

    def test_encrypted(self, write):
        content = bytearray(self.zipped(("bars.csv", GENERIC)))
        content[6] |= 1
        content[content.rindex(b"PK\x01\x02") + 8] |= 1
        with pytest.raises(DataError, match="encrypted"):
            load_bars(write(bytes(content)))

    def test_unknown_compression(self, write):
        content = bytearray(self.zipped(("bars.csv", GENERIC)))
        struct.pack_into("<H", content, 8, 97)
        struct.pack_into("<H", content, content.rindex(b"PK\x01\x02") + 10, 97)
        with pytest.raises(DataError, match="damaged"):
            load_bars(write(bytes(content)))

    @pytest.mark.parametrize("pack", [gzip.compress, None])
    def test_damaged(self, write, pack):
        whole = pack(GENERIC.encode()) if pack else self.zipped(("bars.csv", GENERIC))
        for length in range(8, len(whole) - 1, 7):
            with pytest.raises(DataError):
                load_bars(write(whole[:length]))
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 0xFF
            try:
                bars = load_bars(write(bytes(flipped)))
            except DataError:
                continue
            assert same(bars, expected())  # a date or a name in the archive, say

    @pytest.mark.parametrize("kind", ["gzip", "zip"])
    def test_bomb(self, write, kind, monkeypatch):
        monkeypatch.setattr(_open, "_FREE_TEXT", 2**20)
        monkeypatch.setattr(_open, "_CHUNK", 2**16)
        text = GENERIC.encode() + b"\n" * 2**24
        content = gzip.compress(text) if kind == "gzip" else self.zipped(("bars.csv", text))
        with pytest.raises(DataError, match="unpack to more than"):
            load_bars(write(content))


class TestLimits:
    def test_too_much_text(self, write, monkeypatch):
        monkeypatch.setattr(_open, "MAX_TEXT", 100)
        with pytest.raises(DataError, match="use Parquet"):
            load_bars(write(GENERIC))

    def test_too_many_rows(self, write, monkeypatch):
        monkeypatch.setattr(_text, "MAX_ROWS", 2)
        with pytest.raises(DataError, match="3 rows are more than 2"):
            load_bars(write(GENERIC))


class TestTruncatedExports:
    def file(self, write, n_rows):
        start = np.datetime64("2020-01-01T00:00", "m")
        times = (start + np.arange(n_rows)).astype(str)
        return write(
            "time,open,high,low,close\n" + "\n".join(f"{time},1,2,0.5,1" for time in times)
        )

    @pytest.mark.parametrize("n_rows", [100_000, 65_000])
    def test_s35_a_round_number_of_rows_is_warned_of(self, write, n_rows):
        with pytest.warns(BacktestWarning, match=f"exactly {n_rows:,} rows"):
            bars = load_bars(self.file(write, n_rows))
        assert len(bars.report.warnings) == 1

    def test_another_number_is_not(self, write):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_bars(self.file(write, 65_001)).report.warnings == ()


def test_what_is_written_is_what_is_read(write):
    bars = synthetic_bars(n_days=40, tick_size=0.01)
    frame = bars.to_frame()
    for options in ({}, {"sep": ";", "decimal": ","}, {"sep": "\t"}):
        text = frame.to_csv(**options)
        assert same(load_bars(write(text)), bars)
        assert same(load_bars(write(text.replace("\n", "\r\n"), encoding="utf-16")), bars)


def test_reading_imports_neither_pandas_nor_numba(write, tmp_path):
    # Either takes longer to import than most files take to read.
    table = tmp_path / "bars.parquet"
    synthetic_bars(n_days=2).to_frame().to_parquet(table)
    code = f"""
import sys
from backtest_py.data import load_bars, synthetic_bars
synthetic_bars(n_days=1)
assert not {{"pyarrow", "pandas", "numba"}} & set(sys.modules)
for file in {[str(write(MT5, "a.csv")), str(write(PROFIT, "b.csv")), str(table)]!r}:
    load_bars(file)
assert not {{"pandas", "numba"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
