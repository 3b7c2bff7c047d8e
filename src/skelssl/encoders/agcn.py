"""The graph encoder of skeleton-contrast: joint stream of 2s-AGCN (Shi, Zhang, Cheng, Lu, CVPR 2019, arXiv 1805.07694).

The arithmetic and the parameter names of a block are those of the paper's code; the order of evaluation is ours.
Activations are stored as (B, C, V, T) in channels-last memory, with B = N·M person-clips. Each joint is then one
contiguous row of T·C numbers. The graph of each clip is therefore one matrix product without any transposition, the
three 1x1 convolutions after it become one convolution over the graph partitions, and the temporal convolution runs
along the innermost frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn.functional import conv2d

from skelssl.core.errors import UserError
from skelssl.encoders.inputs import CHANNELS, PERSONS, check_clips
from skelssl.runtime.devices import send
from skelssl.skeleton.layout import load_layout

PARTITIONS = 3  # itself, inward, outward


class SpatialConv(nn.Module):
    """Eq. 3 of 2s-AGCN: relu(BN(Σ_k W_k x (A_k + P_k + S_k)) + down(x)).

    S_k is computed from the clip: S_k[v, w] = softmax over v of Σ_et θ_k(x)[e, t, v]·φ_k(x)[e, t, w] / (e·T). A_k is
    the fixed graph of the skeleton layout and P_k is learned.

    Args:
        in_channels: C.
        out_channels: C', a multiple of 4; the embeddings θ and φ have C'/4 channels.
        joints: V.
    """

    def __init__(self, in_channels: int, out_channels: int, joints: int) -> None:
        super().__init__()
        embedded = out_channels // 4

        def convs(width: int) -> nn.ModuleList:
            return nn.ModuleList(_conv(in_channels, width) for _ in range(PARTITIONS))

        self.PA = nn.Parameter(torch.full((PARTITIONS, joints, joints), 1e-6))
        self.conv_a, self.conv_b, self.conv_d = convs(embedded), convs(embedded), convs(out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.bn.weight, 1e-6)
        for conv in self.conv_d:
            nn.init.normal_(conv.get_parameter("weight"), std=math.sqrt(2 / (out_channels * in_channels * PARTITIONS)))
        self.down: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.down = nn.Sequential(_conv(in_channels, out_channels), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Convolve ``x`` (B, C, V, T) over ``graph`` A + P (K, V, V) -> (B, C', V, T), both in channels-last memory."""
        graph = rearrange(graph + self.similarity(x), "b k v w -> b (w k) v")
        gathered = graph @ rearrange(x, "b c v t -> b v (t c)")
        gathered = rearrange(gathered, "b (w k) (t c) -> (b w) c k t", k=PARTITIONS, t=x.shape[3])
        weight = torch.cat(_each(self.conv_d, "weight"), 2)  # (C', C, K, 1)
        bias = torch.stack(_each(self.conv_d, "bias")).sum(0)
        y: Tensor = self.bn(rearrange(conv2d(gathered, weight, bias), "(b w) d 1 t -> b d w t", b=x.shape[0]))
        return y.add_(self.down(x)).relu_()

    def similarity(self, x: Tensor) -> Tensor:
        """Return the data-dependent graph S (B, K, V, V) of ``x`` (B, C, V, T)."""
        weight, bias = (torch.cat(_each(self.conv_a, name) + _each(self.conv_b, name)) for name in ("weight", "bias"))
        embedded = rearrange(conv2d(x, weight, bias), "b c v t -> b v t c")  # the memory order, as in the gradient
        theta, phi = rearrange(embedded, "b v t (two k e) -> two b k v (t e)", two=2, k=PARTITIONS).unbind()
        return (theta @ phi.mT / theta.shape[-1]).softmax(-2)


