"""Spatial-temporal graph convolution: Yan, Xiong, Lin, ST-GCN, AAAI 2018 (arXiv 1801.07455).

The arithmetic and the parameter names are those of the published ST-GCN, so its checkpoints load without conversion.
The order of evaluation is ours. Activations are stored as (V, C, T, B) in channels-last memory, with B = N·M
person-clips. The sum over source joints is then one matrix product without any transposition, the channels are mixed by
one convolution over the graph partitions, and the temporal convolution gets its fastest memory layout.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from skelssl.encoders.convolution import Conv2d, conv2d
from skelssl.encoders.inputs import PERSONS, check_clips
from skelssl.runtime.devices import send
from skelssl.skeleton.layout import load_layout


class Dropout(nn.Dropout):
    """In-place ``nn.Dropout`` of the same distribution, with several mask entries from each random word where possible.

    On a CPU one random float per entry costs more than any convolution of a narrow block.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries of any dense ``x``, which is overwritten, and return it."""
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu":
            return super().forward(x)
        if torch.compiler.is_compiling():  # the compiler fuses the draw with its neighbours
            return super().forward(x)
        if self.p == 0.5 and x.dtype in WORDS:
            keep = _halves(x.numel(), x.dtype)
        elif (threshold := self.p * 256).is_integer():
            keep = _words(x.numel() // 8 + 1).view(torch.uint8)[: x.numel()].ge(int(threshold)).to(x.dtype)
            keep.div_(1 - self.p)
        else:
            return super().forward(x)
        return x.mul_(keep.as_strided(x.shape, x.stride()))


WORDS = {torch.float32: torch.int32, torch.float64: torch.int64}
SHIFTS = 16  # mask entries from one word


def _words(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.int64).random_(-(2**63), None)


def _halves(count: int, dtype: torch.dtype) -> Tensor:
    """Draw (count,) entries, 0 or 2 with equal probability; 2.0 is the float whose only set bit is the second."""
    whole, bits = WORDS[dtype], torch.finfo(dtype).bits
    size = -(-count // SHIFTS)
    words = _words(-(-size * bits // 64)).view(whole)[:size]
    shifted = words << torch.arange(SHIFTS, dtype=whole)[:, None]
    return shifted.bitwise_and_(1 << (bits - 2)).view(dtype).flatten()[:count]


class GraphConv(nn.Module):
    """Eq. 10 of ST-GCN: y_w = Σ_k (W_k Σ_v A_k[v, w] x_v + b_k Σ_v A_k[v, w]).

    Args:
        in_channels: C.
        out_channels: C'.
        partitions: K, partitions of the graph.
    """

    def __init__(self, in_channels: int, out_channels: int, partitions: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, partitions * out_channels, 1)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Convolve ``x`` (V, C, T, B), channels-last, over ``graph`` (K, V, W) -> (W, C', T, B), channels-last.

        Joints are summed before the channels are widened, so that the widest intermediate has K·C instead of K·C'.
        """
        k = len(graph)
        rows = rearrange(x, "v c t b -> v (t b c)")
        gathered = rearrange(graph, "k v w -> (w k) v") @ rows
        gathered = rearrange(gathered, "(w k) (tb c) -> w c k tb", k=k, c=x.shape[1])
        assert self.conv.bias is not None
        weight = rearrange(self.conv.weight, "(k d) c 1 1 -> d c k 1", k=k)
        bias = graph.sum(1).t() @ self.conv.bias.view(k, -1)  # (W, C')
        y = conv2d(gathered, weight).add_(bias[:, :, None, None])
        return rearrange(y, "w d 1 (t b) -> w d t b", t=x.shape[2])


