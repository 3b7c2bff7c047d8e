"""SyncBatchNorm on several gloo ranks against batch norm over the concatenated batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skelssl.runtime.batch_norm import SyncBatchNorm, sync_batch_norms
from skelssl.runtime.collectives import rank, world_size
from tests.helpers.ranks import run_ranks
from tests.runtime.test_collectives import SIZES, mine, rows


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
