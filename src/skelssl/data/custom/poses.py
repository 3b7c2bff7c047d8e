"""Read files of pose tools among custom clips, and convert their clips to the input of a recipe.

They pass the same steps as in ``skelssl.embed``, so that training and embedding see the same clips: gaps are
interpolated, two persons are selected, the rate becomes 30 frames per second, and 3-D clips are scaled to metres.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused, UserError
from skelssl.data.custom.clean import as_clip, at_rate, in_metres, in_the_plane, two_persons, without_gaps
from skelssl.data.poses import Poses
from skelssl.data.poses.openpose import is_folder_of_frames
from skelssl.data.poses.read import SUFFIXES, read_place
from skelssl.data.source import BadInput
from skelssl.skeleton.layout import Layout, load_layout
from skelssl.skeleton.mapping import joint_map

_NW_UCLA = re.compile(rb'\s*\{[^\[{]*"skeletons"\s*:')  # the first array of an object
_HEAD = 4096  # bytes
_MORE_THAN_TWO = "D36"  # more than two persons


@dataclass(frozen=True, slots=True)
class Pose:
    """A clip that a recipe can process."""

    x: NDArray[np.float32]  # (T, M, V, 3), M = 1 or 2; x, y and confidence in 2-D
    codes: tuple[str, ...]  # of the bad-input catalogue


def is_poses(path: Path) -> bool:
    """Return whether a pose tool wrote a folder of frames, or a file other than NW-UCLA's; raise BadInput."""
    if path.is_dir():
        return is_folder_of_frames(path)
    if path.suffix != ".json":
        return path.suffix.lower() in SUFFIXES
    try:
        with open(path, "rb") as file:
            return not _NW_UCLA.match(file.read(_HEAD))
    except OSError as error:
        raise BadInput("D33", f"cannot be read ({error.strerror or error})") from error


def clips_of(path: Path) -> Mapping[str, Poses]:
    """Return the clips of a file or folder by the suffix of their names: empty, or a slash and the clip's name.

    Raises BadInput.
    """
    return _clips_of(str(path), stamp(path))


@lru_cache(maxsize=1)
def _clips_of(path: str, stamp: int) -> Mapping[str, Poses]:
    try:
        return {clip.name: clip for clip in read_place(Path(path), "")}
    except Refused as error:
        raise BadInput(error.code, error.reason) from error


def stamp(path: Path) -> int:
    """Return a number that changes with the file, or with any file of a folder; raise BadInput (D33) if unreadable."""
    try:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        said = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files for stat in [file.stat()]]
    except OSError as error:
        raise BadInput("D33", f"cannot be read ({error.strerror or error})") from error
    return int.from_bytes(hashlib.sha256(json.dumps(said).encode()).digest()[:8])


def ready(clip: Poses, body: Layout, flat: bool) -> Pose:
    """Return the clip at 30 frames per second with the joints of ``body``, 3-D clips in metres; raise BadInput.

    No joint is invented: 2-D clips must be requested (``flat``), 3-D clips need every joint of ``body``, and a clip of
    another layout is mapped only if that layout has all joints.
    """
    wanted = 2 if flat else 3
    if clip.x.shape[-1] != wanted:
        raise BadInput(
            "D24",
            f"found {clip.x.shape[-1]}-D poses, expected {wanted}-D ones, or dataset.coordinates="
            f"{'xyz' if flat else 'xyc'}",
        )
    own = load_layout(clip.layout)
    try:
        change = joint_map(own, body)
        lacking = [body.joints[v] for v in change.absent]
        given = as_clip(clip, "the clip", clip.layout, None, None)
        given = in_the_plane(given, confidence=False) if flat else given
        kept, more = two_persons(without_gaps(given))
        kept = at_rate(kept, given.fps)
        kept = kept if flat else in_metres(kept, given.unit, own, "the clip")  # recipes scale 2-D clips
    except UserError as error:
        raise BadInput("D24", str(error)) from error
    x, held = change.apply(kept.x, (kept.there[..., None] & kept.known).astype(np.float32))
    if not flat:
        lacking = [joint for joint, seen in zip(body.joints, held.max(0).min(0), strict=True) if not seen]
    if lacking:
        raise BadInput(
            "D24",
            f"found no {', '.join(lacking)} in poses of {own.name}, expected every joint of {body.name}, or a "
            "dataset.layout without them",
        )
    if flat:
        x = np.concatenate([x, change.apply(kept.x, kept.seen)[1][..., None]], -1)
    return Pose(x, (_MORE_THAN_TWO,) if more else ())
