"""A sweep that is not complete says so, through Python and on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import backtest_py as bt
from backtest_py.sweep.result.completeness import Completeness
from backtest_py.sweep.store.store import SweepStore

GRID = {
    "strategy.lookback": list(range(2, 42)),
    "rules.stop": [0.5 + 0.1 * k for k in range(30)],
    "rules.target_r": [1.0 + 0.5 * k for k in range(10)],
}
N_COMBOS = 12_000


@pytest.fixture
def partial(tmp_path, monkeypatch):
    """The directory of a sweep that Control-C stops after some of its shards."""
    write = SweepStore.write

    def write_one_and_stop(store, shard, table):
        if store.done:
            raise KeyboardInterrupt
        write(store, shard, table)

    monkeypatch.setattr(SweepStore, "write", write_one_and_stop)
    with pytest.raises(KeyboardInterrupt):
        bt.sweep(
            bt.synthetic_bars(n_days=40),
            grid=GRID,
            rules=bt.ExitRules(close_time="17:00"),
            out=tmp_path / "out",
            engine="rust",
            gate=None,
            threads=1,
        )
    return tmp_path / "out"


def test_an_interrupted_sweep_tells_what_is_missing(partial):
    swept = bt.open_sweep(partial)
    facts = swept.completeness
    assert 0 < len(swept) < N_COMBOS
    assert not swept.complete
    assert swept.n_missing == N_COMBOS - len(swept)
    assert (facts.combos, facts.total_combos) == (len(swept), N_COMBOS)
    assert facts.shards == len(list((partial / "results").glob("*.parquet")))
    assert facts.shards < facts.total_shards
    assert f", interrupted: {len(swept):,} of 12,000 combinations of strategy." in repr(swept)


def test_a_complete_sweep_misses_nothing(tmp_path):
    bars = bt.synthetic_bars(n_days=5)
    grid = {"rules.stop": [1.0, 2.0], "strategy.lookback": list(range(2, 20))}
    for out in (None, tmp_path / "out"):
        swept = bt.sweep(bars, grid=grid, where="lookback > 10", out=out)
        assert swept.complete
        assert (swept.n_missing, len(swept)) == (0, 18)
    assert bt.open_sweep(tmp_path / "out").complete


def test_top_warns_of_what_is_missing(cli, partial):
    n_done = len(bt.open_sweep(partial))
    outcome = cli("top", partial, "-n", 2)
    assert outcome.status == 0
    assert "is not complete" in outcome.err
    assert f"{n_done:,} of 12,000 combinations are done" in outcome.err
    assert "--resume" in outcome.err
    outcome = cli("top", partial, "-n", 2, "--json")
    assert f"{n_done:,} of 12,000" in outcome.err
    printed = json.loads(outcome.out)
    facts = {name: printed[name] for name in ("complete", "n_done", "n_combos", "n_missing")}
    missing = N_COMBOS - n_done
    assert facts == {
        "complete": False, "n_done": n_done, "n_combos": N_COMBOS, "n_missing": missing
    }  # fmt: skip
    assert 0 < printed["n_shards_done"] < printed["n_shards"]


def test_without_a_shard_the_refusal_says_how_many_there_are(cli, partial):
    (partial / "journal.jsonl").write_bytes(b"")
    outcome = cli("top", partial)
    assert outcome.status == 1
    assert "0 of 12,000 combinations are done (0 of " in outcome.err


def test_control_c_says_how_much_is_done(tmp_path, write_toml):
    bt.synthetic_bars(n_days=40).to_frame().to_csv(tmp_path / "bars.csv", lineterminator="\n")
    grid = "\n".join(f'"{key}" = {values}' for key, values in GRID.items())
    config = write_toml(f"[rules]\nclose_time = '17:00'\n[sweep.grid]\n{grid}\n")
    out = tmp_path / "out"
    script = (
        "import sys\n"
        "from backtest_py.sweep.store.store import SweepStore\n"
        "write = SweepStore.write\n"
        "def stop(self, shard, table):\n"
        "    if self.done: raise KeyboardInterrupt\n"
        "    write(self, shard, table)\n"
        "SweepStore.write = stop\n"
        "from backtest_py.cli import main\n"
        f"sys.exit(main(['sweep', {str(config)!r}, '--out', {str(out)!r}, '--skip-gate',"
        " '--engine', 'rust', '--threads', '1']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=False, timeout=120, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    first, second = done.stderr.splitlines()
    assert first == f"interrupted; what is done is kept in {out}, --resume continues"
    swept = bt.open_sweep(out)
    assert swept.n_missing > 0
    assert second == str(swept.completeness)
    assert f"{len(swept):,} of 12,000 combinations are done" in second


class TestNothingMatches:
    @pytest.fixture
    def done(self, tmp_path):
        bt.sweep(
            bt.synthetic_bars(n_days=5),
            grid={"rules.stop": [1.0, 2.0, 3.0]},
            out=tmp_path / "out",
        )
        return tmp_path / "out"

    def test_it_is_said(self, cli, done):
        outcome = cli("top", done, "--where", "total_trades > 1000000")
        assert (outcome.status, outcome.err) == (0, "")
        assert outcome.out == "nothing of 3 rows matches --where 'total_trades > 1000000'\n"

    def test_json_stays_json(self, cli, done):
        outcome = cli("top", done, "--where", "total_trades > 1000000", "--json")
        assert json.loads(outcome.out)["rows"] == []
        assert json.loads(outcome.out)["n_done"] == 3

    def test_csv_has_its_header(self, cli, done, tmp_path):
        file = tmp_path / "best.csv"
        outcome = cli("top", done, "--where", "total_trades > 1000000", "--csv", file)
        assert "nothing of 3 rows matches" in outcome.out
        assert len(file.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ((0, 1, 0, 1), "0 of 1 combination is done (0 of 1 shard)"),
        ((1, 1, 1, 1), "1 of 1 combination is done (1 of 1 shard)"),
        ((1_000, 4_000, 1, 4), "1,000 of 4,000 combinations are done (1 of 4 shards)"),
    ],
)
def test_counts_of_one(facts, text):
    assert str(Completeness(*facts)) == text


def test_a_replay_by_rank_warns_that_another_row_may_be_better(partial):
    swept = bt.open_sweep(partial, bars=bt.synthetic_bars(n_days=40))
    best = swept.top_table(1, by="total_return")["combo_id"][0].as_py()
    with pytest.warns(bt.BacktestWarning, match="may rank higher"):
        result = swept.replay(by="total_return")
    assert result.metrics == swept.replay(best).metrics
