"""Datasets of your own: folders or indices of clips, and what pose tools write."""

from skelssl.data.custom.source import Custom

__all__ = ["Custom"]
