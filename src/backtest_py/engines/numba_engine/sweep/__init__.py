"""A sweep on the Numba engine. Mirrors ``engine_rust/src/sweep``."""
