"""Read raw files into a parsed store, derive recipe stores from it, and load batches."""

from skelssl.data.process import process_file

__all__ = ["process_file"]
