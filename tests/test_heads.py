"""Projector: size, names, and views that share the products but not the statistics."""

from __future__ import annotations

import copy

import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.heads import Projector


def test_size_and_names() -> None:
    with torch.device("meta"):
        head = Projector(in_dim=256)
    assert sum(parameter.numel() for parameter in head.parameters()) == 77_094_912
    shapes = {name: tuple(parameter.shape) for name, parameter in head.named_parameters()}
    assert shapes == {
        "projector.0.weight": (6144, 256),
        "projector.1.weight": (6144,),
        "projector.1.bias": (6144,),
        "projector.3.weight": (6144, 6144),
        "projector.4.weight": (6144,),
        "projector.4.bias": (6144,),
        "projector.6.weight": (6144, 6144),
    }


@torch.no_grad()
def filled() -> Projector:
    head = Projector(in_dim=4, dim=6).double()
    for j, (name, parameter) in enumerate(sorted(head.named_parameters())):
        k = torch.arange(parameter.numel(), dtype=torch.float64)
        base = 1.0 if name in ("projector.1.weight", "projector.4.weight") else 0.0
        parameter.copy_((base + 0.5 * torch.sin(0.7 * j + 0.37 * k + 0.5)).view_as(parameter))
    return head


def test_reference_loss_and_gradients() -> None:
    """The projector under the explicit Barlow Twins loss: loss and feature gradients of the PSTL reference."""
    i, c = torch.meshgrid(torch.arange(5.0).double(), torch.arange(4.0).double(), indexing="ij")
    a = torch.sin(1.1 * i + 0.6 * c).requires_grad_()
    b = (torch.cos(0.9 * i - 0.4 * c) + 0.3 * i).requires_grad_()
    z1, z2 = filled()(torch.cat([a, b]), views=2).chunk(2)
    z1, z2 = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (z1, z2))
    corr = z1.T @ z2 / 5
    on = (corr.diagonal() - 1).square().sum()
    loss = on + 0.05 * (corr.square().sum() - corr.diagonal().square().sum())
    grads = torch.autograd.grad(loss, [a, b])
    assert loss.item() == pytest.approx(2.0551045836, abs=1e-9)
    assert [float(g.norm()) for g in grads] == pytest.approx([4.8207048114, 7.8159570741], rel=1e-8)


def test_views_equal_one_call_each() -> None:
    together, apart = filled(), filled()
    x = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = together(x, views=3)
    torch.testing.assert_close(out, torch.cat([apart(rows) for rows in x.chunk(3)]))
    for a, b in zip(together.buffers(), apart.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    out.square().sum().backward()
    sum(apart(rows).square().sum() for rows in x.chunk(3)).backward()  # type: ignore[union-attr]
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert not torch.allclose(out, copy.deepcopy(apart)(x))  # pooled statistics are another result


def test_one_layer_is_linear_and_none_is_an_error() -> None:
    assert [name for name, _ in Projector(in_dim=3, dim=2, layers=1).named_parameters()] == ["projector.0.weight"]
    with pytest.raises(UserError, match=r"head\.layers: found 0, expected at least 1"):
        Projector(in_dim=3, layers=0)
