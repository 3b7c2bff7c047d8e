"""Clustering: do the test clips fall into their classes without any label? k-means, then the best naming of clusters.

No paper of the package defines this protocol; accuracy, NMI and ARI are those of the clustering literature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.core.schema import expect
from skelssl.protocols.assignment import best_assignment
from skelssl.protocols.frozen import Frozen
from skelssl.results.scores import Scores


def cluster(frozen: Frozen, recipe: Mapping[str, Any], seed: int) -> Scores:
    """k-means of the test clips' features, scaled to length 1; k = the classes that have test clips.

    The logits are 1 for the class that a clip's cluster is matched with, so ``top1`` is the clustering accuracy under
    the best one-to-one match, which the test labels choose; no label is used before. ``extra``: ``nmi``, ``ari``.
    """
    check_cluster_recipe(recipe)
    test = frozen.features("test", "test")
    points = F.normalize(test.x.double().mean(1), dim=1).to(frozen.device)
    present, label = np.unique(test.label.numpy(), return_inverse=True)
    if len(points) < len(present):
        raise UserError(f"cluster: found {len(points)} test clips, expected at least {len(present)}")
    found = k_means(points, len(present), seed, restarts=recipe["restarts"], iterations=recipe["iterations"])
    table = contingency(found.cluster.cpu().numpy(), label, len(present))
    named = torch.from_numpy(present[best_assignment(table)])[found.cluster.cpu()]
    logits = F.one_hot(named, frozen.data.classes).float()
    extra = {"labels_used": 0, "clusters": len(present), "nmi": nmi(table), "ari": ari(table),
             "inertia": found.inertia}  # fmt: skip
    return Scores(logits, test.label, test.index, votes=True, test_selected=True, extra=extra)


def check_cluster_recipe(recipe: Mapping[str, Any]) -> None:
    """Raises UserError for a recipe without restarts or iterations."""
    for key in ("restarts", "iterations"):
        good = type(recipe[key]) is int and recipe[key] >= 1
        expect(f"probe.cluster.{key}", recipe[key], good, "a whole number of at least 1")


class Clusters(NamedTuple):
    """A partition of N points."""

    cluster: Tensor  # (N,) int64
    inertia: float  # sum of squared distances to the centres


def k_means(x: Tensor, k: int, seed: int, *, restarts: int = 10, iterations: int = 300) -> Clusters:
    """Lloyd's algorithm on (N, D) float64 until nothing moves, from ``restarts`` k-means++ starts; the best of them.

    Arthur and Vassilvitskii, SODA 2007. Equal distances go to the lower centre, equal restarts to the first. A centre
    that loses all its points moves to the point that is worst off.
    """
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        return min((_lloyd(x, _plus_plus(x, k, generator), iterations) for _ in range(restarts)),
                   key=lambda found: found.inertia)  # fmt: skip


def _plus_plus(x: Tensor, k: int, generator: np.random.Generator) -> Tensor:
    """(k, D): each next centre is drawn with the squared distance to the nearest one before."""
    chosen = [int(generator.integers(len(x)))]
    least = _squared(x, x[chosen])[:, 0]
    while len(chosen) < k:
        weight = least.cpu().numpy().cumsum()
        drawn = np.searchsorted(weight, generator.random() * weight[-1], side="right")
        chosen.append(min(int(drawn), len(x) - 1))  # all points alike: the weights are 0
        least = torch.minimum(least, _squared(x, x[chosen[-1:]])[:, 0])
    return x[chosen]


def _lloyd(x: Tensor, centre: Tensor, iterations: int) -> Clusters:
    before = None
    for _ in range(iterations):
        distance, cluster = _squared(x, centre).min(1)
        if before is not None and torch.equal(cluster, before):
            break
        before, member = cluster, F.one_hot(cluster, len(centre)).to(x.dtype)
        count = member.sum(0)
        centre = member.T @ x / count.clamp(min=1)[:, None]
        empty = (count == 0).nonzero().flatten()
        centre[empty] = x[distance.argsort(descending=True, stable=True)[: len(empty)]]
    distance, cluster = _squared(x, centre).min(1)
    return Clusters(cluster, float(distance.sum()))


def _squared(x: Tensor, centre: Tensor) -> Tensor:
    """(N, D), (k, D) -> (N, k) squared distances."""
    products = x @ centre.T
    return (x.square().sum(1, keepdim=True) - 2 * products + centre.square().sum(1)).clamp(min=0)


def contingency(cluster: ArrayLike, label: ArrayLike, k: int) -> NDArray[np.int64]:
    """(k, k) counts: row = cluster, column = label, both (N,) of 0 to k - 1."""
    return np.bincount(np.asarray(cluster) * k + np.asarray(label), minlength=k * k).reshape(k, k)


def nmi(table: NDArray[np.int64]) -> float:
    """Normalised mutual information of a contingency table, over the mean of both entropies; 1 for one cluster each."""
    joint = table / table.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    mutual = _entropy(rows) + _entropy(columns) - _entropy(joint.ravel())
    mean = (_entropy(rows) + _entropy(columns)) / 2
    return float(mutual / mean) if mean > 0 else 1.0


def ari(table: NDArray[np.int64]) -> float:
    """Adjusted Rand index (Hubert and Arabie, 1985): 1 for equal partitions, 0 on average for independent ones."""
    same, rows, columns, all_pairs = (float((n * (n - 1) // 2).sum()) for n in
                                      (table, table.sum(1), table.sum(0), np.array([table.sum()])))  # fmt: skip
    expected, most = rows * columns / max(all_pairs, 1), (rows + columns) / 2
    return (same - expected) / (most - expected) if most > expected else 1.0


def _entropy(p: NDArray[np.float64]) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
