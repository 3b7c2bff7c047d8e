"""The page of somebody's own clips: another body, nobody knows the subjects, and joints that a camera did not find."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from skelssl.data.build.prepare import prepare_dataset
from skelssl.data.custom.source import Custom
from skelssl.pages.clip_figures import player_clip
from skelssl.pages.figures.player import skeleton_player
from skelssl.pages.run_page import write_page
from skelssl.skeleton.layout import load_layout
from tests.helpers.browser import BROWSER, Browser
from tests.helpers.config import compose
from tests.helpers.custom import points, save
from tests.helpers.page import figures
from tests.helpers.runs import untrained_run


@pytest.fixture(scope="module")
def data_of_mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mine")
    for i in range(12):
        save(root / "raw" / "abcd"[i % 4] / f"{i}.npy", points(20 + i, joints=20, seed=i)[:, 0])
    source = Custom(dataset="mine", layout="kinect20")
    prepare_dataset(source, data_root=root / "data", raw=[root / "raw"], workers=1, strict=False)
    return root / "data"


@pytest.mark.parametrize("method", ["pstl", "skeleton_contrast", "mamp", "skeleton2vec"])
def test_another_body_without_facts(method: str, data_of_mine: Path, tmp_path: Path) -> None:
    own = ("dataset=custom", "dataset.name=mine", "dataset.layout=kinect20", f"data_root='{data_of_mine}'")
    config = compose("train", f"method={method}", "debug=smoke", "callbacks.progress=null", *own)
    write_page(untrained_run(tmp_path / "run", config), tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text("utf-8")
    sections = dict(re.findall(r"<h2>(.*?)</h2>(.*?)</section>", html, re.S))
    assert [title for title, text in sections.items() if 'class="absent"' in text] == ["Lost joints"]
    (cloud,) = figures(html, "embedding")
    assert [*cloud["groups"]] == ["class"]
    assert "The dataset does not record subject or camera." in sections["Feature space"]
    assert {len(body["names"]) for body in figures(html, "body")} == {20}
    if BROWSER:
        browser = Browser(tmp_path / "profile")
        browser.open(tmp_path / "page.html")
        assert browser.problem_list() == []
        browser.close()


def test_confidence_is_no_depth_and_what_was_not_found_is_not_drawn() -> None:
    x = torch.rand(1, 3, 4, 25, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    x[..., 1] = 0
    x[0, :, 1, 5, 0] = 0  # not found in the second frame
    clip = player_clip("flat", x, flat=True)
    assert (clip.x[:, :, 2] == 0).all()
    np.testing.assert_array_equal(clip.x[:, :, :2, 0], x[0, :2].permute(1, 2, 0, 3)[..., 0])
    (data,) = figures(skeleton_player([clip], load_layout("ntu25")), "player")
    assert data["clips"][0]["unseen"] == [[[], []], [[5], []], [[], []], [[], []]]
    whole = player_clip("flat", x, flat=False)
    assert whole.seen is None
    assert (whole.x[0, :, 2, 0] > 0).all()
    (data,) = figures(skeleton_player([whole], load_layout("ntu25")), "player")
    assert data["clips"][0]["unseen"] is None
