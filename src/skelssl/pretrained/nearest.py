"""Find exact nearest neighbours, with ties that do not depend on rounding."""

from __future__ import annotations

import torch
from torch import Tensor

# The same pair of vectors gives products that differ in the last bits with its place in the matrix, the number of
# threads and the block. Closer cosines than this are therefore equal, or ties would go to chance.
TIE = 2 * torch.finfo(torch.float32).eps


def nearest_rows(s: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return cosines and gallery rows (Q, k) of the nearest by similarities (Q, G); ties go to the lowest row."""
    best, row = s.topk(min(k + 1, s.shape[1]), 1)
    row = row[:, :k]
    # topk may pick any of two equal values, which matters where the last one in ties with the first one out.
    cut = best[:, k - 1 : k]
    tied = (cut - best[:, -1:] <= TIE)[:, 0]
    if tied.any():
        level = s[tied].where((s[tied] - cut[tied]).abs() > TIE, cut[tied])
        row[tied] = level.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return s.gather(1, row), row
