from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from skelssl.core.errors import UserError
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.gru import GRU
from skelssl.encoders.hcn import HCN
from skelssl.encoders.representations import ConcatL2
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from skelssl.skeleton.layout import Layout, layouts, load_layout
from skelssl.skeleton.mapping import joint_map

SIDES = ("left", "right")


def both(*joints: str) -> set[str]:
    return {f"{joint}_{side}" for joint in joints for side in SIDES}


FACE = {"nose"} | both("eye", "ear")
ABSENT = {
    ("coco17", "ntu25"): both("hand", "foot", "hand_tip", "thumb"),
    ("openpose18", "ntu25"): both("hand", "foot", "hand_tip", "thumb"),
    ("openpose25", "ntu25"): both("hand", "hand_tip", "thumb"),
    ("mediapipe33", "ntu25"): both("hand_tip"),
    ("h36m17", "ntu25"): both("hand", "foot", "hand_tip", "thumb"),
    ("smpl24", "ntu25"): both("hand_tip", "thumb"),
    ("smpl22", "ntu25"): both("hand", "hand_tip", "thumb"),
    ("kinect20", "ntu25"): {"neck"} | both("hand_tip", "thumb"),
    ("ntu25", "coco17"): FACE,
    ("ntu25", "openpose18"): FACE,
    ("ntu25", "openpose25"): FACE | both("big_toe", "small_toe", "heel"),
    ("ntu25", "h36m17"): set(),
    ("ntu25", "smpl24"): {"spine1", "spine3"} | both("collar"),
    ("ntu25", "mediapipe33"): FACE | both("eye_inner", "eye_outer", "mouth", "pinky", "index", "heel"),
    ("mediapipe33", "coco17"): set(),
    ("coco17", "openpose18"): set(),
    ("openpose25", "coco17"): set(),
}


@pytest.mark.parametrize("pair", ABSENT, ids="-".join)
def test_what_is_absent(pair: tuple[str, str]) -> None:
    source, target = map(load_layout, pair)
    absent = joint_map(source, target).absent
    assert {target.joints[v] for v in absent} == ABSENT[pair]
    assert list(absent) == sorted(absent)


def by_hand(source: Layout, target: Layout, x: np.ndarray, seen: np.ndarray, joint: str) -> tuple[np.ndarray, float]:
    """One joint of one pose, out of dictionaries."""
    points = {name: (x[v], seen[v]) for v, name in enumerate(source.joints)}
    if joint in points:
        names = [joint]
    elif joint in source.means:
        names = [source.joints[v] for v in source.means[joint]]
    else:
        names = [target.joints[v] for v in target.means.get(joint, ())]
    if not names or any(name not in points or points[name][1] == 0 for name in names):
        return np.zeros(x.shape[-1]), 0.0
    return sum(points[name][0] for name in names) / len(names), min(points[name][1] for name in names)


@pytest.mark.parametrize("pair", [*product(layouts(), repeat=2)], ids="-".join)
def test_every_pair_of_layouts_against_dictionaries(pair: tuple[str, str]) -> None:
    source, target = map(load_layout, pair)
    rng = np.random.default_rng(len(pair[0]))
    x = rng.normal(size=(2, 3, len(source.joints), 2)).astype(np.float32)
    seen = (rng.random(x.shape[:-1]) * (rng.random(x.shape[:-1]) > 0.2)).astype(np.float32)
    x[seen == 0] = np.nan  # never to be seen again
    mapped = joint_map(source, target)
    points, sure = mapped.apply(x, seen)
    assert points.dtype == sure.dtype == np.float32
    for at in np.ndindex(2, 3):
        for v, joint in enumerate(target.joints):
            point, confidence = by_hand(source, target, x[at], seen[at], joint)
            np.testing.assert_allclose(points[(*at, v)], point, atol=1e-6)
            assert sure[(*at, v)] == np.float32(confidence)
    assert not points[..., mapped.absent, :].any()
    assert not sure[..., mapped.absent].any()
    everything = mapped.apply(x, np.ones_like(seen))[1]  # a joint is reported absent if and only if it never comes
    assert [v for v in range(len(target.joints)) if not everything[..., v].any()] == list(mapped.absent)


