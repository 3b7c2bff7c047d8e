"""Read the array in a custom file: ``.npy``, ``.npz``, or NW-UCLA's ``.json``."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.data.poses import UNITS, Poses
from skelssl.data.source import FACTS, BadInput
from skelssl.skeleton.layout import Layout

PERSONS = 2
INDEX_KEYS = ("file", "name", "label", *FACTS, "split", "layout")  # per-clip keys of an index and an ``.npz``
LINE_KEYS = (*INDEX_KEYS, "fps")
SEEN_KEY = "seen"  # key of an ``.npz`` with a confidence for every joint, which makes it poses, as of a pose tool
_FACT_KEYS = (*LINE_KEYS, SEEN_KEY, "unit")


def npz_facts(path: Path) -> Mapping[str, Any]:
    """Read the facts in an ``.npz``: values for the keys of an index, and None for unused keys; raise BadInput."""
    with open_npz(path) as file:
        own = _array_key(file.files)
        return {key: _scalar(file[key]) if key in INDEX_KEYS else None for key in file.files if key != own}


def is_seen(path: Path) -> bool:
    """Return whether a file is an ``.npz`` with confidences; raise BadInput for a damaged one."""
    if path.suffix != ".npz":
        return False
    with open_npz(path) as file:
        return SEEN_KEY in file.files


def read_seen(path: Path, body: Layout) -> Poses:
    """Read an ``.npz`` of ``x`` (T, V, C) or (T, M, V, C) and ``seen`` (T, V) or (T, M, V).

    ``fps`` and ``unit`` are optional; the default unit is m in 3-D and unknown in 2-D. Raises BadInput.
    """
    x = _read_npz(path)
    with open_npz(path) as file:
        seen = np.asarray(file[SEEN_KEY])
        fps, unit = (_scalar(file[key]) if key in file.files else None for key in ("fps", "unit"))
    joints, shapes = len(body.joints), f"{x.shape} and {seen.shape}"
    x, seen = (array[:, None] if x.ndim == 3 else array for array in (x, seen))
    sound = x.ndim == 4 and x.shape[2] == joints and x.shape[3] in (2, 3) and x.shape[:3] == seen.shape and x.size
    if not sound or x.dtype.kind not in "fiu" or seen.dtype.kind not in "fiub":
        raise BadInput(
            "D24",
            f"found shapes {shapes} under x and seen, expected (T, M, {joints}, C) of {body.name} and (T, M, {joints})",
        )
    seen = seen.astype(np.float32)
    if not np.isfinite(x[seen > 0]).all() or not ((seen >= 0) & (seen <= 1)).all():
        raise BadInput(
            "D12", "found NaN or infinite coordinates that are seen, or seen beyond 0 to 1, expected neither"
        )
    unit = unit if unit is not None else "m" if x.shape[3] == 3 else "unknown"
    if unit not in UNITS:
        raise BadInput("D24", f"found unit {unit!r}, expected one of {', '.join(UNITS)}")
    if fps is not None and not (isinstance(fps, int | float) and 0 < fps < np.inf):
        raise BadInput("D24", f"found fps {fps!r}, expected a number above 0")
    x = np.where(seen[..., None] > 0, x, 0).astype(np.float32)
    return Poses("", x, seen, body.name, None if fps is None else float(fps), unit)


def _array_key(keys: Sequence[str]) -> str | None:
    """Return the key of the array in an ``.npz``: ``x``, or the only key that is not a fact; None if ambiguous."""
    arrays = [key for key in keys if key not in _FACT_KEYS]
    return "x" if "x" in keys else arrays[0] if len(arrays) == 1 else None


def _scalar(value: NDArray[Any]) -> Any:
    return value.item() if value.size == 1 else value.tolist()


def read_clip_array(path: Path, body: Layout, *, flat: bool = False) -> NDArray[np.float32]:
    """Read the array of a clip as (T, M, V, 3) with M = 1 or 2; raise BadInput for another shape or type.

    ``flat``: the array holds x, y and confidence, or only x and y; see `in_plane`.
    """
    try:
        x = READERS[path.suffix](path)
    except OSError as error:
        raise BadInput("D33", f"cannot be read ({error.strerror or error})") from error
    if x.dtype.kind not in "fiu":
        raise BadInput("D24", f"found {x.dtype} in the array, expected numbers")
    joints, found, x = len(body.joints), x.shape, x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[2] != joints or x.shape[3] not in ((2, 3) if flat else (3,)):
        last = "2 or 3" if flat else "3"
        hint = "; 2-D clips need dataset.coordinates=xyc" if x.shape[-1] == 2 and not flat else ""
        expected = f"(T, {joints}, {last}) or (T, M, {joints}, {last}) of {body.name}{hint}"
        raise BadInput("D24", f"found shape {found}, expected {expected}")
    if not 1 <= x.shape[1] <= PERSONS:
        raise BadInput("D24", f"found {x.shape[1]} persons in shape {found}, expected 1 or 2 in (T, M, {joints}, 3)")
    if len(x) == 0:
        raise BadInput("D04", "no frame")
    return in_plane(x.astype(np.float32)) if flat else x.astype(np.float32)


def in_plane(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert (T, M, V, 2) or (T, M, V, 3) -> x, y and confidence (T, M, V, 3), zeros where a joint is not seen.

    Without a third number the confidence is 1 where a joint is not (0, 0). NaN counts as not seen. Raises BadInput for
    a confidence outside [0, 1].
    """
    place = x[..., :2]
    sure = x[..., 2] if x.shape[-1] == 3 else np.any(place != 0, axis=-1).astype(np.float32)
    sure = np.where(np.isfinite(place).all(-1) & np.isfinite(sure), sure, np.float32(0))
    if sure.min() < 0 or sure.max() > 1:
        odd = sure.min() if sure.min() < 0 else sure.max()
        raise BadInput("D24", f"found confidence {odd:.4g} in the third place, expected numbers of 0 to 1 (xyc)")
    flat: NDArray[np.float32] = np.where(
        sure[..., None] > 0, np.concatenate([place, sure[..., None]], -1), np.float32(0)
    )
    return flat


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise BadInput(
            "D32", f"half-written, or no array of numbers ({error}): delete it and write it again"
        ) from error


def _read_npz(path: Path) -> NDArray[Any]:
    with open_npz(path) as file:
        if (key := _array_key(file.files)) is None:
            raise BadInput("D24", f"found the keys {', '.join(file.files)}, expected the array under x or alone")
        return np.asarray(file[key])


@contextmanager
def open_npz(path: Path) -> Iterator[Any]:
    if not zipfile.is_zipfile(path):
        raise BadInput("D02", "no complete .npz archive")
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput("D02", f"damaged archive, or no plain arrays ({error})") from error


def _read_json(path: Path) -> NDArray[Any]:
    """Read a file of NW-UCLA's ``all_sqe``: one person, joints in the order of Kinect v1."""
    try:
        return np.array(json.loads(path.read_bytes())["skeletons"], np.float64)
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput("D24", f'found no "skeletons" of frames of joints of x, y, z ({error})') from error


READERS: dict[str, Callable[[Path], NDArray[Any]]] = {".npy": _read_npy, ".npz": _read_npz, ".json": _read_json}
