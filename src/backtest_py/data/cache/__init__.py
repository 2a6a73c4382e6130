"""The tiers that keep market data: memory, a database, an archive of files."""
