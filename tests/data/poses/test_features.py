"""From a file to features: every reader's clip, on an encoder's joints, is the motion that was written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from skelssl.data.poses import Poses, read_poses
from skelssl.encoders.stgcn import STGCN
from skelssl.skeleton.layout import load_layout
from skelssl.skeleton.mapping import joint_map
from tests.helpers.poses import (
    BVH,
    HOUSE,
    MIXAMO,
    around_hips,
    coco_results,
    dump,
    landmarks,
    openpose_folder,
    openpose_frames,
    people,
    pyskl_note,
    tree,
    walk,
    write_pickle,
)

Motion = tuple[Path, np.ndarray]  # the file, and the array (T, 1, V, C) that it holds


def from_coco(folder: Path, seed: int) -> Motion:
    x = walk("coco17", seed=seed)
    return dump(folder / "a.json", coco_results(people(x, np.ones(x.shape[:3])))), x


def from_alphapose(folder: Path, seed: int) -> Motion:
    x = walk("coco17", seed=seed)
    return dump(folder / "a.json", coco_results(people(x, np.ones(x.shape[:3])), "idx", names=True)), x


def from_openpose18(folder: Path, seed: int) -> Motion:
    x = walk("openpose18", seed=seed)
    return openpose_folder(folder / "a", openpose_frames(people(x, np.ones(x.shape[:3])))), x


def from_openpose25(folder: Path, seed: int) -> Motion:
    x = walk("openpose25", seed=seed, channels=3)
    return openpose_folder(folder / "a", openpose_frames(people(x, np.ones(x.shape[:3])), "pose_keypoints_3d")), x


def from_mediapipe(folder: Path, seed: int) -> Motion:
    x = around_hips(walk("mediapipe33", seed=seed, channels=3))
    return dump(folder / "a.json", [{"pose_world_landmarks": landmarks(frame[0])} for frame in x]), x


def from_pyskl(folder: Path, seed: int) -> Motion:
    x = walk("coco17", seed=seed)
    return write_pickle(folder / "a.pkl", [pyskl_note("one", x, np.ones(x.shape[:3]), 0)]), x


def from_bvh(folder: Path, seed: int) -> Motion:
    made, body = BVH(tree(MIXAMO), ["ZXY", "YXZ"], frames=9, seed=seed), load_layout("smpl22")
    x = np.zeros((9, 1, 22, 3))
    for j, (theirs, _) in enumerate(made.joints):
        if theirs in HOUSE:
            x[:, 0, body.index(HOUSE[theirs])] = [made.place(t, j) for t in range(9)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.bvh").write_text(made.text())
    return folder / "a.bvh", x


def features(x: np.ndarray, body: str) -> torch.Tensor:
    """(D,) on the joints of Kinect v2, those that the body lacks left out."""
    there = joint_map(load_layout(body), load_layout("ntu25"))
    points = there.apply(x / np.abs(x).max())[0]
    clip = np.zeros((1, 3, len(points), 25, 2), np.float32)
    clip[0, : points.shape[3], :, :, 0] = points[:, 0].transpose(2, 0, 1)
    with torch.no_grad():
        return encoder()(torch.from_numpy(clip), ignore=there.absent)[0]


@cache
def encoder() -> STGCN:
    """A small one whose batch norms know noise like these clips."""
    torch.manual_seed(0)
    net = STGCN(hidden=4, dropout=0)
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            norm.momentum = None  # the mean over all batches
    net(torch.rand(4, 3, 9, 25, 2) * 2 - 1)
    return net.eval()


READERS: list[Callable[[Path, int], Motion]] = [
    from_coco, from_alphapose, from_openpose18, from_openpose25, from_mediapipe, from_pyskl, from_bvh
]  # fmt: skip


@pytest.mark.parametrize("write", READERS)
def test_features_are_those_of_the_same_motion_as_an_array(
    tmp_path: Path, write: Callable[[Path, int], Motion]
) -> None:
    (path, x), (_, other) = write(tmp_path / "one", 1), write(tmp_path / "two", 2)
    clip: Poses = read_poses(path)[0]
    read, given, another = (features(array, clip.layout) for array in (clip.x, x, other))
    torch.testing.assert_close(read, given, rtol=1e-5, atol=1e-5)
    assert (read - another).norm() > 0.05 * read.norm() > 0
