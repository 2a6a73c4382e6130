"""Monte Carlo: what else the same trades, or the same rules, could have come to."""
