"""Text files of bars as programs write them, for the tests of the readers."""

from __future__ import annotations

import numpy as np

from backtest_py.bars import Bars

GENERIC = """\
time,open,high,low,close,volume
2024-01-02 09:00:00,100.5,102.25,99.0,101.0,12
2024-01-02 09:05:00,101.0,101.5,100.0,100.5,0
2024-01-02 09:10:00,100.5,100.5,98.0,98.75,31
"""
MT5 = (
    "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\t\r\n"
    "2024.01.02\t09:00:00\t100.5\t102.25\t99.0\t101.0\t4\t12\t5\t\r\n"
    "2024.01.02\t09:05:00\t101.0\t101.5\t100.0\t100.5\t1\t0\t5\t\r\n"
    "2024.01.02\t09:10:00\t100.5\t100.5\t98.0\t98.75\t9\t31\t5\t\r\n"
)
PROFIT = (
    "Ativo;Data;Hora;Abertura;Máximo;Mínimo;Fechamento;Volume;Quantidade\r\n"
    "WINFUT;02/01/2024;09:10:00;126.340,00;126.500,00;126.300,00;126.450,00;1.015.474.338,60;1.031\r\n"
    "WINFUT;02/01/2024;09:05:00;126.200,00;126.400,00;126.150,00;126.340,00;974.338,60;44.286\r\n"
    "WINFUT;02/01/2024;09:00:00;126.100,00;126.250,00;126.050,00;126.200,00;15.474.338,60;54.524\r\n"
)
PROFIT_SHORT = (
    "Data;Open;High;Low;Close;Candle\r\n"
    "18/05/2022 17:50;106930;106995;106855;106965;107\r\n"
    "18/05/2022 17:45;106940;106960;106830;106935;106\r\n"
)


def expected(**changes):
    columns = {
        "time": np.array(["2024-01-02T09:00", "2024-01-02T09:05", "2024-01-02T09:10"], "M8[ns]"),
        "open": [100.5, 101.0, 100.5],
        "high": [102.25, 101.5, 100.5],
        "low": [99.0, 100.0, 98.0],
        "close": [101.0, 100.5, 98.75],
        "volume": [12.0, 0.0, 31.0],
    }
    return Bars(**(columns | changes))


def same(bars, other):
    """Whether all columns and clocks agree, bit for bit."""
    return bars.content_hash == other.content_hash
