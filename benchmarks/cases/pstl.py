"""PSTL's step. Straightforward (pstl.md, 12): plain ST-GCN, one pass of the projector for each of the four sides of two
losses, the explicit D x D correlation, every augmentation a pass of its own, Adam as torch has it by default.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from benchmarks.forms import Form, PlainData
from benchmarks.naive import masks, views
from benchmarks.naive.barlow_twins import barlow_twins
from benchmarks.naive.stgcn import NaiveSTGCN
from benchmarks.tape import On
from skelssl.methods.base import Method

BATCH = 128  # the published one


class Ours(Form):
    compiles = ("encoder", "head", "loss")
    may_differ = ("head.",)  # batch norms of the projector, which see the anchor once or twice; it is thrown away

    def loss(self, on: On, rows: Any, generator: torch.Generator) -> Tensor:
        batch = on("data", self.gather, rows)
        dropped = on("masks", self.method.csm, generator)
        anchor, temporal = on("view", lambda: [self.view(batch, generator) for _ in range(2)])
        temporal = on("masks", self.kept, temporal, generator)
        spatial = on("view", self.view, batch, generator)
        features = on("encoder", self.encode, anchor, temporal, spatial, tuple(dropped))
        z = on("head", self.project, *features)
        return on("loss", self.objective, *z)

    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        x: Tensor = self.method.view(batch, generator)
        return x

    def kept(self, x: Tensor, generator: torch.Generator) -> Tensor:
        y: Tensor = self.method.matm(x, generator)
        return y

    def encode(self, anchor: Tensor, temporal: Tensor, spatial: Tensor, dropped: Collection[int]) -> tuple[Tensor, ...]:
        encoder = self.method.encoder
        return encoder(anchor), encoder(temporal), encoder(spatial, ignore=dropped)

    def project(self, *features: Tensor) -> tuple[Tensor, ...]:
        z: Tensor = self.method.head(torch.cat(features), views=3)
        return z.chunk(3)

    def objective(self, *z: Tensor) -> Tensor:
        first, second = self.method.loss(*z)
        loss: Tensor = first + second
        return loss


class Straightforward(PlainData, Ours):  # type: ignore[misc]
    def __init__(self, method: Method, store: Any, *, device: str = "cpu") -> None:
        theirs: Any = method.encoder
        convs = [block.tcn[2].out_channels for block in theirs.st_gcn_networks]
        naive = NaiveSTGCN(theirs.st_gcn_networks[1].tcn[4].p, (theirs.in_channels, *convs), store.layout)
        naive = naive.to(next(theirs.parameters()))
        naive.load_state_dict(theirs.state_dict())
        method.encoder = naive.train(theirs.training)
        super().__init__(method, store, device=device)

    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        return views.sheared_and_turned(self.method.view, batch, generator)

    def kept(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return masks.frames(self.method.matm, x, generator)

    def project(self, *features: Tensor) -> tuple[Tensor, ...]:
        anchor, temporal, spatial = features
        return tuple(self.method.head(side) for side in (anchor, temporal, anchor, spatial))

    def objective(self, *z: Tensor) -> Tensor:
        weight = self.method.loss.lambda_
        return barlow_twins(z[0], z[1], weight) + barlow_twins(z[2], z[3], weight)
