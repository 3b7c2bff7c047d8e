"""Read the three text formats of PKU-MMD: recordings of 150 columns, label files and split lists.

Liu et al., PKU-MMD, ACM MM workshop VSCC 2017; github.com/ECHO960/PKU-MMD.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.data.ntu.text import Words
from skelssl.data.source import BadInput

PERSONS, JOINTS = 2, 25
COLUMNS = PERSONS * JOINTS * 3
CLASSES = 51
STEM = re.compile(r"(?:[0-9]{4}|A[0-9]{2}N[0-9]{2})-[LMR]", re.IGNORECASE)
_LABEL = ("class", "start", "end", "confidence")


@dataclass(frozen=True, slots=True)
class PKURecording:
    """The words of a recording; only the requested frames are converted to numbers."""

    words: Words
    n_frames: int

    @classmethod
    def of(cls, data: bytes) -> PKURecording:
        """Split a file into words; raise BadInput D01 (empty), D24 (a line of other than 150 words) or D23 (commas)."""
        words = Words.of(data)
        if not len(words):
            raise BadInput("D01", "empty file")
        line_ends = np.flatnonzero(np.frombuffer(words.data, np.uint8) == ord("\n"))
        before = np.searchsorted(words.start, line_ends)
        count = np.trim_zeros(np.diff(before, prepend=0, append=len(words)), "b")  # blank lines may end the file
        wrong = np.flatnonzero(count != COLUMNS)
        if len(wrong):
            line = int(wrong[0])
            raise BadInput("D24", f"line {line + 1} holds {count[line]} words, expected {COLUMNS} numbers")
        if b"," in data or b"_" in data:  # Python's own digit separator "_" would otherwise pass
            raise BadInput("D23", "found a comma or an underscore, expected numbers with a decimal point")
        return cls(words, len(count))

    def persons(self, first: int, stop: int) -> NDArray[np.float32]:
        """Return frames ``first:stop`` as (T, M=2, V=25, 3) in m, absent persons zero; raise BadInput D23."""
        at = np.arange(first * COLUMNS, stop * COLUMNS)
        return self.words.numbers(at).astype(np.float32).reshape(-1, PERSONS, JOINTS, 3)


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One line of a label file: class ``label`` in frames ``first:stop`` of its recording, all 0-based."""

    label: int
    first: int
    stop: int
    mended: bool  # the interval was swapped or cut to the recording

    @classmethod
    def of(cls, text: str, n_frames: int) -> LabelLine:
        """Read ``class,start,end,confidence``: 1-based, the end included, the confidence ignored.

        Integral floats are accepted, start and end may be swapped, and the interval is cut to the recording. Raises
        BadInput D25 for anything else.
        """
        fields = [field.strip() for field in text.rstrip(", \t\r").split(",")]
        if not 3 <= len(fields) <= 4:
            raise BadInput("D25", f"found {len(fields)} fields in {text.strip()!r}, expected {','.join(_LABEL)}")
        label, start, end = (_whole(*pair) for pair in zip(fields, _LABEL[:3], strict=False))
        if not 1 <= label <= CLASSES:
            raise BadInput("D25", f"class {label} is not in 1–{CLASSES}")
        first, last = max(1, min(start, end)), min(n_frames, max(start, end))
        if first > last:
            raise BadInput("D25", f"interval {start}–{end} lies outside the {n_frames} frames")
        return cls(label - 1, first - 1, last, (first, last) != (start, end))


def _whole(text: str, what: str) -> int:
    try:
        value = float(text.replace("_", "?"))  # Python reads 1_0 as 10
    except ValueError:
        value = float("nan")
    if not value.is_integer():
        raise BadInput("D25", f"found {what} {text!r}, expected a whole number")
    return int(value)


def lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines of a label file that are not blank, each with its 1-based number."""
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), start=1):
        if line.strip():
            yield number, line


def looks_like_labels(head: bytes) -> bool | None:
    """Return whether a file that begins with ``head`` holds labels (True) or a recording; None if ambiguous."""
    first = next((line for _, line in lines(head)), "")
    if len(first.split()) > COLUMNS // 10:
        return False
    fields = first.split(",")
    return True if len(fields) > 1 and all(len(field.split()) <= 1 for field in fields) else None


def read_split(data: bytes, where: str) -> tuple[set[str], set[str]]:
    """Return the training and the test stems of a file with a header and a list of stems for each.

    Headers may be misspelt: one that names neither side is taken as the next in the order training, validation.

    Raises:
        UserError: for an item that is not a stem, and for a stem on both sides (D27)
    """
    sides: tuple[set[str], set[str]] = (set(), set())
    side = -1
    for _, line in lines(data):
        header, colon, items = line.rpartition(":")
        if not colon and not STEM.search(line):
            header, items = line, ""
        if header.strip():
            side = _side(header, side)
        for item in filter(None, re.split(r"[,\s]+", items)):
            if not STEM.fullmatch(item) or side < 0:
                expected = "a header first" if side < 0 else "names of recordings such as 0002-L or A01N01-L"
                raise UserError(f"{where}: found {item!r}, expected {expected}")
            sides[side].add(item.upper())
    if both := sides[0] & sides[1]:
        raise UserError(f"{where}: found {min(both)} in both lists (D27), expected every recording in one")
    return sides


def _side(header: str, before: int) -> int:
    text = header.lower()
    if "train" in text:
        return 0
    return 1 if "val" in text or "test" in text else min(before + 1, 1)
