"""Read pickles of 2-D poses of pyskl and mmaction2: a list of annotations, or a dict of it and split lists.

An annotation has ``keypoint`` (M, T, V, 2) in pixels, ``keypoint_score`` (M, T, V), ``frame_dir`` (its name), ``label``
and ``total_frames``; V is 17 of COCO or 18 of OpenPose (pyskl's description of its data).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.errors import Refused
from skelssl.core.unpickle import load
from skelssl.data.poses.keypoints import confidence
from skelssl.data.poses.poses import FROM_IMAGE, Poses

_LAYOUTS = {17: "coco17", 18: "openpose18"}
_LISTS = (list, tuple)


def read_pyskl(path: Path, name: str) -> list[Poses]:
    """Read all clips of a pickle, called NAME/frame_dir; raise Refused for one that is damaged or of another kind."""
    try:
        content = load(path)
    except OSError as error:
        raise Refused(path, "D33", f"cannot be read ({error.strerror or error}), expected a file") from error
    notes = content.get("annotations") if isinstance(content, Mapping) else content
    lists = content.get("split", {}) if isinstance(content, Mapping) else {}
    if not isinstance(notes, _LISTS) or not notes or not all(isinstance(n, Mapping) and "keypoint" in n for n in notes):
        raise Refused(path, "D24", "found a pickle without annotations that have a keypoint, expected those of pyskl")
    if not isinstance(lists, Mapping) or not all(isinstance(names, _LISTS) for names in lists.values()):
        raise Refused(path, "D24", "found a split that is no dictionary of lists, expected lists of names")
    members = {str(key): {str(one) for one in names} for key, names in lists.items()}
    clips = [_clip(note, path, name, members) for note in notes]
    names = [clip.name for clip in clips]
    if twice := next((one for one in names if names.count(one) > 1), None) if len(set(names)) < len(names) else None:
        raise Refused(path, "D18", f"found two annotations called {twice}, expected each once")
    return clips


def _clip(note: Mapping[str, Any], path: Path, name: str, members: Mapping[str, set[str]]) -> Poses:
    own, points, scores = note.get("frame_dir"), note["keypoint"], note.get("keypoint_score")
    if not isinstance(own, str) or not own:
        raise Refused(path, "D24", f"found frame_dir {own!r}, expected a name")
    shape: tuple[int, ...] = getattr(points, "shape", ())
    if len(shape) == 4 and shape[3] == 3:
        raise Refused(path, "D24", f"found 3-D skeletons in {own}, expected 2-D: prepare import=FILE takes them")
    if len(shape) != 4 or shape[3] != 2 or shape[2] not in _LAYOUTS or points.dtype.kind not in "fiu":
        raise Refused(
            path, "D24", f"found a keypoint of shape {shape} in {own}, expected (M, T, V, 2) of 17 or 18 joints"
        )
    if scores is None or getattr(scores, "shape", None) != shape[:3]:
        found = "no keypoint_score" if scores is None else f"keypoint_score of {getattr(scores, 'shape', 'no array')}"
        raise Refused(path, "D30", f"found {found} in {own}, expected {shape[:3]}")
    label = note.get("label")
    if label is not None and (type(label) is not int or label < 0):
        raise Refused(path, "D35", f"found label {label!r} in {own}, expected a whole number of at least 0")
    x = points.transpose(1, 0, 2, 3).astype(np.float32)
    seen = confidence(scores.transpose(1, 0, 2).astype(np.float32))
    if not np.isfinite(x).all() or not np.isfinite(seen).all():
        raise Refused(path, "D12", f"found NaN or infinite coordinates in {own}, expected numbers")
    if not seen.any():
        raise Refused(path, "D04", f"found no person in {own}, expected at least one")
    order = np.argsort(-seen.sum((0, 2)), kind="stable")
    x, seen = x[:, order] * FROM_IMAGE, seen[:, order]
    x = np.where(seen[..., None] > 0, x, 0) + 0
    splits = tuple(sorted(key for key, names in members.items() if own in names))
    return Poses(f"{name}/{own}", x, seen, _LAYOUTS[shape[2]], unit="px", label=label, splits=splits)
