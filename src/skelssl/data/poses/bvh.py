"""Read BVH (Biovision hierarchy): a tree of joints with offsets and channels, then a row of numbers per frame.

A joint is at its parent's position plus its offset, rotated by all rotations above it. A joint's rotations multiply
from left to right in the order of its channels, so the last one is applied first. Position channels replace the offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused
from skelssl.data.poses.bvh_names import house_names
from skelssl.data.poses.poses import Poses
from skelssl.skeleton.layout import load_layout

LAYOUT = "smpl22"
_AXES = "XYZ"
_LEG = {"m": (0.4, 1.2), "cm": (40.0, 120.0)}  # length of thigh and shin of a child or an adult


@dataclass(slots=True)
class BVHJoint:
    """A node of the hierarchy."""

    name: str
    parent: int  # -1 for the root
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    channels: tuple[str, ...] = ()


def sniff_bvh(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is a BVH."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().upper().startswith(b"HIERARCHY")


def read_bvh(path: Path, name: str) -> list[Poses]:
    """Read the one clip, with the joints of ``smpl22`` that the hierarchy has; raise Refused."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Refused(path, "D33", f"cannot be read ({error.strerror or error}), expected a file") from error
    except UnicodeDecodeError as error:
        raise Refused(path, "D02", f"found bytes that are no text ({error}), expected a BVH") from error
    joints, tokens = _hierarchy(text, path)
    motion, seconds = _motion(tokens, sum(len(joint.channels) for joint in joints), path)
    places = forward_kinematics(joints, motion)
    found = house_names([joint.name for joint in joints], [joint.parent for joint in joints], path)
    body = load_layout(LAYOUT)
    x = np.zeros((len(motion), 1, len(body.joints), 3), np.float32)
    seen = np.zeros(x.shape[:3], np.float32)
    for house, joint in found.items():
        x[:, 0, body.index(house)], seen[:, 0, body.index(house)] = places[:, joint], 1
    return [Poses(name, x, seen, LAYOUT, 1 / seconds, _unit(x[0, 0]))]


def forward_kinematics(joints: list[BVHJoint], motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return joint positions (T, J, 3) in the file's unit; ``motion`` (T, channels) is in that unit and degrees."""
    places = np.zeros((len(motion), len(joints), 3))
    turns = np.zeros((len(motion), len(joints), 3, 3))
    column = 0
    for j, joint in enumerate(joints):
        offset, turn = np.tile(joint.offset, (len(motion), 1)), np.tile(np.eye(3), (len(motion), 1, 1))
        for channel in joint.channels:
            axis, values = _AXES.index(channel[0].upper()), motion[:, column]
            column += 1
            if channel[1:].lower() == "position":
                offset[:, axis] = values
            else:
                turn = turn @ _rotation(axis, np.deg2rad(values))
        if joint.parent < 0:
            places[:, j], turns[:, j] = offset, turn
        else:
            above = turns[:, joint.parent]
            places[:, j] = places[:, joint.parent] + np.einsum("tij,tj->ti", above, offset)
            turns[:, j] = above @ turn
    return places


def _rotation(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right-handed rotations (T, 3, 3) about x, y or z by (T,) radians."""
    one, two = (axis + 1) % 3, (axis + 2) % 3
    turn = np.zeros((len(angle), 3, 3))
    turn[:, axis, axis] = 1
    turn[:, one, one] = turn[:, two, two] = np.cos(angle)
    turn[:, two, one], turn[:, one, two] = np.sin(angle), -np.sin(angle)
    return turn


def _hierarchy(text: str, path: Path) -> tuple[list[BVHJoint], Iterator[str]]:
    """Parse the joints, parents first; return them and the words after MOTION."""
    words = iter(text.split())
    joints, above = list[BVHJoint](), list[int]()  # the joints that are open, -1 for an end site
    try:
        next(words)
        for word in words:
            key = word.upper()
            if key == "MOTION":
                break
            if key in ("ROOT", "JOINT"):
                if (key == "ROOT") != (not above) or (key == "ROOT" and joints):
                    raise Refused(path, "D24", f"found a second tree at {word}, expected one ROOT and JOINTs below it")
                joints.append(BVHJoint(_name(words), above[-1] if above else -1))
                above.append(len(joints) - 1)
            elif key == "END":
                _name(words)
                above.append(-1)
            elif key == "OFFSET":
                offset = np.array([float(next(words)) for _ in range(3)])
                if above[-1] >= 0:
                    joints[above[-1]].offset = offset
            elif key == "CHANNELS":
                joints[above[-1]].channels = tuple(_channel(next(words)) for _ in range(int(next(words))))
            elif key == "}":
                above.pop()
            else:
                raise Refused(path, "D24", f"found {word!r} in the hierarchy, expected a key of BVH")
    except (StopIteration, ValueError, IndexError) as error:
        raise Refused(path, "D02", f"found a broken hierarchy ({error or 'its end'}), expected a full BVH") from error
    if above or not joints:
        raise Refused(path, "D02", "found a hierarchy that does not close, expected a full BVH")
    return joints, words


def _name(words: Iterator[str]) -> str:
    """Return the words up to the brace, since some names contain blanks."""
    name = list(iter(words.__next__, "{"))
    if not name:
        raise ValueError("a joint without a name")
    return " ".join(name)


def _channel(word: str) -> str:
    if word[:1].upper() not in _AXES or word[1:].lower() not in ("position", "rotation"):
        raise ValueError(f"the channel {word}")
    return word


def _motion(words: Iterator[str], width: int, path: Path) -> tuple[NDArray[np.float64], float]:
    """Parse the motion; return rows (T, width) and the duration of a frame in seconds."""
    try:
        head = [next(words).upper() for _ in range(2)]
        count = int(head[1])
        time = [next(words).upper() for _ in range(3)]
        seconds = float(time[2])
        if head[0] != "FRAMES:" or time[:2] != ["FRAME", "TIME:"] or seconds <= 0 or count < 1:
            raise ValueError(" ".join(head + time))
        rows = np.array([float(word) for word in words])
    except (StopIteration, ValueError) as error:
        raise Refused(
            path,
            "D02",
            f"found broken motion ({error or 'its end'}), expected Frames:, Frame Time: and rows of numbers",
        ) from error
    if rows.size != count * width:
        raise Refused(
            path, "D02", f"found {rows.size:,} numbers of motion, expected {count:,} frames of {width} channels"
        )
    if not np.isfinite(rows).all():
        raise Refused(path, "D12", "found NaN or infinite numbers in the motion, expected angles and places")
    return rows.reshape(count, width), seconds


def _unit(pose: NDArray[np.float32]) -> str:
    """Guess the unit from the length of a leg, since a BVH file does not contain it."""
    body = load_layout(LAYOUT)
    hip, knee, ankle = (pose[body.index(f"{joint}_left")] for joint in ("hip", "knee", "ankle"))
    leg = float(np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle))
    return next((unit for unit, (low, high) in _LEG.items() if low <= leg <= high), "unknown")
