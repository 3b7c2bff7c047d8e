"""Masks that follow motion, targets that are motion: in the plane of an image that of x and y alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from skelssl.core.errors import UserError
from skelssl.encoders.hcn import motion
from skelssl.losses.masked_prediction import MaskedPrediction
from skelssl.maskers.motion_attention import MotionAttentionMask
from skelssl.maskers.motion_gumbel import MotionGumbelMask, segment_motion
from skelssl.maskers.motion_tube import MotionTubeMask, tube_motion
from skelssl.methods.visualize import MaskedClip, mask_metrics

FLAT = {"layout": "coco17", "coordinates": "xyc"}


def clips(seed: int = 0, gaps: float = 0.2) -> Tensor:
    """(2, 3, 12, 17, 2) float64; a share of the joints is not seen."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 12, 17, 2, generator=dice, dtype=torch.float64)
    x[:, 2] = x[:, 2].abs().clamp(0.1, 1) * (torch.rand(2, 12, 17, 2, generator=dice) >= gaps)
    return x


def step(x: np.ndarray, n: int, t: int, v: int, m: int, stride: int) -> np.ndarray:
    """(2,) of one joint; it stands still where it was not seen at either end, or where the clip ends."""
    if t + stride >= x.shape[2] or not (x[n, 2, t, v, m] > 0 and x[n, 2, t + stride, v, m] > 0):
        return np.zeros(2)
    return x[n, :2, t + stride, v, m] - x[n, :2, t, v, m]


def places(*sizes: int) -> list[tuple[int, ...]]:
    return list(np.ndindex(*sizes))


def test_motion_of_segments_and_tubes() -> None:
    x = clips()
    a = x.numpy()
    segments, tubes = segment_motion(x, 3, "xyc"), tube_motion(x, 6, "xyc")
    for n, m, v in places(2, 2, 17):
        for s in range(1, 4):
            wanted = np.mean([np.abs(step(a, n, t - 3, v, m, 3)) for t in range(3 * s, 3 * s + 3)])
            assert segments[2 * n + m, s, v] == pytest.approx(wanted)
        assert segments[2 * n + m, 0, v] == segments[2 * n + m, 1, v]
        for g in range(2):
            wanted = np.mean([np.abs(step(a, n, t, v, m, 1)) for t in range(6 * g, 6 * g + 6)])
            assert tubes[2 * n + m, g, v] == pytest.approx(wanted)


def test_matm_drops_the_frames_that_are_fastest_in_the_plane() -> None:
    x = clips(seed=3)
    a = x.numpy()
    kept = MotionAttentionMask(coordinates="xyc", k_motion=4, k_random=0).kept(x)
    for n in range(2):
        speed = [sum((step(a, n, t, v, m, 1) ** 2).sum() for v, m in places(17, 2)) for t in range(11)]
        assert set(range(12)) - set(kept[n].tolist()) == set(np.argsort(speed)[-4:].tolist())


def test_masks_do_not_depend_on_confidence() -> None:
    x = clips(gaps=0)
    surer = x.clone()
    surer[:, 2] = clips(seed=5, gaps=0)[:, 2]
    grid = {**FLAT, "frames": 12, "patch": 3}
    for masker in (MotionGumbelMask(**grid), MotionTubeMask(**grid, ratio=0.8, tube=2)):
        a, b = (masker(clip, torch.Generator().manual_seed(1)).mask for clip in (x, surer))
        assert torch.equal(a, b)
        c = masker(torch.cat([clips(seed=7)[:, :2], x[:, 2:]], 1), torch.Generator().manual_seed(1)).mask
        assert not torch.equal(a, c)
    with pytest.raises(UserError, match=r"dataset\.coordinates: found 'zz'"):
        MotionGumbelMask(**{**grid, "coordinates": "zz"})


@pytest.mark.parametrize("target", ["motion", "coordinates"])
def test_targets_are_x_and_y(target: str) -> None:
    x, patch = clips(seed=2), 4
    a = x.numpy()
    loss = MaskedPrediction(target=target, normalise=False, coordinates="xyc")
    assert loss.channels == 2
    hidden = torch.tensor([[0, 5, 50]] * 4)
    found = loss.targets(x, patch, hidden)
    assert found.shape == (4, 3, patch * 2)
    for row, k in places(4, 3):
        n, m = divmod(row, 2)
        s, v = divmod(int(hidden[row, k]), 17)
        wanted = [step(a, n, t, v, m, 1) if target == "motion" else a[n, :2, t, v, m]
                  for t in range(patch * s, patch * s + patch)]  # fmt: skip
        np.testing.assert_allclose(found[row, k].numpy(), np.concatenate(wanted), atol=1e-12)


def test_the_motion_branch_of_hcn() -> None:
    x = clips()[..., 0]  # (B, 3, T, V)
    wanted = torch.zeros(2, 3, 11, 17, dtype=torch.float64)
    a = x[..., None].numpy()
    for n, t, v in places(2, 11, 17):
        wanted[n, :2, t, v] = torch.from_numpy(step(a, n, t, v, 0, 1))
        wanted[n, 2, t, v] = min(x[n, 2, t, v], x[n, 2, t + 1, v])
    wanted = interpolate(wanted, (12, 17), mode="bilinear", align_corners=False)
    torch.testing.assert_close(motion(x, "xyc"), wanted)


def test_figures_of_masks_measure_motion_in_the_plane() -> None:
    x = clips()[:1]
    still = x.clone()
    still[:, :2] = 1.0  # only confidence changes
    shown = MaskedClip("some", dropped_joints=[1, 2])
    assert mask_metrics(shown, still, "xyc")[1] == 0
    assert mask_metrics(shown, x, "xyc")[1] > 0
