"""Read labels beside an array: a pickle of (names, labels) or of labels only, a ``.npy``, or one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused
from skelssl.core.unpickle import load
from skelssl.data.imports.rows import npy_block

_EXPECTED = "expected (names, labels) or labels only"


def read_labels(path: Path) -> tuple[NDArray[np.int64], list[str] | None]:
    """Return the labels (N,), and the names if there are any, without their suffix ``.skeleton``.

    It reads all formats of the ST-GCN family: tuples and lists, by Python 2 and 3, arrays in the pickle, and a ``.npy``
    under either name. Raises Refused (D29) for anything else.
    """
    with open(path, "rb") as file:
        is_npy = file.read(6) == b"\x93NUMPY"
    content = npy_block(path).read() if is_npy else load(path)
    if isinstance(content, (list, tuple)) and len(content) == 2 and not isinstance(content[0], (int, float)):
        names, labels = (_flat(part, path) for part in content)
        if not all(isinstance(name, str) for name in names):
            raise Refused(path, "D29", f"found names that are no text, {_EXPECTED}")
        return _whole(labels, path), [name.removesuffix(".skeleton") for name in names]
    return _whole(_flat(content, path), path), None


def _flat(values: Any, path: Path) -> list[Any]:
    """Return the N values of a list, a tuple or an array (N,) or (N, 1)."""
    if isinstance(values, np.ndarray) and values.ndim in (1, 2) and values.size == len(values):
        return list(values.reshape(-1).tolist())
    if isinstance(values, (list, tuple)):
        return [value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value for value in values]
    raise Refused(path, "D29", f"found a {type(values).__name__}, {_EXPECTED}")


def _whole(labels: Sequence[Any], path: Path) -> NDArray[np.int64]:
    if not all(isinstance(label, (int, float)) and label == int(label) for label in labels):
        raise Refused(path, "D29", f"found labels that are no whole numbers, {_EXPECTED}")
    return np.array([int(label) for label in labels], np.int64)


def from_one_hot(y: NDArray[Any], classes: int, path: Path, key: str) -> NDArray[np.int64]:
    """Convert one-hot rows (N, K) to labels (N,); raise Refused (D31) for another width or rows without a class."""
    if y.ndim != 2 or y.shape[1] != classes:
        raise Refused(
            path, "D31", f"found {key} of shape {y.shape}, expected one-hot rows for the {classes} classes of dataset="
        )
    sound = (y != 0).sum(1) == 1
    if not sound.all():
        raise Refused(
            path,
            "D31",
            f"found {(~sound).sum():,} rows of {key} without exactly one class, the first in row "
            f"{np.argmin(sound)}, expected one-hot labels",
        )
    labels: NDArray[np.int64] = y.argmax(1).astype(np.int64)
    return labels
