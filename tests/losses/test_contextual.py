"""Targets against the plain form that keeps every block's output; the loss against loops, in value and gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.naive import skeleton2vec as naive
from skelssl.core.errors import UserError
from skelssl.encoders.transformer import Transformer
from skelssl.losses.contextual import ContextualPrediction, contextualise, sequence_errors
from skelssl.losses.masked_prediction import masked_mse
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.ranks import run_ranks


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def teacher(depth: int = 3) -> Transformer:
    torch.manual_seed(0)
    sizes: Any = {"frames": 12, "patch": 3, "hidden": 16, "heads": 2, "layer_scale": 0.5, "norm_eps": 1e-6}
    return Transformer(depth=depth, **sizes).double().eval()


def clips(n: int = 4) -> Tensor:
    """The second person is there in the first clip alone; the last clip shows nobody."""
    x = noise(n, 3, 12, 25, 2).cumsum(2)
    x[1:, ..., 1], x[-1] = 0, 0
    return x


def test_each_block_is_normalised_over_its_tokens_and_the_average_over_channels() -> None:
    h = 3 + 2 * noise(2, 50, 8)
    value, mean, var = contextualise([h], "instance", None)
    torch.testing.assert_close(value.mean(1), torch.zeros(2, 8).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(value.var(1, correction=0), torch.ones(2, 8).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(mean, h.mean(1))
    torch.testing.assert_close(var, h.var(1, correction=0))
    y, *_ = contextualise([h, h.square()], "instance", "layer")
    torch.testing.assert_close(y.mean(2), torch.zeros(2, 50).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(y.var(2, correction=0), torch.ones(2, 50).double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("v", [8e-4, 1e-5, 1e-12])
def test_a_tiny_variance_shrinks_smoothly_to_nothing(v: float) -> None:
    h = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).mul(v**0.5).expand(1, 2, 4)
    value, *_ = contextualise([h], "instance", None)
    assert value.var(1, correction=0).flatten().tolist() == pytest.approx([v / (v + 1e-5)] * 4, rel=1e-9)


@pytest.mark.parametrize("final", ["layer", None])
@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_the_running_average_is_store_then_average(norm: str, final: str | None) -> None:
    outputs = [noise(3, 40, 16, seed=s) * (s + 1) for s in range(4)]
    plain = {
        "instance": lambda h: F.instance_norm(h.transpose(1, 2), eps=1e-5).transpose(1, 2),
        "layer": lambda h: F.layer_norm(h, (16,), eps=1e-5),
    }[norm]
    expected = torch.stack([plain(h) for h in outputs]).mean(0)
    expected = F.layer_norm(expected, (16,), eps=1e-5) if final else expected
    kept = [h.clone() for h in outputs]
    value, mean, _ = contextualise(iter(outputs), norm, final)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(mean, outputs[-1].mean(1))
    assert all(torch.equal(a, b) for a, b in zip(outputs, kept, strict=True))
    single, *_ = contextualise([h.float() for h in outputs], norm, final)
    torch.testing.assert_close(single, expected.float(), rtol=0, atol=1e-5)


def test_targets_are_at_least_float32() -> None:
    value, mean, var = contextualise([noise(2, 5, 4).bfloat16()], "instance", "layer")
    assert {part.dtype for part in (value, mean, var)} == {torch.float32}
    encoder, x = teacher().float(), clips().float()
    loss = ContextualPrediction(blocks=3)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss.targets(encoder, x)
    assert found.value.dtype == torch.float32
    assert (found.value - loss.targets(encoder, x).value).abs().mean() < 0.05


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_last_blocks_before_the_last_norm(k: int) -> None:
    encoder, x = teacher(), clips()
    outputs, h = [], encoder.embed(x)
    for block in encoder.blocks:
        h = block(h)
        outputs.append(h)
    expected, *_ = contextualise(outputs[-k:], "instance", "layer")
    found = ContextualPrediction(blocks=k, share_absent=False).targets(encoder, x)
    torch.testing.assert_close(found.value, expected)
    if k == 3:
        torch.testing.assert_close(found.value, naive.targets(encoder, x))


@pytest.mark.parametrize("blocks", [0, 4])
def test_more_blocks_than_there_are(blocks: int) -> None:
    with pytest.raises(UserError, match=f"encoder blocks to average: found {blocks}, expected 1 to 3"):
        ContextualPrediction(blocks=blocks).targets(teacher(), clips())


@pytest.mark.parametrize("masks", [1, 3])
def test_absent_persons_share_a_pass_and_nothing_changes(masks: int) -> None:
    encoder, x = teacher(), clips()
    index = noise(4 * masks * 2, 100).argsort(1)[:, :60]
    passes = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, args: passes.append(len(args[0])))
    shared, full = (ContextualPrediction(blocks=3, share_absent=s).targets(encoder, x) for s in (True, False))
    assert passes == [5, 8]  # four persons are there; one absent one stands for the other three
    torch.testing.assert_close(shared.at(index), full.at(index), rtol=0, atol=1e-14)
    assert torch.equal(shared.presence(len(index)), full.presence(len(index)))


def test_targets_of_several_masks_find_their_person() -> None:
    encoder, x, masks = teacher(), clips(), 3
    index = noise(4 * masks * 2, 100).argsort(1)[:, :7]
    targets = ContextualPrediction(blocks=3).targets(encoder, x)
    found, presence = targets.at(index), targets.presence(len(index))
    full = naive.targets(encoder, x)
    for n in range(4):
        for k in range(masks):
            for m in range(2):
                sequence = (n * masks + k) * 2 + m
                torch.testing.assert_close(found[sequence], full[2 * n + m, index[sequence]])
                assert presence[sequence] == float(n == 0 or (n < 3 and m == 0))


def test_targets_carry_no_gradient() -> None:
    encoder, x = teacher(), clips()
    targets = ContextualPrediction(blocks=3).targets(encoder, x.requires_grad_())
    assert not any(part.requires_grad for part in targets)


def test_the_loss_by_hand() -> None:
    prediction, target = noise(4, 5, 3).requires_grad_(), noise(4, 5, 3, seed=1)
    presence = torch.tensor([1.0, 1.0, 0.0, 1.0]).double()
    total = sum((prediction[b, h, d] - target[b, h, d]) ** 2 for b in range(4) for h in range(5) for d in range(3)) / 60
    loss = ContextualPrediction()(prediction, target, presence)
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(*(torch.autograd.grad(y, prediction)[0] for y in (loss, total)))
    there = ContextualPrediction(on_absent=False)(prediction, target, presence)
    torch.testing.assert_close(there, masked_mse(prediction[[0, 1, 3]], target[[0, 1, 3]]))
    errors = sequence_errors(prediction, target)
    assert errors[2].item() == pytest.approx((prediction[2] - target[2]).square().mean().item())


def present_loss() -> float:
    rows = slice(rank() * 4 // world_size(), (rank() + 1) * 4 // world_size())
    presence = torch.tensor([1.0, 1.0, 0.0, 1.0]).double()[rows]
    return ContextualPrediction(on_absent=False)(noise(4, 5, 3)[rows], noise(4, 5, 3, seed=1)[rows], presence).item()


def test_without_absent_persons_two_ranks_equal_one() -> None:
    assert sum(run_ranks(present_loss, 2)) / 2 == pytest.approx(present_loss(), rel=1e-12)


def test_mistakes_name_the_key() -> None:
    with pytest.raises(UserError, match=r"loss\.block_norm: found 'batch', expected one of instance, layer"):
        ContextualPrediction(block_norm="batch")
    with pytest.raises(UserError, match=r"loss\.final_norm: found 'instance', expected layer or null"):
        ContextualPrediction(final_norm="instance")
