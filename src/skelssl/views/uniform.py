"""Views that sample frames uniformly: a clip of any length becomes T' of its frames, without interpolation.

Duan et al., PYSKL, ACM MM 2022 (arXiv 2205.09443), as Skeleton2vec uses it (Xu et al., 2024, arXiv 2401.00921).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from skelssl.data.batch import Batch
from skelssl.runtime.devices import send
from skelssl.views.base import View, check_count
from skelssl.views.spatial import rotate, uniform
from skelssl.views.temporal import take_frames


def uniform_frames(frames: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    """Return the indices of T' frames sampled from a clip of n, (..., T') int64 in 0 ... n - 1.

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


class SampledView(View):
    """Frames sampled at random for each clip, and one rotation; the stream is taken last.

    Args:
        frames: T'.
        rotation: largest angle about each axis in radians.
        body: layout, coordinates and stream, as in `View`.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(self, *, frames: int = 90, rotation: float = 0.3, **body: str) -> None:
        super().__init__(**body)
        self.frames, self.rotation = check_count("frames", frames), rotation

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return (N, 3, T', V, M); frames are drawn before angles, each for all clips at once."""
        draws = send(uniform((len(batch), self.frames + 2), generator), batch.frames.device)
        shown = take_frames(batch.x, uniform_frames(batch.frames, draws[:, 0], draws[:, 1:]))
        shown = rotate(shown, self.rotation, generator, coordinates=self.coordinates)
        return self.to_stream(shown)


class SampledClips(View):
    """K samplings of each clip, which the protocols average; they are the same in every call and in every batch.

    As in PYSKL each clip uses the same random numbers, seed 255, whatever the rest of its batch. Clips shorter than T'
    start at K evenly spaced frames instead.

    Args:
        frames: T'.
        clips: K.
        seed: of the K samplings.
        body: layout, coordinates and stream, as in `View`.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(self, *, frames: int = 90, clips: int = 10, seed: int = 255, **body: str) -> None:
        super().__init__(**body)
        self.frames, self.clips, self.seed = check_count("frames", frames), check_count("clips", clips), seed

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Return (N·K, 3, T', V, M), the K clips of a sample adjacent; ``generator`` is not used."""
        noise = uniform((self.clips, self.frames + 1), torch.Generator().manual_seed(self.seed))
        phase = torch.arange(self.clips, dtype=torch.float64) / self.clips
        index = uniform_frames(batch.frames[:, None], *(send(draw, batch.frames.device) for draw in (phase, noise)))
        shown = take_frames(batch.x, index.flatten(1))
        shown = rearrange(shown, "n c (k t) v m -> (n k) c t v m", k=self.clips)
        return self.to_stream(shown)
