"""One raw recording as the parsed store keeps it, before any recipe has touched it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What the bodies of a clip are, and so what a recipe may still do with them:
RAW = "raw"  # a tracker's list: bodies come and go, ids tell them apart
PERSONS = "persons"  # two persons at most, kept apart already: body_id is 0 or 1
PKU = "pku"  # as PERSONS, with one frame before the interval that some conventions leave out
LISTED = "listed"  # up to four bodies by their place in a tracker's list, their ids lost: body_id is the place
LISTED_TWO = "listed_two"  # as LISTED, but only the first two places were kept
# and the name of a recipe: persons as that recipe's published files hold them

RECIPE_FREE = (RAW, PERSONS, PKU)  # for every recipe, faithful or not
RECORDED = (*RECIPE_FREE, LISTED, LISTED_TWO)  # as a camera saw them: only there is a zero an absent joint
# Forms for only those recipes that need no ids:
RECIPES_OF_FORM = {LISTED: ("aimclr", "agcn"), LISTED_TWO: ("aimclr",)}


class EmptyClip(ValueError):
    """A clip holds nothing that a recipe can use; the message says why, ``code`` is of the bad-input catalogue."""

    def __init__(self, reason: str, code: str = "D04") -> None:
        super().__init__(reason)
        self.code = code


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
    form: str = RAW  # RAW, PERSONS, PKU or a recipe's name
    repaired: int = 0  # joints interpolated or left out because of NaN (D12)

    @property
    def n_frames(self) -> int:
        return len(self.frame_ptr) - 1

    @classmethod
    def of_persons(cls, name: str, label: int, x: NDArray[np.float32], **more: Any) -> RawClip:
        """Build a clip of persons (T, M, V, 3) in fixed slots, all zero is absent; ``more``: facts, codes, form."""
        there = np.any(x != 0, axis=(2, 3))
        frame, person = np.nonzero(there)
        rows = x[frame, person].astype(np.float32)
        frame_ptr = np.concatenate([[0], there.sum(1).cumsum()]).astype(np.int64)
        track = np.full(rows.shape[:2], 2, np.uint8)
        return cls(name, label, rows, person.astype(np.int64), track, frame_ptr, **{"form": PERSONS, **more})

    @classmethod
    def of_places(cls, name: str, label: int, x: NDArray[np.float32], **more: Any) -> RawClip:
        """Build a clip of the places (T, M, V, 3) of a tracker's list; a frame lists them to the last nonzero one."""
        there = np.any(x != 0, axis=(2, 3))
        count = np.where(there.any(1), there.shape[1] - there[:, ::-1].argmax(1), 0)
        frame, place = np.nonzero(np.arange(there.shape[1]) < count[:, None])
        rows = x[frame, place].astype(np.float32)
        frame_ptr = np.concatenate([[0], count.cumsum()]).astype(np.int64)
        track = np.full(rows.shape[:2], 2, np.uint8)
        return cls(name, label, rows, place.astype(np.int64), track, frame_ptr, **{"form": LISTED, **more})

    def persons(self, count: int = 2) -> NDArray[np.float32]:
        """Return (T, count, V, 3) of a clip in any form but RAW, the inverse of ``of_persons``."""
        x = np.zeros((self.n_frames, count, *self.bodies.shape[1:]), np.float32)
        x[np.repeat(np.arange(self.n_frames), np.diff(self.frame_ptr)), self.body_id] = self.bodies
        return x
