"""A step of skeleton-contrast as it was released: sequence and graph, each with a key network and a queue.

Thoker, Doughty, Snoek, ACM MM 2021 (arXiv 2108.03656): the GRU is called frame by frame, every 1x1 convolution of the
A-GCN stands alone, the key networks follow parameter by parameter, and the logits are the columns of positives and
negatives put together, with a copy of the queue so that the new keys may enter it before the backward pass.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.naive.gru_frames import FrameByFrame
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.agcn import Block as OurBlock
from skelssl.encoders.gru import GRU
from skelssl.methods.skeleton_contrast import SkeletonContrast

PAIR = ("seq", "graph")


class SpatialConv(nn.Module):
    """One partition after the other on (N, C, T, V); its layers are those of a block of ours, under the same names."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        for name in ("conv_a", "conv_b", "conv_d", "bn", "down"):
            setattr(self, name, getattr(ours, name))
        self.PA = ours.PA

    def forward(self, x: Tensor, adjacency: Tensor, kept: list[int]) -> Tensor:
        n, c, t, v = x.shape
        total: Tensor | None = None
        graph = (adjacency + self.PA)[:, kept][:, :, kept]
        for theta, phi, conv, body in zip(self.conv_a, self.conv_b, self.conv_d, graph, strict=True):
            left = theta(x).permute(0, 3, 1, 2).contiguous().view(n, v, -1)
            right = phi(x).view(n, -1, v)
            own = torch.softmax(torch.matmul(left, right) / left.shape[2], dim=-2)
            y = conv(torch.matmul(x.reshape(n, c * t, v), own + body).view(n, c, t, v))
            total = y if total is None else total + y
        return torch.relu(self.bn(total) + self.down(x))


class TemporalConv(nn.Module):
    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn = ours.conv, ours.bn
        self.kernel, self.stride = ours.kernel, ours.stride

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(
            F.conv2d(x, self.conv.weight, self.conv.bias, (self.stride, 1), ((self.kernel - 1) // 2, 0))
        )
        return y


class Block(nn.Module):
    def __init__(self, ours: OurBlock) -> None:
        super().__init__()
        self.gcn1, self.tcn1 = SpatialConv(ours.gcn1), TemporalConv(ours.tcn1)
        found = ours.residual
        self.residual = TemporalConv(found) if found is not None and hasattr(found, "conv") else found

    def forward(self, x: Tensor, adjacency: Tensor, kept: list[int]) -> Tensor:
        y = self.tcn1(self.gcn1(x, adjacency, kept))
        return torch.relu(y if self.residual is None else y + self.residual(x))


class NaiveAGCN(nn.Module):
    """(N, 3, T, 25, 2) -> (N, D), with the weights of ``ours``, which stays as it is; same state-dict names."""

    A: Tensor

    def __init__(self, ours: AGCN) -> None:
        super().__init__()
        ours = copy.deepcopy(ours)
        self.register_buffer("A", ours.A, persistent=False)
        self.data_bn = ours.data_bn
        self.blocks = nn.ModuleList(Block(block) for block in ours.blocks)  # type: ignore[arg-type]

    def forward(self, x: Tensor, ignore: Collection[int] = ()) -> Tensor:
        n, c, t, v, m = x.shape
        x = self.data_bn(x.permute(0, 4, 3, 1, 2).contiguous().view(n, m * v * c, t))
        x = x.view(n, m, v, c, t).permute(0, 1, 3, 4, 2).contiguous().view(n * m, c, t, v)
        kept = [joint for joint in range(v) if joint not in ignore]
        x = x[..., kept]
        for block in self.blocks:
            x = block(x, self.A, kept)
        return x.view(n, m, x.shape[1], -1).mean(3).mean(1)


def naive_gru(ours: GRU) -> FrameByFrame:
    """The sequence encoder frame by frame, with the weights of ``ours``."""
    encoder = FrameByFrame(ours.dim // 2, len(ours.layers))
    pattern = re.compile(r"layers\.(\d+)\.(first|second)\.(\w+)_l0")

    def released(name: re.Match[str]) -> str:
        return f"encoder.gru.{name[3]}_l{name[1]}{'_reverse' if name[2] == 'second' else ''}"

    encoder.load_state_dict({pattern.sub(released, name): value for name, value in ours.state_dict().items()})
    return encoder.to(next(ours.parameters()))


class Branch(nn.Module):
    """An encoder under its head: clips -> unit rows (N, dim)."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.head(self.encoder(x)), dim=1)


class NaiveContrast(nn.Module):
    """The step of ``ours``, which must be sequence against graph, from the same weights and queues."""

    def __init__(self, ours: SkeletonContrast) -> None:
        super().__init__()
        maker = {"seq": naive_gru, "graph": NaiveAGCN}
        self.query, self.key = (
            nn.ModuleDict(
                {name: Branch(maker[name](part[name].encoder), copy.deepcopy(part[name].head)) for name in PAIR}
            )
            for part in (ours.query, {name: ours.key[name].module for name in PAIR})
        )
        self.key.requires_grad_(False)
        self.queue = {name: ours.queue[name].keys.T.clone() for name in PAIR}  # (dim, K)
        self.pointer = {name: int(ours.queue[name].pointer) for name in PAIR}
        self.momentum, self.temperature = ours.momentum, ours.loss.temperature

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two views (N, 3, T, 25, 2) -> loss (); the key networks have moved, and the keys are in their queues."""
        query = {name: self.query[name](first) for name in PAIR}
        with torch.no_grad():
            for online, mean in zip(self.query.parameters(), self.key.parameters(), strict=True):
                mean.data = mean.data * self.momentum + online.data * (1 - self.momentum)
            key = {name: self.key[name](second) for name in PAIR}
        losses = [self.contrast(query[own], key[other], other) for own, other in (PAIR, PAIR[::-1])]
        for name in PAIR:
            self.enqueue(name, key[name])
        return losses[0] + losses[1]

    def contrast(self, query: Tensor, key: Tensor, other: str) -> Tensor:
        return naive_info_nce(query, key, self.queue[other], self.temperature)

    def enqueue(self, name: str, keys: Tensor) -> None:
        queue, at = self.queue[name], self.pointer[name]
        places = torch.arange(at, at + len(keys)) % queue.shape[1]
        queue[:, places.to(queue.device)] = keys.T
        self.pointer[name] = (at + len(keys)) % queue.shape[1]


def naive_info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE () of unit rows (N, D) and their keys, negatives in the columns of ``queue`` (D, K)."""
    positive = torch.einsum("nc,nc->n", query, key).unsqueeze(-1)
    negative = torch.einsum("nc,ck->nk", query, queue.clone().detach())
    logits = torch.cat([positive, negative], dim=1)
    logits = logits / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
