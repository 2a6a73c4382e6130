"""``backtest-py data …``: market data, fetched and kept."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backtest_py.cli.options import Json, MetricsPort, print_json

__all__ = ["commands"]

commands = typer.Typer(name="data", help="Fetch market data, and see what is kept.")

Symbols = Annotated[list[str], typer.Argument(metavar="SYMBOL…", help="Such as BTCUSDT.")]
IntervalName = Annotated[str, typer.Option(help="Such as 1m, 4h or 1d.")]
Profile = Annotated[str, typer.Option(help="development, staging or production.")]


@commands.command("fetch")
def fetch(
    symbols: Symbols,
    interval: IntervalName,
    start: Annotated[str, typer.Option(help="First day or time, UTC.")],
    end: Annotated[str, typer.Option(help="The day or time before which it ends, UTC.")],
    *,
    profile: Profile = "",
    metrics_port: MetricsPort = 0,  # noqa: ARG001 - the option serves them
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Fetch complete, closed, checked bars, and keep them."""
    from backtest_py.cli.download import download_bar  # noqa: PLC0415 - as the next one
    from backtest_py.data.settings import open_feed  # noqa: PLC0415 - of the extra `data`

    with open_feed(profile) as feed, download_bar(silent=json or quiet) as progress:
        found = feed.bars_many(symbols, interval, start, end, progress=progress)
    rows = [
        {
            "symbol": symbol,
            "interval": interval,
            "bars": len(bars),
            "first": bars.time_text(0),
            "last": bars.time_text(len(bars) - 1),
            "hash": bars.content_hash,
        }
        for symbol, bars in found.items()
    ]
    if json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(
            f"{row['symbol']} {interval}: {row['bars']:,} bars, {row['first']} to {row['last']}, "
            f"{str(row['hash'])[:12]}"
        )


@commands.command("status")
def status(*, profile: Profile = "", json: Json = False) -> None:
    """Show what the database keeps."""
    from backtest_py.data.settings import open_feed  # noqa: PLC0415 - of the extra `data`

    rows: list[dict[str, Any]] = []
    with open_feed(profile) as feed:
        assert feed.database is not None
        for series, period in feed.database.periods():
            block = feed.database.get(series, period)
            if block is not None:
                rows.append(
                    {
                        "symbol": series.symbol,
                        "interval": series.interval.name,
                        "period": period.start,
                        "candles": len(block.candles),
                        "holes": len(block.holes),
                        "sources": sorted({source.name for source in block.sources}),
                    }
                )
    if json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(
            f"{row['symbol']} {row['interval']}: {row['candles']:,} candles, "
            f"{row['holes']:,} holes, from {', '.join(row['sources'])}"
        )
    if not rows:
        typer.echo("nothing is kept yet")


@commands.command("sweep")
def sweep(*, profile: Profile = "") -> None:
    """Drop from the database what nobody asked for within the time to live."""
    from backtest_py.data.settings import open_feed  # noqa: PLC0415 - of the extra `data`

    with open_feed(profile) as feed:
        assert feed.database is not None
        gone = feed.database.sweep()
    typer.echo(f"{gone:,} blocks were dropped from the database; the archive keeps all")


@commands.command("demo-exchange")
def demo_exchange(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 for any free port.")] = 8_700,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="Age of its markets.")] = 730,
    fault: Annotated[list[str] | None, typer.Option(help="A fault to switch on.")] = None,
    latency: Annotated[float, typer.Option(min=0.0, max=60.0, help="Seconds an answer takes.")] = 0,
) -> None:
    """Run a local exchange with made-up candles, to try everything without a network."""
    from backtest_py.data.demo_exchange import serve  # noqa: PLC0415 - only here

    serve(
        port,
        days=days,
        faults=fault or (),
        latency=latency,
        ready=lambda exchange: typer.echo(
            f"export BACKTEST_PY_EXCHANGE_URL={exchange.url} BACKTEST_PY_BULK_URL={exchange.url}\n"
            f"symbols: {', '.join(exchange.markets)}; Control-C ends it"
        ),
    )
