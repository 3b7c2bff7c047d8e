"""Retrieve training clips for each test clip by cosine: nearest-neighbour accuracy and mean average precision.

1-NN is the protocol of skeleton-contrast (Thoker et al., ACM MM 2021); the mean average precision is our addition.
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

# Cosines are rounded to this. In float64 the product of two vectors differs by 1e-15 with their position in the
# matrix, the number of threads and the block; rounded, equal clips tie at every position.
STEP = 1e-9


def retrieval(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """Classify test clips by their k nearest training clips, and measure the mean average precision of the ranking.

    Nothing but an optional auto-encoder is trained. Test clips are the queries and training clips the gallery, both
    under the deterministic test view. Arguments and errors are those of :func:`~skelssl.protocols.frozen.nearest`.

    Returns:
        Scores of the test clips, (N, classes) votes; ``extra["map"]`` is the mean average precision.
    """
    sides = gallery_and_queries(frozen, recipe, seed)
    scores = neighbour_votes(frozen, recipe, *sides)
    return replace(scores, extra={"map": float(average_precision(*sides).mean())})


def average_precision(train: Features, test: Features, *, chunk: int = 256) -> Tensor:
    """Return the average precision of each query: the mean precision at the ranks of its class's gallery clips.

    Of equally near clips (cosines rounded to ``STEP``) the lowest gallery row ranks first. A query whose class is not
    in the gallery has 0, as in top-1.

    Args:
        train: Features (G, K, D) of the gallery.
        test: Features (N, K, D) of the queries.
        chunk: Queries compared at a time, which takes a few times ``chunk`` x G float64 of memory.

    Returns:
        (N,) float64.
    """
    gallery, queries = (F.normalize(f.x.double().mean(1), dim=1) for f in (train, test))
    return torch.cat(
        [
            _average_precision(q @ gallery.T, train.label == label[:, None])
            for q, label in zip(torch.split(queries, chunk), torch.split(test.label, chunk), strict=True)
        ]
    )


def _average_precision(cosine: Tensor, relevant: Tensor) -> Tensor:
    """Return the average precision (Q,) of cosines and relevance (Q, G)."""
    order = (cosine / STEP).round().sort(dim=1, descending=True, stable=True).indices
    hit = relevant.gather(1, order).double()
    rank = torch.arange(1, hit.shape[1] + 1, device=hit.device, dtype=torch.float64)
    return (hit.cumsum(1) / rank * hit).sum(1) / hit.sum(1).clamp(min=1)
