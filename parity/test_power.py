"""The seeded cases are strong enough: each planted mistake changes the answer of some case.

Each mutant is the reference with one line changed to a mistake that backtesters make. A mutant
that no case exposes would be a mistake that the engines could make unnoticed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from parity import reference
from parity.cases import seeded_case
from parity.checks import TALLY
from parity.test_engines import N_CASES

FILES = ("reference", "reference_strategies", "reference_metrics")

MUTANTS = {
    "reference": {
        "a range starts after its start": ("if wall >= clock:", "if wall > clock:"),
        "true range without the gap down": (", abs(low - before))", ")"),
        "sma one bar late": ("i >= period - 1:", "i >= period:"),
        "wilder seeded from bar 0": ("tr[1 : period + 1]", "tr[0:period]"),
        "wilder reassociated": (
            "(atr[i - 1] * (period - 1) + tr[i]) / period",
            "atr[i - 1] + (tr[i] - atr[i - 1]) / period",
        ),
        "no signal on the exit bar": (
            'flat_from = trade["exit_bar"]',
            'flat_from = trade["exit_bar"] + 1',
        ),
        "an empty account trades on": ("if equity <= 0:", "if equity < 0:"),
        "ruin does not end the run": ("return trades, True", "continue"),
        "a signal survives the night": ("bars.day[e] != bars.day[i] or ", ""),
        "entry at the closing time": (
            "bars.minute[e] >= self.close_minute",
            "bars.minute[e] > self.close_minute",
        ),
        "entry without slippage": ("bars.open[e] + self.slip if", "bars.open[e] if"),
        "atr of the entry bar": (
            "unit = self.unit(self.entry, self.atr[i])",
            "unit = self.unit(self.entry, self.atr[e])",
        ),
        "percent as a product": ("abs(price) / 100", "abs(price) * 0.01"),
        "a target needs no unit": (
            '(self.rules["stop"] > 0 or self.rules["target"] > 0) and',
            'self.rules["stop"] > 0 and',
        ),
        "trailing alone needs a unit": (
            '(self.rules["stop"] > 0 or self.rules["target"] > 0) and',
            'any(self.rules[name] > 0 for name in ("stop", "target", "trail")) and',
        ),
        "r from the product of multiples": (
            'rules["target_r"] * (rules["stop"] * unit)',
            '(rules["target_r"] * rules["stop"]) * unit',
        ),
        "r from the rounded stop": (
            'rules["target_r"] * (rules["stop"] * unit)',
            'rules["target_r"] * abs(entry - self.stop)',
        ),
        "ticks rounded down without tolerance": ("price / tick + 1e-9", "price / tick"),
        "ticks rounded up without tolerance": ("price / tick - 1e-9", "price / tick"),
        "a target rounded towards the entry": (
            "self.rounded_up(target) if self.long else self.rounded_down(target)",
            "self.rounded_down(target) if self.long else self.rounded_up(target)",
        ),
        "a stop rounded towards the entry": (
            "self.stop = self.rounded_down(stop) if self.long else self.rounded_up(stop)",
            "self.stop = self.rounded_up(stop) if self.long else self.rounded_down(stop)",
        ),
        "decimal ticks as products": ("return number / m", "return number * tick"),
        "closing one bar after the time": (
            "bars.minute[j] >= self.close_minute:",
            "bars.minute[j] > self.close_minute:",
        ),
        "closing at the close": (
            'return bars.open[j] + market, "session_close", False',
            'return bars.close[j] + market, "session_close", False',
        ),
        "max_bars counts the entry bar": (
            'j == e + self.rules["max_bars"]',
            'j == e + self.rules["max_bars"] - 1',
        ),
        "a gap fills at the stop": (
            "return bars.open[j] + market, self.stop_reason(), False",
            "return self.stop + market, self.stop_reason(), False",
        ),
        "the entry's open can be a gap": (
            "if j > e and self.reaches_stop(bars.open[j]):",
            "if self.reaches_stop(bars.open[j]):",
        ),
        "a gap over the target fills at the target": (
            'return bars.open[j], "take_profit", False',
            'return self.target, "take_profit", False',
        ),
        "a target pays slippage": (
            'return self.target, "take_profit", False',
            'return self.target + market, "take_profit", False',
        ),
        "a target fills at the extreme": (
            'return self.target, "take_profit", False',
            'return best, "take_profit", False',
        ),
        "a target is touched, not traded through": (
            "price >= self.target + self.through",
            "price >= self.target",
        ),
        "a stop must be passed, long": (
            "return price <= self.stop if",
            "return price < self.stop if",
        ),
        "a stop must be passed, short": ("else price >= self.stop", "else price > self.stop"),
        "a target must be passed, long": (
            "price >= self.target + self.through",
            "price > self.target + self.through",
        ),
        "a target must be passed, short": (
            "price <= self.target - self.through",
            "price < self.target - self.through",
        ),
        "any exit is ambiguous": (
            "self.ambiguous = stopped and reached",
            "self.ambiguous = stopped or reached",
        ),
        "the optimist": (
            '(not reached or self.rules["intrabar"] == "stop_first")',
            "not reached",
        ),
        "a stop fills without slippage": (
            "return self.stop + market, self.stop_reason(), False",
            "return self.stop, self.stop_reason(), False",
        ),
        "the last bar closes before its stop": (
            "if j > e and self.reaches_stop(bars.open[j]):",
            """if j == len(bars.time) - 1:
            return bars.close[j] + market, "end_of_data", True
        if j > e and self.reaches_stop(bars.open[j]):""",
        ),
        "the end of data pays no slippage": (
            'return bars.close[j] + market, "end_of_data", True',
            'return bars.close[j], "end_of_data", True',
        ),
        "a short session runs on": (
            "if self.close_minute is not None and bars.day[j + 1] != bars.day[j]:",
            "if False:",
        ),
        "the stop trails before it is tested": (
            "closed = self.close_at(j)",
            "self.trail(j)\n            closed = self.close_at(j)",
        ),
        "the stop trails back": (
            "if stop > self.stop if self.long else stop < self.stop:",
            "if True:",
        ),
        "trailing by the signal's atr": (
            "unit = self.unit(close, self.atr[j])",
            "unit = self.unit(close, self.atr[self.i])",
        ),
        "trailing by a share of the entry": (
            "unit = self.unit(close, self.atr[j])",
            "unit = self.unit(self.entry, self.atr[j])",
        ),
        "trailing off the grid": (
            "        stop = self.rounded_down(stop) if self.long else self.rounded_up(stop)\n",
            "",
        ),
        "trailing is called stop_loss": ("self.moved = True", "pass"),
        "the last stop is reported": (
            "at_close, first_stop)\n            self",
            "at_close, self.stop)\n            self",
        ),
        "fees of one side": ('2 * contract["fee_per_side"]', 'contract["fee_per_side"]'),
        "negative prices earn fees": ("(abs(entry) + abs(price))", "(entry + price)"),
        "money reassociated": (
            "points * point_value * quantity - fees",
            "points * (point_value * quantity) - fees",
        ),
        "excursions of the whole exit bar": ("j + 1 if at_close else j", "j + 1"),
        "excursions without the exit bar": ("j + 1 if at_close else j", "j"),
        "excursions without the exit price": (
            "excursions = [0.0, points]",
            "excursions = [0.0]",
        ),
    },
    "reference_strategies": {
        "the bar is compared with itself": (
            "range(i - lookback, i):",
            "range(i - lookback + 1, i + 1):",
        ),
        "one bar more of warm-up": (
            "range(lookback, len(ranges))",
            "range(lookback + 1, len(ranges))",
        ),
        "a range must exceed its multiple": (
            '< params["min_range_mult"]:',
            '<= params["min_range_mult"]:',
        ),
        "means instead of quotients": (
            "quotient(size * lookback, prior_sum(ranges, i, lookback))",
            "quotient(size, prior_sum(ranges, i, lookback) / lookback)",
        ),
        "a volume must exceed its multiple": (
            'relative >= params["min_volume_mult"]',
            'relative > params["min_volume_mult"]',
        ),
        "no volume at all passes": (
            'not relative >= params["min_volume_mult"]',
            'relative < params["min_volume_mult"]',
        ),
        "the shadow must stay below its share": (
            '> params["max_shadow_ratio"]:',
            '>= params["max_shadow_ratio"]:',
        ),
        "the window's end is outside": (
            '<= bars.minute[i] <= minute_of(params["entry_end"])',
            '<= bars.minute[i] < minute_of(params["entry_end"])',
        ),
        "the window's start is outside": (
            'minute_of(params["entry_start"]) <= bars',
            'minute_of(params["entry_start"]) < bars',
        ),
        "confirmed on the next day": ("bars.day[i + 1] != bars.day[i] or ", ""),
        "confirmed outside the window": (" or not in_window(bars, i + 1, params)", ""),
        "confirmed by a touch": (
            "bars.high[i + 1] > bars.high[i]",
            "bars.high[i + 1] >= bars.high[i]",
        ),
        "one bar more of opening range": (
            "if bars.minute[i] >= opening_end:",
            "if bars.minute[i] > opening_end:",
        ),
        "a touch of the range is a breakout": (
            "if bars.close[i] > top or bars.close[i] < bottom:",
            "if bars.close[i] >= top or bars.close[i] <= bottom:",
        ),
        "every breakout of a day counts": (
            "                break\n    return side, risk",
            "                continue\n    return side, risk",
        ),
        "risk to the other side of the close": (
            "risk[i] = top - bottom",
            "risk[i] = abs(bars.close[i] - bottom)",
        ),
        "equal means do not count, up": ("fast_before <= slow_before", "fast_before < slow_before"),
        "equal means do not count, down": (
            "fast_before >= slow_before",
            "fast_before > slow_before",
        ),
        "a cross without a bar before": ("range(slow, len(side))", "range(slow - 1, len(side))"),
        "means from the last bar backwards": (
            "prior_sum(values, i + 1, length) / length",
            "prior_sum(values[: i + 1][::-1], length, length) / length",
        ),
    },
    "reference_metrics": {
        "a negative zero is stored": ("return value + 0.0", "return value"),
        "population variance": ("/ (count - 1)", "/ count"),
        "rounding is variance": ("value > 1e-9 * (squares / count)", "value > 0"),
        "a zero trade continues a streak": (
            "if value * sign > 0 else 0",
            "if value * sign >= 0 else 0",
        ),
        "days with a trade alone": (
            "{bars.day[i] for i in range(chosen.first, chosen.last)}",
            "set()",
        ),
        "no days after the range": ('days |= {bars.day[row["exit_bar"]] for row in rows}', "pass"),
        "days after the ruin": ("if ruined:", "if False:"),
        "every trade a day": (
            'if t > 0 and day > bars.day[rows[t - 1]["exit_bar"]]:',
            "if t > 0:",
        ),
        "returns on the initial capital": ("self.equity_before_day = self.equity\n", "pass\n"),
        "idle days are no downside": ("idle * m * m", "0.0"),
        "idle days miss a negative rate": (
            "m = min(-account.risk_free, 0.0)",
            "m = -account.risk_free",
        ),
        "percent before the quotient": (
            "total_pct = 100 * account.total / capital",
            "total_pct = account.total / capital * 100",
        ),
        "years before the return": (
            "annual_pct = total_pct * periods / n",
            "annual_pct = total_pct * (periods / n)",
        ),
        "exposure by bars held and one": (
            "held / n_bars",
            "(held + trades) / n_bars",
        ),
        "no loss, no factor": ("if wins > 0 and losses == 0:", "if False:"),
        "the drawdown forgets the start": (
            "self.peak = max(self.peak, self.equity)",
            "self.peak = self.equity if self.squares == pnl * pnl else max(self.peak, self.equity)",
        ),
        "downside against zero": ("x = r - self.risk_free", "x = r"),
        "sharpe without its rate": ("/ n - account.risk_free", "/ n"),
        "total from the equity": (
            '"total_return": account.total',
            '"total_return": account.equity - capital',
        ),
        "squares of the sum": ("total * total / count", "total / count * total"),
    },
}
NAMES = [(file, name) for file, mutants in MUTANTS.items() for name in mutants]


def source(file):
    return Path(reference.__file__).with_name(f"{file}.py").read_text(encoding="utf-8")


def mutant(file, old, new):
    """Return the reference with one text replaced."""
    modules = {}
    for name in FILES:
        text = source(name)
        if name == file:
            assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
            text = text.replace(old, new)
        modules[name] = ModuleType(f"parity.{name}")
        exec(compile(text, f"mutant of {name}.py", "exec"), modules[name].__dict__)
    changed = modules["reference"]
    changed.strategies = modules["reference_strategies"]
    changed.compute_metrics = modules["reference_metrics"].compute_metrics
    changed.stored = modules["reference_metrics"].stored
    return changed


@cache
def question(number):
    return seeded_case(number)


@cache
def right_answer(number):
    case = question(number)
    return shown(reference.run(case.bars, case.config, case.side, case.risk))


def shown(result):
    """Return the answer as text, in which every bit of a number shows."""
    return repr((result.side, result.risk, result.trades, result.metrics))


def exposed_by(changed):
    """Return the first case that a mutant answers wrongly."""
    for number in range(N_CASES):
        case = question(number)
        try:
            answer = shown(changed.run(case.bars, case.config, case.side, case.risk))
        except (ArithmeticError, IndexError, ValueError):
            return number
        if answer != right_answer(number):
            return number
    return None


@pytest.mark.parametrize(("file", "name"), NAMES, ids=[name for _, name in NAMES])
def test_planted_mistake_is_exposed(file, name):
    number = exposed_by(mutant(file, *MUTANTS[file][name]))
    assert number is not None, f"none of {N_CASES} cases exposes: {name}"
    TALLY["planted mistakes exposed"] += 1
