"""Files of bars: paths, what holds no bars, archives, limits, and exports that were cut off."""

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
from tests.bar_texts import GENERIC, MT5, PROFIT, expected, same

from backtest_py.data import load_bars, synthetic_bars
from backtest_py.data.readers import _open, _text
from backtest_py.errors import BacktestWarning, ConfigError, DataError


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
        with pytest.raises(ConfigError, match="not a regular file"):
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
