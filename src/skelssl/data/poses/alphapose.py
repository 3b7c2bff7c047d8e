"""Read AlphaPose: one JSON file per video, as a list of persons or, with ``--format cmu`` or ``open``, by image.

The list is COCO's list of results with the image's name as ``image_id`` and, if a tracker was used, the person as
``idx``; its confidences may be logits. The other forms hold OpenPose's output per frame under each image's name
(AlphaPose's output format).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skelssl.core.errors import Refused
from skelssl.data.poses import coco, openpose
from skelssl.data.poses.keypoints import frame_number
from skelssl.data.poses.poses import Poses


def sniff_alphapose(content: Any) -> bool:
    """Return whether a JSON document is AlphaPose's: persons with image names or ``idx``, or frames by image."""
    if isinstance(content, Mapping):
        return bool(content) and all(map(openpose.sniff_openpose, content.values()))
    return coco.is_coco_results(content) and any(isinstance(one["image_id"], str) or "idx" in one for one in content)


def read_alphapose(content: Any, path: Path, name: str) -> list[Poses]:
    """Read one clip; raise Refused if two images have the same number."""
    if isinstance(content, Mapping):
        frames = {frame_number(image, path): frame for image, frame in content.items()}
        if len(frames) < len(content):
            raise Refused(path, "D18", "found two images of one number, expected the frames of one video")
        return [openpose.read_openpose_frames(frames, path, name)]
    return [coco.coco_results_clip(content, path, name, id_key="idx")]
