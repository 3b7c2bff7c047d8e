"""Who is who: detections of single frames -> persons over time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelssl.data.imports.rows import Refused

_SPARSE, _SLACK = 100, 10_000  # so many frames without anybody, for each with somebody and in all, has no film


@dataclass(frozen=True, slots=True)
class Detection:
    """One person in one frame, as the tool found it."""

    x: NDArray[np.float32]  # (V, C)
    seen: NDArray[np.float32]  # (V,) confidence in [0, 1]
    id: Hashable | None = None  # of the tool's own tracker
    place: NDArray[np.float32] | None = None  # (V, 2) where ``x`` does not tell persons apart: in the image


@dataclass(slots=True)
class _Track:
    detections: dict[int, Detection] = field(default_factory=dict)  # by frame
    last: Detection | None = None

    def add(self, frame: int, detection: Detection) -> None:
        self.detections[frame] = self.last = detection


Frames = Sequence[Sequence[Detection]]


def timeline(numbered: dict[int, list[Detection]], path: Path) -> list[list[Detection]]:
    """Frames from the first number to the last, those in between without a detection included.

    Raises Refused where the numbers cannot be those of a film's frames.
    """
    if not numbered:
        raise Refused(path, "D04", "found no frame, expected at least one")
    first, last = min(numbered), max(numbered)
    if last - first > _SPARSE * len(numbered) + _SLACK:
        raise Refused(
            path,
            "D24",
            f"found {len(numbered)} frames with numbers from {first} to {last}, expected those of one film, in a row",
        )
    return [numbered.get(number, []) for number in range(first, last + 1)]


def tracked(frames: Frames, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Persons (T, M, V, C) and how much they are seen (T, M, V), the most seen first; nobody is left out.

    The tool's own ids are used where every detection has one. Else each frame's detections go to the persons whose
    last pose is nearest, the nearest pair first, as long as the joints seen in both have moved, on average, by less
    than the body is large; whoever is near nobody is a new person. Raises Refused where nobody is in any frame, and
    where one id stands twice in a frame.
    """
    everyone = [detection for frame in frames for detection in frame if detection.seen.any()]
    if not everyone:
        raise Refused(path, "D04", f"found nobody in {len(frames)} frames, expected somebody")
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
            track = tracks.setdefault(detection.id, _Track())
            if frame in track.detections:
                raise Refused(path, "D24", f"found person {detection.id} twice in frame {frame}, expected once")
            track.add(frame, detection)
    return list(tracks.values())


def _by_distance(frames: Frames) -> list[_Track]:
    tracks = list[_Track]()
    for frame, detections in enumerate(frames):
        new = [detection for detection in detections if detection.seen.any()]
        near = [
            (moved, t, d)
            for t, track in enumerate(tracks)
            for d, detection in enumerate(new)
            if track.last and (moved := _moved(track.last, detection)) < 1
        ]
        taken, placed = set[int](), set[int]()
        for _, t, d in sorted(near):
            if t not in taken and d not in placed:
                tracks[t].add(frame, new[d])
                taken.add(t)
                placed.add(d)
        for detection in (detection for d, detection in enumerate(new) if d not in placed):
            track = _Track()
            track.add(frame, detection)
            tracks.append(track)
    return tracks


def _moved(a: Detection, b: Detection) -> float:
    """How far the joints seen in both lie apart on average, in sizes of the body; infinite without such joints."""
    both = (a.seen > 0) & (b.seen > 0)
    if not both.any():
        return float("inf")
    one, two = ((d.x if d.place is None else d.place)[both] for d in (a, b))
    size = max(float(np.linalg.norm(np.ptp(points, axis=0))) for points in (one, two))
    apart = float(np.linalg.norm(one - two, axis=1).mean())
    return apart / size if size else float(apart > 0)
