"""Define the batch that passes from the data to the views."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """N clips of one recipe store, zero-padded to the longest; absent persons and frames are zeros.

    Attributes:
        x: (N, 3, T, V, M) float32: x, y, z in m, or x, y and confidence
        frames: (N,) int64, number of valid frames of each clip; the rest of T is padding
        label: (N,) int64, 0-based class
        index: (N,) int64, index of the clip in its recipe store
    """

    x: Tensor
    frames: Tensor
    label: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device`` (Lightning's transfer calls this); a copy to CUDA is asynchronous."""
        late = self.x.device.type == "cpu" and torch.device(device).type == "cuda"
        return Batch(*(getattr(self, f.name).to(device, non_blocking=late) for f in fields(self)))
