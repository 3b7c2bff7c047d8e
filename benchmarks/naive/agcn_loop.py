"""The usual loop form of 2s-AGCN's normalisation: each joint of each frame of each person is moved and turned alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SPINE_BASE, SPINE_MID, SHOULDER_LEFT, SHOULDER_RIGHT = 0, 1, 4, 8
FRAMES = 300


def agcn_loop(selected: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two selected persons (T, 2, V, 3), both there from frame 0 on -> (300, 2, V, 3)."""
    x = np.zeros((FRAMES, *selected.shape[1:]), np.float32)
    for person in range(2):
        there = [t for t in range(len(selected)) if selected[t, person].sum() != 0]
        if there:
            period = there[-1] + 1
            for t in range(FRAMES):
                x[t, person] = selected[t % period, person]
    for t in range(FRAMES):
        centre = x[t, 0, SPINE_MID].copy()
        for person in range(2):
            for joint in range(x.shape[2]):
                if x[t, person, joint].sum() != 0:
                    x[t, person, joint] -= centre
    for start, end, axis in ((SPINE_BASE, SPINE_MID, 2), (SHOULDER_LEFT, SHOULDER_RIGHT, 0)):
        matrix = _turn(x[0, 0, end].astype(float) - x[0, 0, start], axis)
        for t in range(FRAMES):
            for person in range(2):
                if x[t, person].sum() != 0:
                    for joint in range(x.shape[2]):
                        x[t, person, joint] = matrix @ x[t, person, joint]
    return x


def _turn(vector: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Rodrigues' rotation of ``vector`` onto a coordinate axis, from the half angle (quaternion)."""
    target = np.eye(3)[axis]
    about = np.cross(vector, target)
    length = np.linalg.norm(about)
    if np.abs(about).sum() < 1e-6:
        return np.eye(3)
    angle = math.acos(np.clip(vector @ target / np.linalg.norm(vector), -1, 1))
    a, (b, c, d) = math.cos(angle / 2), about / length * math.sin(angle / 2)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
