"""Raw files -> parsed store -> recipe store -> batches."""

from skelssl.data.process import process_file

__all__ = ["process_file"]
