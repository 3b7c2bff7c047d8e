"""A caller's clips in one form: at most two persons without gaps, in metres, at the rate that the encoders know.

What a pose estimator did not see is NaN (or ``seen`` 0 in `Poses`). What nobody recorded, a person who is not there, is
all zero, as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError, check_number
from skelssl.data.poses import Poses
from skelssl.data.poses.poses import FROM_IMAGE
from skelssl.data.recipes.tracks import interpolate
from skelssl.skeleton.layout import TORSO, Layout

FPS = 30.0  # of NTU RGB+D and PKU-MMD
PERSONS = 2
UNITS: Mapping[str, float | None] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "px": None, "auto": None, "unknown": None}


@dataclass(frozen=True)
class Clip:
    """One clip of a caller's, as it came."""

    where: str  # what an error calls it
    x: NDArray[np.float32]  # (T, M, V, C), C = 2 or 3, axes as in `Poses`
    seen: NDArray[np.float32]  # (T, M, V) confidence in [0, 1], 0: not seen
    layout: str
    fps: float | None
    unit: str


@dataclass(frozen=True)
class GapFreeClip:
    """A clip without gaps."""

    x: NDArray[np.float32]  # (T, M, V, C), zeros where a person or a joint is not there
    seen: NDArray[np.float32]  # (T, M, V) confidence; 0 where a joint was interpolated
    there: NDArray[np.bool_]  # (T, M) whether the person is there
    known: NDArray[np.bool_]  # (M, V) whether the joint was ever seen


def as_clip(clip: Any, where: str, body: str, fps: float | None, unit: str | None, *, flat_unit: str = "px") -> Clip:
    """An array (T, V, C) or (T, M, V, C), or a ``Poses``, which brings layout, rate and unit unless they are given.

    ``flat_unit`` is that of 2-D arrays without one. Raises UserError, which calls the clip ``where``, for another
    shape, for no frame and for an unknown unit.
    """
    if isinstance(clip, Poses):
        seen = np.asarray(clip.seen, np.float32)
        x = np.array(clip.x, np.float32)
        x[seen <= 0] = np.nan
        fps, unit = clip.fps if fps is None else fps, clip.unit if unit is None else unit
    else:
        x = _array(clip, where)
        seen = np.asarray(np.isfinite(x).all(-1), np.float32)
        unit = ("m" if x.shape[-1] == 3 else flat_unit) if unit is None else unit
        if unit == "px":
            x[..., :2] *= FROM_IMAGE
    if unit not in UNITS:
        raise UserError(f"unit: found {unit!r}, expected one of {', '.join(UNITS)}")
    if fps is not None:
        check_number("fps", fps, "a number from 1 to 1000", lambda f: 1 <= f <= 1000)
    return Clip(where, x, seen, body, fps, unit)


def _array(clip: Any, where: str) -> NDArray[np.float32]:
    x = np.asarray(clip.detach().cpu() if hasattr(clip, "detach") else clip)  # torch is not loaded here
    if x.dtype.kind not in "fiu":
        raise UserError(f"{where}: found {x.dtype} in the array, expected numbers")
    if x.ndim not in (3, 4) or x.shape[-1] not in (2, 3):
        raise UserError(f"{where}: found shape {x.shape}, expected (T, V, C) or (T, M, V, C) with C = 2 or 3")
    if 0 in x.shape:
        raise UserError(f"{where}: found shape {x.shape}, expected at least one frame and one person")
    return (x[:, None] if x.ndim == 3 else x).astype(np.float32)


def in_the_plane(clip: Clip, *, confidence: bool) -> Clip:
    """x and y of a clip for an encoder of x, y and confidence; ``confidence``: the third number of the array is it.

    As in training, a person stays absent in frames in which no joint of his is seen.
    """
    seen = np.where(np.isfinite(clip.x[..., 2]), clip.x[..., 2], 0) if confidence else clip.seen
    if seen.min() < 0 or seen.max() > 1:
        raise UserError(
            f"{clip.where}: found third numbers from {seen.min():.3g} to {seen.max():.3g}, expected confidences in "
            "[0, 1], which an encoder of x, y and confidence reads there"
        )
    x = np.where(seen[..., None] > 0, clip.x[..., :2], np.float32(np.nan))
    x[~np.any(seen > 0, axis=2)] = 0
    return replace(clip, x=x.astype(np.float32), seen=seen.astype(np.float32))


def check_joints(clip: Clip, body: Layout) -> None:
    """Raise UserError where the clip has another number of joints than ``body``, its layout."""
    if clip.x.shape[2] != len(body.joints):
        raise UserError(
            f"{clip.where}: found {clip.x.shape[2]} joints in shape {clip.x.shape}, expected {len(body.joints)} of "
            f"layout {body.name}"
        )


