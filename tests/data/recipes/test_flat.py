"""2-D clips with confidence: every recipe against plain loops over joints."""

from __future__ import annotations

import numpy as np
import pytest

from skelssl.core.errors import UserError
from skelssl.data.clip import EmptyClip, RawClip
from skelssl.data.recipes import RECIPES, RecipeConfig
from skelssl.data.recipes.aimclr import resize
from skelssl.data.recipes.flat import filled, scaled
from skelssl.skeleton.layout import TORSO, load_layout

COCO = load_layout("coco17")
HIPS, SHOULDERS = (11, 12), (5, 6)


def clip(frames: int = 16, seed: int = 0, persons: int = 2) -> np.ndarray:
    """(T, 2, 17, 3) in pixels with gaps: the second person comes late, his left ankle is never seen."""
    dice = np.random.default_rng(seed)
    at = dice.normal((640, -360), 120, (1, persons, 17, 2)) + dice.normal(0, 4, (frames, persons, 17, 2)).cumsum(0)
    sure = dice.uniform(0.1, 1, (frames, persons, 17)) * (dice.random((frames, persons, 17)) > 0.15)
    sure[0, 0] = dice.uniform(0.1, 1, 17)
    x = np.concatenate([at, sure[..., None]], -1).astype(np.float32)
    if persons > 1:
        x[:5, 1] = x[:, 1, 15] = 0
    x[x[..., 2] == 0] = 0
    return x


def made(x: np.ndarray, name: str, faithful: bool = True) -> np.ndarray:
    recipe = RecipeConfig.parse({"name": name, "faithful": faithful, "coordinates": "xyc"})
    return recipe.apply(RawClip.of_persons("a", 0, x), recipe.build("coco17"))


def gaps_filled(x: np.ndarray) -> np.ndarray:
    """Joint by joint with np.interp, over the frames in which somebody is there."""
    x = x.copy()
    for m in range(x.shape[1]):
        there = [t for t in range(len(x)) if x[t, m, :, 2].any()]
        for v in range(x.shape[2]):
            known = [t for t in range(len(x)) if x[t, m, v, 2] > 0]
            for t in there:
                if known and t not in known:
                    x[t, m, v, :2] = [np.interp(t, known, x[known, m, v, c]) for c in (0, 1)]
    return x


def torso(x: np.ndarray) -> float:
    """Median over frames and persons of the way from the middle of the hips to that of the shoulders."""
    ways = []
    for frame in x:
        for person in frame:
            if person.any():
                low, high = ((person[a, :2] + person[b, :2]) / 2 for a, b in (HIPS, SHOULDERS))
                ways.append(np.hypot(*(high - low)))
    return float(np.median(ways))


def test_gaps_are_filled_and_known_to_be_gaps() -> None:
    x = clip()
    y = filled(x)
    np.testing.assert_allclose(y, gaps_filled(x), rtol=1e-6)
    np.testing.assert_array_equal(y[..., 2], x[..., 2])
    np.testing.assert_array_equal(y[x[..., 2] > 0], x[x[..., 2] > 0])
    assert not y[:5, 1].any()
    assert not y[:, 1, 15].any()
    assert (y != x).any()


def test_the_unit_does_not_matter() -> None:
    x = clip(seed=1)
    y = scaled(filled(x), COCO)
    assert torso(y) == pytest.approx(TORSO, rel=1e-5)
    np.testing.assert_array_equal(y[..., 2], x[..., 2])
    for name in RECIPES:
        other = x * np.array([0.01, 0.01, 1], np.float32)
        np.testing.assert_allclose(made(other, name), made(x, name), atol=1e-5)


@pytest.mark.parametrize("faithful", [True, False])
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_move_x_and_y_alone(name: str, faithful: bool) -> None:
    """One person who is always there: each recipe is a shift of its own, and aimclr resamples."""
    x = clip(seed=2, persons=1)
    y = gaps_filled(x)
    y = y * np.array([TORSO / torso(y), TORSO / torso(y), 1])
    shoulders = (y[:, 0, 5, :2] + y[:, 0, 6, :2]) / 2
    middle = y[:, 0, [5, 6, 11, 12], :2].mean(1)
    centre = {"aimclr": shoulders, "agcn": middle, "ctrgcn": middle[:1], "pyskl": middle[:1]}[name]
    wanted = y[:, 0].copy()
    wanted[..., :2] -= centre[:, None]
    wanted = resize(wanted.astype(np.float32), 50) if name == "aimclr" else wanted
    found = made(x, name, faithful)
    np.testing.assert_allclose(found[:, 0], wanted, atol=2e-5)
    assert not found[:, 1].any()


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_never_seen_stays_zero(name: str) -> None:
    found = made(clip(), name)
    assert found[:, 1].any()
    assert not found[:, 1, 15].any()
    assert found[..., 2].min() >= 0
    assert found[..., 2].max() <= 1


def test_a_clip_without_a_torso_is_none() -> None:
    x = clip()
    x[:, :, 11] = 0
    with pytest.raises(EmptyClip, match="no torso to scale by"):
        made(x, "ctrgcn")


def test_what_makes_no_sense_is_refused() -> None:
    for more, sentence in (
        ({"coordinates": "xyw"}, r"method\.recipe\.coordinates: found 'xyw', expected xyz or xyc"),
        ({"coordinates": "xyc", "align_spine": True}, "align_spine: found true, expected false, since 2-D clips"),
    ):
        with pytest.raises(UserError, match=sentence):
            RecipeConfig.parse({"name": "pyskl", **more}).build("coco17")
    recipe = RecipeConfig.parse({"name": "aimclr", "coordinates": "xyc"})
    with pytest.raises(UserError, match="found xyc, expected xyz, since no published file holds 2-D clips"):
        recipe.build("coco17").published(RawClip.of_persons("a", 0, clip()))


def test_stores_in_space_keep_their_names() -> None:
    """A key that came later must not derive all stores anew."""
    plain, flat = (RecipeConfig.parse({"name": "aimclr", "coordinates": c}) for c in ("xyz", "xyc"))
    assert "coordinates" not in plain.parameters
    assert plain.id == RecipeConfig("aimclr").id != flat.id
