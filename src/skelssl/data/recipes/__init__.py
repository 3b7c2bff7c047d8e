"""Recipes: raw bodies -> the array a method was published with. Each is one file, applied offline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skelssl.data.clip import RawClip
from skelssl.data.recipes.agcn import AGCN
from skelssl.data.recipes.aimclr import AimCLR
from skelssl.data.recipes.ctrgcn import CTRGCN
from skelssl.data.recipes.pyskl import PySKL
from skelssl.errors import UserError


class Recipe(Protocol):
    """Two stages; own recordings enter at the second."""

    version: int  # bumped when the arithmetic changes, so that older stores are derived anew

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Raw bodies -> (T, M=2, V, 3), absent persons and frames zero."""
        ...

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(T, M, V, 3) -> (T', M, V, 3) as the method's network expects it."""
        ...

    def published(self, clip: RawClip) -> NDArray[Any]:
        """The clip as the reference's files hold it, in their layout; the store may hold less or more."""
        ...


RECIPES: dict[str, type[Recipe]] = {"aimclr": AimCLR, "ctrgcn": CTRGCN, "agcn": AGCN, "pyskl": PySKL}


@dataclass(frozen=True, slots=True)
class RecipeConfig:
    """The plain arguments of ``method.recipe``; their hash names the store's folder."""

    name: str
    faithful: bool = True
    align_spine: bool = False
    pku_interval: str = "inclusive"  # inclusive | after_start
    single_person_fill: str = "zero"  # zero | copy

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> RecipeConfig:
        """From a config block; raises UserError for an unknown key, name or value."""
        known = [f.name for f in fields(cls)]
        for key in config:
            if key not in known:
                raise UserError(f"method.recipe.{key}: unknown key, expected one of {', '.join(known)}")
        recipe = cls(**config)
        choices = {"name": tuple(RECIPES), "faithful": (True, False), "align_spine": (True, False),
                   "pku_interval": ("inclusive", "after_start"), "single_person_fill": ("zero", "copy")}  # fmt: skip
        for key, values in choices.items():
            if (value := getattr(recipe, key)) not in values:
                expected = " or ".join(str(v) for v in values)
                raise UserError(f"method.recipe.{key}: found {value!r}, expected {expected}")
        return recipe

    def build(self) -> Recipe:
        """The recipe itself."""
        return RECIPES[self.name](**{k: v for k, v in asdict(self).items() if k != "name"})

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the arrays: the arguments and the recipe's version."""
        return {**asdict(self), "version": RECIPES[self.name].version}

    @property
    def id(self) -> str:
        """Folder name of the store, such as ``aimclr-1f2e3d4c``."""
        text = json.dumps(self.parameters, sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
