"""Files of pose tools as a set of one's own: names, labels, who tests, and the arrays that recipes get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.custom.source import Custom
from skelssl.data.parsed import ParsedStore
from skelssl.skeleton.layout import load_layout
from tests.helpers.custom import built, points, save, sides, write_index
from tests.helpers.poses import (
    BVH,
    MIXAMO,
    around_hips,
    coco_results,
    dump,
    landmarks,
    openpose_folder,
    openpose_frames,
    people,
    pyskl_note,
    sure,
    tree,
    walk,
    write_pickle,
)

FLAT: dict[str, Any] = {"layout": "coco17", "coordinates": "xyc"}


def one(seed: int, persons: int = 1, name: str = "coco17") -> tuple[np.ndarray, np.ndarray]:
    x = walk(name, persons=persons, seed=seed)
    return x, sure(x, seed)


def results(path: Path, seed: int, persons: int = 1) -> Path:
    return dump(path, coco_results(people(*one(seed, persons)), "track_id"))


def clip(store: ParsedStore, name: str) -> np.ndarray:
    return store.clip(store.names.index(name)).persons()


def test_a_folder_per_class_of_whatever_pose_tools_wrote(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for c, label in enumerate(("sit", "wave é")):
        results(raw / label / "a b.json", c)
        x, seen = one(10 + c, name="openpose25")
        openpose_folder(raw / label / "cam=1, (2)", openpose_frames(people(x, seen)))
    (raw / "sit" / "notes.txt").write_text("")
    store, report = built(tmp_path, raw, Custom(**FLAT))
    assert store.names == ["sit/a b", "sit/cam=1, (2)", "wave é/a b", "wave é/cam=1, (2)"]
    assert (store.labels.tolist(), store.class_names) == ([0, 0, 1, 1], ["sit", "wave é"])
    assert any("2 clips of openpose25 are mapped to coco17" in note for note in report.notes)
    assert any("1 files left out that are none of .npy, .npz, .json, .bvh" in note for note in report.notes)
    x, seen = one(1)
    got = clip(store, "wave é/a b")
    np.testing.assert_allclose(got[:, 0, :, 2], seen[:, 0], atol=1e-6)
    np.testing.assert_allclose(got[:, 0, :, :2], x[:, 0], rtol=1e-5)
    assert not got[:, 1].any()


def test_joints_are_found_by_name_in_another_layout(tmp_path: Path) -> None:
    x, seen = one(0, name="openpose18")
    openpose_folder(tmp_path / "raw" / "sit" / "a", openpose_frames(people(x, seen)))
    results(tmp_path / "raw" / "sit" / "b.json", 1)
    store, _ = built(tmp_path, tmp_path / "raw", Custom(**FLAT))
    order = [load_layout("openpose18").index(joint) for joint in load_layout("coco17").joints]
    np.testing.assert_allclose(clip(store, "sit/a")[:, 0, :, 2], seen[:, 0, order], atol=1e-6)


def test_joints_that_nobody_recorded_are_not_made_up(tmp_path: Path) -> None:
    results(tmp_path / "raw" / "sit" / "a.json", 0)
    with pytest.raises(UserError, match=r"found no hand_left.* in poses of coco17, expected every joint of ntu25"):
        built(tmp_path, tmp_path / "raw", Custom(layout="ntu25", coordinates="xyc"))
    with pytest.raises(UserError, match=r"found 2-D poses, expected 3-D ones, or dataset.coordinates=xyc"):
        built(tmp_path, tmp_path / "raw", Custom(layout="coco17"))
    with pytest.raises(UserError, match=r"dataset.coordinates: found 'xy', expected one of xyz, xyc"):
        Custom(coordinates="xy")
    made = BVH(tree(MIXAMO.replace("Head:Neck ", "")), ["XYZ"]).text()
    (tmp_path / "raw" / "sit" / "a.json").unlink()
    (tmp_path / "raw" / "sit" / "b.bvh").write_text(made)
    with pytest.raises(UserError, match=r"found no head in poses of smpl22, expected every joint of smpl22"):
        built(tmp_path, tmp_path / "raw", Custom(layout="smpl22"))
    with pytest.raises(UserError, match=r"found 3-D poses, expected 2-D ones, or dataset.coordinates=xyz"):
        built(tmp_path, tmp_path / "raw", Custom(layout="smpl22", coordinates="xyc"))


def test_motion_capture_becomes_metres_at_30_frames_a_second(tmp_path: Path) -> None:
    made = BVH(tree(MIXAMO), ["ZXY"], frames=9)
    for name in ("a", "b"):
        path = tmp_path / "raw" / "walk" / f"{name}.bvh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.text().replace("0.0333333", repr(1 / 60)) + ("" if name == "a" else "\n"))
    store, _ = built(tmp_path, tmp_path / "raw", Custom(layout="smpl22"))
    got, names = clip(store, "walk/a"), [name for name, _ in made.joints]
    assert len(got) == 5
    for house, theirs in (("wrist_left", "LeftHand"), ("foot_right", "RightToeBase")):
        expected = [made.place(t, names.index(theirs)) / 100 for t in range(0, 9, 2)]
        np.testing.assert_allclose(got[:, 0, load_layout("smpl22").index(house)], expected, atol=1e-5)


def test_world_landmarks_are_taken_as_they_are(tmp_path: Path) -> None:
    x = around_hips(walk("mediapipe33", channels=3))
    for name in ("a", "b"):
        frames = [landmarks(f[0]) for f in x[: None if name == "a" else -1]]
        dump(tmp_path / "raw" / "sit" / f"{name}.json", {"fps": 30, "frames": frames})
    store, _ = built(tmp_path, tmp_path / "raw", Custom(layout="mediapipe33"))
    np.testing.assert_allclose(clip(store, "sit/a")[:, :1], x, atol=1e-6)


def test_gaps_are_bridged_and_a_third_person_is_said_to_be_left_out(tmp_path: Path) -> None:
    x, seen = one(3, persons=3)
    seen[:] = 1
    seen[4, 0, 9] = 0
    x[:, 2] = x[:1, 2]  # does not move
    dump(tmp_path / "raw" / "sit" / "three.json", coco_results(people(x, seen), "track_id"))
    results(tmp_path / "raw" / "sit" / "b.json", 1)
    store, report = built(tmp_path, tmp_path / "raw", Custom(**FLAT))
    assert [(code, names) for code, names in report.warned.items() if code == "D36"] == [("D36", ["sit/three"])]
    got = clip(store, "sit/three")
    place = np.flatnonzero((got[:, :, 9, 2] == 0).any(0))
    np.testing.assert_allclose(got[4, place, 9, :2], got[[3, 5]][:, place, 9, :2].mean(0), rtol=1e-5)


def annotated(
    tmp_path: Path, lists: dict[str, list[str]] | None, names: tuple[str, ...] = ("a", "b", "c", "d")
) -> Path:
    notes = [pyskl_note(name, *one(i), i % 2) for i, name in enumerate(names)]
    return write_pickle(tmp_path / "hr.net.pkl", {"split": lists, "annotations": notes} if lists else notes)


def test_annotated_poses_bring_names_labels_and_who_tests(tmp_path: Path) -> None:
    raw = annotated(tmp_path, {"train": ["a", "b"], "val": ["c", "d"]})
    store, _ = built(tmp_path, raw, Custom(**FLAT), strict=True)
    assert store.names == [f"hr.net/{name}" for name in "abcd"]
    assert store.labels.tolist() == [0, 1, 0, 1]
    assert sides(tmp_path) == (["hr.net/a", "hr.net/b"], ["hr.net/c", "hr.net/d"])
    np.testing.assert_allclose(clip(store, "hr.net/c")[:, 0, :, 2], one(2)[1][:, 0].astype(np.float16), atol=1e-6)
    built(tmp_path, raw, Custom(**FLAT, test={"share": 0.25, "seed": 0}))
    assert len(sides(tmp_path)[1]) == 2  # one of each class


def test_of_several_lists_the_user_names_one(tmp_path: Path) -> None:
    lists = {"xsub_train": ["a", "b"], "xsub_val": ["c", "d"], "xview_train": ["a", "c"], "xview_val": ["b", "d"]}
    raw = annotated(tmp_path, lists)
    with pytest.raises(UserError, match=r"test: found no choice and xsub_train, .*such as {list: xsub_val}"):
        built(tmp_path, raw, Custom(**FLAT))
    built(tmp_path, raw, Custom(**FLAT, test={"list": "xview_val"}))
    assert sides(tmp_path) == (["hr.net/a", "hr.net/c"], ["hr.net/b", "hr.net/d"])
    with pytest.raises(UserError, match=r"test: found setup_val and xsub_train"):
        built(tmp_path, raw, Custom(**FLAT, test={"list": "setup_val"}))
    with pytest.raises(UserError, match=r"test: found val and no lists"):
        built(tmp_path, annotated(tmp_path, None), Custom(**FLAT, test={"list": "val"}))
    with pytest.raises(UserError, match=r"found hr.net/d in none of train, val, expected each clip in one"):
        built(tmp_path, annotated(tmp_path, {"train": ["a", "b"], "val": ["c"]}), Custom(**FLAT))


def test_an_index_of_files_and_folders_has_the_last_word(tmp_path: Path) -> None:
    results(tmp_path / "x" / "1.json", 0)
    openpose_folder(tmp_path / "y", openpose_frames(people(*one(1, name="openpose18"))))
    annotated(tmp_path, None, ("p", "q"))
    index = write_index(
        tmp_path / "index.jsonl",
        {"file": "x/1.json", "label": "one", "name": "first", "split": "train"},
        {"file": "y", "label": "two", "split": "test", "subject": 3},
        {"file": "hr.net.pkl", "label": "two", "split": "train"},
        {"file": "x", "label": "two", "split": "train"},
    )
    store, report = built(tmp_path, index, Custom(**FLAT))
    assert store.names == ["first", "hr.net/p", "hr.net/q", "y"]
    assert store.labels.tolist() == [0, 1, 1, 1]
    assert store.facts["subject"].tolist() == [-1, -1, -1, 3]
    assert [(skip.name, skip.code) for skip in report.skipped] == [("x", "D26")]


def test_damaged_poses_are_left_out_and_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for seed, name in enumerate(("sit/a", "sit/b", "walk/a", "walk/b")):
        results(raw / f"{name}.json", seed)
    (raw / "sit" / "cut.json").write_text('[{"image_id": 1')
    (raw / "sit" / "empty.bvh").write_text("")
    dump(raw / "walk" / "other.json", {"version": 2})
    write_pickle(raw / "walk" / "code.pkl", Path("x"))
    dump(raw / "walk" / "f" / "a_1_keypoints.json", {"people": [{"pose_keypoints_2d": [1, 2, 3]}]})
    store, report = built(tmp_path, raw, Custom(**FLAT))
    assert store.names == ["sit/a", "sit/b", "walk/a", "walk/b"]
    assert {(skip.name, skip.code) for skip in report.skipped} == {
        ("sit/cut", "D02"), ("sit/empty", "D01"), ("walk/other", "D24"), ("walk/code", "D29"), ("walk/f", "D24")
    }  # fmt: skip


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    results(tmp_path / "raw" / "sit" / "a.json", 0)
    (tmp_path / "raw" / "sit" / "a.bvh").write_text(BVH(tree(MIXAMO), ["XYZ"]).text())
    save(tmp_path / "raw" / "sit" / "b.npy", points(joints=17))
    (tmp_path / "raw" / "sit" / "b.bvh").write_text(BVH(tree(MIXAMO), ["XYZ"]).text())
    with pytest.raises(
        UserError, match=r"a\.json: found sit/a, which is also in .*a\.bvh \(D18\), expected unique names"
    ):
        built(tmp_path, tmp_path / "raw", Custom(**FLAT))
    (tmp_path / "raw" / "sit" / "a.json").unlink()
    with pytest.raises(UserError, match=r"b\.npy: found sit/b, which is also in .*b\.bvh \(D18\)"):
        built(tmp_path, tmp_path / "raw", Custom(**FLAT))


def test_a_changed_frame_makes_the_store_anew(tmp_path: Path) -> None:
    folder = openpose_folder(tmp_path / "raw" / "sit" / "a", openpose_frames(people(*one(0, name="openpose18"))))
    results(tmp_path / "raw" / "sit" / "b.json", 1)
    first, _ = built(tmp_path, tmp_path / "raw", Custom(**FLAT))
    assert built(tmp_path, tmp_path / "raw", Custom(**FLAT))[1].built is False
    (folder / "film_000000000008_keypoints.json").unlink()
    second, report = built(tmp_path, tmp_path / "raw", Custom(**FLAT))
    assert report.built
    assert len(clip(first, "sit/a")) == 9
    assert len(clip(second, "sit/a")) == 8


# --- .npz with confidence --------------------------------------------------------------------------------------------


def test_an_archive_with_confidences_is_poses(tmp_path: Path) -> None:
    x, seen = one(0)
    seen[3, 0, 5], seen[6] = 0, 0
    save(tmp_path / "raw" / "sit" / "a.npz", x[:, 0], seen=seen[:, 0], subject=4, fps=15)
    save(tmp_path / "raw" / "sit" / "b.npz", x, seen=seen, unit="px")
    store, report = built(tmp_path, tmp_path / "raw", Custom(**FLAT))
    got = clip(store, "sit/b")[:, 0]
    np.testing.assert_allclose(got[..., 2], seen[:, 0], atol=1e-6)
    np.testing.assert_allclose(got[3, 5, :2], got[[2, 4], 5, :2].mean(0), rtol=1e-5)
    assert not got[6].any()  # nobody was seen
    np.testing.assert_allclose(clip(store, "sit/a")[::2, 0, :, :2], got[..., :2], rtol=1e-5)
    assert store.facts["subject"].tolist() == [4, -1]
    assert not any("left out, since nothing reads it" in note for note in report.notes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seen": np.ones((9, 16))}, r"found shapes \(9, 1, 17, 2\) and \(9, 16\) under x and seen"),
        ({"x": np.ones((9, 25, 2)), "seen": np.ones((9, 25))}, r"expected \(T, M, 17, C\) of coco17"),
        ({"seen": np.full((9, 1, 17), 2)}, "seen beyond 0 to 1"),
        ({"x": np.full((9, 1, 17, 2), np.nan)}, "NaN or infinite"),
        ({"fps": 0}, "found fps 0, expected a number above 0"),
        ({"unit": "inch"}, "found unit 'inch', expected one of m, cm, px, unknown"),
        ({"seen": np.zeros((9, 1, 17))}, "found no person"),
    ],
)
def test_archives_with_confidences_that_are_none(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    x, seen = one(0)
    save(tmp_path / "raw" / "sit" / "a.npz", **{"x": x, "seen": seen, **change})
    with pytest.raises(UserError, match=reason):
        built(tmp_path, tmp_path / "raw", Custom(**FLAT))


def test_arrays_stay_what_they_were(tmp_path: Path) -> None:
    x = points(joints=17)
    save(tmp_path / "raw" / "sit" / "a.npz", x, fps=60)
    save(tmp_path / "raw" / "sit" / "b.npy", x + 1)
    store, _ = built(tmp_path, tmp_path / "raw", Custom(layout="coco17"))
    np.testing.assert_array_equal(clip(store, "sit/a")[:, :1], x)
