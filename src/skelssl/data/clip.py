"""Define one raw recording as the parsed store holds it, before any recipe is applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The form of a clip's bodies decides which recipes can process it:
RAW = "raw"  # a tracker's list: bodies appear and disappear, ids distinguish them
PERSONS = "persons"  # at most two persons, already separated: body_id is 0 or 1
PKU = "pku"  # as PERSONS, with one frame before the interval that some conventions leave out
LISTED = "listed"  # up to four bodies by their position in a tracker's list, without ids: body_id is the position
LISTED_TWO = "listed_two"  # as LISTED, but only the first two positions were retained
# The name of a recipe is a form too: persons as that recipe's published files hold them.

RECIPE_FREE = (RAW, PERSONS, PKU)  # for every recipe, faithful or not
RECORDED = (*RECIPE_FREE, LISTED, LISTED_TWO)  # as recorded by a camera: only in these forms does zero mean absent
# Forms that only recipes without ids can process:
RECIPES_OF_FORM = {LISTED: ("aimclr", "agcn"), LISTED_TWO: ("aimclr",)}


class EmptyClip(ValueError):
    """Error for a clip that a recipe cannot use; ``code`` is a code of the bad-input catalogue."""

    def __init__(self, reason: str, code: str = "D04") -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class RawClip:
    """The bodies that a tracker listed, in file order: R body-frames over F frames (a frame may list no body)."""

    name: str  # S001C001P001R001A001
    label: int  # 0-based class
    bodies: NDArray[np.float32]  # (R, V, 3) metres, one row per body-frame
    body_id: NDArray[np.int64]  # (R,) the tracker's id; ids of 17 digits collide as float64
    track: NDArray[np.uint8]  # (R, V) joint state: 0 not tracked, 1 inferred, 2 tracked
    frame_ptr: NDArray[np.int64]  # (F + 1,) rows of frame f are frame_ptr[f]:frame_ptr[f + 1]
    facts: Mapping[str, int] = field(default_factory=dict)  # subject, camera, setup, replication, if known
    codes: tuple[str, ...] = ()  # warnings of the bad-input catalogue, such as D03
    form: str = RAW  # RAW, PERSONS, PKU or a recipe's name
    repaired: int = 0  # joints interpolated or left out because of NaN (D12)

    @property
    def n_frames(self) -> int:
        return len(self.frame_ptr) - 1

    @classmethod
    def of_persons(cls, name: str, label: int, x: NDArray[np.float32], **more: Any) -> RawClip:
        """Build a clip of persons (T, M, V, 3) in fixed slots.

        Args:
            name: of the clip
            label: 0-based class
            x: (T, M, V, 3) m; an absent person is all zero
            **more: further fields, such as facts, codes and form
        """
        there = np.any(x != 0, axis=(2, 3))
        frame, person = np.nonzero(there)
        rows = x[frame, person].astype(np.float32)
        frame_ptr = np.concatenate([[0], there.sum(1).cumsum()]).astype(np.int64)
        track = np.full(rows.shape[:2], 2, np.uint8)
        return cls(name, label, rows, person.astype(np.int64), track, frame_ptr, **{"form": PERSONS, **more})

    @classmethod
    def of_places(cls, name: str, label: int, x: NDArray[np.float32], **more: Any) -> RawClip:
        """Build a clip of a tracker's list (T, M, V, 3) by position; each frame ends with its last nonzero body."""
        there = np.any(x != 0, axis=(2, 3))
        count = np.where(there.any(1), there.shape[1] - there[:, ::-1].argmax(1), 0)
        frame, place = np.nonzero(np.arange(there.shape[1]) < count[:, None])
        rows = x[frame, place].astype(np.float32)
        frame_ptr = np.concatenate([[0], count.cumsum()]).astype(np.int64)
        track = np.full(rows.shape[:2], 2, np.uint8)
        return cls(name, label, rows, place.astype(np.int64), track, frame_ptr, **{"form": LISTED, **more})

    def persons(self, count: int = 2) -> NDArray[np.float32]:
        """Return the persons (T, count, V, 3) of a clip in any form except RAW; the inverse of ``of_persons``."""
        x = np.zeros((self.n_frames, count, *self.bodies.shape[1:]), np.float32)
        x[np.repeat(np.arange(self.n_frames), np.diff(self.frame_ptr)), self.body_id] = self.bodies
        return x
