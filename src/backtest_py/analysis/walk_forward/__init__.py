"""Walk-forward: choose on one stretch of time, judge on the next, and go on."""
