"""Convert and check the numbers of keypoint files, for all JSON readers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused
from skelssl.data.poses.poses import FROM_IMAGE, Poses
from skelssl.data.poses.tracks import Frames, tracked

_NUMBER = re.compile(r"([0-9]+)\D*$")
_MAX_NORMALISED = 2.0  # coordinates normalised to [0, 1] or [-1, 1] never exceed this; pixels do

COCO_FIRST = (17, 26, 133, 136)  # COCO, Halpe and whole-body layouts, all of which begin with COCO's 17


def load_json(path: Path) -> Any:
    """Load a JSON file; raise Refused for one that cannot be read (D33), and for malformed text (D02)."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise Refused(path, "D33", f"cannot be read ({error.strerror or error}), expected a file") from error
    except (ValueError, RecursionError) as error:
        raise Refused(path, "D02", f"found malformed JSON ({error}), expected a complete file") from error


def numbers(values: Any, path: Path, what: str) -> NDArray[np.float32]:
    """Convert nested lists to an array; raise Refused unless they are finite numbers in rows of equal length."""
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float64).astype(np.float32)
    except (ValueError, TypeError, OverflowError):
        array = np.array(np.nan, np.float32)
    if not np.isfinite(array).all() or array.ndim == 0:
        raise Refused(path, "D24", f"found {_shown(values)} as {what}, expected finite numbers in equal rows")
    return array


def triples(values: Any, path: Path, what: str, width: int = 3) -> NDArray[np.float32]:
    """Convert a flat list or rows, such as x, y, confidence, to (V, width); raise Refused for another length."""
    array = numbers(values, path, what)
    if array.size == 0 or array.size % width or (array.ndim == 2 and array.shape[1] != width) or array.ndim > 2:
        raise Refused(path, "D24", f"found {what} of shape {array.shape}, expected {width} numbers per joint")
    return array.reshape(-1, width)


def confidence(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clip scores to [0, 1], since some tools write logits."""
    return np.clip(values, 0, 1)


def frame_number(name: object, path: Path) -> int:
    """Return the last number in a frame's name, or the name if it is a number; raise Refused without a number."""
    if isinstance(name, int) and not isinstance(name, bool) and name >= 0:
        return name
    if isinstance(name, str) and (match := _NUMBER.search(name.rpartition(".")[0] or name)):
        return int(match[1])
    raise Refused(path, "D24", f"found {name!r} as the name of a frame, expected one with a number")


def image_clip(
    name: str,
    frames: Frames,
    path: Path,
    *,
    layout: str,
    fps: float | None = None,
    unit: str | None = None,
) -> Poses:
    """Build a clip from detections in the image plane; x right and y down become the axes of `Poses`.

    The default unit is px if a coordinate is too large to be normalised, else unknown.
    """
    x, seen = tracked(frames, path)
    unit = unit or ("px" if np.abs(x).max() > _MAX_NORMALISED else "unknown")
    return Poses(name, x * FROM_IMAGE + 0, seen, layout, fps, unit)


def space_clip(name: str, frames: Frames, path: Path, *, layout: str, unit: str, fps: float | None = None) -> Poses:
    """Build a 3-D clip; x right, y down and z away from the camera are rotated by 180 degrees about z."""
    x, seen = tracked(frames, path)
    return Poses(name, x * np.append(FROM_IMAGE, np.float32(1)) + 0, seen, layout, fps, unit)


def are_whole_numbers(values: Sequence[Any]) -> bool:
    """Return whether all values are non-negative integers."""
    return all(type(value) is int and value >= 0 for value in values)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
