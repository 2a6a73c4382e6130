"""Random cases: bars on a tick grid, a strategy or own signals, rules, contract and range.

One builder serves two sources of choices: a seeded generator, by which case 4711 is the same case
everywhere and for ever, and hypothesis, which shrinks a failing case. Whatever a source answers,
the case is legal: every refusal has tests of its own elsewhere.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st

from backtest_py.errors import ConfigError
from parity import reference
from parity.reference import sum_in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtest_py.parameters import Parameter
    from backtest_py.strategies.base import Strategy

T = TypeVar("T")
MINUTE = 60 * reference.SECOND
MASK = 2**64 - 1
MOST_DRAWS = 1000

TICKS = (1.0, 0.5, 5.0, 0.01, 0.25, 0.1, 0.05, 1e-8, 0.3, 2.5, 1024.0, 2.0**-10, 1e9, 1 / 3)
SCALES = (1.0,) * 28 + (1e12, 1e-9, 1e150, 1e-160)
ZONES = (
    "America/Sao_Paulo",
    "America/New_York",
    "Asia/Kolkata",
    "Europe/London",
    "America/St_Johns",
    "Australia/Lord_Howe",
)
FIRST_DAYS = (
    "2024-01-02",
    "2023-03-10",
    "2023-11-03",
    "1970-01-01",
    "2018-11-02",
    "1969-12-30",
    "2006-10-27",
)


class Choices:
    """Where a case takes its decisions from; 0 is the simplest answer to every question."""

    def below(self, n: int) -> int:
        """Return a whole number from 0 to n-1."""
        raise NotImplementedError

    def between(self, low: int, high: int) -> int:
        """Return a whole number from low to high."""
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options, the first being the simplest."""
        return options[self.below(len(options))]

    def chance(self, parts: int, whole: int) -> bool:
        """Return true in ``parts`` of ``whole`` cases."""
        return self.below(whole) >= whole - parts


class Seeded(Choices):
    """Choices of splitmix64, the same on every machine and Python."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def below(self, n: int) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) * n) >> 64


class Drawn(Choices):
    """Choices of hypothesis."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw

    def below(self, n: int) -> int:
        return int(self.draw(st.integers(0, n - 1)))


@dataclass(frozen=True)
class Case:
    """One question to all implementations; ``side`` is None where a strategy gives signals."""

    name: str
    bars: reference.Bars
    config: dict[str, Any]
    side: list[int] | None = None
    risk: list[float] | None = None

    @property
    def kind(self) -> str:
        """Name of the strategy, or own_signals."""
        return "own_signals" if self.side is not None else str(self.config["strategy"]["name"])


def seeded_case(number: int) -> Case:
    """Return the random case of a number."""
    choices = Seeded(number * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D)
    return make_case(choices, f"case {number}", n_bars=bar_count(choices, 300))


@st.composite
def drawn_cases(draw: Any) -> Case:
    """Return a random case of hypothesis, small enough to shrink well."""
    choices = Drawn(draw)
    return make_case(choices, "drawn case", n_bars=choices.between(1, 40))


def bar_count(choices: Choices, most: int) -> int:
    """Return a number of bars: mostly dozens, at times one or hundreds."""
    if choices.chance(1, 16):
        return choices.between(1, 6)
    return choices.between(100, most) if choices.chance(1, 3) else choices.between(7, 100)


def strategy_case(strategy: type[Strategy], number: int) -> Case:
    """Return the random case of a number for any strategy, which nothing here knows by name."""
    choices = Seeded(number * 0xD1342543DE82EF95 + 0x5851F42D4C957F2D)
    market = Market(choices)
    bars = make_bars(choices, market, bar_count(choices, 300))
    if not any(bars.volume):
        bars.volume[0] = 1.0  # bars without volume are refused where a strategy looks at it
    section = {"name": strategy.name, "params": make_params(choices, strategy, bars)}
    settings = make_settings(choices, market, bars, gives_risk=strategy.gives_risk)
    return Case(f"{strategy.name} {number}", bars, {"strategy": section, **settings})


