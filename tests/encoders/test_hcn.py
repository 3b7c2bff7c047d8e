"""The image encoder: goldens of the reference, and one person after the other as oracle."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from skelssl.core.errors import UserError
from skelssl.encoders.hcn import HCN, HCNBranch, from_reference, motion, recognises
from tests.helpers.formulas import CLIPS, layer, named, ramp

SHAPES = {1: (64, 3, 1, 1), 2: (64, 64, 3, 1), 3: (32, 25, 3, 3), 4: (64, 32, 3, 3), 5: (128, 128, 3, 3),
          6: (256, 128, 3, 3)}  # fmt: skip


def released() -> dict[str, Tensor]:
    """The golden's weights under the released names, with a head."""
    state = {"fc.0.weight": torch.zeros(2), "fc.2.bias": torch.zeros(2)}
    for index, shape in SHAPES.items():
        for suffix, phase in (("", index), ("m", 10 + index)):
            if not suffix or index < 5:
                state |= named(f"conv{index}{suffix}{'' if index == 2 else '.0'}", layer(shape, phase))
    return state


@torch.no_grad()
def test_reference_numbers() -> None:
    encoder = HCN().double().eval()
    encoder.load_state_dict(from_reference(released()))
    out = encoder(ramp(CLIPS, 0, 0.01))
    assert float(out.sum()) == pytest.approx(218324.4906312915, rel=1e-6)
    assert float(out.square().sum()) == pytest.approx(9452735.5428459495, rel=1e-6)
    first = (57.3299690148, 56.2595427513, 55.6750955871, 55.6612442612)
    assert out[0, :4].tolist() == pytest.approx(first, rel=1e-6)
    assert float(out[-1, -1]) == pytest.approx(70.1108174026, rel=1e-6)


def test_motion_is_the_difference_at_half_pixel_places() -> None:
    x = torch.randn(2, 3, 9, 4, dtype=torch.float64)
    steps = [x[:, :, t + 1] - x[:, :, t] for t in range(8)]
    for t in range(9):
        at = max((t + 0.5) * 8 / 9 - 0.5, 0)
        low, high = math.floor(at), min(math.floor(at) + 1, 7)
        expected = (1 - at + low) * steps[low] + (at - low) * steps[high]
        torch.testing.assert_close(motion(x)[:, :, t], expected)


def naive_branch(branch: HCNBranch, x: Tensor) -> Tensor:
    y = branch.conv2(F.relu(branch.conv1(x)))  # (N, S, T, V)
    y = F.max_pool2d(branch.conv3(y.transpose(1, 3)), 2)
    return F.max_pool2d(branch.conv4(y), 2)


def naive(encoder: HCN, x: Tensor) -> Tensor:
    steps = F.interpolate(
        (x[:, :, 1:] - x[:, :, :-1]).flatten(3).transpose(2, 3).flatten(1, 2), x.shape[2], mode="linear"
    )
    steps = steps.unflatten(1, (3, 50)).transpose(2, 3).unflatten(3, (25, 2))
    persons = []
    for m in (0, 1):
        y = torch.cat([naive_branch(encoder.position, x[..., m]), naive_branch(encoder.motion, steps[..., m])], 1)
        y = F.max_pool2d(F.relu(encoder.conv5(y)), 2)
        persons.append(F.max_pool2d(F.relu(encoder.conv6(y)), 2).flatten(1))
    return torch.max(*persons)


def test_equals_one_person_after_the_other() -> None:
    torch.manual_seed(0)
    encoder = HCN(hidden=4, frames=33, dropout=0.0).double()
    x = torch.randn(3, 3, 33, 25, 2, dtype=torch.float64, requires_grad=True)
    inputs = [x, *encoder.parameters()]
    ours, theirs = encoder(x), naive(encoder, x)
    assert ours.shape == (3, encoder.dim) == (3, 16 * 4)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)
    weight = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, weight), torch.autograd.grad(theirs, inputs, weight), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_parameters_and_their_start() -> None:
    torch.manual_seed(0)
    encoder = HCN()
    assert (sum(p.numel() for p in encoder.parameters()), encoder.dim) == (519_424, 4096)
    for name, parameter in encoder.named_parameters():
        value = parameter.detach()
        if name.endswith("bias"):
            assert not value.any(), name
        else:
            spread = math.sqrt(6 / ((value.shape[0] + value.shape[1]) * value[0, 0].numel()))
            assert 0.95 * spread < float(value.abs().max()) <= spread, name
            assert float(value.std()) == pytest.approx(spread / math.sqrt(3), rel=0.1), name


def test_released_names_fit_and_strangers_are_kept() -> None:
    state, ours = released(), from_reference(released())
    assert recognises(state)
    assert not recognises({"encoder.gru.weight_ih_l0", "l1.gcn1.PA"})
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in HCN().state_dict().items()
    }
    assert torch.equal(ours["motion.conv2.weight"], state["conv2m.weight"])
    assert torch.equal(ours["conv6.bias"], state["conv6.0.bias"])
    stranger = {"bn1.weight": torch.zeros(1)}
    assert from_reference(stranger) == stranger


def test_dropout_takes_whole_channels_in_training_alone() -> None:
    torch.manual_seed(0)
    encoder, x = HCN(hidden=16, frames=32), torch.randn(8, 3, 32, 25, 2)
    with torch.no_grad():
        encoder.conv6.bias.fill_(10)  # every channel is above zero unless it was dropped
    channels = encoder(x).unflatten(1, (64, 4)) > 0
    assert torch.equal(channels.all(2), channels.any(2))
    assert 0.65 < float(channels.all(2).float().mean()) < 0.85  # both persons' channels must fall: 1 - 0.5²
    assert torch.equal(encoder.eval()(x), encoder(x))
    assert (encoder(x) > 0).all()


def test_ignored_joints_are_zeroed() -> None:
    torch.manual_seed(0)
    encoder, x = HCN(hidden=4, frames=16).eval(), torch.randn(2, 3, 16, 25, 2)
    before, zeroed = x.clone(), x.clone()
    zeroed[:, :, :, [3, 20]] = 0
    assert torch.equal(encoder(x, ignore=[20, 3, 20]), encoder(zeroed))
    assert torch.equal(x, before)
    assert HCN.ignores == "zeroes"


def test_an_absent_person_has_finite_gradients_everywhere() -> None:
    torch.manual_seed(0)
    encoder, x = HCN(hidden=8, frames=16), torch.randn(6, 3, 16, 25, 2)
    x[..., 1] = 0
    encoder(x).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    "shape", [(2, 3, 16, 24, 2), (2, 3, 16, 25, 1), (2, 2, 16, 25, 2), (3, 16, 25, 2), (2, 3, 17, 25, 2)]
)
def test_wrong_shape_is_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^encoder input: found shape \(.*\), expected \(N, 3, 16, 25, 2\)$"):
        HCN(hidden=2, frames=16)(torch.zeros(shape))


@pytest.mark.parametrize("ignore", [[25], [-1], range(25)])
def test_wrong_joints_to_ignore(ignore: Collection[int]) -> None:
    with pytest.raises(UserError, match="encoder ignore: found"):
        HCN(hidden=2, frames=16)(torch.zeros(2, 3, 16, 25, 2), ignore=ignore)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 3}, "encoder.hidden: found 3, expected a positive even number"),
        ({"frames": 15}, "encoder.frames: found 15, expected at least 16"),
    ],
)
def test_wrong_sizes(options: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}$"):
        HCN(**options)  # type: ignore[arg-type]
