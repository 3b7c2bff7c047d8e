"""What all recipes share: their options, their two stages, and the errors that several of them raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import EmptyClip, RawClip
from skelssl.skeleton.layout import Layout


@dataclass(frozen=True, slots=True)
class RecipeOptions:
    """The plain arguments of ``method.recipe``."""

    name: str
    faithful: bool = True
    align_spine: bool = False
    pku_interval: str | None = None  # inclusive | after_start; None: as the recipe's published files have it
    single_person_fill: str = "zero"  # zero | copy
    center: bool = True  # False: ctrgcn leaves clips where the camera saw them, as the published PKU-MMD files do
    coordinates: str = "xyz"  # xyc: clips in the plane of an image, the third number is confidence

    @property
    def flat(self) -> bool:
        """Whether clips are in the plane of an image."""
        return self.coordinates == "xyc"


class Recipe(Protocol):
    """Two stages; custom recordings enter at the second."""

    version: int  # bumped when the arithmetic changes, so that older stores are derived again
    published_interval: str  # how its published PKU-MMD files read an interval
    options: frozenset[str]  # which of the RecipeOptions have a meaning for it
    turns_about: tuple[str, ...]  # points of the body that a clip is moved and turned by

    def __init__(self, body: Layout, config: RecipeOptions) -> None: ...

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Return two persons of raw bodies: (T, M=2, V, 3), absent persons and frames zero."""
        ...

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (T, M, V, 3) as the method's network expects it: (T', M, V, 3)."""
        ...

    def published(self, clip: RawClip) -> NDArray[Any]:
        """Return the clip in the layout of the reference's files; the store may hold less or more."""
        ...


def no_first_person() -> EmptyClip:
    """Return the error for a clip whose first person is absent throughout."""
    return EmptyClip("the first person is absent in every frame")