def make_case(choices: Choices, name: str, n_bars: int) -> Case:
    """Build a legal case of own signals, or of a strategy whose thresholds are aimed at."""
    market = Market(choices)
    bars = make_bars(choices, market, n_bars)
    if choices.chance(1, 4):
        side, risk = make_signals(choices, market, n_bars)
        settings = make_settings(choices, market, bars, gives_risk=risk is not None)
        return Case(name, bars, settings, side, risk)
    section = make_strategy(choices, market, bars)
    gives_risk = section["name"] == "opening_range_breakout"
    settings = make_settings(choices, market, bars, gives_risk=gives_risk)
    return Case(name, bars, {"strategy": section, **settings})


def make_settings(
    choices: Choices, market: Market, bars: reference.Bars, *, gives_risk: bool
) -> dict[str, Any]:
    """Return all sections but [strategy]."""
    config: dict[str, Any] = {
        "rules": make_rules(choices, market, bars, gives_risk=gives_risk),
        "contract": make_contract(choices, market),
    }
    if choices.chance(1, 3):
        config["metrics"] = {
            "risk_free_rate": choices.pick((0.02, -0.01, 0.5)),
            "periods_per_year": choices.pick((252.0, 365.0, 1.0)),
        }
    if choices.chance(1, 4):
        config["range"] = make_range(choices, bars)
        first, last = reference.bounds(bars, **config["range"])
        if first >= last:  # clocks that were put back can empty a range
            del config["range"]
    return config


class Market:
    """The habits of a market: its grid, its days and how its prices move."""

    def __init__(self, choices: Choices) -> None:
        self.scale = choices.pick(SCALES)
        self.tick = choices.pick(TICKS) * self.scale
        self.stretch = choices.pick((1.0,) * 7 + (1.0173,))  # a ratio-adjusted series
        self.level = choices.pick((1000, 200, 40, 23_713_500, 0, -60))
        self.swing = choices.pick((4, 3, 8, 20, 150))
        self.trend = choices.pick((0, 1, -1))
        self.flat = choices.pick((0, 1, 4))  # of 8 bars
        self.gaps = choices.pick((0, 1, 4))  # of 8 bars
        self.volume = choices.pick(("small", "zeros", "equal", "fractions", "spikes", "none"))
        self.interval = choices.pick((5, 1, 15, 30, 5, 1, 60, 7, 7, 5, 240, 1440))
        self.session = choices.pick((540, 0, 570, 1380))
        self.session_bars = choices.pick((8, 4, 12, 30, 20, 1000, 1000, 1))
        self.first_day = choices.pick(FIRST_DAYS)
        self.zone = choices.pick(ZONES) if choices.chance(1, 8) else ""
        self.has_atr = choices.chance(1, 4)

    def price(self, number: int) -> float:
        """Return the price of a tick number."""
        return reference.price_of_tick(float(number), self.tick) * self.stretch

    @property
    def step(self) -> float:
        """A usual move of one bar, in points."""
        return self.tick * self.swing / 4


def make_bars(choices: Choices, market: Market, n_bars: int) -> reference.Bars:
    """Build bars on the market's tick grid."""
    time = make_times(choices, market, n_bars)
    rows = []
    close = market.level
    for _ in range(n_bars):
        rows.append(make_bar(choices, market, close))
        close = rows[-1][3]
    opens, highs, lows, closes = (
        [market.price(k) for k in column] for column in zip(*rows, strict=True)
    )
    volume = [make_volume(choices, market) for _ in range(n_bars)]
    atr = None
    if market.has_atr:
        values = (1.0, 2.0, 0.5, float("nan"), 0.0, 1.37)
        atr = [choices.pick(values) * market.step for _ in range(n_bars)]
    return reference.Bars(time, opens, highs, lows, closes, volume, atr, market.zone)


