"""Convert raw bodies to the array that a method was published with; each recipe is one file, applied offline."""

from skelssl.data.recipes.base import Recipe, RecipeOptions
from skelssl.data.recipes.config import RECIPES, RecipeConfig

__all__ = ["RECIPES", "Recipe", "RecipeConfig", "RecipeOptions"]
