"""Two gloo ranks against one process: gathered rows, a model under DDP, and mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from skelssl.core.errors import UserError
from skelssl.losses.barlow_twins import BarlowTwins
from skelssl.runtime.batch_norm import sync_batch_norms
from skelssl.runtime.collectives import gather, on_first, rank, world_size
from tests.helpers.ranks import run_ranks

SIZES = (3, 5)  # rows of each rank


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mine(x: Tensor, sizes: tuple[int, ...] = SIZES) -> Tensor:
    return x.split(sizes)[rank()].clone().requires_grad_()


# --- gather


def gather_uneven() -> dict[str, Any]:
    x = mine(rows(8, 2, 3))
    whole = gather(x)
    ((rank() + 1) * whole * rows(8, 2, 3, seed=1)).sum().backward()
    return {"whole": whole.detach(), "grad": x.grad, "rank": [rank(), world_size()]}


def test_gather_joins_uneven_rows_and_sums_their_gradient() -> None:
    results = run_ranks(gather_uneven, 2)
    assert [r["rank"] for r in results] == [[0, 2], [1, 2]]
    for result in results:
        assert torch.equal(result["whole"], rows(8, 2, 3))
    # Rank r weighs its loss by r + 1; the sum over both ranks is three times the weight.
    assert torch.allclose(torch.cat([r["grad"] for r in results]), 3 * rows(8, 2, 3, seed=1), rtol=1e-15)


def gather_with_an_empty_rank() -> list[Tensor]:
    x = mine(rows(4, 2), sizes=(4, 0))
    whole = gather(x)
    whole.square().sum().backward()
    assert x.grad is not None
    return [whole.detach(), x.grad]


def test_gather_takes_a_rank_without_rows() -> None:
    (whole, grad), (again, none) = run_ranks(gather_with_an_empty_rank, 2)
    assert torch.equal(whole, rows(4, 2))
    assert torch.equal(again, rows(4, 2))
    assert torch.allclose(grad, 4 * rows(4, 2))
    assert none.shape == (0, 2)


def test_without_a_process_group_everything_is_local() -> None:
    x = rows(3, 2)
    assert gather(x) is x
    assert (world_size(), rank()) == (1, 0)


# --- the whole: a model under DDP


class Net(nn.Module):
    """Encoder, projector and loss in one forward pass, so that DDP sees every parameter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5, bias=False))
        self.loss = BarlowTwins(lambda_=0.05)

    def forward(self, *views: Tensor) -> Tensor:
        return torch.stack(self.loss(*(self.net(view) for view in views))).sum()


def train_step(sizes: tuple[int, ...]) -> dict[str, Any]:
    net = sync_batch_norms(Net().double())
    views = [mine(rows(8, 3, seed=seed), sizes) for seed in range(3)]
    model = DistributedDataParallel(net) if world_size() > 1 else net
    loss = model(*views)
    loss.backward()
    return {
        "loss": loss.item(),
        "grads": {key: value.grad for key, value in net.named_parameters()},
        "state": dict(net.state_dict()),
    }


@pytest.mark.parametrize("sizes", [(4, 4), SIZES], ids=["even", "uneven"])
def test_ddp_step_equals_one_process(sizes: tuple[int, ...]) -> None:
    one = train_step((8,))
    for result in run_ranks(train_step, 2, sizes):
        assert result["loss"] == pytest.approx(one["loss"], rel=1e-13)
        for part in ("grads", "state"):
            for key, value in one[part].items():
                torch.testing.assert_close(result[part][key], value, rtol=1e-12, atol=1e-12)


def first_rank_refuses() -> list[str]:
    done: list[str] = []
    on_first(lambda: done.append("first"))
    try:
        on_first(refuse)
    except UserError as error:
        done.append(str(error))
    return done


def refuse() -> None:
    raise UserError("x: found 1, expected 2")


def test_a_mistake_on_the_first_rank_is_raised_on_all() -> None:
    first, second = run_ranks(first_rank_refuses, 2)
    assert first == ["first", "x: found 1, expected 2"]
    assert second == ["x: found 1, expected 2"]
