"""Maskers: which joints, frames or tokens are hidden from an encoder. All randomness comes from a generator."""