class STGCNBlock(nn.Module):
    """Graph convolution, temporal convolution over 9 frames and residual: (V, C, T, B) -> (V, C', ⌈T/stride⌉, B)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, partitions: int, stride: int, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        self.gcn = GraphConv(in_channels, out_channels, partitions)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            Conv2d(out_channels, out_channels, 9, stride=stride, padding=4),
            nn.BatchNorm2d(out_channels),
            Dropout(dropout, inplace=True),
        )
        self.stride = stride
        self.residual: nn.Module | None = None
        if residual and in_channels == out_channels and stride == 1:
            self.residual = nn.Identity()
        elif residual:
            shortcut = Conv2d(in_channels, out_channels, 1)
            self.residual = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Map ``x`` (V, C, T, B) with ``graph`` (K, V, V) -> (V, C', ⌈T/stride⌉, B)."""
        y: Tensor = self.tcn(self.gcn(x, graph))
        if self.residual is not None:
            # Frames are skipped here: torch's own stride in a 1x1 channels-last convolution writes out of bounds in the
            # backward pass of narrow layers on a CPU (seen with torch 2.13).
            y = y.add_(self.residual(x[:, :, :: self.stride]))
        return y.relu_()


class STGCN(nn.Module):
    """Ten ST-GCN blocks, widths h·(1, 1, 1, 1, 2, 2, 2, 4, 4) and ``out``; time is halved in blocks 5 and 8.

    ``hidden=16`` is the quarter-width encoder of CrosSCLR, AimCLR and PSTL: 821,380 parameters.

    Args:
        layout: name of the skeleton layout.
        hidden: width h of the first blocks.
        out: feature width D; 16·hidden by default.
        dropout: dropout probability after each temporal convolution except that of the first block.
        edge_importance: learn a factor for every edge of every block.
        max_hop: reach of the graph partitions in edges.
        in_channels: coordinates C of a joint.
    """

    A: Tensor

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        hidden: int = 16,
        out: int | None = None,
        dropout: float = 0.5,
        edge_importance: bool = True,
        max_hop: int = 1,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        graph = torch.from_numpy(load_layout(layout).adjacency("spatial", max_hop)).float()
        self.dim = 16 * hidden if out is None else out
        self.in_channels, self.joints = in_channels, graph.shape[1]
        self.register_buffer("A", graph)
        self.data_bn = nn.BatchNorm1d(self.joints * in_channels)
        widths = [in_channels] + [hidden] * 4 + [2 * hidden] * 3 + [4 * hidden] * 2 + [self.dim]
        self.st_gcn_networks = nn.ModuleList(
            STGCNBlock(
                *widths[i : i + 2],
                partitions=len(graph),
                stride=2 if i in (4, 7) else 1,
                dropout=dropout if i else 0.0,
                residual=i > 0,
            )
            for i in range(10)
        )
        importance = [nn.Parameter(torch.ones_like(graph)) for _ in range(10)] if edge_importance else []
        self.edge_importance = nn.ParameterList(importance)

    def forward(self, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
        """Encode clips (N, C, T, V, M=2) -> features (N, D), the mean over time, joints and both persons.

        Args:
            x: complete clips of any T; an absent person is all zeros and counts in every mean.
            ignore: joints to remove from the graph, for all clips of the batch. The input normalisation still uses
                them, and the remaining edges keep their weights.

        Raises:
            UserError: the shape is wrong, a joint is unknown, or no joint is left.
        """
        check_clips(x, self.joints, ignore, channels=self.in_channels)
        rows = rearrange(x.to(self.data_bn.weight.dtype), "n c t v m -> (t n m) (v c)")
        x = rearrange(self.data_bn(rows), "(t b) (v c) -> v t b c", t=x.shape[2], v=self.joints)
        graphs = [self.A * factor for factor in self.edge_importance] or [self.A] * len(self.st_gcn_networks)
        if ignore:
            kept = send(torch.tensor(sorted(set(range(self.joints)) - set(ignore))), x.device)
            x, graphs = x[kept], [graph[:, kept[:, None], kept] for graph in graphs]
        x = rearrange(x.contiguous(), "v t b c -> v c t b")
        for block, graph in zip(self.st_gcn_networks, graphs, strict=True):
            x = block(x, graph)
        # A sum and one small division: the gradient of a mean is a full-size tensor, that of a sum is a view.
        return reduce(x, "v c t (n m) -> n c", "sum", m=PERSONS) / (PERSONS * x.shape[0] * x.shape[2])
