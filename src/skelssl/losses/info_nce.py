"""InfoNCE with a queue of negatives.

van den Oord et al., 2018 (arXiv 1807.03748); as in MoCo: He et al., CVPR 2020 (arXiv 1911.05722), eq. 1; between
representations: Thoker et al., ACM MM 2021 (arXiv 2108.03656).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelssl.errors import UserError


def unit(z: Tensor) -> Tensor:
    """(N, D) -> rows of length 1, at least float32."""
    return F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)


def contrast_logits(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """[q·k, q·n_1, …, q·n_K] / temperature for unit rows: (N, D), (N, D), (K, D) -> (N, 1 + K); column 0 is right."""
    positive = (query * key).sum(1, keepdim=True)
    return torch.cat([positive, query @ negatives.T], 1) / temperature


class Match(NamedTuple):
    """How well queries find their own key."""

    loss: Tensor  # (), mean over the batch
    top1: Tensor  # (), share of queries that are closer to their key than to every negative


class InfoNCE(nn.Module):
    """-log softmax of a query's own key among K negatives, mean over the batch.

    Each rank has its own queries and keys, and the negatives are the same on all: the mean over ranks is the loss of
    one process with the whole batch.

    temperature: what cosines are divided by, above 0.
    """

    def __init__(self, *, temperature: float = 0.07) -> None:
        super().__init__()
        if not temperature > 0:
            raise UserError(f"method.loss.temperature: found {temperature}, expected a number above 0")
        self.temperature = temperature

    def forward(self, query: Tensor, key: Tensor, negatives: Tensor) -> Match:
        """Unit rows: queries (N, D) with gradient, their keys (N, D), negatives (K, D)."""
        with torch.autocast(query.device.type, enabled=False):  # cosines / 0.07 need more than half precision
            logits = contrast_logits(query, key, negatives, self.temperature)
            first = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
            loss = F.cross_entropy(logits, first)
        return Match(loss, (logits.detach().argmax(1) == 0).to(loss.dtype).mean())
