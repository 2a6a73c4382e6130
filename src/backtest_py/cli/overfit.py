"""The command ``overfit``: would the best of a sweep have come up by luck."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest_py.cli.options import Json, json_value, print_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest_py.overfitting import PboResult
    from backtest_py.sweep.result.result import SweepResult
    from backtest_py.sweep.result.verdict import Examined

    Intervals = dict[str, tuple[float, float, float]]

__all__ = ["commands"]

commands = typer.Typer()

SHARES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Percentiles of the logits of CSCV."""

SHOWN: Final = ("sharpe", "profit_factor", "expectancy", "total_return", "win_rate", "max_drawdown")
"""Metrics whose intervals are printed; --json has all."""


@commands.command()
def overfit(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a sweep.")],
    *,
    trials: Annotated[int, typer.Option(min=0, help="Sets that were tried beside this sweep.")] = 0,
    spa: Annotated[
        bool, typer.Option("--spa", help="Run a sample again for SPA and StepM.")
    ] = False,
    effective_trials: Annotated[
        bool, typer.Option("--effective-trials", help="Count those that trade alike as one.")
    ] = False,
    series: Annotated[
        int, typer.Option(min=2, help="Combinations of the sample that is run again.")
    ] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Start of the random numbers.")] = 0,
    as_json: Json = False,
) -> None:
    """Ask whether the best of a sweep is more than luck.

    The sweep must be complete. Its best combination is run again, which needs the bars.
    """
    from backtest_py.sweep.result.result import open_sweep  # noqa: PLC0415
    from backtest_py.sweep.result.verdict import examine  # noqa: PLC0415

    result = open_sweep(directory)
    found = examine(
        result,
        more_trials=trials,
        spa=spa,
        effective_trials=effective_trials,
        n_series=series,
        seed=seed,
    )
    intervals = _intervals(result, found.verdict.combo_id, seed)
    better = _better(found, seed) if spa and found.combo_ids.size else None
    if as_json:
        _print_json(found, intervals, better)
    else:
        _print(found, intervals, better)


def _intervals(result: SweepResult, best: int, seed: int) -> Intervals:
    """Return value, low and high of the best row's metrics, none where there is no best row."""
    if best < 0:
        return {}
    from backtest_py.overfitting import Resampling  # noqa: PLC0415

    found = result.replay(best).intervals(resampling=Resampling(seed=seed))
    rows = zip(*(found[name].tolist() for name in ("value", "low", "high")), strict=True)
    return dict(zip(found.index.tolist(), rows, strict=True))


def _better(found: Examined, seed: int) -> NDArray[Any]:
    from backtest_py.overfitting import stepm  # noqa: PLC0415

    return found.combo_ids[stepm(found.returns, seed=seed)]


def _pbo_facts(pbo: PboResult) -> dict[str, Any]:
    """Return the distribution that CSCV found, in a few numbers."""
    import numpy as np  # noqa: PLC0415

    known = pbo.logits[~np.isnan(pbo.logits)]
    quantiles = np.quantile(known, SHARES) if known.size else np.full(len(SHARES), np.nan)
    return {
        "pbo": pbo.pbo,
        "n_combos": pbo.n_combos,
        "n_blocks": pbo.n_blocks,
        "n_splits": pbo.n_splits,
        "n_left_out": pbo.n_left_out,
        "logit_quantiles": {
            f"{share:g}": float(value) for share, value in zip(SHARES, quantiles, strict=True)
        },
        "degradation_slope": pbo.degradation_slope,
        "degradation_intercept": pbo.degradation_intercept,
        "probability_of_loss": pbo.probability_of_loss,
    }


def _print_json(found: Examined, intervals: Intervals, better: NDArray[Any] | None) -> None:
    facts = {} if found.pbo is None else _pbo_facts(found.pbo)
    quantiles = facts.get("logit_quantiles", {})
    facts = {name: json_value(value) for name, value in facts.items() if value is not quantiles}
    if facts:
        shown = {share: json_value(value) for share, value in quantiles.items()}
        facts["logit_quantiles"] = shown
    print_json(
        {
            "kind": "overfit",
            "verdict": found.verdict.to_mapping(),
            "cscv": facts or None,
            "intervals": {
                name: dict(zip(("value", "low", "high"), map(json_value, each), strict=True))
                for name, each in intervals.items()
            },
            "stepm": None if better is None else better.tolist(),
        }
    )


def _print(found: Examined, intervals: Intervals, better: NDArray[Any] | None) -> None:
    from backtest_py.metrics.catalogue import CATALOGUE  # noqa: PLC0415
    from backtest_py.report import tables  # noqa: PLC0415

    tables.show("", found.verdict.text)
    if found.pbo is not None:
        facts = _pbo_facts(found.pbo)
        logits = ", ".join(f"{value:.2f}" for value in facts["logit_quantiles"].values())
        shares = ", ".join(f"{100 * share:g}" for share in SHARES)
        slope, loss = found.pbo.degradation_slope, found.pbo.probability_of_loss
        rows = {
            "PBO": f"{found.pbo.pbo:.3f} of {found.pbo.n_splits - found.pbo.n_left_out:,} splits",
            "Logits": f"{logits} ({shares} %)",
            "Degradation": f"{slope:.2f} of a Sharpe afterwards for each of it before",
            "Losses": f"{100 * loss:.1f} % of the choices lost afterwards",
        }
        tables.show("", tables.facts_table(rows))
    if intervals:
        cells = [
            (
                name.replace("_", " "),
                *(tables.number(each, CATALOGUE[name].unit) for each in interval),
            )
            for name in SHOWN
            if (interval := intervals.get(name))
        ]
        header = (f"combination {found.verdict.combo_id:,}", "value", "95 % from", "to")
        tables.show("", tables.rows_table(header, cells))
    if better is not None:
        some = ", ".join(f"{each:,}" for each in better[:20].tolist())
        more = f" and {len(better) - 20:,} more" if len(better) > 20 else ""
        named = f"{some}{more}" if some else "none"
        typer.echo(f"\nBetter than doing nothing, by StepM: {named}")
