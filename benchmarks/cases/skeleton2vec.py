"""Skeleton2vec's step. Straightforward (skeleton2vec.md, 10): as MAMP's, and a teacher that works on absent persons too
and keeps what all of its blocks put out, and follows the student by a new state dict.

Ours also computes the metrics that reveal a collapse, as training does; the naive baseline does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import mamp
from benchmarks.naive import masks, skeleton2vec, transformer, views
from benchmarks.naive.batches import padded
from benchmarks.tape import On
from skelssl.data.batch import Batch
from skelssl.losses.collapse import collapse_metrics, products

BATCH = 50  # about the most for which both forms stay below 16 GB
MOMENTUM = 0.9999


class Ours(mamp.Ours):
    compiles = ("encoder", "decoder")

    def loss(self, on: On, rows: Any, generator: torch.Generator) -> Tensor:
        batch = on("data", self.gather, rows)
        x = on("view", self.view, batch, generator)
        mask = on("masks", self.mask, x, generator)
        tokens = on("encoder", self.encode, x, mask.visible)
        prediction = on("decoder", self.decode, tokens, mask.visible, mask.hidden)
        targets = on("teacher", self.targets, x)
        on("figures", self.figures, targets, prediction, mask.hidden)
        return on("loss", self.objective, prediction, targets, mask)

    def follow(self, on: On) -> None:
        on("average of the teacher", self.average)

    def encode(self, x: Tensor, visible: Tensor) -> Tensor:
        student = self.method.student
        tokens: Tensor = student.encode(student.embed(x, visible))
        return tokens

    def targets(self, x: Tensor) -> Any:
        return self.method.loss.targets(self.method.encoder, x)

    @torch.no_grad()
    def figures(self, targets: Any, prediction: Tensor, hidden: Tensor) -> None:
        collapse_metrics(targets, prediction.detach(), targets.at(hidden), targets.presence(len(hidden)))
        products(targets.mean, targets.present)

    def objective(self, prediction: Tensor, targets: Any, mask: Any) -> Tensor:
        presence = targets.presence(len(mask.hidden))
        loss: Tensor = self.method.loss(prediction, targets.at(mask.hidden), presence)
        return loss

    def average(self) -> None:
        self.method.teacher.update(self.method.student, MOMENTUM)


class Straightforward(mamp.PlainDecoder, Ours):  # type: ignore[misc]
    def gather(self, rows: Any) -> Batch:
        return self.on_device(padded(self.store, rows, frames=None))  # public code samples before it pads

    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        return views.sampled(self.method.view, batch, generator)

    def mask(self, x: Tensor, generator: torch.Generator) -> Any:
        return masks.tube(self.method.masking, x, generator)

    def encode(self, x: Tensor, visible: Tensor) -> Tensor:
        return transformer.encode(self.method.student, x, visible)

    def targets(self, x: Tensor) -> Any:
        return skeleton2vec.targets(self.method.encoder, x)

    def figures(self, targets: Any, prediction: Tensor, hidden: Tensor) -> None:
        """None: public code has no such figures."""

    def objective(self, prediction: Tensor, targets: Any, mask: Any) -> Tensor:
        return skeleton2vec.loss(prediction, targets, mask.mask)

    def average(self) -> None:
        skeleton2vec.follow(self.method.encoder, self.method.student, MOMENTUM)
        self.method.teacher.updates += 1
