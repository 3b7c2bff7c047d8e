"""Provide NTU RGB+D 60 and 120."""

from skelssl.data.ntu.source import NTU

__all__ = ["NTU"]
