"""Configure a recipe: its name, its options, and the store that its arrays belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.core.schema import expect
from skelssl.data.clip import RECIPE_FREE, RECIPES_OF_FORM, EmptyClip, RawClip
from skelssl.data.recipes.agcn import AGCNRecipe
from skelssl.data.recipes.aimclr import AimCLR
from skelssl.data.recipes.base import Recipe, RecipeOptions
from skelssl.data.recipes.ctrgcn import CTRGCN
from skelssl.data.recipes.flat import Flat
from skelssl.data.recipes.pyskl import PySKL
from skelssl.skeleton.layout import load_layout

RECIPES: dict[str, type[Recipe]] = {"aimclr": AimCLR, "ctrgcn": CTRGCN, "agcn": AGCNRecipe, "pyskl": PySKL}


@dataclass(frozen=True, slots=True)
class RecipeConfig(RecipeOptions):
    """The arguments of ``method.recipe``; their hash names the store's folder.

    Args:
        name: ``aimclr``, ``ctrgcn``, ``agcn`` or ``pyskl``
        faithful: whether to reproduce the quirks of the published preprocessing
        align_spine: for ``pyskl``, whether to rotate clips as ``agcn`` does
        pku_interval: ``inclusive`` or ``after_start``; default: as in the recipe's published PKU-MMD files
        single_person_fill: for ``ctrgcn``, ``zero`` or ``copy``: the second person of single-person clips
        center: for ``ctrgcn``, whether to move clips to the origin
        coordinates: ``xyz`` in m, or ``xyc`` for the image plane with confidence
    """

    def __post_init__(self) -> None:
        if self.pku_interval is None and self.name in RECIPES:
            object.__setattr__(self, "pku_interval", RECIPES[self.name].published_interval)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> RecipeConfig:
        """Parse the block ``method.recipe``; raise UserError for an unknown key, name or value."""
        known = [f.name for f in fields(cls)]
        for key in config:
            if key not in known:
                raise UserError(f"method.recipe.{key}: unknown key, expected one of {', '.join(known)}")
        recipe = cls(**config)
        choices = {"name": tuple(RECIPES), "faithful": (True, False), "align_spine": (True, False),
                   "pku_interval": ("inclusive", "after_start"), "single_person_fill": ("zero", "copy"),
                   "center": (True, False), "coordinates": ("xyz", "xyc")}  # fmt: skip
        for key, values in choices.items():
            value = getattr(recipe, key)
            expect(f"method.recipe.{key}", value, value in values, " or ".join(map(str, values)))
        return recipe

    @classmethod
    def published(cls, name: str, dataset: Mapping[str, Any], *, faithful: bool = True) -> RecipeConfig:
        """Return the options that reproduce the published files of a dataset; ``dataset`` is its config block."""
        keys = [key for key in (*RECIPES[name].options, "coordinates") if key in dataset] if name in RECIPES else []
        return cls.parse({"name": name, "faithful": faithful, **{key: dataset[key] for key in keys}})

    def check_form(self, form: str, arguments: Mapping[str, Any], where: object) -> None:
        """Check that a store's clips can be processed by this recipe.

        Args:
            form: of the clips, see ``skelssl.data.clip``
            arguments: of the recipe that made imported clips
            where: the folder that an error names

        Raises:
            UserError: if the clips were made by another recipe or with other arguments
        """
        serves = RECIPES_OF_FORM.get(form, (form,) if form in RECIPES else (self.name,))
        if self.name not in serves or (form not in RECIPE_FREE and not self.faithful):
            raise UserError(
                f"{where}: found arrays imported in the form of recipe {' or '.join(serves)}, expected that recipe "
                "with faithful=true; anything else needs the raw recordings: skelssl prepare raw=PATH"
            )
        if self.coordinates != (stored := arguments.get("coordinates", "xyz")):
            raise UserError(
                f"dataset.coordinates: found {self.coordinates}, expected {stored}, which {where} was prepared with"
            )
        for key, value in arguments.items():
            if getattr(self, key) != value:
                raise UserError(
                    f"method.recipe.{key}: found {getattr(self, key)}, expected {value} as the arrays imported to "
                    f"{where} were made"
                )

    def apply(self, clip: RawClip, stages: Recipe) -> NDArray[np.float32]:
        """Apply the recipe to a clip.

        Args:
            clip: the raw clip
            stages: the recipe from ``build``

        Returns:
            the clip as in the store, (T, M, V, 3): x, y, z in m, or x, y and confidence

        Raises:
            EmptyClip: for a clip that the recipe cannot use
        """
        # Imported clips are already normalised, except pyskl's, which are normalised on loading.
        done = clip.form == self.name != "pyskl"
        x = clip.persons() if done else stages.normalise(stages.select(clip))
        if not np.isfinite(x).all():  # one such value would corrupt every batch statistic
            raise EmptyClip("NaN or infinite coordinates", "D12")
        return x

    def build(self, layout: str = "ntu25") -> Recipe:
        """Build the recipe for a skeleton layout.

        Args:
            layout: name or file of the layout

        Raises:
            UserError: for an option that the recipe does not have, and for a layout without a joint that it needs
        """
        recipe = RECIPES[self.name]
        defaults = RecipeConfig(self.name)
        for key in ("align_spine", "single_person_fill", "center"):
            if key not in recipe.options and getattr(self, key) != getattr(defaults, key):
                raise UserError(
                    f"method.recipe.{key}: found {getattr(self, key)}, expected {getattr(defaults, key)}, since "
                    f"{self.name} has no such option"
                )
        if self.flat and self.align_spine:
            raise UserError("method.recipe.align_spine: found true, expected false, since 2-D clips are not rotated")
        body = load_layout(layout)
        return Flat(recipe(body, self), body) if self.flat else recipe(body, self)

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what determines the arrays: the arguments, without the default xyz, and the recipe's version."""
        said = {key: value for key, value in asdict(self).items() if (key, value) != ("coordinates", "xyz")}
        return {**said, "version": RECIPES[self.name].version}

    @property
    def id(self) -> str:
        """Return the folder name of the store, such as ``aimclr-1f2e3d4c``."""
        text = json.dumps(self.parameters, sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
