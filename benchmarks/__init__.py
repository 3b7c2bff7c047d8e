"""Measurements of skelssl against the straightforward form of the same arithmetic, both in one run."""
