"""Targets and loss against loops in float64, values and gradients; what a constant prediction costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.losses.masked_prediction import MaskedPrediction, channel_std, displacement, masked_mse, normalise_tokens


def clips(frames: int = 8) -> Tensor:
    return torch.randn(2, 3, frames, 25, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_displacement_frame_by_frame() -> None:
    x = clips()
    for stride in (1, 3):
        found = displacement(x, stride)
        for t in range(8):
            expected = x[:, :, t + stride] - x[:, :, t] if t + stride < 8 else torch.zeros_like(x[:, :, 0])
            assert torch.equal(found[:, :, t], expected)


def plain_target(x: Tensor, clip: int, person: int, token: int, normalise: bool) -> list[float]:
    """One target token from its definition: frames outside, coordinates inside, unbiased variance."""
    segment, joint = divmod(token, 25)
    values = []
    for t in range(4 * segment, 4 * segment + 4):
        for c in range(3):
            here = x[clip, c, t, joint, person]
            values.append((x[clip, c, t + 1, joint, person] - here).item() if t < 7 else 0.0)
    if not normalise:
        return values
    mean = sum(values) / 12
    var = sum((v - mean) ** 2 for v in values) / 11
    return [(v - mean) / (var + 1e-6) ** 0.5 for v in values]


@pytest.mark.parametrize("normalise", [True, False])
def test_motion_targets_token_by_token(normalise: bool) -> None:
    x, hidden = clips(), torch.tensor([[0, 49], [3, 30], [7, 26], [24, 25]])
    found = MaskedPrediction(normalise=normalise).targets(x, 4, hidden)
    for row in range(4):
        for place in range(2):
            expected = plain_target(x, row // 2, row % 2, int(hidden[row, place]), normalise)
            assert found[row, place].tolist() == pytest.approx(expected, abs=1e-12)


def test_coordinates_are_the_target_of_the_mae_baseline() -> None:
    x, hidden = clips(), torch.tensor([[26]] * 4)
    found = MaskedPrediction(target="coordinates", normalise=False).targets(x, 4, hidden)
    assert torch.equal(found[1 * 2 + 1, 0].view(4, 3), x[1, :, 4:8, 1, 1].T)


def test_the_loss_is_the_weighted_sum_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(1)
    prediction, target = torch.randn(2, 4, 9, 12, generator=generator, dtype=torch.float64)
    mask = torch.zeros(4, 20, dtype=torch.float64)
    hidden = torch.rand(4, 20, generator=generator).argsort(1)[:, :9]
    mask.scatter_(1, hidden, 1.0)

    def plain(p: Tensor) -> Tensor:
        everywhere = torch.zeros(4, 20, 12, dtype=torch.float64).scatter(1, hidden[..., None].expand(-1, -1, 12), p)
        truth = torch.zeros(4, 20, 12, dtype=torch.float64).scatter(1, hidden[..., None].expand(-1, -1, 12), target)
        return ((everywhere - truth).square().mean(-1) * mask).sum() / mask.sum()

    results = []
    for function in (lambda p: masked_mse(p, target), plain):
        p = prediction.clone().requires_grad_()
        value = function(p)
        results.append((value.detach(), torch.autograd.grad(value, p)[0]))
    torch.testing.assert_close(results[0], results[1])


def test_predicting_zero_costs_eleven_twelfths() -> None:
    x = clips(frames=8)
    hidden = torch.arange(25).expand(4, -1)  # the first segment: no zero-padded last frame
    target = MaskedPrediction().targets(x, 4, hidden)
    assert masked_mse(torch.zeros_like(target), target).item() == pytest.approx(11 / 12, abs=1e-5)


def test_absent_persons_have_targets_of_zero() -> None:
    target = MaskedPrediction().targets(torch.zeros(1, 3, 8, 25, 2), 4, torch.arange(50).expand(2, -1))
    assert not target.any()
    assert normalise_tokens(torch.full((2, 12), 3.0)).abs().max() == 0


def test_half_precision_is_widened() -> None:
    prediction, target = torch.randn(2, 2, 3, 4)
    assert masked_mse(prediction.bfloat16(), target).dtype == torch.float32
    assert MaskedPrediction().targets(clips().bfloat16(), 4, torch.tensor([[0]] * 4)).dtype == torch.float32


def test_spread_tells_collapse() -> None:
    y = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    expected = sum(((y[..., d].flatten() - y[..., d].mean()).square().sum() / 149 + 1e-6).sqrt() for d in range(4)) / 4
    assert channel_std(y).item() == pytest.approx(expected.item(), rel=1e-5)
    assert channel_std(torch.ones(3, 50, 4)).item() == pytest.approx(1e-3)


def test_mistakes_name_the_key() -> None:
    with pytest.raises(UserError, match=r"loss\.target: found 'pose', expected one of motion, coordinates"):
        MaskedPrediction(target="pose")
    with pytest.raises(UserError, match=r"loss\.stride: found 0, expected 1 or more"):
        MaskedPrediction(stride=0)
