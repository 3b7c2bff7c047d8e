"""Readers of poses in images: a known motion goes in, the same numbers come out."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.poses import read_poses
from skelssl.data.poses.poses import Poses
from skelssl.skeleton.layout import load_layout
from tests.helpers.poses import (
    around_hips,
    coco_results,
    dump,
    flat,
    landmarks,
    openpose_folder,
    openpose_frames,
    people,
    pyskl_note,
    sure,
    walk,
    write_pickle,
)


def same(clip: Poses, x: np.ndarray, seen: np.ndarray) -> None:
    """The clip is this motion, its persons put in descending order of how much they are seen."""
    order = np.argsort(-seen.sum((0, 2)), kind="stable")
    np.testing.assert_allclose(clip.seen, seen[:, order], atol=1e-6)
    there = np.where(seen[..., None] > 0, x, 0)[:, order]
    np.testing.assert_allclose(clip.x, there, rtol=1e-6, atol=1e-4)
    assert clip.x.dtype == clip.seen.dtype == np.float32


def two(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Two persons; the second, seen less, is away for a while, and single joints are not seen."""
    x = walk(name, persons=2)
    seen = sure(x)
    seen[3:5, 1] = 0
    seen[::2, 0, 4] = 0
    seen[:, 0] = np.maximum(seen[:, 0], seen[:, 0] > 0)
    return x, seen


# Everything that holds two persons in the image plane: format, layout, and what writes it.
Write = Callable[[Path, np.ndarray, np.ndarray, list[list[int]] | None], Path]


def as_results(path: Path, x: np.ndarray, seen: np.ndarray, order: list[list[int]] | None) -> Path:
    return dump(path / "clip.json", coco_results(people(x, seen, order)))


def as_tracks(path: Path, x: np.ndarray, seen: np.ndarray, order: list[list[int]] | None) -> Path:
    return dump(path / "clip.json", coco_results(people(x, seen, order), "track_id"))


def as_alphapose(path: Path, x: np.ndarray, seen: np.ndarray, order: list[list[int]] | None) -> Path:
    return dump(path / "clip.json", coco_results(people(x, seen, order), "idx", names=True))


def as_mmpose(path: Path, x: np.ndarray, seen: np.ndarray, order: list[list[int]] | None) -> Path:
    frames = [
        {
            "frame_id": t,
            "instances": [
                {"keypoints": [p[i : i + 2] for i in range(0, 51, 3)], "keypoint_scores": p[2::3]} for _, p in persons
            ],
        }
        for t, persons in enumerate(people(x, seen, order))
    ]
    names = {str(v): "_".join(joint.split("_")[::-1]) for v, joint in enumerate(load_layout("coco17").joints)}
    about = {"dataset_name": "coco", "keypoint_id2name": names}
    return dump(path / "clip.json", {"meta_info": about, "instance_info": frames})


def as_openpose(path: Path, x: np.ndarray, seen: np.ndarray, order: list[list[int]] | None) -> Path:
    return openpose_folder(path / "clip", openpose_frames(people(x, seen, order)))


def as_bodies(path: Path, x: np.ndarray, seen: np.ndarray, order: list[list[int]] | None) -> Path:
    frames = enumerate(people(x, seen, order))
    return dump(
        path / "clip.json",
        {f"{t}.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": p} for _, p in f]} for t, f in frames},
    )


WRITERS: list[tuple[str, str, Write]] = [
    ("coco", "coco17", as_results),
    ("coco", "coco17", as_tracks),
    ("coco", "coco17", as_mmpose),
    ("alphapose", "coco17", as_alphapose),
    ("alphapose", "openpose18", as_bodies),
    ("openpose", "openpose18", as_openpose),
    ("openpose", "openpose25", as_openpose),
]
each = pytest.mark.parametrize(
    ("format", "body", "write"), WRITERS, ids=lambda value: getattr(value, "__name__", value)
)


@each
def test_the_same_numbers_come_out(tmp_path: Path, format: str, body: str, write: Write) -> None:
    x, seen = two(body)
    path = write(tmp_path, x, seen, None)
    (clip,) = read_poses(path, format)
    same(clip, x, seen)
    assert (clip.name, clip.layout, clip.unit, clip.fps) == ("clip", body, "px", None)
    with pytest.raises(UserError, match=f"clip.*: found a file of {format}, expected bvh"):
        read_poses(path, "bvh")


