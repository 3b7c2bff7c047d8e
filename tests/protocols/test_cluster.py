"""k-means, the assignment of clusters to classes, and its measures, against definitions written out."""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.pretrained.features import Features
from skelssl.protocols.assignment import best_assignment
from skelssl.protocols.cluster import ari, cluster, contingency, k_means, nmi
from tests.helpers.frozen import frozen_of


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 6), st.integers(0, 9999), st.integers(1, 9))
def test_no_assignment_is_better(n: int, seed: int, high: int) -> None:
    value = np.random.default_rng(seed).integers(-high, high, (n, n))
    found = best_assignment(value)
    assert sorted(found) == list(range(n))
    best = max(sum(value[i, p[i]] for i in range(n)) for p in permutations(range(n)))
    assert value[np.arange(n), found].sum() == best


def test_an_assignment_needs_a_square() -> None:
    with pytest.raises(ValueError, match=r"found shape \(2, 3\), expected a square matrix"):
        best_assignment(np.zeros((2, 3)))


def blobs(n: int = 30, k: int = 3, spread: float = 0.05) -> tuple[torch.Tensor, NDArray[np.int64]]:
    dice = np.random.default_rng(0)
    label = np.arange(n) % k
    return torch.from_numpy(10 * np.eye(k, 4)[label] + dice.normal(0, spread, (n, 4))), label


def test_blobs_are_found_and_the_answer_is_repeatable() -> None:
    x, label = blobs()
    found, again = k_means(x, 3, seed=5), k_means(x, 3, seed=5)
    assert torch.equal(found.cluster, again.cluster)
    table = contingency(found.cluster.numpy(), label, 3)
    assert sorted(table.max(1)) == [10, 10, 10]
    assert (ari(table), nmi(table)) == pytest.approx((1, 1))


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 25), st.integers(1, 4), st.integers(0, 999))
def test_lloyd_has_come_to_rest(n: int, k: int, seed: int) -> None:
    """Each point is nearest to the mean of its own cluster, no cluster is empty, and inertia is what it says."""
    x = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = k_means(x, k, seed, restarts=3)
    assert found.cluster.unique().tolist() == list(range(k))
    centre = torch.stack([x[found.cluster == c].mean(0) for c in range(k)])
    distance = torch.cdist(x, centre)
    own = distance[torch.arange(n), found.cluster]
    assert (own <= distance.min(1).values + 1e-9).all()
    assert found.inertia == pytest.approx(float(own.square().sum()))
    assert found.inertia <= k_means(x, k, seed, restarts=1).inertia + 1e-9


def test_points_all_alike_are_one_cluster_each_way() -> None:
    found = k_means(torch.ones(6, 2, dtype=torch.float64), 3, seed=0)
    assert found.inertia == 0


@settings(deadline=None)
@given(st.integers(2, 25), st.integers(1, 4), st.integers(0, 999))
def test_measures_are_their_definitions(n: int, k: int, seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, k, (2, n))
    table = contingency(a, b, k)
    pairs = [(a[i] == a[j], b[i] == b[j]) for i, j in combinations(range(n), 2)]
    both, first, second = (sum(map(f, pairs)) for f in (all, lambda p: p[0], lambda p: p[1]))
    expected = first * second / len(pairs)
    most = (first + second) / 2
    assert ari(table) == pytest.approx((both - expected) / (most - expected) if most > expected else 1.0)
    mutual = entropy_a = entropy_b = 0.0
    for c in range(k):
        p, q = np.mean(a == c), np.mean(b == c)
        entropy_a -= p * np.log(p) if p else 0
        entropy_b -= q * np.log(q) if q else 0
        for d in range(k):
            joint = np.mean((a == c) & (b == d))
            mutual += joint * np.log(joint / (p * np.mean(b == d))) if joint else 0
    mean = (entropy_a + entropy_b) / 2
    assert nmi(table) == pytest.approx(mutual / mean if mean else 1.0, abs=1e-9)


def test_accuracy_is_that_of_the_best_naming(data_root: Path) -> None:
    frozen = frozen_of("GRU", data_root, limit=None)
    scores = cluster(frozen, {"restarts": 2, "iterations": 50}, 0)
    test = frozen.features("test", "test")
    points = torch.nn.functional.normalize(test.x.double().mean(1), dim=1)
    groups = k_means(points, 4, 0, restarts=2, iterations=50).cluster
    best = max(float(np.mean(np.array(p)[groups] == test.label.numpy())) for p in permutations(range(4)))
    assert scores.top1 == best
    assert scores.extra["labels_used"] == 0
    assert scores.extra["clusters"] == 4


def test_two_clusters_never_stand_for_one_class(data_root: Path) -> None:
    """Three blobs with labels 000, 001 and 222: naming each by its majority would be right 8 times, one by one 7."""
    frozen = frozen_of("GRU", data_root, limit=None)
    x = torch.eye(3).repeat_interleave(3, 0)[:, None]
    label = torch.tensor([0, 0, 0, 0, 0, 1, 2, 2, 2])
    frozen.cache["test", "test", 0] = Features(x, label, torch.arange(9))
    scores = cluster(frozen, {"restarts": 5, "iterations": 50}, 0)
    assert scores.top1 == 7 / 9
    assert scores.extra["clusters"] == 3
    assert scores.logits.shape == (9, 4)
    assert scores.logits.sum(1).tolist() == [1.0] * 9


def test_a_recipe_without_restarts_is_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match=r"probe\.cluster\.restarts: found 0, expected a whole number of at least 1"):
        cluster(frozen_of("GRU", data_root), {"restarts": 0, "iterations": 5}, 0)
