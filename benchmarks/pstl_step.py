"""One PSTL training step, ours against the straightforward form: ``python -m benchmarks.pstl_step``.

Straightforward: plain ST-GCN, four projector passes, explicit D x D correlation, Adam parameter by parameter.
Both run in turn in one process, from equal weights on equal views. Both pass the three views through the encoder one
after the other, because each view needs its own batch statistics.
"""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.command import compare, sizes
from benchmarks.naive.barlow_twins import projector_and_loss
from benchmarks.naive.stgcn import NaiveSTGCN
from skelssl.encoders.stgcn import STGCN
from skelssl.heads import Projector
from skelssl.losses.barlow_twins import BarlowTwins

LAMBDA = 2e-4
DROPPED = (20, 0, 4, 7, 8, 12, 21)  # a typical draw of CSM: seven joints
Objective = Callable[[Projector, Tensor, Tensor, Tensor], Tensor]


class Variant:
    """An encoder, a head, an objective and an optimiser over the parts that a measurement trains."""

    def __init__(self, encoder: nn.Module, head: Projector, objective: Objective, *, fused: bool) -> None:
        self.encoder, self.head, self.objective, self.fused = encoder, head, objective, fused

    def optimiser(self, *parts: nn.Module) -> torch.optim.Optimizer:
        parameters = [p for part in parts for p in part.parameters()]
        return torch.optim.Adam(parameters, lr=1e-4, weight_decay=1e-5, fused=self.fused)

    def head_loss(self, features: Sequence[Tensor]) -> Tensor:
        return self.objective(self.head, *features)

    def whole_loss(self, views: Sequence[Tensor]) -> Tensor:
        anchor, temporal, spatial = views
        features = self.encoder(anchor), self.encoder(temporal), self.encoder(spatial, ignore=DROPPED)
        return self.head_loss(features)


def our_objective(head: Projector, anchor: Tensor, temporal: Tensor, spatial: Tensor) -> Tensor:
    projected: Tensor = head(torch.cat([anchor, temporal, spatial]), views=3)
    first, second = BarlowTwins(lambda_=LAMBDA)(*projected.chunk(3))
    return first + second


def naive_objective(head: Projector, anchor: Tensor, temporal: Tensor, spatial: Tensor) -> Tensor:
    return projector_and_loss(head, anchor, temporal, spatial, LAMBDA)


def variants(dim: int) -> tuple[Variant, Variant]:
    """Straightforward and ours, with the same weights."""
    torch.manual_seed(0)
    encoder, naive, head = STGCN(), NaiveSTGCN(), Projector(in_dim=256, dim=dim)
    naive.load_state_dict(encoder.state_dict())
    return (
        Variant(naive, copy.deepcopy(head), naive_objective, fused=False),
        Variant(encoder, head, our_objective, fused=True),
    )


def make_views(batch: int) -> list[Tensor]:
    """Anchor and spatial view of 50 frames, temporal view of 30, the second person absent in half of the clips."""
    views = [torch.randn(batch, 3, frames, 25, 2) for frames in (50, 30, 50)]
    for view in views:
        view[: batch // 2, ..., 1] = 0
    return views


def check_agreement(pair: Sequence[Variant], views: Sequence[Tensor]) -> list[float]:
    """Losses of both on a few clips, in float64; dropout is off, as the two draw different masks."""
    losses = []
    for variant in pair:
        quiet = copy.deepcopy(variant)  # so that no running statistic moves
        quiet.encoder.double()
        quiet.head.double()
        for part in quiet.encoder.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        with torch.no_grad():
            losses.append(quiet.whole_loss([view[:8].double() for view in views]).item())
    assert abs(losses[0] - losses[1]) < 1e-9 * losses[0], f"the losses differ: {losses}"
    return losses


Step = tuple[torch.optim.Optimizer, Callable[[], Tensor]]


def measure(pair: Sequence[Step], steps: int) -> list[float]:
    """Median seconds of a training step of each variant; they take turns, and the first turn warms up."""
    seconds: list[list[float]] = [[] for _ in pair]
    for _ in range(steps + 1):
        for (optimiser, loss), taken in zip(pair, seconds, strict=True):
            start = time.perf_counter()
            optimiser.zero_grad()
            loss().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]


def run(batch: int, dim: int, steps: int, threads: int) -> dict[str, Any]:
    """Every figure of the benchmark, ready for JSON."""
    torch.set_num_threads(threads)
    pair, views = variants(dim), make_views(batch)
    losses = check_agreement(pair, views)
    features = [torch.randn(batch, 256, requires_grad=True) for _ in views]
    heads = measure([(v.optimiser(v.head), partial(v.head_loss, features)) for v in pair], steps)
    whole = measure([(v.optimiser(v.encoder, v.head), partial(v.whole_loss, views)) for v in pair], steps)
    return {
        "batch": batch, "dim": dim, "steps": steps, "threads": threads,
        "torch": torch.__version__, "machine": platform.machine(), "losses": losses,
        "seconds": {"head + loss + optimiser": heads, "whole step": whole},
    }  # fmt: skip


def main() -> None:
    compare(run, sizes(str(__doc__), batch=128, dim=6144))


if __name__ == "__main__":
    main()
