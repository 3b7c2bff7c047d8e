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


class Spread(NamedTuple):
    """Mean over seeds and their sample standard deviation; ``sd`` is None for a single seed."""

    mean: float
    sd: float | None


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n - 1) of at least one value."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), sd)


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean, sample deviation and Student's 95 % interval of the mean of n > 1 values.

    Another set of seeds would have its mean in there. With t = √(n - 1) tan θ the density is that of cos^(n - 2) θ, so
    the quantile needs no table.
    """
    n, (mean, sd) = len(values), spread(values)
    if sd is None:
        raise ValueError(f"values: found {n}, expected at least 2")
    theta = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(theta) ** (n - 2)
    share = np.cumsum(density) - (density + density[0]) / 2  # by trapezoids, from the middle outwards
    half = np.sqrt(n - 1) * np.tan(np.interp(0.95, share / share[-1], theta)) * sd / np.sqrt(n)
    return {"mean": mean, "sd": sd, "low": float(mean - half), "high": float(mean + half)}


def paired_difference(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], seed: int = 0, draws: int = 2000
) -> Interval:
    """Mean of a - b over N test clips, both (S, N) or (N,), with its percentile-bootstrap 95 % interval.

    The clips are the sample: correctness is averaged over the S seeds first, then clips are drawn with replacement
    (Efron and Tibshirani, 1993, chapter 13). The interval therefore speaks about other test clips, not about other
    training seeds. Raises ValueError for arrays of different shapes or without clips.
    """
    a, b = np.atleast_2d(correct_a), np.atleast_2d(correct_b)
    if a.shape != b.shape or a.ndim != 2 or a.size == 0:
        raise ValueError(f"correct_a and correct_b: found shapes {a.shape} and {b.shape}, expected one (S, N), N > 0")
    seeds, clips = a.shape
    # A clip's difference is one of 2S + 1 values, so drawing N clips is one multinomial draw over the values' counts.
    steps, counts = np.unique(a.sum(0, dtype=np.int64) - b.sum(0, dtype=np.int64), return_counts=True)
    values = steps / seeds
    drawn = np.random.default_rng(seed).multinomial(clips, counts / clips, size=draws) @ values / clips
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(counts @ values / clips), float(low), float(high))
