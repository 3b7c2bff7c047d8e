"""Measure the cost of an encoder: parameters, arithmetic operations and time per test sample."""

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
    """Cost of one sample under the test view, which may make several ``clips`` of it."""

    parameters: int
    gflops: float  # by CONVENTION
    clips: int
    ms_per_sample: float  # median over the timed passes of a batch; reading and view excluded
    batch: int  # samples that were timed together
    device: str
    threads: int
    precision: str
    convention: str = CONVENTION


def measure_cost(encoder: nn.Module, view: nn.Module, batch: Batch, precision: str = "fp32") -> EncoderCost:
    """Count and time an encoder on the clips of a batch.

    Args:
        encoder: The encoder, on the device to measure.
        view: Makes encoder inputs of the batch, K clips a sample.
        batch: N clips; the time is that of all of them together, divided by N.
        precision: ``fp32`` or ``bf16``.
    """
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
    """Count the operations of a forward pass of clips shaped like ``x`` (N, C, T, V, M), 2 per multiply-add.

    Noise replaces ``x``, so that all persons are present: some encoders process absent persons together. Attention is
    counted in its unfused form, because torch does not count the fused kernel of CPUs. Element-wise operations are not
    counted.
    """
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder(noise)
    return int(counter.get_total_flops())


def forward_seconds(encoder: nn.Module, x: Tensor, precision: str) -> float:
    """Return the median time of a forward pass of ``x`` in seconds, after one warm-up pass."""
    taken: list[float] = []
    with torch.autocast(x.device.type, PRECISIONS[precision], enabled=precision == "bf16"):
        while len(taken) <= PASSES and sum(taken[1:]) < PATIENCE:
            start = time.perf_counter()
            encoder(x)
            if x.device.type == "cuda":
                torch.cuda.synchronize(x.device)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])
