"""What every recipe offers, and which options it is built with."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import RawClip
from skelssl.skeleton.layout import Layout


class RecipeOptions(Protocol):
    """The options of `RecipeConfig` that a recipe reads."""

    @property
    def faithful(self) -> bool: ...
    @property
    def align_spine(self) -> bool: ...
    @property
    def pku_interval(self) -> str | None: ...
    @property
    def single_person_fill(self) -> str: ...
    @property
    def center(self) -> bool: ...
    @property
    def flat(self) -> bool: ...


class Recipe(Protocol):
    """Turn raw bodies into arrays in two stages; custom recordings enter at the second."""

    version: int  # bumped when the arithmetic changes, so that older stores are derived anew
    published_interval: str  # how its published PKU-MMD files read an interval
    options: frozenset[str]  # which options it has
    turns_about: tuple[str, ...]  # points of the body that a clip is moved and turned by

    def __init__(self, body: Layout, config: RecipeOptions) -> None: ...

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Raw bodies -> (T, M=2, V, 3), absent persons and frames zero."""
        ...

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(T, M, V, 3) -> (T', M, V, 3) as the method's network expects it."""
        ...

    def published(self, clip: RawClip) -> NDArray[Any]:
        """The clip as the reference's files hold it, in their layout; the store may hold less or more."""
        ...