def make_bar(choices: Choices, market: Market, before: int) -> tuple[int, int, int, int]:
    """Return the tick numbers of one bar: often flat, an elephant, or after a gap."""
    open_ = before
    if choices.chance(market.gaps, 8):
        open_ += choices.between(-market.swing, market.swing)
    if choices.chance(market.flat, 8):
        return open_, open_, open_, open_
    reach = market.swing * (3 if choices.chance(1, 6) else 1)
    close = open_ + market.trend + choices.between(-reach, reach)
    wick = market.swing if choices.chance(1, 2) else 2
    high = max(open_, close) + choices.below(wick)
    low = min(open_, close) - choices.below(wick)
    return open_, high, low, close


def make_volume(choices: Choices, market: Market) -> float:
    """Return one volume in the market's manner."""
    if market.volume == "small":
        return float(choices.below(5))
    if market.volume == "zeros":
        return float(choices.between(1, 9)) if choices.chance(1, 3) else 0.0
    if market.volume == "equal":
        return 100.0
    if market.volume == "fractions":
        return choices.below(10_000) / 700
    if market.volume == "spikes":
        return 1e18 if choices.chance(1, 12) else float(choices.between(1, 1000))
    return 0.0


def make_times(choices: Choices, market: Market, n_bars: int) -> list[int]:
    """Return opening times in days of any shape: late, short, gapped, without a session."""
    day = dt.datetime.fromisoformat(market.first_day)
    time: list[int] = []
    offset = choices.pick((0, 0, 0, 30 * reference.SECOND, 1))
    while len(time) < n_bars:
        start = market.session + (market.interval * choices.below(4) if choices.chance(1, 6) else 0)
        bars_of_day = market.session_bars - (
            choices.below(market.session_bars) if choices.chance(1, 4) else 0
        )
        midnight = reference.nanoseconds(day)
        for k in range(bars_of_day):
            if market.session_bars > 1 and choices.chance(1, 16):
                continue
            clock = midnight + (start + k * market.interval) * MINUTE + offset
            if not time or clock > time[-1]:
                time.append(clock)
            if len(time) == n_bars:
                break
        day += dt.timedelta(days=choices.pick((1, 1, 1, 3)))
    return time


def make_signals(
    choices: Choices, market: Market, n_bars: int
) -> tuple[list[int], list[float] | None]:
    """Return own signals, with a risk in half of the cases."""
    density = choices.pick((4, 2, 12, 1))
    side = [choices.pick((1, -1)) if choices.chance(1, density) else 0 for _ in range(n_bars)]
    if choices.chance(1, 2):
        return side, None
    values = (1.0, 2.0, 0.0, float("nan"), 0.77)
    return side, [choices.pick(values) * market.step for _ in range(n_bars)]


def make_strategy(choices: Choices, market: Market, bars: reference.Bars) -> dict[str, Any]:
    """Return a [strategy] section."""
    name = choices.pick(
        ("barra_elefante", "barra_elefante", "opening_range_breakout", "moving_average_cross")
    )
    start, end = make_window(choices, bars)
    if name == "opening_range_breakout":
        minutes = choices.pick((market.interval, 30, min(2 * market.interval, 1440), 1, 1440))
        return {"name": name, "params": {"range_minutes": minutes, "entry_end": end}}
    if name == "moving_average_cross":
        fast = choices.pick((2, 1, 3, 5))
        params: dict[str, Any] = {
            "fast": fast,
            "slow": fast + choices.pick((2, 1, 3, 7, 4, 1, 2, 400)),
        }
        return {"name": name, "params": {**params, "entry_start": start, "entry_end": end}}
    lookback = choices.pick((2, 1, 3, 4, 5, 8, 2, 1, 3, 4, 20, 500))
    fraction = choices.between(1, 30) / 7
    met = ratios_of_a_bar(choices, bars, lookback) or (fraction, fraction / 2, min(fraction, 1.0))
    params = {
        "min_range_mult": choices.pick((1.0, 0.5, 1.5, 0.0, 2.0, 3.0, met[0], met[0])),
        "min_volume_mult": choices.pick((0.0, 1.0, 0.5, 0.0, 0.0, 1.5, met[1], met[1])),
        "max_shadow_ratio": choices.pick((1.0, 0.5, 0.75, 0.25, 1.0, 0.4, 0.75, 0.0, met[2])),
        "lookback": lookback,
        "entry_start": start,
        "entry_end": end,
        "confirm_breakout": choices.chance(1, 2),
    }
    if not any(bars.volume):
        params["min_volume_mult"] = 0.0
    return {"name": name, "params": params}


