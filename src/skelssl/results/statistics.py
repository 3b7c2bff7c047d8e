"""How sure are we: intervals over test clips, spreads over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Interval(NamedTuple):
    """A mean and the interval that holds it with 95 %."""

    mean: float
    low: float
    high: float


class SeedStatistics(NamedTuple):
    """Mean over seeds, their sample standard deviation and Student's 95 % interval; only a mean for a single seed."""

    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def seed_statistics(values: Sequence[float]) -> SeedStatistics:
    """Of n >= 1 values the mean, the sample deviation (n - 1), and the interval mean ± t sd / √n.

    Another set of seeds would have its mean in there. With t = √(n - 1) tan θ the density of Student's t is that of
    cos^(n - 2) θ, so its quantile needs no table.
    """
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return SeedStatistics(mean)
    theta = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(theta) ** (n - 2)
    share = np.cumsum(density) - (density + density[0]) / 2  # by trapezoids, from the middle outwards
    t = np.sqrt(n - 1) * np.tan(np.interp(0.95, share / share[-1], theta))
    sd = float(np.std(values, ddof=1))
    half = float(t * sd / np.sqrt(n))
    return SeedStatistics(mean, sd, mean - half, mean + half)


def paired_difference(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], seed: int = 0, draws: int = 2000
) -> Interval:
    """Mean of a - b over N test clips, (S, N) and (R, N) or (N,), with its percentile-bootstrap 95 % interval.

    The clips are the sample: correctness is averaged over the seeds of each side first, then clips are drawn with
    replacement (Efron and Tibshirani, 1993, chapter 13). The interval therefore speaks about other test clips, not
    about other training seeds. Raises ValueError for sides of different clips or without any.
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
