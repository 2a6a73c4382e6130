"""The command ``report``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from backtest_py.cli.options import ConfigFile, EngineName, Json, print_json

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def report(
    file: ConfigFile,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Page to write.")],
    lang: Annotated[str, typer.Option(help="Language of the page: en or pt-BR.")] = "en",
    currency: Annotated[
        str, typer.Option(help="Currency of all money, such as BRL or USDT; by default as named.")
    ] = "",
    title: Annotated[str, typer.Option(help="Title instead of the strategy's and market's.")] = "",
    engine: EngineName = "",
    as_json: Json = False,
) -> None:
    """Run one backtest and write its report: one HTML file that opens anywhere, offline.

    It has the price with all trades, the account, drawdowns, months, hours, exits, costs, all
    metrics, the settings and where the bars came from.
    """
    from backtest_py.config import Config  # noqa: PLC0415
    from backtest_py.report.html import check_report  # noqa: PLC0415

    check_report(out, lang=lang, currency=currency)
    result = Config.load(file).backtest(engine=engine)
    written = result.report(out, lang=lang, currency=currency, title=title)
    size = written.stat().st_size
    if as_json:
        metrics = result.metrics.to_mapping()
        print_json({"kind": "report", "path": str(written), "bytes": size, "metrics": metrics})
        return
    typer.echo(f"Wrote {written} ({size / 1e6:.2f} MB)")
