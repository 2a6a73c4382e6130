"""Text files of bars: times, numbers, columns are read to the bit, and what is unclear refused."""

from __future__ import annotations

import numpy as np
import pytest
from tests.bar_texts import GENERIC, expected, same

from backtest_py.data import load_bars, synthetic_bars
from backtest_py.errors import ConfigError, DataError


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
            ("2024-01-02T12:0{}:00.5+0000", "Asia/Tokyo"),
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
        with pytest.raises(ConfigError, match=r"data\.decimal = .* is not allowed"):
            self.load(write, "1", decimal="'")


def test_what_is_written_is_what_is_read(write):
    bars = synthetic_bars(n_days=40, tick_size=0.01)
    frame = bars.to_frame()
    for options in ({}, {"sep": ";", "decimal": ","}, {"sep": "\t"}):
        text = frame.to_csv(**options)
        assert same(load_bars(write(text)), bars)
        assert same(load_bars(write(text.replace("\n", "\r\n"), encoding="utf-16")), bars)
