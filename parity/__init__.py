"""Proof that both engines follow docs/semantics.md; see README.md in this folder."""
