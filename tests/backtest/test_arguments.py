"""Arguments of the wrong kind and misspelt names: refused in words, with what to do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from datetime import date

import numpy as np
import pytest

import backtest_py as bt

SETTINGS = (bt.ExitRules, bt.Contract, bt.MetricSettings, bt.BarraElefante)


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=5)


@pytest.fixture(params=["run", "run_signals"])
def run(request):
    """Run on bars and settings, in one of both ways."""

    def call(bars, *settings, **options):
        if request.param == "run":
            return bt.run(bars, bt.BarraElefante(), *settings, **options)
        return bt.run_signals(bars, np.zeros(545, np.int8), *settings, **options)

    return call


class TestWrongKinds:
    def test_a_frame_is_no_bars(self, run, bars):
        with pytest.raises(
            bt.ConfigError, match=r"bars is DataFrame, not bt\.Bars; .*bt\.Bars\.from_frame"
        ):
            run(bars.to_frame())

    def test_a_path_is_no_bars(self, run):
        with pytest.raises(bt.ConfigError, match=r"bars is str, .*bt\.load_bars\(path\)"):
            run("WIN_M5.csv")

    def test_a_function_never_sees_what_is_no_bars(self, bars):
        with pytest.raises(bt.ConfigError, match="bars is DataFrame"):
            bt.run(bars.to_frame(), pytest.fail)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"rules": {"stop": 2.0}}, r"rules is dict, .*give bt\.ExitRules\(\*\*rules\)"),
            ({"rules": {}}, r"rules is dict"),
            ({"contract": {}}, r"contract is dict, .*bt\.Contract\(\*\*contract\)"),
            ({"metrics": {}}, r"metrics is dict, .*bt\.MetricSettings\(\*\*metrics\)"),
            ({"metrics": 365}, r"metrics is int, .*give bt\.MetricSettings\(\.\.\.\)"),
            ({"rules": bt.ExitRules}, r"rules is the class ExitRules, .*bt\.ExitRules\(\.\.\.\)"),
            ({"rules": bt.MetricSettings()}, r"rules is MetricSettings, not bt\.ExitRules"),
        ],
    )
    def test_settings_of_another_class(self, run, bars, settings, words):
        with pytest.raises(bt.ConfigError, match=words):
            run(bars, **settings)

    def test_rules_and_contract_in_the_wrong_order(self, run, bars):
        with pytest.raises(bt.ConfigError, match=r"rules is Contract.*the rules come first"):
            run(bars, bt.Contract(tick_size=5), bt.ExitRules())
        with pytest.raises(bt.ConfigError, match=r"contract is ExitRules.*the rules come first"):
            run(bars, None, bt.ExitRules())

    @pytest.mark.parametrize(
        "span",
        ["2019-01-03", ("2019-01-03",), ["2019-01-03"], (), 2019, ("2019-01-03",) * 3, date.max],
    )
    def test_a_range_is_a_pair(self, run, bars, span):
        with pytest.raises(bt.ConfigError, match=r"range = .* give its start and end, None where"):
            run(bars, range=span)

    @pytest.mark.parametrize("start", [1, 1.5, True, b"2019-01-03", object(), ["2019-01-03"], {}])
    def test_a_range_is_of_times(self, run, bars, start):
        with pytest.raises(bt.ConfigError, match=r"range\.start = .* is not a time; give a date"):
            run(bars, range=(start, None))

    @pytest.mark.parametrize(
        "span",
        [("2019-01-03", None), ["2019-01-03", ""], (date(2019, 1, 3), np.datetime64("2030-01-01"))],
    )
    def test_ranges_that_are_right(self, run, bars, span):
        assert run(bars, range=span, contract=bt.Contract(tick_size=5)).job.first == 109


class TestMisspeltNames:
    @pytest.mark.parametrize(
        ("kind", "name", "meant"),
        [
            (bt.ExitRules, "stp", "stop"),
            (bt.Contract, "ticksize", "tick_size"),
            (bt.MetricSettings, "period_per_year", "periods_per_year"),
            (bt.BarraElefante, "lookbak", "lookback"),
        ],
    )
    def test_the_nearest_name_is_offered(self, kind, name, meant):
        words = f"unknown argument of {kind.__name__} '{name}'; did you mean '{meant}'"
        with pytest.raises(bt.ConfigError, match=words):
            kind(**{name: 1})

    def test_it_is_a_type_error_too(self):
        """Whoever catches what Python raises for an unknown argument goes on doing so."""
        with pytest.raises(TypeError, match="did you mean 'stop'"):
            bt.ExitRules(stp=2.0)
        with pytest.raises(TypeError, match="did you mean 'stop'"):
            dataclasses.replace(bt.ExitRules(), stp=2.0)

    def test_a_value_without_a_name(self):
        with pytest.raises(
            bt.ConfigError, match=r"Contract was given 5 without a name; .*Contract\(tick_size="
        ):
            bt.Contract(5)

    def test_attributes_of_the_class_are_no_arguments(self):
        with pytest.raises(bt.ConfigError, match="unknown argument of BarraElefante 'name'"):
            bt.BarraElefante(name="mine")

    @pytest.mark.parametrize("kind", SETTINGS)
    def test_settings_are_still_dataclasses(self, kind):
        first = next(iter(kind.parameters()))
        settings = kind(**{first.name: 1.5 if first.kind == "float" else first.default})
        assert dataclasses.replace(settings) == settings == copy.deepcopy(settings)
        assert pickle.loads(pickle.dumps(settings)) == settings
        assert list(inspect.signature(kind).parameters) == [item.name for item in kind.parameters()]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(settings, first.name, 2.0)

    def test_a_class_of_positional_fields_keeps_them(self):
        @dataclasses.dataclass(frozen=True)
        class Open(bt.MetricSettings):
            extra: int = 0

        assert Open(5).extra == 5
