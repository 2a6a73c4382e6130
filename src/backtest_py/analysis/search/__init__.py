"""Smart search: the good combinations of a grid that is too large to sweep."""
