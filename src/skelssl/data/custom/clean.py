"""Clean custom clips: at most two persons without gaps, in metres, at the frame rate of the encoders.

A joint that a pose estimator did not see is NaN (or ``seen`` 0 in `Poses`). An absent person is all zero, as everywhere
in this package.
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
    """One custom clip before cleaning."""

    where: str  # its name in an error message
    x: NDArray[np.float32]  # (T, M, V, C), C = 2 or 3, axes as in `Poses`
    seen: NDArray[np.float32]  # (T, M, V) confidence in [0, 1], 0: not seen
    layout: str
    fps: float | None
    unit: str


@dataclass(frozen=True)
class GapFreeClip:
    """A clip without gaps."""

    x: NDArray[np.float32]  # (T, M, V, C), zeros where a person or a joint is absent
    seen: NDArray[np.float32]  # (T, M, V) confidence; 0 where a joint was interpolated
    there: NDArray[np.bool_]  # (T, M) whether the person is present
    known: NDArray[np.bool_]  # (M, V) whether the joint was ever seen


def as_clip(clip: Any, where: str, body: str, fps: float | None, unit: str | None, *, flat_unit: str = "px") -> Clip:
    """Convert an array (T, V, C) or (T, M, V, C), or a ``Poses``, to a `Clip`.

    The rate and unit of a ``Poses`` apply unless they are given; ``flat_unit`` is the default unit of 2-D arrays.
    Raises UserError, which names the clip ``where``, for another shape, an empty array and an unknown unit.
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
    """Return x and y of a clip for an encoder of x, y and confidence.

    ``confidence``: the third number of the array is the confidence. As in training, a person is absent in frames in
    which none of their joints is seen.
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
    """Raise UserError if the number of joints differs from that of ``body``, the clip's layout."""
    if clip.x.shape[2] != len(body.joints):
        raise UserError(
            f"{clip.where}: found {clip.x.shape[2]} joints in shape {clip.x.shape}, expected {len(body.joints)} of "
            f"layout {body.name}"
        )


def without_gaps(clip: Clip) -> GapFreeClip:
    """Return the clip without gaps, trimmed to the frames in which a person is present.

    A person is present from the first to the last frame in which one of their joints is seen, except in frames that are
    all zero. Over these frames each unseen joint is interpolated linearly in time, and constant at the ends. A joint
    that is never seen stays unknown. Persons who are never seen are left out; raises UserError if none is left.
    """
    x, seen = clip.x, np.where(np.isfinite(clip.x).all(-1), clip.seen, 0)
    left_out: NDArray[np.bool_] = np.logical_not(np.where(np.isfinite(x), x, 1).any((2, 3)))  # (T, M) all zero
    seen = np.where(left_out[..., None], 0, seen)
    persons = seen.any((0, 2))
    if not persons.any():
        raise UserError(f"{clip.where}: found no person in any of {len(x)} frames, expected at least one person")
    x, seen, left_out = x[:, persons], seen[:, persons], left_out[:, persons]
    anybody = np.flatnonzero(seen.any((1, 2)) | left_out.any(1))
    span = slice(anybody[0], anybody[-1] + 1)
    x, seen, left_out = x[span], seen[span], left_out[span]
    there: NDArray[np.bool_] = np.logical_and(_between(np.any(seen > 0, axis=2)), ~left_out)
    known: NDArray[np.bool_] = np.any(seen > 0, axis=0)
    return GapFreeClip(_filled(x, seen > 0, there), seen.astype(np.float32), there, known)


def _between(yes: Any) -> NDArray[np.bool_]:
    """Set all frames of (T, M) from the first to the last true frame of each column."""
    started, going = np.maximum.accumulate(yes), np.maximum.accumulate(yes[::-1])[::-1]
    both: NDArray[np.bool_] = started & going
    return both


def _filled(x: NDArray[np.float32], seen: NDArray[np.bool_], there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Interpolate unseen joints (T, M, V, C) of present persons; other unseen joints become zero."""
    out = np.where(seen[..., None], x, np.float32(0))
    missing = there[..., None] & ~seen
    interpolate(out, missing, seen)
    return out


def two_persons(clip: GapFreeClip) -> tuple[GapFreeClip, int]:
    """Return the two persons who move most over the frames in which they are present, and the number left out.

    The one who moves most comes first; up to two persons are returned unchanged.
    """
    count = clip.there.shape[1]
    if count <= PERSONS:
        return clip, 0
    step = np.linalg.norm(np.diff(clip.x, axis=0), axis=-1).sum(2)  # (T - 1, M)
    way = (step * (clip.there[1:] & clip.there[:-1])).sum(0)
    # Persons who never move come last, those present longest first.
    order = np.lexsort([np.arange(count), -clip.there.sum(0), -way])[:PERSONS]
    kept = GapFreeClip(clip.x[:, order], clip.seen[:, order], clip.there[:, order], clip.known[order])
    return kept, count - PERSONS


def at_rate(clip: GapFreeClip, fps: float | None) -> GapFreeClip:
    """Resample the clip linearly to 30 frames per second; its first frame stays the first.

    A person is present if they are in both neighbouring frames. Without ``fps``, and at 30, the clip is unchanged.
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
    """Scale the clip to metres; for ``px``, ``auto`` and ``unknown`` the median torso gets the length ``TORSO``.

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
