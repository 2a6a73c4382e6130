"""What a feed yields piece by piece is backtested as what it gives at once."""

from __future__ import annotations

from hashlib import sha256

import backtest_py as bt
from backtest_py.data.demo_exchange import DemoExchange, DemoMarket
from backtest_py.data.settings import FeedSettings, open_feed

DAY = 86_400_000
NOW = 1_740_000_000_123
SPAN = ("2024-11-20", "2025-02-01")
STRATEGY = bt.BarraElefante(min_range_mult=1.2, min_volume_mult=0.5, max_shadow_ratio=0.8)
RULES = bt.ExitRules(stop=1.5, target=2.0)
SETTINGS = {"metrics": bt.MetricSettings(periods_per_year=365)}


def test_chunks_of_a_feed(tmp_path, engine):
    market = DemoMarket("BTCUSDT", NOW - 120 * DAY, NOW)
    with DemoExchange((market,), lambda: NOW) as exchange:
        settings = FeedSettings(
            data_dir=str(tmp_path),
            exchange_url=exchange.url,
            bulk_url=exchange.url,
            weight_limit=2_400,
        )
        with open_feed(settings=settings) as feed:
            bars = feed.bars("BTCUSDT", "30m", *SPAN)
            contract = bt.Contract(tick_size=0.1)
            whole = bt.run(bars, STRATEGY, RULES, contract, engine=engine, **SETTINGS)
            pieces = list(feed.chunks("BTCUSDT", "30m", *SPAN))
            parts = bt.run_chunked(
                feed.chunks("BTCUSDT", "30m", *SPAN),
                STRATEGY,
                RULES,
                contract,
                engine=engine,
                **SETTINGS,
            )
    assert len(pieces) > 1
    assert len(whole) > 5
    assert parts.metrics == whole.metrics
    assert parts.trades.equals(whole.trades)
    # the certificate of pieces is made of theirs, for what they are made of is gone
    one, other = parts.provenance.to_mapping(), whole.provenance.to_mapping()
    certificates = [one["market"].pop("certificate"), other["market"].pop("certificate")]
    assert one == other
    theirs = "".join(piece.report.certificate for piece in pieces)
    assert certificates[0] == sha256(theirs.encode()).hexdigest() != certificates[1]
    report = parts.job.bars.report
    assert (report.symbol, report.interval) == ("BTCUSDT", "30m")
