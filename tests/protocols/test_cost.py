"""Counted operations against the figures of the papers and of arithmetic by hand."""

from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from skelssl.data.batch import Batch
from skelssl.encoders.agcn import AGCN
from skelssl.encoders.gru import GRU
from skelssl.encoders.hcn import HCN
from skelssl.encoders.stgcn import STGCN
from skelssl.encoders.transformer import Transformer
from skelssl.protocols.cost import count_flops, measure_cost
from tests.helpers.config import compose


def gflops(encoder: nn.Module, frames: int) -> float:
    return count_flops(encoder.eval(), torch.zeros(1, 3, frames, 25, 2)) / 1e9


@pytest.mark.parametrize(
    ("make", "frames", "parameters", "expected"),
    [
        (GRU, 64, 44_998_656, 5.76),
        (AGCN, 64, 3_454_090, 8.28),
        (HCN, 64, 519_424, 0.77),
        (Transformer, 120, 6_336_000, 28.1),
    ],
)
def test_published_encoders(make: type[nn.Module], frames: int, parameters: int, expected: float) -> None:
    """The spec's figures of a two-person clip; MAMP's includes attention, a third of it."""
    encoder = make()
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert gflops(encoder, frames) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(("method", "frames", "expected"), [("ha_cm", 72, 13.9), ("skeleton2vec", 90, 28.1)])
def test_encoders_of_the_configurations(method: str, frames: int, expected: float) -> None:
    """HA-CM has half of MAMP's work: 432 tokens instead of 750."""
    encoder: nn.Module = instantiate(compose("train", f"method={method}")["method"]["encoder"], _convert_="all")
    assert gflops(encoder, frames) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("frames", "published"), [(50, 1.225), (30, 0.750)])
def test_st_gcn_does_less_than_the_published_order_of_its_products(frames: int, published: float) -> None:
    """The published form sums over joints after the channels have grown, ours before: 2·3·V²·T·M·(C' - C) a block."""
    later, t = 0, frames
    for c_in, c_out, stride in [(3, 16, 1), (16, 32, 2), (32, 64, 2), (64, 256, 1)]:
        later += 2 * 3 * 25 * 25 * t * 2 * (c_out - c_in)
        t = -(-t // stride)
    assert gflops(STGCN(), frames) + later / 1e9 == pytest.approx(published, abs=6e-4)


def test_transformer_by_hand() -> None:
    """Per person and block 24·D²·L + 4·L²·D, and the patches: 2·L·(3·patch)·D."""
    encoder, d, tokens = Transformer(frames=8, patch=4, hidden=16, depth=2, heads=2), 16, 2 * 25
    block = 24 * d * d * tokens + 4 * tokens**2 * d
    assert count_flops(encoder.eval(), torch.zeros(1, 3, 8, 25, 2)) == 2 * (2 * block + 2 * tokens * 12 * d)


class Clips(nn.Module):
    """Each sample through three clips."""

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return batch.x.repeat_interleave(3, 0)


def test_every_clip_of_a_sample_counts_and_nothing_changes() -> None:
    encoder, x = STGCN(hidden=8, out=16).train(), torch.randn(4, 3, 6, 25, 2)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    batch = Batch(x, torch.full((4,), 6), torch.zeros(4).long(), torch.arange(4))
    found = measure_cost(encoder, Clips(), batch)
    assert (found.clips, found.batch, found.device, found.precision) == (3, 4, "cpu", "fp32")
    assert found.gflops == pytest.approx(3 * count_flops(encoder.eval(), x[:1]) / 1e9)
    assert found.threads == torch.get_num_threads()
    assert 0 < found.ms_per_sample < 1e4
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert measure_cost(encoder.train(), Clips(), batch).gflops == found.gflops
    assert encoder.training
