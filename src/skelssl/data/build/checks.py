"""Check a clip for the codes of the bad-input catalogue, and apply the repair that every recipe needs (NaN, D12).

This runs once per clip while raw files are parsed. Everything except D12 stays in the store as recorded; each recipe
handles it in its way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import PKU, RAW, RECORDED, RawClip
from skelssl.data.recipes.tracks import MAX_BAD_FRACTION, MAX_WIDTH_RATIO, MIN_TRACK_FRAMES
from skelssl.data.source import BadInput

MAX_NAN_SHARE = 0.2  # of a body's frames in which a joint may be missing and still be interpolated
LONG, SHORT = 300, 8  # frames: more than the published files hold; fewer than most crops need


def examined(clip: RawClip) -> RawClip:
    """Return the clip without NaN and with all its codes; raise BadInput (D12, D13) if nothing usable is left."""
    if not np.isfinite(clip.bodies).all():
        clip = repaired(clip)
    if not clip.bodies.any():
        raise BadInput("D13", "every joint of every frame lies at the origin")
    found = {"D14": clip.n_frames > LONG, "D15": clip.n_frames < SHORT}
    if clip.form in RECORDED and not clip.bodies.all():
        found["D13"] = not clip.bodies.any(-1).all()
    count = np.diff(clip.frame_ptr)
    if clip.form == RAW and (clip.body_id != clip.body_id[0]).any():
        found |= _of_bodies(clip, count)
    if count.max() > 1:
        found |= {"D10": count[count > 0].min() == 1, "D34": _twins(clip, count)}
    codes = {*clip.codes, *(code for code, yes in found.items() if yes)}
    return replace(clip, codes=tuple(sorted(codes))) if codes else clip


def repaired(clip: RawClip) -> RawClip:
    """Interpolate joints with NaN or infinite coordinates linearly in time, separately for each body.

    A joint that is missing in more than a fifth of its body's frames is not interpolated: those frames of the body are
    removed, and so is a frame of the clip that loses its last body. Raises BadInput (D12) if no frame is left.
    """
    frame = np.repeat(np.arange(clip.n_frames), np.diff(clip.frame_ptr))
    bodies, keep = clip.bodies.copy(), np.ones(len(clip.bodies), bool)
    broken: NDArray[np.bool_] = np.logical_not(np.isfinite(clip.bodies).all(-1))  # (R, V)
    for body in np.unique(clip.body_id[broken.any(1)]):
        rows = np.flatnonzero(clip.body_id == body)
        missing = broken[rows]
        hopeless = missing.mean(0) > MAX_NAN_SHARE
        keep[rows[missing[:, hopeless].any(1)]] = False
        for joint in np.flatnonzero(missing.any(0) & ~hopeless):
            bad, good = rows[missing[:, joint]], rows[~missing[:, joint]]
            for axis in range(3):
                bodies[bad, joint, axis] = np.interp(frame[bad], frame[good], clip.bodies[good, joint, axis])
    if not keep.any():
        raise BadInput("D12", "NaN or infinite coordinates in every frame")
    count, before = np.bincount(frame[keep], minlength=clip.n_frames), np.diff(clip.frame_ptr)
    stays: NDArray[np.bool_] = (count > 0) | (before == 0)
    if clip.form == PKU:  # the frame that some conventions leave out must remain the first
        stays[0] = True
    count = count[stays]
    return replace(
        clip,
        bodies=bodies[keep],
        body_id=clip.body_id[keep],
        track=clip.track[keep],
        frame_ptr=np.concatenate([[0], count.cumsum()]).astype(np.int64),
        codes=(*clip.codes, "D12"),
        repaired=int(broken.sum()),
    )


def _of_bodies(clip: RawClip, count: NDArray[np.int64]) -> dict[str, bool]:
    """Return the codes about identities, which only a tracker's list with two or more ids can have."""
    ids = np.unique(clip.body_id)
    at_once, frame = count.max(), np.repeat(np.cumsum(count > 0) - 1, count)
    own = [clip.body_id == body for body in ids]
    wide = np.ptp(clip.bodies[..., 0], axis=1) > MAX_WIDTH_RATIO * np.ptp(clip.bodies[..., 1], axis=1)
    ghosts = sum(rows.sum() < MIN_TRACK_FRAMES or wide[rows].mean() >= MAX_BAD_FRACTION for rows in own)
    return {
        "D06": at_once > 1 and (at_once > 2 or ghosts > 0),
        "D07": at_once == 1 or len(ids) - ghosts > at_once,
        "D08": any((np.diff(frame[rows]) > 1).any() for rows in own),
        "D09": at_once > 1 and _reordered(clip, count),
        "D11": len(np.unique(ids.astype(np.float64))) < len(ids),
    }


def _reordered(clip: RawClip, count: NDArray[np.int64]) -> bool:
    """Return whether the order of two bodies differs between frames."""
    orders = {tuple(clip.body_id[start : start + n]) for start, n in zip(clip.frame_ptr, count, strict=False) if n > 1}
    pairs = {(order[i], order[j]) for order in orders for i in range(len(order)) for j in range(i + 1, len(order))}
    return any((b, a) in pairs for a, b in pairs)


def _twins(clip: RawClip, count: NDArray[np.int64]) -> bool:
    """Return whether the first two bodies are equal in every frame with two: one person stored twice."""
    first = clip.frame_ptr[:-1][count > 1]
    return bool(np.array_equal(clip.bodies[first], clip.bodies[first + 1]))
