"""``backtest-py data …``: market data, fetched and kept."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from time import time
from typing import TYPE_CHECKING, Annotated

import typer

from backtest_py.cli.options import Json, MetricsPort, print_json
from backtest_py.errors import ConfigError
from backtest_py.parameters import counted

if TYPE_CHECKING:
    from backtest_py.data.inventory import KeptSeries

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
    """Show what database and archive keep, and what the exchange has rewritten."""
    from backtest_py.data.inventory import inventory  # noqa: PLC0415 - of the extra `data`
    from backtest_py.data.settings import open_feed  # noqa: PLC0415

    with open_feed(profile) as feed:
        found = inventory(feed)
    if json:
        print_json([each.to_dict() for each in found])
        return
    if not found:
        typer.echo("nothing is kept yet")
        return
    from backtest_py.report.tables import rows_table, show  # noqa: PLC0415 - only for a table

    names = ("series", "from", "to", "candles", "holes", "MB", "unused")
    show(rows_table(names, map(_status_row, found), n_texts=3))
    typer.echo("MB in database + archive; unused: days since the database was asked for it")
    for each in found:
        spans = counted(len(each.known), "span")
        sources = ", ".join(sorted(each.sources)) or "nowhere"
        typer.echo(f"{each.series}: {spans} from {sources}")
    for each in found:
        for rewrite in each.rewrites:
            typer.echo(str(rewrite))


def _status_row(kept: KeptSeries) -> tuple[object, ...]:
    from backtest_py.data.market.spans import instant_text  # noqa: PLC0415 - of the extra `data`

    edges = [kept.known[0].start, kept.known[-1].end] if kept.known else []
    unused = "" if kept.last_access is None else int((time() - kept.last_access) // 86_400)
    return (
        str(kept.series),
        *(instant_text(each)[:10] for each in edges),
        *("",) * (2 - len(edges)),
        f"{kept.n_candles:,}",
        f"{kept.n_holes:,}",
        f"{kept.database_bytes / 1e6:,.1f} + {kept.archive_bytes / 1e6:,.1f}",
        unused,
    )


@commands.command("verify")
def verify(
    *,
    against: Annotated[str, typer.Option(help="exchange: ask it again, too.")] = "",
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is wrong, and have it once more.")
    ] = False,
    profile: Profile = "",
    json: Json = False,
) -> None:
    """Read everything that is kept anew; exit status 1 if anything is wrong."""
    from backtest_py.data.settings import open_feed  # noqa: PLC0415 - of the extra `data`
    from backtest_py.data.verification import verify as verify_feed  # noqa: PLC0415

    if against not in {"", "exchange"}:
        raise ConfigError(f"--against {against} is not known; give exchange, or leave it out")
    with open_feed(profile) as feed:
        found = verify_feed(feed, repair=repair, ask_exchange=bool(against))
        earlier = [each for each in feed.journal.entries() if each not in found.rewrites]
    if json:
        print_json({**found.to_dict(), "earlier_rewrites": [each.to_dict() for each in earlier]})
    else:
        for problem in found.problems:
            typer.echo(f"{problem.kind}: {problem.where}: {problem.text}")
        for note in found.notes:
            typer.echo(f"note: {note}")
        for rewrite in earlier:
            typer.echo(f"earlier: {rewrite}")
        typer.echo(
            f"{counted(found.n_blocks, 'block')} of {counted(found.n_candles, 'candle')} read, "
            f"{counted(len(found.problems), 'problem')} found"
        )
    if found.problems:
        raise typer.Exit(1)


@commands.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Zip of the exchange, CSV or Parquet.")
    ],
    symbol: Annotated[str, typer.Option(help="Such as BTCUSDT.")],
    interval: IntervalName,
    *,
    closed: Annotated[
        bool, typer.Option("--closed", help="The last candle is closed, small as it is.")
    ] = False,
    profile: Profile = "",
    json: Json = False,
) -> None:
    """Take the candles of files over, if nothing speaks against it."""
    from backtest_py.data.importing import import_files  # noqa: PLC0415 - of the extra `data`
    from backtest_py.data.settings import open_feed  # noqa: PLC0415

    with open_feed(profile) as feed:
        found = import_files(feed, files, symbol, interval, closed=closed)
    rows = [each.to_dict() for each in found]
    if json:
        print_json(rows)
        return
    for row in rows:
        checked = "its checksum is right" if row["verified"] else "no checksum lies beside it"
        typer.echo(
            f"{row['file']}: {row['n_candles']:,} candles, {row['n_new']:,} of them new, from "
            f"{row['known'][0][0]} to {row['known'][-1][1]}; SHA-256 {row['sha256'][:12]}, "
            f"{checked}"
        )
        for start, end in row["gaps"]:
            typer.echo(f"  nothing from {start} to {end}; it stays unknown")


@commands.command("export")
def export(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTCUSDT.")],
    interval: IntervalName,
    out: Annotated[Path, typer.Option(help="File to write, .parquet or .csv.")],
    *,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    profile: Profile = "",
    json: Json = False,
) -> None:
    """Write all that is known of a series, with its certificate."""
    from backtest_py.data.exporting import export_series  # noqa: PLC0415 - of the extra `data`
    from backtest_py.data.settings import open_feed  # noqa: PLC0415

    with open_feed(profile) as feed:
        found = export_series(feed, symbol, interval, out, overwrite=overwrite)
    if json:
        print_json({"path": str(found.path), "certificate": found.certificate.to_dict()})
        return
    typer.echo(
        f"{found.path}: {found.n_candles:,} candles, certificate {found.certificate.hash[:12]}"
    )


@commands.command("sweep")
def sweep(*, profile: Profile = "") -> None:
    """Drop from the database what nobody asked for within the time to live."""
    from backtest_py.data.settings import open_feed  # noqa: PLC0415 - of the extra `data`

    with open_feed(profile) as feed:
        assert feed.database is not None
        gone = feed.database.sweep()
    typer.echo(f"{counted(gone, 'block')} dropped from the database; the archive keeps all")


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
