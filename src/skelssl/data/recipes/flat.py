"""Apply any recipe to clips in the image plane: x, y and the confidence of each joint.

Recipes work in metres, so a clip is first scaled to a torso of standard length. The recipe then selects, centres and
resamples as in 3-D, but translates only x and y and does not rotate, since 2-D clips have no depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.data.clip import EmptyClip, RawClip
from skelssl.data.recipes.base import Recipe
from skelssl.data.recipes.tracks import interpolate, located
from skelssl.skeleton.layout import TORSO, Layout


class Flat:
    """A recipe for clips (T, M, V, 3) of x, y and confidence, in any unit.

    Args:
        recipe: the recipe to apply, built with ``coordinates`` xyc
        body: the skeleton layout
    """

    def __init__(self, recipe: Recipe, body: Layout) -> None:
        self.recipe, self.body = recipe, body
        self.version, self.published_interval, self.options = recipe.version, recipe.published_interval, recipe.options
        self.turns_about = recipe.turns_about

    def select(self, clip: RawClip) -> NDArray[np.float32]:
        """Select as the recipe does."""
        return self.recipe.select(clip)

    def normalise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fill gaps in time, scale, and apply the recipe to (T, M, V, 3); a joint that is never seen stays zero.

        Raises:
            EmptyClip: if no torso is seen, or as the recipe does
        """
        y = self.recipe.normalise(scaled(filled(x), self.body))
        unseen = ~(y[..., 2] > 0).any(0)  # (M, V)
        y[:, unseen] = 0
        return y

    def published(self, clip: RawClip) -> NDArray[Any]:
        """Raise UserError: no published file holds such clips."""
        raise UserError("method.recipe.coordinates: found xyc, expected xyz, since no published file holds 2-D clips")


def filled(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate x and y of unseen joints linearly in time; their confidence stays 0.

    Before its first and after its last seen frame a joint is constant. Frames without the person stay empty, and a
    joint that is never seen stays zero.
    """
    x, seen = x.copy(), x[..., 2] > 0
    missing = np.any(seen, axis=2, keepdims=True) & ~seen
    interpolate(x[..., :2], missing, seen)
    return x


def scaled(x: NDArray[np.float32], body: Layout) -> NDArray[np.float32]:
    """Scale x and y so that the median torso over frames and persons has length ``TORSO``."""
    ends = [body.point(name) for name in ("spine_base", "spine_shoulder")]
    needed = [joint for joints in ends for joint in joints]
    known = np.any(x[:, :, needed, 2] > 0, axis=0).all(1)  # (M,)
    there = np.any(x, axis=(2, 3)) & known  # (T, M)
    low, high = (located(x[there][..., :2], joints) for joints in ends)
    torso = float(np.median(np.linalg.norm(high - low, axis=-1))) if there.any() else 0.0
    if not torso > 0:
        raise EmptyClip(f"no torso to scale by ({' and '.join(_names(body))} are never seen)")
    return x * np.array([TORSO / torso, TORSO / torso, 1], np.float32)


def _names(body: Layout) -> list[str]:
    joints = sorted({*body.point("spine_base"), *body.point("spine_shoulder")})
    return [body.joints[v] for v in joints]
