"""Showing results to people: tables for the terminal, and the plot."""
