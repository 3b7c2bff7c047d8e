"""Select persons by tracker id: clean the bodies of a tracker's list and assign them to two persons.

This is the selection that the preprocessing of CTR-GCN (Chen et al., ICCV 2021; after SGN, Zhang et al., CVPR 2020) and
of pyskl (Duan et al., ACM MM 2022) have in common, with their quirks on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import LISTED, LISTED_TWO, PKU, RAW, EmptyClip, RawClip

MIN_TRACK_FRAMES = 12  # frames; a shorter body beside others is noise
MAX_WIDTH_RATIO = 0.8  # x extent over y extent; wider frames are invalid
MAX_BAD_FRACTION = 0.69754  # of invalid frames, from which on a body is noise
PERSONS = 2


@dataclass(frozen=True, slots=True)
class Track:
    """One body: its points (n, V, 3) in m, and the ascending indices (n,) of their frames in the clip."""

    points: NDArray[np.float32]
    frames: NDArray[np.int64]
    motion: float  # sum over x, y, z of the variance over joints and frames, square metres

    def cleaned(self) -> Track | None:
        """Limit the motion to that of the valid frames; return None for a body that is mostly too wide for a person."""
        extent = np.ptp(self.points, axis=1)
        good = extent[:, 0] <= MAX_WIDTH_RATIO * extent[:, 1]
        if good.all():
            return self
        if (~good).mean() >= MAX_BAD_FRACTION:
            return None
        return replace(self, motion=min(self.motion, _variance(self.points[good])))


def two_people(clip: RawClip, *, faithful: bool, overlap: int = 0) -> tuple[NDArray[np.float32], int]:
    """Return at most two persons (T, 2, V, 3), the one with the largest motion first, and their number of bodies.

    Frames without a body are removed. ``faithful``: the gaps of a body that disappears and returns are closed, a
    person's frames are the hull of the bodies' frames, and bodies of one person may share ``overlap`` frames, which the
    later one overwrites. Otherwise bodies retain their frames and share none.

    Raises:
        EmptyClip: if no body is left
    """
    tracks, length = listed(clip, contiguous=faithful)
    if len(tracks) > 1:
        tracks = denoise(tracks, keep_longest=not faithful)
    shape = (length, PERSONS, *clip.bodies.shape[1:])
    x = _by_hull(tracks, shape, overlap) if faithful else _by_frame(tracks, shape)
    return x, len(tracks)


def listed(clip: RawClip, *, contiguous: bool) -> tuple[list[Track], int]:
    """Return the bodies in the order of their first occurrence, and the number of frames with a body.

    ``contiguous`` closes the gaps of a body that disappears and returns: its later frames are shifted forwards.

    Raises:
        EmptyClip: for a clip without bodies, and for a body that is listed twice in one frame
    """
    count = np.diff(clip.frame_ptr)
    frame = np.repeat(np.cumsum(count > 0) - 1, count)
    ids, first = np.unique(clip.body_id, return_index=True)
    tracks = []
    for body in ids[np.argsort(first)]:
        own = clip.body_id == body
        points, frames = clip.bodies[own], frame[own]
        if (np.diff(frames) == 0).any():
            raise EmptyClip(f"body {body} is listed twice in one frame", "D06")
        if contiguous:
            frames = frames[0] + np.arange(len(frames))
        tracks.append(Track(points, frames, _variance(points)))
    if not tracks:
        raise EmptyClip("no frame lists a body")
    return tracks, int((count > 0).sum())


def denoise(tracks: Sequence[Track], *, keep_longest: bool) -> list[Track]:
    """Drop short bodies, and too wide ones unless no other is left; sort by motion, largest first.

    If all are short, ``keep_longest`` retains the longest; without it EmptyClip is raised (the references fail).
    """
    kept = [track for track in tracks if len(track.frames) >= MIN_TRACK_FRAMES]
    if not kept:
        if not keep_longest:
            raise EmptyClip(f"every body is listed in fewer than {MIN_TRACK_FRAMES} frames")
        kept = [max(tracks, key=lambda track: len(track.frames))]
    clean: list[Track] = []
    for i, track in enumerate(kept):
        others = len(clean) + len(kept) - i - 1
        better = track.cleaned() if others else track
        clean += [better] if better else []
    return sorted(clean, key=lambda track: track.motion, reverse=True)


def as_stored(clip: RawClip) -> NDArray[np.float32] | None:
    """Return (T, 2, V, 3) of a clip whose persons are already separated, as in PKU-MMD; None for a tracker's list."""
    return None if clip.form in (RAW, LISTED, LISTED_TWO) else clip.persons(PERSONS)


def located(x: NDArray[np.float32], joints: Sequence[int], *, flat: bool = False) -> NDArray[np.float32]:
    """Return the mean position (..., C) of ``joints`` in x (..., V, C); zero where one of several is absent.

    ``flat``: the third number is a confidence and not a coordinate, so it is set to zero.
    """
    if len(joints) == 1:
        point = x[..., joints[0], :]
    else:
        members = x[..., list(joints), :]
        point = np.where(np.any(members, axis=-1).all(-1)[..., None], members.mean(-2), np.float32(0))
    return point * np.array([1, 1, 0], np.float32) if flat else point


def in_interval(clip: RawClip, pku_interval: str | None) -> RawClip:
    """Return the clip, without its first frame if it is of PKU-MMD and ``pku_interval`` is ``after_start``."""
    if pku_interval != "after_start" or clip.form != PKU:
        return clip
    first = clip.frame_ptr[1]
    rows = {key: getattr(clip, key)[first:] for key in ("bodies", "body_id", "track")}
    return replace(clip, **rows, frame_ptr=clip.frame_ptr[1:] - first)


def _variance(points: NDArray[np.float32]) -> float:
    return float(points.reshape(-1, 3).var(0).sum())


def _by_hull(tracks: Sequence[Track], shape: tuple[int, ...], overlap: int) -> NDArray[np.float32]:
    x = np.zeros(shape, np.float32)
    # First and last frame of each person. The second person's always begins at 0, as in the references.
    hulls = [(int(tracks[0].frames[0]), int(tracks[0].frames[-1])), (0, overlap - 1)]
    x[tracks[0].frames, 0] = tracks[0].points
    for track in tracks[1:]:
        start, end = int(track.frames[0]), int(track.frames[-1])
        for person, (first, last) in enumerate(hulls):
            if min(last, end) - max(first, start) < overlap:
                x[track.frames, person] = track.points
                hulls[person] = (min(first, start), max(last, end))
                break
    return x


def _by_frame(tracks: Sequence[Track], shape: tuple[int, ...]) -> NDArray[np.float32]:
    x, taken = np.zeros(shape, np.float32), np.zeros(shape[:2], bool)
    for track in tracks:
        for person in range(PERSONS):
            if not taken[track.frames, person].any():
                x[track.frames, person], taken[track.frames, person] = track.points, True
                break
    return x


def interpolate(x: NDArray[np.float32], missing: NDArray[np.bool_], seen: NDArray[np.bool_]) -> None:
    """Interpolate joints (T, M, V, C) in place, linearly in time, where ``missing`` (T, M, V), from ``seen`` frames.

    Before its first and after its last seen frame a joint is constant; one that is never seen is left unchanged.
    """
    for person, joint in zip(*np.nonzero(missing.any(0) & seen.any(0)), strict=True):
        bad, good = np.flatnonzero(missing[:, person, joint]), np.flatnonzero(seen[:, person, joint])
        for axis in range(x.shape[-1]):
            x[bad, person, joint, axis] = np.interp(bad, good, x[good, person, joint, axis])
