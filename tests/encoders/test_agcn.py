"""The graph encoder: goldens of the reference, and the network with einsums on (N, C, T, V) as oracle."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from skelssl.core.errors import UserError
from skelssl.encoders.agcn import AGCN, AGCNBlock, SpatialConv, TemporalConv, from_reference, recognises
from skelssl.runtime.batch_norm import sync_batch_norms
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.formulas import CLIPS, layer, named, norm, ramp
from tests.helpers.ranks import run_ranks

WIDTHS = (3, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256)


def released_block(index: int) -> dict[str, Tensor]:
    """The golden's weights of block ``l<index>`` under the released names."""
    narrow, wide, phase = *WIDTHS[index - 1 : index + 1], 100 * index
    state = {"gcn1.PA": 0.01 * ramp((3, 25, 25), phase + 70, 0.7)}
    for k in range(3):
        for step, (name, width) in enumerate((("conv_a", wide // 4), ("conv_b", wide // 4), ("conv_d", wide)), 1):
            state |= named(f"gcn1.{name}.{k}", layer((width, narrow, 1, 1), phase + 10 * k + step))
    state |= named("gcn1.bn", norm(wide, phase + 80))
    state |= named("tcn1.conv", layer((wide, wide, 9, 1), phase + 50)) | named("tcn1.bn", norm(wide, phase + 51))
    if narrow != wide:
        state |= named("gcn1.down.0", layer((wide, narrow, 1, 1), phase + 40))
        state |= named("gcn1.down.1", norm(wide, phase + 41))
    if narrow != wide and index > 1:
        state |= named("residual.conv", layer((wide, narrow, 1, 1), phase + 60))
        state |= named("residual.bn", norm(wide, phase + 61))
    return state


def released() -> dict[str, Tensor]:
    state = named("data_bn", norm(150, 5)) | {"fc.0.weight": torch.zeros(2), "fc.2.bias": torch.zeros(2)}
    for index in range(1, 11):
        state |= named(f"l{index}", released_block(index))
    return state


def golden_encoder() -> AGCN:
    encoder = AGCN().double().eval()
    encoder.load_state_dict(from_reference(released()))
    return encoder


@torch.no_grad()
def test_reference_numbers() -> None:
    out = golden_encoder()(ramp(CLIPS, 0, 0.01))
    assert float(out.sum()) == pytest.approx(88180.0627726735, rel=1e-6)
    assert float(out.square().sum()) == pytest.approx(18535743.4958258214, rel=1e-6)
    first = (189.7697709002, 231.6369969051, 211.5685443601, 223.2783855438)
    assert out[0, :4].tolist() == pytest.approx(first, rel=1e-6)
    assert float(out[-1, -1]) == pytest.approx(90.8519889010, rel=1e-6)


def random_encoder() -> AGCN:
    """Small, with weights that let every branch count: a fresh one all but silences the graph."""
    torch.manual_seed(0)
    encoder = AGCN(hidden=4).double()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.normal_(1.0 if name.endswith("bn.weight") else 0.0, 0.3)
    return encoder


def spatial(unit: SpatialConv, x: Tensor, graph: Tensor) -> Tensor:
    """(N, C, T, V) in the published order of work: one partition after the other."""
    total: Tensor | float = 0.0
    for a, b, d, adjacency in zip(unit.conv_a, unit.conv_b, unit.conv_d, graph, strict=True):
        theta, phi = a(x), b(x)
        scores = torch.einsum("netv,netw->nvw", theta, phi) / (theta.shape[1] * theta.shape[2])
        total = total + d(torch.einsum("nctv,nvw->nctw", x, scores.softmax(1) + adjacency))
    return F.relu(unit.bn(total) + unit.down(x))


def temporal(unit: TemporalConv, x: Tensor) -> Tensor:
    conv = unit.conv
    y: Tensor = unit.bn(F.conv2d(x, conv.weight, conv.bias, (unit.stride, 1), (unit.kernel // 2, 0)))
    return y


def naive(encoder: AGCN, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
    n, c, t, v, m = x.shape
    x = encoder.data_bn(x.permute(0, 4, 3, 1, 2).reshape(n, m * v * c, t))
    x = x.view(n, m, v, c, t).permute(0, 1, 3, 4, 2).reshape(n * m, c, t, v)
    kept = sorted(set(range(v)) - set(ignore))
    x = x[..., kept]
    for block in encoder.blocks:
        assert isinstance(block, AGCNBlock)
        graph = (encoder.A + block.gcn1.PA)[:, kept][:, :, kept]
        y = temporal(block.tcn1, spatial(block.gcn1, x, graph))
        if isinstance(block.residual, TemporalConv):
            x = temporal(block.residual, x)
        x = F.relu(y if block.residual is None else y + x)
    return x.mean((2, 3)).view(n, m, -1).mean(1)


@pytest.mark.parametrize("ignore", [[], [3, 20, 3]])
def test_equals_the_published_order_of_work(ignore: list[int]) -> None:
    encoder = random_encoder()
    x = torch.randn(3, 3, 11, 25, 2, dtype=torch.float64, requires_grad=True)
    inputs = [x, *encoder.parameters()]
    ours, theirs = encoder(x, ignore=ignore), naive(encoder, x, ignore)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    weight = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, weight), torch.autograd.grad(theirs, inputs, weight), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_parameters_and_graph() -> None:
    encoder = AGCN()
    assert (sum(p.numel() for p in encoder.parameters()), encoder.dim) == (3_454_090, 256)
    counts = [sum(p.numel() for p in block.parameters()) for block in encoder.blocks]
    assert counts == [40595] + [57779] * 3 + [204563] + [224275] * 2 + [808659] + [889043] * 2
    assert encoder.A.sum((1, 2)).tolist() == [25, 24, 20]
    inward, outward = encoder.A[1], encoder.A[2]
    assert inward.max() == 1
    assert inward[1, 0] == 1  # spine base hangs on spine mid
    assert outward[:, 20][outward[:, 20] > 0].tolist() == [0.25] * 4


def test_released_names_fit_and_strangers_are_kept() -> None:
    state, encoder = released(), AGCN()
    assert len(state) == 352  # the head counts as two
    assert recognises(state)
    assert not recognises({"encoder.gru.weight_ih_l0", "conv1m.0.weight"})
    ours = from_reference(state)
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in encoder.state_dict().items()
    }
    assert torch.equal(ours["blocks.9.gcn1.conv_b.2.bias"], state["l10.gcn1.conv_b.2.bias"])
    stranger = {"l1.gcn1.gate": torch.zeros(1)}
    assert from_reference(stranger).keys() == {"blocks.0.gcn1.gate"}


def test_start() -> None:
    torch.manual_seed(0)
    for name, parameter in AGCN().named_parameters():
        value, shape = parameter.detach(), parameter.shape
        if name.endswith("PA"):
            assert value.unique().tolist() == pytest.approx([1e-6])
        elif parameter.ndim == 1:
            start = 0.0 if name.endswith("bias") else 1e-6 if name.endswith("gcn1.bn.weight") else 1.0
            assert value.unique().tolist() == pytest.approx([start]), name
        else:
            fan = shape[0] * shape[1] * 3 if "conv_d" in name else shape[0] * shape[2]
            assert float(value.std()) == pytest.approx(math.sqrt(2 / fan), rel=0.4 if value.numel() < 400 else 0.1), (
                name
            )


def test_a_clip_does_not_depend_on_its_batch() -> None:
    encoder = random_encoder().eval()
    x = torch.randn(16, 3, 8, 25, 2, dtype=torch.float64)
    alone = torch.cat([encoder(clip[None]) for clip in x])
    torch.testing.assert_close(encoder(x), alone, rtol=1e-11, atol=1e-12)


def test_one_frame_is_enough() -> None:
    assert AGCN(hidden=4).eval()(torch.randn(1, 3, 1, 25, 2)).shape == (1, 16)
    assert AGCN.ignores == "removes"


def test_an_absent_person_has_finite_gradients_everywhere() -> None:
    torch.manual_seed(0)
    encoder, x = AGCN(hidden=4), torch.randn(3, 3, 16, 25, 2)
    x[..., 1] = 0
    out = encoder(x)
    assert out.isfinite().all()
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "shape", [(2, 3, 10, 24, 2), (2, 3, 10, 25, 1), (2, 2, 10, 25, 2), (3, 10, 25, 2), (2, 3, 0, 25, 2)]
)
def test_wrong_shape_is_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^encoder input: found shape \(.*\), expected \(N, 3, T, 25, 2\)$"):
        AGCN(hidden=4)(torch.zeros(shape))


@pytest.mark.parametrize("ignore", [[25], [-1], range(25)])
def test_wrong_joints_to_ignore(ignore: Collection[int]) -> None:
    with pytest.raises(UserError, match="encoder ignore: found"):
        AGCN(hidden=4)(torch.zeros(2, 3, 10, 25, 2), ignore=ignore)


@pytest.mark.parametrize("hidden", [0, 6])
def test_wrong_width(hidden: int) -> None:
    with pytest.raises(UserError, match=f"^encoder.hidden: found {hidden}, expected a positive multiple of 4$"):
        AGCN(hidden=hidden)


def step_on_a_share() -> list[Tensor]:
    """Features of this rank's clips, and the gradients of the loss summed over all ranks."""
    encoder = sync_batch_norms(random_encoder())
    x = torch.randn(8, 3, 8, 25, 2, dtype=torch.float64)
    weight = torch.randn(8, 16, dtype=torch.float64)
    if world_size() > 1:
        x, weight = x.chunk(2)[rank()], weight.chunk(2)[rank()]
    features = encoder(x, ignore=[3])
    return [features.detach(), *torch.autograd.grad((features * weight).sum(), list(encoder.parameters()))]


def test_two_ranks_with_synchronised_statistics_equal_one_process() -> None:
    features, *gradients = step_on_a_share()
    (first, *some), (second, *others) = run_ranks(step_on_a_share, 2)
    torch.testing.assert_close(torch.cat([first, second]), features)
    for a, b, whole in zip(some, others, gradients, strict=True):
        torch.testing.assert_close(a + b, whole, rtol=1e-8, atol=1e-8)
