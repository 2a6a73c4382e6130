"""What a sweep gives: the best rows, slices and replays, read where they lie."""
