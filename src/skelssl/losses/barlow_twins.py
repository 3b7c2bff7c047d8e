"""The Barlow Twins loss, computed from Gram matrices.

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
    """Standardised features of one view of the batch, reused for all its pairs."""

    z: Tensor  # (N, D) standardised features
    gram: Tensor  # (N, N) inner products of the rows


def standardise(z: Tensor) -> Tensor:
    """Standardise each feature of (N, D) to mean 0 and variance 1 over the batch (biased variance, eps 1e-5).

    Half-precision input is widened to float32. Raises UserError for fewer than two rows, which have no correlation.
    """
    if len(z) < 2:
        raise UserError(f"loader.batch: found a batch of {len(z)} clip, expected at least 2 for a correlation")
    wide = z.to(torch.promote_types(z.dtype, torch.float32))
    return F.batch_norm(wide, None, None, training=True, eps=1e-5)


def standardised_view(z: Tensor) -> Standardised:
    """Return the standardised features and the Gram matrix of projector outputs (N, D), once for all pairs."""
    z = standardise(z)
    # In float64 neither TF32 nor autocast affects the product or its gradient, without any global flag.
    wide = z if z.device.type == "mps" else z.double()  # MPS has neither float64 nor TF32
    return Standardised(z, wide @ wide.T)


def correlate(a: Standardised, b: Standardised, lambda_: float) -> Tensor:
    """Return the loss () of two views, eq. 1: sum_d (c_dd - 1)^2 + lambda * sum_{d != e} c_de^2, c = z_a^T z_b / N.

    The cross-correlation c (D, D) is never formed: its squared norm is <K_a, K_b> / N^2 with the Gram matrices K, so
    the cost is O(N^2 D).

    Args:
        a, b: the views, row n of both from clip n.
        ``lambda_``: weight of the off-diagonal term.
    """
    diagonal = (a.z * b.z).mean(0)  # (D,)
    off_diagonal = (a.gram * b.gram).sum() / len(a.z) ** 2 - diagonal.square().sum()
    return ((diagonal - 1).square().sum() + lambda_ * off_diagonal).to(a.z.dtype)


def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float) -> Tensor:
    """Return the loss () of two batches of projector outputs (N, D), row n of both from clip n; see `correlate`."""
    return correlate(standardised_view(z1), standardised_view(z2), lambda_)


def floor(n: int, dim: int, lambda_: float) -> float:
    """Return the lower bound of the loss for ``n`` rows and ``dim`` features.

    n standardised rows have rank n - 1, so dim > n - 1 features cannot all be uncorrelated. With a diagonal of exactly
    one the loss is a = lambda * (dim^2 / (n - 1) - dim). The optimal, smaller diagonal gives dim * a / (dim + a).

    >>> round(floor(128, 6144, 2e-4), 1), floor(129, 128, 2e-4)
    (57.7, 0.0)
    """
    aligned = lambda_ * max(dim**2 / (n - 1) - dim, 0.0)
    return dim * aligned / (dim + aligned)


class BarlowTwins(nn.Module):
    """One loss per pair (anchor, other view), over the batch of all ranks.

    Args:
        ``lambda_``: weight of the off-diagonal term.
        sync: gather projector outputs of all ranks, with gradient, before they are standardised, so that W ranks with
            N / W rows each train as one process with N rows. Without it each rank correlates its local rows only,
            which is a different objective.
    """

    def __init__(self, *, lambda_: float = 2e-4, sync: bool = True) -> None:
        super().__init__()
        self.lambda_, self.sync = lambda_, sync

    def forward(self, anchor: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Return one loss () per other view, from un-normalised projector outputs (n_rank, D) of each view.

        Raises UserError for a batch of one clip.
        """
        first, *rest = (standardised_view(gather(z) if self.sync else z) for z in (anchor, *others))
        return tuple(correlate(first, other, self.lambda_) for other in rest)
