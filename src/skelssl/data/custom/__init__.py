"""Provide custom datasets: folders or indices of clips, and files of pose tools."""

from skelssl.data.custom.source import Custom

__all__ = ["Custom"]
