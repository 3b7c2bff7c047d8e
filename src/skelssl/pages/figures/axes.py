"""Compute the axes of a chart: round ticks, and the mapping from values to pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Axis:
    """Map [ticks[0], ticks[-1]] to [start, stop] pixels."""

    ticks: Sequence[float]
    start: float
    stop: float
    log: bool = False

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        ends = np.array([self.ticks[0], self.ticks[-1]])
        (low, high), at = (np.log10(ends), np.log10(values)) if self.log else (ends, values)
        placed: NDArray[np.float64] = self.start + (at - low) / (high - low) * (self.stop - self.start)
        return placed

    def marks(self) -> list[tuple[float, float]]:
        """Return (value, pixel) of every tick."""
        return list(zip(self.ticks, self(np.array(self.ticks)).tolist(), strict=True))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten) that enclose [low, high].

    >>> ticks(0.0, 0.83)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low if high > low else abs(high) or 1.0
    rough = 10.0 ** math.floor(math.log10(span / most))
    step = next(m * rough for m in (1, 2, 5, 10) if m * rough * most >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(max(high, low + step) / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return values 1, 2, 5 times powers of ten that enclose [low, high], low > 0. Many are thinned to powers of ten.

    >>> log_ticks(7.5, 330.0)
    [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
    >>> log_ticks(0.03, 330.0)
    [0.02, 0.1, 1.0, 10.0, 100.0, 500.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [float(f"{m}e{i}") for i in decades for m in (1, 2, 5)]
    first, last = max(v for v in values if v <= low), min(v for v in values if v >= high)
    inside = [v for v in values if first < v < last]
    powers = [v for v in inside if f"{v:.0e}".startswith("1")]
    return [first, *(inside if len(inside) < most else powers), last]
