"""The parity gate: what it looks at, what it lets pass and refuses, and when it need not ask."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import backtest_py as bt
from backtest_py.engines import resolve
from backtest_py.engines.base import EngineOutput
from backtest_py.errors import BacktestWarning, EngineUnavailableError, ParityError
from backtest_py.records import METRICS
from backtest_py.strategies.base import get_strategy
from backtest_py.strategies.user import function_strategy
from backtest_py.sweep.gate import gate, sample, verdicts
from backtest_py.sweep.gate.gate import gate_text, pass_gate
from backtest_py.sweep.result.result import open_sweep
from backtest_py.sweep.run import sweep
from backtest_py.sweep.space.sample import Sample
from backtest_py.sweep.spec import SweepSpec

AXES = {
    "strategy.min_range_mult": [1.0, 1.5, 2.0],
    "strategy.lookback": {"min": 5, "max": 30},
    "rules.stop": [0.25, 0.5, 1.0],
    "rules.target": [0.25, 0.5, 1.0, 2.0],
    "rules.trail": [0, 1],
}
EXITS = ("rules.stop", "rules.target", "rules.trail")


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=60)


@pytest.fixture(scope="module")
def rust():
    return resolve("rust")[0]


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    """Keep verdicts apart from those of the user, and return where."""
    directory = tmp_path / "cache" / "parity"
    monkeypatch.setattr(verdicts, "cache_directory", lambda kind: directory.parent / kind)
    return directory


def ask(bars, axes=None, strategy=None, rules=None, **options):
    return SweepSpec.of(
        bars,
        strategy or bt.BarraElefante(),
        AXES if axes is None else axes,
        rules=rules or bt.ExitRules(close_time="13:30"),
        contract=bt.Contract(tick_size=5.0),
        **options,
    )


def looked_at(verdict):
    return [combo_id for ids in verdict["sample"].values() for combo_id in ids]


class Altered:
    """The Rust engine, but what it answers passes through functions first."""

    name = "rust"

    def __init__(self, engine, run=None, swept=None):
        self._engine, self._run, self._swept = engine, run, swept
        self.build = {**engine.build, "altered": "yes"}

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def run(self, job):
        output = self._engine.run(job)
        return self._run(output) if self._run else output

    def sweep_plan(self, *arguments, **options):
        plan = self._engine.sweep_plan(*arguments, **options)
        return AlteredPlan(plan, self._swept) if self._swept else plan


class AlteredPlan:
    def __init__(self, plan, swept):
        self._plan, self._swept = plan, swept

    def __getattr__(self, name):
        return getattr(self._plan, name)

    def evaluate(self, *arguments):
        return self._swept(self._plan.evaluate(*arguments))

    def evaluate_each(self, *arguments):
        return self._swept(self._plan.evaluate_each(*arguments))


def with_metric(name, change):
    """Return a function that changes one metric of a run, or of all rows of a sweep."""

    def alter(given):
        metrics = (given.metrics if isinstance(given, EngineOutput) else given).copy()
        changed = metrics if isinstance(given, EngineOutput) else metrics[0]
        changed[METRICS.index(name)] = change(changed[METRICS.index(name)])
        return replace(given, metrics=metrics) if isinstance(given, EngineOutput) else metrics

    return alter


def with_trade(change):
    """Return a function that changes the third trade of a run in place."""

    def alter(output):
        trades = {name: column.copy() for name, column in output.trades.items()}
        if len(trades["side"]) > 2:
            change(trades)
        return replace(output, trades=trades)

    return alter


# --- what it lets pass ---------------------------------------------------------------------


def test_both_engines_agree_bit_for_bit_and_the_verdict_says_on_what(bars, rust):
    job = ask(bars)
    verdict = pass_gate(job, rust)
    assert verdict["verdict"] == "agreed"
    assert verdict["bit_for_bit"] is True
    assert verdict["largest_difference"] == 0.0
    assert verdict["first_difference"] == ""
    assert verdict["n_combos"] >= 64
    assert verdict["n_trades"] > 1_000
    assert set(verdict["builds"]) == {"numba", "rust"}
    assert json.loads(json.dumps(verdict, allow_nan=False)) == verdict
    text = gate_text(verdict)
    assert text.startswith(f"parity gate: both engines agree on {verdict['n_combos']} combinations")
    assert "bit for bit" in text


def test_strata_are_corners_random_and_the_most_ambiguous(bars, rust):
    job = ask(bars)
    verdict = pass_gate(job, rust)
    strata = verdict["sample"]
    assert list(strata) == ["corners", "random", "ambiguous"]
    numbers = looked_at(verdict)
    assert len(numbers) == len(set(numbers)) == verdict["n_combos"]
    assert {0, job.grid.size - 1} <= set(strata["corners"])
    assert len(strata["ambiguous"]) == 16
    assert len(strata["random"]) >= 16
    everything = sweep(bars, grid=AXES, rules=job.grid.rules, contract=job.grid.contract)
    ambiguous = everything.table(["combo_id", "ambiguous_trades"]).to_pandas()
    ambiguous = ambiguous.set_index("combo_id")["ambiguous_trades"]
    assert ambiguous.loc[strata["ambiguous"]].min() >= ambiguous.quantile(0.95) > 0


def test_random_combinations_are_spread_over_the_grid(bars):
    axes = {**AXES, "strategy.max_shadow_ratio": {"start": 0.0, "stop": 1.0, "step": 0.01}}
    axes |= {"strategy.min_volume_mult": {"start": 0.0, "stop": 3.0, "step": 0.1}}
    spec = ask(bars, axes)
    grid, drawn = spec.grid, sample.draw(spec, 7)
    digits = grid.digit_rows(drawn.combo_ids[drawn.n_corners :])
    for axis, length in enumerate(grid.shape):
        low, high = digits[:, axis].min(), digits[:, axis].max()
        assert low <= 0.3 * (length - 1) < 0.7 * (length - 1) <= high, grid.keys[axis]


def test_the_sample_depends_on_the_grid_alone(bars, rust):
    one, two = (pass_gate(ask(bars), rust, threads=n) for n in (1, 2))
    assert two["reused"]
    other = pass_gate(ask(bt.synthetic_bars(n_days=61)), rust, threads=2)
    assert not other["reused"]
    assert other["sample"]["corners"] == one["sample"]["corners"] == two["sample"]["corners"]
    job = ask(bars)
    assert np.array_equal(sample.draw(job, 3).combo_ids, sample.draw(ask(bars), 3).combo_ids)
    assert not np.array_equal(sample.draw(job, 3).combo_ids, sample.draw(job, 4).combo_ids)


def test_all_combinations_are_looked_at_where_there_are_few(bars, rust):
    verdict = pass_gate(ask(bars, {"strategy.lookback": [5, 10, 20], "rules.stop": [1, 2]}), rust)
    assert sorted(looked_at(verdict)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "axes",
    [
        {"rules.stop": {"start": 0.1, "stop": 2.0, "step": 0.01}},
        {"strategy.lookback": {"min": 2, "max": 200}},
        {"contract.slippage_ticks": {"start": 0, "stop": 10, "step": 0.1}},
    ],
    ids=["rules", "strategy", "contract"],
)
def test_grid_of_one_section(bars, rust, axes):
    assert pass_gate(ask(bars, axes), rust)["n_combos"] == 64


def test_only_what_where_admits_and_the_settings_allow_is_looked_at(bars, rust):
    axes = {
        **AXES,
        "strategy.entry_start": {"start": "09:00", "stop": "17:00", "step": "00:10"},
        "strategy.entry_end": {"start": "09:00", "stop": "17:00", "step": "00:10"},
    }
    where = "strategy.entry_start >= '16:30' and rules.stop == 1.0 and strategy.lookback == 7"
    job = ask(bars, axes, where=where, invalid="skip")
    verdict = pass_gate(job, rust)
    assert job.grid.size > 1_000_000
    admitted = job.grid.count()
    assert verdict["n_combos"] == min(64, admitted)
    for combo_id in looked_at(verdict):
        values = job.grid.values(combo_id)
        assert "16:30" <= values["strategy.entry_start"] <= values["strategy.entry_end"]
        assert (values["rules.stop"], values["strategy.lookback"]) == (1.0, 7)


def test_needle_in_a_large_grid(bars, rust):
    axes = {**AXES, "strategy.min_volume_mult": {"start": 0.0, "stop": 3.0, "step": 0.001}}
    where = (
        "strategy.min_volume_mult == 1.234 and strategy.lookback == 29 and rules.target == 2.0 "
        "and strategy.min_range_mult == 2.0"
    )
    job = ask(bars, axes, where=where)
    verdict = pass_gate(job, rust)
    assert verdict["n_combos"] == job.grid.count() == 6


@pytest.mark.parametrize("kind", ["random", "halton"])
def test_sampled_grid(bars, rust, kind):
    axes = {**AXES, "rules.stop": {"min": 0.25, "max": 2.0}, "rules.target": {"min": 0.2, "max": 2}}
    job = ask(bars, axes, sample=Sample(kind=kind, n=1_500))
    verdict = pass_gate(job, rust)
    assert verdict["n_combos"] == 64
    assert set(looked_at(verdict)) <= set(job.grid.combo_ids.tolist())
    small = ask(bars, axes, sample=Sample(kind=kind, n=20))
    assert pass_gate(small, rust)["n_combos"] == 20


def test_sample_of_a_grid_keeps_its_numbers(bars, rust):
    job = ask(bars, sample=Sample(n=200, seed=4))
    verdict = pass_gate(job, rust)
    assert set(looked_at(verdict)) <= set(job.grid.combo_ids.tolist())


def test_both_scenarios_are_compared(bars, rust):
    once, twice = (pass_gate(ask(bars, scenarios=both), rust) for both in (False, True))
    assert not twice["reused"]
    assert twice["n_trades"] > 1.8 * once["n_trades"]


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("moving_average_cross", {"strategy.fast": [3, 5, 8], "strategy.slow": [5, 20, 30, 40]}),
        ("opening_range_breakout", {"strategy.range_minutes": [15, 30, 45, 60]}),
    ],
)
def test_other_strategies(bars, rust, name, axes):
    strategy = get_strategy(name)
    axes = {**axes, **{key: AXES[key] for key in EXITS}}
    verdict = pass_gate(ask(bars, axes, strategy=strategy, invalid="skip"), rust)
    assert verdict["n_combos"] == 64
    assert verdict["bit_for_bit"]


def test_own_function_is_called_by_one_thread_at_a_time_and_never_reused(bars, rust, kept):
    lock = threading.Lock()

    def falling(bars, *, n: int = 3):
        assert lock.acquire(blocking=False), "two calls at once"
        down = bars.close < np.roll(bars.close, n)
        lock.release()
        return np.where(down, -1, 1).astype(np.int8), bars.high - bars.low

    strategy = function_strategy(falling)()
    axes = {"strategy.n": {"min": 1, "max": 50}, **{key: AXES[key] for key in EXITS}}
    job = ask(bars, axes, strategy=strategy, rules=bt.ExitRules(unit="strategy"))
    verdicts_ = [pass_gate(job, rust) for _ in range(2)]
    assert [each["n_combos"] for each in verdicts_] == [64, 64]
    assert [each["reused"] for each in verdicts_] == [False, False]
    assert not kept.exists()


def test_own_function_that_does_not_repeat_itself_is_found(bars, rust):
    calls = []

    def fickle(bars, *, n: int = 3):
        calls.append(n)
        side = np.zeros(len(bars), np.int8)
        side[len(calls) :: 50] = 1
        return side

    axes = {"strategy.n": [1, 2, 3], **{key: AXES[key] for key in EXITS}}
    with pytest.raises(ParityError, match=r"rust's single run .*, rust's sweep "):
        pass_gate(ask(bars, axes, strategy=function_strategy(fickle)()), rust)


# --- what it refuses -----------------------------------------------------------------------


def move_an_exit(trades):
    trades["exit_price"][2] += 5.0


def test_moved_exit_stops_the_sweep_and_names_trade_bar_and_values(bars, rust):
    job = ask(bars)
    with pytest.raises(ParityError) as caught:
        pass_gate(job, Altered(rust, run=with_trade(move_an_exit)))
    message = str(caught.value)
    expected = resolve("numba")[0].run(_single(job, 0)).trades
    signal, leaves = int(expected["signal_bar"][2]), int(expected["exit_bar"][2])
    price = float(expected["exit_price"][2])
    assert "combination 0 (strategy.min_range_mult = 1.0, strategy.lookback = 5, " in message
    assert f"trade 2 (signal bar {signal}), exit_price: numba {price!r} (" in message
    assert f", rust {price + 5.0!r} (" in message
    assert f"signal at bar {signal}, {bars.time_text(signal)}" in message
    assert f"exit at bar {leaves}, {bars.time_text(leaves)}" in message
    assert 'engine="numba"' in message


def _single(job, combo_id):
    strategy, rules, contract = job.grid.settings(combo_id)
    return bt.run(job.bars, strategy, rules, contract, engine="numba").job


def drop_the_last(trades):
    for name in list(trades):
        trades[name] = trades[name][:-1]


def test_missing_trade(bars, rust):
    with pytest.raises(ParityError, match=r"trade \d+ \(signal bar \d+\), count: .* no such trade"):
        pass_gate(ask(bars), Altered(rust, run=with_trade(drop_the_last)))


def test_trades_have_no_tolerance(bars, rust):
    def nudge(trades):
        trades["mae"][2] = np.nextafter(trades["mae"][2], -np.inf)

    with pytest.raises(ParityError, match=r"mae: .* 1 ulp apart"):
        pass_gate(ask(bars), Altered(rust, run=with_trade(nudge)))


@pytest.mark.parametrize("side", ["run", "swept"])
def test_metric_beyond_the_tolerance(bars, rust, side):
    altered = Altered(rust, **{side: with_metric("sharpe", lambda value: value * (1 + 2e-5))})
    with pytest.raises(ParityError, match=r"combination \d+ \(.*\), stop_first: metric sharpe: "):
        pass_gate(ask(bars), altered)


@pytest.mark.parametrize("name", ["ambiguous_trades", "exits_stop_loss", "total_trades", "ruined"])
def test_counts_of_the_sweep_have_no_tolerance(bars, rust, name):
    altered = Altered(rust, swept=with_metric(name, lambda value: value + 1e-9))
    with pytest.raises(ParityError, match=f"metric {name}: rust's single run .*, rust's sweep "):
        pass_gate(ask(bars), altered)


def test_rows_of_a_sampled_grid_are_compared_too(bars, rust):
    job = ask(bars, {**AXES, "rules.stop": {"min": 0.25, "max": 2.0}}, sample=Sample(n=100))
    altered = Altered(rust, swept=with_metric("expectancy", lambda value: value + 1.0))
    with pytest.raises(ParityError, match=r"metric expectancy: rust's single run .*, rust's sweep"):
        pass_gate(job, altered)


def test_difference_in_the_other_scenario_alone(bars, rust):
    def swept(metrics):
        half = metrics.shape[1] // 2  # exits of the other scenario come last for each set
        return with_metric("sqn", lambda value: value * 2)(metrics) if half else metrics

    with pytest.raises(ParityError, match="sqn"):
        pass_gate(ask(bars, scenarios=True), Altered(rust, swept=swept))

    def only_target_first(output):
        return with_metric("sqn", lambda value: value * 2)(output)

    engine = Altered(rust)
    engine.run = lambda job: (
        only_target_first(rust.run(job)) if job.rules.intrabar == "target_first" else rust.run(job)
    )
    with pytest.raises(ParityError, match="target_first: metric sqn"):
        pass_gate(ask(bars, scenarios=True), engine)
    assert pass_gate(ask(bars), engine)["verdict"] == "agreed"


@pytest.mark.parametrize("side", ["run", "swept"])
def test_agreement_that_is_not_bit_for_bit_gives_a_warning_every_time(bars, rust, side):
    altered = Altered(rust, **{side: with_metric("sortino", lambda value: value * (1 + 1e-9))})
    for reused in (False, True):
        with pytest.warns(BacktestWarning, match=r"not bit for bit.* relative 1\.0e-09.*sortino"):
            verdict = pass_gate(ask(bars), altered)
        assert verdict["reused"] is reused
        assert verdict["bit_for_bit"] is False
        assert verdict["largest_difference"] == pytest.approx(1e-9, rel=1e-3)
        assert "metric sortino: " in verdict["first_difference"]
        assert "metrics within a relative 1.0e-09" in gate_text(verdict)


def test_failure_is_not_kept(bars, rust, kept):
    broken = Altered(rust, run=with_trade(move_an_exit))
    for _ in range(2):
        with pytest.raises(ParityError):
            pass_gate(ask(bars), broken)
    assert not kept.exists()


def test_without_numba_the_way_around_is_named(bars, rust, monkeypatch):
    monkeypatch.setattr("backtest_py.engines.registry._loaded", {"rust": rust})
    monkeypatch.setattr("backtest_py.engines.registry.find_spec", lambda name: None)
    with pytest.raises(
        EngineUnavailableError, match=r"pip install numba.*gate=None \(--skip-gate\)"
    ):
        pass_gate(ask(bars), rust)


# --- when it need not ask ------------------------------------------------------------------


def test_verdict_is_reused_for_the_same_question(bars, rust, kept):
    first, second = pass_gate(ask(bars), rust), pass_gate(ask(bars), rust, threads=1)
    assert (first["reused"], second["reused"]) == (False, True)
    same = first.keys() - {"reused", "seconds"}
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    assert second["seconds"] < first["seconds"]
    assert "; reused" in gate_text(second)
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IRWXU


def changed(job):
    """Yield the job with one thing changed at a time."""
    last = len(job.bars) - 1
    yield "bars", replace(job, bars=job.bars[:last], ranges=((0, last),))
    yield "range", replace(job, ranges=((0, last),))
    yield "range", replace(job, ranges=((1, last + 1),))
    yield "ranges", replace(job, ranges=((0, last + 1), (1, last)))
    yield "blocks", replace(job, n_blocks=2)
    yield "metrics", replace(job, metrics=bt.MetricSettings(risk_free_rate=0.01))
    yield "scenarios", replace(job, scenarios=True)
    yield "grid", ask(job.bars, {**AXES, "rules.trail": [0, 2]})
    yield "order", ask(job.bars, dict(reversed(AXES.items())))
    yield "where", ask(job.bars, where="rules.target > rules.stop")
    yield "strategy", ask(job.bars, strategy=bt.BarraElefante(max_shadow_ratio=0.5))
    yield "rules", ask(job.bars, rules=bt.ExitRules(close_time="13:35"))


def test_verdict_is_not_reused_for_another_question(bars, rust):
    job = ask(bars)
    keys = [gate._question(job, {})]
    keys += [gate._question(other, {}) for _, other in changed(job)]
    keys.append(gate._question(job, {"rust": {"extension": "0"}}))
    texts = {json.dumps(key, sort_keys=True) for key in keys}
    assert len(texts) == len(keys)


@pytest.mark.parametrize("fact", ["extension", "level", "rustc"])
def test_other_build_of_an_engine_is_asked_again(bars, rust, fact):
    job = ask(bars, {"rules.stop": [1.0, 2.0]})
    assert not pass_gate(job, rust)["reused"]
    other = Altered(rust)
    other.build = {**rust.build, fact: "another"}
    assert not pass_gate(job, other)["reused"]
    assert pass_gate(job, rust)["reused"]


def test_semantics_and_kernels_belong_to_the_question(bars, rust, monkeypatch):
    job = ask(bars, {"rules.stop": [1.0, 2.0]})
    assert "kernels" in pass_gate(job, rust)["builds"]["numba"]
    monkeypatch.setattr(gate, "SEMANTICS_VERSION", 2)
    assert not pass_gate(job, rust)["reused"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b'"agreed"', b'"Agreed"'),
        lambda content: b"[" * 100_000,
        lambda content: b'"text"',
        lambda content: b"\xff" + content,
        lambda content: b'{"verdict":{"a":NaN},"checksum":"0"}',
        lambda content: b"[]",
    ],
)
def test_damaged_verdict_is_reached_again_and_replaced(bars, rust, kept, damage):
    job = ask(bars, {"rules.stop": [1.0, 2.0]})
    pass_gate(job, rust)
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert not pass_gate(job, rust)["reused"]
    assert file.read_bytes() == whole
    assert pass_gate(job, rust)["reused"]


def test_verdict_under_the_wrong_key_is_ignored(bars, rust, kept):
    pass_gate(ask(bars, {"rules.stop": [1.0, 2.0]}), rust)
    (file,) = kept.iterdir()
    other = ask(bars, {"rules.stop": [1.0, 3.0]})
    key = pass_gate(other, rust)["key"]
    (kept / f"{key}.json").write_bytes(file.read_bytes())
    assert not pass_gate(other, rust)["reused"]


def test_old_verdicts_are_deleted(bars, rust, kept):
    kept.mkdir(parents=True, mode=0o700)
    for name, age in (("old.json", 100), ("used.json", 80), (".half.json.0.tmp", 100)):
        (kept / name).write_text("{}")
        then = (kept / name).stat().st_mtime - age * 86_400
        os.utime(kept / name, (then, then))
    pass_gate(ask(bars, {"rules.stop": [1.0, 2.0]}), rust)
    assert not (kept / "old.json").exists()
    assert not (kept / ".half.json.0.tmp").exists()
    assert (kept / "used.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_directory_that_others_can_write_to_is_not_trusted(bars, rust, kept):
    job = ask(bars, {"rules.stop": [1.0, 2.0]})
    pass_gate(job, rust)
    kept.chmod(0o777)
    with pytest.warns(BacktestWarning, match="cannot be kept on disk .*others may have written"):
        verdict = pass_gate(job, rust)
    assert not verdict["reused"]


def test_directory_that_cannot_be_made(bars, rust, kept):
    kept.parent.mkdir()
    kept.write_text("in the way")
    with pytest.warns(BacktestWarning, match="cannot be kept on disk"):
        assert pass_gate(ask(bars, {"rules.stop": [1.0, 2.0]}), rust)["verdict"] == "agreed"


def test_build_of_rust_changes_with_its_code(rust):
    from backtest_py import _engine_rust

    content = Path(_engine_rust.__file__).read_bytes()
    assert rust.build["extension"] == hashlib.sha256(content).hexdigest()


# --- in a sweep ----------------------------------------------------------------------------


def test_sweep_stores_and_shows_the_verdict(bars, tmp_path):
    options = {"grid": AXES, "rules": bt.ExitRules(close_time="13:30"), "engine": "rust"}
    result = sweep(bars, out=tmp_path / "sweep", **options)
    verdict = result.manifest["gate"]
    assert (verdict["verdict"], verdict["reused"]) == ("agreed", False)
    assert open_sweep(tmp_path / "sweep").manifest["gate"] == verdict
    assert sweep(bars, **options).manifest["gate"]["reused"]


def test_small_sweep_and_explicit_skip_are_recorded(bars):
    options = {"rules": bt.ExitRules(close_time="13:30"), "engine": "rust"}
    small = sweep(bars, grid={"rules.stop": [1.0, 2.0]}, **options)
    assert small.manifest["gate"]["verdict"] == "not needed"
    skipped = sweep(bars, grid=AXES, gate=None, **options)
    assert skipped.manifest["gate"]["verdict"] == "skipped"
    forced = sweep(bars, grid={"rules.stop": [1.0, 2.0]}, gate=1, **options)
    assert forced.manifest["gate"]["verdict"] == "agreed"
    for result in (small, skipped, forced):
        assert gate_text(result.manifest["gate"]).startswith("parity gate: ")
