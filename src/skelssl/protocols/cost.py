"""What an encoder costs: parameters, arithmetic and time of one test clip."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from skelssl.data.batch import Batch
from skelssl.pretrained.features import PRECISIONS, evaluating, same_random_state

CONVENTION = "2 per multiply-add of products and convolutions; both persons present; every clip of the test view"
PATIENCE = 3.0  # seconds of timed passes, after which no further one begins
PASSES = 5


class EncoderCost(NamedTuple):
    """Of one sample under the test view, which may show it through ``clips`` clips."""

    parameters: int
    gflops: float  # as CONVENTION says
    clips: int
    ms_per_sample: float  # median over the timed passes of a batch, without reading and without the view
    batch: int  # samples that were timed together
    device: str
    threads: int
    precision: str
    convention: str = CONVENTION


def measure_cost(encoder: nn.Module, view: nn.Module, batch: Batch, precision: str = "fp32") -> EncoderCost:
    """Counts and times ``encoder``, on the device where it is, with the clips that ``view`` makes of ``batch``."""
    device = next(encoder.parameters()).device
    with evaluating(encoder, view), same_random_state(device), torch.no_grad():
        x = view(batch.to(device), torch.Generator())
        clips = len(x) // len(batch)
        return EncoderCost(
            parameters=sum(p.numel() for p in encoder.parameters()),
            gflops=clips * count_flops(encoder, x[:1]) / 1e9,
            clips=clips,
            ms_per_sample=1e3 * forward_seconds(encoder, x, precision) / len(batch),
            batch=len(batch),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            threads=torch.get_num_threads(),
            precision=precision,
        )


def count_flops(encoder: nn.Module, x: Tensor) -> int:
    """Operations of one forward pass of clips shaped like ``x`` (N, C, T, V, M), 2 per multiply-add.

    All persons are there: noise stands in for ``x``, since some encoders take absent persons together. Attention is
    counted in its plain form, because torch does not count the fused kernel of CPUs. Element-wise work is left out.
    """
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder(noise)
    return int(counter.get_total_flops())


def forward_seconds(encoder: nn.Module, x: Tensor, precision: str) -> float:
    """Median time of a pass of ``x``, after one that warms up."""
    taken: list[float] = []
    with torch.autocast(x.device.type, PRECISIONS[precision], enabled=precision == "bf16"):
        while len(taken) <= PASSES and sum(taken[1:]) < PATIENCE:
            start = time.perf_counter()
            encoder(x)
            if x.device.type == "cuda":
                torch.cuda.synchronize(x.device)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])