class TemporalConv(nn.Module):
    """Convolution over ``kernel`` frames, then batch norm: (B, C, V, T) -> (B, C', V, ⌈T/stride⌉)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv, self.bn = _conv(in_channels, out_channels, kernel), nn.BatchNorm2d(out_channels)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel == 1:
            # Frames are skipped here: torch's own stride in a 1x1 channels-last convolution writes out of bounds in the
            # backward pass of narrow layers on a CPU (seen with torch 2.13).
            y = conv2d(x[..., :: self.stride], self.conv.weight, self.conv.bias)
        else:
            y = conv2d(x, self.conv.weight.mT, self.conv.bias, (1, self.stride), (0, self.kernel // 2))
        normalised: Tensor = self.bn(y)
        return normalised


class AGCNBlock(nn.Module):
    """Spatial convolution, temporal convolution and residual: (B, C, V, T) -> (B, C', V, ⌈T/stride⌉)."""

    def __init__(self, in_channels: int, out_channels: int, *, joints: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.gcn1 = SpatialConv(in_channels, out_channels, joints)
        self.tcn1 = TemporalConv(out_channels, out_channels, kernel=9, stride=stride)
        self.residual: nn.Module | None = None
        if residual and in_channels == out_channels and stride == 1:
            self.residual = nn.Identity()
        elif residual:
            self.residual = TemporalConv(in_channels, out_channels, kernel=1, stride=stride)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Map ``x`` (B, C, V, T) with ``graph`` A + P (K, V, V) -> (B, C', V, ⌈T/stride⌉)."""
        y: Tensor = self.tcn1(self.gcn1(x, graph))
        if self.residual is not None:
            y = y.add_(self.residual(x))
        return y.relu_()


class AGCN(nn.Module):
    """Ten adaptive graph blocks, widths h·(1, 1, 1, 1, 2, 2, 2, 4, 4, 4); time is halved in blocks 5 and 8; D = 4h.

    ``hidden=64`` is the published width: 3,454,090 parameters.

    Args:
        layout: name of the skeleton layout.
        hidden: width h of the first blocks, a multiple of 4.

    Raises:
        UserError: ``hidden`` is not a positive multiple of 4.
    """

    ignores: ClassVar[str] = "removes"
    A: Tensor

    def __init__(self, *, layout: str = "ntu25", hidden: int = 64) -> None:
        super().__init__()
        if hidden < 4 or hidden % 4:
            raise UserError(f"encoder.hidden: found {hidden}, expected a positive multiple of 4")
        graph = torch.from_numpy(load_layout(layout).adjacency("directed")).float()
        self.joints, self.dim = graph.shape[1], 4 * hidden
        self.register_buffer("A", graph, persistent=False)
        self.data_bn = nn.BatchNorm1d(PERSONS * self.joints * CHANNELS)
        widths = [CHANNELS] + [hidden] * 4 + [2 * hidden] * 3 + [4 * hidden] * 3
        self.blocks = nn.ModuleList(
            AGCNBlock(*widths[i : i + 2], joints=self.joints, stride=2 if i in (4, 7) else 1, residual=i > 0)
            for i in range(10)
        )

    def forward(self, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
        """Encode clips (N, 3, T, V, M=2) -> features (N, D), the mean over time, joints and both persons.

        Args:
            x: complete clips of any T; an absent person is all zeros and counts in every mean.
            ignore: joints to remove from the graph, for all clips of the batch. The input normalisation still uses
                them, and the remaining edges keep their weights.

        Raises:
            UserError: the shape is wrong, a joint is unknown, or no joint is left.
        """
        check_clips(x, self.joints, ignore)
        rows = rearrange(x.to(self.data_bn.weight.dtype), "n c t v m -> (n t) (m v c)")
        x = rearrange(self.data_bn(rows), "(n t) (m v c) -> (n m) v t c", n=x.shape[0], m=PERSONS, v=self.joints)
        graphs = [self.A + block.get_parameter("gcn1.PA") for block in self.blocks]
        if ignore:
            kept = send(torch.tensor(sorted(set(range(self.joints)) - set(ignore))), x.device)
            x, graphs = x[:, kept], [graph[:, kept[:, None], kept] for graph in graphs]
        x = rearrange(x.contiguous(), "b v t c -> b c v t")
        for block, graph in zip(self.blocks, graphs, strict=True):
            x = block(x, graph)
        # A sum and one small division: the gradient of a mean is a full-size tensor, that of a sum is a view.
        return reduce(x, "(n m) c v t -> n c", "sum", m=PERSONS) / (PERSONS * x.shape[2] * x.shape[3])


def _conv(in_channels: int, out_channels: int, kernel: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, (kernel, 1))
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _each(convs: nn.ModuleList, name: str) -> list[Tensor]:
    return [conv.get_parameter(name) for conv in convs]


def recognises(names: Collection[str]) -> bool:
    """Return whether the parameter names of a released encoder are those of the graph encoder."""
    return "l1.gcn1.PA" in names


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the parameters of a released encoder to ours, drop its head ``fc``, and keep unknown names unchanged."""
    pattern = re.compile(r"^l(\d+)\.")
    return {
        pattern.sub(lambda name: f"blocks.{int(name[1]) - 1}.", name): value
        for name, value in state.items()
        if not name.startswith("fc.")
    }
