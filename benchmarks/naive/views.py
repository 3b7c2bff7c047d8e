"""Views as public feeders write them: clip by clip and operation by operation, on the numbers that ours draw.

Each takes our view for its settings and its draws, so that both forms show the same clips.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from skelssl.data.batch import Batch
from skelssl.skeleton.layout import load_layout
from skelssl.views import masked, pstl, skeleton_contrast, spatial, uniform
from skelssl.views.streams import to_stream
from skelssl.views.temporal import random_window


def crop_and_resize(x: Tensor, start: int, length: int, frames: int) -> Tensor:
    """One clip (C, T, V, M) -> its window resized to ``frames``."""
    window = rearrange(x[:, start : start + length], "c t v m -> 1 (c v m) t")
    resized = F.interpolate(window, size=frames, mode="linear", align_corners=False)[0]
    return rearrange(resized, "(c v m) t -> c t v m", v=x.shape[2], m=x.shape[3])


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """One clip (3, T, V, M) turned about x, then y, then z; angles (3,)."""
    return torch.einsum("ij,jtvm->itvm", spatial.rotation_matrix(angles[None])[0].to(x), x)


def turn_in_turn(x: Tensor, angles: Tensor) -> Tensor:
    """Clips (N, 3, T, V, M) turned about x, then y, then z, each by a product of its own; angles (3,)."""
    for axis in range(3):
        alone = torch.where(torch.arange(3) == axis, angles, 0.0)
        x = torch.einsum("ij,njtvm->nitvm", spatial.rotation_matrix(alone[None])[0].to(x), x)
    return x


def cropped(view: masked.CropView, batch: Batch, generator: torch.Generator) -> Tensor:
    """MAMP's and HA-CM's."""
    start, length = random_window(batch.frames, view.ratio, view.minimum, generator)
    angles = (2 * spatial.uniform((len(batch), 3), generator) - 1) * view.rotation
    clips = [
        turn(crop_and_resize(x, int(s), int(n), view.frames), a)
        for x, s, n, a in zip(batch.x, start, length, angles, strict=True)
    ]
    return to_stream(torch.stack(clips), view.stream, view.layout)


def sampled(view: uniform.SampledView, batch: Batch, generator: torch.Generator) -> Tensor:
    """Skeleton2vec's."""
    draws = spatial.uniform((len(batch), view.frames + 2), generator)
    angles = (2 * spatial.uniform((len(batch), 3), generator) - 1) * view.rotation
    clips = [
        turn(x[:, frames_of_one(int(n), float(d[0]), d[1:].tolist())], a)
        for x, n, d, a in zip(batch.x, batch.frames, draws, angles, strict=True)
    ]
    return to_stream(torch.stack(clips), view.stream, view.layout)


def frames_of_one(n: int, phase: float, noise: list[float]) -> list[int]:
    """Which frames of a clip of ``n`` are shown, frame by frame; see `skelssl.views.uniform.uniform_frames`."""
    size = len(noise) - 1
    if n < size:
        return [(int(phase * n) + t) % n for t in range(size)]
    if n < 2 * size:
        skipped = set(sorted(range(size + 1), key=noise.__getitem__)[: n - size])
        shown, at = [], 0
        for t in range(size):
            at += t in skipped
            shown.append(t + at)
        return shown
    edges = [t * n // size for t in range(size + 1)]
    return [edges[t] + int(noise[t] * (edges[t + 1] - edges[t])) for t in range(size)]


def contrasted(view: skeleton_contrast.ContrastView, batch: Batch, generator: torch.Generator) -> Tensor:
    """Skeleton-contrast's: one map of each joint of a clip."""
    start, length = random_window(batch.frames, view.ratio, view.minimum, generator)
    maps = view.maps(len(batch), generator)
    clips = []
    for x, s, n, own in zip(batch.x, start, length, maps, strict=True):
        clip = crop_and_resize(x, int(s), int(n), view.frames)
        clips.append(torch.einsum("vij,jtvm->itvm", own.to(clip), clip))
    return to_stream(torch.stack(clips), view.stream, view.layout)


def sheared_and_turned(view: pstl.PSTLView, batch: Batch, generator: torch.Generator) -> Tensor:
    """PSTL's: mirrored ends, cut, shear, three rotations and flip, each a pass over the whole batch."""
    x = to_stream(batch.x, view.stream, view.layout)
    frames = x.shape[2]
    padding = frames // view.crop_ratio
    start = int(spatial.integers(2 * padding + 1, (1,), generator))
    shear = spatial.shear_matrix(spatial.draw_shear(1, view.shear, generator))[0]
    angles = spatial.draw_angles(1, view.rot_main_deg, view.rot_other_deg, generator)[0]
    flip = bool(spatial.uniform((1, 1), generator) < view.flip_p)
    x = torch.cat([x[:, :, :padding].flip(2), x, x[:, :, frames - padding :].flip(2)], 2)[:, :, start : start + frames]
    x = turn_in_turn(torch.einsum("ij,njtvm->nitvm", shear.to(x), x), angles)
    return x[:, :, :, torch.from_numpy(load_layout(view.layout).flip)] if flip else x
