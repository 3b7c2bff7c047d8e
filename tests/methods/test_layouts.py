"""Every method trains on every layout: recipe, view, masks, encoder and loss find what they need in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skelssl.data.batch import Batch
from skelssl.data.clip import RawClip
from skelssl.data.recipes import RecipeConfig
from skelssl.methods.base import Method
from skelssl.methods.build import build_method
from skelssl.skeleton.layout import layouts, load_layout
from tests.helpers.config import compose

METHODS = ("pstl", "skeleton_contrast", "mamp", "skeleton2vec", "ha_cm")
CLIPS, FRAMES = 4, 24


def posed(body: str, seed: int, channels: int = 3) -> np.ndarray:
    """(T, 2, V, channels) of two people who walk about; every other clip shows one."""
    dice = np.random.default_rng(seed)
    joints = len(load_layout(body).joints)
    pose = dice.normal((0, 1, 3)[:channels], 0.4, (1, 2, joints, channels))
    x = (pose + dice.normal(0, 0.03, (FRAMES, 2, joints, channels)).cumsum(0)).astype(np.float32)
    x[:, 1] *= seed % 2
    return x


def batch_of(clips: list[np.ndarray]) -> Batch:
    """Clips (T, M, V, 3) of one recipe as one batch."""
    x = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 3, 2)
    count = torch.full((len(clips),), x.shape[2])
    return Batch(x, count, torch.zeros_like(count), torch.arange(len(clips)))


def through_recipe(config: dict[str, Any], clips: list[np.ndarray]) -> Batch:
    recipe = RecipeConfig.parse(config["method"]["recipe"])
    stages = recipe.build(config["dataset"]["layout"])
    return batch_of([recipe.apply(RawClip.of_persons("a", 0, x), stages) for x in clips])


def two_steps(method: Method, batch: Batch) -> list[float]:
    """Losses of two steps of the optimiser, the second after the first has moved every encoder that is shipped."""
    optimiser = method.configure_optimizers()
    for group in optimiser.param_groups:
        group["lr"] = 1e-3
    before = [p.detach().clone() for p in method.parameters()]
    losses = []
    for step in range(2):
        method._step = step
        loss: Tensor = method.training_step(batch, step)
        optimiser.zero_grad()
        loss.backward()
        method.on_after_backward()
        optimiser.step()
        losses.append(loss.item())
    moved = [not torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True) if b.requires_grad]
    assert np.mean(moved) > 0.9
    return losses


@pytest.mark.parametrize("body", layouts())
@pytest.mark.parametrize("name", METHODS)
def test_two_steps(name: str, body: str) -> None:
    config = compose("train", f"method={name}", f"dataset.layout={body}", "debug=smoke")
    batch = through_recipe(config, [posed(body, seed) for seed in range(CLIPS)])
    method = build_method(config)
    losses = two_steps(method, batch)
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]
    encoders = method.eval().encoders()
    seen = method.test_view(batch)
    assert seen.shape[3] == len(load_layout(body).joints)
    for encoder in encoders.values():
        features = encoder(seen)
        assert features.isfinite().all()
        assert not torch.allclose(features[:1], features[1:])
        assert not torch.allclose(encoder(seen, ignore=(load_layout(body).index("wrist_left"),)), features)


def in_pixels(body: str, seed: int) -> np.ndarray:
    """(T, 2, V, 3) of x, y in pixels and confidence, with gaps."""
    x = posed(body, seed)
    dice = np.random.default_rng(seed)
    there = x.any(-1)
    x[..., :2] *= 300
    x[..., 2] = dice.uniform(0.2, 1, there.shape) * (dice.random(there.shape) > 0.1) * there
    x[x[..., 2] == 0] = 0
    return x


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
@pytest.mark.parametrize("name", METHODS)
def test_two_steps_in_the_plane_of_an_image(name: str, stream: str) -> None:
    body, pair = "coco17", "image,graph" if stream == "motion" else "seq,graph"
    more = [f"method.pair=[{pair}]"] if name == "skeleton_contrast" else []
    settings = ("dataset=custom", f"dataset.layout={body}", "dataset.coordinates=xyc", f"stream={stream}", *more)
    config = compose("train", f"method={name}", *settings, "debug=smoke")
    batch = through_recipe(config, [in_pixels(body, seed) for seed in range(CLIPS)])
    method = build_method(config)
    assert np.isfinite(two_steps(method, batch)).all()
    method.eval()
    for part in ("pretrain", "probe", "test"):
        assert config["method"]["view"][part]["coordinates"] == "xyc"
    seen = method.test_view(batch)
    for encoder in method.encoders().values():
        features, unsure = encoder(seen), encoder(seen * torch.tensor([1, 1, 0.5])[:, None, None, None])
        assert features.isfinite().all()
        assert not torch.allclose(features, unsure)  # confidence is seen
    shown = method.visualize(batch.x[:1], torch.Generator().manual_seed(0))
    assert shown


def test_what_is_predicted_is_x_and_y() -> None:
    for name in ("mamp", "ha_cm"):
        flat, deep = (
            build_method(compose("train", f"method={name}", f"dataset.coordinates={c}", "debug=smoke"))
            for c in ("xyc", "xyz")
        )
        patch = flat.encoder.patch
        assert (flat.decoder.head.out_features, deep.decoder.head.out_features) == (2 * patch, 3 * patch)
        assert flat.encoder.patch_embed.in_features == 3 * patch


STICK = """
name: stick
joints: [hips, chest, face, shoulder_left, shoulder_right, hand_left, hand_right, hip_left, hip_right,
         knee_left, knee_right, foot_left, foot_right]
center: chest
bones: {hips: chest, face: chest, shoulder_left: chest, shoulder_right: chest, hand_left: shoulder_left,
        hand_right: shoulder_right, hip_left: hips, hip_right: hips, knee_left: hip_left, knee_right: hip_right,
        foot_left: knee_left, foot_right: knee_right}
parts: {trunk: [hips, chest, face], arms: [shoulder_left, shoulder_right, hand_left, hand_right],
        legs: [hip_left, hip_right, knee_left, knee_right, foot_left, foot_right]}
core: [hips, chest]
means: {spine_base: [hips], spine_mid: [hips, chest], spine_shoulder: [chest]}
"""


@pytest.mark.parametrize("name", METHODS)
def test_a_layout_of_ones_own_with_names_of_its_own(tmp_path: Path, name: str) -> None:
    body = tmp_path / "stick.yaml"
    body.write_text(STICK)
    more = {"skeleton_contrast": ["method.view.pretrain.jitter_joints=6"], "pstl": ["method.csm.mask_joint=4"]}
    more["skeleton2vec"] = ["method.masking.ratio=0.8"]
    config = compose("train", f"method={name}", f"dataset.layout='{body}'", "debug=smoke", *more.get(name, ()))
    batch = through_recipe(config, [posed(str(body), seed) for seed in range(CLIPS)])
    assert np.isfinite(two_steps(build_method(config), batch)).all()
