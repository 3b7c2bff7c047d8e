"""Paired differences: against index-by-index bootstrap, the normal approximation, and cases known by hand."""

import numpy as np
import pytest

from skelssl.results.statistics import paired_difference, seed_statistics


def coins(n: int, p: float, seeds: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((seeds, n)) < p


def naive(a: np.ndarray, b: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    rng, clips = np.random.default_rng(seed), a.shape[1]
    means = []
    for _ in range(draws):
        chosen = [int(rng.integers(clips)) for _ in range(clips)]
        means.append(np.mean([a[:, i].mean() - b[:, i].mean() for i in chosen]))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def test_equals_the_naive_bootstrap_within_its_noise() -> None:
    a, b = coins(60, 0.8, 3, 1), coins(60, 0.5, 3, 2)
    mean, low, high = paired_difference(a, b, draws=20000)
    assert mean == pytest.approx(a.mean() - b.mean())
    assert (low, high) == pytest.approx(naive(a, b, 1500, 3), abs=0.015)


def test_agrees_with_the_normal_approximation_on_many_clips() -> None:
    a, b = coins(5000, 0.7, 1, 4), coins(5000, 0.6, 1, 5)
    d = a[0].astype(float) - b[0]
    mean, low, high = paired_difference(a, b, draws=20000)
    error = 1.96 * d.std() / np.sqrt(5000)
    assert (mean, low, high) == pytest.approx((d.mean(), d.mean() - error, d.mean() + error), abs=6e-4)


def test_clips_are_the_sample_not_seed_times_clip() -> None:
    a, b = coins(400, 0.7, 1, 6), coins(400, 0.5, 1, 7)
    once, thrice = paired_difference(a, b), paired_difference(np.repeat(a, 3, 0), np.repeat(b, 3, 0))
    assert thrice == pytest.approx(once)  # three equal seeds tell nothing new


def test_is_paired() -> None:
    right = coins(200, 0.5)
    assert paired_difference(right, right) == (0.0, 0.0, 0.0)
    assert paired_difference(np.ones(9, bool), np.zeros(9, bool)) == (1.0, 1.0, 1.0)


def test_same_seed_same_interval() -> None:
    a, b = coins(50, 0.7, 1, 8), coins(50, 0.5, 1, 9)
    assert paired_difference(a, b, seed=1) == paired_difference(a, b, seed=1) != paired_difference(a, b, seed=2)


def test_sides_may_differ_in_their_seeds() -> None:
    """Two equal seeds on one side and one on the other tell what one each tells; the means are those of each side."""
    a, b = coins(300, 0.7, 1, 10), coins(300, 0.5, 3, 11)
    assert paired_difference(np.repeat(a, 2, 0), b) == pytest.approx(paired_difference(a, b))
    assert paired_difference(a, b).mean == pytest.approx(a.mean() - b.mean())
    _, low, high = paired_difference(a, b, draws=20000)
    assert (low, high) == pytest.approx(naive(a, b, 1500, 3), abs=0.015)


@pytest.mark.parametrize(("a", "b"), [((0, 4), (2, 4)), ((1, 0), (1, 0)), ((1, 4), (1, 5))])
def test_refuses_arrays_that_are_no_pairs(a: tuple[int, int], b: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected one"):
        paired_difference(np.zeros(a, bool), np.zeros(b, bool))


def test_spread_is_the_sample_deviation() -> None:
    assert seed_statistics([0.5]) == (0.5, None, None, None)
    assert seed_statistics([0.1, 0.2, 0.3])[:2] == (pytest.approx(0.2), pytest.approx(0.1))