def without_gaps(clip: Clip) -> GapFreeClip:
    """Return the clip without gaps, and without the ends in which no person is seen.

    A person is there from the first to the last frame in which a joint of him is seen, but not in frames in which he is
    all zero. Over these frames each of his joints is interpolated linearly in time where it is not seen, and held at
    the ends. A joint that is never seen stays unknown. Persons who are never seen are left out; raises UserError where
    none is left.
    """
    x, seen = clip.x, np.where(np.isfinite(clip.x).all(-1), clip.seen, 0)
    left_out: NDArray[np.bool_] = np.logical_not(np.where(np.isfinite(x), x, 1).any((2, 3)))  # (T, M) all zero
    seen = np.where(left_out[..., None], 0, seen)
    persons = seen.any((0, 2))
    if not persons.any():
        raise UserError(f"{clip.where}: found nobody in any of {len(x)} frames, expected at least one person")
    x, seen, left_out = x[:, persons], seen[:, persons], left_out[:, persons]
    anybody = np.flatnonzero(seen.any((1, 2)) | left_out.any(1))
    span = slice(anybody[0], anybody[-1] + 1)
    x, seen, left_out = x[span], seen[span], left_out[span]
    there: NDArray[np.bool_] = np.logical_and(_between(np.any(seen > 0, axis=2)), ~left_out)
    known: NDArray[np.bool_] = np.any(seen > 0, axis=0)
    return GapFreeClip(_filled(x, seen > 0, there), seen.astype(np.float32), there, known)


def _between(yes: Any) -> NDArray[np.bool_]:
    """Convert (T, M) -> everything from the first true frame of each column to its last."""
    started, going = np.maximum.accumulate(yes), np.maximum.accumulate(yes[::-1])[::-1]
    both: NDArray[np.bool_] = started & going
    return both


def _filled(x: NDArray[np.float32], seen: NDArray[np.bool_], there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(T, M, V, C) interpolated where a person is there and a joint of his is not seen, else zero where not seen."""
    out = np.where(seen[..., None], x, np.float32(0))
    missing = there[..., None] & ~seen
    interpolate(out, missing, seen)
    return out


def two_persons(clip: GapFreeClip) -> tuple[GapFreeClip, int]:
    """Return the two who move farthest over the frames in which they are there, and how many were left out.

    Who moves most comes first; up to two persons stay as they are.
    """
    count = clip.there.shape[1]
    if count <= PERSONS:
        return clip, 0
    step = np.linalg.norm(np.diff(clip.x, axis=0), axis=-1).sum(2)  # (T - 1, M)
    way = (step * (clip.there[1:] & clip.there[:-1])).sum(0)
    # Those who never move stand behind, the longest seen of them first.
    order = np.lexsort([np.arange(count), -clip.there.sum(0), -way])[:PERSONS]
    kept = GapFreeClip(clip.x[:, order], clip.seen[:, order], clip.there[:, order], clip.known[order])
    return kept, count - PERSONS


def at_rate(clip: GapFreeClip, fps: float | None) -> GapFreeClip:
    """Return the clip at 30 frames a second: linear between its frames, the first one stays the first.

    A person is there where he is in both frames between which he would stand. Without ``fps``, and at 30, nothing
    changes.
    """
    if fps is None or fps == FPS:
        return clip
    last = len(clip.x) - 1
    at = np.arange(int(last * FPS / fps + 1e-6) + 1) * (fps / FPS)
    lower = np.minimum((at + 1e-6).astype(np.int64), last)
    weight = (at - lower).clip(min=0).astype(np.float32)
    weight[weight < 1e-5] = 0
    upper = np.where(weight > 0, np.minimum(lower + 1, last), lower)
    there = clip.there[lower] & clip.there[upper]

    def between(values: NDArray[np.float32]) -> NDArray[np.float32]:
        w = weight.reshape(-1, *[1] * (values.ndim - 1))
        out = values[lower] * (1 - w) + values[upper] * w
        return np.where(there.reshape(*there.shape, *[1] * (values.ndim - 2)), out, np.float32(0))

    return GapFreeClip(between(clip.x), between(clip.seen), there, clip.known)


def in_metres(clip: GapFreeClip, unit: str, body: Layout, where: str) -> GapFreeClip:
    """Return the clip in metres; of ``px``, ``auto`` and ``unknown`` the median torso becomes ``TORSO`` long.

    Raises UserError for a clip whose torso was never seen.
    """
    factor = UNITS[unit]
    return clip if factor == 1 else replace(clip, x=clip.x * np.float32(factor or TORSO / _torso(clip, body, where)))


def _torso(clip: GapFreeClip, body: Layout, where: str) -> float:
    """Return the median length from the base of the spine to the shoulders, over the frames of all persons."""
    ends = [list(body.point(name)) for name in ("spine_base", "spine_shoulder")]
    if lost := [body.joints[v] for end in ends for v in end if not clip.known[:, v].all()]:
        raise UserError(
            f"{where}: found no {lost[0]} to scale the torso by, expected it to be seen, or unit=m, cm or mm"
        )
    low, high = (clip.x[:, :, joints].mean(2) for joints in ends)
    length = float(np.median(np.linalg.norm(high - low, axis=-1)[clip.there]))
    if not length > 0:
        raise UserError(f"{where}: found a torso of length 0, expected a body, or unit=m, cm or mm")
    return length
