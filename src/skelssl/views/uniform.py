"""Uniform sampling of frames: a clip of any length becomes T' of its own frames, nothing is interpolated.

Duan et al., PYSKL, ACM MM 2022 (arXiv 2205.09443), as Skeleton2vec uses it (Xu et al., 2024, arXiv 2401.00921).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.runtime.devices import send
from skelssl.views import spatial
from skelssl.views.masked import check_frames, rotate
from skelssl.views.streams import check_coordinates, check_stream, to_stream
from skelssl.views.temporal import take_frames


def uniform_frames(frames: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    """Which T' frames of a clip of n are shown: (..., T') int64 in 0 ... n - 1.

    n < T': the clip runs in a circle from frame ⌊phase·n⌋. T' <= n < 2T': T' frames in order, n - T' of the others
    skipped, one at most between two neighbours and at either end. n >= 2T': one frame out of each of T' bins.

    Args:
        frames: (...) valid frames n, at least 1.
        phase: (...) in [0, 1).
        noise: (..., T' + 1) in [0, 1), one number for every place where a frame may be skipped; bins use the first T'.
    """
    n, size = frames[..., None], noise.shape[-1] - 1
    step = torch.arange(size + 1, device=frames.device)
    circle = ((phase[..., None] * n).long() + step[:-1]) % n
    skipped = noise.argsort(dim=-1).argsort(dim=-1) < n - size
    dense = step[:-1] + skipped.cumsum(-1)[..., :-1]
    edge = step * n // size
    binned = edge[..., :-1] + (noise[..., :-1] * edge.diff(dim=-1)).long()
    return torch.where(n < size, circle, torch.where(n < 2 * size, dense, binned))


class SampledView(nn.Module):
    """Frames drawn anew for each clip, and one rotation; the stream is taken last.

    Args:
        layout: name of the body.
        coordinates: xyz, or xyc for clips in the plane of an image.
        stream: joint, motion or bone.
        frames: T'.
        rotation: largest angle about each axis in radian.
    """

    clips = 1

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        stream: str = "joint",
        frames: int = 90,
        rotation: float = 0.3,
    ) -> None:
        super().__init__()
        self.layout, self.stream, self.frames = layout, check_stream(stream), check_frames(frames)
        self.coordinates, self.rotation = check_coordinates(coordinates), rotation

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Batch -> (N, 3, T', V, M); frames are drawn before angles, each for all clips at once."""
        draws = send(spatial.uniform((len(batch), self.frames + 2), generator), batch.frames.device)
        shown = take_frames(batch.x, uniform_frames(batch.frames, draws[:, 0], draws[:, 1:]))
        shown = rotate(shown, self.rotation, generator, coordinates=self.coordinates)
        return to_stream(shown, self.stream, self.layout, self.coordinates)


class SampledClips(nn.Module):
    """K samplings of each clip, which the protocols average; the same ones in every call and in every batch.

    As in PYSKL each clip meets the same random numbers, seed 255, whatever stands beside it. Clips shorter than T'
    start at K evenly spread frames instead.

    Args:
        layout: name of the body.
        coordinates: xyz, or xyc for clips in the plane of an image.
        stream: joint, motion or bone.
        frames: T'.
        clips: K.
        seed: of the K samplings.
    """

    def __init__(
        self,
        *,
        layout: str = "ntu25",
        coordinates: str = "xyz",
        stream: str = "joint",
        frames: int = 90,
        clips: int = 10,
        seed: int = 255,
    ) -> None:
        super().__init__()
        if not isinstance(clips, int) or clips < 1:
            raise UserError(f"view.clips: found {clips!r}, expected a whole number of at least 1")
        self.layout, self.stream, self.frames, self.clips = layout, check_stream(stream), check_frames(frames), clips
        self.coordinates, self.seed = check_coordinates(coordinates), seed

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Batch -> (N·K, 3, T', V, M), the K clips of a sample side by side; ``generator`` is not used."""
        noise = spatial.uniform((self.clips, self.frames + 1), torch.Generator().manual_seed(self.seed))
        phase = torch.arange(self.clips, dtype=torch.float64) / self.clips
        index = uniform_frames(batch.frames[:, None], *(send(draw, batch.frames.device) for draw in (phase, noise)))
        shown = take_frames(batch.x, index.flatten(1))
        shown = rearrange(shown, "n c (k t) v m -> (n k) c t v m", k=self.clips)
        return to_stream(shown, self.stream, self.layout, self.coordinates)
