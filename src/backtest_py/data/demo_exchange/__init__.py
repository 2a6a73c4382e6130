"""A local exchange: the endpoints, limits and faults of the real one, with made-up candles.

It answers like Binance's USDT-futures market data: klines, exchange information, time, and the
archive of months and days. Everything can be tried with it without a network.
"""

from __future__ import annotations

from backtest_py.data.demo_exchange.exchange import DemoExchange
from backtest_py.data.demo_exchange.faults import FAULTS
from backtest_py.data.demo_exchange.market import DemoMarket, demo_markets
from backtest_py.data.demo_exchange.reply import Reply
from backtest_py.data.demo_exchange.serving import serve

__all__ = ["FAULTS", "DemoExchange", "DemoMarket", "Reply", "demo_markets", "serve"]
