"""Temporal crops of a view: windows resized to T' frames, and PSTL's mirrored crop."""

from __future__ import annotations

import torch
from torch import Tensor

from skelssl.runtime.devices import send
from skelssl.views.spatial import uniform


def crop_resize(x: Tensor, start: Tensor, length: Tensor, frames: int) -> Tensor:
    """Resample the window [start, start + length) of each clip linearly, with half-pixel centres.

    The result equals ``interpolate(window, size=frames, align_corners=False)`` clip by clip, without anti-aliasing.
    Frames outside the window are never read.

    Args:
        x: clips (N, C, T, V, M).
        start, length: (N,) integers with start >= 0, length >= 1 and start + length <= T.
        frames: T'.

    Returns:
        (N, C, T', V, M).
    """
    length = length[:, None]
    at = (torch.arange(frames, device=x.device) + 0.5).double() * length / frames - 0.5
    at = at.clamp(min=0)
    lower = at.long()
    upper = torch.minimum(lower + 1, length - 1)
    weight = (at - lower).to(x.dtype)[:, None, :, None, None]
    below, above = (take_frames(x, start[:, None] + index) for index in (lower, upper))
    return below.lerp_(above, weight)


def take_frames(x: Tensor, index: Tensor) -> Tensor:
    """Gather the frames ``index`` (N, T') of clips (N, C, T, V, M) -> (N, C, T', V, M), in the memory layout of ``x``.

    In the layout of a store a frame is one contiguous row, which is copied at once. A view preserves that layout.
    """
    rows = x.permute(0, 2, 4, 3, 1)  # (N, T, M, V, C)
    if not rows.is_contiguous():
        return x.take_along_dim(index[:, None, :, None, None], dim=2)
    place = torch.arange(len(x), device=x.device)[:, None] * rows.shape[1] + index
    taken = rows.flatten(0, 1).index_select(0, place.flatten())
    return taken.view(*place.shape, *rows.shape[2:]).permute(0, 4, 1, 3, 2)


def random_window(
    frames: Tensor, ratio: tuple[float, float], minimum: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw a window of a random fraction of each clip, at least ``minimum`` frames or the complete clip.

    length = min(max(⌊n·p⌋, minimum), n) with p ~ U(ratio), then start uniform in 0 … n - length. Lengths p are drawn
    for all clips first, then starts.

    Args:
        frames: (N,) valid frames n of each clip, at least 1.
        ratio: lowest and highest p.
        minimum: shortest window in frames, for clips that are longer.
        generator: source of the random numbers.

    Returns:
        (start, length), each (N,) int64 on the device of ``frames``.
    """
    low, high = ratio
    share, place = send(uniform((2, len(frames)), generator, clips=1), frames.device)
    length = (frames.double() * (low + (high - low) * share)).floor().long()
    length = torch.minimum(length.clamp(min=minimum), frames)
    return (place * (frames - length + 1)).long(), length


def centre_window(frames: Tensor, ratio: float = 0.95) -> tuple[Tensor, Tensor]:
    """Return the central window of each clip: start = ⌊(1 - ratio)·n/2⌋ in float64, with as much cut at the end.

    Args:
        frames: (N,) valid frames n of each clip.
        ratio: fraction of the clip to retain.

    Returns:
        (start, length), each (N,) int64.
    """
    start = ((1 - ratio) * frames.double() / 2).long()
    return start, frames - 2 * start


def mirrored_crop(start: Tensor, frames: int, padding: int) -> Tensor:
    """Return the indices (K, T) of T frames from ``start`` in the clip mirrored by ``padding`` frames at both ends.

    The edge frame is repeated: … 1 0 | 0 1 … T-1 | T-1 T-2 …. ``start`` (K,) is in 0 … 2·padding, and a start of
    ``padding`` yields the clip itself.
    """
    index = start[:, None] + torch.arange(frames, device=start.device) - padding
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= frames, 2 * frames - 1 - index, index)
