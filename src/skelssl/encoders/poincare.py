"""The Poincaré ball of curvature -c and radius 1/√c: exponential map at the origin, projection and distances.

Nickel and Kiela, Poincaré Embeddings, NeurIPS 2017 (arXiv 1705.08039); Ganea et al., Hyperbolic Neural Networks,
NeurIPS 2018 (arXiv 1805.09112). Near the boundary half precision cannot tell a large distance from an infinite one.
Everything is therefore computed in float32 or wider, even under autocast, and is finite forward and backward. Vectors
are along the last dimension unless ``dim`` is given.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

EDGE = 1e-5  # points beyond the boundary are projected to radius (1 - EDGE)/√c
TINY = 1e-12  # a shorter vector counts as the origin, where the map is the identity


def expmap0(v: Tensor, c: float = 1.0, dim: int = -1) -> Tensor:
    """Map tangent vectors at the origin to points, tanh(√c‖v‖) v / (√c‖v‖); the identity at v = 0, its gradient too."""
    v = _wide(v)
    length, inside = _length(v, c, dim)
    return torch.where(inside, torch.tanh(length) / length, 1.0) * v


def project(y: Tensor, c: float = 1.0, dim: int = -1) -> Tensor:
    """Project points with √c‖y‖ >= 1, which rounding may produce, to radius (1 - 1e-5)/√c; the others are unchanged."""
    y = _wide(y)
    length, _ = _length(y, c, dim)
    return torch.where(length >= 1, (1 - EDGE) / length, 1.0) * y


class Points(NamedTuple):
    """Points of the ball with their gap to the boundary, 1 - c‖x‖² > 0."""

    x: Tensor  # (..., D)
    gap: Tensor  # (...)


def at(v: Tensor, c: float = 1.0) -> Points:
    """Map tangent vectors (..., D) at the origin to their points, with 1 - c‖x‖² = sech²(√c‖v‖).

    The difference 1 - c‖x‖² itself would lose all digits where tanh rounds to 1. Vectors are clipped to the length at
    which √c‖x‖ = 1 - 1e-5.
    """
    v = _wide(v)
    length, inside = _length(v, c, -1)
    longest = math.atanh(1 - EDGE)
    short = v * (longest / length).clamp(max=1.0)
    gap = torch.where(inside, torch.cosh(length.clamp(max=longest)) ** -2, 1.0)
    return Points(expmap0(short, c), gap.squeeze(-1))


def points(x: Tensor, c: float = 1.0) -> Points:
    """Return points (..., D) of the ball with 1 - c‖x‖² by subtraction, clamped to at least the machine epsilon."""
    x = _wide(x)
    return Points(x, (1 - c * x.square().sum(-1)).clamp(min=torch.finfo(x.dtype).eps))


def distance(a: Points, b: Points, c: float = 1.0, factor: float = 2.0) -> Tensor:
    """Return the geodesic distance of points (..., D) that broadcast -> (...).

    d = arccosh(1 + 2c‖a - b‖² / ((1 - c‖a‖²)(1 - c‖b‖²))) / √c, by direct differences, because the gaps would magnify
    the rounding error of ‖a‖² + ‖b‖² - 2a·b. The gradient at a = b is 0. ``factor`` replaces the 2 of the formula.
    """
    return _from_square((a.x - b.x).square().sum(-1), a.gap * b.gap, c, factor)


def pairwise_distance(p: Points, c: float = 1.0, factor: float = 2.0) -> Tensor:
    """Return the `distance` between all pairs of n points (..., n, D) -> (..., n, n), without storing differences."""
    square = torch.cdist(p.x, p.x, compute_mode="donot_use_mm_for_euclid_dist").square()
    return _from_square(square, p.gap[..., :, None] * p.gap[..., None, :], c, factor)


def _from_square(square: Tensor, gaps: Tensor, c: float, factor: float) -> Tensor:
    z = factor * c * square / gaps
    apart = z > 0
    z = torch.where(apart, z, 1.0)  # the root has no finite slope at 0
    length = torch.where(apart, torch.log1p(z + (z * (z + 2)).sqrt()), 0.0)
    return length / math.sqrt(c)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _length(v: Tensor, c: float, dim: int) -> tuple[Tensor, Tensor]:
    """Return √c‖v‖ with ``dim`` kept, 1 in place of 0 so that its gradient exists, and where it is not 0."""
    square = c * v.square().sum(dim, keepdim=True)
    inside = square > TINY**2
    return torch.where(inside, square, 1.0).sqrt(), inside
