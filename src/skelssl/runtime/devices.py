"""Send tensors to a device without waiting, and set how precisely it multiplies.

What a step sends is small: a wait costs more than the copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor


def send(x: Tensor, device: torch.device) -> Tensor:
    """Return ``x`` on ``device``; the way to CUDA is through pinned memory, so that the host does not wait."""
    if x.device.type == "cpu" and device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


@cache
def constant(values: Sequence[int], device: torch.device) -> Tensor:
    """Return the int64 tensor of ``values`` (a tuple) on ``device``; it is sent once and must never be written to."""
    return torch.tensor(values, dtype=torch.int64, device=device)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Set how float32 is multiplied in the block: ``highest``, or with TF32 where a GPU has it (``high``, ``medium``).

    The separate switch for convolutions, which torch leaves on by default, follows.
    """
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision != "highest"
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions
