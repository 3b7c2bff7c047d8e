"""Read MediaPipe Pose: landmarks written frame by frame, in any of the usual structures.

A file is a list of frames, or an object with such a list beside ``fps``, ``width`` and ``height``. A frame is 33
landmarks, a list of persons with 33 each, null, or an object that holds these under ``pose_landmarks``,
``pose_world_landmarks`` and their like. A landmark is an object with x, y, z and often visibility, or a list of these.

World landmarks are in metres from the midpoint of the hips, y down, z away from the camera; they do not contain the
position of the person. Image landmarks are fractions of the image's width and height; their z is an estimate without a
unit and is left out (MediaPipe's guide to its pose landmarker).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused
from skelssl.data.poses.keypoints import are_whole_numbers, confidence, image_clip, numbers, space_clip
from skelssl.data.poses.poses import Poses
from skelssl.data.poses.tracks import Detection, timeline
from skelssl.skeleton.layout import load_layout

LAYOUT = "mediapipe33"
_JOINTS = 33
_IMAGE = ("pose_landmarks", "poseLandmarks", "landmarks")
_WORLD = ("pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks")
_NUMBERS = ("frame", "frame_id", "frame_index", "frame_number")
_FPS = ("fps", "frame_rate", "frameRate")
_AT_HIPS = 0.05  # m: in an average frame, hips are never so close to a corner of the image
Landmarks = NDArray[np.float32]  # (33, 4) x, y, z, visibility


def sniff_mediapipe(content: Any) -> bool:
    """Return whether a JSON document holds frames of landmarks."""
    return bool(_frames(content)[0])


def read_mediapipe(content: Any, path: Path, name: str) -> list[Poses]:
    """Read one clip, from world landmarks if the file has them, else from image landmarks."""
    frames, about = _frames(content)
    image = [_persons(_under(frame, _IMAGE), path) for frame in frames]
    world = [_persons(_under(frame, _WORLD), path) for frame in frames]
    if not any(world) and _around_hips(image):
        image, world = [[] for _ in frames], image
    order = _order(frames, path)
    fps = next((float(about[key]) for key in _FPS if isinstance(about.get(key), int | float)), None)
    if any(world):
        return [space_clip(name, order(_in_space(world, image)), path, layout=LAYOUT, unit="m", fps=fps)]
    size = about.get("width"), about.get("height")
    sized = all(isinstance(side, int | float) and side > 0 for side in size)
    if not sized:
        warnings.warn(
            f"{path}: found image landmarks without width and height beside the frames, so the body is stretched by "
            "the image's aspect",
            UserWarning,
            stacklevel=2,
        )
    scale = np.array(size if sized else (1, 1), np.float32)
    flat = [[Detection(one[:, :2] * scale, one[:, 3]) for one in persons] for persons in image]
    unit = "px" if sized else "unknown"
    return [image_clip(name, order(flat), path, layout=LAYOUT, fps=fps, unit=unit)]


def _frames(content: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the list of frames and the object that contains it; both empty if there is none."""
    if isinstance(content, Mapping):
        lists = [value for value in content.values() if isinstance(value, list) and _frames(value)[0]]
        return (lists[0], content) if len(lists) == 1 else ((), {})
    if not isinstance(content, list) or not any(map(_is_frame, content)):
        return (), {}
    return content, {}


def _is_frame(frame: Any) -> bool:
    """Return whether a value is a frame with a person."""
    found = _under(frame, _WORLD) or _under(frame, _IMAGE)
    if isinstance(found, list) and found and not _is_point(found[0]):
        found = _unwrapped(found[0])
    return isinstance(found, list) and len(found) == _JOINTS and _is_point(found[0])


def _is_point(one: Any) -> bool:
    if isinstance(one, Mapping):
        return {"x", "y", "z"} <= one.keys()
    return isinstance(one, list) and len(one) in (3, 4) and all(isinstance(value, int | float) for value in one)


def _under(frame: Any, keys: Sequence[str]) -> Any:
    """Return the content of a frame under one of the keys; without keys it counts as image landmarks at first."""
    if isinstance(frame, Mapping) and "landmark" not in frame:
        return _unwrapped(next((frame[key] for key in keys if frame.get(key)), None))
    return _unwrapped(frame) if keys is _IMAGE else None


def _unwrapped(found: Any) -> Any:
    """Return the list in MediaPipe's landmark message; return anything else unchanged."""
    return found["landmark"] if isinstance(found, Mapping) and "landmark" in found else found


def _persons(found: Any, path: Path) -> list[Landmarks]:
    if not found:
        return []
    if not isinstance(found, list):
        raise Refused(path, "D24", f"found {type(found).__name__} as landmarks, expected a list of {_JOINTS}")
    if _is_point(found[0]):
        return [_landmarks(found, path)]
    return [person for one in found for person in _persons(_unwrapped(one), path)]


def _landmarks(points: Sequence[Any], path: Path) -> Landmarks:
    if len(points) != _JOINTS or not all(map(_is_point, points)):
        raise Refused(path, "D24", f"found {len(points)} landmarks, expected {_JOINTS}, each with x, y and z")
    rows = [
        [one["x"], one["y"], one["z"], one.get("visibility", 1)] if isinstance(one, Mapping) else [*one, 1][:4]
        for one in points
    ]
    array = numbers(rows, path, "landmarks")
    array[:, 3] = confidence(array[:, 3])
    return array


def _around_hips(frames: Sequence[Sequence[Landmarks]]) -> bool:
    """Return whether the midpoint of the hips is the origin, as only in world landmarks."""
    body = load_layout(LAYOUT)
    hips = [body.index("hip_left"), body.index("hip_right")]
    middles = [np.abs(one[hips, :3].mean(0)).max() for persons in frames for one in persons]
    return bool(middles) and float(np.median(middles)) < _AT_HIPS


def _in_space(world: Sequence[Sequence[Landmarks]], image: Sequence[Sequence[Landmarks]]) -> list[list[Detection]]:
    """Convert world landmarks, which coincide for all persons, to detections with their positions in the image."""
    return [
        [
            Detection(one[:, :3], one[:, 3], place=flat[i][:, :2] if len(flat) == len(persons) else None)
            for i, one in enumerate(persons)
        ]
        for persons, flat in zip(world, image, strict=True)
    ]


def _order(frames: Sequence[Any], path: Path) -> Any:
    """Return a function that orders frames by their numbers if all have one, and leaves them unchanged otherwise."""
    for key in _NUMBERS:
        found = [frame.get(key) if isinstance(frame, Mapping) else None for frame in frames]
        if are_whole_numbers(found):
            if len(set(found)) < len(found):
                raise Refused(path, "D18", f"found two frames of one number under {key}, expected each once")
            return lambda detections, found=found: timeline(dict(zip(found, detections, strict=True)), path)
    return lambda detections: detections
