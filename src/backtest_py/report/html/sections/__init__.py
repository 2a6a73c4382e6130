"""The sections of a report, each from a result to blocks."""
