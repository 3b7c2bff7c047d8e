"""Classify frozen features by their nearest neighbours, exactly, in blocks of cosine similarities.

k = 1 is the retrieval protocol of skeleton-contrast (Thoker et al., ACM MM 2021); a weighted vote with temperature
is that of Wu et al., CVPR 2018 (instance discrimination).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from skelssl.core.schema import expect
from skelssl.pretrained.features import Features, full_float32
from skelssl.pretrained.nearest import nearest_rows
from skelssl.results.scores import Scores


def knn(
    train: Features,
    test: Features,
    *,
    k: int = 1,
    temperature: float | None = None,
    classes: int | None = None,
    chunk: int = 512,
) -> Scores:
    """Score each test sample by the votes of its k nearest training samples.

    Features are averaged over their K clips and scaled to length 1. Each neighbour has one vote, or with a
    ``temperature`` t the weight exp((s - s_max) / t) of its cosine s; the shift by the best cosine of the query
    avoids overflow and leaves the ranking as it is. Of equally near samples (see ``TIE``) the lowest gallery row
    wins, of equal votes the lowest class.

    Args:
        train: Features (G, K, D) of the gallery.
        test: Features (N, K, D) of the queries.
        k: Number of neighbours that vote.
        temperature: Of the weights; None: each neighbour has one vote.
        classes: Number of classes; None: as many as the labels need.
        chunk: Queries compared at a time, which takes ``chunk`` x G floats of memory.

    Returns:
        The votes (N, classes).

    Raises:
        UserError: ``k`` is not from 1 to G, or ``temperature`` is not above 0.
    """
    _check(k, temperature, len(train))
    classes = classes or 1 + int(torch.cat([train.label, test.label]).max())
    gallery, queries = (F.normalize(f.x.mean(1), dim=1) for f in (train, test))
    with full_float32(gallery.device), torch.no_grad():
        votes = [
            _votes(*nearest_rows(q @ gallery.T, k), train.label, temperature, classes)
            for q in torch.split(queries, chunk)
        ]
    return Scores(torch.cat(votes), test.label, test.index, votes=True)


def _check(k: int, temperature: float | None, size: int) -> None:
    whole = isinstance(k, int) and not isinstance(k, bool)
    expect("probe.knn.k", k, whole and 1 <= k <= size, f"a whole number of 1 to {size} (the gallery's size)")
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    good = temperature is None or (number and temperature > 0)
    expect("probe.knn.temperature", temperature, good, "a number above 0 or null")


def _votes(s: Tensor, row: Tensor, label: Tensor, temperature: float | None, classes: int) -> Tensor:
    weight = torch.ones_like(s) if temperature is None else ((s - s.amax(1, keepdim=True)) / temperature).exp()
    # A product with one-hot rows: scatter_add_ has no fixed order of summation on a GPU.
    return torch.einsum("qk,qkc->qc", weight, F.one_hot(label[row], classes).to(weight.dtype))
