"""Poincaré maths against geoopt, at the origin, at the boundary and in half precision."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from torch import Tensor

from skelssl.encoders.poincare import EDGE, at, distance, expmap0, pairwise_distance, points, project

NORMS = (0.0, 1e-8, 0.5, 3.0, 6.0, 9.5, 20.0)
CURVATURES = (1.0, 0.5, 2.0)


def ball(c: float) -> geoopt.PoincareBall:
    return geoopt.PoincareBall(c=torch.tensor(c, dtype=torch.float64))


def vectors(*shape: int, seed: int = 0, scale: float = 0.4) -> Tensor:
    return scale * torch.randn(*shape, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("c", CURVATURES)
def test_the_map_and_its_gradient_are_geoopt_s(c: float) -> None:
    v = vectors(7, scale=1.0).requires_grad_()
    weights = vectors(7, seed=1)
    found, expected = expmap0(v, c), ball(c).expmap0(v)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    gradients = [torch.autograd.grad((y * weights).sum(), v)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("c", CURVATURES)
def test_distances_and_their_gradients_are_geoopt_s(c: float) -> None:
    x, y = (ball(c).expmap0(vectors(6, seed=seed)).requires_grad_() for seed in (2, 3))
    found, expected = distance(points(x, c), points(y, c), c), ball(c).dist(x, y)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    for leaf in (x, y):
        gradients = [torch.autograd.grad(d.sum(), leaf, retain_graph=True)[0] for d in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-10)
    matrix = pairwise_distance(points(x.detach(), c), c)
    torch.testing.assert_close(matrix, ball(c).dist(x.detach()[:, None], x.detach()[None]), rtol=1e-9, atol=1e-9)
    assert torch.equal(matrix.diagonal(), torch.zeros(6, dtype=torch.float64))


def test_gradcheck() -> None:
    v = vectors(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: expmap0(v, 0.7), v)
    assert torch.autograd.gradcheck(lambda v: distance(at(v[:1]), at(v[1:])), v)


def test_values_along_a_line() -> None:
    v = torch.tensor(NORMS, dtype=torch.float64)[:, None] * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    assert expmap0(v).norm(dim=1).tolist() == pytest.approx([math.tanh(n) for n in NORMS], rel=1e-12)
    origin = points(torch.zeros(3, dtype=torch.float64))
    # On a ray from the origin the geodesic distance is 2 artanh: twice the tangent vector's length.
    lengths = distance(at(v[1:4]), origin)
    assert lengths.tolist() == pytest.approx([2 * n for n in NORMS[1:4]], rel=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_everything_is_finite_forward_and_backward(norm: float, dtype: torch.dtype) -> None:
    v = (norm * torch.nn.functional.normalize(torch.ones(4, 8), dim=1)).to(dtype)
    v[2:] *= -1
    v.requires_grad_()
    y = expmap0(v)
    assert y.dtype == torch.float32  # 1 - 1e-5 is 1 in half precision
    for p in (at(v), points(project(y))):
        assert bool((p.gap > 0).all())
        for found in (distance(p, p), pairwise_distance(p), distance(p._replace(x=p.x[:2], gap=p.gap[:2]), at(v[2:]))):
            (gradient,) = torch.autograd.grad(found.sum(), v, retain_graph=True)
            assert found.isfinite().all()
            assert gradient.isfinite().all()
    for found in (y, project(y)):
        (gradient,) = torch.autograd.grad(found.sum(), v, retain_graph=True)
        assert found.isfinite().all()
        assert gradient.isfinite().all()


def test_the_origin_passes_gradients_on() -> None:
    v = torch.zeros(2, 3, requires_grad=True)
    expmap0(v).sum().backward()
    assert torch.equal(v.grad, torch.ones(2, 3))


@pytest.mark.parametrize("c", CURVATURES)
def test_both_ways_to_a_point_agree(c: float) -> None:
    v = torch.cat([vectors(4), torch.zeros(1, 5, dtype=torch.float64)])  # the origin too, whose gap is 1
    near, far = at(v, c), points(expmap0(v, c), c)
    torch.testing.assert_close(near, far, rtol=1e-9, atol=1e-12)
    origin = near._replace(x=near.x[4:], gap=near.gap[4:])
    assert origin.gap.item() == 1
    torch.testing.assert_close(distance(near, origin, c), 2 * v.norm(dim=1), rtol=1e-9, atol=1e-12)


def test_close_to_the_boundary_no_digit_is_lost() -> None:
    v = torch.tensor([[5.9, 0.0], [0.0, 6.0]])
    exact = distance(at(v.double()[:1]), at(v.double()[1:]))
    torch.testing.assert_close(distance(at(v[:1]), at(v[1:])).double(), exact, rtol=1e-6, atol=0)
    # Longer vectors are cut: antipodes are never farther apart than those at the edge.
    far = at(torch.tensor([[20.0, 0.0], [-20.0, 0.0]], dtype=torch.float64))
    widest = 2 * 2 * math.atanh(1 - EDGE)
    assert distance(far._replace(x=far.x[:1], gap=far.gap[:1]), at(torch.tensor([[-9.0, 0.0]], dtype=torch.float64))
                    ).item() == pytest.approx(widest, rel=1e-9)  # fmt: skip


def test_the_public_code_s_factor() -> None:
    x, y = (expmap0(vectors(4, seed=seed)) for seed in (4, 5))
    square = (x - y).square().sum(1)
    gaps = (1 - x.square().sum(1)) * (1 - y.square().sum(1))
    torch.testing.assert_close(distance(points(x), points(y), factor=4.0), torch.acosh(1 + 4 * square / gaps))


def test_projection_moves_only_what_is_outside() -> None:
    y = torch.tensor([[0.3, 0.4], [3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    found = project(y)
    torch.testing.assert_close(found.norm(dim=1), torch.tensor([0.5, 1 - EDGE, 1 - EDGE], dtype=torch.float64))
    assert torch.equal(found[0], y[0])
    torch.testing.assert_close(project(y.T, dim=0).T, found)
