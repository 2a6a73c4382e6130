"""Window sums and the average true range. Mirrors ``engine_rust/src/indicators.rs``."""

from __future__ import annotations

import numpy as np

from backtest_py._jit import kernel

__all__ = ["atr_sma", "atr_wilder", "prior_sum", "true_range", "wilder", "window_sums"]

BLOCK = 512
"""Bars per block: the running sums of one block stay in the first-level cache."""


@kernel(allocates=False)
def window_sums(x, length, begin, out):
    """Set ``out[t] = 0.0 + x[begin+t] + … + x[begin+t+length-1]``, added left to right.

    Every window has its own chain of additions; neighbouring windows are lanes of a vector. Four
    terms a pass: a third of the loads and stores of one term a pass. Slices, because an index
    that might be negative keeps the loop from becoming vector code (1.5 ms against 0.24 ms for
    140,000 windows of 20).
    """
    for low in range(0, len(out), BLOCK):
        sums = out[low : low + BLOCK]
        n = len(sums)
        for t in range(n):
            sums[t] = 0.0
        k = 0
        while k + 4 <= length:
            i = begin + low + k
            a, b = x[i : i + n], x[i + 1 : i + 1 + n]
            c, d = x[i + 2 : i + 2 + n], x[i + 3 : i + 3 + n]
            for t in range(n):
                sums[t] = (((sums[t] + a[t]) + b[t]) + c[t]) + d[t]
            k += 4
        while k < length:
            i = begin + low + k
            a = x[i : i + n]
            for t in range(n):
                sums[t] = sums[t] + a[t]
            k += 1


@kernel(allocates=False)
def prior_sum(x, length, i):
    """Return ``0.0 + x[i-length] + … + x[i-1]``, added left to right."""
    total = 0.0
    for k in range(i - length, i):
        total += x[k]
    return total


@kernel(allocates=False)
def true_range(high, low, close, out):
    """Set the true range of every bar: semantics section 2."""
    out[0] = high[0] - low[0]
    high, low, before, rest = high[1:], low[1:], close[:-1], out[1:]
    for i in range(len(rest)):
        widest = high[i] - low[i]
        up = abs(high[i] - before[i])
        down = abs(low[i] - before[i])
        widest = up if up > widest else widest
        widest = down if down > widest else widest
        rest[i] = widest


@kernel
def atr_wilder(high, low, close, period, out):
    """Set Wilder's average true range, nan before bar ``period``."""
    wilder(high, low, close, period, 0, 0.0, out)


@kernel
def wilder(high, low, close, period, seen, carried, out):
    """Set Wilder's average true range of the bars after ``seen`` others, and return what it was.

    That is what the next bars need as ``carried``: the running sum of the true ranges up to bar
    ``period``, then the last average. Where others were seen, the columns begin with the last of
    them.
    """
    n = len(out)
    tr = np.empty(len(high))
    true_range(high, low, close, tr)
    tr = tr[len(high) - n :]
    p = float(period)
    summed = min(max(period + 1 - seen, 0), n)
    for t in range(summed):
        out[t] = np.nan
        if seen + t > 0:
            carried += tr[t]
        if seen + t == period:
            carried = carried / p
            out[t] = carried
    for t in range(summed, n):
        carried = (carried * (p - 1.0) + tr[t]) / p
        out[t] = carried
    return carried


@kernel
def atr_sma(high, low, close, period, out):
    """Set the simple mean of the last ``period`` true ranges, nan before bar ``period - 1``."""
    n = len(out)
    tr = np.empty(n)
    true_range(high, low, close, tr)
    defined = min(period - 1, n)
    for i in range(defined):
        out[i] = np.nan
    window_sums(tr, period, 0, out[defined:])
    for i in range(defined, n):
        out[i] = out[i] / float(period)
