"""From a shard of the grid to its table."""
