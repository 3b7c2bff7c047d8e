"""Recipes centre and turn by points of a layout, joints or means of joints alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from skelssl.data.clip import RawClip
from skelssl.data.recipes import RECIPES, RecipeConfig
from skelssl.data.recipes.tracks import located
from skelssl.skeleton.layout import layouts, load_layout
from tests.helpers.custom import points

POINTS = ("spine_base", "spine_mid", "spine_shoulder")


def with_means_as_joints(name: str, folder: Path) -> str:
    """A layout whose joints are those of ``name`` and, behind them, its points as joints of their own."""
    body = load_layout(name)
    more = [point for point in POINTS if point not in body.joints]
    parents = {body.joints[child]: body.joints[parent] for child, parent in body.bones}
    text = {
        "name": "richer", "joints": [*body.joints, *more], "center": body.joints[body.center], "parts": {},
        "bones": parents | dict.fromkeys(more, body.joints[body.center]),
    }  # fmt: skip
    (folder / "richer.yaml").write_text(yaml.safe_dump(text))
    return str(folder / "richer.yaml")


@pytest.mark.parametrize("faithful", [True, False])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("body", [name for name in layouts() if set(POINTS) - set(load_layout(name).joints)])
def test_a_mean_serves_as_well_as_a_joint_there(tmp_path: Path, body: str, recipe: str, faithful: bool) -> None:
    joints = len(load_layout(body).joints)
    x = points(frames=20, persons=2, joints=joints, seed=3)
    x[:4, 1] = x[9, 1] = 0
    means = [x[:, :, list(load_layout(body).point(p))].mean(2) for p in POINTS if p not in load_layout(body).joints]
    richer = np.concatenate([x, np.stack(means, 2)], 2)
    config = RecipeConfig.parse({"name": recipe, "faithful": faithful, "align_spine": recipe == "pyskl"})
    found, wanted = (
        (stages := config.build(name)).normalise(stages.select(RawClip.of_persons("a", 0, clip)))
        for name, clip in ((body, x), (with_means_as_joints(body, tmp_path), richer))
    )
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, wanted[:, :, :joints], atol=1e-6)


def test_a_mean_of_which_a_joint_is_absent_is_absent() -> None:
    x = points(frames=3, joints=17, seed=1)[:, 0]
    x[1, 12] = 0
    middle = located(x, load_layout("coco17").point("spine_base"))
    np.testing.assert_allclose(middle[[0, 2]], (x[[0, 2], 11] + x[[0, 2], 12]) / 2, rtol=1e-6)
    assert not middle[1].any()
    np.testing.assert_array_equal(located(x, (3,)), x[:, 3])
