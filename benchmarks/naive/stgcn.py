"""ST-GCN as the paper has it (Yan, Xiong, Lin, AAAI 2018), in PSTL's quarter width; state-dict names of ``STGCN``."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from skelssl.skeleton.layout import load_layout

PSTL = (3, 16, 16, 16, 16, 32, 32, 32, 64, 64, 256)


class GraphConv(nn.Module):
    """Expand the channels for every partition, then sum over the neighbours."""

    def __init__(self, in_channels: int, out_channels: int, partitions: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, partitions * out_channels, 1)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """(N, C, T, V), (K, V, V) -> (N, C', T, V)."""
        expanded = rearrange(self.conv(x), "n (k c) t v -> n k c t v", k=len(graph))
        return torch.einsum("nkctv,kvw->nctw", expanded, graph).contiguous()


class Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self.gcn = GraphConv(in_channels, out_channels)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, (9, 1), (stride, 1), (4, 0)),
            nn.BatchNorm2d(out_channels),
            nn.Dropout(dropout, inplace=True),
        )
        self.residual: nn.Module | None = None
        if residual and in_channels == out_channels and stride == 1:
            self.residual = nn.Identity()
        elif residual:
            self.residual = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))
        self.stride = stride

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        y = self.tcn(self.gcn(x, graph))
        # See encoders.stgcn.STGCNBlock: torch's own stride is unsafe once a compiler has chosen channels-last.
        return torch.relu_(y if self.residual is None else y + self.residual(x[:, :, :: self.stride]))


class NaiveSTGCN(nn.Module):
    """(N, 3, T, 25, 2) -> (N, 256)."""

    A: Tensor

    def __init__(self, dropout: float = 0.5, widths: Sequence[int] = PSTL, body: str = "ntu25") -> None:
        super().__init__()
        self.register_buffer("A", torch.from_numpy(load_layout(body).adjacency()).float())
        self.data_bn = nn.BatchNorm1d(3 * self.A.shape[1])
        self.st_gcn_networks = nn.ModuleList(
            Block(*widths[i : i + 2], stride=2 if i in (4, 7) else 1, dropout=dropout if i else 0.0, residual=i > 0)
            for i in range(10)
        )
        self.edge_importance = nn.ParameterList(torch.ones_like(self.A) for _ in range(10))

    def forward(self, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
        n = len(x)
        x = self.data_bn(rearrange(x, "n c t v m -> (n m) (v c) t"))
        x = rearrange(x, "b (v c) t -> b c t v", c=3)
        kept = [joint for joint in range(self.A.shape[1]) if joint not in ignore]
        x = x[..., kept]
        for block, importance in zip(self.st_gcn_networks, self.edge_importance, strict=True):
            x = block(x, (self.A * importance)[:, kept][:, :, kept])
        return reduce(x, "(n m) c t v -> n c", "mean", n=n)
