"""Cluster the test clips by k-means and compare the clusters with the classes.

No paper of the package defines this protocol. Accuracy, NMI and ARI are those of the clustering literature.
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
    """Cluster the test clips' features, scaled to length 1, into as many clusters as there are classes with test clips.

    Nothing is trained, and training clips are not used. The test labels select the best one-to-one match between
    clusters and classes; no label is used before that.

    Args:
        frozen: The encoder on a dataset.
        recipe: ``restarts`` and ``iterations`` of k-means.
        seed: Decides the initial centres.

    Returns:
        Scores of the test clips: (N, classes) with 1 for the class matched with a clip's cluster, so that ``top1`` is
        the clustering accuracy. ``extra`` has ``nmi``, ``ari``, ``clusters`` and ``inertia``.

    Raises:
        UserError: ``restarts`` or ``iterations`` is not at least 1, or there are fewer test clips than classes.
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
    """Raise UserError unless the recipe has at least one restart and one iteration."""
    for key in ("restarts", "iterations"):
        good = type(recipe[key]) is int and recipe[key] >= 1
        expect(f"probe.cluster.{key}", recipe[key], good, "a whole number of at least 1")


class Clusters(NamedTuple):
    """A partition of N points."""

    cluster: Tensor  # (N,) int64
    inertia: float  # sum of squared distances to the centres


def k_means(x: Tensor, k: int, seed: int, *, restarts: int = 10, iterations: int = 300) -> Clusters:
    """Cluster points by Lloyd's algorithm and return the best of several k-means++ restarts.

    k-means++ is by Arthur and Vassilvitskii, SODA 2007. Ties between centres go to the lower one, ties between restarts
    to the first. A centre that loses all its points moves to the point that is farthest from its own centre.

    Args:
        x: (N, D) float64 points.
        k: Number of clusters, at most N.
        seed: Decides the initial centres.
        restarts: Number of initialisations; the one with the lowest inertia is returned.
        iterations: Most iterations of each, fewer where the clusters no longer change.
    """
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        return min((_lloyd(x, _plus_plus(x, k, generator), iterations) for _ in range(restarts)),
                   key=lambda found: found.inertia)  # fmt: skip


def _plus_plus(x: Tensor, k: int, generator: np.random.Generator) -> Tensor:
    """Draw (k, D) initial centres, each with probability proportional to the squared distance to the nearest one."""
    chosen = [int(generator.integers(len(x)))]
    least = _squared(x, x[chosen])[:, 0]
    while len(chosen) < k:
        weight = least.cpu().numpy().cumsum()
        drawn = np.searchsorted(weight, generator.random() * weight[-1], side="right")
        chosen.append(min(int(drawn), len(x) - 1))  # all points are equal: the weights are 0
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
    """Return the (N, k) squared distances of points (N, D) to centres (k, D)."""
    products = x @ centre.T
    return (x.square().sum(1, keepdim=True) - 2 * products + centre.square().sum(1)).clamp(min=0)


def contingency(cluster: ArrayLike, label: ArrayLike, k: int) -> NDArray[np.int64]:
    """Return (k, k) counts, row = cluster, column = label; both are (N,) numbers from 0 to k - 1."""
    return np.bincount(np.asarray(cluster) * k + np.asarray(label), minlength=k * k).reshape(k, k)


def nmi(table: NDArray[np.int64]) -> float:
    """Return the mutual information of a contingency table over the mean of both entropies; 1 where both are 0."""
    joint = table / table.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    mutual = _entropy(rows) + _entropy(columns) - _entropy(joint.ravel())
    mean = (_entropy(rows) + _entropy(columns)) / 2
    return float(mutual / mean) if mean > 0 else 1.0


def ari(table: NDArray[np.int64]) -> float:
    """Return the adjusted Rand index (Hubert, Arabie, 1985): 1 for equal partitions, 0 for random ones on average."""
    same, rows, columns, all_pairs = (float((n * (n - 1) // 2).sum()) for n in
                                      (table, table.sum(1), table.sum(0), np.array([table.sum()])))  # fmt: skip
    expected, most = rows * columns / max(all_pairs, 1), (rows + columns) / 2
    return (same - expected) / (most - expected) if most > expected else 1.0


def _entropy(p: NDArray[np.float64]) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
