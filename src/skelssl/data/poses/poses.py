"""Define ``Poses``, the result of every reader of pose files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNITS = ("m", "cm", "px", "unknown")
FROM_IMAGE = np.array([-1, -1], np.float32)  # x right and y down, as images count, to the axes of `Poses`


@dataclass(frozen=True)
class Poses:
    """One clip of M persons over T frames; persons in descending order of their total confidence.

    Axes are those of NTU RGB+D: x to the left as the camera sees it, y up, z away from the camera. The left side of a
    person who faces the camera is at smaller x. A joint with ``seen`` 0 in all frames is not in the tool's output, or
    was never seen.

    Attributes:
        name: of the clip
        x: (T, M, V, C), C = 2 (image plane) or 3, in ``unit``, zeros where not seen
        seen: (T, M, V) confidence in [0, 1]; 0 means not seen
        layout: name for ``skelssl.skeleton.layout.load_layout``
        fps: frames per second; None if the file does not contain it
        unit: one of ``UNITS``
        label: 0-based class, only of annotated clips
        splits: the lists of its file that contain the clip, such as xsub_train
    """

    name: str
    x: NDArray[np.float32]
    seen: NDArray[np.float32]
    layout: str
    fps: float | None = None
    unit: str = "unknown"
    label: int | None = None
    splits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.x.shape[:3] == self.seen.shape, (self.x.shape, self.seen.shape)
        assert self.x.shape[3] in (2, 3), self.x.shape
        assert self.unit in UNITS, self.unit