@each
def test_persons_who_change_places_in_the_list_stay_themselves(
    tmp_path: Path, format: str, body: str, write: Write
) -> None:
    x, seen = two(body)
    order = [[t % 2, 1 - t % 2] for t in range(len(x))]
    (clip,) = read_poses(write(tmp_path, x, seen, order))
    same(clip, x, seen)


def test_persons_who_cross_follow_the_tools_own_ids(tmp_path: Path) -> None:
    x = walk("coco17", persons=2)
    x[4:] = x[4:, ::-1]  # both jump to where the other one was
    seen = np.ones(x.shape[:3], np.float32)
    same(read_poses(as_tracks(tmp_path / "a", x, seen, None))[0], x, seen)
    untold = read_poses(as_results(tmp_path / "b", x, seen, None))[0]
    np.testing.assert_allclose(untold.x[4:], x[4:, ::-1])


def test_nobody_is_dropped_and_who_appears_far_away_is_somebody_else(tmp_path: Path) -> None:
    x = walk("coco17", persons=5)
    seen = np.ones(x.shape[:3], np.float32)
    seen[2:, 0], seen[:5, 1] = 0, 0
    clip = read_poses(as_results(tmp_path, x, seen, None))[0]
    same(clip, x, seen)
    assert clip.x.shape[1] == 5


def test_frames_that_are_not_there_are_empty(tmp_path: Path) -> None:
    x = walk("openpose25", frames=6)
    seen = np.ones(x.shape[:3], np.float32)
    folder = openpose_folder(tmp_path / "clip", openpose_frames(people(x, seen)), first=98)
    (folder / "film_000000000100_keypoints.json").unlink()
    (folder / ".hidden.json").write_text("{")
    seen[2] = 0
    same(read_poses(folder)[0], x, seen)


def test_a_tree_of_folders_is_many_clips(tmp_path: Path) -> None:
    x = walk("openpose18", frames=3)
    seen = np.ones(x.shape[:3], np.float32)
    for place in ("wave/a b", "wave/été (1)", "sit/c=1,2"):
        openpose_folder(tmp_path / place, openpose_frames(people(x, seen)))
    dump(tmp_path / "sit" / "日本.v2.json", coco_results(people(walk("coco17"), sure(walk("coco17")))))
    (tmp_path / "readme.txt").write_text("not a clip")
    assert [clip.name for clip in read_poses(tmp_path)] == ["sit/c=1,2", "sit/日本.v2", "wave/a b", "wave/été (1)"]


def test_openpose_in_space_stays_right_handed(tmp_path: Path) -> None:
    x = walk("openpose25", channels=3)
    seen = np.ones(x.shape[:3], np.float32)
    frames = openpose_frames(people(x, seen), "pose_keypoints_3d")
    clip = read_poses(openpose_folder(tmp_path / "clip", frames))[0]
    same(clip, x, seen)
    down = np.array(frames[0]["people"][0]["pose_keypoints_3d"]).reshape(25, 4)[:3, :3]
    assert np.linalg.det(clip.x[0, 0, :3]) == pytest.approx(np.linalg.det(down), rel=1e-4)
    assert clip.unit == "unknown"


def test_coordinates_without_pixels_have_no_unit(tmp_path: Path) -> None:
    x = walk("openpose25") / 1000
    assert read_poses(as_openpose(tmp_path, x, np.ones(x.shape[:3]), None))[0].unit == "unknown"


def test_coco_annotations(tmp_path: Path) -> None:
    x = walk("coco17", persons=2, frames=4)
    v = np.random.default_rng(0).integers(0, 3, x.shape[:3])
    images = [{"id": 500 - t, "frame_id": t, "file_name": "x.jpg"} for t in (2, 0, 3, 1)]
    notes = [{"image_id": 500 - t, "id": 9, "keypoints": flat(x[t, m], v[t, m]), "track_id": m}
             for t in (0, 2, 3) for m in range(2)]  # fmt: skip
    path = dump(tmp_path / "a.json", {"images": images, "annotations": notes, "categories": [{"name": "person"}]})
    v[1] = 0
    same(read_poses(path, "coco")[0], x, v / 2)


