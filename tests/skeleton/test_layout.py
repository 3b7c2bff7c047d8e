import re
from dataclasses import replace

import networkx
import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.skeleton.layout import Layout, layouts, load_layout

BODY = load_layout("ntu25")


def test_spatial_partitions_are_the_published_ones():
    a = BODY.adjacency()
    np.testing.assert_allclose(a.sum((1, 2)), (8.95, 13.3, 2.75))
    assert [(p != 0).sum() for p in a] == [25, 40, 8]
    third, fifth = 1 / 3, 1 / 5
    for (source, target), value in {
        (1, 0): 1 / 4, (2, 3): 1 / 2, (4, 5): third, (8, 9): third, (20, 1): third, (20, 2): third, (20, 4): third,
        (20, 8): third,
    }.items():  # fmt: skip
        assert a[2][source, target] == pytest.approx(value)
    for source in (1, 2, 4, 8):
        assert a[1][source, 20] == pytest.approx(fifth)
    # Both directions of an edge far from the centre are in partition 1: their distances are unknown, hence equal.
    assert a[1][5, 6] == a[1][6, 5] == pytest.approx(third)
    assert a[1][14, 15] == pytest.approx(1 / 2)
    np.testing.assert_allclose(a.sum(0).sum(0), 1)
    np.testing.assert_allclose(np.diag(a[0])[[0, 20, 3, 7]], (1 / 4, 1 / 5, 1 / 2, 1 / 3))


def test_directed_partitions_are_those_of_2s_agcn():
    a = BODY.adjacency("directed")
    np.testing.assert_allclose(a.sum((1, 2)), (25, 24, 20))
    assert set(a[1][a[1] > 0]) == {1.0}
    np.testing.assert_allclose(sorted(a[2][:, 20][a[2][:, 20] > 0]), [0.25] * 4)


def test_degree_centrality_against_networkx():
    graph = networkx.Graph([tuple(bone) for bone in BODY.bones])
    assert [graph.degree[v] for v in range(25)] == BODY.degree.tolist()
    assert BODY.degree.sum() == 48


def test_flip_is_the_published_order_and_an_involution():
    order = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22]
    assert BODY.flip.tolist() == order
    assert BODY.flip[BODY.flip].tolist() == list(range(25))


def test_bones_and_parts():
    pairs = "1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19 22-23 23-8 24-25 25-12"  # noqa: E501
    assert {tuple(int(j) - 1 for j in p.split("-")) for p in pairs.split()} == set(BODY.bones)
    assert BODY.parents[20] == 20
    assert BODY.parts["left_arm"] == (4, 5, 6, 7, 21, 22)
    assert BODY.parts["right_leg"] == (16, 17, 18, 19)
    assert sorted(v for part in BODY.parts.values() for v in part) == list(range(25))


def test_kinect_v1_is_kinect_v2_without_neck_and_fingers():
    small, place = load_layout("kinect20"), {joint: v for v, joint in enumerate(load_layout("kinect20").joints)}
    assert small.joints == tuple(BODY.joints[v] for v in (0, 1, 20, 3, *range(4, 20)))
    kept = {(BODY.joints[c], BODY.joints[p]) for c, p in BODY.bones if {BODY.joints[c], BODY.joints[p]} <= set(place)}
    assert {(small.joints[c], small.joints[p]) for c, p in small.bones} == kept | {("head", "spine_shoulder")}
    assert small.flip.tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15]
    assert {part: [small.joints[v] for v in members] for part, members in small.parts.items()} == {
        part: [small.joints[place[BODY.joints[v]]] for v in sorted(members, key=lambda v: place.get(BODY.joints[v], 99))
               if BODY.joints[v] in place]
        for part, members in BODY.parts.items()
    }  # fmt: skip
    np.testing.assert_allclose(small.adjacency().sum(0).sum(0), 1)


# The tools' own words in their own order: COCO's annotations, poseParametersRender.hpp of OpenPose, MediaPipe's
# PoseLandmark, the H36M skeleton of VideoPose3D, and the joint names of smplx.
WRITTEN = {
    "coco17": "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow"
    " left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    "openpose18": "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle REye"
    " LEye REar LEar",
    "openpose25": "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle"
    " REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel",
    "mediapipe33": "NOSE LEFT_EYE_INNER LEFT_EYE LEFT_EYE_OUTER RIGHT_EYE_INNER RIGHT_EYE RIGHT_EYE_OUTER LEFT_EAR"
    " RIGHT_EAR MOUTH_LEFT MOUTH_RIGHT LEFT_SHOULDER RIGHT_SHOULDER LEFT_ELBOW RIGHT_ELBOW LEFT_WRIST RIGHT_WRIST"
    " LEFT_PINKY RIGHT_PINKY LEFT_INDEX RIGHT_INDEX LEFT_THUMB RIGHT_THUMB LEFT_HIP RIGHT_HIP LEFT_KNEE RIGHT_KNEE"
    " LEFT_ANKLE RIGHT_ANKLE LEFT_HEEL RIGHT_HEEL LEFT_FOOT_INDEX RIGHT_FOOT_INDEX",
    "h36m17": "Hip RHip RKnee RFoot LHip LKnee LFoot Spine Thorax Neck Head LShoulder LElbow LWrist RShoulder RElbow"
    " RWrist",
    "smpl24": "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot"
    " right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist"
    " right_wrist left_hand right_hand",
}
# Joints under another name here; the neck of OpenPose is the middle of the shoulders.
OURS = {
    "openpose18": {"neck": "spine_shoulder"},
    "openpose25": {"neck": "spine_shoulder", "mid_hip": "spine_base"},
    "mediapipe33": {"foot_index_left": "foot_left", "foot_index_right": "foot_right"},
    "h36m17": {"hip": "spine_base", "spine": "spine_mid", "thorax": "spine_shoulder"}
    | {"foot_left": "ankle_left", "foot_right": "ankle_right"},
    "smpl24": {"pelvis": "spine_base", "spine2": "spine_mid"},
}


