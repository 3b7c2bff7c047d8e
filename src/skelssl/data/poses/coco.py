"""Read COCO keypoints: annotations with their images, lists of results, and MMPose's predictions per frame.

``keypoints`` are x, y and v per joint (v: 0 absent, 1 occluded, 2 visible in annotations; the score in results), or
MMPose's pairs with separate ``keypoint_scores``. There are 17 joints, or more of which the first 17 are COCO's (26 and
136 of Halpe, 133 of COCO-WholeBody). If a file lists its joints in another order, as PoseTrack does, they are matched
by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused
from skelssl.data.poses.keypoints import (
    COCO_FIRST,
    are_whole_numbers,
    confidence,
    frame_number,
    image_clip,
    numbers,
    triples,
)
from skelssl.data.poses.poses import Poses
from skelssl.data.poses.tracks import Detection, timeline
from skelssl.skeleton.layout import load_layout

LAYOUT = "coco17"
_JOINTS = 17
_LEAST = 12  # number of COCO's joints, the limbs, that another list of names must contain


def is_coco_results(content: Any) -> bool:
    """Return whether a JSON document is a list of persons found in images."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(one, Mapping) and {"image_id", "keypoints"} <= one.keys() for one in content)
    )


def sniff_coco(content: Any) -> bool:
    """Return whether a JSON document is COCO's or MMPose's."""
    if not isinstance(content, Mapping):
        return is_coco_results(content)
    return any(isinstance(content.get(key), list) for key in ("annotations", "instance_info"))


def read_coco(content: Any, path: Path, name: str) -> list[Poses]:
    """Read one clip, or one per video (``vid_id`` or ``video_id`` of the images), called NAME/video."""
    if isinstance(content, list):
        return [coco_results_clip(content, path, name, id_key="track_id")]
    if "instance_info" in content:
        return [_mmpose_clip(content, path, name)]
    return _annotated(content, path, name)


def coco_results_clip(results: Sequence[Mapping[str, Any]], path: Path, name: str, *, id_key: str) -> Poses:
    """Convert a list of results to one clip, with frames ordered by the number in ``image_id``."""
    numbered = defaultdict[int, list[Detection]](list)
    for one in results:
        points = triples(one["keypoints"], path, "keypoints")
        number = frame_number(one["image_id"], path)
        numbered[number].append(_detection(points[:, :2], confidence(points[:, 2]), path, _id(one, id_key)))
    return image_clip(name, timeline(numbered, path), path, layout=LAYOUT)


def _annotated(content: Mapping[str, Any], path: Path, name: str) -> list[Poses]:
    """Convert annotations to clips: one frame per image, in the order of ``frame_id`` or else of the ids."""
    images, persons = content.get("images"), content["annotations"]
    if not isinstance(images, list) or not all(isinstance(one, Mapping) and "id" in one for one in images):
        raise Refused(path, "D24", "found annotations without a list of images with ids, expected both")
    if not images:
        raise Refused(path, "D04", "found no image, expected at least one")
    persons = [one for one in persons if isinstance(one, Mapping) and "keypoints" in one]
    kinds = [one for one in content.get("categories") or () if isinstance(one, Mapping) and one.get("keypoints")]
    order = _order(kinds[0]["keypoints"] if kinds else (), path)
    hidden = _has_hidden(persons, path)
    found = defaultdict[Any, list[Detection]](list)
    for one in persons:
        points = triples(one["keypoints"], path, "keypoints")
        seen = confidence(points[:, 2] / np.float32(2 if hidden else 1))
        found[one.get("image_id")].append(_detection(points[:, :2], seen, path, _id(one, "track_id"), order))
    if unknown := found.keys() - {image["id"] for image in images}:
        raise Refused(path, "D26", f"found persons in image {min(map(str, unknown))}, expected it among the images")
    films = defaultdict[str, list[Mapping[str, Any]]](list)
    for image in images:
        films[str(image.get("vid_id", image.get("video_id", "")))].append(image)
    clips = []
    for film, own in sorted(films.items()):
        frames = [found[image["id"]] for image in sorted(own, key=lambda image: _rank(image, path))]
        clips.append(image_clip(f"{name}/{film}" if film else name, frames, path, layout=LAYOUT))
    return clips


