"""The sequence encoder of skeleton-contrast as it was released: one call of a bidirectional GRU per frame."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.encoders.gru import GRU


class FrameByFrame(nn.Module):
    """(N, 3, T, 25, 2) -> (N, 2·hidden), the output at the last frame.

    A call sees a sequence of length one, so both halves of the GRU pass their state on to the next frame.
    """

    def __init__(self, hidden: int = 1024, layers: int = 3) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"gru": nn.GRU(150, hidden, layers, bidirectional=True)})

    def forward(self, x: Tensor) -> Tensor:
        state: Tensor | None = None
        for frame in rearrange(x, "n c t v m -> t 1 n (v c m)"):
            output, state = self.encoder["gru"](frame, state)
        last: Tensor = output[0]
        return last


def encode(encoder: GRU, x: Tensor) -> Tensor:
    """The same on the weights of ours, `skelssl.encoders.gru.GRU` with a causal pair in every layer."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    pairs = [(layer.first, layer.second) for layer in encoder.layers]
    weights = [getattr(gru, name) for pair in pairs for gru in pair for name in names]
    state = x.new_zeros(2 * len(pairs), len(x), encoder.dim // 2)
    output = state
    for frame in rearrange(x, "n c t v m -> t 1 n (v c m)"):
        output, state = torch.gru(frame, state, weights, True, len(pairs), 0.0, encoder.training, True, False)
    return output[0]