def words(name: str) -> list[str]:
    """Joints as written, in small letters, the side put last, under our names."""
    found = []
    for joint in WRITTEN[name].split():
        snake = re.sub("(?<=[a-z])(?=[A-Z])|(?<=[LR])(?=[A-Z][a-z])", "_", joint).lower()
        side, plain = re.fullmatch("(l_|r_|left_|right_)?(.+)", snake).groups()  # type: ignore[union-attr]
        full = plain + {"l": "_left", "r": "_right"}[side[0]] if side else plain
        found.append(OURS.get(name, {}).get(full, full))
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_joints_stand_in_the_order_in_which_the_tools_write_them(name: str) -> None:
    assert list(load_layout(name).joints) == words(name)


def test_smpl22_is_smpl24_without_the_hands() -> None:
    small, whole = load_layout("smpl22"), load_layout("smpl24")
    assert (small.joints, small.parents, small.center) == (whole.joints[:22], whole.parents[:22], whole.center)


# Edges of the published trees, 0-based.
TREES = {
    "coco17": "15-13 13-11 16-14 14-12 11-5 12-6 9-7 7-5 10-8 8-6 5-0 6-0 1-0 3-1 2-0 4-2",  # pyskl
    "openpose18": "4-3 3-2 7-6 6-5 13-12 12-11 10-9 9-8 11-5 8-2 5-1 2-1 0-1 15-0 14-0 17-15 16-14",  # ST-GCN
    "openpose25": "8-1 2-1 5-1 3-2 4-3 6-5 7-6 9-8 10-9 11-10 12-8 13-12 14-13 0-1 15-0 17-15 16-0 18-16 19-14 20-19"
    " 21-14 22-11 23-22 24-11",  # OpenPose
    "h36m17": "1-0 2-1 3-2 4-0 5-4 6-5 7-0 8-7 9-8 10-9 11-8 12-11 13-12 14-8 15-14 16-15",  # VideoPose3D
    "smpl24": "1-0 2-0 3-0 4-1 5-2 6-3 7-4 8-5 9-6 10-7 11-8 12-9 13-9 14-9 15-12 16-13 17-14 18-16 19-17 20-18 21-19"
    " 22-20 23-21",  # SMPL
}


@pytest.mark.parametrize("name", TREES)
def test_bones_are_the_published_trees(name: str) -> None:
    """Whatever joint stands in the centre: an edge has no direction here."""
    published = {frozenset(map(int, edge.split("-"))) for edge in TREES[name].split()}
    assert {frozenset(bone) for bone in load_layout(name).bones} == published


@pytest.mark.parametrize("name", layouts())
def test_every_layout_is_a_body(name: str) -> None:
    body = load_layout(name)
    joints = range(len(body.joints))
    assert body.name == name
    assert name.endswith(str(len(body.joints)))
    assert [*body.parts] == ["trunk", "left_arm", "right_arm", "left_leg", "right_leg"]
    assert sorted(v for part in body.parts.values() for v in part) == [*joints]
    graph = networkx.Graph([tuple(bone) for bone in body.bones])
    assert networkx.is_tree(graph)
    assert len(graph) == len(body.joints)
    for left in (v for v in joints if body.joints[v].endswith("_left")):
        right = body.flip[left]
        assert body.joints[right] == body.joints[left].removesuffix("_left") + "_right"
        assert body.flip[body.parents[left]] == body.parents[right]  # both sides hang together alike
    assert set(body.core) == set(body.flip[[*body.core]])
    assert 4 <= len(body.core) < len(body.joints) - 8
    limbs = {v for part, members in body.parts.items() if part != "trunk" for v in members}
    roots = {v for v in limbs if body.parents[v] not in limbs or body.joints[v].startswith(("shoulder", "hip"))}
    assert roots <= set(body.core)


