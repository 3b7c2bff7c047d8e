from dataclasses import replace

import networkx
import numpy as np
import pytest

from skelssl.errors import UserError
from skelssl.skeleton import layout, layouts

BODY = layout("ntu25")


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
    small, place = layout("kinect20"), {joint: v for v, joint in enumerate(layout("kinect20").joints)}
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


OWN = """
name: own
joints: [hip, chest, hand_left, hand_right]
center: chest
bones: {hip: chest, hand_left: chest, hand_right: chest}
parts: {arms: [hand_left, hand_right], rest: [hip, chest]}
"""


def test_a_layout_of_ones_own(tmp_path):
    path = tmp_path / "my body.yaml"
    path.write_text(OWN)
    body = layout(str(path))
    assert (body.name, body.parents, body.center, body.flip.tolist()) == ("own", (1, 1, 1, 1), 1, [0, 1, 3, 2])
    assert body.parts == {"arms": (2, 3), "rest": (0, 1)}
    (tmp_path / "copy.yml").write_text(OWN)
    assert layout(str(tmp_path / "copy.yml")) == body != BODY


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
    ],
)
def test_a_layout_that_is_none(tmp_path, old, new, sentence):
    path = tmp_path / "body.yaml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(UserError, match=f"^layout {path}: {sentence}"):
        layout(str(path))


def test_unknown_names():
    assert layouts() == ["kinect20", "ntu25"]
    with pytest.raises(UserError, match=r"or a \.yaml file like theirs"):
        layout("gone.yaml")
    with pytest.raises(UserError, match="layout: found 'x', expected one of"):
        layout("x")
    with pytest.raises(UserError, match="adjacency strategy: found 'x'"):
        BODY.adjacency("x")


def test_core_is_what_carries_the_limbs():
    assert BODY.core == (0, 1, 4, 8, 12, 16, 20)
    names = {BODY.joints[v] for v in BODY.core}
    small = layout("kinect20")
    assert {small.joints[v] for v in small.core} == names
    assert BODY.select("outer") == tuple(v for v in range(25) if v not in BODY.core)
    assert BODY.select("all") == tuple(range(25))
    assert BODY.select("head") == BODY.select(["head"]) == (3,)


def test_a_layout_without_a_core(tmp_path):
    path = tmp_path / "stick.yaml"
    path.write_text("name: stick\njoints: [hip, head]\ncenter: hip\nbones: {head: hip}\nparts: {all: [hip, head]}\n")
    with pytest.raises(UserError, match="layout stick: found no core, expected the joints that carry the limbs"):
        layout(str(path)).select("outer")


@pytest.mark.parametrize("joints", ["outer", []])
def test_a_choice_of_no_joints_is_refused(joints: str | list[str]) -> None:
    whole = replace(layout("ntu25"), core=tuple(range(25)))
    with pytest.raises(UserError, match=r"encoder\.joints: found none in .*, expected all, outer, or names of joints"):
        whole.select(joints)
