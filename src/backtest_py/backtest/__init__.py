"""One backtest: what is asked, the run, and its result."""
