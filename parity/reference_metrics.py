"""Section 5 of docs/semantics.md in slow, obvious Python.

Like ``reference.py`` it shares no code with the package.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.reference import Bars, Setup

NAN = float("nan")
INF = float("inf")

REASONS = (
    "stop_loss",
    "trailing_stop",
    "take_profit",
    "session_close",
    "session_end",
    "max_bars",
    "end_of_data",
)


def stored(value: float) -> float:
    """Turn -0.0 into +0.0."""
    return value + 0.0


def ratio(numerator: float, denominator: float) -> float:
    """Divide; a zero denominator makes the quotient undefined."""
    return NAN if denominator == 0 else numerator / denominator


class Account:
    """The chains of single additions in trade order."""

    def __init__(self, capital: float, risk_free: float) -> None:
        self.risk_free = risk_free
        self.total = self.gain = self.loss = self.squares = 0.0
        self.day_sum = self.day_squares = self.downside = 0.0
        self.equity = self.equity_before_day = self.peak = capital
        self.day_pnl = 0.0
        self.drawdown = self.drawdown_share = 0.0
        self.days_closed = 0

    def add(self, pnl: float) -> None:
        """Book one trade."""
        self.total += pnl
        self.equity += pnl
        self.day_pnl += pnl
        self.squares += pnl * pnl
        if pnl > 0:
            self.gain += pnl
        if pnl < 0:
            self.loss += pnl
        self.peak = max(self.peak, self.equity)
        fall = self.peak - self.equity
        self.drawdown = max(self.drawdown, fall)
        self.drawdown_share = max(self.drawdown_share, fall / self.peak)

    def close_day(self) -> None:
        """Book the return of a day on which trades ended."""
        r = self.day_pnl / self.equity_before_day
        self.day_sum += r
        self.day_squares += r * r
        x = r - self.risk_free
        if x < 0:
            self.downside += x * x
        self.equity_before_day = self.equity
        self.day_pnl = 0.0
        self.days_closed += 1


def variance(squares: float, total: float, count: int) -> float:
    """Return the sample variance; what is not above 1e-9 of the mean square counts as zero."""
    if count < 2:
        return NAN
    value = (squares - total * total / count) / (count - 1)
    return value if value > 1e-9 * (squares / count) else 0.0


def longest_streak(pnl: list[float], sign: int) -> int:
    """Return the longest run of wins (sign 1) or losses (sign -1)."""
    longest = current = 0
    for value in pnl:
        current = current + 1 if value * sign > 0 else 0
        longest = max(longest, current)
    return longest


def counted_days(bars: Bars, rows: list[dict[str, Any]], chosen: Setup, ruined: bool) -> int:
    """Return n: days with a bar in the range and later exit days, up to the day of ruin."""
    days = {bars.day[i] for i in range(chosen.first, chosen.last)}
    days |= {bars.day[row["exit_bar"]] for row in rows}
    if ruined:
        days = {day for day in days if day <= bars.day[rows[-1]["exit_bar"]]}
    return len(days)


def booked(bars: Bars, rows: list[dict[str, Any]], capital: float, risk_free: float) -> Account:
    """Return the account after all trades, closed on every day on which some ended."""
    account = Account(capital, risk_free)
    for t, row in enumerate(rows):
        day = bars.day[row["exit_bar"]]
        if t > 0 and day > bars.day[rows[t - 1]["exit_bar"]]:
            account.close_day()
        account.add(row["pnl"])
    if rows:
        account.close_day()
    return account


def trade_metrics(rows: list[dict[str, Any]], account: Account, n_bars: int) -> dict[str, Any]:
    """Return what the trades alone determine, whatever their days and the capital."""
    pnl = [row["pnl"] for row in rows]
    trades = len(rows)
    wins, losses = sum(p > 0 for p in pnl), sum(p < 0 for p in pnl)
    gross_profit, gross_loss = account.gain, 0.0 - account.loss
    avg_win, avg_loss = ratio(account.gain, wins), ratio(account.loss, losses)
    profit_factor = ratio(gross_profit, gross_loss)
    if wins > 0 and losses == 0:
        profit_factor = INF
    expectancy = ratio(account.total, trades)
    deviation = math.sqrt(variance(account.squares, account.total, trades))
    held = sum(row["exit_bar"] - row["entry_bar"] for row in rows)
    return {
        "total_trades": trades,
        "winning_trades": wins,
        "losing_trades": losses,
        "long_trades": sum(row["side"] > 0 for row in rows),
        "short_trades": sum(row["side"] < 0 for row in rows),
        "win_rate": ratio(wins, trades),
        "expectancy": expectancy,
        "avg_win": avg_win,
        "avg_loss": avg_loss,
        "gross_profit": gross_profit,
        "gross_loss": gross_loss,
        "profit_factor": profit_factor,
        "payoff_ratio": ratio(avg_win, 0.0 - avg_loss),
        "max_consecutive_wins": longest_streak(pnl, 1),
        "max_consecutive_losses": longest_streak(pnl, -1),
        "best_trade": max(pnl) if pnl else NAN,
        "worst_trade": min(pnl) if pnl else NAN,
        "sqn": ratio(math.sqrt(trades) * expectancy, deviation),
        "exposure": held / n_bars,
        "avg_bars_held": ratio(held, trades),
        "ambiguous_trades": sum(row["ambiguous"] for row in rows),
        **{f"exits_{reason}": sum(row["reason"] == reason for row in rows) for reason in REASONS},
    }


def account_metrics(account: Account, capital: float, n: int, periods: float) -> dict[str, Any]:
    """Return what became of the capital in n days."""
    total_pct = 100 * account.total / capital
    drawdown_pct = 100 * account.drawdown_share
    annual_pct = total_pct * periods / n
    excess = account.day_sum / n - account.risk_free
    deviation = math.sqrt(variance(account.day_squares, account.day_sum, n))
    m = min(-account.risk_free, 0.0)
    idle = n - account.days_closed
    downside = math.sqrt((account.downside + idle * m * m) / n)
    return {
        "days": n,
        "total_return": account.total,
        "total_return_pct": total_pct,
        "max_drawdown": account.drawdown,
        "max_drawdown_pct": drawdown_pct,
        "sharpe": ratio(excess, deviation) * math.sqrt(periods),
        "sortino": ratio(excess, downside) * math.sqrt(periods),
        "annual_return_pct": annual_pct,
        "calmar": ratio(annual_pct, drawdown_pct),
        "recovery_factor": ratio(account.total, account.drawdown),
    }


def compute_metrics(
    bars: Bars, rows: list[dict[str, Any]], chosen: Setup, ruined: bool
) -> dict[str, Any]:
    """Return all metrics of the trades in order."""
    capital, periods = chosen.contract["initial_capital"], chosen.metrics["periods_per_year"]
    account = booked(bars, rows, capital, chosen.metrics["risk_free_rate"] / periods)
    n = counted_days(bars, rows, chosen, ruined)
    metrics = {
        **trade_metrics(rows, account, chosen.last - chosen.first),
        **account_metrics(account, capital, n, periods),
        "ruined": ruined,
    }
    return {
        name: stored(value) if isinstance(value, float) else value
        for name, value in metrics.items()
    }
