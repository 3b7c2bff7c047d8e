"""The straightforward step of skeleton-contrast is ours: loss, gradients, key networks, statistics and queues."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from benchmarks.naive.skeleton_contrast import PAIR, NaiveContrast
from skelssl.data.batch import Batch
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.gru import GRU
from skelssl.heads import ContrastHead
from skelssl.losses.info_nce import InfoNCE
from skelssl.methods.skeleton_contrast import SkeletonContrast
from skelssl.momentum import Queue


class Views(nn.Module):
    """The two views that are given, in turn."""

    def __init__(self, *views: torch.Tensor) -> None:
        super().__init__()
        self.views, self.calls = views, 0

    def forward(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        self.calls += 1
        return self.views[(self.calls - 1) % 2]


def tiny(view: nn.Module) -> SkeletonContrast:
    method = SkeletonContrast(
        mode="inter", pair=list(PAIR), view={"pretrain": view, "test": view},
        encoder={"seq": partial(GRU, hidden=6), "graph": partial(AGCN, hidden=4)},
        head=partial(ContrastHead, dim=8), loss=InfoNCE(), teacher={"momentum": 0.9},
        queue=partial(Queue, 10), optim={"name": "sgd", "lr": 0.01, "epochs": 1}, seed=0,
    ).double()  # fmt: skip
    for name, parameter in method.query.named_parameters():
        if "gcn1" in name:
            nn.init.normal_(parameter, 1.0 if name.endswith("bn.weight") else 0.0, 0.3)
    method._step = 0
    return method


def test_two_steps_are_equal() -> None:
    torch.manual_seed(0)
    views = [torch.randn(4, 3, 9, 25, 2, dtype=torch.float64) for _ in range(2)]
    ours = tiny(Views(*views))
    naive, index = NaiveContrast(ours), torch.arange(4)
    for _ in range(3):  # the third batch goes round the end of the queue
        ours.zero_grad()
        loss = ours.training_step(Batch(torch.empty(4), index, index, index), 0)
        loss.backward()
        ours.on_after_backward()
        naive.zero_grad()
        straight = naive(*views)
        straight.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(loss, straight, rtol=1e-10, atol=0)
        for name in PAIR:
            torch.testing.assert_close(ours.queue[name].keys.T, naive.queue[name], rtol=1e-8, atol=1e-9)
            assert int(ours.queue[name].pointer) == naive.pointer[name]
    for part, other in ((ours.query, naive.query), (ours.key, naive.key)):
        graph = getattr(part["graph"], "module", part["graph"]).state_dict()
        for name, value in other["graph"].state_dict().items():
            torch.testing.assert_close(graph[name], value, rtol=1e-7, atol=1e-9)
    mine, theirs = (dict(part["graph"].named_parameters()) for part in (ours.query, naive.query))
    for name, parameter in theirs.items():
        torch.testing.assert_close(mine[name].grad, parameter.grad, rtol=1e-6, atol=1e-8)
    norms = [sorted(p.grad.norm() for p in part["seq"].parameters()) for part in (ours.query, naive.query)]
    torch.testing.assert_close(*(torch.stack(one) for one in norms))