def test_films_of_one_file_and_joints_by_name(tmp_path: Path) -> None:
    """As PoseTrack has it: its joints 1 and 2 are no eyes, and no v is 2."""
    names = ["nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder"]
    names += [f"{side}_{joint}" for joint in ("elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")]
    x = walk("coco17", frames=2)
    ones = np.ones(x.shape[:3])
    images = [{"id": i, "vid_id": "000" + "ba"[i]} for i in range(2)]
    notes = [{"image_id": i, "keypoints": flat(x[i, 0], ones[i, 0])} for i in range(2)]
    content = {"images": images, "annotations": notes, "categories": [{"name": "person", "keypoints": names}]}
    clips = read_poses(dump(tmp_path / "p.json", content))
    assert [clip.name for clip in clips] == ["p/000a", "p/000b"]
    ones[:, :, 1:3] = 0
    for i, clip in enumerate(reversed(clips)):
        same(clip, x[i : i + 1], ones[i : i + 1])


def test_more_joints_that_begin_with_cocos_and_logits(tmp_path: Path) -> None:
    """Halpe's 26, with confidences above 1 and the person in a list, as some versions of AlphaPose write them."""
    x = np.concatenate([walk("coco17"), walk("coco17")[..., :9, :]], 2)
    seen = sure(x) * 6
    results = coco_results(people(x, seen), "idx", names=True)
    for one in results:
        one["idx"] = [float(one["idx"])]
    clip = read_poses(dump(tmp_path / "a.json", results), "alphapose")[0]
    same(clip, x[:, :, :17], seen[:, :, :17].clip(0, 1))


# --- MediaPipe -------------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "bare": lambda frames: frames,
    "keys": lambda frames: [{"frame": t + 7, "pose_landmarks": f} for t, f in enumerate(frames)],
    "message": lambda frames: [{"poseLandmarks": {"landmark": f} if f else None} for f in frames],
    "tasks": lambda frames: [{"landmarks": [f] if f else []} for f in frames],
    "persons": lambda frames: [[f] if f else [] for f in frames],
    "about": lambda frames: {"fps": 25, "model": "full", "frames": [{"landmarks": f, "timestamp": 1} for f in frames]},
    "lists": lambda frames: [[list(p.values())[:4] for p in f or ()] for f in frames],
}


@pytest.mark.parametrize("form", FORMS)
def test_mediapipe_in_the_image(tmp_path: Path, form: str) -> None:
    x = walk("mediapipe33")[:, :, :, :2] / 300
    seen = sure(x)
    seen[2] = 0
    frames = [landmarks(x[t, 0], seen[t, 0]) if t != 2 else None for t in range(len(x))]
    (clip,) = read_poses(dump(tmp_path / "a.json", FORMS[form](frames)), "mediapipe")
    same(clip, x, seen)
    assert (clip.layout, clip.unit, clip.fps) == ("mediapipe33", "unknown", 25 if form == "about" else None)


@pytest.mark.parametrize("form", FORMS)
def test_mediapipe_in_the_world(tmp_path: Path, form: str) -> None:
    """World landmarks are known by their name, or by the hips at the origin."""
    x = around_hips(walk("mediapipe33", channels=3))
    seen = np.ones(x.shape[:3], np.float32)
    seen[2] = 0
    frames = [landmarks(x[t, 0]) if t != 2 else None for t in range(len(x))]
    (clip,) = read_poses(dump(tmp_path / "a.json", FORMS[form](frames)))
    same(clip, x, seen)
    assert (clip.unit, clip.x.shape[3]) == ("m", 3)


def test_mediapipe_in_pixels_where_the_size_is_known(tmp_path: Path) -> None:
    x = walk("mediapipe33") / np.float32(300)
    content = {"frameRate": 29.97, "width": 1920, "height": 1080, "poses": [landmarks(f[0]) for f in x]}
    (clip,) = read_poses(dump(tmp_path / "a.json", content))
    np.testing.assert_allclose(clip.x, x * [1920, 1080], rtol=1e-5)
    assert (clip.unit, clip.fps) == ("px", 29.97)


