"""Maskers: which joints, frames or tokens an encoder does not see. Pure; all chance comes from a generator."""
