"""Provide PKU-MMD I and II."""

from skelssl.data.pku.source import PKU

__all__ = ["PKU"]
