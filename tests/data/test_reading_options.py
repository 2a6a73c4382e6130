"""Options of reading: declared once, the same in Python, in TOML, on the command line."""

from __future__ import annotations

import inspect
import json

import pandas as pd
import pytest

import backtest_py as bt
from backtest_py.bars import Bars, ReadOptions
from backtest_py.config import Config
from backtest_py.data import load_bars, synthetic_bars
from backtest_py.data.source import source_of
from backtest_py.provenance import canonical_json, sha256

DEFAULTS = {spec.name: spec.default for spec in ReadOptions.parameters()}
HEADER = "time,open,high,low,close,volume\n"
OPEN = HEADER + "01/03/2023 09:00,1,2,0.5,1,1\n01/03/2023 09:05,1,2,0.5,1,1\n"


class TestOneDeclaration:
    def test_load_bars_takes_each(self):
        taken = inspect.signature(load_bars).parameters
        assert {name: taken[name].default for name in DEFAULTS} == DEFAULTS
        assert set(taken) - set(DEFAULTS) == {"path", "directory"}

    def test_the_configuration_takes_each(self, tmp_path, write_toml):
        config = Config.load(write_toml(""))
        assert config.data.to_mapping() == {**DEFAULTS, "path": "bars.csv"}

    def test_inspect_takes_each(self, cli):
        shown = cli("inspect", "--help").out
        assert [name for name in DEFAULTS if f"--{name.replace('_', '-')}" not in shown] == []

    def test_bars_note_how_they_are_read_again(self, write):
        file = write(OPEN)
        options = {**DEFAULTS, "dayfirst": True, "decimal": ".", "nonexistent": "shift_forward"}
        assert source_of(load_bars(file, **options)) == {**options, "path": str(file)}
        assert source_of(synthetic_bars(n_days=1)) == {}

    def test_the_noted_path_is_full_whatever_it_was_relative_to(self, write):
        file = write(OPEN)
        bars = load_bars(file.name, directory=file.parent, dayfirst=True)
        assert bars.report.path == file.name
        assert source_of(bars)["path"] == str(file)


class TestDayFirst:
    @pytest.mark.parametrize("mark", ["/", "-", "."])
    @pytest.mark.parametrize("order", [1, -1])
    def test_says_what_no_row_tells(self, write, mark, order):
        rows = [f"0{day}{mark}03{mark}2023,1,2,0.5,1,1" for day in (1, 2, 3)][::order]
        bars = load_bars(write(HEADER + "\n".join(rows)), dayfirst=True)
        assert bars.session_dates.astype(str).tolist() == ["2023-03-01", "2023-03-02", "2023-03-03"]

    def test_with_date_and_time_of_day_apart(self, write):
        text = OPEN.replace("time,", "date,time,").replace(" ", ",")
        assert load_bars(write(text), dayfirst=True).time_text(1) == "2023-03-01 09:05"

    def test_dates_with_the_year_first_need_it_not(self, write):
        text = OPEN.replace("01/03/2023", "2023-01-03")
        assert load_bars(write(text), dayfirst=True).time_text(0) == "2023-01-03 09:00"

    def test_without_it_an_open_question_is_refused(self, write, cli, write_toml):
        file = write(OPEN)
        with pytest.raises(bt.DataError, match=r"row 1 = '01/03/2023 09:00' could be .*dayfirst"):
            load_bars(file)
        assert "--dayfirst" in cli("inspect", file).err
        assert "dayfirst = true" in cli("run", write_toml("")).err

    def test_in_the_configuration_and_on_the_command_line(self, write, cli, write_toml):
        file = write(OPEN)
        assert "2023-03-01 09:00" in cli("inspect", file, "--dayfirst").out
        config = write_toml('[data]\npath = "bars.csv"\ndayfirst = true\n')
        assert Config.load(config).load_bars().time_text(0) == "2023-03-01 09:00"

    @pytest.mark.parametrize("value", ["true", "yes", 1, None])
    def test_is_true_or_false(self, write, value):
        with pytest.raises(bt.ConfigError, match=r"data\.dayfirst = .*give true or false"):
            load_bars(write(OPEN), dayfirst=value)

    def test_the_error_says_which_reading_keeps_the_rows_in_order(self, write):
        row = "{}/2023,1,2,0.5,1,1\n".format
        for dates, first in (
            (("11/03", "12/03", "01/04"), "day"),
            (("03/11", "03/12", "04/01"), "month"),
        ):
            file = write(HEADER + "".join(map(row, dates)))
            with pytest.raises(bt.DataError, match=f"in order only with the {first} first"):
                load_bars(file)

    def test_dates_that_cannot_be_so_are_refused(self, write):
        text = OPEN.replace("01/03/2023 09:05", "01/31/2023 09:05")
        with pytest.raises(bt.DataError, match=r"row 2 = '01/31/2023 09:05' cannot start with"):
            load_bars(write(text), dayfirst=True)

    @pytest.mark.parametrize(
        ("date", "first", "note"),
        [
            ("13/03/2023", "2023-03-01 09:00", "start with the day, as '13/03/2023 09:05' shows"),
            ("01/13/2023", "2023-01-03 09:00", "start with the month, as '01/13/2023 09:05' shows"),
        ],
    )
    def test_a_row_that_settles_it_is_noted(self, write, date, first, note):
        bars = load_bars(write(OPEN.replace("01/03/2023 09:05", f"{date} 09:05")))
        assert bars.time_text(0) == first
        assert note in bars.report.notes[0]

    def test_points_of_seconds_are_no_points_between_days_and_months(self, write):
        text = OPEN.replace("09:00", "09:00:00.5").replace("09:05", "09:05:00.5")
        with pytest.raises(bt.DataError, match="dayfirst"):
            load_bars(write(text))

    def test_of_a_frame(self):
        prices = {name: [1.0, 1.0] for name in ("open", "high", "low", "close")}
        frame = pd.DataFrame({"time": ["01/03/2023", "02/03/2023"], **prices})
        assert Bars.from_frame(frame, dayfirst=True).time_text(1) == "2023-03-02 00:00"
        with pytest.raises(bt.DataError, match="dayfirst=True"):
            Bars.from_frame(frame)

    @pytest.mark.parametrize("suffix", ["parquet", "feather"])
    def test_of_texts_in_binary_files(self, tmp_path, suffix):
        prices = {name: [1.0, 1.0] for name in ("open", "high", "low", "close")}
        frame = pd.DataFrame({"time": ["01/03/2023", "02/03/2023"], **prices})
        file = tmp_path / f"bars.{suffix}"
        getattr(frame, f"to_{suffix}")(file)
        assert load_bars(file, dayfirst=True).time_text(1) == "2023-03-02 00:00"

    def test_a_range_is_not_told_of_an_option_that_it_has_not(self):
        with pytest.raises(bt.ConfigError, match=r"range\.start = '01/02/2023'") as caught:
            synthetic_bars(n_days=1).bounds("01/02/2023")
        assert "dayfirst" not in str(caught.value)


