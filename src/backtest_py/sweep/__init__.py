"""Sweeps: many combinations of parameters on the same bars."""
