"""The masks on the page of a run: drawn on a clip of its test side, the same ones every time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from skelssl.core.runs import LAST_CHECKPOINT
from skelssl.data.module import Dataset, open_dataset
from skelssl.methods.base import Method
from skelssl.methods.build import build_method, load_trained_method
from skelssl.pages.figures.player import PlayerClip
from skelssl.pages.sections.liveliest import liveliest_clips
from skelssl.pages.sections.masks import players_under_masks
from skelssl.pretrained.files import save_encoders
from tests.helpers.config import TINY, train_config


def players(method: Method, data: Dataset, seed: int) -> list[PlayerClip]:
    batch = data.store.gather(np.array(liveliest_clips(data, 1)))
    return players_under_masks(method, batch.x, seed)


def drawn(data_root: Path, name: str) -> list[PlayerClip]:
    config = train_config(data_root, f"method={name}")
    data = open_dataset(config["dataset"], config["method"]["recipe"], config["data_root"])
    return players(build_method(config), data, seed=4)


def test_tokens_of_mamp(data_root: Path) -> None:
    clips, again = drawn(data_root, "mamp"), drawn(data_root, "mamp")
    assert [clip.title for clip in clips] == ["masked in training", "as many, masked at random", "motion of each token"]
    for clip, same in zip(clips, again, strict=True):
        assert clip.x.shape == (12, 25, 3, 2)
        assert clip.tokens is not None
        assert clip.tokens.shape == (2, 3, 25)
        np.testing.assert_array_equal(clip.tokens, same.tokens)


def test_masks_of_ha_cm_are_those_of_its_trained_encoder(data_root: Path, tmp_path: Path) -> None:
    config = train_config(data_root, "method=ha_cm", *TINY)
    data = open_dataset(config["dataset"], config["method"]["recipe"], config["data_root"])
    method, fresh = build_method(config), build_method(config)
    with torch.no_grad():
        method.encoder.positions.space.uniform_(-3, 3)
    save_encoders(method.encoders(), tmp_path / "encoder", config, data.fingerprint)
    expected, found, before = (
        players(own, data, seed=4) for own in (method, load_trained_method(config, tmp_path), fresh)
    )
    assert [clip.title for clip in found][3:] == [
        "attention score, above the least",
        "hierarchy score, above the least",
    ]
    for clip, same in zip(expected, found, strict=True):
        np.testing.assert_array_equal(clip.tokens, same.tokens)
    assert not np.allclose(found[4].tokens, before[4].tokens)


def test_what_a_run_began_from_is_drawn_with_too(data_root: Path, tmp_path: Path) -> None:
    """The bilinear form of HA-CM's attention stays that of the checkpoint a run goes on from, not of its own seed."""
    config, other = (train_config(data_root, "method=ha_cm", f"seed={seed}", *TINY) for seed in (0, 1))
    method = build_method(other)
    save_encoders(method.encoders(), tmp_path / "encoder", config, None)
    assert not torch.equal(load_trained_method(config, tmp_path).masking.l1.weight, method.masking.l1.weight)
    (tmp_path / LAST_CHECKPOINT).parent.mkdir()
    torch.save({"state_dict": method.state_dict()}, tmp_path / LAST_CHECKPOINT)
    for name, value in load_trained_method(config, tmp_path).state_dict().items():
        assert torch.equal(value, method.state_dict()[name]), name


@pytest.mark.parametrize("name", ["pstl", "skeleton_contrast"])
def test_others_have_no_tokens(data_root: Path, name: str) -> None:
    assert all(clip.tokens is None for clip in drawn(data_root, name))
