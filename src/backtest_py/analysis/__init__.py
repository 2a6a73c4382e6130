"""What to make of a result: how much of it may be luck."""
