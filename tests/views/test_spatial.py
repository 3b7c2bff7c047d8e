"""Shear and rotation: the reference's numbers, and the ranges of the draws."""

from __future__ import annotations

import math

import pytest
import torch

from skelssl.views.spatial import draw_angles, draw_shear, rotation_matrix, shear_matrix, transform

POINT = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def test_shear_numbers() -> None:
    off = torch.tensor([[0.1, -0.2, 0.3, -0.4, 0.5, -0.6]], dtype=torch.float64)
    assert (shear_matrix(off)[0] @ POINT).tolist() == pytest.approx([3.1, 0.3, 2.0], abs=1e-12)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        ((20, 0.5, 0.25), (0.9939984584, 2.9011361656, 2.1436828155)),
        ((0.5, 20, 0.25), (-0.0715181571, 2.0264347987, 3.1445901418)),
        ((0.5, 0.25, 20), (1.6204233892, 1.5663483785, 2.9867676169)),
    ],
)
def test_rotation_numbers(degrees: tuple[float, ...], expected: tuple[float, ...]) -> None:
    angles = torch.tensor([degrees, (0, 0, 0)], dtype=torch.float64) * math.pi / 180
    matrix = rotation_matrix(angles)
    assert (matrix[0] @ POINT).tolist() == pytest.approx(expected, abs=1e-9)
    assert torch.equal(matrix[1], torch.eye(3, dtype=torch.float64))


def test_rotations_are_rigid() -> None:
    matrix = rotation_matrix(draw_angles(50, 180, 180, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(matrix.det(), torch.ones(50, dtype=torch.float64))


def test_draws_fill_their_ranges() -> None:
    generator, n = torch.Generator().manual_seed(0), 20_000
    off = draw_shear(n, 0.7, generator)
    assert off.abs().max() < 0.7
    assert off.mean(0).abs().max() < 5 * 0.7 / math.sqrt(3 * n)
    assert off.square().mean(0).tolist() == pytest.approx([0.49 / 3] * 6, rel=0.05)
    degrees = draw_angles(n, 30, 1, generator) * 180 / math.pi
    assert degrees.min() >= 0
    assert 29.9 < degrees.max() < 30
    assert ((degrees > 1).sum(1) <= 1).all()
    # One axis in three is the main one: mean angle 30/2 with 1/3, else 1/2.
    assert degrees.mean(0).tolist() == pytest.approx([15 / 3 + 0.5 * 2 / 3] * 3, rel=0.05)


def test_transform_is_the_matrix_times_every_point() -> None:
    x, matrix = torch.randn(3, 3, 4, 5, 2, dtype=torch.float64), torch.randn(3, 3, 3, dtype=torch.float64)
    for clips in (x, x.permute(0, 2, 4, 3, 1).contiguous().permute(0, 4, 1, 3, 2)):
        found = transform(clips, matrix)
        for n, t, v, m in ((0, 0, 0, 0), (2, 3, 4, 1), (1, 2, 0, 1)):
            torch.testing.assert_close(found[n, :, t, v, m], matrix[n] @ x[n, :, t, v, m])
