"""HA-CM's step in the corrected token order. Straightforward (ha_cm.md, B10): scores inside the graph with every
difference of every pair in memory, every token embedded with gradient before a tenth is kept, and the rest as MAMP's.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from benchmarks.cases import mamp
from benchmarks.naive import ha_cm as naive
from benchmarks.naive import transformer, views
from benchmarks.tape import On
from skelssl.encoders.tokens import take_tokens
from skelssl.maskers.hyperbolic import CrossMask
from skelssl.maskers.tokens import token_noise

BATCH = 134  # about the most for which both forms stay below 16 GB


class Ours(mamp.Ours):
    compiles = ("encoder", "decoder")

    def loss(self, on: On, rows: Any, generator: torch.Generator) -> Tensor:
        batch = on("data", self.gather, rows)
        x = on("view", self.view, batch, generator)
        mask = on("scores and masks", self.mask, x, generator)
        tokens = on("encoder", self.encode, x, mask.visible)
        prediction = on("decoder", self.decode, tokens, mask.rows, mask.hidden)
        return on("loss", self.both, prediction, tokens, x, mask)

    def mask(self, x: Tensor, generator: torch.Generator) -> Any:
        return self.method.masking(self.method.encoder, x, generator)

    def both(self, prediction: Tensor, tokens: Tensor, x: Tensor, mask: Any) -> Tensor:
        encoder, loss = self.method.encoder, self.method.loss
        target = loss.prediction.targets(encoder.select(x), encoder.patch, mask.targets)
        contrast = loss.contrast(tokens, rearrange(x, "n c t v m -> (n m) (c t v)").any(1))
        value: Tensor = loss(loss.prediction(prediction, target), contrast)
        return value


class Straightforward(mamp.PlainDecoder, Ours):  # type: ignore[misc]
    def view(self, batch: Any, generator: torch.Generator) -> Tensor:
        return views.cropped(self.method.view, batch, generator)

    def mask(self, x: Tensor, generator: torch.Generator) -> Any:
        masking = self.method.masking
        noise = [token_noise(x, (len(masking.attention_tokens),), generator, None) for _ in range(2)]
        self.tokens = naive.embed(self.method.encoder, x)  # once, with gradient, for the scores and for the encoder
        first, second = naive.orders(masking, self.method.encoder, x, self.tokens, (noise[0], noise[1]))
        first, second, k = masking.attention_tokens[first], masking.hierarchy_tokens[second], masking.kept
        visible, hidden = (
            torch.cat(part, 1) for part in ((first[:, :k], second[:, :k]), (first[:, k:], second[:, k:]))
        )
        return CrossMask(visible, visible, hidden, hidden)

    def encode(self, x: Tensor, visible: Tensor) -> Tensor:
        encoder = self.method.encoder
        tokens = take_tokens(naive.exp0(self.tokens).flatten(1, 2), visible)
        found: Tensor = encoder.norm(transformer.blocks(encoder.blocks, tokens))
        return found

    def both(self, prediction: Tensor, tokens: Tensor, x: Tensor, mask: Any) -> Tensor:
        encoder = self.method.encoder
        hidden = torch.ones(prediction.shape[:2], dtype=x.dtype, device=x.device).scatter_(1, mask.visible, 0.0)
        error = naive.reconstruction(prediction, encoder.select(x), encoder.patch, hidden)
        return error + naive.contrast(tokens, self.method.masking.kept)
