"""Track persons: combine the detections of single frames to persons over time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused

_SPARSE, _SLACK = 100, 10_000  # most empty frames per frame with a person, and in addition, in a video


@dataclass(frozen=True, slots=True)
class Detection:
    """One person in one frame, as detected by the tool."""

    x: NDArray[np.float32]  # (V, C)
    seen: NDArray[np.float32]  # (V,) confidence in [0, 1]
    id: Hashable | None = None  # of the tool's own tracker
    place: NDArray[np.float32] | None = None  # (V, 2) in the image, if ``x`` does not distinguish persons


@dataclass(slots=True)
class _Track:
    last: Detection
    detections: dict[int, Detection] = field(default_factory=dict)  # by frame

    def add(self, frame: int, detection: Detection) -> None:
        self.detections[frame] = self.last = detection


Frames = Sequence[Sequence[Detection]]


def timeline(numbered: dict[int, list[Detection]], path: Path) -> list[list[Detection]]:
    """Return all frames from the first number to the last, including those without a detection.

    Raises Refused if the numbers cannot be frames of one video.
    """
    if not numbered:
        raise Refused(path, "D04", "found no frame, expected at least one")
    first, last = min(numbered), max(numbered)
    if last - first > _SPARSE * len(numbered) + _SLACK:
        raise Refused(
            path,
            "D24",
            f"found {len(numbered)} frames numbered from {first} to {last}, expected consecutive frames of one video",
        )
    return [numbered.get(number, []) for number in range(first, last + 1)]


def tracked(frames: Frames, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return all persons (T, M, V, C) and their confidences (T, M, V), in descending order of total confidence.

    The tool's ids are used if every detection has one. Otherwise each frame's detections are assigned to the persons
    with the nearest last pose, the nearest pair first, if the joints seen in both have moved on average by less than
    the size of the body; other detections start new persons.

    Raises:
        Refused: if no frame has a person, or one id occurs twice in a frame
    """
    everyone = [detection for frame in frames for detection in frame if detection.seen.any()]
    if not everyone:
        raise Refused(path, "D04", f"found no person in {len(frames)} frames, expected at least one")
    by_id = all(detection.id is not None for detection in everyone)
    tracks = _by_id(frames, path) if by_id else _by_distance(frames)
    tracks.sort(key=lambda track: -sum(float(d.seen.sum()) for d in track.detections.values()))
    x = np.zeros((len(frames), len(tracks), *everyone[0].x.shape), np.float32)
    seen = np.zeros(x.shape[:3], np.float32)
    for person, track in enumerate(tracks):
        for frame, detection in track.detections.items():
            there = detection.seen > 0
            x[frame, person, there], seen[frame, person] = detection.x[there], detection.seen
    return x, seen


def _by_id(frames: Frames, path: Path) -> list[_Track]:
    tracks = dict[Hashable, _Track]()
    for frame, detections in enumerate(frames):
        for detection in (d for d in detections if d.seen.any()):
            track = tracks.setdefault(detection.id, _Track(detection))
            if frame in track.detections:
                raise Refused(path, "D24", f"found person {detection.id} twice in frame {frame}, expected once")
            track.add(frame, detection)
    return list(tracks.values())


def _by_distance(frames: Frames) -> list[_Track]:
    tracks = list[_Track]()
    for frame, detections in enumerate(frames):
        new = [detection for detection in detections if detection.seen.any()]
        belongs = _pairs([track.last for track in tracks], new)
        for d, detection in enumerate(new):
            if d not in belongs:
                tracks.append(_Track(detection))
            tracks[belongs.get(d, -1)].add(frame, detection)
    return tracks


def _pairs(last: Sequence[Detection], new: Sequence[Detection]) -> dict[int, int]:
    """Return new index -> last index for the poses that continue one, the nearest pair first."""
    pairs = dict[int, int]()
    if last and new:
        moved = _moved(last, new)
        for t, d in zip(*np.unravel_index(np.argsort(moved, axis=None, kind="stable"), moved.shape), strict=True):
            if not moved[t, d] < 1:
                break
            if d not in pairs and t not in pairs.values():
                pairs[int(d)] = int(t)
    return pairs


def _moved(last: Sequence[Detection], new: Sequence[Detection]) -> NDArray[np.float64]:
    """Return the mean distance (K, D) of the joints seen in both, in sizes of the larger body; inf without any."""
    (a, seen_a), (b, seen_b) = _stacked(last), _stacked(new)
    both = seen_a[:, None] & seen_b[None]
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
    mean = np.where(both, apart, 0).sum(-1) / np.maximum(both.sum(-1), 1)
    size = np.maximum(_sizes(a, seen_a)[:, None], _sizes(b, seen_b)[None])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(mean > 0, mean / size, 0)
    moved: NDArray[np.float64] = np.where(both.any(-1), share, np.inf)
    return moved


def _stacked(detections: Sequence[Detection]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the positions (N, V, C) of detections, and whether each joint is seen (N, V)."""
    places = np.stack([d.x if d.place is None else d.place for d in detections]).astype(np.float64)
    return places, np.stack([d.seen > 0 for d in detections])


def _sizes(x: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the diagonals (N,) of the bounding boxes of seen joints; each body has at least one."""
    there = seen[..., None]
    box = np.where(there, x, -np.inf).max(1) - np.where(there, x, np.inf).min(1)
    sizes: NDArray[np.float64] = np.linalg.norm(box, axis=-1)
    return sizes
