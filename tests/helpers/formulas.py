"""Tensors by formula, as the goldens of skeleton-contrast give them, in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CLIPS = (2, 3, 64, 25, 2)


def ramp(shape: tuple[int, ...], phase: float, step: float) -> Tensor:
    """sin(step·i + phase) over the flat index i in C order."""
    return torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64) + phase).view(shape)


def layer(shape: tuple[int, ...], phase: float) -> dict[str, Tensor]:
    """Weight and bias of a linear map, a convolution or a recurrence."""
    weight = ramp(shape, phase, 0.7) / math.sqrt(math.prod(shape[1:]))
    return {"weight": weight, "bias": 0.1 * wave(shape[0], phase)}


def norm(width: int, phase: float) -> dict[str, Tensor]:
    """A batch norm that has not seen anything yet."""
    zero, one = torch.zeros(width, dtype=torch.float64), torch.ones(width, dtype=torch.float64)
    affine = {"weight": 1 + 0.1 * wave(width, phase), "bias": 0.1 * ramp((width,), phase, 0.7)}
    return {**affine, "running_mean": zero, "running_var": one, "num_batches_tracked": torch.tensor(0)}


def wave(count: int, phase: float) -> Tensor:
    return torch.cos(0.7 * torch.arange(count, dtype=torch.float64) + phase)


def named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
