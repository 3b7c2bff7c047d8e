"""One raw recording as the parsed store keeps it, before any recipe has touched it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


class EmptyClip(ValueError):
    """A clip holds nothing that a recipe can use; the message says why."""


@dataclass(frozen=True, slots=True)
class RawClip:
    """The bodies a tracker listed, in file order: R body-frames over F frames (a frame may list no body)."""

    name: str  # S001C001P001R001A001
    label: int  # 0-based class
    bodies: NDArray[np.float32]  # (R, V, 3) metres, one row per body-frame
    body_id: NDArray[np.int64]  # (R,) the tracker's id; ids of 17 digits collide as float64
    track: NDArray[np.uint8]  # (R, V) joint state: 0 not tracked, 1 inferred, 2 tracked
    frame_ptr: NDArray[np.int64]  # (F + 1,) rows of frame f are frame_ptr[f]:frame_ptr[f + 1]
    facts: Mapping[str, int] = field(default_factory=dict)  # subject, camera, setup, replication, where known
    codes: tuple[str, ...] = ()  # warnings of the bad-input catalogue, such as D03

    @property
    def n_frames(self) -> int:
        return len(self.frame_ptr) - 1