def test_mediapipes_persons_are_told_apart_in_the_image(tmp_path: Path) -> None:
    """In the world all stand at the origin, so nothing but the image says who is who."""
    flat2, world = walk("mediapipe33", persons=2) / 300, around_hips(walk("mediapipe33", persons=2, channels=3, seed=3))
    frames = []
    for t in range(len(world)):
        order = [t % 2, 1 - t % 2]
        frames.append({"pose_landmarks": [landmarks(flat2[t, m]) for m in order],
                       "pose_world_landmarks": [landmarks(world[t, m]) for m in order]})  # fmt: skip
    same(read_poses(dump(tmp_path / "a.json", frames))[0], world, np.ones(world.shape[:3]))


# --- pyskl -----------------------------------------------------------------------------------------------------------


def test_pyskl(tmp_path: Path) -> None:
    made = {name: two(body) for name, body in (("v_a", "coco17"), ("v_b", "openpose18"), ("é/c", "coco17"))}
    notes = [pyskl_note(name, *pair, label) for label, (name, pair) in enumerate(made.items())]
    split = {"train1": ["v_a", "v_b"], "test1": ["é/c"], "train2": ["v_b"]}
    path = write_pickle(tmp_path / "hr net.pkl", {"split": split, "annotations": notes})
    for source in (path, write_pickle(tmp_path / "list.pkl", notes)):
        clips = read_poses(source, "pyskl")
        assert [clip.name for clip in clips] == [f"{source.stem}/{name}" for name in made]
        assert [clip.label for clip in clips] == [0, 1, 2]
        assert [clip.layout for clip in clips] == ["coco17", "openpose18", "coco17"]
        for clip, (x, seen) in zip(clips, made.values(), strict=True):
            same(clip, x, seen.astype(np.float16))
    assert [clip.splits for clip in read_poses(path)] == [("train1",), ("train1", "train2"), ("test1",)]


# --- what cannot be read ---------------------------------------------------------------------------------------------

ONE = {"image_id": 1, "keypoints": [1.0, 2.0, 0.5] * 17}
FRAME = {"people": [{"pose_keypoints_2d": [1.0, 2.0, 0.5] * 25}]}


def instance(**about: Any) -> dict[str, Any]:
    return {"instance_info": [{"frame_id": 1, "instances": [about]}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{**ONE, "keypoints": [1, 2]}], "found keypoints of shape .2,., expected 3 numbers per joint"),
        ([{**ONE, "keypoints": [1, 2, 3] * 16}], "found 16 joints per person, expected 17, 26, 133 or 136"),
        ([{**ONE, "keypoints": [[1, 2, 3], [1, 2]]}], "expected finite numbers in equal rows"),
        ([{**ONE, "keypoints": [None, 1, 2] * 17}], "expected finite numbers in equal rows"),
        ([{**ONE, "keypoints": [float("nan"), 1, 2] * 17}], "expected finite numbers in equal rows"),
        ([{**ONE, "keypoints": "abc"}], "found 'abc' as keypoints"),
        ([{**ONE, "keypoints": []}], "found keypoints of shape .0,."),
        ([{**ONE, "keypoints": [1, 2, 0] * 17}], "found no person in 1 frames"),
        ([{**ONE, "image_id": "first.jpg"}], "found 'first.jpg' as the name of a frame, expected one with a number"),
        ([{**ONE, "image_id": None}], "found None as the name of a frame"),
        ([ONE, {**ONE, "image_id": 500_000}], "found 2 frames numbered from 1 to 500000, expected consecutive frames"),
        ([{**ONE, "track_id": 4}, {**ONE, "track_id": 4}], "found person 4 twice in frame 0, expected once"),
        ({"annotations": [ONE]}, "found annotations without a list of images"),
        ({"annotations": [ONE], "images": [{"id": 2}]}, "found persons in image 1, expected it among the images"),
        ({"annotations": [], "images": []}, "found no image"),
        ({"annotations": [ONE], "images": [{"id": 1}], "categories": [{"keypoints": ["tail", "paw"]}]}, "joints tail"),
        ({"instance_info": [{"frame_id": 1}]}, "found a frame without instances"),
        ({"instance_info": [], "meta_info": {"keypoint_id2name": {"0": "L_Eye", "1": "Nose"}}}, "the joints L_Eye"),
        ({"instance_info": []}, "found no frame"),
        (instance(keypoints=[[1, 2]] * 17), "found an instance without keypoints or keypoint_scores"),
        (instance(keypoints=[[1, 2]] * 17, keypoint_scores=[1]), "found 1 scores for 17 keypoints"),
        (instance(keypoints=[[1, 2, 3]] * 17, keypoint_scores=[1] * 17), "expected 2 numbers per joint"),
        ({"1.jpg": FRAME, "01.jpg": FRAME}, "found two images of one number"),
        ({"people": [{"pose_keypoints_2d": [1, 2, 3] * 15}]}, "found 15 joints per person, expected 18 .COCO. or 25"),
        ({"people": [1]}, "found no list of people"),
        ({"people": []}, "found no person in 1 frames"),
        ([[{"x": 1, "y": 2, "z": 3}] * 33, [{"x": 1, "y": 2, "z": 3}] * 32], "found 32 landmarks, expected 33"),
        ([[{"x": 1, "y": 2, "z": 3}] * 33, ["x"]], "found str as landmarks"),
        ([[{"x": 1, "y": 2, "z": 3}] * 33, [{"x": 1, "y": 2}] * 33], "found dict as landmarks|found 33 landmarks"),
        ([{"frame": 1, "landmarks": [[1, 2, 3]] * 33}] * 2, "found two frames of one number under frame"),
        ({"skeletons": [[1, 2, 3]]}, "found a file of no known kind, expected one of coco"),
        ([], "found a file of no known kind"),
        ([1, 2], "found a file of no known kind"),
        ({}, "found a file of no known kind"),
    ],
)  # fmt: skip
def test_what_does_not_hold_poses(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"a\.json: .*({said})"):
        read_poses(dump(tmp_path / "a.json", content))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "found an empty file"),
        (b"  \n", "found an empty file"),
        (b'[{"image_id": 1, "keyp', "found malformed JSON"),
        (b"\xff\xfe{", "found a file of no known kind"),
        (b"[" * 100_000, "found malformed JSON"),
        (b"name,x,y\n", "found a file of no known kind"),
    ],
)
def test_what_is_damaged(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UserError, match=rf"a\.json: {said}"):
        read_poses(tmp_path / "a.json")


