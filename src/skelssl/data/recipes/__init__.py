"""Recipes: raw bodies -> the array a method was published with. Each is one file, applied offline."""

from skelssl.data.recipes.base import Recipe, RecipeOptions
from skelssl.data.recipes.config import RECIPES, RecipeConfig

__all__ = ["RECIPES", "Recipe", "RecipeConfig", "RecipeOptions"]
