"""Clips in the plane of an image: nothing takes confidence for a place."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.skeleton.layout import load_layout
from skelssl.views import masked, pstl, skeleton_contrast, uniform
from skelssl.views.spatial import rotate
from skelssl.views.spatial import uniform as draw
from skelssl.views.streams import steps, to_stream

BODY = load_layout("coco17")
FLAT = {"layout": "coco17", "coordinates": "xyc"}


def clips(seed: int = 0, n: int = 3, frames: int = 12, gaps: float = 0.2) -> Tensor:
    """(N, 3, T, 17, 2) float64; a share of the joints is not seen."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, frames, 17, 2, generator=dice, dtype=torch.float64)
    sure = torch.rand(n, frames, 17, 2, generator=dice, dtype=torch.float64).clamp(min=0.1)
    x[:, 2] = sure * (torch.rand(sure.shape, generator=dice) >= gaps)
    return x


def batch_of(x: Tensor) -> Batch:
    count = torch.full((len(x),), x.shape[2])
    return Batch(x, count, torch.zeros_like(count), torch.arange(len(x)))


def pair(a: Tensor, b: Tensor) -> list[float]:
    """Two joints (3,) -> their difference, as sure as the less sure one; nothing where one was not seen."""
    sure = min(float(a[2]), float(b[2]))
    return [float(a[0] - b[0]), float(a[1] - b[1]), sure] if sure > 0 else [0.0, 0.0, 0.0]


def test_streams_against_loops() -> None:
    x = clips()
    motion, bone = (to_stream(x, stream, "coco17", "xyc") for stream in ("motion", "bone"))
    assert torch.equal(to_stream(x, "joint", "coco17", "xyc"), x)
    assert not motion[:, :, -1].any()
    for n, t, v, m in ((n, t, v, m) for n in range(3) for t in range(12) for v in range(17) for m in range(2)):
        here = x[n, :, t, v, m]
        assert bone[n, :, t, v, m].tolist() == pytest.approx(pair(here, x[n, :, t, BODY.parents[v], m]))
        if t < 11:
            assert motion[n, :, t, v, m].tolist() == pytest.approx(pair(x[n, :, t + 1, v, m], here))
        if t < 9:
            assert steps(x, "xyc", 3)[n, :, t, v, m].tolist() == pytest.approx(pair(x[n, :, t + 3, v, m], here))


def test_a_turn_is_one_about_the_line_of_sight() -> None:
    x = clips()
    turned = rotate(x, 0.3, torch.Generator().manual_seed(4), coordinates="xyc")
    angles = (2 * draw((3, 3), torch.Generator().manual_seed(4)) - 1) * 0.3
    for n in range(3):
        c, s = math.cos(angles[n, 2]), math.sin(angles[n, 2])
        torch.testing.assert_close(turned[n, 0], c * x[n, 0] + s * x[n, 1])
        torch.testing.assert_close(turned[n, 1], -s * x[n, 0] + c * x[n, 1])
    assert torch.equal(turned[:, 2], x[:, 2])


def linear_map(x: Tensor, y: Tensor) -> Tensor:
    """The 2 x 2 matrix that takes x and y of one clip (3, ...) to those of the other, which must be such a map."""
    a, b = x[:2].flatten(1), y[:2].flatten(1)
    matrix = b @ torch.linalg.pinv(a)
    torch.testing.assert_close(matrix @ a, b)
    return matrix


def test_pstl_shears_and_turns_in_the_plane() -> None:
    plain = {"shear": 0.0, "rot_main_deg": 0.0, "flip_p": 0.5}
    x = clips()
    for seed in range(4):
        wild, tame = (
            pstl.PSTLView(**FLAT, **more)(batch_of(x), torch.Generator().manual_seed(seed)) for more in ({}, plain)
        )
        assert torch.equal(wild[:, 2], tame[:, 2])
        assert not torch.allclose(linear_map(tame[0], wild[0]), torch.eye(2, dtype=torch.float64))
        sheared = pstl.PSTLView(**FLAT, shear=0.0)(batch_of(x), torch.Generator().manual_seed(seed))
        turn = linear_map(tame[1], sheared[1])
        torch.testing.assert_close(turn @ turn.T, torch.eye(2, dtype=torch.float64))
        assert 0 < math.degrees(math.atan2(turn[0, 1], turn[0, 0])) <= 30


def test_jitter_and_shear_of_contrast_stay_in_the_plane() -> None:
    view = skeleton_contrast.ContrastView(**FLAT, jitter_joints=7)
    maps = view.maps(200, torch.Generator().manual_seed(0))
    vanished = ~maps.flatten(2).any(2)  # (K, V)
    assert {0, 7} == set(vanished.sum(1).tolist())
    there = maps[~vanished]
    assert torch.equal(there[:, 2], torch.tensor([0.0, 0, 1]).double().expand(len(there), 3))
    assert not there[:, :2, 2].any()
    assert (there[:, :2, :2] - torch.eye(2)).abs().amax((1, 2)).gt(0.05).any()
    sheared = skeleton_contrast.ContrastView(**FLAT, spatial=["shear"]).maps(50, torch.Generator().manual_seed(1))
    assert (sheared == sheared[:, :1]).all()
    assert torch.equal(sheared[:, 0].diagonal(dim1=1, dim2=2), torch.ones(50, 3).double())
    assert sheared[:, 0, [0, 1], [1, 0]].abs().min() > 0


VIEWS: dict[str, Callable[..., nn.Module]] = {
    "pstl": pstl.PSTLView,
    "plain": pstl.PlainView,
    "crop": masked.CropView,
    "centre": masked.CentreView,
    "sampled": uniform.SampledView,
    "clips": uniform.SampledClips,
    "contrast": skeleton_contrast.ContrastView,
    "contrast crop": skeleton_contrast.CropView,
    "contrast centre": skeleton_contrast.CentreView,
}


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
@pytest.mark.parametrize("name", VIEWS)
def test_places_and_confidence_keep_apart(name: str, stream: str) -> None:
    """Other confidence, other places: neither changes what a view makes of the other."""
    view = VIEWS[name](**FLAT, stream=stream)
    x = clips(n=8, gaps=0)
    surer, moved = x.clone(), x.clone()
    surer[:, 2] = surer[:, 2] / 2 + 0.5
    moved[:, :2] = clips(seed=9, n=8)[:, :2]
    base, same_places, same_confidence = (
        view(batch_of(clip), torch.Generator().manual_seed(5)) for clip in (x, surer, moved)
    )
    assert base.shape[1] == 3
    torch.testing.assert_close(same_places[:, :2], base[:, :2])
    torch.testing.assert_close(same_confidence[:, 2], base[:, 2])
    assert not torch.allclose(same_places[:, 2], base[:, 2])
    assert not torch.allclose(same_confidence[:, :2], base[:, :2])
    assert base[:, 2].min() >= 0
    assert base[:, 2].max() <= 1


@pytest.mark.parametrize("name", VIEWS)
def test_coordinates_that_are_none(name: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.coordinates: found 'xy', expected one of xyz, xyc"):
        VIEWS[name](layout="coco17", coordinates="xy")
