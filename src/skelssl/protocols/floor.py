"""Classify raw coordinates without any encoder: the floor that a trained encoder should exceed."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from skelssl.skeleton.layout import load_layout

_CHUNK = 1024  # test clips compared at a time


def raw_features(
    x: Tensor, frames: Tensor, *, length: int = 32, body: str = "ntu25", coordinates: str = "xyz"
) -> Tensor:
    """Return aligned, resampled coordinates as features.

    The first person's root in the first frame becomes the origin, and the shoulder line there becomes the x axis by a
    rotation about the vertical. Both apply to the whole clip and all persons, so distances between people are kept.
    Absent persons and missing frames stay zero. Clips of ``xyc`` are not rotated, and their confidence is kept.

    Args:
        x: Clips (N, 3, T, V, M) in m, zero-padded after ``frames``.
        frames: (N,) frames of each clip.
        length: Frames after resampling.
        body: Name of the skeleton layout.
        coordinates: ``xyz``, or ``xyc`` for image coordinates and confidence.

    Returns:
        (N, 3 * length * V * M) float32.
    """
    shape = load_layout(body)
    present = x.abs().sum((1, 3), keepdim=True) > 0  # (N, 1, T, 1, M)
    start = _first_frame(present, x)  # (N, 3, V)
    root = start[:, :, shape.point("spine_base")].mean(2)
    if coordinates == "xyc":
        centred = torch.cat([x[:, :2] - root[:, :2, None, None, None], x[:, 2:]], 1) * present
        return rearrange(_resampled(centred, frames, length), "n c t v m -> n (c t v m)")
    centred = x - root[:, :, None, None, None]
    left, right = shape.index("shoulder_left"), shape.index("shoulder_right")
    cos, sin = normalize((start[:, :, right] - start[:, :, left])[:, [0, 2]], dim=1).unbind(1)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], 1).reshape(-1, 3, 3)
    aligned = torch.einsum("nij,njtvm->nitvm", turn, centred) * present
    return rearrange(_resampled(aligned, frames, length), "n c t v m -> n (c t v m)")


def raw_one_nn(train_x: Tensor, train_label: Tensor, test_x: Tensor, test_label: Tensor) -> float:
    """Return the accuracy, from 0 to 1, of the nearest neighbour by Euclidean distance; ties go to the first.

    ``train_x`` is (N, F), ``test_x`` (N', F); labels are (N,) and (N',) int64.
    """
    near = torch.cat([torch.cdist(chunk, train_x).argmin(1) for chunk in torch.split(test_x, _CHUNK)])
    return float((train_label[near] == test_label).double().mean())


def raw_ridge(train_x: Tensor, train_label: Tensor, test_x: Tensor, test_label: Tensor, *, alpha: float = 1.0) -> float:
    """Return the accuracy, from 0 to 1, of a ridge classifier.

    It is least squares on targets of +1 and -1 with an intercept and penalty ``alpha``, solved in the dual (N by N).
    ``train_x`` is (N, F), ``test_x`` (N', F); labels are (N,) and (N',) int64.
    """
    target = 2.0 * one_hot(train_label).double() - 1
    mean, offset = train_x.double().mean(0), target.mean(0)
    known, new = train_x.double() - mean, test_x.double() - mean
    gram = known @ known.T + alpha * torch.eye(len(known), dtype=torch.float64, device=known.device)
    scores = new @ (known.T @ torch.linalg.solve(gram, target - offset)) + offset
    return float((scores.argmax(1) == test_label).double().mean())


def _first_frame(present: Tensor, x: Tensor) -> Tensor:
    """Return (N, 3, V): the first person in the first frame in which it is present."""
    at = present[:, 0, :, 0, 0].int().argmax(1)
    return x[torch.arange(len(x), device=x.device), :, at, :, 0]


def _resampled(x: Tensor, frames: Tensor, length: int) -> Tensor:
    """Interpolate the first ``frames`` (N,) of each clip linearly in time, with half-pixel centres."""
    at = (torch.arange(length, device=x.device) + 0.5) * frames[:, None] / length - 0.5
    at = at.clamp(min=0).minimum(frames[:, None] - 1)  # (N, length)
    low = at.floor().long()
    high = (low + 1).minimum(frames[:, None] - 1)
    weight = (at - low).to(x.dtype)[:, None, :, None, None]
    row = torch.arange(len(x), device=x.device)[:, None]
    before, after = (rearrange(x[row, :, i], "n t c v m -> n c t v m") for i in (low, high))
    return before + (after - before) * weight
