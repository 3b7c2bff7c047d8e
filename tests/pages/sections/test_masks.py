"""Shares that are measured are those that the masks were made with."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skelssl.data.module import open_dataset
from skelssl.maskers.tokens import kept
from skelssl.methods.build import build_method
from skelssl.methods.visualize import MaskedClip
from skelssl.pages.sections.liveliest import liveliest_clips
from skelssl.pages.sections.masking_rates import POSITIONS, measure_masking_rates
from tests.helpers.config import train_config


class Masks(nn.Module):
    """Joint 3 is always hidden; of frames every other one; nothing else has a name."""

    device = torch.device("cpu")

    def visualize(self, x: Tensor, generator: torch.Generator) -> list[MaskedClip]:
        evens = range(0, x.shape[2], 2)
        return [
            MaskedClip("plain"),
            MaskedClip("a", dropped_joints=[3], name="joints"),
            MaskedClip("b", kept_frames=evens, name="frames"),
        ]


def stored(data_root, *overrides: str):
    config = train_config(data_root, *overrides)
    return build_method(config), open_dataset(config["dataset"], config["method"]["recipe"], config["data_root"])


def test_shares_by_joint_and_frame(data_root) -> None:
    _, data = stored(data_root, "method=pstl")
    found = measure_masking_rates(Masks(), data, 0)
    assert [*found] == ["joints", "frames"]
    joints, frames = found["joints"], found["frames"]
    assert joints.grid.shape == frames.grid.shape == (50, 25)
    np.testing.assert_allclose(joints.joints, np.arange(25) == 3)
    np.testing.assert_allclose(frames.steps, np.arange(50) % 2)
    assert (joints.unit, joints.draws % 4) == ("frame", 0)


def test_clips_of_many_lengths_meet_at_places(data_root) -> None:
    _, data = stored(data_root, "method=mamp")
    assert measure_masking_rates(Masks(), data, 0)["joints"].grid.shape == (POSITIONS, 25)


@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_share_of_tokens_is_the_ratio_of_the_masking(data_root, ratio: float) -> None:
    method, data = stored(data_root, "method=mamp", f"method.masking.ratio={ratio}")
    found = measure_masking_rates(method, data, 0)["tokens"]
    assert found.grid.shape == (3, 25)
    assert found.steps.mean() == pytest.approx(1 - kept(75, ratio) / 75)
    assert found.unit == "segment"


def test_joints_without_tokens_are_left_out(data_root) -> None:
    method, data = stored(data_root, "method=ha_cm")
    found = measure_masking_rates(method, data, 0)["tokens"]
    assert len(found.without) == 7
    assert found.steps.mean() == pytest.approx(1 - 2 * method.masking.kept / method.encoder.length)


def test_lively_clips_are_of_different_classes(data_root) -> None:
    _, data = stored(data_root, "method=mamp")
    rows = liveliest_clips(data, 3)
    labels = data.store.labels
    assert len({int(labels[row]) for row in rows}) == 3
    for row in rows:
        batch = data.store.gather(data.test[labels[data.test] == labels[row]])
        moves = batch.x.diff(dim=2).square().sum((1, 2, 3, 4))
        assert int(batch.index[moves.argmax()]) == row
    still = SimpleNamespace(**{**vars(data)})
    assert liveliest_clips(still, 1) == rows[:1]
