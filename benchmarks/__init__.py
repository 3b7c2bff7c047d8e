"""Measurements of skelssl against the naive baseline of the same arithmetic, both in one run."""
