"""The parity gate: a sample of the sweep on both engines, before the sweep."""
