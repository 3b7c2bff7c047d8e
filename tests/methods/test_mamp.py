"""MAMP as a method: its step, its groups and rates, two ranks against one process, and that it learns.

Where its points of parity with the reference are tested: 2 (patches), 3 (blocks, explicit attention, bfloat16)
tests/encoders/{test_transformer,test_decoder}.py; 4 (masks) tests/maskers/test_tokens.py and test_mamp_golden_step.py;
5 (loss and gradients) test_mamp_golden_step.py, tests/benchmarks/test_suite.py; 11 and 12 (rates, weight decay)
here and in tests/protocols/test_finetune.py; 13 (heads) tests/protocols/{test_linear,test_finetune}.py; 14 (labelled
subsets) tests/protocols/test_subsets.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skelssl.data.batch import Batch
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.masked_prediction import MaskedPrediction
from skelssl.maskers.motion_gumbel import MotionGumbelMask, segment_motion
from skelssl.maskers.tokens import RandomMask
from skelssl.methods.build import build_method
from skelssl.methods.mamp import MAMP
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.config import compose
from tests.helpers.ranks import run_ranks, step_under_ddp

ADAMW = {"name": "adamw", "lr": 1e-3, "epochs": 400, "weight_decay": 0.05, "betas": [0.9, 0.95]}


class AsIs(nn.Module):
    """The clips of the batch themselves."""

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        return batch.x


def clips(n: int, frames: int = 12) -> Batch:
    x = torch.randn(n, 3, frames, 25, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    x = x.cumsum(2) / 5
    x[1::2, ..., 1] = 0
    zeros = torch.zeros(n, dtype=torch.int64)
    return Batch(x, zeros + frames, zeros, torch.arange(n))


def build(masking: Any = None, **loss: Any) -> MAMP:
    torch.manual_seed(0)
    method = MAMP(
        view={"pretrain": AsIs(), "test": AsIs()},
        encoder=Transformer(frames=12, hidden=16, depth=2, heads=2),
        masking=masking or MotionGumbelMask(frames=12),
        decoder=partial(Decoder, hidden=16, depth=1, heads=2),
        loss=MaskedPrediction(**loss),
        optim=ADAMW,
        seed=0,
    )
    method._step = 0
    return method.double()


@pytest.fixture(scope="module")
def published() -> MAMP:
    method = build_method(compose("train", "method=mamp"))
    assert isinstance(method, MAMP)
    return method


# --- the published setting


def test_sizes(published: MAMP) -> None:
    assert sum(p.numel() for p in published.parameters()) == 8_789_004
    assert published.masking.visible_tokens == 74
    deeper = build_method(compose("train", "method=mamp", "dataset=ntu60_xsub", "method.decoder.depth=5"))
    assert sum(p.numel() for p in deeper.parameters()) == 10_368_524


def test_the_published_step_runs_at_full_size(published: MAMP) -> None:
    batch = clips(1, frames=120)
    published._step = 0
    loss = published.training_step(Batch(batch.x.float(), batch.frames, batch.label, batch.index), 0)
    loss.backward()
    assert 0.8 < loss.item() < 5
    assert all(p.grad is not None and p.grad.isfinite().all() for p in published.parameters())
    published.zero_grad()


def test_only_vectors_are_spared_weight_decay(published: MAMP) -> None:
    groups = published.configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert groups[0]["betas"] == (0.9, 0.95)
    names = {id(p): name for name, p in published.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in groups)
    assert decayed | spared == set(names.values())
    assert spared == {name for name in names.values() if name.endswith("bias") or "norm" in name}
    assert {f"{part}.positions.{axis}" for part in ("encoder", "decoder") for axis in ("time", "space")} <= decayed
    assert "decoder.mask_token" in decayed


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.0), (1 / 313, 1e-3 / 20 / 313), (10, 5e-4), (20, 1e-3), (210, 7.5e-4), (400, 5e-4)]
)
def test_learning_rate(published: MAMP, epoch: float, rate: float) -> None:
    assert published.optim.interval == "step"
    assert published.optim.rate(epoch) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("dataset", "depth", "tau", "fill", "center", "stop", "batch", "lr"),
    [
        ("ntu60_xview", 3, 0.8, "zero", True, None, 256, 0.1),
        ("ntu120_xsub", 5, 0.75, "copy", True, None, 256, 0.1),
        ("ntu120_xset", 5, 0.75, "copy", True, None, 256, 0.1),
        ("pku1_xsub", 5, 0.8, "zero", False, 300, 128, 0.1),
        ("pku2_xsub", 5, 0.8, "zero", False, 300, 32, 0.01),
    ],
)
def test_presets(
    dataset: str, depth: int, tau: float, fill: str, center: bool, stop: int | None, batch: int, lr: float
) -> None:
    method = compose("train", "method=mamp", f"dataset={dataset}")["method"]
    linear, recipe = method["probe"]["linear"], method["recipe"]
    assert (method["decoder"]["depth"], method["masking"]["tau"]) == (depth, tau)
    assert (recipe["single_person_fill"], recipe["center"], method["optim"]["stop_epoch"]) == (fill, center, stop)
    assert (linear["batch"], linear["lr"], linear["passes"]) == (batch, lr, 100)


def test_the_mae_baseline_composes() -> None:
    config = compose(
        "train", "method=mamp", "method.loss.target=coordinates", "~method.masking.tau",
        "method.masking._target_=skelssl.maskers.tokens.RandomMask", "debug=smoke",
    )  # fmt: skip
    method = build_method(config)
    assert isinstance(method, MAMP)
    assert type(method.masking) is RandomMask
    assert method.loss.target == "coordinates"


# --- the step


def test_the_step_is_the_parts_in_order() -> None:
    method, batch = build(), clips(2)
    draw = method.generator(0)
    mask = method.masking(batch.x, draw)
    tokens = method.encoder.encode(method.encoder.embed(batch.x, mask.visible))
    expected = method.loss(
        method.decoder(tokens, mask.visible, mask.hidden), method.loss.targets(batch.x, 4, mask.hidden)
    )
    assert torch.equal(method.training_step(batch, 0), expected)
    assert method.means.sums["target_std"] > 0
    assert method.means.sums["prediction_std"] > 0


def test_predictions_of_visible_tokens_do_not_matter() -> None:
    method, batch = build(), clips(2)
    mask = method.masking(batch.x, method.generator(0))
    moved = batch.x.clone()
    person = 0
    s, v = divmod(int(mask.hidden[person, 0]), 25)
    moved[0, :, 4 * s : 4 * s + 4, v, person] += 1.0
    same = [method.encoder.embed(x, mask.visible) for x in (batch.x, moved)]
    assert torch.equal(*same)
    targets = [method.loss.targets(x, 4, mask.hidden) for x in (batch.x, moved)]
    assert not torch.equal(*targets)


def train_step() -> dict[str, Any]:
    """Loss and gradients of one step on this rank's share of six clips, with the noise of its own persons."""
    world, r, batch = world_size(), rank(), clips(6)
    noise = torch.rand(12, 75, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    rows = slice(r * 6 // world, (r + 1) * 6 // world)
    persons = slice(2 * rows.start, 2 * rows.stop)
    method = build(partial(MotionGumbelMask(frames=12), noise=noise[persons]))
    mine = Batch(*(getattr(batch, key)[rows] for key in ("x", "frames", "label", "index")))
    return step_under_ddp(method, [method.encoder, method.decoder], mine)


def test_two_ranks_equal_one() -> None:
    one, two = train_step(), run_ranks(train_step, 2)
    assert sum(result["loss"] for result in two) / 2 == pytest.approx(one["loss"], rel=1e-12)
    for result in two:
        for name, grad in one["grads"].items():
            torch.testing.assert_close(result["grads"][name], grad, rtol=1e-9, atol=1e-12)


def test_it_learns_a_few_clips() -> None:
    method, batch = build(), clips(4)
    optimiser = torch.optim.AdamW(method.parameter_groups(), lr=3e-3)
    losses = []
    for step in range(150):
        method._step = step
        loss = method.training_step(batch, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.75 * losses[0]


# --- its masks in pictures


def test_it_shows_its_mask_one_at_random_and_the_motion_behind() -> None:
    method, clip = build(), clips(2).x[:1]
    trained, at_random, motion = method.visualize(clip, torch.Generator().manual_seed(3))
    expected = method.masking(clip, torch.Generator().manual_seed(3)).mask.reshape(2, 3, 25)
    assert torch.equal(trained.tokens, expected)
    assert at_random.tokens.dtype == torch.bool
    assert at_random.tokens.sum((1, 2)).tolist() == expected.sum((1, 2)).tolist() == [68, 68]
    assert not torch.equal(at_random.tokens, expected)
    torch.testing.assert_close(motion.tokens, segment_motion(clip, 4), rtol=0, atol=1e-12)
    for shown in (trained, at_random, motion):
        torch.testing.assert_close(shown.clip, clip, rtol=0, atol=1e-12)


def test_the_published_setting_shows_a_clip_of_any_length(published: MAMP) -> None:
    trained, *_ = published.visualize(clips(1, frames=77).x.float(), torch.Generator().manual_seed(0))
    assert trained.clip.shape == (1, 3, 120, 25, 2)
    assert trained.tokens.shape == (2, 30, 25)
    assert trained.tokens.sum((1, 2)).tolist() == [676, 676]


def test_a_mask_that_ignores_motion_is_shown_alone() -> None:
    (shown,) = build(RandomMask(frames=12)).visualize(clips(1).x, torch.Generator().manual_seed(0))
    assert shown.title == "masked in training"
