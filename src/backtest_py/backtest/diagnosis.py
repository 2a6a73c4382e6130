"""What a user should know of a result: no trades and why, no costs, nights held by accident."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from backtest_py.engines.base import atr_for
from backtest_py.errors import BacktestError
from backtest_py.parameters import clock_text, counted, parse_clock
from backtest_py.strategies.base import Bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from backtest_py.engines.base import Engine, Job
    from backtest_py.signals import Signals
    from backtest_py.strategies.base import Strategy, Threshold

__all__ = ["notes_of", "reason_for_no_trades"]

_DAY: Final = 86_400_000_000_000


def notes_of(job: Job, trades: Mapping[str, NDArray[Any]], engine: Engine) -> tuple[str, ...]:
    """Return what often points to a mistake in a backtest that is done, in words."""
    if len(trades["entry_bar"]) == 0:
        try:
            return (f"no trades: {reason_for_no_trades(job, engine)}",)
        except BacktestError:  # the bars are gone, as after a stream
            return ("no trades",)
    return (*_no_costs(job), *_nights(job, trades))


def _no_costs(job: Job) -> Iterator[str]:
    contract = job.contract
    if contract.fee_per_side == contract.fee_rate == contract.slippage_ticks == 0:
        yield (
            "nothing was charged: contract.fee_per_side, fee_rate and slippage_ticks are all 0, "
            "and no market trades for free"
        )


def _nights(job: Job, trades: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Say that positions were held overnight where nothing closes them, on bars within days."""
    bars = job.bars
    if job.rules.close_time or len(bars) <= len(bars.session_dates) or bars.trades_weekends:
        return
    days = [bars.wall_at(trades[name]) // _DAY for name in ("entry_bar", "exit_bar")]
    held = int(np.count_nonzero(days[0] < days[1]))
    if held:
        verb = "was" if held == 1 else "were"
        yield (
            f"{held:,} of {counted(len(days[0]), 'trade')} {verb} held overnight or longer: "
            "rules.close_time is not set; set it if positions should end with the day"
        )


def reason_for_no_trades(job: Job, engine: Engine) -> str:
    """Return the most likely reason why a backtest has no trades, in words.

    Parameters
    ----------
    job : Job
        What was asked for.
    engine : Engine
        Computes the signals of the strategy again.

    Raises
    ------
    UnsupportedError
        If the bars are gone, as after :func:`~backtest_py.run_chunked`.
    """
    signals = job.signals or engine.signals(job.bars, job.detector)
    at = np.flatnonzero(signals.side)
    inside = at[(at >= job.first) & (at < job.last)]
    if len(inside):
        return _close_before_entry(job) or _all_dropped(job, engine, signals, inside)
    found = _warm_up(job) or _window(job) or _close_before_entry(job)
    if not found and len(at):
        found = (
            f"the strategy gives {counted(len(at), 'signal')}, none of them in the range from "
            f"{job.bars.time_text(job.first)} to {job.bars.time_text(job.last - 1)}; choose "
            "another range"
        )
    return found or _thresholds(job, engine)


def _warm_up(job: Job) -> str:
    """Say that the strategy looks back further than there are bars."""
    strategy, bars = job.strategy, job.bars
    history = None if strategy is None else strategy.history()
    if strategy is None or history is None or history.bars < job.last:
        return ""
    until = "" if job.last == len(bars) else " up to the end of the range"
    lengths = {
        spec.name: getattr(strategy, spec.name)
        for spec in strategy.parameters()
        if spec.kind == "int"
    }
    what, advice = f"{strategy.name} looks back {counted(history.bars, 'bar')}, which", "give it"
    if lengths:
        longest = max(lengths, key=lambda name: lengths[name])
        what, advice = f"strategy.{longest} = {lengths[longest]:,}", "shorten it, or load"
    return f"{what} is more than there are bars: {job.last:,}{until}; {advice} more data"


def _edges(job: Job) -> tuple[int, int]:
    """Return first and last minute of the strategy's entry window; a whole day without one."""
    specs = () if job.strategy is None else job.strategy.parameters()
    clocks = {
        spec.name: parse_clock(getattr(job.strategy, spec.name))
        for spec in specs
        if spec.kind == "clock"
    }
    first, last = clocks.get("entry_start", 0), clocks.get("entry_end", 1439)
    return max(first, 0), last if last >= 0 else 1439


def _window(job: Job) -> str:
    """Say that no bar opens within the entry window."""
    minute = job.bars.minute[job.first : job.last]
    first, last = _edges(job)
    if ((minute >= first) & (minute <= last)).any():
        return ""
    clock = job.bars.session_timezone
    return (
        f"the entry window from {clock_text(first)} to {clock_text(last)} holds no bar: they open "
        f"from {clock_text(int(minute.min()))} to {clock_text(int(minute.max()))}"
        f"{f' ({clock})' if clock else ''}; move strategy.entry_start and entry_end, or correct "
        "data.timezone"
    )


def _close_before_entry(job: Job) -> str:
    """Say that positions would be closed before the first entry."""
    close, (first, _) = job.rules.close_time, _edges(job)
    if not close or parse_clock(close) > first or first == 0:
        return ""
    return (
        f"entries from {clock_text(first)}, close at {close}: a signal counts only if the next bar "
        "opens before rules.close_time; make it later, or strategy.entry_start earlier"
    )


class _Drop(NamedTuple):
    """Why signals are not traded, in words, and which."""

    words: str
    advice: str
    chosen: NDArray[np.bool_]


def _all_dropped(job: Job, engine: Engine, signals: Signals, at: NDArray[np.intp]) -> str:
    """Say why signals are there, and none of them is traded."""
    drops = []
    left = np.ones(len(at), np.bool_)
    for drop in _drops(job, engine, signals, at):
        chosen = drop.chosen & left
        left &= ~chosen
        if chosen.any():
            drops.append((int(np.count_nonzero(chosen)), drop))
    drops.sort(key=lambda item: -item[0])
    told = "; ".join(f"{count:,} {drop.words}" for count, drop in drops)
    n_left = int(np.count_nonzero(left))
    if n_left:
        told += f"{'; ' if told else ''}{n_left:,} for another reason"
    advice = f"; {drops[0][1].advice}" if drops else ""
    return f"of {counted(len(at), 'signal')} none is traded: {told}{advice}"


def _drops(job: Job, engine: Engine, signals: Signals, at: NDArray[np.intp]) -> Iterator[_Drop]:
    bars, rules = job.bars, job.rules
    entry = np.minimum(at + 1, len(bars) - 1)
    yield _Drop("come at the last bar of the data", "load later bars", at + 1 >= len(bars))
    if rules.close_time:
        late = bars.minute[entry] >= parse_clock(rules.close_time)
        overnight = bars.day[entry] != bars.day[at]
        yield _Drop(
            "come at the last bar of a day, and rules.close_time keeps none overnight",
            "let entries end earlier, or leave rules.close_time out",
            overnight,
        )
        yield _Drop(
            f"would enter at or after the close at {rules.close_time}",
            "make rules.close_time later, or entries earlier",
            late & ~overnight,
        )
    if rules.stop > 0 or rules.target > 0:
        yield _undefined_unit(job, engine, signals, at)


def _undefined_unit(job: Job, engine: Engine, signals: Signals, at: NDArray[np.intp]) -> _Drop:
    rules, unit = job.rules, np.zeros(len(at))
    words, advice = "", ""
    if rules.unit == "atr":
        atr = atr_for(engine, job.bars, rules)
        unit = unit if atr is None else atr[at]
        words = f"come before the average true range of {counted(rules.atr_period, 'bar')} is known"
        advice = f"shorten rules.atr_period = {rules.atr_period:,}, or load earlier bars"
        if rules.atr_method == "column":
            words, advice = "have no value in the column atr", "give it one at every signal"
    elif rules.unit == "strategy":
        unit = unit if signals.risk is None else signals.risk[at]
        words, advice = "come with an undefined risk", "give a risk with every signal"
    return _Drop(words, advice, np.isnan(unit))


def _thresholds(job: Job, engine: Engine) -> str:
    """Say which threshold of the strategy cuts how many bars."""
    strategy = job.strategy
    if strategy is None or job.signals is not None or not strategy.thresholds:
        return "there is no signal: the strategy goes neither long nor short on any bar"
    loose = {each.parameter: _loosest(strategy, each) for each in strategy.thresholds}

    def count(values: dict[str, Any]) -> int:
        changed = replace(cast("Any", strategy), **values)
        side = engine.signals(job.bars, changed).side[job.first : job.last]
        return int(np.count_nonzero(side))

    candidates = count(loose)
    if candidates == 0:
        return "there is no signal, whatever the thresholds of the strategy"
    passing = {
        name: count({other: loose[other] for other in loose if other != name})
        for name in loose
        if getattr(strategy, name) != loose[name]
    }
    without = {name: count({name: loose[name]}) for name in passing}
    told = ", ".join(
        f"{name} = {getattr(strategy, name)} alone lets {counted(number, 'bar')} pass"
        for name, number in sorted(passing.items(), key=lambda item: item[1])
    )
    best = max(without, key=lambda name: without[name], default="")
    advice = ""
    if best and without[best]:
        advice = f"; without strategy.{best} there would be {counted(without[best], 'signal')}"
    volume = job.bars.volume[job.first : job.last]
    if strategy.uses_volume and not volume.any():
        advice += "; all bars of the range have a volume of 0"
    return (
        f"no bar passes all thresholds of {strategy.name}: of {counted(candidates, 'bar')}, {told}"
        f"{advice}"
    )


def _loosest(strategy: Strategy, threshold: Threshold) -> Any:
    """Return the value of a threshold that lets most bars pass."""
    (spec,) = (each for each in strategy.parameters() if each.name == threshold.parameter)
    if spec.kind == "clock":
        return "23:59" if threshold.bound == Bound.AtMost else "00:00"
    limit = spec.maximum if threshold.bound == Bound.AtMost else spec.minimum
    if limit is None:
        return 1e300 if threshold.bound == Bound.AtMost else -1e300
    return int(limit) if spec.kind == "int" else float(limit)
