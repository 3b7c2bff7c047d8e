"""Read NTU RGB+D ``.skeleton`` text, strictly and fast.

Numbers are separated by whitespace in a fixed order: the frame count, then for each frame its body count, and for each
body 10 fields, the joint count and 12 fields for every joint. Line ends carry no meaning: CRLF, LF, tabs and a byte
order mark all read the same. Only the fields that are retained (ids, counts, xyz, joint states) are converted.
Format: Shahroudy et al., NTU RGB+D, CVPR 2016; github.com/shahroudy/NTURGB-D.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.data.source import BadInput

JOINTS = 25
_HEAD, _FIELDS = 11, 12  # fields of a body before its joints (the last is the joint count), fields of a joint
_BODY = _HEAD + _FIELDS * JOINTS
_WINDOW = 16  # characters that are examined per number
_EXACT_DIGITS = 15  # fit a float64, and mantissa / 10**k rounds once like float(); longer words take float() itself
_POWERS = 10.0 ** np.arange(_WINDOW + 1)
_ROW = np.dtype(f"V{_WINDOW}")
# Byte masks by word width, each of which can be gathered as one row.
_KEEP = np.where(np.tri(_WINDOW + 1, _WINDOW, -1, dtype=bool)[:, ::-1], 255, 0).astype(np.uint8).view(_ROW)[:, 0]

Ints = NDArray[np.int64]


@lru_cache
def _keep_freed_blocks() -> None:
    """Make glibc retain freed blocks, once per process: page faults for new ones make parsing 3 times slower.

    Freeing one large block has this effect; since it is never written, it takes no memory.
    """
    np.empty(30 << 20, np.uint8)


@dataclass(frozen=True, slots=True)
class SkeletonText:
    """The content of a ``.skeleton`` file: R body-frames over F frames."""

    bodies: NDArray[np.float32]  # (R, V, 3) metres
    body_id: Ints  # (R,)
    track: NDArray[np.uint8]  # (R, V)
    frame_ptr: Ints  # (F + 1,)
    codes: tuple[
        str, ...
    ]  # D02 cut short and salvaged, D03 extra numbers at the end, D05 frames without a body, D12 NaN or infinity


def read_skeleton(data: bytes, *, salvage: bool = False) -> SkeletonText:
    """Read one file; raise BadInput with D01 (empty), D02 (truncated), D04 (no body) or D23 (not a number).

    ``salvage`` retains the complete frames of a truncated file, with the code D02; without any it is still rejected.
    """
    words = Words.of(data)
    if not len(words):
        raise BadInput("D01", "empty file")
    if b"," in data or b"_" in data:  # Python's own digit separator "_" would otherwise pass
        raise BadInput("D23", "found a comma or an underscore, expected numbers with a decimal point")
    counts, end, truncated = _body_counts(words)
    if truncated and not (salvage and counts.any()):
        raise BadInput("D02", f"truncated: frame {len(counts) + 1} needs more than the {len(words)} numbers there are")
    if not counts.any():
        raise BadInput("D04", f"no body in any of {len(counts)} frames")
    frame_ptr = np.concatenate([[0], counts.cumsum()])
    frame = np.repeat(np.arange(len(counts)), counts)
    head = frame + 2 + _BODY * np.arange(len(frame))  # word index of each body's first field
    joint = head[:, None] + _HEAD + _FIELDS * np.arange(JOINTS)
    words.expect(b"%d" % JOINTS, head + _HEAD - 1)
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, which is reported
        bodies = words.numbers(joint[..., None] + np.arange(3)).astype(np.float32)
    found = {
        "D02": truncated,
        "D03": end < len(words) and not truncated,
        "D05": not counts.all(),
        "D12": not np.isfinite(bodies).all(),
    }
    codes = tuple(code for code, yes in found.items() if yes)
    return SkeletonText(bodies, words.integers(head), words.states(joint + _FIELDS - 1), frame_ptr, codes)


def _body_counts(words: Words) -> tuple[Ints, int, bool]:
    """Return the body count of each complete frame (F,), the index of the next word, and whether frames are missing.

    This is a loop because the position of a frame depends on all previous counts.
    """
    counts, at, announced = list[int](), 1, words.count(0)
    while len(counts) < announced and at < len(words):
        bodies = words.count(at)
        if at + 1 + _BODY * bodies > len(words):
            break
        counts.append(bodies)
        at += 1 + _BODY * bodies
    return np.array(counts, dtype=np.int64), at, len(counts) < announced


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text: word i is ``data[start[i]:stop[i]]``."""

    data: bytes
    start: Ints
    stop: Ints

    @classmethod
    def of(cls, data: bytes) -> Words:
        """Split at blanks and control characters; drop a byte order mark."""
        _keep_freed_blocks()
        padding = b" " * _WINDOW  # a window never begins before the text
        data = padding + data.removeprefix(b"\xef\xbb\xbf") + b" "
        inside = np.frombuffer(data, np.uint8) > ord(" ")
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        return cls(data, edges[::2], edges[1::2])

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, i: int) -> bytes:
        return self.data[self.start[i] : self.stop[i]]

    def count(self, i: int) -> int:
        """Return word i as a count; raise BadInput D23 if it is not a number of digits."""
        if not (word := self[i]).isdigit():
            raise _odd(word, "a count")
        return int(word)

    def expect(self, text: bytes, at: Ints) -> None:
        """Raise BadInput unless every one of the words ``at`` (K,) is ``text``."""
        window = np.ndarray(len(self.data) - len(text) + 1, f"S{len(text)}", self.data, strides=(1,))
        same = (window[self.start[at]] == text) & (self.stop[at] - self.start[at] == len(text))
        if not same.all():
            raise _odd(self[at[~same][0]], text.decode())

    def integers(self, at: Ints) -> Ints:
        """Return the words ``at`` (K,) as int64, exact to the last digit."""
        try:
            return np.array([int(self[i]) for i in at.tolist()], dtype=np.int64)
        except (ValueError, OverflowError) as error:
            raise BadInput("D23", f"a body id is no 64-bit integer ({error})") from None

    def states(self, at: Ints) -> NDArray[np.uint8]:
        """Return the words ``at`` (any shape) as joint states 0, 1 or 2."""
        state = np.frombuffer(self.data, np.uint8)[self.start[at]] - np.uint8(ord("0"))
        bad = (state > 2) | (self.stop[at] - self.start[at] != 1)
        if bad.any():
            raise _odd(self[at[bad][0]], "a joint state 0, 1 or 2")
        return state

    def numbers(self, at: Ints) -> NDArray[np.float64]:
        """Return the words ``at`` (any shape) as float64, equal to ``float(word)`` for each of them."""
        flat = at.reshape(-1)
        value, plain = self._fixed_point(flat)
        for k in np.flatnonzero(~plain).tolist():  # exponents, NaN, more digits than a float64 holds
            value[k] = _float(self[flat[k]])
        return value.reshape(at.shape)

    def _fixed_point(self, at: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the words ``at`` (K,) as mantissa / 10**decimals, and which of them are plain, such as ``-1.25``.

        The characters form one byte matrix (K, window), right-aligned and zero-padded. Its digits give the mantissa
        with a 0 in place of the point, which is then removed. One bit per character checks the syntax.
        """
        stop, width = self.stop[at], self.stop[at] - self.start[at]
        windows = np.ndarray(len(self.data) - _WINDOW + 1, _ROW, self.data, strides=(1,))
        char = _as_matrix(windows[stop - _WINDOW]) & _as_matrix(_KEEP[np.minimum(width, _WINDOW)])
        digit = char - np.uint8(ord("0"))  # wraps round below "0"
        is_digit = digit < 10
        gapped = _join_digits(digit * is_digit).astype(np.float64)
        first = np.frombuffer(self.data, np.uint8)[self.start[at]]
        minus = first == ord("-")
        sign_bit = (minus | (first == ord("+"))).astype(np.int64) << (np.minimum(width, _WINDOW) - 1)
        digits, point = _as_bits(is_digit), _as_bits(char == ord("."))
        whole = (digits | point | sign_bit) + 1 == 1 << np.minimum(width, _WINDOW)
        plain = whole & (digits > 0) & (point & (point - 1) == 0) & (width <= _EXACT_DIGITS)
        scale = _POWERS[np.bitwise_count(np.where(point > 0, point, 1 << _WINDOW) - 1)]
        mantissa = gapped - 9 * scale * np.floor(gapped / (10 * scale))
        return np.where(minus, -mantissa, mantissa) / np.where(point > 0, scale, 1.0), plain


def _odd(word: bytes, expected: str) -> BadInput:
    return BadInput("D23", f"found {word.decode('ascii', 'replace')!r}, expected {expected}")


def _float(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        raise _odd(word, "a number") from None


def _as_matrix(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(-1, _WINDOW)


def _as_bits(flags: NDArray[np.bool_]) -> Ints:
    """Return flags (K, window) as one integer each, with the rightmost flag in bit 0."""
    return np.packbits(flags).view(">u2").reshape(-1).astype(np.int64)


def _join_digits(digit: NDArray[np.uint8]) -> Ints:
    """Return decimal digits (K, 16) as integers (K,): neighbours join to pairs, fours, eights, then the two halves."""
    joined: NDArray[Any] = digit
    for size, base in ((1, 10), (2, 100), (4, 10_000)):
        bits = 8 * size  # low half times base plus high half, as one product whose overflow falls off the top
        joined = joined.view(f"<u{2 * size}") * ((base << bits) + 1) >> bits
    halves: Ints = joined.astype(np.int64)
    return halves[:, 0] * 10**8 + halves[:, 1]