def make_params(choices: Choices, strategy: type[Strategy], bars: reference.Bars) -> dict[str, Any]:
    """Return values of all parameters, legal together, drawn from their declarations alone."""
    for _ in range(MOST_DRAWS):
        params = {spec.name: make_value(choices, spec, bars) for spec in strategy.parameters()}
        try:
            strategy(**params)
        except ConfigError:
            continue  # a rule between parameters
        return params
    raise AssertionError(f"{strategy.name}: no legal parameters in {MOST_DRAWS} draws")


def make_value(choices: Choices, spec: Parameter, bars: reference.Bars) -> Any:
    """Return a value that a parameter accepts by itself: often its default or a limit."""
    low, high = spec.minimum, spec.maximum
    if spec.kind == "bool":
        return choices.chance(1, 2)
    if spec.kind == "choice":
        return choices.pick(spec.choices)
    if spec.kind == "clock":
        minute = max(choices.pick(bars.minute), int(low or 0))
        return choices.pick((spec.default, clock(minute), *(("",) if spec.optional else ())))
    values: list[Any] = [spec.default]
    if spec.kind == "int":
        start = -20 if low is None else int(low) + spec.above
        values += [start, start + 1, *(start + choices.below(30) for _ in range(4)), start + 100]
    if spec.kind == "float":
        start = -1.0 if low is None else low
        values += [start, *(start + choices.between(1, 20) / 7 for _ in range(4)), spec.default / 3]
        if low is not None and high is not None:
            values += [low + (high - low) * choices.below(8) / 7]
    if high is not None:
        values.append(int(high) if spec.kind == "int" else high)
    return choices.pick([value for value in values if accepts(spec, value)])


def accepts(spec: Parameter, value: Any) -> bool:
    """Tell whether a parameter accepts a value."""
    try:
        spec.check(value, section="")
    except ConfigError:
        return False
    return True


def ratios_of_a_bar(
    choices: Choices, bars: reference.Bars, lookback: int
) -> tuple[float, float, float] | None:
    """Return the three ratios of one bar, a threshold that it meets exactly; None if undefined."""
    if lookback >= len(bars.time):
        return None
    i = choices.between(lookback, len(bars.time) - 1)
    ranges = [high - low for high, low in zip(bars.high, bars.low, strict=True)]
    before = sum_in_order(ranges[i - lookback : i]), sum_in_order(bars.volume[i - lookback : i])
    if ranges[i] == 0 or 0 in before:
        return None
    shadow = (ranges[i] - abs(bars.close[i] - bars.open[i])) / ranges[i]
    return ranges[i] * lookback / before[0], bars.volume[i] * lookback / before[1], shadow


