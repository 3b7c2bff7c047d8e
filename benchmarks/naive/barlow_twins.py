"""Barlow Twins as the paper's pseudo-code has it, with the D x D correlation matrix (arXiv 2103.03230)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import batch_norm


def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float) -> Tensor:
    """Loss () of two batches of projector outputs (N, D)."""
    n, dim = z1.shape
    z1, z2 = (batch_norm(z, None, None, training=True) for z in (z1, z2))
    c = z1.T @ z2 / n
    on_diagonal = (c.diagonal() - 1).square().sum()
    off_diagonal = c.flatten()[:-1].view(dim - 1, dim + 1)[:, 1:].square().sum()  # every element but the diagonal
    return on_diagonal + lambda_ * off_diagonal
