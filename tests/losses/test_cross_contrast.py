"""HA-CM's contrast in closed form, against loops, with absent persons, and across ranks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.losses.cross_contrast import CrossContrast, cross_views, match_loss
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.ranks import run_ranks

TERMS = [["P1"], ["P2"], ["P3"], ["P1", "P2"], ["P1", "P2", "P3"]]


def tokens(b: int = 6, k: int = 3, d: int = 4) -> Tensor:
    return torch.randn(b, 2 * k, d, generator=torch.Generator().manual_seed(b), dtype=torch.float64)


def naive(x: Tensor, terms: list[str]) -> Tensor:
    """Entry by entry."""
    k = x.shape[1] // 2
    a, b, c = x[:, :k].mean(1), x[:, k:].mean(1), x.mean(1)
    total = x.new_zeros(())
    for term in terms:
        p, q = {"P1": (b, c), "P2": (a, c), "P3": (a, b)}[term]
        for i in range(len(x)):
            row = torch.stack([(p[i] * q[j]).sum() for j in range(len(x))])
            row = row.exp() / row.exp().sum()
            for j in range(len(x)):
                total = total + (row[j] - float(i == j)) ** 2 / len(x) ** 2
    return total


@pytest.mark.parametrize("terms", TERMS)
def test_value_and_gradient_are_the_loop_s(terms: list[str]) -> None:
    x = tokens().requires_grad_()
    found = CrossContrast(terms=terms)(x, torch.ones(6, dtype=torch.bool))
    expected = naive(x, terms)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (found, expected)))


@pytest.mark.parametrize("b", [8, 128])
def test_closed_forms(b: int) -> None:
    alike = torch.ones(b, 4, 5)
    found = CrossContrast()(alike, torch.ones(b, dtype=torch.bool))
    assert found.item() == pytest.approx(3 * (1 / b) * (1 - 1 / b), rel=1e-5)
    if b == 128:
        assert found.item() / 3 == pytest.approx(0.00775, abs=5e-6)
    apart = 100 * torch.eye(b)[:, None].expand(-1, 4, -1)
    assert CrossContrast()(apart, torch.ones(b, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-12)
    wrong = match_loss(100 * torch.eye(b), 100 * torch.eye(b).roll(1, 0))
    assert wrong.item() == pytest.approx(2 / b, rel=1e-5)


def test_halves_and_all() -> None:
    x = tokens()
    a, b, c = cross_views(x)
    torch.testing.assert_close((a, b, c), (x[:, :3].mean(1), x[:, 3:].mean(1), x.mean(1)))


def test_absent_persons_can_be_left_out() -> None:
    x, present = tokens(), torch.tensor([True, False, True, True, False, True])
    leave, keep = CrossContrast(mask_empty=True), CrossContrast()
    torch.testing.assert_close(leave(x, present), naive(x[present], ["P1", "P2", "P3"]))
    torch.testing.assert_close(keep(x, present), naive(x, ["P1", "P2", "P3"]))
    y = x.clone().requires_grad_()
    leave(y, present).backward()
    assert bool((y.grad[~present] == 0).all())
    nobody = leave(y, torch.zeros(6, dtype=torch.bool))
    assert nobody.item() == 0
    nobody.backward()
    assert y.grad.isfinite().all()


def test_half_precision_is_widened() -> None:
    x = 30 * tokens().float()
    exact = CrossContrast()(x.bfloat16().float(), torch.ones(6, dtype=torch.bool))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(CrossContrast()(x.bfloat16(), torch.ones(6, dtype=torch.bool)), exact)


def shared_step(gathered: bool, mask_empty: bool) -> dict[str, Any]:
    """Loss, and the gradient that DDP would average, of this rank's share of eight person-clips."""
    x, present = tokens(8), torch.arange(8) % 3 != 1
    rows = slice(rank() * 8 // world_size(), (rank() + 1) * 8 // world_size())
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)  # a parameter that all ranks share
    loss = CrossContrast(gather=gathered, mask_empty=mask_empty)(scale * x[rows], present[rows])
    loss.backward()
    return {"loss": loss.item(), "gradient": scale.grad.item()}


@pytest.mark.parametrize("mask_empty", [False, True])
def test_two_ranks_equal_one(mask_empty: bool) -> None:
    one = shared_step(True, mask_empty)
    two = run_ranks(shared_step, 2, True, mask_empty)
    assert [result["loss"] for result in two] == pytest.approx([one["loss"]] * 2, rel=1e-12)
    assert math.fsum(result["gradient"] for result in two) / 2 == pytest.approx(one["gradient"], rel=1e-10)


def test_without_gathering_each_rank_has_its_own_loss() -> None:
    one = shared_step(True, False)
    two = run_ranks(shared_step, 2, False, False)
    own = [naive(1.3 * tokens(8)[rows], ["P1", "P2", "P3"]).item() for rows in (slice(0, 4), slice(4, 8))]
    assert [result["loss"] for result in two] == pytest.approx(own, rel=1e-12)
    assert sum(own) / 2 != pytest.approx(one["loss"], rel=0.1)


@pytest.mark.parametrize("terms", [[], ["P4"], ["P1", "P1"], "P1", None, 1])
def test_unknown_terms(terms: Any) -> None:
    with pytest.raises(UserError, match=r"loss\.contrast\.terms: found .*, expected a list of P1, P2, P3"):
        CrossContrast(terms=terms)


@pytest.mark.parametrize("key", ["gather", "mask_empty"])
def test_a_word_is_not_taken_for_true(key: str) -> None:
    with pytest.raises(UserError, match=rf"loss\.contrast\.{key}: found 'no', expected true or false"):
        CrossContrast(**{key: "no"})
