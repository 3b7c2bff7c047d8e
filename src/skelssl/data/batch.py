"""The unit that flows from the data to the views."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """N clips of one recipe store, zero-padded to the longest; absent persons and frames are zeros."""

    x: Tensor  # (N, 3, T, V, M) float32: x, y, z in metres, or x, y and confidence
    frames: Tensor  # (N,) int64, valid frames of each clip; the rest of T is padding
    label: Tensor  # (N,) int64, 0-based class
    index: Tensor  # (N,) int64, row of the clip in its recipe store

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device`` (Lightning's transfer calls this); a copy to CUDA is asynchronous."""
        late = self.x.device.type == "cpu" and torch.device(device).type == "cuda"
        return Batch(*(getattr(self, f.name).to(device, non_blocking=late) for f in fields(self)))
