"""Define what all recipes share: their options, their two stages, and a common error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import EmptyClip, RawClip
from skelssl.skeleton.layout import Layout


@dataclass(frozen=True, slots=True)
class RecipeOptions:
    """The arguments of ``method.recipe``."""

    name: str
    faithful: bool = True  # whether to reproduce the quirks of the published preprocessing
    align_spine: bool = False  # pyskl: rotate the first frame's spine onto z and its shoulders onto x
    pku_interval: str | None = None  # inclusive | after_start; None: as in the recipe's published files
    single_person_fill: str = "zero"  # ctrgcn: zero | copy, the second person of single-person clips
    center: bool = True  # ctrgcn: False retains camera coordinates, as in the published PKU-MMD files
    coordinates: str = "xyz"  # xyc: clips in the image plane, the third number is confidence

    @property
    def flat(self) -> bool:
        """Return whether clips are in the image plane."""
        return self.coordinates == "xyc"


class Recipe(Protocol):
    """A recipe in two stages; custom recordings enter at the second.

    Args:
        body: the skeleton layout
        config: the options
    """

    version: int  # increased when the arithmetic changes, so that older stores are derived again
    published_interval: str  # the pku_interval of its published PKU-MMD files
    options: frozenset[str]  # which of the optional RecipeOptions it supports
    turns_about: tuple[str, ...]  # points of the body that define its translation and rotation

    def __init__(self, body: Layout, config: RecipeOptions) -> None: ...

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Select two persons (T, M=2, V, 3) in m from raw bodies; absent persons and frames are zero.

        Raises:
            EmptyClip: for a clip without a usable body
        """
        ...

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert persons (T, M, V, 3) to the input of the method's network, (T', M, V, 3).

        Raises:
            EmptyClip: if the first person is absent in every frame
        """
        ...

    def published(self, clip: RawClip) -> NDArray[Any]:
        """Return the clip in the layout of the reference's files, which may differ from that of the store."""
        ...


def no_first_person() -> EmptyClip:
    """Return the error for a clip whose first person is absent in every frame."""
    return EmptyClip("the first person is absent in every frame")
