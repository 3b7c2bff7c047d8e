"""Define the content of an import: clips as rows of foreign arrays, with their positions in files and their facts."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused
from skelssl.data.clip import RawClip
from skelssl.data.source import Entry, Skipped

BYTES_PER_BODY = 1200  # bytes of text that one body in one frame would take, for the check of free space
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class ArrayBlock:
    """The position of an uncompressed array in a file."""

    path: str
    offset: int  # bytes
    dtype: str
    shape: tuple[int, ...]
    fortran: bool = False

    def read(self) -> NDArray[Any]:
        """Read the array. A memory map would count as used memory, and each row is read only once."""
        flat = np.fromfile(self.path, self.dtype, math.prod(self.shape), offset=self.offset)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")

    def rows(self) -> list[ArrayBlock]:
        """Return one block per index of the first axis; raise Refused for an array whose rows are not contiguous."""
        if self.fortran and len(self.shape) > 1:
            raise Refused(self.path, "D32", "found an array in Fortran order, expected C order as the references save")
        row = self.shape[1:]
        step = math.prod(row) * np.dtype(self.dtype).itemsize
        return [ArrayBlock(self.path, self.offset + i * step, self.dtype, row) for i in range(self.shape[0])]


def npy_header(
    path: Path, start: int = 0, data: bytes | None = None
) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Read shape, Fortran order, dtype and content offset of a ``.npy`` that begins at byte ``start``.

    ``data``: the bytes of a file that is already in memory.
    """
    try:
        with open(path, "rb") if data is None else io.BytesIO(data) as file:
            file.seek(start)
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            return shape, fortran, dtype, file.tell()
    except (ValueError, KeyError) as error:
        raise Refused(path, "D32", "found no npy header, expected a complete file; delete and make it again") from error


def npy_block(path: Path, start: int = 0, size: int | None = None) -> ArrayBlock:
    """Return the array of a ``.npy`` file, or of the ``.npy`` in ``size`` bytes from ``start``.

    Raises Refused for a size that differs from the header's (D32), and for an array of objects (D29).
    """
    shape, fortran, dtype, offset = npy_header(path, start)
    if dtype.hasobject:
        raise Refused(path, "D29", "found an array of pickled objects, expected one of numbers")
    found = (os.stat(path).st_size if size is None else start + size) - offset
    if found != (needed := math.prod(shape) * dtype.itemsize):
        raise Refused(
            path,
            "D32",
            f"found {found:,} bytes of content, expected the {needed:,} of {shape} {dtype}; "
            "it was half-written: delete it and make or download it again",
        )
    return ArrayBlock(str(path), offset, dtype.str, shape, fortran)


@dataclass(frozen=True, slots=True)
class ImportRow(Entry):
    """One clip of an array file."""

    block: ArrayBlock = field(kw_only=True)
    label: int = field(kw_only=True)
    facts: Mapping[str, int] = field(kw_only=True)
    frames: int | None = field(kw_only=True, default=None)  # number of frames, if the file contains it


@dataclass(slots=True)
class ImportPart:
    """One side of a split in its file, or all clips of a file that holds the splits as lists."""

    side: str  # train or test; empty for all
    blocks: Sequence[ArrayBlock]
    labels: NDArray[np.int64]  # (N,)
    names: Sequence[str] | None = None
    frames: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Raise Refused (D30) if the number of labels, names or counts differs from that of clips."""
        beside = {"labels": self.labels, "names": self.names, "frame counts": self.frames}
        for what, values in beside.items():
            if values is not None and len(values) != len(self.blocks):
                path = self.blocks[0].path if self.blocks else self.side
                raise Refused(
                    path, "D30", f"found {len(values):,} {what} for {len(self.blocks):,} clips, expected one each"
                )


@dataclass(slots=True)
class ImportContent:
    """The content that an importer found at a path."""

    path: Path
    what: str  # description of the format
    form: str  # clip.LISTED, clip.LISTED_TWO or the name of a recipe
    decode: Callable[[ImportRow], RawClip]
    parts: Sequence[ImportPart]
    files: Sequence[Path]  # the files on which the import depends
    text_size: Callable[[ArrayBlock], int]  # bytes that a clip would take as text, for the check of free space
    hints: Sequence[str] = ()  # names of file and folder that may contain the split
    order: str | None = None  # of clips without names: "ids" of the split, "name", or None if unknown
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the recipe that made the arrays
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)  # "xsub_train" -> names, if the file has them
    skipped: Sequence[Skipped] = ()  # its clips that cannot be used
    notes: Sequence[str] = ()  # for the report


def persons_first(x: NDArray[Any]) -> NDArray[np.float32]:
    """Convert (C, T, V, M), the layout of ST-GCN's files, -> (T, M, V, C)."""
    return np.ascontiguousarray(x.transpose(1, 3, 2, 0), np.float32)
