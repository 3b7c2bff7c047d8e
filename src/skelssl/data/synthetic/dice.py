"""Draw random numbers that never change: raw 64-bit words of Philox, converted to floats here.

NumPy guarantees the stream of a bit generator, but not the algorithms of ``Generator.normal`` and similar methods,
which may change with a release. The few distributions that are needed are therefore implemented here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Dice:
    """A random stream named by integers, such as ``Dice(seed, label, subject)``; equal names give equal draws."""

    def __init__(self, *name: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(list(name)))

    def uniform(self, low: float, high: float, *shape: int) -> Floats:
        """Draw uniformly from [low, high) with 53 random bits; an empty ``shape`` gives a 0-d array."""
        words = self._bits.random_raw(math.prod(shape)).reshape(shape)
        return np.asarray(low + (high - low) * ((words >> np.uint64(11)) * 2.0**-53), dtype=np.float64)

    def normal(self, scale: float, *shape: int) -> Floats:
        """Draw from a centred normal with standard deviation ``scale`` (Box and Muller, 1958)."""
        u, v = self.uniform(0, 1, 2, *shape)
        return np.asarray(scale * np.sqrt(-2 * np.log1p(-u)) * np.cos(2 * np.pi * v))

    def chance(self, probability: float) -> bool:
        """Draw true with the given probability."""
        return bool(self.uniform(0, 1) < probability)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from ``low`` to ``high``, both included."""
        return low + int(self.uniform(0, high - low + 1))
