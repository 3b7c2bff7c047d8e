"""Compute confidence intervals over test clips, and mean and standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


class SeedStatistics(NamedTuple):
    """Mean over seeds, sample standard deviation and Student's 95 % interval; a single seed has a mean only."""

    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def seed_statistics(values: Sequence[float]) -> SeedStatistics:
    """Return the mean of n >= 1 values, their sample standard deviation (n - 1) and the interval mean ± t sd / √n.

    The interval is about the mean over all seeds. With t = √(n - 1) tan θ the density of Student's t is that of
    cos^(n - 2) θ, so its quantile needs no table.
    """
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return SeedStatistics(mean)
    theta = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(theta) ** (n - 2)
    mass = np.cumsum(density) - (density + density[0]) / 2  # by the trapezoidal rule, from the middle outwards
    t = np.sqrt(n - 1) * np.tan(np.interp(0.95, mass / mass[-1], theta))
    sd = float(np.std(values, ddof=1))
    half = float(t * sd / np.sqrt(n))
    return SeedStatistics(mean, sd, mean - half, mean + half)


def paired_difference(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], seed: int = 0, draws: int = 2000
) -> Interval:
    """Return the mean of a - b over N test clips with its percentile-bootstrap 95 % interval.

    The clips are the sample: correctness is averaged over the seeds of each side first, then clips are drawn with
    replacement (Efron and Tibshirani, 1993, chapter 13). The interval therefore is about other test clips, not about
    other training seeds.

    Args:
        correct_a: (S, N) of S seeds, or (N,).
        correct_b: (R, N) or (N,), in the same order of clips.
        seed: Of the bootstrap.
        draws: Number of bootstrap samples.

    Raises:
        ValueError: The sides have different numbers of clips, or none.
    """
    a, b = np.atleast_2d(correct_a), np.atleast_2d(correct_b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.size or not b.size:
        raise ValueError(f"correct_a and correct_b: found shapes {a.shape} and {b.shape}, expected one N > 0 of clips")
    clips = a.shape[1]
    # A clip's difference is one of few values, so drawing N clips is one multinomial draw over the values' counts.
    steps, counts = np.unique(len(b) * a.sum(0, dtype=np.int64) - len(a) * b.sum(0, dtype=np.int64), return_counts=True)
    values = steps / (len(a) * len(b))
    drawn = np.random.default_rng(seed).multinomial(clips, counts / clips, size=draws) @ values / clips
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(counts @ values / clips), float(low), float(high))
