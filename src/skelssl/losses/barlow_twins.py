"""Barlow Twins loss in its Gram form.

Zbontar et al., Barlow Twins, ICML 2021 (arXiv 2103.03230), eq. 1; as PSTL uses it: Zhou et al., AAAI 2023
(arXiv 2302.09018).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.runtime.collectives import gather


class Standardised(NamedTuple):
    """One view of the batch, ready to be correlated with several others."""

    z: Tensor  # (N, D) standardised features
    gram: Tensor  # (N, N) inner products of the rows


def standardise(z: Tensor) -> Tensor:
    """(N, D) -> (N, D): every feature to mean 0 and variance 1 over the batch (biased variance, eps 1e-5).

    Half-precision input is widened to float32. Raises UserError for fewer than two rows, which have no correlation.
    """
    if len(z) < 2:
        raise UserError(f"loader.batch: found a batch of {len(z)} clip, expected at least 2 for a correlation")
    wide = z.to(torch.promote_types(z.dtype, torch.float32))
    return F.batch_norm(wide, None, None, training=True, eps=1e-5)


def standardised_view(z: Tensor) -> Standardised:
    """Standardised features and Gram matrix of projector outputs (N, D), computed once for all pairs of this view."""
    z = standardise(z)
    # In float64 neither TF32 nor autocast can touch the product, in the backward pass either: no global flag to guard.
    wide = z if z.device.type == "mps" else z.double()  # MPS has neither float64 nor TF32
    return Standardised(z, wide @ wide.T)


def correlate(a: Standardised, b: Standardised, lambda_: float) -> Tensor:
    """Loss of two views: sum_d (c_dd - 1)^2 + lambda * sum_{d != e} c_de^2, with c = z_a^T z_b / N (D, D).

    c itself is never formed: its squared norm is <K_a, K_b> / N^2 with the Gram matrices K, so the cost is O(N^2 D).
    """
    diagonal = (a.z * b.z).mean(0)  # (D,)
    off_diagonal = (a.gram * b.gram).sum() / len(a.z) ** 2 - diagonal.square().sum()
    return ((diagonal - 1).square().sum() + lambda_ * off_diagonal).to(a.z.dtype)


def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float) -> Tensor:
    """Loss () of two batches of projector outputs (N, D), row n of both from clip n; see `correlate`."""
    return correlate(standardised_view(z1), standardised_view(z2), lambda_)


def floor(n: int, dim: int, lambda_: float) -> float:
    """What the loss of ``n`` rows and ``dim`` features cannot fall below.

    n standardised rows have rank n - 1, so dim > n - 1 features cannot all be uncorrelated. A diagonal of exactly one
    costs a = lambda * (dim^2 / (n - 1) - dim); letting it shrink to its best value gives dim * a / (dim + a).

    >>> round(floor(128, 6144, 2e-4), 1), floor(129, 128, 2e-4)
    (57.7, 0.0)
    """
    aligned = lambda_ * max(dim**2 / (n - 1) - dim, 0.0)
    return dim * aligned / (dim + aligned)


class BarlowTwins(nn.Module):
    """One loss per pair (anchor, other view), over the batch of all ranks.

    sync: with a process group, projector outputs are gathered with gradient before they are standardised, so that W
    ranks with N / W rows each train as one process with N rows. Without it each rank correlates its own rows only,
    which is another objective.
    """

    def __init__(self, *, lambda_: float = 2e-4, sync: bool = True) -> None:
        super().__init__()
        self.lambda_, self.sync = lambda_, sync

    def forward(self, anchor: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Un-normalised projector outputs (n_rank, D) each -> one loss () per other view."""
        first, *rest = (standardised_view(gather(z) if self.sync else z) for z in (anchor, *others))
        return tuple(correlate(first, other, self.lambda_) for other in rest)
