"""The command ``replay``: from a row of a sweep to files that one can decide by."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_py._io.spreadsheets import dialect_of
from backtest_py.cli.options import (
    CsvFile,
    Directory,
    Json,
    Locale,
    print_json,
    print_notes,
    write_trades,
)

if TYPE_CHECKING:
    from backtest_py.backtest.result import BacktestResult
    from backtest_py.sweep.result.result import SweepResult

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def replay(
    directory: Directory,
    combo_id: Annotated[
        int | None, typer.Argument(metavar="COMBO_ID", help="Number of the row.")
    ] = None,
    *,
    by: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Instead of a number: what to rank by.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(metavar="N", help="And the place in that ranking, from 1.")
    ] = None,
    span: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--range", metavar="START END", help='Instead of the sweep\'s range; "" is open.'
        ),
    ] = None,
    toml: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a configuration that runs it again."),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--set", metavar="FILE", help="Write inputs for MetaTrader 5.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Draw price, trades and equity.")
    ] = None,
    csv: CsvFile = None,
    locale: Locale = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write trades.parquet, metrics.json and manifest.json."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run one combination of a sweep again, with its trades.

    It is named by its number, or by its place in a ranking: --by sharpe --rank 1.
    """
    from backtest_py.sweep.result.result import open_sweep  # noqa: PLC0415

    dialect_of(locale=locale)
    if plot is not None:
        from backtest_py.report.plot import check_image  # noqa: PLC0415

        check_image(plot)
    swept = open_sweep(directory)
    number = swept.row_id(combo_id, by=by, rank=rank)
    result = swept.replay(number, range=span)
    if toml is not None:
        result.to_toml(toml)
    if inputs is not None:
        swept.to_set(number, inputs)
    if plot is not None:
        result.plot(plot)
    if csv is not None:
        write_trades(result, csv, locale)
    if out is not None:
        result.save(out)
    if as_json:
        told = {"metrics": result.metrics.to_mapping(), "notes": list(result.notes)}
        print_json({"combo_id": number, **result.manifest(), **told})
        return
    _show(swept, number, directory, result)
    print_notes(result)
    for file in filter(None, (toml, inputs, plot, csv)):
        typer.echo(f"Wrote {file}")
    if out is not None:
        typer.echo(f"Wrote trades.parquet, metrics.json and manifest.json to {out}")


def _show(swept: SweepResult, combo_id: int, directory: Path, result: BacktestResult) -> None:
    from backtest_py.report import tables  # noqa: PLC0415

    facts = {
        "Combination": f"{combo_id:,} of {directory}",
        **swept.values(combo_id),
        "Engine": f"{result.engine}: {result.reason}",
    }
    tables.show(tables.facts_table(facts), "", tables.metric_table(result.metrics))
