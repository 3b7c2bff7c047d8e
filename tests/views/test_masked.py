"""MAMP's feeder: the view against numpy-like loops with injected draws, its order, and its borders."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.skeleton.layout import load_layout
from skelssl.views.masked import CentreView, CropView
from skelssl.views.spatial import rotate, uniform


def batch(lengths: tuple[int, ...] = (1, 20, 63, 64, 65, 300)) -> Batch:
    x = torch.randn(len(lengths), 3, max(lengths), 25, 2, generator=torch.Generator().manual_seed(0))
    for clip, length in zip(x, lengths, strict=True):
        clip[:, length:] = 0
    x[0, ..., 1] = 0
    n = torch.tensor(lengths)
    return Batch(x, n, torch.zeros_like(n), torch.arange(len(n)))


def resized(clip: Tensor, frames: int) -> Tensor:
    """One frame after the other: s = max(0, (k + 0.5)·len/W - 0.5)."""
    length, out = clip.shape[1], []
    for k in range(frames):
        s = max(0.0, (k + 0.5) * length / frames - 0.5)
        low = math.floor(s)
        out.append((1 - s + low) * clip[:, low] + (s - low) * clip[:, min(low + 1, length - 1)])
    return torch.stack(out, 1)


def turn(angles: Tensor) -> Tensor:
    """R_z R_y R_x with the signs of the reference."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().tolist(), angles.sin().tolist()
    x = torch.tensor([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    y = torch.tensor([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    z = torch.tensor([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return z @ y @ x


def bone(x: Tensor) -> Tensor:
    return x - x[:, :, list(load_layout("ntu25").parents)]


def motion(x: Tensor) -> Tensor:
    return torch.cat([x[:, 1:] - x[:, :-1], torch.zeros_like(x[:, :1])], 1)


STREAMS: dict[str, Any] = {"joint": lambda x: x, "bone": bone, "motion": motion}


@pytest.mark.parametrize("frames", [120, 72])
@pytest.mark.parametrize("stream", STREAMS)
def test_the_training_view_clip_by_clip(frames: int, stream: str) -> None:
    clips = batch()
    found = CropView(frames=frames, stream=stream)(clips, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    share, place = uniform((2, len(clips)), generator)
    angles = (2 * uniform((len(clips), 3), generator) - 1) * 0.3
    for i, n in enumerate(clips.frames.tolist()):
        length = min(max(math.floor(n * (0.5 + 0.5 * share[i].item())), 64), n)
        start = int(place[i].item() * (n - length + 1))
        window = resized(clips.x[i, :, start : start + length], frames)
        expected = STREAMS[stream](torch.einsum("ij,jtvm->itvm", turn(angles[i]), window))
        torch.testing.assert_close(found[i], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("stream", STREAMS)
def test_the_test_view_clip_by_clip(stream: str) -> None:
    clips = batch()
    found = CentreView(stream=stream)(clips)
    for i, n in enumerate(clips.frames.tolist()):
        cut = int((1 - 0.95) * n / 2)
        expected = STREAMS[stream](resized(clips.x[i, :, cut : n - cut], 120))
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-6)


def test_rotation_is_one_per_clip_and_within_its_limit() -> None:
    x = torch.eye(3).view(1, 3, 1, 3, 1).expand(2000, -1, 2, -1, 2)
    found = rotate(x, 0.3, torch.Generator().manual_seed(0))
    assert torch.equal(found, found[:, :, :1, :, :1].expand_as(found))
    matrix = found[:, :, 0, :, 0]
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).expand(2000, -1, -1))
    assert not torch.equal(matrix[0], matrix[1])
    about_y = torch.asin(matrix[:, 2, 0])  # R[2, 0] = sin y for R = R_z R_y R_x
    assert about_y.abs().max() <= 0.3 + 1e-6
    assert about_y.std() == pytest.approx(0.3 / 3**0.5, rel=0.05)
    torch.testing.assert_close(rotate(x, 0.0), x)


def test_absent_persons_stay_absent() -> None:
    for view in (CropView(), CentreView()):
        assert not view(batch(), torch.Generator())[0, ..., 1].any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: CropView(ratio=(0.0, 1.0)),
            r"view\.ratio: found \[0\.0, 1\.0\], expected two ascending ratios above 0",
        ),
        (lambda: CropView(ratio=(0.9, 0.5)), r"view\.ratio: found \[0\.9, 0\.5\]"),
        (lambda: CropView(minimum=0), r"view\.minimum: found 0, expected a whole number of at least 1"),
        (lambda: CropView(frames=0), r"view\.frames: found 0, expected a whole number of at least 1"),
        (lambda: CentreView(ratio=1.1), r"view\.ratio: found 1\.1, expected a ratio above 0 and up to 1"),
        (lambda: CentreView(stream="speed"), "stream: found 'speed'"),
    ],
)
def test_mistakes_name_the_key(build: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
