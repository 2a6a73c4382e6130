"""Executors, which compute the shards of a sweep: this thread, another thread, or processes."""
