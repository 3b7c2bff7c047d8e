"""Streams: the reference's numbers and what commutes with what."""

from __future__ import annotations

import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.skeleton.layout import load_layout
from skelssl.views.streams import STREAMS, to_stream


def golden_input() -> torch.Tensor:
    n, c, t, v, m = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) for s in (3, 3, 50, 25, 2)), indexing="ij")
    wave = torch.sin(0.3 * n + 0.7 * c + 0.11 * t + 0.23 * v + 0.5 * m)
    return wave + 0.1 * torch.cos(0.05 * t * v) + 0.2 * c * torch.sin(0.9 * n + 0.05 * t)


def test_motion_numbers() -> None:
    motion = to_stream(golden_input(), "motion", "ntu25")
    assert float(motion.sum()) == pytest.approx(-85.2370069628, abs=1e-8)
    assert float(motion.abs().sum()) == pytest.approx(1718.3270895308, abs=1e-8)
    assert float(motion[1, 2, 10, 24, 0]) == pytest.approx(-0.0556180949, abs=1e-10)
    assert not motion[:, :, -1].any()


def test_bone_numbers() -> None:
    bone = to_stream(golden_input(), "bone", "ntu25")
    assert float(bone.sum()) == pytest.approx(-148.3937083867, abs=1e-8)
    assert float(bone.abs().sum()) == pytest.approx(10936.7478217504, abs=1e-7)
    assert bone[1, 2, [10, 49], 24, 0].tolist() == pytest.approx([1.7221470766, 0.1990764261], abs=1e-10)
    assert not bone[:, :, :, 20].any()


def test_joint_is_the_clip_and_one_frame_has_no_motion() -> None:
    x = golden_input()
    assert to_stream(x, "joint", "ntu25") is x
    assert not to_stream(x[:, :, :1], "motion", "ntu25").any()


@pytest.mark.parametrize("stream", STREAMS)
def test_flip_commutes_with_every_stream(stream: str) -> None:
    x, flip = golden_input(), load_layout("ntu25").flip.tolist()
    assert torch.equal(to_stream(x[:, :, :, flip], stream, "ntu25"), to_stream(x, stream, "ntu25")[:, :, :, flip])


def test_unknown_stream() -> None:
    with pytest.raises(UserError, match=r"^stream: found 'bones', expected one of joint, motion, bone$"):
        to_stream(golden_input(), "bones", "ntu25")
