"""Skeleton-contrast's step, sequence against graph. Straightforward (skeleton_contrast.md, 11): the GRU called frame by
frame, 2s-AGCN partition by partition, clones of both queues, joined logits, keys averaged weight by weight, clips
augmented one by one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.forms import Form, PlainData
from benchmarks.naive import agcn, gru_frames, info_nce, views
from benchmarks.tape import On
from skelssl.losses.info_nce import unit

BATCH = 64  # the published one


class Ours(Form):
    compiles = ("encoder graph", "keys graph", "heads")

    def loss(self, on: On, rows: Any, generator: torch.Generator) -> Tensor:
        batch = on("data", self.gather, rows)
        first, second = on("view", lambda: [self.view(batch, generator) for _ in range(2)])
        pair = self.method.pair
        features = {s: on(f"encoder {s}", getattr(self, s), self.method.query[s].encoder, first) for s in pair}
        q = on("heads", self.heads, features)
        on("average of keys", self.average)
        keys = {s: on(f"keys {s}", self.key, s, second) for s in pair}
        self.fresh = keys
        return on("loss", self.objective, q, keys)

    def follow(self, on: On) -> None:
        on("queue", self.enqueue)

    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        x: Tensor = self.method.view(batch, generator)
        return x

    def seq(self, encoder: Any, x: Tensor) -> Tensor:
        y: Tensor = encoder(x)
        return y

    def graph(self, encoder: Any, x: Tensor) -> Tensor:
        y: Tensor = encoder(x)
        return y

    def heads(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {s: unit(self.method.query[s].head(x)) for s, x in features.items()}

    @torch.no_grad()
    def key(self, name: str, x: Tensor) -> Tensor:
        branch = self.method.key[name].module
        return unit(branch.head(getattr(self, name)(branch.encoder, x)))

    @torch.no_grad()
    def average(self) -> None:
        for s in self.method.pair:
            self.method.key[s].update(self.method.query[s], self.method.momentum)

    def objective(self, q: dict[str, Tensor], k: dict[str, Tensor]) -> Tensor:
        first, second = self.method.pair
        queue = self.method.queue
        one = self.method.loss(q[first], k[second], queue[second].keys).loss
        other = self.method.loss(q[second], k[first], queue[first].keys).loss
        loss: Tensor = one + other
        return loss

    def enqueue(self) -> None:
        for name, keys in self.fresh.items():
            self.method.queue[name].enqueue(keys)


class Straightforward(PlainData, Ours):  # type: ignore[misc]
    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        return views.contrasted(self.method.view, batch, generator)

    def seq(self, encoder: Any, x: Tensor) -> Tensor:
        return gru_frames.encode(encoder, x)

    def graph(self, encoder: Any, x: Tensor) -> Tensor:
        return agcn.encode(encoder, x)

    @torch.no_grad()
    def average(self) -> None:
        for s in self.method.pair:
            info_nce.follow(self.method.key[s].module, self.method.query[s], self.method.momentum)
            self.method.key[s].updates += 1

    def objective(self, q: dict[str, Tensor], k: dict[str, Tensor]) -> Tensor:
        first, second = self.method.pair
        queue, t = self.method.queue, self.method.loss.temperature
        one = info_nce.info_nce(q[first], k[second], queue[second].keys, t)
        return one + info_nce.info_nce(q[second], k[first], queue[first].keys, t)

    def enqueue(self) -> None:
        for name, keys in self.fresh.items():
            info_nce.enqueue(self.method.queue[name], keys)
