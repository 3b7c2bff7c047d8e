"""InfoNCE against golden values and the formula word by word, value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from benchmarks.memory import allocated
from skelssl.core.errors import UserError
from skelssl.losses.info_nce import InfoNCE, contrast_logits, unit
from skelssl.runtime.collectives import rank
from tests.helpers.ranks import run_ranks


def ramp(shape: tuple[int, ...], phase: float, step: float) -> Tensor:
    return torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64) + phase).view(shape)


def queue(phase: float, step: float) -> Tensor:
    """The reference keeps keys as columns."""
    return unit(ramp((128, 64), phase, step).T)


Q, R, K, L = (unit(ramp((8, 128), p, s)) for p, s in ((0.1, 0.31), (0.2, 0.37), (0.3, 0.31), (0.4, 0.37)))
S1, S2 = queue(0.5, 0.11), queue(0.6, 0.13)


def test_golden_values() -> None:
    loss = InfoNCE(temperature=0.07)
    across = float(loss(Q, L, S2).loss), float(loss(R, K, S1).loss)
    assert across == pytest.approx((4.4499772562, 4.3932270556), rel=1e-9)
    assert sum(across) == pytest.approx(8.8432043118, rel=1e-9)
    assert float(loss(Q, K, S1).loss) == pytest.approx(0.0000541877, rel=1e-5)
    assert float(loss(Q, L, S1).loss) != pytest.approx(across[0], rel=1e-3)


def naive(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    terms = []
    for i in range(len(query)):
        right = torch.exp(query[i] @ key[i] / temperature)
        wrong = sum(torch.exp(query[i] @ n / temperature) for n in negatives)
        terms.append(-torch.log(right / (right + wrong)))
    return torch.stack(terms).mean()


def test_value_and_gradient_equal_the_formula() -> None:
    raw = ramp((5, 7), 0.3, 1.7).requires_grad_()
    key, negatives = unit(ramp((5, 7), 0.9, 0.7)), unit(ramp((11, 7), 0.1, 0.9))
    found, expected = InfoNCE(temperature=0.2)(unit(raw), key, negatives).loss, naive(unit(raw), key, negatives, 0.2)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    gradients = [torch.autograd.grad(value, raw)[0] for value in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_keys_take_no_gradient() -> None:
    own = Q.clone().requires_grad_()
    for key, negatives in ((own, S1), (Q, own)):
        with pytest.raises(ValueError, match="expected them detached"):
            InfoNCE()(Q, key, negatives)


def test_the_queue_s_logits_are_held_once() -> None:
    """What a step allocates of the queue's length, forward and backward, is one row of logits a query."""
    query, key, negatives = unit(torch.randn(8, 16)).requires_grad_(), unit(torch.randn(8, 16)), torch.randn(5000, 16)
    with allocated() as found:
        InfoNCE()(query, key, negatives).loss.backward()
    assert 8 * 5000 * 4 <= found[0] <= 1.2 * 8 * 5000 * 4


def test_top1_counts_queries_that_find_their_key() -> None:
    eye = torch.eye(4)
    key = eye[[0, 1, 3, 3]]
    assert float(InfoNCE()(eye, key, eye[2:3]).top1) == 0.75  # the third query is nearer to the negative
    assert contrast_logits(eye, key, eye[2:3], 0.5).tolist() == [[2, 0], [2, 0], [0, 2], [2, 0]]


def test_half_precision_is_widened() -> None:
    assert unit(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.float32
    query = unit(ramp((4, 16), 0.0, 1.1).float())
    plain = InfoNCE()(query, query, unit(ramp((9, 16), 0.5, 0.3).float())).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(InfoNCE()(query, query, unit(ramp((9, 16), 0.5, 0.3).float())).loss, plain)


def on_a_rank(sizes: tuple[int, ...]) -> list[Tensor]:
    raw = ramp((8, 16), 0.2, 1.3).split(sizes)[rank()].clone().requires_grad_()
    key, negatives = unit(ramp((8, 16), 0.7, 0.9)).split(sizes)[rank()], unit(ramp((10, 16), 0.1, 0.7))
    loss = InfoNCE()(unit(raw), key, negatives).loss
    return [loss.detach(), torch.autograd.grad(loss, raw)[0]]


def test_the_mean_over_two_ranks_is_one_process() -> None:
    (one,), two = [on_a_rank((8,))], run_ranks(on_a_rank, 2, (4, 4))
    torch.testing.assert_close(torch.stack([r[0] for r in two]).mean(), one[0])
    torch.testing.assert_close(torch.cat([r[1] for r in two]) / 2, one[1])


def test_a_temperature_of_zero() -> None:
    with pytest.raises(UserError, match=r"method\.loss\.temperature: found 0, expected a number above 0"):
        InfoNCE(temperature=0)
