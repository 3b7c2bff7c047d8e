"""The player: bodies of any recipe stand before the camera, masks reach the page."""

import numpy as np
import pytest

from skelssl.pages.figures.player import PlayerClip, how_to_read, skeleton_player
from skelssl.pages.figures.pose import pose_upright
from skelssl.skeleton.layout import load_layout
from tests.helpers.page import figures

BODY = load_layout("ntu25")
LEFT = [v for v, name in enumerate(BODY.joints) if name.endswith("_left")]


def person(frames: int = 4) -> np.ndarray:
    """(T, V, 3) someone in front of the sensor: y up, facing -z, hence left at smaller x."""
    x = np.random.default_rng(0).normal(size=(frames, 25, 3)) * 0.05
    x[:, LEFT, 0] -= 0.3
    x[:, BODY.flip[LEFT], 0] += 0.3
    for part, height in (
        ("trunk", 0.5),
        ("left_leg", -0.8),
        ("right_leg", -0.8),
        ("left_arm", 0.4),
        ("right_arm", 0.4),
    ):
        x[:, list(BODY.parts[part]), 1] += height
    return x


def rotation(axis: int, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.roll(np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]), (axis, axis), (0, 1))
    assert np.linalg.det(turn) == pytest.approx(1)
    return turn


def shown(x: np.ndarray) -> np.ndarray:
    x = x[:, None] if x.ndim == 3 else x
    return pose_upright(x, x.any((2, 3)), BODY)


@pytest.mark.parametrize("up", [np.eye(3), rotation(0, np.pi / 2), rotation(0, -np.pi / 2), rotation(2, np.pi / 2),
                                rotation(2, -np.pi / 2), rotation(0, np.pi)])  # fmt: skip
@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
def test_any_orientation_place_and_size_is_shown_alike(up: np.ndarray, yaw: float) -> None:
    moved = 40 * (person() @ rotation(1, yaw).T + [0.5, 1.0, 3.0]) @ up.T
    plain, found = shown(person())[:, 0], shown(moved)[:, 0]
    assert found[:, LEFT, 0].mean() < -0.2
    assert found[:, LEFT, 2].mean() == pytest.approx(found[:, BODY.flip[LEFT], 2].mean(), abs=0.05)
    bones = [np.linalg.norm(x[:, [c for c, _ in BODY.bones]] - x[:, [p for _, p in BODY.bones]], axis=-1)
             for x in (plain, found)]  # fmt: skip
    ratio = bones[1] / bones[0]
    assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]))  # turned and scaled, never bent or mirrored
    assert found[:, BODY.index("head"), 1].mean() > 0.2 > -0.2 > found[:, BODY.index("foot_left"), 1].mean()
    assert np.abs(found).max() == pytest.approx(1, abs=0.1)


def test_handedness_is_kept() -> None:
    def volume(x: np.ndarray) -> float:
        a, b, c, d = x[0, [0, 5, 13, 23]]
        return float(np.linalg.det(np.stack([b - a, c - a, d - a])))

    flipped = person() @ rotation(2, np.pi).T
    assert np.sign(volume(shown(flipped)[:, 0])) == np.sign(volume(flipped)) == np.sign(volume(person()))


def test_persons_centred_on_themselves_move_apart_others_stay() -> None:
    one, two = person(), person() + np.array([1.5, 0, 0])
    together = shown(np.stack([one, one], 1))
    assert (together[:, 1, :, 0] - together[:, 0, :, 0]).min() > 0.3
    apart = shown(np.stack([one, two], 1))
    gap = apart[0, 1, 0] - apart[0, 0, 0]
    bone = np.linalg.norm(apart[0, 0, 0] - apart[0, 0, 1]) / np.linalg.norm(one[0, 0] - one[0, 1])
    assert np.linalg.norm(gap) / bone == pytest.approx(1.5)


def test_masks_and_absence_reach_the_page() -> None:
    x = np.stack([person(), np.zeros((4, 25, 3))], -1)  # (T, V, 3, M), second person absent
    x[3] = 0
    clips = [PlayerClip("anchor", x), PlayerClip("spatial", x, dropped_joints=[20, 3]),
             PlayerClip("temporal", x, kept_frames=[2, 0])]  # fmt: skip
    (data,) = figures(skeleton_player(clips, BODY), "player")
    anchor, spatial, temporal = data["clips"]
    assert anchor["present"] == [[1, 0], [1, 0], [1, 0], [0, 0]]
    assert (anchor["dropped"], anchor["kept"]) == ([], [0, 1, 2, 3])
    assert (spatial["dropped"], spatial["note"]) == ([3, 20], "2 of 25 joints dropped: head, spine shoulder")
    assert (temporal["kept"], temporal["note"]) == ([0, 2], "2 of 4 frames kept")
    posed = pose_upright(np.moveaxis(x, 3, 1), np.moveaxis(x, 3, 1).any((2, 3)), BODY)
    assert np.array(anchor["x"]).reshape(4, 2, 25, 3) == pytest.approx(1000 * posed, abs=0.5)
    assert (data["side"][4], data["side"][8], data["side"][0]) == (1, 2, 0)
    assert len(data["bones"]) == 24


def test_a_clip_without_anybody_is_shown_empty() -> None:
    (data,) = figures(skeleton_player([PlayerClip("nobody", np.zeros((2, 25, 3, 2)))], BODY), "player")
    assert data["clips"][0]["present"] == [[0, 0], [0, 0]]


def test_tokens_reach_the_page_beside_clips_without() -> None:
    x = np.stack([person(), np.zeros((4, 25, 3))], -1)
    hidden = np.random.default_rng(3).random((2, 2, 25)) < 0.5
    clips = [PlayerClip("plain", x), PlayerClip("mask", x, tokens=hidden)]
    (data,) = figures(skeleton_player(clips, BODY), "player")
    plain, mask = data["clips"]
    assert (plain["tokens"], plain["note"]) == (None, "all 4 frames, all joints")
    assert mask["tokens"] == {
        "kind": "hidden", "most": 1, "segments": 2, "cells": [hidden[0].astype(int).tolist(), None]
    }  # fmt: skip
    assert mask["note"] == f"person 1: {hidden[0].sum()} of 50 tokens masked; person 2: absent"
    assert (data["joints"][20], data["rows"][0]) == ("spine shoulder", ["trunk", [0, 1, 2, 3, 20]])


def test_captions_tell_of_what_is_drawn_alone() -> None:
    x = np.zeros((4, 25, 3, 2))
    plain = PlayerClip("", x, dropped_joints=[1])
    hidden, weights = PlayerClip("", x, tokens=np.ones((2, 2, 25), bool)), PlayerClip("", x, tokens=np.ones((2, 2, 25)))
    said = [how_to_read([clip]) for clip in (plain, hidden, weights)]
    assert ["strip" in text for text in said] == [True, False, False]
    assert ["map" in text for text in said] == [False, True, False]
    assert ["Purple" in text for text in said] == [False, False, True]
    assert how_to_read([weights, hidden, plain]) == " ".join(said)
    assert how_to_read([]) == ""
