"""Random paths once more, in plain Python: whole numbers of any size, one trade after the other."""

from __future__ import annotations

from fractions import Fraction
from itertools import count

WORD = 2**32


def philox(counter, key):
    """Philox4x32-10 as its authors describe it."""
    c, k = list(counter), list(key)
    for turn in range(10):
        if turn:
            k = [(k[0] + 0x9E3779B9) % WORD, (k[1] + 0xBB67AE85) % WORD]
        high0, low0 = divmod(0xD2511F53 * c[0], WORD)
        high1, low1 = divmod(0xCD9E8D57 * c[2], WORD)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
    return c


def word(seed, path, draw, attempt=0):
    counter = [draw // 4, attempt, path % WORD, path // WORD]
    return philox(counter, [seed % WORD, seed // WORD])[draw % 4]


def below(bound, seed, path, draw):
    """Draw a whole number below a bound, each exactly as likely as any other."""
    surplus = WORD % bound
    attempts = (word(seed, path, draw, attempt) * bound for attempt in count())
    return next(scaled // WORD for scaled in attempts if scaled % WORD >= surplus)


def path_of(kind, pnl, seed, path, *, block=1, skip=0.1, costs=()):
    """Return the results of the trades of one path."""
    n = len(pnl)
    if kind == "bootstrap":
        return [pnl[below(n, seed, path, i)] for i in range(n)]
    if kind == "block":
        starts = [below(n, seed, path, i) for i in range(-(-n // block))]
        return [pnl[(start + k) % n] for start in starts for k in range(block)][:n]
    if kind == "shuffle":
        order = list(pnl)
        for draw in range(n):
            last, other = n - draw - 1, below(n - draw, seed, path, draw)
            order[last], order[other] = order[other], order[last]
        return order
    if kind == "skip":
        limit = round(Fraction(skip) * WORD)
        return [pnl[i] for i in range(n) if word(seed, path, i) >= limit]
    assert kind == "noise"
    found = []
    for i in range(n):
        result = pnl[i]
        for k in range(3):
            result = result - word(seed, path, 3 * i + k) / WORD * costs[k][i]
        found.append(result)
    return found


def walk(steps, capital, *, compound=False):
    """Return the equity after each trade, the start included, and the numbers of a path."""
    equity, total, streak = [capital], 0.0, [0]
    for step in steps:
        gain = equity[-1] * (step / capital) if compound else step
        total += gain
        equity.append(equity[-1] + gain)
        streak.append(streak[-1] + 1 if gain < 0 else 0)
        if equity[-1] <= 0:
            break
    peaks = [max(equity[: i + 1]) for i in range(len(equity))]
    falls = [peak - now for peak, now in zip(peaks, equity, strict=True)]
    return equity, {
        "total_trades": len(equity) - 1,
        "final_equity": equity[-1],
        "total_return": total,
        "total_return_pct": 100.0 * total / capital,
        "max_drawdown": max(falls),
        "max_drawdown_pct": 100.0
        * max(fall / peak for fall, peak in zip(falls, peaks, strict=True)),
        "max_consecutive_losses": max(streak),
        "ruined": equity[-1] <= 0,
    }
