"""Simulate a Kinect recording: three viewpoints, noise, occluded joints, dropouts and false bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelssl.data.synthetic.body import rotation
from skelssl.data.synthetic.dice import Dice, Floats
from skelssl.skeleton.layout import load_layout

#: Horizontal angle of each camera about the scene in degrees; camera 1 stands in the middle, as in NTU RGB+D.
ANGLES: Final = {1: 0.0, 2: -45.0, 3: 45.0}
_BODY = load_layout("ntu25")
_LIMBS = [list(members) for part, members in _BODY.parts.items() if part != "trunk"]
_ENDS = ("hand", "wrist", "thumb", "foot", "ankle")
#: Standard deviation of white noise in m; the ends of the limbs are the hardest to detect.
_SIGMA = np.array([0.014 if name.startswith(_ENDS) else 0.007 for name in _BODY.joints])
_FIRST_ID = 72057594037927936  # 2 ** 56, where Kinect starts to count bodies


@dataclass(frozen=True)
class TrackedBodies:
    """R body-frames over F frames in the order of the tracker's list; the fields are those of ``RawClip``."""

    bodies: NDArray[np.float32]  # (R, V, 3)
    body_id: NDArray[np.int64]  # (R,)
    track: NDArray[np.uint8]  # (R, V)
    frame_ptr: NDArray[np.int64]  # (F + 1,)


def camera_view(people: list[Floats], setup: Dice, camera: int) -> list[Floats]:
    """Convert room to camera coordinates (T, V, 3); ``setup`` draws distance, height and tilt for all cameras."""
    away, height, tilt = setup.uniform(2.6, 3.8), setup.uniform(0.9, 1.3), setup.uniform(-6, 2)
    turn = rotation("x", tilt) @ rotation("y", np.asarray(ANGLES[camera]))
    eye, scene = np.array([0.0, height, 0.0]), np.array([0.0, 0.0, away])
    return [scene + np.einsum("ij,tvj->tvi", turn, xyz - eye) for xyz in people]


def track(people: list[Floats], dice: Dice) -> TrackedBodies:
    """Add tracking errors to each person (T, V, 3) in camera coordinates and list the body-frames."""
    frames = len(people[0])
    seen = [_noisy(xyz, dice) for xyz in people]
    present = np.ones((frames, len(people)), dtype=bool)
    ids = np.empty((frames, len(people)), dtype=np.int64)
    ids[:] = _FIRST_ID + dice.integer(1, 9000) + np.arange(len(people)) * dice.integer(1, 40)
    if len(people) > 1 and dice.chance(0.4):
        seen.reverse()
    if dice.chance(0.04):  # the tracker loses a person and assigns a new id
        ids[dice.integer(frames // 4, 3 * frames // 4) :, 0] += 1000
    if dice.chance(0.04):  # no person is detected for a moment
        start = dice.integer(1, frames - 6)
        present[start : start + dice.integer(1, 4)] = False
    xyz, state = np.stack([x for x, _ in seen], 1), np.stack([s for _, s in seen], 1)
    if dice.chance(0.03):
        xyz, state, ids, present = _haunted(xyz, state, ids, present, dice)
    ptr = np.concatenate([[0], present.sum(1).cumsum()]).astype(np.int64)
    # Sine and cosine differ in the last bit between machines; rounding to a micrometre makes all bytes equal.
    rounded = np.round(xyz[present], 6).astype(np.float32)
    return TrackedBodies(rounded, ids[present], state[present], ptr)


def _noisy(xyz: Floats, dice: Dice) -> tuple[Floats, NDArray[np.uint8]]:
    """Return one person (T, V, 3) as tracked, and each joint's state (T, V)."""
    frames, joints = xyz.shape[:2]
    hidden = _hidden(xyz)
    drift = _smooth(dice.normal(1.0, frames + 12, joints, 3), 13)
    spread = _SIGMA[:, None] * np.array([1.0, 1.0, 1.6])  # depth is the weakest coordinate
    noise = spread * (0.7 * dice.normal(1.0, frames, joints, 3) + (1.0 + 6.0 * hidden[..., None]) * drift)
    inferred = dice.uniform(0.25, 1.25, frames, joints) < hidden
    if dice.chance(0.3):  # one limb is lost for a moment and jitters
        limb, start, length = _LIMBS[dice.integer(0, 3)], dice.integer(0, frames - 12), dice.integer(3, 10)
        burst = np.ix_(range(start, start + length), limb)
        noise[burst] += dice.normal(0.05, length, len(limb), 3)
        inferred[burst] = True
    return xyz + noise, np.where(inferred, 1, 2).astype(np.uint8)


def _hidden(xyz: Floats) -> Floats:
    """Return the fraction (T, V) to which the trunk occludes each joint, seen from the camera at the origin."""
    trunk = xyz[:, [1]]
    behind = (xyz - trunk)[..., 2]
    beside = np.abs(xyz[..., 0] / xyz[..., 2] - trunk[..., 0] / trunk[..., 2]) * trunk[..., 2]
    covered = 1 / (1 + np.exp(-(behind - 0.10) / 0.03)) / (1 + np.exp((beside - 0.24) / 0.03))
    return np.asarray(covered * (xyz[..., 1] > xyz[:, [0], 1] - 0.15))


def _smooth(noise: Floats, width: int) -> Floats:
    """Return the running mean over ``width`` frames, scaled to unit variance."""
    total = np.cumsum(np.concatenate([np.zeros_like(noise[:1]), noise]), 0)
    return np.asarray((total[width:] - total[:-width]) / np.sqrt(width))


def _haunted(xyz: Floats, state: NDArray[np.uint8], ids: NDArray[np.int64], present: NDArray[np.bool_], dice: Dice
             ) -> tuple[Floats, NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:  # fmt: skip
    """Add a false body for 4 to 9 frames, such as furniture: wide, low and jittering."""
    frames, _, joints, _ = xyz.shape
    ghost = dice.normal(1.0, 1, 1, joints, 3) * [0.5, 0.1, 0.15] + dice.normal(0.01, frames, 1, joints, 3)
    ghost += xyz[:1, :1, :1] + [0.9, -0.4, 0.4]
    start = dice.integer(0, frames - 10)
    there = np.zeros((frames, 1), dtype=bool)
    there[start : start + dice.integer(4, 9)] = True
    return (np.concatenate([xyz, ghost], 1), np.concatenate([state, np.ones_like(state[:, :1])], 1),
            np.concatenate([ids, ids[:, :1] + 500], 1), np.concatenate([present, there], 1))  # fmt: skip
