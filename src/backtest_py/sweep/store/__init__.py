"""A sweep on disk: shards that are whole or absent."""
