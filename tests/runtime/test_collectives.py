"""Two gloo ranks against one process, and draws that depend on their key alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from skelssl.core.errors import UserError
from skelssl.losses.barlow_twins import BarlowTwins
from skelssl.runtime.batch_norm import SyncBatchNorm, sync_batch_norms
from skelssl.runtime.collectives import gather, on_first, rank, world_size
from skelssl.runtime.draws import clip_generator, per_clip, seed_step, shard, step_generator
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


# --- SyncBatchNorm


def bn_steps(shape: tuple[int, ...], momentum: float | None, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Two training steps of one batch norm on this process's share of two batches."""
    plain = (nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d)(4, momentum=momentum).double()
    bn = sync_batch_norms(plain) if world_size() > 1 else plain
    with torch.no_grad():
        bn.weight.copy_(torch.linspace(0.5, 2, 4))
        bn.bias.copy_(torch.linspace(-1, 1, 4))
    outputs, grads = [], []
    for step in range(2):
        x = mine(50 + rows(8, *shape, seed=step), sizes)
        y = bn(x)
        (y * y * rows(8, *shape, seed=7).split(sizes)[rank()]).sum().backward()
        assert x.grad is not None
        outputs.append(y.detach())
        grads.append(x.grad)
    bn.eval()
    outputs.append(bn(x).detach())
    return {"y": outputs, "dx": grads, "dw": [bn.weight.grad, bn.bias.grad], "state": dict(bn.state_dict())}


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)], ids=["1d", "2d"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_sync_batch_norm_equals_batch_norm_over_the_whole_batch(shape: tuple[int, ...], momentum: float | None) -> None:
    ranks = run_ranks(bn_steps, 2, shape, momentum, SIZES)
    one = bn_steps(shape, momentum, (8,))
    for key in ("y", "dx"):
        for step, whole in enumerate(one[key]):
            both = torch.cat([r[key][step] for r in ranks])
            torch.testing.assert_close(both, whole, rtol=1e-11, atol=1e-11)
    for part in range(2):
        torch.testing.assert_close(sum(r["dw"][part] for r in ranks), one["dw"][part], rtol=1e-11, atol=1e-11)
    for result in ranks:
        assert result["state"].keys() == one["state"].keys()
        for key, value in one["state"].items():
            torch.testing.assert_close(result["state"][key], value, rtol=1e-12, atol=1e-12)


def bn_far_from_zero() -> list[Tensor]:
    bn = SyncBatchNorm(2, affine=False)
    x = (1000 + rows(8, 2)).float().split(SIZES)[rank()]
    return [bn(x), bn(x.bfloat16())]


def test_sync_batch_norm_keeps_its_digits_far_from_zero() -> None:
    full, half = (torch.cat(parts) for parts in zip(*run_ranks(bn_far_from_zero, 2), strict=True))
    exact = nn.functional.batch_norm((1000 + rows(8, 2)).float().double(), None, None, training=True)
    torch.testing.assert_close(full.double(), exact, rtol=0, atol=2e-4)  # E[x²] - E[x]² would be off by about 0.06
    assert half.dtype == torch.bfloat16


def uneven_shapes() -> dict[str, Tensor]:
    """Ranks that keep different numbers of joints, as per-rank masks would give."""
    bn = SyncBatchNorm(3).double()
    return {"y": bn(rows(2, 3, 4 + rank(), seed=rank())).detach(), "var": bn.running_var}


def test_sync_batch_norm_weighs_ranks_by_their_counts() -> None:
    ranks = run_ranks(uneven_shapes, 2)
    points = torch.cat([rows(2, 3, 4 + r, seed=r).transpose(1, 2).reshape(-1, 3) for r in range(2)])
    bn = nn.BatchNorm1d(3).double()
    whole = bn(points)
    both = torch.cat([r["y"].transpose(1, 2).reshape(-1, 3) for r in ranks])
    torch.testing.assert_close(both, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ranks[0]["var"], bn.running_var, rtol=1e-12, atol=1e-12)


def test_convert_keeps_tensors_keys_and_other_modules() -> None:
    shared = nn.BatchNorm2d(3)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ModuleList([shared, shared]), nn.LayerNorm(3))
    before = {key: value.data_ptr() for key, value in net.state_dict().items()}
    assert sync_batch_norms(net) is net
    assert {key: value.data_ptr() for key, value in net.state_dict().items()} == before
    assert [type(part) for part in net.modules()].count(SyncBatchNorm) == 2
    assert type(sync_batch_norms(nn.BatchNorm1d(3))) is SyncBatchNorm


