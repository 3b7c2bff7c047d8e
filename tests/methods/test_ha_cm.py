"""HA-CM as a method: its step, what trains and what does not, precision, two ranks against one process, its masks."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.tokens import patchify
from skelssl.encoders.transformer import Transformer
from skelssl.losses.cross_contrast import CrossContrast
from skelssl.losses.masked_prediction import MaskedPrediction, normalise_tokens
from skelssl.maskers.hyperbolic import CrossMask, CrossMasker
from skelssl.methods.build import build_method
from skelssl.methods.ha_cm import HACM, CrossMaskingLoss
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.config import compose
from tests.helpers.ranks import run_ranks, step_under_ddp

ADAMW = {"name": "adamw", "lr": 1e-3, "epochs": 400, "weight_decay": 0.05, "betas": [0.9, 0.95]}
OUTER = [2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 24]


class AsIs(nn.Module):
    """The clips of the batch themselves."""

    stream, layout = "joint", "ntu25"

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        return batch.x


def clips(n: int, frames: int = 12) -> Batch:
    x = torch.randn(n, 3, frames, 25, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    x = x.cumsum(2) / 5
    x[1::2, ..., 1] = 0
    zeros = torch.zeros(n, dtype=torch.int64)
    return Batch(x, zeros + frames, zeros, torch.arange(n))


def build(
    contrast: dict[str, Any] | None = None, weights: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None, **masking: Any,
) -> HACM:  # fmt: skip
    torch.manual_seed(0)
    method = HACM(
        view={"pretrain": AsIs(), "test": AsIs()},
        encoder=Transformer(
            frames=12, patch=3, hidden=16, depth=2, heads=2, curvature=1.0, **(body or {"joints": "outer"})
        ),
        masking=partial(CrossMasker, **masking),
        decoder=partial(Decoder, hidden=16, depth=1, heads=2),
        loss=CrossMaskingLoss(
            prediction=MaskedPrediction(curvature=1.0), contrast=CrossContrast(**(contrast or {})), **(weights or {})
        ),
        optim=ADAMW,
        seed=0,
    )
    method._step = 0
    return method.double()


@pytest.fixture(scope="module")
def published() -> HACM:
    method = build_method(compose("train", "method=ha_cm", "dataset=ntu60_xsub"))
    assert isinstance(method, HACM)
    return method


# --- the published setting


def test_sizes(published: HACM) -> None:
    trained = {name: p for name, p in published.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained.values()) == 8_780_809
    assert sum(p.numel() for p in published.decoder.parameters()) == 2_448_905
    frozen = set(dict(published.named_parameters())) - set(trained)
    assert frozen == {f"masking.{layer}.{kind}" for layer in ("l1", "l2") for kind in ("weight", "bias")}
    assert frozen <= set(published.state_dict())
    assert (published.encoder.grid, published.masking.kept) == ((24, 18), 21)


def test_the_published_step_runs_at_full_size(published: HACM) -> None:
    batch, published._step = clips(1, frames=72), 0
    loss = published.training_step(replace(batch, x=batch.x.float()), 0)
    loss.backward()
    assert 0.8 < loss.item() < 5
    for name, p in published.named_parameters():
        assert p.requires_grad == (p.grad is not None and bool(p.grad.isfinite().all())), name
    published.zero_grad()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["method=ha_cm"], ("corrected", 2.0, 400, None, 64, 3, 18)),
        (["experiment=ha_cm_reference", "dataset=ntu60_xsub"], ("reference", 4.0, 500, 400, 64, 3, 18)),
        (["experiment=ha_cm_25", "dataset=ntu120_xset"], ("corrected", 2.0, 400, None, 64, 5, 25)),
    ],
)
def test_presets(overrides: list[str], expected: tuple[Any, ...]) -> None:
    config = compose("train", *overrides)
    method, block = build_method(config), config["method"]
    assert isinstance(method, HACM)
    assert (
        method.masking.layout, method.masking.dist_factor, method.optim.epochs, method.optim.stop_epoch,
        block["loader"]["batch"], block["decoder"]["depth"], len(method.encoder.joints),
    ) == expected  # fmt: skip
    assert (method.optim.lr, method.optim.min_lr, method.optim.warmup_epochs) == (1e-3, 5e-4, 20)


@pytest.mark.parametrize(
    ("dataset", "fill", "center", "batch", "lr"),
    [
        ("ntu60_xview", "zero", True, 256, 0.1),
        ("ntu120_xsub", "copy", True, 256, 0.1),
        ("pku1_xsub", "zero", False, 128, 0.1),
        ("pku2_xview", "zero", False, 128, 0.01),
    ],
)
def test_one_recipe_for_all_benchmarks(dataset: str, fill: str, center: bool, batch: int, lr: float) -> None:
    method = compose("train", "method=ha_cm", f"dataset={dataset}")["method"]
    linear, recipe = method["probe"]["linear"], method["recipe"]
    assert (recipe["single_person_fill"], recipe["center"], linear["batch"], linear["lr"]) == (fill, center, batch, lr)
    assert (method["encoder"]["frames"], method["decoder"]["depth"], method["optim"]["epochs"]) == (72, 3, 400)


# --- the step


@pytest.mark.parametrize("layout", ["corrected", "reference"])
def test_the_step_is_the_parts_in_order(layout: str) -> None:
    method, batch = build(layout=layout), clips(3)
    mask = method.masking(method.encoder, batch.x, method.generator(0))
    tokens = method.encoder.encode(method.encoder.embed(batch.x, mask.visible))
    prediction = method.decoder(tokens, mask.rows, mask.hidden)
    u = torch.zeros_like(batch.x)
    u[:, :, :-1] = batch.x[:, :, 1:] - batch.x[:, :, :-1]
    norm = u.norm(dim=1, keepdim=True).clamp(min=1e-300)
    patches = patchify((torch.tanh(norm) * u / norm)[:, :, :, OUTER], 3)
    target = normalise_tokens(patches.take_along_dim(mask.targets[:, :, None], 1))
    expected = (prediction - target).square().mean()
    expected = expected + CrossContrast()(tokens, torch.ones(6, dtype=torch.bool))
    torch.testing.assert_close(method.training_step(batch, 0), expected, rtol=1e-9, atol=0)
    assert {"reconstruction", "contrast", "target_std", "prediction_std"} <= method.means.sums.keys()


def test_the_paper_s_form_of_the_loss() -> None:
    method, batch = build(contrast={"terms": ["P1", "P2"]}, weights={"alpha": 0.3}), clips(3)
    loss = method.training_step(batch, 0)
    contrast, reconstruction = (method.means.sums[key] / 3 for key in ("contrast", "reconstruction"))
    torch.testing.assert_close(loss, 0.3 * contrast + 0.7 * reconstruction)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"alpha": 1.5}, r"loss\.alpha: found 1\.5, expected null or a ratio from 0 to 1"),
        ({"alpha": 0.5, "weight": 2.0}, r"loss\.weight: found 2\.0 beside loss\.alpha, expected 1"),
        ({"weight": "much"}, r"loss\.weight: found 'much', expected a number of at least 0"),
    ],
)
def test_weights_without_a_meaning_are_refused(weights: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(weights=weights)


def test_a_body_without_a_core_is_refused_before_training(tmp_path: Path) -> None:
    body = (files("skelssl") / "skeleton" / "layouts" / "kinect20.yaml").read_text("utf-8")
    (tmp_path / "body.yaml").write_text(body[: body.index("core:")])
    with pytest.raises(UserError, match=r"found no core, expected the joints that carry the limbs"):
        build(body={"layout": str(tmp_path / "body.yaml"), "joints": "all"})


def test_a_step_makes_no_tensor_on_another_device_and_does_not_wait_for_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tensors of the device ``meta`` mix with no other, and hold nothing that the host could ask for."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know this device
    method, batch = build(contrast={"mask_empty": True}).to("meta"), clips(2)
    assert method.training_step(replace(batch, x=batch.x.to("meta")), 0).device.type == "meta"


def test_absent_persons_can_leave_the_contrast() -> None:
    both, present = build(), build(contrast={"mask_empty": True})
    for method in (both, present):
        method.training_step(clips(4), 0)
    assert both.means.sums["contrast"] != present.means.sums["contrast"]
    assert both.means.sums["reconstruction"] == present.means.sums["reconstruction"]


def test_what_is_hidden_does_not_reach_the_encoder() -> None:
    method, batch = build(), clips(2)
    mask = method.masking(method.encoder, batch.x, method.generator(0))
    s, v = divmod(int(mask.hidden[0, 0]), 18)
    moved = batch.x.clone()
    moved[0, :, 3 * s : 3 * s + 3, OUTER[v], 0] += 1.0
    assert torch.equal(*(method.encoder.embed(x, mask.visible) for x in (batch.x, moved)))


def test_only_what_learns_is_touched_by_weight_decay() -> None:
    method, batch = build(), clips(4)
    frozen = {name: p.clone() for name, p in method.masking.state_dict().items()}
    optimiser = method.configure_optimizers()
    owned = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert owned == {id(p) for p in method.parameters() if p.requires_grad}
    for step in range(3):
        method._step = step
        optimiser.zero_grad()
        method.training_step(batch, step).backward()
        assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
        optimiser.step()
    assert frozen.keys() == {"l1.weight", "l1.bias", "l2.weight", "l2.bias"}
    for name, p in method.masking.state_dict().items():
        assert torch.equal(p, frozen[name])


@pytest.mark.parametrize("layout", ["corrected", "reference"])
def test_bf16_draws_the_same_masks(layout: str) -> None:
    method, x = build(layout=layout).float(), clips(8).x.float()
    plain = method.masking(method.encoder, x, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        half = method.masking(method.encoder, x, torch.Generator().manual_seed(0))
        batch = replace(clips(8), x=x)
        loss = method.training_step(batch, 0)
    assert all(torch.equal(a, b) for a, b in zip(plain, half, strict=True))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)
    exact = method.training_step(batch, 0)
    assert loss.item() == pytest.approx(exact.item(), rel=2e-2)


def train_step(mask_empty: bool) -> dict[str, Any]:
    """Loss and gradients of one step on this rank's share of six clips, with the noise of its own persons."""
    world, r, batch = world_size(), rank(), clips(6)
    noise = torch.rand(2, 12, 36, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    rows = slice(r * 6 // world, (r + 1) * 6 // world)
    own = noise[:, 2 * rows.start : 2 * rows.stop]
    method = build(contrast={"gather": True, "mask_empty": mask_empty})
    draw = method.masking.forward
    method.masking.forward = lambda encoder, x, generator: draw(encoder, x, noise=(own[0], own[1]))  # type: ignore[method-assign]
    mine = Batch(*(getattr(batch, key)[rows] for key in ("x", "frames", "label", "index")))
    return step_under_ddp(method, [method.encoder, method.decoder], mine)


@pytest.mark.parametrize("mask_empty", [False, True])
def test_two_ranks_equal_one(mask_empty: bool) -> None:
    one, two = train_step(mask_empty), run_ranks(train_step, 2, mask_empty)
    assert sum(result["loss"] for result in two) / 2 == pytest.approx(one["loss"], rel=1e-12)
    for result in two:
        for name, grad in one["grads"].items():
            torch.testing.assert_close(result["grads"][name], grad, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("layout", ["corrected", "reference"])
def test_it_learns_a_few_clips(layout: str) -> None:
    method, batch = build(layout=layout), clips(4)
    optimiser = torch.optim.AdamW(method.parameter_groups(), lr=3e-3)
    losses = []
    for step in range(120):
        method._step = step
        loss = method.training_step(batch, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.85 * losses[0]


# --- its masks and scores in pictures


def test_what_it_shows_are_the_masks_of_the_stream_it_was_trained_on() -> None:
    method, clip = build(), clips(2).x[:1]
    motion = torch.zeros_like(clip)
    motion[:, :, :-1] = clip[:, :, 1:] - clip[:, :, :-1]
    expected = method.visualize(motion, torch.Generator().manual_seed(3))
    method.view.stream = "motion"
    found = method.visualize(clip, torch.Generator().manual_seed(3))
    for picture, same in zip(found, expected, strict=True):
        assert torch.equal(picture.tokens, same.tokens)
        assert torch.equal(picture.clip, clip)  # drawn are positions


def test_it_shows_both_groups_and_both_scores() -> None:
    method, clip = build(), clips(2).x[:1]
    shown = method.visualize(clip, torch.Generator().manual_seed(3))
    mask: CrossMask = method.masking(method.encoder, clip, torch.Generator().manual_seed(3))
    scores = method.masking.scores(method.encoder, clip)
    whole, attention, hierarchy, *weights = shown
    expected = torch.ones(2, 72, dtype=torch.bool).scatter_(1, mask.visible, False).view(2, 4, 18)
    assert torch.equal(whole.tokens[:, :, OUTER], expected)
    assert torch.equal(attention.tokens[:, :, OUTER], expected[:, ::2])
    assert torch.equal(hierarchy.tokens[:, :, OUTER], expected[:, 1::2])
    for found, score in zip(weights, scores, strict=True):
        torch.testing.assert_close(found.tokens[:, :, OUTER], score - score.amin((1, 2), keepdim=True))
    for picture in shown:
        assert picture.dropped_joints == [0, 1, 4, 8, 12, 16, 20]
        rest = picture.tokens[:, :, picture.dropped_joints]
        assert bool(rest.all()) if rest.dtype == torch.bool else not bool(rest.any())