@pytest.mark.parametrize("name", layouts())
@pytest.mark.parametrize("point", ["spine_base", "spine_mid", "spine_shoulder", "shoulder_left", "shoulder_right"])
def test_what_recipes_centre_and_turn_by_is_a_point_of_every_layout(name: str, point: str) -> None:
    body = load_layout(name)
    if point in body.joints:
        assert body.point(point) == (body.index(point),)
    else:
        members = {body.joints[v] for v in body.point(point)}
        hips, shoulders = {"hip_left", "hip_right"}, {"shoulder_left", "shoulder_right"}
        assert members == {"spine_base": hips, "spine_mid": hips | shoulders, "spine_shoulder": shoulders}[point]


def test_points_of_a_layout() -> None:
    body: Layout = load_layout("mediapipe33")
    assert body.point("head") == (7, 8)
    assert body.point("hand_right") == (16, 18, 20)
    with pytest.raises(UserError, match="layout mediapipe33: found no tail, neither as a joint nor under means"):
        body.point("tail")


OWN = """
name: own
joints: [hip, chest, hand_left, hand_right]
center: chest
bones: {hip: chest, hand_left: chest, hand_right: chest}
parts: {arms: [hand_left, hand_right], rest: [hip, chest]}
means: {middle: [hip, chest]}
"""


def test_a_layout_of_ones_own(tmp_path):
    path = tmp_path / "my body.yaml"
    path.write_text(OWN)
    body = load_layout(str(path))
    assert (body.name, body.parents, body.center, body.flip.tolist()) == ("own", (1, 1, 1, 1), 1, [0, 1, 3, 2])
    assert body.parts == {"arms": (2, 3), "rest": (0, 1)}
    assert body.means == {"middle": (0, 1)}
    (tmp_path / "copy.yml").write_text(OWN)
    assert load_layout(str(tmp_path / "copy.yml")) == body != BODY


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("center: chest", "", "found no 'center', expected it among the joints or the keys"),
        ("center: chest", "center: head", "found no 'head'"),
        ("hip: chest", "hip: head", "found no 'head'"),
        ("hip: chest", "foot: chest", "found no 'foot'"),
        ("hip: chest, ", "", "found bones from hip that do not end in the center, chest"),
        ("hip: chest, hand_left: chest", "hip: hand_left, hand_left: hip", "found bones from hip that do not end in"),
        ("{hip: chest", "{hip: chest, chest: hip", "found bones from chest that do not end in the center, chest"),
        ("hand_left, hand_right]\ncenter", "hand_left, hand_left]\ncenter", "found a joint named twice"),
        ("hand_right", "hand_up", "found hand_left alone, expected hand_right too"),
        ("[hip, chest, hand_left, hand_right]", "4", "found another structure"),
        ("name: own", "name: [", "found malformed YAML"),
        ("means: {middle: [hip, chest]}", "means: {middle: [hip, tail]}", "found no 'tail'"),
        ("means: {middle: [hip, chest]}", "means: {middle: []}", "found no joint for the mean middle"),
        ("means: {middle: [hip, chest]}", "means: [middle]", "found another structure"),
        ("means:", "mean:", "unknown key 'mean', expected some of name, joints, center, bones, parts, core, means"),
    ],
)
def test_a_layout_that_is_none(tmp_path, old, new, sentence):
    path = tmp_path / "body.yaml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(UserError, match=f"^layout {path}: {sentence}"):
        load_layout(str(path))


def test_unknown_names():
    assert layouts() == [
        "coco17", "h36m17", "kinect20", "mediapipe33", "ntu25", "openpose18", "openpose25", "smpl22", "smpl24",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"or a \.yaml file like theirs"):
        load_layout("gone.yaml")
    with pytest.raises(UserError, match="layout: found 'x', expected one of"):
        load_layout("x")
    with pytest.raises(UserError, match="adjacency strategy: found 'x'"):
        BODY.adjacency("x")


def test_core_is_what_carries_the_limbs():
    assert BODY.core == (0, 1, 4, 8, 12, 16, 20)
    names = {BODY.joints[v] for v in BODY.core}
    small = load_layout("kinect20")
    assert {small.joints[v] for v in small.core} == names
    assert BODY.select("outer") == tuple(v for v in range(25) if v not in BODY.core)
    assert BODY.select("all") == tuple(range(25))
    assert BODY.select("head") == BODY.select(["head"]) == (3,)


def test_a_layout_without_a_core(tmp_path):
    path = tmp_path / "stick.yaml"
    path.write_text("name: stick\njoints: [hip, head]\ncenter: hip\nbones: {head: hip}\nparts: {all: [hip, head]}\n")
    with pytest.raises(UserError, match="layout stick: found no core, expected the joints that carry the limbs"):
        load_layout(str(path)).select("outer")


@pytest.mark.parametrize("joints", ["outer", []])
def test_a_choice_of_no_joints_is_refused(joints: str | list[str]) -> None:
    whole = replace(load_layout("ntu25"), core=tuple(range(25)))
    with pytest.raises(UserError, match=r"encoder\.joints: found none in .*, expected all, outer, or names of joints"):
        whole.select(joints)
