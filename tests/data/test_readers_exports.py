"""What MetaTrader 5 and Profit export is read to the bit, and formats are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from tests.bar_texts import GENERIC, MT5, PROFIT, PROFIT_SHORT, expected, same

from backtest_py.data import load_bars
from backtest_py.errors import ConfigError, DataError


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
        with pytest.raises(ConfigError, match=r"data\.format = .*; give one of 'auto'"):
            load_bars(write(GENERIC), format=wrong)

    @pytest.mark.parametrize(
        "option", [{"empty": "fill"}, {"ambiguous": "x"}, {"nonexistent": "x"}, {"timezone": "x"}]
    )
    def test_unknown_choices_are_refused_before_the_file_is_read(self, option):
        with pytest.raises(ConfigError, match=r"is not allowed|unknown time zone"):
            load_bars("no such file", **option)
