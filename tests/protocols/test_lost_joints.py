"""Lost joints against the same protocol on clips and encoders that were bereft by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.data.loader import batches
from skelssl.pretrained.features import Features, extract
from skelssl.protocols.frozen import Frozen, linear
from skelssl.protocols.knn import knn
from skelssl.protocols.linear import linear_probe
from skelssl.protocols.lost_joints import LostRecipe, lost_joints, lost_sets
from skelssl.protocols.plan import probe_recipe
from skelssl.skeleton.layout import load_layout
from tests.helpers.config import compose
from tests.helpers.frozen import frozen_of

BODY = load_layout("ntu25")


def recipe(of: str = "linear", **changes: Any) -> dict[str, Any]:
    config = compose("evaluate", "protocol=lost_joints", f"protocol.of={of}", "checkpoint=x")
    probes = {"linear": {"lr": 0.01, "epochs": 3, "batch": 16}, "knn": {"k": 1, "temperature": None}}
    made = probe_recipe(config, config["protocol"], {"probe": probes})
    return {**made, "parts": False, "random_parts": [], "random_joints": [4], "headline": "4 joints", **changes}


def features(
    frozen: Frozen, part: str, joints: tuple[int, ...] = (), how: str = "drop", view: str = "test"
) -> Features:
    """Features of clips without ``joints``, the coordinates overwritten where they are zeroed."""
    clips = list(batches(frozen.data.store, frozen.rows[part]))
    if how == "zero":
        for batch in clips:
            batch.x[:, :, :, list(joints)] = 0
    ignore = joints if how == "drop" else ()
    return extract(frozen.encoder, frozen.views[view], clips, device="cpu", ignore=ignore)


def curve(scores: Any) -> Mapping[str, Any]:
    return {point["lost"]: point for point in scores.extra["curve"]}


@pytest.mark.parametrize("how", ["drop", "zero"])
@pytest.mark.parametrize("when", ["both", "test"])
@pytest.mark.parametrize("stream", ["joint", "bone"])
def test_it_is_the_protocol_on_what_is_left(how: str, when: str, stream: str, data_root: Path) -> None:
    frozen, asked = frozen_of("Transformer", data_root, stream=stream, limit=None), recipe(how=how, when=when)
    found = lost_joints(frozen, asked, 3)
    joints = lost_sets(BODY, LostRecipe.read(asked, BODY), 3)[1].joints
    train = features(frozen, "train", joints if when == "both" else (), how, view="probe")
    test = features(frozen, "test", joints, how)
    expected = linear_probe(train, test, classes=4, recipe=asked["of"]["recipe"], seed=3)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-5)
    assert (found.logits - linear(frozen, asked["of"]["recipe"], 3).logits).abs().max() > 1e-3
    assert found.top1 == curve(found)["4 joints"]["top1"]
    assert torch.equal(found.index, test.index)


def test_the_curve_has_every_set(data_root: Path) -> None:
    frozen = frozen_of("STGCN", data_root, limit=None)
    asked = recipe(parts=True, random_parts=[2], random_joints=[1, 7], headline="left_leg")
    found = lost_joints(frozen, asked, 0)
    points = curve(found)
    assert list(points) == ["none", *BODY.parts, "2 parts", "1 joints", "7 joints"]
    assert points["none"]["top1"] == linear(frozen, asked["of"]["recipe"], 0).top1
    for name, point in points.items():
        assert point["n"] == len(frozen.rows["test"]), name
        assert point["n_lost"] == len(point["joints"]), name
        assert point["drop"] == points["none"]["top1"] - point["top1"], name
    assert points["left_leg"]["joints"] == ["hip_left", "knee_left", "ankle_left", "foot_left"]
    assert found.top1 == points["left_leg"]["top1"]


def test_one_training_serves_all_sets_that_are_lost_in_test(data_root: Path) -> None:
    frozen = frozen_of("AGCN", data_root, limit=None)
    asked = recipe("knn", when="test", random_joints=[2, 9, 20], headline="20 joints")
    found = lost_joints(frozen, asked, 1)
    for lost in lost_sets(BODY, LostRecipe.read(asked, BODY), 1):
        expected = knn(features(frozen, "train"), features(frozen, "test", lost.joints), classes=4)
        assert curve(found)[lost.name]["top1"] == expected.top1


def test_joints_come_from_seed_and_number_alone_and_fewer_are_among_more() -> None:
    plan = LostRecipe(parts=False, random_parts=(1, 3), random_joints=tuple(range(1, 25)), headline="1 joints")
    for seed in (0, 1):
        sets = {lost.name: lost.joints for lost in lost_sets(BODY, plan, seed)}
        order = sorted(BODY.joints, key=lambda name: blake2b(f"{seed}/{name}".encode(), digest_size=8).hexdigest())
        for k in range(1, 25):
            assert {BODY.joints[j] for j in sets[f"{k} joints"]} == set(order[:k])
        assert set(sets["1 parts"]) < set(sets["3 parts"])
        assert sets["1 parts"] in [tuple(joints) for joints in BODY.parts.values()]
    first, other = (lost_sets(BODY, plan, seed) for seed in (0, 1))
    assert [lost.joints for lost in first] != [lost.joints for lost in other]
    few = replace(plan, random_joints=(6,), random_parts=())
    assert lost_sets(BODY, few, 0)[1] in first


def test_every_joint_is_lost_about_equally_often() -> None:
    """Of 400 seeds each of 25 joints is among the first 5 in 80, give or take four standard deviations."""
    plan = LostRecipe(parts=False, random_joints=(5,), headline="5 joints")
    drawn = torch.tensor([lost_sets(BODY, plan, seed)[1].joints for seed in range(400)])
    count = torch.bincount(drawn.flatten(), minlength=25)
    assert (count - 80).abs().max() <= 4 * (400 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(
    ("encoder", "does"), [("STGCN", "removes"), ("Transformer", "removes"), ("GRU", "zeroes"), ("HCN", "zeroes")]
)
def test_the_result_says_what_the_encoder_does(encoder: str, does: str, data_root: Path) -> None:
    found = lost_joints(frozen_of(encoder, data_root), recipe("knn"), 0)
    assert found.extra["encoder_does"] == does
    zeroed = lost_joints(frozen_of(encoder, data_root), recipe("knn", how="zero"), 0)
    assert zeroed.extra["encoder_does"] == "sees zeros"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"how": "hide"}, r"how: found 'hide', expected drop or zero"),
        ({"when": "train"}, r"when: found 'train', expected both or test"),
        ({"random_joints": [25]}, r"random_joints: found \[25\], expected a list of numbers of 1 to 24"),
        ({"random_parts": 2}, r"random_parts: found 2, expected a list of numbers of 1 to 4"),
        ({"headline": "3 joints"}, r"headline: found '3 joints', expected one of none, 4 joints"),
    ],
)
def test_mistakes(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=r"probe\.lost_joints\." + sentence):
        LostRecipe.read(recipe(**changes), BODY)


def test_a_protocol_that_trains_the_encoder_is_not_repeated(data_root: Path) -> None:
    with pytest.raises(UserError, match=r"protocol\.of: found finetune, expected one of linear, knn, retrieval"):
        lost_joints(frozen_of("STGCN", data_root), recipe("finetune"), 0)


@pytest.mark.parametrize("when", ["both", "test"])
def test_what_clean_mode_leaves_open_is_chosen_for_each_set(when: str, data_root: Path) -> None:
    """The scores are those of one of the candidates alone."""
    frozen = frozen_of("GRU", data_root, limit=None)
    asked = recipe(when=when)
    scores = {}
    for name, values in {"slow": [1e-6], "fast": [0.3], "open": [1e-6, 0.3]}.items():
        asked["of"]["recipe"]["choose"] = {"lr": values}
        found = lost_joints(frozen, asked, 0)
        assert all(point["chosen"]["lr"] in values for point in found.extra["curve"])
        scores[name] = found.logits
    assert not torch.equal(scores["slow"], scores["fast"])
    assert torch.equal(scores["open"], scores["slow"]) or torch.equal(scores["open"], scores["fast"])


def test_several_encoders_say_what_each_of_them_does() -> None:
    from skelssl.encoders.agcn import AGCN
    from skelssl.encoders.gru import GRU
    from skelssl.encoders.representations import ConcatL2

    both = ConcatL2(parts={"graph": AGCN(hidden=4), "seq": GRU(hidden=2, layers=1)})
    assert both.ignores == "graph removes, seq zeroes"
