"""Preprocessed files of other code as a source of clips; ``opening`` describes the formats."""

from skelssl.data.imports.opening import imported

__all__ = ["imported"]
