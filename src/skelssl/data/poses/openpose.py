"""Read OpenPose: a folder with a JSON file per frame; AlphaPose's ``--format open`` and ``cmu`` are the same by image.

A frame holds ``people`` with ``pose_keypoints_2d`` (x, y, confidence), and ``pose_keypoints_3d`` (x, y, z, confidence)
if several cameras were used; AlphaPose's cmu form holds ``bodies`` with ``joints``. 18 joints are the COCO model, 25
are BODY_25 (output format of OpenPose 1.7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.errors import Refused
from skelssl.data.poses.keypoints import confidence, frame_number, image_clip, load_json, space_clip, triples
from skelssl.data.poses.poses import Poses
from skelssl.data.poses.tracks import Detection, timeline

_LAYOUTS = {18: "openpose18", 25: "openpose25"}
_FLAT = ("pose_keypoints_2d", "joints", "pose_keypoints")  # the last as of OpenPose 1.0
_SPACE = "pose_keypoints_3d"
_LISTS = ("people", "bodies")


def sniff_openpose(content: Any) -> bool:
    """Return whether a JSON document is one frame: a list of people."""
    return isinstance(content, Mapping) and any(isinstance(content.get(key), list) for key in _LISTS)


def is_folder_of_frames(folder: Path) -> bool:
    """Return whether the first JSON file of a folder, by name, is a frame."""
    first = next(iter(_files(folder)), None)
    if first is None:
        return False
    try:
        return sniff_openpose(load_json(first))
    except Refused:
        return first.stem.endswith("_keypoints")


def read_openpose_folder(folder: Path, name: str) -> list[Poses]:
    """Read one clip, with frames ordered by the numbers in the file names; missing numbers are empty frames."""
    frames = dict[int, Any]()
    named = dict[int, Path]()
    for file in _files(folder):
        number = frame_number(file.stem, file)
        if other := named.get(number):
            raise Refused(
                folder, "D18", f"found {other.name} and {file.name}, both of frame {number}, expected a folder per clip"
            )
        frames[number], named[number] = load_json(file), file
    return [read_openpose_frames(frames, folder, name, named)]


def read_openpose_frames(
    frames: Mapping[int, Any], path: Path, name: str, named: Mapping[int, Path] | None = None
) -> Poses:
    """Convert documents by frame number to one clip; ``named``: the file of each, for error messages."""
    named = named or {}
    people = {number: _people(content, named.get(number, path)) for number, content in frames.items()}
    everyone = [person for persons in people.values() for person in persons]
    in_space = any(person.get(_SPACE) for person in everyone)
    key = _SPACE if in_space else next((key for key in _FLAT if any(key in person for person in everyone)), _FLAT[0])
    numbered = {
        number: [_detection(person, key, named.get(number, path)) for person in persons]
        for number, persons in people.items()
    }
    layout = _layout((len(d.seen) for detections in numbered.values() for d in detections), path)
    detections = timeline(numbered, path)
    if in_space:
        return space_clip(name, detections, path, layout=layout, unit="unknown")
    return image_clip(name, detections, path, layout=layout)


def _people(content: Any, path: Path) -> Sequence[Mapping[str, Any]]:
    people = next((content[key] for key in _LISTS if key in content), None) if isinstance(content, Mapping) else None
    if not isinstance(people, list) or not all(isinstance(person, Mapping) for person in people):
        raise Refused(path, "D24", "found no list of people, expected one as in every frame of OpenPose")
    return people


def _detection(person: Mapping[str, Any], key: str, path: Path) -> Detection:
    width = 4 if key == _SPACE else 3
    values = person.get(key)
    if values is None:
        raise Refused(path, "D24", f"found a person without {key}, expected it as of the others")
    points = triples(values, path, key, width) if values else np.zeros((0, width), np.float32)
    tool_id = person.get("person_id", [-1])
    tool_id = tool_id[0] if isinstance(tool_id, list) and tool_id else tool_id
    known = type(tool_id) is int and tool_id >= 0
    return Detection(points[:, :-1], confidence(points[:, -1]), tool_id if known else None)


def _layout(counts: Iterable[int], path: Path) -> str:
    """Return the layout for the numbers of joints; persons without joints, such as without 3-D, are ignored."""
    found = set(counts) - {0}
    if not found:
        return _LAYOUTS[25]
    if len(found) > 1 or not found <= _LAYOUTS.keys():
        raise Refused(
            path,
            "D24",
            f"found {' and '.join(map(str, sorted(found)))} joints per person, expected 18 (COCO) or 25 (BODY_25)",
        )
    return _LAYOUTS[found.pop()]


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))
