"""Retrieval: each test clip ranks the training clips by cosine; the nearest one's class, and mean average precision.

1-NN is the protocol of skeleton-contrast (Thoker et al., ACM MM 2021); the mean average precision beside it is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skelssl.pretrained.features import Features
from skelssl.protocols.frozen import Frozen, gallery_and_queries, neighbour_votes
from skelssl.results.scores import Scores

# Cosines are rounded to this. In float64 the products of one pair of vectors differ by 1e-15 with their place in the
# matrix, the number of threads and the block, so equal clips tie wherever they stand.
STEP = 1e-9


def retrieval(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """k nearest neighbours as in ``knn``, and ``map``; both sides under the deterministic test view."""
    sides = gallery_and_queries(frozen, recipe, seed)
    scores = neighbour_votes(frozen, recipe, *sides)
    return replace(scores, extra={"map": float(average_precision(*sides).mean())})


def average_precision(train: Features, test: Features, *, chunk: int = 256) -> Tensor:
    """(N,) float64: for each query, the mean over its class's gallery clips of the precision at their ranks.

    Equally near clips (cosines rounded to ``STEP``): the lowest gallery row ranks first. A query whose class the
    gallery lacks has 0, as it has in top-1. Memory: a few times ``chunk`` x gallery float64.
    """
    gallery, queries = (F.normalize(f.x.double().mean(1), dim=1) for f in (train, test))
    return torch.cat(
        [
            _average_precision(q @ gallery.T, train.label == label[:, None])
            for q, label in zip(torch.split(queries, chunk), torch.split(test.label, chunk), strict=True)
        ]
    )


def _average_precision(cosine: Tensor, relevant: Tensor) -> Tensor:
    """Cosines and relevance (Q, G) -> (Q,)."""
    order = (cosine / STEP).round().sort(dim=1, descending=True, stable=True).indices
    hit = relevant.gather(1, order).double()
    rank = torch.arange(1, hit.shape[1] + 1, device=hit.device, dtype=torch.float64)
    return (hit.cumsum(1) / rank * hit).sum(1) / hit.sum(1).clamp(min=1)