class TestSweepsReadTheirBarsAgain:
    GRID = {"rules.stop": [1.0, 2.0]}  # noqa: RUF012 - never changed

    def sweep(self, bars, out):
        return bt.sweep(bars, "barra_elefante", self.GRID, out=out, gate=None, engine="numba")

    def test_with_every_option_that_changes_them(self, write, tmp_path):
        frame = synthetic_bars(n_days=4).to_frame()
        frame.index = frame.index.strftime("%d/%m/%Y %H:%M")
        file = write(frame.to_csv(sep=";", decimal=","))
        bars = load_bars(file, decimal=",", dayfirst=True, timezone="America/Sao_Paulo")
        made = self.sweep(bars, tmp_path / "out")
        again = bt.open_sweep(tmp_path / "out").replay(1)
        assert again.metrics.to_mapping() == made.replay(1).metrics.to_mapping()
        assert again.job.bars.content_hash == bars.content_hash

    @pytest.mark.parametrize(
        "noted",
        [
            {"timezone": "UTC", "session_timezone": "UTC"},
            {"timezone": "", "session_timezone": ""},
            {"timezone": "Asia/Tokyo", "session_timezone": "", "decimal": "auto"},
        ],
    )
    def test_from_before_a_columns_zone_was_the_sessions(self, tmp_path, noted):
        frame = synthetic_bars(n_days=4).to_frame().tz_localize("America/Sao_Paulo")
        frame.to_parquet(tmp_path / "bars.parquet")
        bars = load_bars(tmp_path / "bars.parquet", session_timezone="UTC")
        self.sweep(bars, tmp_path / "out")
        file = tmp_path / "out" / "manifest.json"
        manifest = json.loads(file.read_text())
        path = str(tmp_path / "bars.parquet")
        manifest["data"] = {"path": path, "format": "parquet", "empty": "refuse", **noted}
        del manifest["checksum"]
        manifest["checksum"] = sha256(canonical_json(manifest))
        file.write_text(json.dumps(manifest))
        assert bt.open_sweep(tmp_path / "out").replay(0).job.bars.session_timezone == "UTC"
