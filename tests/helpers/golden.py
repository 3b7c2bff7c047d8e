"""Whole training steps of the public references: what they give, and the formulas of their inputs and weights."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

STEPS = Path(__file__).parents[1] / "methods" / "golden" / "steps.json"


def golden_step(method: str) -> dict[str, Any]:
    """Return the values of one method's step, stored in the repository; they need no recordings."""
    step: dict[str, Any] = json.loads(STEPS.read_text("utf-8"))[method]
    return step


def clip(n: int, frames: int, joints: int = 25, persons: int = 2, s: float = 0.0) -> Tensor:
    """(n, 3, frames, joints, persons) float64."""
    sizes = (n, 3, frames, joints, persons)
    i, c, t, v, m = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in sizes), indexing="ij")
    wave = 0.5 * torch.sin(0.37 * i + 0.9 * c + (0.11 + 0.002 * v) * t + 0.23 * v + 0.5 * m + s)
    return wave + 0.05 * torch.cos(0.7 * v + 0.3 * t * (1 + 0.1 * i))


def weight(name: str, shape: Sequence[int]) -> Tensor:
    """The parameter that the reference calls ``name``, float64."""
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    phase = crc32(name.encode()) % 1000 / 100
    if len(shape) == 1:
        return float(name.endswith("weight")) + 0.08 * torch.sin(0.19 * k + phase)
    wave = 1.2 / math.sqrt(len(k) / shape[0]) * torch.sin(1.3 * k + 0.2 * torch.sin(0.02 * k) + phase)
    return (float("edge_importance" in name) + wave).view(tuple(shape))


def noise(rows: int, tokens: int, draw: int = 0) -> Tensor:
    """Uniform numbers (rows, tokens) of the reference's draw number ``draw``."""
    r, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (rows, tokens)), indexing="ij")
    return (torch.sin(12.9898 * (i + 1) + 78.233 * (r + 1) + 37.719 * draw) * 43758.5453) % 1
