"""Raw clips made of bodies that come and go, for tests of who is who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skelssl.data.clip import RawClip


def body(n: int, *, seed: int = 0, motion: float = 0.1, wide: Sequence[int] = ()) -> np.ndarray:
    """(n, 25, 3) a slim figure three metres away that wanders by ``motion`` metres; frames in ``wide`` lie down."""
    dice = np.random.default_rng(seed)
    figure = dice.normal(0, 0.05, (25, 3)) + np.linspace((0, 0, 3), (0, 1.7, 3), 25)
    points = figure + dice.normal(0, 0.01, (n, 25, 3)) + motion * dice.normal(size=(n, 1, 3))
    points[list(wide)] = points[list(wide)][..., [1, 0, 2]]
    return points.astype(np.float32)


def clip_of(bodies: Mapping[int, Mapping[int, np.ndarray]], frames: int, name: str = "S001C001P001R001A001") -> RawClip:
    """A clip of ``frames`` frames; ``bodies`` maps an id to its pose (V, 3) per frame. A frame lists them in order."""
    listed = [[(key, poses[f]) for key, poses in bodies.items() if f in poses] for f in range(frames)]
    rows = [row for frame in listed for row in frame]
    return RawClip(
        name=name, label=0, bodies=np.array([pose for _, pose in rows], np.float32).reshape(-1, 25, 3),
        body_id=np.array([key for key, _ in rows], np.int64), track=np.full((len(rows), 25), 2, np.uint8),
        frame_ptr=np.cumsum([0, *map(len, listed)]),
    )  # fmt: skip


def on(frames: Sequence[int], points: np.ndarray) -> dict[int, np.ndarray]:
    """Pose k of ``points`` on frame k of ``frames``."""
    return dict(zip(frames, points, strict=True))


def random_clip(seed: int) -> RawClip:
    """Some bodies with random spans, gaps and motion, short or wide ones among them, and frames without anyone."""
    dice = np.random.default_rng(seed)
    frames, bodies = int(dice.integers(20, 60)), {}
    for k in range(int(dice.integers(1, 6))):
        start = int(dice.integers(0, frames - 5))
        span = np.arange(start, int(dice.integers(start + 3, frames + 1)))
        span = span[dice.random(len(span)) > 0.1 * dice.integers(0, 3)]
        wide = np.flatnonzero(dice.random(len(span)) < dice.choice([0, 0.3, 0.9]))
        bodies[72057594037944734 + k] = on(span, body(len(span), seed=seed + k, motion=0.1 + 0.05 * k, wide=wide))
    nobody = set(dice.integers(0, frames, 3).tolist())
    return clip_of({k: {f: p for f, p in b.items() if f not in nobody} for k, b in bodies.items()}, frames)
