"""Files that are whole or absent, and paths that a user gives."""
