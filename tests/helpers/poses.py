"""Files as pose tools write them, made from a known motion; nothing here knows the readers."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.skeleton.layout import load_layout

InFrames = list[list[tuple[int, list[float]]]]  # for each frame, person and joints as a flat list


def walk(name: str, persons: int = 1, frames: int = 9, seed: int = 0, channels: int = 2) -> np.ndarray:
    """(T, M, V, C) of people of about 200 units who stand 500 apart and sway; y up, no coordinate zero."""
    dice = np.random.default_rng(seed)
    joints = len(load_layout(name).joints)
    pose = dice.uniform(20, 220, (persons, joints, channels)) + 500 * np.arange(persons)[:, None, None]
    sway = dice.normal(0, 1, (frames, persons, joints, channels)).cumsum(0)
    return (pose + sway).astype(np.float32).round(2) * np.array([1, -1, -1][:channels], np.float32)


def sure(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """(T, M, V) confidences from 0.1 to 1."""
    return np.random.default_rng(seed).integers(1, 11, x.shape[:3]).astype(np.float32) / 10


def flat(x: np.ndarray, seen: np.ndarray) -> list[float]:
    """One person's joints (V, C) as a tool lists them: x right, y down, z away, confidence behind."""
    down = x * np.array([-1, -1, 1][: x.shape[-1]])
    return [float(v) for point, c in zip(down, seen, strict=True) for v in (*point, c)]