def clock(minute: int) -> str:
    """Return HH:MM."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def make_window(choices: Choices, bars: reference.Bars) -> tuple[str, str]:
    """Return an entry window: the whole day, or ends that some bars meet exactly."""
    if not choices.chance(1, 4):
        return "00:00", "23:59"
    ends = sorted(choices.pick(bars.minute) for _ in range(2))
    return clock(ends[0]), clock(ends[1])


def make_rules(
    choices: Choices, market: Market, bars: reference.Bars, *, gives_risk: bool
) -> dict[str, Any]:
    """Return a [rules] section."""
    units = ("points", "atr", "atr", "percent", *(("strategy", "strategy") if gives_risk else ()))
    methods = ("wilder", "sma", *(("column", "column") if bars.atr else ()))
    unit = choices.pick(units)
    rules: dict[str, Any] = {
        "unit": unit,
        "stop": distance(choices, market, unit) if choices.chance(5, 6) else 0.0,
        "target": distance(choices, market, unit) if choices.chance(2, 3) else 0.0,
        "trail": distance(choices, market, unit) if choices.chance(1, 3) else 0.0,
        "atr_method": choices.pick(methods),
        "atr_period": choices.pick((1, 2, 3, 5, 14, 4, 2, 400)),
        "round_to_tick": choices.chance(1, 2),
        "target_through_ticks": choices.pick((0.0, 0.0, 0.0, 1.0, 0.5, 2.0)),
        "close_time": "",
        "max_bars": choices.pick((0, 0, 0, 0, 1, 2, 3, 7, 1000)),
        "intrabar": choices.pick(("stop_first", "target_first")),
    }
    if rules["stop"] > 0 and choices.chance(1, 4):
        rules["target_r"] = choices.pick((1.0, 2.0, 0.5, 1.3))
        del rules["target"]
        if choices.chance(1, 2):
            rules["target"] = 0.0
    if choices.chance(2, 5):
        ends = (max(bars.minute), choices.pick(bars.minute), choices.pick(bars.minute), 720, 1439)
        rules["close_time"] = clock(max(1, choices.pick(ends)))
    return rules


def distance(choices: Choices, market: Market, unit: str) -> float:
    """Return a stop, target or trail of a few usual moves, in the unit."""
    moves = choices.pick((1.0, 2.0, 0.5, 1.5, 3.0, 0.25, 8.0, 0.02, 1.37))
    if unit == "points":
        return moves * market.step
    if unit == "percent":
        return 100 * moves * market.swing / (4 * max(abs(market.level), 1))
    return moves


def make_contract(choices: Choices, market: Market) -> dict[str, float]:
    """Return a [contract] section; small accounts can be ruined."""
    point_value = choices.pick((1.0, 0.2, 10.0, 0.01, 1.0, 0.2, 10.0, 1e-170))
    quantity = choices.pick((1.0, 20.0, 0.1))
    usual = market.step * point_value * quantity
    return {
        "tick_size": market.tick * choices.pick((1.0,) * 7 + (0.7,)),
        "point_value": point_value,
        "quantity": quantity,
        "fee_per_side": choices.pick((0.0, 0.25, 0.01)) * (usual / quantity),
        "fee_rate": choices.pick((0.0, 0.0, 0.0, 0.0004)),
        "slippage_ticks": choices.pick((0.0, 1.0, 0.5, 2.0, 0.3)),
        "initial_capital": choices.pick((1000.0, 100.0, 1e6, 10.0, 2.0)) * max(usual, 1e-300),
    }


def make_range(choices: Choices, bars: reference.Bars) -> dict[str, str]:
    """Return a [range] section that holds at least one bar of an ordinary clock."""
    first = choices.below((len(bars.wall) + 1) // 2)
    last = choices.between(first, len(bars.wall) - 1)
    span = {"start": wall_text(bars.wall[first] - choices.pick((0, MINUTE, 1000)))}
    if last > first:
        span["end"] = wall_text(bars.wall[last] + choices.pick((0, -MINUTE, 1000)))
    if choices.chance(1, 4):
        del span["start"]
    return {"start": "", "end": "", **span}


def wall_text(wall: int) -> str:
    """Return the wall clock as ISO text, to the microsecond."""
    return (reference.EPOCH + dt.timedelta(microseconds=wall // 1000)).isoformat(" ")
