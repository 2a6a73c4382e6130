"""What ``backtest-py bench`` measures."""
