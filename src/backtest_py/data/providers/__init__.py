"""Where market data comes from: exchanges."""