def _rank(image: Mapping[str, Any], path: Path) -> int:
    return frame_number(image.get("frame_id", image["id"]), path)


def _has_hidden(persons: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Return whether all v are 0, 1 or 2; a file without any 2 has flags of 0 and 1, or scores."""
    values = {float(v) for one in persons for v in triples(one["keypoints"], path, "keypoints")[:, 2]}
    return values <= {0.0, 1.0, 2.0} and 2.0 in values


def _order(listed: Sequence[Any], path: Path) -> NDArray[np.int64] | None:
    """Return the index of each COCO joint in a list, -1 if it is missing; None for COCO's order, or no list."""
    if not listed or len(listed) in COCO_FIRST[1:]:
        return None
    names = [_house(str(name)) for name in listed]
    order = np.array([names.index(joint) if joint in names else -1 for joint in load_layout(LAYOUT).joints])
    if (order >= 0).sum() < _LEAST:
        raise Refused(path, "D24", f"found the joints {', '.join(map(str, listed))}, expected COCO's")
    return order


def _house(name: str) -> str:
    """Convert left_eye -> eye_left."""
    side, _, joint = name.lower().replace(" ", "_").partition("_")
    return f"{joint}_{side}" if side in ("left", "right") else name.lower()


def _mmpose_clip(content: Mapping[str, Any], path: Path, name: str) -> Poses:
    """Convert MMPose's ``instance_info`` to one clip: frames with ``frame_id``, each with its instances."""
    names = (content.get("meta_info") or {}).get("keypoint_id2name") or {}
    order = _order([names[number] for number in sorted(names, key=int)] if isinstance(names, Mapping) else names, path)
    numbered = defaultdict[int, list[Detection]](list)
    for frame in content["instance_info"]:
        if not isinstance(frame, Mapping) or not isinstance(frame.get("instances"), list):
            raise Refused(path, "D24", "found a frame without instances, expected frame_id and instances")
        persons = numbered[frame_number(frame.get("frame_id"), path)]
        for one in frame["instances"]:
            if not isinstance(one, Mapping) or not {"keypoints", "keypoint_scores"} <= one.keys():
                raise Refused(path, "D24", "found an instance without keypoints or keypoint_scores, expected both")
            points = triples(one["keypoints"], path, "keypoints", width=2)
            scores = numbers(one["keypoint_scores"], path, "keypoint_scores")
            if scores.shape != points.shape[:1]:
                raise Refused(path, "D30", f"found {len(scores)} scores for {len(points)} keypoints, expected one each")
            persons.append(_detection(points, confidence(scores), path, _id(one, "track_id"), order))
    return image_clip(name, timeline(numbered, path), path, layout=LAYOUT)


def _detection(
    points: NDArray[np.float32],
    seen: NDArray[np.float32],
    path: Path,
    tool_id: Hashable | None,
    order: NDArray[np.int64] | None = None,
) -> Detection:
    if order is not None:
        if len(points) <= order.max():
            raise Refused(path, "D24", f"found {len(points)} joints, expected as many as the file's own list of names")
        return Detection(points[order], np.where(order < 0, 0, seen[order]).astype(np.float32), tool_id)
    if len(points) not in COCO_FIRST:
        raise Refused(
            path,
            "D24",
            f"found {len(points)} joints per person, expected {', '.join(map(str, COCO_FIRST[:-1]))} or "
            f"{COCO_FIRST[-1]}, which begin with COCO's",
        )
    return Detection(points[:_JOINTS], seen[:_JOINTS], tool_id)


def _id(person: Mapping[str, Any], key: str) -> Hashable | None:
    """Return the tracker's id of a person, which some versions of AlphaPose wrap in a list."""
    value = person.get(key)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return value if are_whole_numbers([value]) else None
