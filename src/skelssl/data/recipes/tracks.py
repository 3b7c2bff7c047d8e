"""Persons by id: the bodies of a tracker's list, told apart by their ids, cleaned and shared out over two persons.

The selection that CTR-GCN's preparation (Chen et al., ICCV 2021; after SGN, Zhang et al., CVPR 2020) and pyskl's (Duan
et al., ACM MM 2022) have in common, with their quirks on demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import LISTED, LISTED_TWO, PKU, RAW, EmptyClip, RawClip

MIN_TRACK_FRAMES = 12  # frames; a shorter body beside others is noise
MAX_WIDTH_RATIO = 0.8  # x extent over y extent; wider frames are bad ones
MAX_BAD_FRACTION = 0.69754  # of bad frames that makes a body noise
PERSONS = 2


@dataclass(frozen=True, slots=True)
class Track:
    """One body: its points (n, V, 3) in metres, and on which frames (n,) of the clip they lie, ascending."""

    points: NDArray[np.float32]
    frames: NDArray[np.int64]
    motion: float  # sum over x, y, z of the variance over joints and frames, square metres

    def cleaned(self) -> Track | None:
        """The motion limited to that of the good frames; None for a body that is mostly too wide to be a person."""
        extent = np.ptp(self.points, axis=1)
        good = extent[:, 0] <= MAX_WIDTH_RATIO * extent[:, 1]
        if good.all():
            return self
        if (~good).mean() >= MAX_BAD_FRACTION:
            return None
        return replace(self, motion=min(self.motion, _variance(self.points[good])))


def two_people(clip: RawClip, *, faithful: bool, overlap: int = 0) -> tuple[NDArray[np.float32], int]:
    """Return at most two persons (T, 2, V, 3), the one who moves most first, and how many bodies they were made of.

    Frames that list nobody leave the timeline. ``faithful``: a body that vanishes and returns is pushed together, a
    person's frames are the hull of his bodies' frames, and bodies of one person may share ``overlap`` frames, where the
    later one overwrites. Otherwise bodies keep their frames and share none. Raises EmptyClip where no body is left.
    """
    tracks, length = listed(clip, contiguous=faithful)
    if len(tracks) > 1:
        tracks = denoise(tracks, keep_longest=not faithful)
    shape = (length, PERSONS, *clip.bodies.shape[1:])
    x = _by_hull(tracks, shape, overlap) if faithful else _by_frame(tracks, shape)
    return x, len(tracks)


def listed(clip: RawClip, *, contiguous: bool) -> tuple[list[Track], int]:
    """Return the bodies in the order in which the file first names them, and the number of frames that list somebody.

    ``contiguous`` closes the gaps of a body that vanishes and returns: its later frames slide to the left.
    Raises EmptyClip for a clip without bodies, and for a body that a frame lists twice.
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
    """Drop short bodies, and too wide ones as long as another is left; sorts by motion, largest first.

    Where all are short, ``keep_longest`` keeps the longest one; without it that is an EmptyClip (the references fail).
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
    """(T, 2, V, 3) of a clip whose file keeps two persons apart already, as PKU-MMD's do; None for a tracker's list."""
    return None if clip.form in (RAW, LISTED, LISTED_TWO) else clip.persons(PERSONS)


def located(x: NDArray[np.float32], joints: Sequence[int], *, flat: bool = False) -> NDArray[np.float32]:
    """Convert (..., V, C) -> (..., C): where the mean of ``joints`` is; zero where one of several is absent.

    ``flat``: the third number is a confidence and no place, so it is zero.
    """
    if len(joints) == 1:
        point = x[..., joints[0], :]
    else:
        members = x[..., list(joints), :]
        point = np.where(np.any(members, axis=-1).all(-1)[..., None], members.mean(-2), np.float32(0))
    return point * np.array([1, 1, 0], np.float32) if flat else point


def in_interval(clip: RawClip, pku_interval: str | None) -> RawClip:
    """Return the clip without its leading frame where it is of PKU-MMD and its interval is read as ``after_start``."""
    if pku_interval != "after_start" or clip.form != PKU:
        return clip
    first = clip.frame_ptr[1]
    rows = {key: getattr(clip, key)[first:] for key in ("bodies", "body_id", "track")}
    return replace(clip, **rows, frame_ptr=clip.frame_ptr[1:] - first)


def _variance(points: NDArray[np.float32]) -> float:
    return float(points.reshape(-1, 3).var(0).sum())


def _by_hull(tracks: Sequence[Track], shape: tuple[int, ...], overlap: int) -> NDArray[np.float32]:
    x = np.zeros(shape, np.float32)
    # First and last frame of each person. The second one's begins at 0 for good, as in the references.
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
    """Fill joints (T, M, V, C) in place where they are ``missing`` (T, M, V), from the frames in which they are seen.

    Linear in time; before the first and after the last such frame a joint stays where it was, and one that is never
    seen is left alone.
    """
    for person, joint in zip(*np.nonzero(missing.any(0) & seen.any(0)), strict=True):
        bad, good = np.flatnonzero(missing[:, person, joint]), np.flatnonzero(seen[:, person, joint])
        for axis in range(x.shape[-1]):
            x[bad, person, joint, axis] = np.interp(bad, good, x[good, person, joint, axis])
