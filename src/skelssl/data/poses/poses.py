"""``Poses``: what every reader of pose files gives, whatever tool wrote them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNITS = ("m", "cm", "px", "unknown")
FROM_IMAGE = np.array([-1, -1], np.float32)  # x right and y down, as images count, to the axes of `Poses`


@dataclass(frozen=True)
class Poses:
    """One clip of M persons over T frames; persons in descending order of how much they are seen.

    Axes are those of NTU RGB+D: x to the left as the camera sees it, y up, z away from the camera. Somebody who faces
    the camera has his left at smaller x.

    A joint with ``seen`` 0 in all frames is one that the tool does not give or never saw.
    """

    name: str
    x: NDArray[np.float32]  # (T, M, V, C), C = 2 (image plane) or 3, zeros where not seen
    seen: NDArray[np.float32]  # (T, M, V) confidence in [0, 1]; 0 = not seen
    layout: str  # for ``skelssl.skeleton.layout.load_layout``
    fps: float | None = None  # None where the file does not say
    unit: str = "unknown"  # one of UNITS
    label: int | None = None  # of annotated clips alone
    splits: tuple[str, ...] = ()  # the lists of its file that name the clip, such as xsub_train

    def __post_init__(self) -> None:
        assert self.x.shape[:3] == self.seen.shape, (self.x.shape, self.seen.shape)
        assert self.x.shape[3] in (2, 3), self.x.shape
        assert self.unit in UNITS, self.unit
