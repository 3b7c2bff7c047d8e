"""ST-GCN: goldens of the reference, and the network written with einsums on (N, C, T, V) as oracle."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from skelssl.core.errors import UserError
from skelssl.encoders.stgcn import STGCN, Dropout
from skelssl.runtime.batch_norm import sync_batch_norms
from skelssl.runtime.collectives import rank, world_size
from skelssl.skeleton.layout import load_layout
from tests.helpers.ranks import run_ranks

IGNORE = [20, 20, 0, 4, 7, 8, 8, 21]
ONES = ("data_bn.weight", "tcn.0.weight", "tcn.3.weight", "residual.1.weight")

# mode, T, ignore, sum, norm, out[0, :4], out[1, 255]
GOLDENS = [
    ("eval", 50, [], 163.2524401276, 9.8085167690, (0, 0.3346109467, 0.0806816894, 0), 0),
    ("eval", 30, [], 159.2995951600, 9.5350779073, (0, 0.3392624870, 0.0512071272, 0), 0),
    ("eval", 50, IGNORE, 160.6170447009, 9.5712382631, (0, 0.3429288516, 0.0541012034, 0), 0),
    ("train", 50, [], 353.6028603628, 13.1684051329, (0.5383587281, 0.3388643623, 0.3373525022, 0.5195165068),
     0.3473262165),
    ("train", 30, [], 324.9227192867, 12.1700963957, (0.4205583075, 0.3066471187, 0.4154772616, 0.4000349836),
     0.3134065878),
    ("train", 50, IGNORE, 264.7482370021, 9.9581518101, (0.4185365529, 0.3060579646, 0.3752489574, 0.3935925946),
     0.2389440154),
]  # fmt: skip


@torch.no_grad()
def golden_encoder() -> STGCN:
    encoder = STGCN(dropout=0.0).double()
    encoder.A.copy_(torch.from_numpy(load_layout("ntu25").adjacency()))
    for j, (name, parameter) in enumerate(sorted(encoder.named_parameters())):
        k = torch.arange(parameter.numel(), dtype=torch.float64)
        base = 1.0 if name.endswith(ONES) or name.startswith("edge_importance") else 0.0
        parameter.copy_((base + 0.1 * torch.sin(0.7 * j + 0.13 * k + 0.5)).view_as(parameter))
    for name, buffer in encoder.named_buffers():
        k = torch.arange(buffer.numel(), dtype=torch.float64)
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.sin(0.3 * k))
        elif name.endswith("running_var"):
            buffer.copy_(1 + 0.5 * torch.cos(0.3 * k) ** 2)
    return encoder


def golden_input(frames: int) -> Tensor:
    n, c, t, v, m = torch.meshgrid(
        *(torch.arange(size, dtype=torch.float64) for size in (3, 3, frames, 25, 2)), indexing="ij"
    )
    wave = torch.sin(0.3 * n + 0.7 * c + 0.11 * t + 0.23 * v + 0.5 * m)
    return wave + 0.1 * torch.cos(0.05 * t * v) + 0.2 * c * torch.sin(0.9 * n + 0.05 * t)


@pytest.mark.parametrize(("mode", "frames", "ignore", "total", "norm", "first", "last"), GOLDENS)
def test_reference_numbers(
    mode: str, frames: int, ignore: list[int], total: float, norm: float, first: tuple[float, ...], last: float
) -> None:
    out = golden_encoder().train(mode == "train")(golden_input(frames), ignore=ignore).detach()
    assert float(out.sum()) == pytest.approx(total, abs=1e-8)
    assert float(out.norm()) == pytest.approx(norm, abs=1e-9)
    assert out[0, :4].tolist() == pytest.approx(first, abs=1e-9)
    assert float(out[1, 255]) == pytest.approx(last, abs=1e-9)


BUFFERS = [  # T, ignore, data_bn mean, data_bn var, first block's mean, last block's var
    (50, [], (0.0086525959, 0.0368571234, 0.0671043606), (1.4050425483, 1.3619839239, 1.2446943674),
     (-0.0031055246, 0.0230556617), (1.4021788791, 1.3691143832)),
    (50, IGNORE, (0.0086525959, 0.0368571234, 0.0671043606), (1.4050425483, 1.3619839239, 1.2446943674),
     (-0.0023420881, 0.0238251287), (1.5349859556, 1.4672204109)),
]  # fmt: skip


@pytest.mark.parametrize(("frames", "ignore", "mean", "var", "first", "last"), BUFFERS)
def test_reference_running_statistics(
    frames: int,
    ignore: list[int],
    mean: tuple[float, ...],
    var: tuple[float, ...],
    first: tuple[float, ...],
    last: tuple[float, ...],
) -> None:
    encoder = golden_encoder()
    encoder(golden_input(frames), ignore=ignore)
    state = encoder.state_dict()
    assert state["data_bn.running_mean"][:3].tolist() == pytest.approx(mean, abs=1e-9)
    assert state["data_bn.running_var"][:3].tolist() == pytest.approx(var, abs=1e-9)
    assert state["st_gcn_networks.0.tcn.0.running_mean"][:2].tolist() == pytest.approx(first, abs=1e-9)
    assert state["st_gcn_networks.9.tcn.3.running_var"][:2].tolist() == pytest.approx(last, abs=1e-9)


def test_running_mean_of_thirty_frames() -> None:
    encoder = golden_encoder()
    encoder(golden_input(30))
    expected = (0.0577104480, 0.0667773949, 0.0656577938)
    assert encoder.data_bn.running_mean[:3].tolist() == pytest.approx(expected, abs=1e-9)


def naive(encoder: STGCN, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
    """The same weights in the published order of work: expand the channels, then sum over source joints."""
    n, c, t, v, m = x.shape
    x = x.permute(0, 4, 3, 1, 2).reshape(n * m, v * c, t)
    x = encoder.data_bn(x).view(n, m, v, c, t).permute(0, 1, 3, 4, 2).reshape(n * m, c, t, v)
    kept = sorted(set(range(v)) - set(ignore))
    x = x[..., kept]
    factors = list(encoder.edge_importance) or [torch.ones_like(encoder.A)] * 10
    for block, factor in zip(encoder.st_gcn_networks, factors, strict=True):
        graph = (encoder.A * factor)[:, kept][:, :, kept]
        shortcut = 0 if block.residual is None else block.residual(x[:, :, :: block.stride])
        y = block.gcn.conv(x)
        y = torch.einsum("bkctv,kvw->bctw", y.view(len(y), len(graph), -1, *y.shape[2:]), graph)
        x = F.relu(block.tcn(y) + shortcut)
    return x.mean((2, 3)).view(n, m, -1).mean(1)


@pytest.mark.parametrize("options", [{}, {"edge_importance": False, "out": 7}, {"max_hop": 2, "in_channels": 2}])
@pytest.mark.parametrize("ignore", [[], [3, 20, 3]])
def test_equals_the_published_order_of_work(options: dict[str, int], ignore: list[int]) -> None:
    torch.manual_seed(0)
    encoder = STGCN(hidden=4, dropout=0.0, **options).double()  # type: ignore[arg-type]
    x = torch.randn(3, encoder.in_channels, 11, 25, 2, dtype=torch.float64, requires_grad=True)
    inputs = [x, *encoder.parameters()]
    ours, theirs = encoder(x, ignore=ignore), naive(encoder, x, ignore)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    weight = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, weight), torch.autograd.grad(theirs, inputs, weight), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


def test_parameters_and_names_are_those_of_st_gcn() -> None:
    encoder, state = STGCN(), STGCN().state_dict()
    sizes = [parameter.numel() for parameter in encoder.parameters()]
    assert (sum(sizes), len(sizes), len(state), encoder.dim) == (821_380, 104, 177, 256)
    per_block = [sum(p.numel() for p in block.parameters()) for block in encoder.st_gcn_networks]
    assert per_block == [2576, 3200, 3200, 3200, 11616, 12544, 12544, 45760, 49664, 658176]
    assert state["A"].shape == (3, 25, 25)
    assert state["st_gcn_networks.9.gcn.conv.weight"].shape == (768, 64, 1, 1)
    assert state["st_gcn_networks.4.tcn.2.weight"].shape == (32, 32, 9, 1)
    assert {name.split(".")[1] for name in state if ".residual." in name} == {"4", "7", "9"}
    assert "edge_importance.9" in state
    assert "edge_importance.0" not in STGCN(edge_importance=False).state_dict()


def test_one_clip_and_any_length() -> None:
    encoder = STGCN(hidden=2).eval()
    assert encoder(torch.randn(1, 3, 1, 25, 2)).shape == (1, 32)


@pytest.mark.parametrize(
    "shape", [(2, 3, 10, 24, 2), (2, 3, 10, 25, 1), (2, 2, 10, 25, 2), (3, 10, 25, 2), (2, 3, 0, 25, 2)]
)
def test_wrong_shape_is_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^encoder input: found shape \(.*\), expected \(N, 3, T, 25, 2\)$"):
        STGCN(hidden=2)(torch.zeros(shape))


@pytest.mark.parametrize("ignore", [[25], [-1], range(25)])
def test_wrong_joints_to_ignore(ignore: Collection[int]) -> None:
    with pytest.raises(UserError, match="encoder ignore: found"):
        STGCN(hidden=2)(torch.zeros(2, 3, 10, 25, 2), ignore=ignore)


def test_dropout_has_the_law_of_torch() -> None:
    torch.manual_seed(0)
    x = torch.ones(25, 16, 50, 20).to(memory_format=torch.channels_last).requires_grad_()
    for p in (0.5, 0.25, 0.3):  # 0.3 is no whole number of 256ths: torch's own dropout
        y = Dropout(p, inplace=True)(x * 1)
        assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
        n, kept = y.numel(), int((y > 0).sum())
        assert abs(kept - n * (1 - p)) < 5 * math.sqrt(n * p * (1 - p))
        pairs = int(((y[:, :, 1:] > 0) & (y[:, :, :-1] > 0)).sum()) / y[:, :, 1:].numel()
        assert pairs == pytest.approx((1 - p) ** 2, abs=0.01)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(gradient, y.detach())


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True)])
def test_dropout_off_leaves_the_input(p: float, training: bool) -> None:
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(p, inplace=True).train(training)(x.clone()), x)


def test_every_parameter_learns_with_dropout() -> None:
    torch.manual_seed(0)
    encoder = STGCN(hidden=4)
    encoder(torch.randn(4, 3, 20, 25, 2)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def step_on_a_share() -> list[Tensor]:
    """Features of this rank's clips, and the gradients of the loss summed over all ranks."""
    torch.manual_seed(0)
    encoder = sync_batch_norms(STGCN(hidden=2, dropout=0.0).double())
    x = torch.randn(5, 3, 8, 25, 2, dtype=torch.float64)
    weight = torch.randn(5, 32, dtype=torch.float64)
    if world_size() > 1:
        x, weight = x.split((2, 3))[rank()], weight.split((2, 3))[rank()]
    features = encoder(x, ignore=[3])
    return [features.detach(), *torch.autograd.grad((features * weight).sum(), list(encoder.parameters()))]


def test_two_ranks_with_synchronised_statistics_equal_one_process() -> None:
    features, *gradients = step_on_a_share()
    (first, *some), (second, *others) = run_ranks(step_on_a_share, 2)
    torch.testing.assert_close(torch.cat([first, second]), features)
    for a, b, whole in zip(some, others, gradients, strict=True):
        torch.testing.assert_close(a + b, whole, rtol=1e-8, atol=1e-9)
