"""Shear and rotation as 3 x 3 matrices for column vectors, so that any chain of them is one product with the clip.

The drawing functions draw K sets of parameters from a generator, and the matrix functions turn them into matrices.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from skelssl.runtime.devices import send
from skelssl.runtime.draws import per_clip

OFF_DIAGONAL = ((0, 0, 1, 1, 2, 2), (1, 2, 0, 2, 0, 1))


def uniform(shape: tuple[int, ...], generator: torch.Generator | None, clips: int = 0) -> Tensor:
    """Draw U[0, 1) in float64 on the CPU; ``clips`` is the dimension of ``shape`` that counts the clips."""
    return per_clip(partial(torch.rand, dtype=torch.float64), shape, generator, clips)


def integers(high: int, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Draw int64 uniform in 0 ... high - 1 on the CPU; the first dimension of ``shape`` counts the clips."""
    return per_clip(partial(torch.randint, high), shape, generator)


def draw_shear(count: int, amplitude: float, generator: torch.Generator | None, *, flat: bool = False) -> Tensor:
    """Draw off-diagonals (K, 6), independent U(-amplitude, amplitude); ``flat``: zero except for x and y."""
    off = (2 * uniform((count, 6), generator) - 1) * amplitude
    return off * torch.tensor([1, 0, 1, 0, 0, 0]) if flat else off


def shear_matrix(off: Tensor) -> Tensor:
    """Return the shears (K, 3, 3) of off-diagonals (K, 6) in row order, out_d = Σ_c x_c S[c, d] with S[c, c] = 1.

    The off-diagonals fill S, which multiplies a row vector from the right (Guo et al., AimCLR, AAAI 2022). The matrix
    for column vectors is its transpose.
    """
    matrix = torch.eye(3, dtype=off.dtype, device=off.device).repeat(len(off), 1, 1)
    matrix[:, OFF_DIAGONAL[1], OFF_DIAGONAL[0]] = off
    return matrix


def transform(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the points of clips (N, C, T, V, M) by one matrix per clip (N, C, C); the memory layout is a store's."""
    rows = x.permute(0, 2, 4, 3, 1)  # (N, T, M, V, C): points are rows of one product
    return torch.bmm(rows.flatten(1, 3), matrix.mT).view(rows.shape).permute(0, 4, 1, 3, 2)


def rotate(x: Tensor, limit: float, generator: torch.Generator | None = None, *, coordinates: str = "xyz") -> Tensor:
    """Rotate clips (N, 3, T, V, M) by R_z R_y R_x, one triple of angles U(-limit, limit) in radians per clip.

    With ``xyc`` clips are rotated by R_z alone, in the plane of the image.
    """
    angles = (2 * uniform((len(x), 3), generator) - 1) * limit
    angles = angles * torch.tensor([0, 0, 1]) if coordinates == "xyc" else angles
    return transform(x, send(rotation_matrix(angles).to(x.dtype), x.device))


def draw_angles(
    count: int, main_deg: float, other_deg: float, generator: torch.Generator | None, *, flat: bool = False
) -> Tensor:
    """Draw angles (K, 3) in radians about x, y, z: U(0, main_deg) about one random axis, else U(0, other_deg).

    Both limits are in degrees. With ``flat`` z is the main axis, and the other angles are 0.
    """
    main = integers(3, (count, 1), generator)
    main, other_deg = (torch.full_like(main, 2), 0.0) if flat else (main, other_deg)
    limit = torch.where(torch.arange(3) == main, main_deg, other_deg).double()
    return uniform((count, 3), generator) * limit * (math.pi / 180)


def rotation_matrix(angles: Tensor) -> Tensor:
    """Return R_z R_y R_x (K, 3, 3) of angles (K, 3) in radians about x, y, z.

    A positive angle rotates clockwise, seen from the tip of the axis, as in AimCLR and PSTL.
    """
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(1), angles.sin().unbind(1)
    one, zero = torch.ones_like(cx), torch.zeros_like(cx)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, 1).view(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, cx, sx, zero, -sx, cx)
    about_y = matrix(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    about_z = matrix(cz, sz, zero, -sz, cz, zero, zero, zero, one)
    return about_z @ about_y @ about_x