def test_the_same_layout_is_the_identity() -> None:
    for name in layouts():
        body = load_layout(name)
        x = np.random.default_rng(0).normal(size=(4, len(body.joints), 3)).astype(np.float32)
        points, sure = joint_map(body, body).apply(x)
        np.testing.assert_array_equal(points, x)
        assert (sure == 1).all()


def test_without_confidence_zeros_and_nan_are_not_seen() -> None:
    coco, ntu = load_layout("coco17"), load_layout("ntu25")
    x = np.ones((3, 17, 3), np.float32)
    x[0, coco.index("hip_left")] = 0
    x[1, coco.index("ear_right"), 1] = np.nan
    points, sure = joint_map(coco, ntu).apply(x)
    lost = [{ntu.joints[v] for v in np.flatnonzero(row == 0)} - ABSENT["coco17", "ntu25"] for row in sure]
    assert lost == [{"hip_left", "spine_base", "spine_mid"}, {"neck", "head"}, set()]
    np.testing.assert_array_equal(points, np.repeat(sure[..., None], 3, -1))


def test_a_mean_of_the_target_where_the_source_has_none() -> None:
    coco = replace(load_layout("coco17"), means={})
    mapped = joint_map(coco, load_layout("ntu25"))
    ntu = load_layout("ntu25")
    assert mapped.members[ntu.index("spine_base")] == (11, 12)
    assert mapped.members[ntu.index("head")] == ()


def test_mistakes() -> None:
    coco, ntu = load_layout("coco17"), load_layout("ntu25")
    with pytest.raises(UserError, match=r"joints: found shape \(4, 25, 3\), expected \(\.\.\., 17, C\) of coco17"):
        joint_map(coco, ntu).apply(np.zeros((4, 25, 3)))
    with pytest.raises(UserError, match=r"seen: found shape \(4, 17, 1\), expected \(4, 17\)"):
        joint_map(coco, ntu).apply(np.zeros((4, 17, 3)), np.zeros((4, 17, 1)))
    stick = Layout("stick", ("tip", "end"), (0, 0), 0, {})
    with pytest.raises(UserError, match="layout: found stick, which has no joint of ntu25, expected some in common"):
        joint_map(stick, ntu)


def encoders() -> dict[str, nn.Module]:
    small = {"layout": "ntu25", "hidden": 8}
    tokens = {**small, "frames": 16, "patch": 4, "depth": 2, "heads": 2}
    return {
        "stgcn": STGCN(**small),
        "agcn": AGCN(**small),
        "gru": GRU(**small, layers=2),
        "hcn": HCN(**small, frames=16),
        "transformer": Transformer(**tokens),
        "hyperbolic": Transformer(**tokens, joints="outer", curvature=1.0),
        "concat": ConcatL2(parts={"seq": GRU(**small), "graph": AGCN(**small)}),
    }


@pytest.mark.parametrize("name", encoders())
@pytest.mark.parametrize("poison", [1e3, float("nan")])
def test_no_feature_depends_on_what_stands_in_absent_joints(name: str, poison: float) -> None:
    torch.manual_seed(0)
    encoder, absent = encoders()[name].eval(), joint_map(load_layout("coco17"), load_layout("ntu25")).absent
    x = torch.randn(3, 3, 16, 25, 2)
    x[1, ..., 1] = 0
    filled = x.clone()
    filled[:, :, :, absent] = poison
    x[:, :, :, absent] = 0
    with torch.no_grad():
        clean = encoder(x, ignore=absent)
        assert clean.isfinite().all()
        torch.testing.assert_close(encoder(filled, ignore=absent), clean, rtol=0, atol=1e-5)
        assert not torch.allclose(encoder(x.roll(1, 3), ignore=absent), clean)  # the others do count
