"""MAMP's step. Straightforward (ha_cm.md, B10): every token embedded before a tenth is kept, attention matrices written
out, visible and mask tokens joined and gathered, every token predicted, two sorts a mask, clips cropped and turned one
by one, AdamW as torch has it by default.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.forms import Form, PlainData
from benchmarks.naive import masks, transformer, views
from benchmarks.tape import On

BATCH = 56  # about the most for which both forms stay below 16 GB


class Ours(Form):
    compiles = ("encoder", "decoder")

    def loss(self, on: On, rows: Any, generator: torch.Generator) -> Tensor:
        batch = on("data", self.gather, rows)
        x = on("view", self.view, batch, generator)
        mask = on("masks", self.mask, x, generator)
        tokens = on("encoder", self.encode, x, mask.visible)
        prediction = on("decoder", self.decode, tokens, mask.visible, mask.hidden)
        return on("loss", self.objective, prediction, x, mask)

    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        x: Tensor = self.method.view(batch, generator)
        return x

    def mask(self, x: Tensor, generator: torch.Generator) -> Any:
        return self.method.masking(x, generator)

    def encode(self, x: Tensor, visible: Tensor) -> Tensor:
        encoder = self.method.encoder
        tokens: Tensor = encoder.encode(encoder.embed(x, visible))
        return tokens

    def decode(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        prediction: Tensor = self.method.decoder(tokens, visible, hidden)
        return prediction

    def objective(self, prediction: Tensor, x: Tensor, mask: Any) -> Tensor:
        target = self.method.loss.targets(x, self.method.encoder.patch, mask.hidden)
        loss: Tensor = self.method.loss(prediction, target)
        return loss


class PlainDecoder(PlainData):
    """The naive decoder of MAMP, Skeleton2vec and HA-CM."""

    def decode(self: Any, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        return transformer.decode(self.method.decoder, tokens, torch.cat([visible, hidden], dim=1))


class Straightforward(PlainDecoder, Ours):  # type: ignore[misc]
    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        return views.cropped(self.method.view, batch, generator)

    def mask(self, x: Tensor, generator: torch.Generator) -> Any:
        return masks.gumbel(self.method.masking, x, generator)

    def encode(self, x: Tensor, visible: Tensor) -> Tensor:
        return transformer.encode(self.method.encoder, x, visible)

    def objective(self, prediction: Tensor, x: Tensor, mask: Any) -> Tensor:
        return transformer.loss(prediction, x, self.method.encoder.patch, mask.mask)