def test_folders_that_are_no_clip(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: found nothing there, expected a file or folder of coco"):
        read_poses(tmp_path / "gone")
    with pytest.raises(UserError, match=r"found no file of \.json, \.bvh"):
        read_poses(tmp_path)
    with pytest.raises(UserError, match="format: found 'xml', expected one of coco"):
        read_poses(tmp_path, "xml")
    dump(tmp_path / "a_1_keypoints.json", FRAME)
    dump(tmp_path / "b_1_keypoints.json", FRAME)
    with pytest.raises(
        UserError, match=r"a_1_keypoints\.json and b_1_keypoints\.json, both of frame 1, expected a folder"
    ):
        read_poses(tmp_path)
    (tmp_path / "b_1_keypoints.json").rename(tmp_path / "b_keypoints.json")
    with pytest.raises(UserError, match="'b_keypoints' as the name of a frame"):
        read_poses(tmp_path)
    (tmp_path / "b_keypoints.json").rename(tmp_path / "b_2_keypoints.json").write_text('{"people": ')
    with pytest.raises(UserError, match=r"b_2_keypoints\.json: found malformed JSON"):
        read_poses(tmp_path)
    (tmp_path / "a_1_keypoints.json").write_text("{")
    with pytest.raises(UserError, match=r"a_1_keypoints\.json: found malformed JSON"):
        read_poses(tmp_path)


def bad(**change: Any) -> list[dict[str, Any]]:
    x = walk("coco17")
    return [pyskl_note("a", x, sure(x), 0) | change]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bad(keypoint=np.ones((1, 9, 17, 3))), "found 3-D skeletons in a, expected 2-D: prepare import=FILE"),
        (bad(keypoint=np.ones((1, 9, 25, 2))), r"found a keypoint of shape \(1, 9, 25, 2\) in a"),
        (bad(keypoint=[1]), r"found a keypoint of shape \(\) in a"),
        (bad(keypoint_score=None), "found no keypoint_score in a"),
        (bad(keypoint_score=np.ones((1, 9, 16))), r"found keypoint_score of \(1, 9, 16\) in a"),
        (bad(keypoint_score=np.zeros((1, 9, 17))), "found no person in a"),
        (bad(keypoint=np.full((1, 9, 17, 2), np.nan)), "found NaN or infinite"),
        (bad(label="walk"), "found label 'walk' in a"),
        (bad(frame_dir=7), "found frame_dir 7"),
        (bad() * 2, "found two annotations called a/a"),
        ({"split": {"train": 1}, "annotations": bad()}, "found a split that is no dictionary of lists"),
        ([], "found a pickle without annotations"),
        ({"a": 1}, "found a pickle without annotations"),
        (Path("x"), "found a pickle that asks for the global"),
    ],
)
def test_pickles_that_are_no_annotations(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"a\.pkl: {said}"):
        read_poses(write_pickle(tmp_path / "a.pkl", content))


