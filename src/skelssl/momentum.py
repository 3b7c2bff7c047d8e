"""Momentum encoders and their queue of negatives.

He et al., Momentum Contrast, CVPR 2020 (arXiv 1911.05722); teacher schedules as in data2vec 2.0 (arXiv 2212.07525).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.core.schema import at_least, between, check_fields
from skelssl.runtime.collectives import gather


class Momentum(nn.Module):
    """A copy of ``online`` that follows it as an exponential moving average and takes no gradient.

    The copy is at least float32: with momentum 0.9999 one step is below what bfloat16 can hold. It shares nothing
    with ``online``; whether it runs in train or eval mode is the caller's choice. ``updates`` counts the updates and
    is part of the state dict, so that a schedule resumes where it stopped.

    Args:
        online: the module to follow.
        buffers: average floating-point buffers too (batch-norm statistics, for example); otherwise the copy keeps its
            own.
    """

    updates: Tensor  # () int64

    def __init__(self, online: nn.Module, *, buffers: bool = False) -> None:
        super().__init__()
        self.module = deepcopy(online).requires_grad_(False)
        self.buffers_too = buffers
        for tensor in _floats(self.module, buffers=True):
            tensor.data = tensor.data.to(torch.promote_types(tensor.dtype, torch.float32))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the averaged module returns, without gradient."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update(self, online: nn.Module, momentum: float) -> None:
        """Set copy <- momentum · copy + (1 - momentum) · online; call it once per optimiser step."""
        mine, theirs = _floats(self.module, self.buffers_too), _floats(online, self.buffers_too)
        theirs = [t.detach().to(m.dtype) for m, t in zip(mine, theirs, strict=True)]
        torch._foreach_lerp_(mine, theirs, 1 - momentum)
        self.updates += 1

    def check_ranks(self) -> None:
        """Raise RuntimeError unless all ranks hold bit-identical copies; the ranks exchange one number each."""
        bits = [t.detach().reshape(-1).view(torch.int32).sum() for t in _floats(self.module, buffers=True)]
        sums = gather(torch.stack(bits).sum()[None], even=True)  # of integers, so their order does not matter
        if (sums != sums[0]).any():
            raise RuntimeError("teacher: found other weights on one rank than on another, expected the same on all")

    @torch.no_grad()
    def gap(self, online: nn.Module) -> Tensor:
        """Return how far the copy lags behind: |copy - online| / |online| over all parameters, ()."""
        mine, theirs = (torch.nn.utils.parameters_to_vector(m.parameters()) for m in (self.module, online))
        gap: Tensor = (mine - theirs.to(mine.dtype)).norm() / theirs.norm()
        return gap


def _floats(module: nn.Module, buffers: bool) -> list[Tensor]:
    tensors: list[Tensor] = [*module.parameters(), *(module.buffers() if buffers else ())]
    return [t for t in tensors if t.is_floating_point()]


def linear_momentum(start: float, end: float, steps: int, n: int) -> float:
    """Return the momentum of 0-based update ``n``: linear from ``start`` over ``steps`` updates, then ``end``.

    >>> [round(linear_momentum(0.9999, 1.0, 100, n), 6) for n in (0, 50, 100, 101)]
    [0.9999, 0.99995, 1.0, 1.0]
    """
    return end if n >= steps else start + (end - start) * n / steps


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A teacher's momentum: linear from ``start`` to ``end`` over ``epochs`` epochs, then ``end``.

    Raises:
        UserError: for a momentum outside 0 to 1, and for fewer than one epoch.
    """

    start: Annotated[float, between(0, 1)]
    end: Annotated[float, between(0, 1)]
    epochs: Annotated[int, at_least(1)]

    def __post_init__(self) -> None:
        check_fields(self, "method.teacher")

    def momentum(self, n: int, per_epoch: int) -> float:
        """Return the momentum of update ``n`` (0-based), at ``per_epoch`` updates per epoch."""
        return linear_momentum(self.start, self.end, self.epochs * per_epoch, n)


class Queue(nn.Module):
    """The last ``size`` keys, first in, first out: ``keys`` (size, dim), unit rows, randomly initialised.

    Args:
        size: number of keys; it need not be a multiple of the batch.
        dim: width of a key.
        generator: of the initial keys; ranks that start with the same one hold the same keys.
    """

    keys: Tensor  # (size, dim)
    pointer: Tensor  # () int64, where the next key goes

    def __init__(self, size: int, dim: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim, generator=generator), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, *, even: bool = False) -> None:
        """Overwrite the oldest keys with the keys (n, dim) of all ranks, in rank order.

        Call it after the backward pass, which still needs the old keys.

        Args:
            keys: this rank's, of any dtype.
            even: every rank has as many keys, as in `gather`; then, and in one process, the host never waits for the
                device.
        """
        keys = gather(keys.detach(), even=even).to(self.keys.dtype)
        size = len(self.keys)
        first = max(len(keys) - size, 0)  # of more keys than places only the last ones stay
        slots = (self.pointer + torch.arange(first, len(keys), device=keys.device)) % size
        self.keys.index_copy_(0, slots, keys[first:])
        self.pointer.add_(len(keys)).remainder_(size)
