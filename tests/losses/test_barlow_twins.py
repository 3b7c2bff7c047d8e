"""Golden numbers, and the loss written out with its D x D matrix as oracle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.losses.barlow_twins import BarlowTwins, barlow_twins, floor, standardise
from skelssl.runtime.collectives import rank
from tests.helpers.ranks import run_ranks


def naive(z1: Tensor, z2: Tensor, lambda_: float) -> Tensor:
    """The definition, with the whole correlation matrix."""
    z1, z2 = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (z1, z2))
    c: Tensor = z1.T @ z2 / len(z1)
    off_diagonal = c - torch.diag(c.diagonal())
    return (c.diagonal() - 1).square().sum() + lambda_ * off_diagonal.square().sum()


def pair(n: int, dim: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    a, b = torch.randn(2, n, dim, generator=generator, dtype=torch.float64)
    return (2 * a + 1).to(dtype).requires_grad_(), (0.8 * a + b).to(dtype).requires_grad_()


def with_gradient(loss: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, of)]


@pytest.fixture
def golden() -> tuple[nn.Module, Tensor, Tensor]:
    """Projector 4 -> 6 -> 6 -> 6 with sine weights, and two batches of five features."""
    projector = nn.Sequential()
    for width in (4, 6):
        projector.extend([nn.Linear(width, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU()])
    projector.append(nn.Linear(6, 6, bias=False)).double()
    for j, (name, p) in enumerate(sorted(projector.named_parameters())):
        k = torch.arange(p.numel(), dtype=torch.float64)
        base = float(name in ("1.weight", "4.weight"))
        p.data = (base + 0.5 * torch.sin(0.7 * j + 0.37 * k + 0.5)).view_as(p)
    i, c = torch.meshgrid(torch.arange(5.0).double(), torch.arange(4.0).double(), indexing="ij")
    a, b = torch.sin(1.1 * i + 0.6 * c), torch.cos(0.9 * i - 0.4 * c) + 0.3 * i
    return projector, a.requires_grad_(), b.requires_grad_()


def test_golden_value_and_gradients(golden: tuple[nn.Module, Tensor, Tensor]) -> None:
    projector, a, b = golden
    loss, da, db = with_gradient(barlow_twins(projector(a), projector(b), 0.05), [a, b])
    assert float(loss) == pytest.approx(2.0551045836, abs=1e-10)
    assert float(da.norm()) == pytest.approx(4.8207048114, abs=1e-10)
    assert float(db.norm()) == pytest.approx(7.8159570741, abs=1e-10)
    assert barlow_twins(projector(a), projector(a), 0.05).item() == pytest.approx(0.7374296613, abs=1e-10)


@pytest.mark.parametrize(("n", "dim"), [(2, 3), (5, 17), (33, 8)])
def test_equals_the_explicit_matrix(n: int, dim: int) -> None:
    views = pair(n, dim)
    ours = with_gradient(barlow_twins(*views, 0.05), views)
    for got, expected in zip(ours, with_gradient(naive(*views, 0.05), views), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


def test_equals_the_explicit_matrix_at_full_size() -> None:
    views = pair(128, 6144, torch.float32)
    loss, *grads = with_gradient(barlow_twins(*views, 2e-4), views)
    expected, *exact = with_gradient(naive(*views, 2e-4), views)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for got, want in zip(grads, exact, strict=True):
        assert float((got - want).norm() / want.norm()) < 1e-5


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins(a, b, 0.05), pair(4, 6))


def test_is_symmetric() -> None:
    a, b = pair(6, 9)
    assert barlow_twins(a, b, 0.05).item() == pytest.approx(barlow_twins(b, a, 0.05).item(), rel=1e-14)


def test_a_view_with_itself_leaves_the_diagonal_only_eps() -> None:
    a, _ = pair(6, 9)
    c_dd = a.var(0, correction=0) / (a.var(0, correction=0) + 1e-5)
    assert barlow_twins(a, a, 0.0).item() == pytest.approx((c_dd - 1).square().sum().item(), rel=1e-6)


def test_module_shares_the_anchor_between_both_terms() -> None:
    anchor, second = pair(6, 9)
    third = second.detach().flip(0).requires_grad_()
    views = [anchor, second, third]
    ours = BarlowTwins(lambda_=0.05)(*views)
    assert len(ours) == 2
    expected = naive(anchor, second, 0.05) + naive(anchor, third, 0.05)
    for got, want in zip(with_gradient(torch.stack(ours).sum(), views), with_gradient(expected, views), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)


def test_half_precision_and_autocast_do_not_reach_the_products() -> None:
    a, b = (z.detach() for z in pair(16, 64, torch.bfloat16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = barlow_twins(a, b, 2e-4)
    assert standardise(a).dtype == loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(naive(a.double(), b.double(), 2e-4)), rel=1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_a_batch_without_correlation_is_refused(n: int) -> None:
    with pytest.raises(UserError, match=f"batch of {n} clips?, expected at least 2"):
        barlow_twins(torch.zeros(n, 3), torch.zeros(n, 3), 0.1)


@pytest.mark.parametrize(("n", "aligned"), [(128, 58.2), (68, 111), (50, 153), (27, 289), (14, 580)])
def test_floor_at_published_sizes(n: int, aligned: float) -> None:
    """The figures hold for a diagonal of one; the floor also lets it shrink."""
    found = floor(n, 6144, 2e-4)
    assert 6144 * found / (6144 - found) == pytest.approx(aligned, rel=5e-3)
    assert found < aligned


def test_optimisation_reaches_the_floor_and_stops_there() -> None:
    """Four rows are free to move in 12 features: descent ends at the floor, from above."""
    torch.manual_seed(0)
    a, b = (torch.randn(4, 12, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimiser = torch.optim.LBFGS([a, b], max_iter=400, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = barlow_twins(a, b, 0.01)
        loss.backward()
        return loss

    optimiser.step(closure)
    found, bound = barlow_twins(a, b, 0.01).item(), floor(4, 12, 0.01)
    assert bound == pytest.approx(12 * 0.36 / 12.36)
    assert bound - 1e-9 <= found < 1.02 * bound


def test_floor_vanishes_when_features_fit() -> None:
    assert floor(10, 9, 0.1) == 0.0
    assert math.isclose(floor(10, 10, 0.1), 10 * (0.1 * 10 / 9) / (10 + 0.1 * 10 / 9))


def losses_of_rank(sync: bool) -> list[float]:
    a, b = (z.detach().chunk(2)[rank()] for z in pair(8, 12))
    return [float(loss) for loss in BarlowTwins(lambda_=0.05, sync=sync)(a, b, -b)]


@pytest.mark.parametrize("sync", [True, False])
def test_ranks_correlate_the_global_batch_or_their_own(sync: bool) -> None:
    a, b = pair(8, 12)
    for r, found in enumerate(run_ranks(losses_of_rank, 2, sync)):
        x, y = (a, b) if sync else (a.chunk(2)[r], b.chunk(2)[r])
        assert found == pytest.approx([naive(x, y, 0.05).item(), naive(x, -y, 0.05).item()], rel=1e-11)
