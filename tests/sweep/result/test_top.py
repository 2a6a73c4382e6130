"""Rankings of a sweep: by own metrics, by arithmetic, with a least number of trades; ruin last."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from tests.sweep_rows import falling

import backtest_py as bt
from backtest_py.metrics.catalogue import METRICS
from backtest_py.sweep.result.result import SweepResult
from backtest_py.sweep.store.tables import shard_table

GRID = {
    "strategy.min_range_mult": [0.5, 1.0, 1e9],
    "rules.stop": [1.0, 2.0, 0.5],
    "contract.point_value": [0.2, 20.0, 100.0],
    "contract.initial_capital": [3_000.0, 20_000.0],
}
SETTINGS = {"rules": bt.ExitRules(close_time="17:00"), "contract": bt.Contract(tick_size=5)}


@pytest.fixture(scope="module")
def bars():
    return bt.synthetic_bars(n_days=30)


@pytest.fixture(scope="module", params=["rust", "numba"])
def swept(request, bars):
    """A sweep with sound rows, rows without a trade, and ruined ones, some with a good Sharpe."""
    return bt.sweep(bars, grid=GRID, engine=request.param, scenarios=True, **SETTINGS)


@pytest.fixture(scope="module")
def frame(swept):
    return swept.table().to_pandas()


def ordered(frame, values, *, small=False):
    """Return combo_ids: numbers, then undefined, then ruined accounts; ties by combo_id."""
    own = frame.assign(key=np.asarray(values) * (1.0 if small else -1.0))
    own = own.sort_values("combo_id").sort_values("key", kind="stable")
    return own.sort_values("ruined", kind="stable")["combo_id"].tolist()


def quality(columns):
    return columns["sharpe"] * np.sqrt(columns["total_trades"])


class TestColumns:
    @pytest.mark.parametrize("small", [False, True])
    def test_a_function_of_columns_ranks(self, swept, frame, small):
        metric = bt.ColumnMetric(quality, smaller_is_better=small)
        best = swept.top(len(frame), by=metric)
        assert best["combo_id"].tolist() == ordered(frame, quality(frame), small=small)
        own = dict(zip(frame["combo_id"], quality(frame), strict=True))
        np.testing.assert_array_equal(best["quality"], [own[each] for each in best["combo_id"]])
        assert list(best.columns).index("quality") == len(GRID) + 1, "behind the parameters"
        other = swept.top(len(frame), by=metric, ascending=not small)
        assert other["combo_id"].tolist() == ordered(frame, quality(frame), small=not small)

    def test_a_plain_function_is_one(self, swept):
        pd.testing.assert_frame_equal(
            swept.top(7, by=quality), swept.top(7, by=bt.ColumnMetric(quality))
        )

    def test_it_sees_the_rows_that_meet_the_condition(self, swept, frame):
        seen = []

        def rank(columns):
            seen.append(columns["combo_id"].tolist())
            return columns["sharpe"].argsort().argsort()

        swept.top(3, by=rank, where="rules.stop < 2", min_trades=5)
        chosen = frame[(frame["rules.stop"] < 2) & (frame["total_trades"] >= 5)]
        assert seen == [chosen["combo_id"].tolist()]
        assert 0 < len(chosen) < len(frame)

    def test_only_the_columns_that_it_asks_for_are_read(self, bars, tmp_path, monkeypatch):
        sweep = bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]}, out=tmp_path / "out")
        asked = []
        table = type(sweep._rows).table
        monkeypatch.setattr(
            type(sweep._rows),
            "table",
            lambda self, columns, where=None: asked.append(columns) or table(self, columns, where),
        )
        sweep.top(1, by=lambda columns: columns["win_rate"])
        assert asked == [["combo_id"], ["win_rate"]]

    def test_parameters_and_texts_are_columns(self, bars):
        grid = {"strategy.entry_start": ["09:00", "10:00", "11:00"]}
        sweep = bt.sweep(bars, grid=grid)
        best = sweep.top(by=lambda columns: columns["strategy.entry_start"] == "10:00")
        assert best["strategy.entry_start"].iloc[0] == "10:00"
        assert best["own_metric"].tolist() == [1.0, 0.0, 0.0]

    @pytest.mark.parametrize(
        ("metric", "message"),
        [
            (lambda columns: columns["sharp"], "unknown column 'sharp'; did you mean 'sharpe'"),
            (lambda columns: columns["sharpe"][:3], r"returned shape \(3,\) for 54 rows"),
            (lambda columns: "good", r"the metric own_metric returned shape \(\)"),
            (bt.ColumnMetric(quality, "sharpe"), "'sharpe' is that of a column"),
            (bt.ColumnMetric(quality, "rules.stop"), r"'rules.stop' is that of a column"),
            (7, "by = 7 is not allowed"),
        ],
    )
    def test_mistakes_are_told(self, swept, metric, message):
        with pytest.raises(bt.ConfigError, match=message):
            swept.top(3, by=metric)
        with pytest.raises(bt.ConfigError, match=r"worst_case ranks|by = 7"):
            swept.top(3, by=metric if metric == 7 else quality, worst_case=True)

    def test_no_row_needs_no_metric(self, swept):
        def fails(columns):
            raise AssertionError("called without rows")

        best = swept.top(3, by=fails, where="total_trades > 1e9")
        assert len(best) == 0
        assert "fails" in best.columns


class TestArithmetic:
    def test_arithmetic_on_columns_ranks(self, swept, frame):
        by = "total_return / max_drawdown - 0.01 * total_trades"
        values = frame["total_return"] / frame["max_drawdown"] - 0.01 * frame["total_trades"]
        best = swept.top(len(frame), by=by)
        assert best["combo_id"].tolist() == ordered(frame, values)
        np.testing.assert_array_equal(
            best[by], values.set_axis(frame["combo_id"])[best["combo_id"]]
        )
        smallest = swept.top(len(frame), by=by, ascending=True)
        assert smallest["combo_id"].tolist() == ordered(frame, values, small=True)
        assert (
            swept.top(1, by="sharpe*stop")["combo_id"].tolist()
            == ordered(frame, frame["sharpe"] * frame["rules.stop"])[:1]
        )

    @pytest.mark.parametrize(
        "by",
        [
            "sharpe *",
            "sharpe > 1",
            "sharpe * sqrt(total_trades)",
            "sharp * 2",
            "1 + 1",
            "__import__('os')",
            "sharpe ** 2",
            "ruined * 2",
            "not ruined",
        ],
    )
    def test_anything_else_is_refused(self, swept, by):
        with pytest.raises(bt.ConfigError, match="by = "):
            swept.top(3, by=by)


def without_best(result):
    """Profit without the best trade."""
    pnl = result.trades["pnl"]
    return pnl.sum() - pnl.max() if len(pnl) else math.nan


class TestTrades:
    @pytest.mark.parametrize("small", [False, True])
    def test_a_function_of_the_trades_ranks(self, swept, frame, small):
        values = [without_best(swept.replay(each)) for each in frame["combo_id"]]
        assert 0 < np.isnan(values).sum() < len(values)
        metric = bt.TradeMetric(without_best, smaller_is_better=small)
        best = swept.top(len(frame), by=metric)
        assert best["combo_id"].tolist() == ordered(frame, values, small=small)
        own = dict(zip(frame["combo_id"], values, strict=True))
        np.testing.assert_array_equal(
            best["without_best"], [own[each] for each in best["combo_id"]]
        )
        assert swept.top(4, by=metric)["combo_id"].tolist() == best["combo_id"].tolist()[:4]

    def test_only_the_candidates_are_replayed(self, swept):
        seen = []

        def money(result):
            seen.append(result)
            return result.metrics.total_return

        first = swept.top(6, by="profit_factor", min_trades=10, where="rules.stop < 2")
        best = swept.top(
            2,
            by=bt.TradeMetric(money),
            candidates=6,
            first_by="profit_factor",
            min_trades=10,
            where="rules.stop < 2",
        )
        assert len(seen) == 6
        expected = first.sort_values("ruined", kind="stable")
        expected = expected.sort_values(
            ["ruined", "total_return", "combo_id"], ascending=[True, False, True]
        )
        assert best["combo_id"].tolist() == expected["combo_id"].tolist()[:2]
        swept.top(9, by=bt.TradeMetric(money), candidates=3)
        assert len(seen) == 6 + 9, "at least as many as are asked for"

    def test_own_columns_may_choose_the_candidates(self, swept, frame):
        best = swept.top(3, by=bt.TradeMetric(lambda r: 1.0), candidates=5, first_by=quality)
        assert best["combo_id"].tolist() == sorted(ordered(frame, quality(frame))[:5])[:3]
        assert {"quality", "own_metric"} <= set(best.columns)
        with pytest.raises(bt.ConfigError, match="first_by chooses what is replayed"):
            swept.top(by=bt.TradeMetric(without_best), first_by=bt.TradeMetric(without_best))

    def test_a_users_function_is_called_by_one_thread(self, bars):
        sweep = bt.sweep(bars, falling, {"strategy.span": [2, 3, 4, 5]}, rules=bt.ExitRules())
        best = sweep.top(2, by=bt.TradeMetric(lambda result: len(result.trades), "trades"))
        trades = sweep.table(["total_trades"])["total_trades"].to_pylist()
        assert best["trades"].tolist() == sorted(map(float, trades), reverse=True)[:2]

    def test_mistakes_name_the_metric_and_the_row(self, swept):
        with pytest.raises(bt.ConfigError, match=r"the metric odd failed for combination \d+: Key"):
            swept.top(3, by=bt.TradeMetric(lambda result: result.trades["no"].sum(), "odd"))
        with pytest.raises(bt.ConfigError, match=r"odd returned None for combination \d+; return"):
            swept.top(3, by=bt.TradeMetric(lambda result: None, "odd"))
        with pytest.raises(bt.ConfigError, match="'sharpe' is that of a column"):
            swept.top(3, by=bt.TradeMetric(without_best, "sharpe"))
        with pytest.raises(bt.ConfigError, match="worst_case"):
            swept.top(3, by=bt.TradeMetric(without_best), worst_case=True)
        with pytest.raises(bt.ConfigError, match="candidates = 0 is not allowed"):
            swept.top(3, by=bt.TradeMetric(without_best), candidates=0)

    def test_a_sweep_on_disk_ranks_by_trades(self, bars, tmp_path, swept):
        grid = {"rules.stop": [1.0, 2.0, 3.0]}
        bt.sweep(bars, grid=grid, out=tmp_path / "out")
        metric = bt.TradeMetric(lambda result: result.metrics.total_return, "again")
        best = bt.open_sweep(tmp_path / "out", bars=bars).top(by=metric)
        assert best["again"].tolist() == best["total_return"].tolist()
        other = bt.synthetic_bars(n_days=31)
        with pytest.raises(bt.DataError):
            bt.open_sweep(tmp_path / "out", bars=other).top(by=metric)


class TestMinTrades:
    def test_rows_with_fewer_trades_are_left_out(self, swept, frame):
        least = int(frame["total_trades"].median())
        best = swept.top(len(frame), min_trades=least)
        expected = frame[frame["total_trades"] >= least]
        assert 0 < len(expected) < len(frame)
        assert best["combo_id"].tolist() == ordered(expected, expected["sharpe"])
        both = swept.top(len(frame), min_trades=least, where="rules.stop == 2")
        assert both["combo_id"].tolist() == [
            each
            for each, stop in zip(best["combo_id"], best["rules.stop"], strict=True)
            if stop == 2
        ]

    @pytest.mark.parametrize("least", [-1, 1.5, "30", True, None])
    def test_a_number_of_trades_is_whole(self, swept, least):
        with pytest.raises(bt.ConfigError, match=r"min_trades = .* is not allowed"):
            swept.top(min_trades=least)


class TestRuin:
    """A ruined row ranks behind every row that is not, and is shown as ruined."""

    def test_every_ranking_puts_it_last(self, swept, frame):
        n = len(frame)
        rankings = {
            "a column": {},
            "upwards": {"ascending": True},
            "a parameter": {"by": "contract.point_value"},
            "the worst case": {"worst_case": True},
            "plateaus": {"plateau": True},
            "plateaus of drawdowns": {"plateau": True, "by": "max_drawdown"},
            "columns": {"by": quality},
            "columns upwards": {"by": quality, "ascending": True},
            "plateaus of columns": {"by": quality, "plateau": True},
            "arithmetic": {"by": "total_return / max_drawdown"},
            "trades": {"by": bt.TradeMetric(without_best)},
            "trades upwards": {"by": bt.TradeMetric(without_best, smaller_is_better=True)},
        }
        for name, how in rankings.items():
            best = swept.top(n, **how)
            assert len(best) == n, name
            flags = best["ruined"].to_numpy()
            if how.get("worst_case"):
                flags = flags | best["ruined_target_first"].to_numpy()
            assert 0 < flags.sum() < n, name
            assert (np.diff(flags.astype(int)) >= 0).all(), name

    def test_fronts_and_cells_do_not_choose_it(self, swept, frame):
        sound = frame[~frame["ruined"]]
        assert not swept.pareto(["sharpe", "total_trades"])["ruined"].any()
        assert swept.slice("rules.stop").max() == sound["sharpe"].max()
        x, y = "contract.point_value", "rules.stop"
        for by, best in (("sharpe", "max"), ("max_drawdown", "min")):
            expected = sound.pivot_table(index=y, columns=x, values=by, aggfunc=best, dropna=False)
            found = swept.heatmap(x, y, by=by)
            np.testing.assert_array_equal(found, expected.reindex(found.index)[found.columns])
        # other reductions describe what all rows of a cell show
        for reduce in ("max", "min", "mean", "median"):
            expected = frame.pivot_table(index=y, columns=x, values="sharpe", aggfunc=reduce)
            found = swept.heatmap(x, y, reduce=reduce)
            np.testing.assert_allclose(found, expected.reindex(found.index)[found.columns])

    def test_it_is_the_worst_neighbour(self, swept, frame):
        found = swept.plateaus().set_index("combo_id")
        ruined = set(frame["combo_id"][frame["ruined"]])
        size = [len(values) for values in GRID.values()]
        strides = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
        beside = 0
        for combo_id in found.index:
            digits = np.unravel_index(combo_id, size)
            around = {
                combo_id + step * stride
                for digit, n, stride in zip(digits, size, strides, strict=True)
                for step in (-1, 1)
                if 0 <= digit + step < n
            }
            if around & ruined:
                beside += 1
                assert np.isnan(found["plateau_worst"][combo_id])
        assert beside > 0

    def test_ruin_in_the_other_scenario_counts_where_a_metric_looks_at_it(self):
        own, other = np.zeros((len(METRICS), 4)), np.zeros((len(METRICS), 4))
        sharpe, ruined = METRICS.index("sharpe"), METRICS.index("ruined")
        own[sharpe], other[sharpe] = [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 4.0, 3.0]
        own[ruined], other[ruined] = [0, 1, 0, 0], [0, 0, 1, 0]
        table = shard_table(np.arange(4), {}, own, ("target_first", other))
        sweep = SweepResult.of_tables([table], {"identity": {}})
        for by, expected in (
            (lambda columns: columns["sharpe"], [0, 2, 3, 1]),
            ("sharpe * 1", [0, 2, 3, 1]),
            (lambda columns: columns["sharpe_target_first"], [3, 0, 2, 1]),
            ("sharpe_target_first * 1", [3, 0, 2, 1]),
        ):
            assert sweep.top(4, by=by)["combo_id"].tolist() == expected

    def test_csv_and_tables_say_it(self, swept, frame, tmp_path):
        swept.to_csv(tmp_path / "all.csv")
        written = pd.read_csv(tmp_path / "all.csv")
        assert written["ruined"].tolist() == frame["ruined"].tolist()
        assert swept.plateaus()["ruined"].tolist() == frame["ruined"].tolist()

    def test_all_rows_ruined_are_still_shown(self, frame):
        import pyarrow as pa

        table = pa.Table.from_pandas(frame[frame["ruined"]], preserve_index=False)
        sweep = SweepResult.of_tables([table], {"identity": {}})
        for how in ({}, {"by": quality}, {"by": "sharpe * 2"}, {"worst_case": True}):
            best = sweep.top(3, **how)
            assert len(best) == 3
            assert best["ruined"].all()


def test_an_incomplete_sweep_warns_whatever_ranks(bars, tmp_path):
    from backtest_py.sweep.store.manifest import read_manifest, write_manifest

    sweep = bt.sweep(bars, grid={"rules.stop": [1.0, 2.0]}, out=tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    write_manifest(tmp_path / "out", {**manifest, "n_combos": 9, "n_shards": 4})
    assert sweep.complete
    sweep = bt.open_sweep(tmp_path / "out", bars=bars)
    for how in ({}, {"plateau": True}, {"by": quality}, {"by": bt.TradeMetric(without_best)}):
        with pytest.warns(bt.BacktestWarning, match="2 of 9 combinations are done") as caught:
            sweep.top(1, **how)
        assert caught[0].filename == __file__