def test_half_a_pickle(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pkl", bad())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"a\.pkl: found a pickle that cannot be read"):
        read_poses(path)


JUNK = (None, -1, 1e400, 1e300, "x", [], {}, [[]], [{"x": 1}], {"landmark": 3}, True, "17")


@pytest.mark.parametrize("seed", range(40))
def test_whatever_stands_in_a_file_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    """A few values of a sound file become nonsense: the reader gives finite numbers, or says what is wrong."""
    dice = random.Random(seed)
    x = walk("coco17", persons=2, frames=3)
    whole = people(x, sure(x))
    world = [{"frame": t, "pose_world_landmarks": [landmarks(np.ones((33, 3)))]} for t in range(3)]
    images = {"images": [{"id": t} for t in range(3)], "annotations": coco_results(whole, "track_id")}
    content: Any = dice.choice(
        [coco_results(whole, "idx", names=True), images, world, dict(enumerate(openpose_frames(whole))),
         {"instance_info": [{"frame_id": t, "instances": [{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1] * 17}]}
                            for t in range(3)]}]
    )  # fmt: skip
    for _ in range(dice.randint(1, 3)):
        node = content
        while True:
            key = dice.choice([*node] if isinstance(node, dict) else range(len(node)))
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner or dice.random() < 0.2:
                node[key] = deepcopy(dice.choice(JUNK))
                break
            node = inner
    try:
        clips = read_poses(dump(tmp_path / "a.json", content))
    except UserError as error:
        assert str(error).startswith(str(tmp_path))  # noqa: PT017
    else:
        assert all(np.isfinite(clip.x).all() and 0 <= clip.seen.min() <= clip.seen.max() <= 1 for clip in clips)


def test_somebody_who_faces_the_camera_does_so_as_in_the_recordings_of_ntu(tmp_path: Path) -> None:
    """In an image his left is on the right; there, seen from the sensor, at smaller x, and near is small z."""
    body = load_layout("coco17")
    left, right, nose, hip = map(body.index, ("shoulder_left", "shoulder_right", "nose", "hip_left"))
    image = np.full((17, 3), 300.0)
    image[[left, right, nose, hip], :2] = [[380, 200], [260, 200], [320, 100], [360, 420]]
    rows = [{"image_id": t, "category_id": 1, "score": 1.0, "keypoints": image.flatten().tolist()} for t in range(3)]
    (clip,) = read_poses(dump(tmp_path / "facing.json", rows))
    x = clip.x[0, 0]
    assert x[left, 0] < x[right, 0]
    assert x[nose, 1] > x[hip, 1]

    body = load_layout("mediapipe33")
    left, right, nose, hip = map(body.index, ("shoulder_left", "shoulder_right", "nose", "hip_left"))
    world = np.zeros((33, 3))
    world[[left, right, nose, hip]] = [[0.2, -0.5, 0.1], [-0.2, -0.5, 0.1], [0, -0.7, -0.2], [0.1, 0.0, 0.0]]
    points = [{"x": a, "y": b, "z": c, "visibility": 1.0} for a, b, c in world.tolist()]
    (clip,) = read_poses(dump(tmp_path / "world.json", [{"pose_world_landmarks": points}] * 3))
    x = clip.x[0, 0]
    assert x[left, 0] < x[right, 0]
    assert x[nose, 1] > x[hip, 1]
    assert x[nose, 2] < x[left, 2]  # the nose is nearer to the camera