def test_in_one_process_it_is_batch_norm_to_the_bit() -> None:
    x, plain, sync = rows(6, 3, 4, 5).float(), nn.BatchNorm2d(3), SyncBatchNorm(3)
    assert torch.equal(plain(x), sync(x))
    assert torch.equal(plain.running_var, sync.running_var)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        sync(x[0, 0, 0])


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


# --- draws


def test_step_generator_draws_known_numbers() -> None:
    drawn = torch.randint(1000, (4,), generator=step_generator(0, 1, 2, "shared")).tolist()
    assert drawn == [792, 28, 890, 492]
    assert torch.randint(1000, (4,), generator=step_generator(0, 1, 2, "shared")).tolist() == drawn


def test_every_part_of_the_key_matters() -> None:
    keys = [
        (0, 1, 2, "shared"),
        (1, 1, 2, "shared"),
        (0, 2, 1, "shared"),
        (0, 1, 3, "shared"),
        (0, 1, 2, 0),
        (0, 1, 2, 1),
    ]
    seeds = {step_generator(*key).initial_seed() for key in keys}
    seed_step(0, 1, 2, 0)
    assert len(seeds | {torch.initial_seed()}) == len(keys) + 1


def test_seed_step_repeats_dropout() -> None:
    def mask(step: int, rank: int) -> list[float]:
        seed_step(3, 0, step, rank)
        return nn.functional.dropout(torch.ones(64), 0.5).tolist()

    first = mask(5, 0)
    torch.rand(7)
    assert mask(5, 0) == first
    assert mask(6, 0) != first
    assert mask(5, 1) != first


def draws() -> dict[str, list[float]]:
    return {str(s): torch.rand(5, generator=step_generator(1, 2, 3, s)).tolist() for s in ("shared", rank())}


def test_shared_draws_agree_across_ranks_and_with_one_process() -> None:
    first, second = run_ranks(draws, 2)
    assert first["shared"] == second["shared"] == draws()["shared"]
    assert first["0"] == draws()["0"] != second["1"]


@pytest.mark.parametrize("total", [8, 9, 3])
def test_ranks_draw_their_clips_numbers_of_one_process(total: int) -> None:
    one = step_generator(1, 2, 3, 0)
    whole = [torch.rand(2 * total, 3, generator=one), torch.rand(2, total, generator=one)]
    parts: list[list[Tensor]] = [[], []]
    for r in range(3):
        mine = shard(total, r, 3)
        n, draw = mine.stop - mine.start, clip_generator(1, 2, 3, total, mine)
        parts[0].append(per_clip(torch.rand, (2 * n, 3), draw))
        parts[1].append(per_clip(torch.rand, (2, n), draw, clips=1))
    assert torch.equal(torch.cat(parts[0]), whole[0])
    assert torch.equal(torch.cat(parts[1], 1), whole[1])


def test_draws_that_are_not_clip_by_clip_are_refused() -> None:
    draw = clip_generator(0, 0, 0, 8, shard(8, 0, 2))
    with pytest.raises(ValueError, match="expected 4 clips or a multiple in dimension 0, found shape"):
        per_clip(torch.rand, (6, 2), draw)
    assert per_clip(torch.rand, (6, 2), torch.Generator()).shape == (6, 2)


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