def dump(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
    return path


def people(x: np.ndarray, seen: np.ndarray, order: Sequence[Sequence[int]] | None = None) -> InFrames:
    """For each frame (person, flat joints) of those who are seen, in an order of the frame's own."""
    return [
        [(m, flat(x[t, m], seen[t, m])) for m in (order[t] if order else range(x.shape[1])) if seen[t, m].any()]
        for t in range(len(x))
    ]


def coco_results(frames: InFrames, key: str | None = None, names: bool = False) -> list[dict[str, Any]]:
    """COCO's results, or AlphaPose's with ``names`` of images; ``key`` gives each person's number."""
    return [
        {"image_id": f"clip_7_{t:05d}.jpg" if names else t, "category_id": 1, "keypoints": points, "score": 0.9}
        | ({key: m + 3} if key else {})
        for t, persons in enumerate(frames)
        for m, points in persons
    ]


def openpose_frames(frames: InFrames, key: str = "pose_keypoints_2d") -> list[dict[str, Any]]:
    return [
        {
            "version": 1.3,
            "people": [
                {"person_id": [-1], "pose_keypoints_2d": [], "face_keypoints_2d": [], "pose_keypoints_3d": [], key: p}
                for _, p in persons
            ],
        }
        for persons in frames
    ]


def openpose_folder(folder: Path, frames: list[dict[str, Any]], first: int = 0) -> Path:
    for t, frame in enumerate(frames, first):
        dump(folder / f"film_{t:012d}_keypoints.json", frame)
    return folder


def landmarks(x: np.ndarray, seen: np.ndarray | None = None) -> list[dict[str, float]]:
    """One person (33, 2 or 3), y up, as MediaPipe's objects."""
    down = x * np.array([-1, -1, 1][: x.shape[-1]])
    rows = []
    for v, point in enumerate(down):
        row = {"x": float(point[0]), "y": float(point[1]), "z": float(point[2]) if len(point) > 2 else -0.5}
        rows.append(row if seen is None else {**row, "visibility": float(seen[v]), "presence": 0.99})
    return rows


def around_hips(x: np.ndarray) -> np.ndarray:
    """Metres about the middle of the hips, as world landmarks are."""
    body = load_layout("mediapipe33")
    hips = x[..., [body.index("hip_left"), body.index("hip_right")], :].mean(-2, keepdims=True)
    return ((x - hips) / 200).astype(np.float32)


def pyskl_note(name: str, x: np.ndarray, seen: np.ndarray, label: int) -> dict[str, Any]:
    down = (x * np.array([-1, -1])).transpose(1, 0, 2, 3)
    return {
        "frame_dir": name,
        "label": label,
        "img_shape": (1080, 1920),
        "original_shape": (1080, 1920),
        "total_frames": len(x),
        "keypoint": down.astype(np.float32),
        "keypoint_score": seen.transpose(1, 0, 2).astype(np.float16),
    }


def write_pickle(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path


# --- BVH -------------------------------------------------------------------------------------------------------------

MIXAMO = """Hips Spine:Hips Spine1:Spine Spine2:Spine1 Neck:Spine2 Head:Neck LeftShoulder:Spine2 LeftArm:LeftShoulder
LeftForeArm:LeftArm LeftHand:LeftForeArm LeftHandThumb1:LeftHand RightShoulder:Spine2 RightArm:RightShoulder
RightForeArm:RightArm RightHand:RightForeArm LeftUpLeg:Hips LeftLeg:LeftUpLeg LeftFoot:LeftLeg LeftToeBase:LeftFoot
RightUpLeg:Hips RightLeg:RightUpLeg RightFoot:RightLeg RightToeBase:RightFoot"""
HOUSE = {
    "Hips": "spine_base", "Spine": "spine1", "Spine1": "spine_mid", "Spine2": "spine3", "Neck": "neck", "Head": "head",
    **{f"{S}{theirs}": f"{ours}_{S.lower()}" for S in ("Left", "Right") for theirs, ours in (
        ("Shoulder", "collar"), ("Arm", "shoulder"), ("ForeArm", "elbow"), ("Hand", "wrist"),
        ("UpLeg", "hip"), ("Leg", "knee"), ("Foot", "ankle"), ("ToeBase", "foot"))},
}  # fmt: skip


def tree(text: str) -> list[tuple[str, int]]:
    """``child:parent`` words -> names with the parent's index, parents first."""
    pairs = [word.partition(":")[::2] for word in text.split()]
    names = [name for name, _ in pairs]
    return [(name, names.index(parent) if parent else -1) for name, parent in pairs]


class BVH:
    """A random hierarchy and motion, its file, and its joints' places by sines and cosines written out."""

    def __init__(
        self, joints: list[tuple[str, int]], orders: Sequence[str], frames: int = 5, seed: int = 0, unit: float = 1.0
    ) -> None:
        dice = np.random.default_rng(seed)
        self.joints, self.frames = joints, frames
        self.orders = [orders[j % len(orders)] for j in range(len(joints))]
        self.offsets = dice.uniform(-1, 1, (len(joints), 3)).round(4)
        self.offsets *= (40 * unit / np.linalg.norm(self.offsets, axis=1))[:, None]
        self.angles = dice.uniform(-180, 180, (frames, len(joints), 3)).round(4)
        self.places = dice.uniform(-100, 100, (frames, 3)).round(4)

    def text(self, prefix: str = "", newline: str = "\n") -> str:
        rows = []
        for t in range(self.frames):
            rows.append(" ".join(map(repr, map(float, [*self.places[t], *self.angles[t].reshape(-1)]))))
        lines = ["HIERARCHY", *self._node(0, 0, prefix), "MOTION", f"Frames: {self.frames}", "Frame Time: 0.0333333"]
        return newline.join([*lines, *rows, ""])

    def _node(self, j: int, depth: int, prefix: str) -> list[str]:
        tab, (name, parent) = "\t" * depth, self.joints[j]
        turns = " ".join(f"{axis}rotation" for axis in self.orders[j])
        channels = f"6 Xposition Yposition Zposition {turns}" if parent < 0 else f"3 {turns}"
        lines = [f"{tab}{'ROOT' if parent < 0 else 'JOINT'} {prefix}{name}", tab + "{"]
        lines += [f"{tab}\tOFFSET {' '.join(map(repr, map(float, self.offsets[j])))}", f"{tab}\tCHANNELS {channels}"]
        below = [k for k, (_, above) in enumerate(self.joints) if above == j]
        for k in below:
            lines += self._node(k, depth + 1, prefix)
        if not below:
            lines += [f"{tab}\tEnd Site", tab + "\t{", f"{tab}\t\tOFFSET 0.0 1.5 0.0", tab + "\t}"]
        return [*lines, tab + "}"]

    def place(self, t: int, j: int) -> np.ndarray:
        """Where joint j is in frame t: its own offset carried outwards through one joint after the other."""
        point = [0.0, 0.0, 0.0]
        while j >= 0:
            parent = self.joints[j][1]
            offset = self.places[t] if parent < 0 else self.offsets[j]
            point = [p + o for p, o in zip(point, offset, strict=True)]
            if parent >= 0:
                for axis, angle in reversed([*zip(self.orders[parent], self.angles[t, parent], strict=True)]):
                    point = turned(point, axis, math.radians(angle))
            j = parent
        return np.array(point)


def turned(point: Sequence[float], axis: str, angle: float) -> list[float]:
    x, y, z = point
    c, s = math.cos(angle), math.sin(angle)
    if axis == "X":
        return [x, c * y - s * z, s * y + c * z]
    if axis == "Y":
        return [c * x + s * z, y, -s * x + c * z]
    return [c * x - s * y, s * x + c * y, z]
