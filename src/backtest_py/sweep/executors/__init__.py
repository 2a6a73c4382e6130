"""Who computes the shards: this thread, threads or processes."""
