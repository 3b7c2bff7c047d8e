"""A coloured body and bars over time: what they hold is what they were given."""

import re

import numpy as np

from skelssl.pages.figures.body import JointValues, body_map
from skelssl.pages.figures.curves import HEIGHT, TOP
from skelssl.pages.figures.mask_rates import MaskingRates, masking_rates_figure
from skelssl.pages.figures.profile import bar_profile
from skelssl.pages.figures.settings import settings_tables
from skelssl.skeleton.layout import load_layout
from tests.helpers.page import figures

BODY = load_layout("ntu25")
POSE = np.random.default_rng(0).normal(size=(25, 3))


def test_maps_reach_the_page() -> None:
    matrix = np.arange(625.0).reshape(25, 25) / 625
    maps = [JointValues("a", matrix[0], bones=np.arange(24.0), without=[3]), JointValues("b", matrix, percent=True)]
    (data,) = figures(body_map(maps, BODY, POSE), "body")
    first, second = data["maps"]
    assert (first["title"], first["without"], first["bones"]) == ("a", [3], [*map(float, range(24))])
    np.testing.assert_allclose(second["joints"], matrix, rtol=1e-3)
    assert np.abs(np.array(data["xy"])).max() <= 1.001
    assert data["names"][20] == "spine shoulder"


def test_bars_are_as_tall_as_their_shares() -> None:
    shares = np.array([0.5, 0.25, 0.0, 1.0])
    html = bar_profile("a & b", shares, "frame", dropped=[1])
    bars = re.findall(r'height="([\d.]+)"( class="gone")?><title>frame (\d): ([\d.]+) %</title>', html)
    heights = np.array([float(bar[0]) for bar in bars])
    np.testing.assert_allclose(heights / heights[3], shares, atol=0.01)
    assert [(bool(bar[1]), bar[2], bar[3]) for bar in bars] == [
        (False, "1", "50.0"), (True, "2", "25.0"), (False, "3", "0.0"), (False, "4", "100.0")]  # fmt: skip
    assert heights[3] <= HEIGHT - TOP
    assert "a &amp; b" in html


def test_masks_that_do_not_care_say_so() -> None:
    grid = np.full((4, 25), 0.25)
    even = masking_rates_figure([MaskingRates("x", grid, "frame", 8)], BODY, POSE)
    assert "mask x: 25.0 % masked, 8 draws" in even
    assert "The rate is the same for all joints." in even
    assert "The rate is the same for all frames." in even
    grid[:, 3] = 0.75
    (data,) = figures(masking_rates_figure([MaskingRates("x", grid, "frame", 8)], BODY, POSE), "body")
    assert data["maps"][0]["joints"][3] == 0.75
    apart = masking_rates_figure([MaskingRates("x", grid, "frame", 8, without=[3])], BODY, POSE)
    assert "The rate is the same for all joints." in apart
    assert "mask x: 25.0 % masked" in apart


def test_settings_hold_every_key() -> None:
    html = settings_tables(
        {"seed": 0, "resume": None, "method": {"optim": {"lr": 0.1, "betas": {}}, "name": "<b>", "on": True}}
    )
    rows = dict(re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td></tr>", html))
    assert rows == {"seed": "0", "resume": "null", "method.optim.lr": "0.1", "method.optim.betas": "{}",
                    "method.name": "&lt;b&gt;", "method.on": "true"}  # fmt: skip
    assert re.findall(r"<summary>(.*?)</summary>", html) == ["top level, 2 settings", "method, 4 settings"]
