"""The sequence encoder of skeleton-contrast as it was released: one call of a bidirectional GRU per frame."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn


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
