"""Uniform sampling against the published steps written clip by clip; the ten clips of a test are always the same."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from skelssl.core.errors import UserError
from skelssl.data.batch import Batch
from skelssl.views.spatial import rotate, uniform
from skelssl.views.streams import to_stream
from skelssl.views.uniform import SampledClips, SampledView, uniform_frames

LENGTHS = (1, 2, 40, 89, 90, 91, 130, 179, 180, 181, 300)


def published(n: int, size: int, phase: float, noise: np.ndarray) -> list[int]:
    """Frames of one clip in the published order of steps; random choices are read off ``noise``."""
    if n < size:
        start = int(phase * n)
        return [(start + t) % n for t in range(size)]
    if n < 2 * size:
        jumps = np.zeros(size + 1, int)
        jumps[np.argsort(noise)[: n - size]] = 1
        offset = np.cumsum(jumps)
        return [t + int(offset[t]) for t in range(size)]
    edges = [i * n // size for i in range(size + 1)]
    return [edges[i] + int(noise[i] * (edges[i + 1] - edges[i])) for i in range(size)]


def batch(lengths: tuple[int, ...] = LENGTHS) -> Batch:
    x = torch.randn(len(lengths), 3, max(lengths), 25, 2, generator=torch.Generator().manual_seed(0))
    for clip, length in zip(x, lengths, strict=True):
        clip[:, length:] = torch.nan  # padding must never be read
    x[0, ..., 1] = 0
    n = torch.tensor(lengths)
    return Batch(x, n, torch.zeros_like(n), torch.arange(len(n)))


@given(n=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_equals_the_published_steps(n: int, size: int, seed: int) -> None:
    draws = uniform((size + 2,), torch.Generator().manual_seed(seed))
    found = uniform_frames(torch.tensor(n), draws[0], draws[1:]).tolist()
    assert found == published(n, size, draws[0].item(), draws[1:].numpy())
    assert len(found) == size
    assert 0 <= min(found) <= max(found) < n
    if n >= size:
        assert all(a < b for a, b in pairwise(found))
    else:
        assert all((b - a) % n == 1 % n for a, b in pairwise(found))


def frequency(n: int, size: int, draws: int = 20_000) -> Tensor:
    """How often each of n frames is shown."""
    u = uniform((draws, size + 2), torch.Generator().manual_seed(0))
    index = uniform_frames(torch.full((draws,), n), u[:, 0], u[:, 1:])
    return torch.bincount(index.flatten(), minlength=n) / draws


def test_every_frame_has_its_chance() -> None:
    torch.testing.assert_close(frequency(3, 6), torch.full((3,), 2.0))  # a circle run twice
    torch.testing.assert_close(frequency(4, 6), torch.full((4,), 1.5), rtol=0, atol=0.02)
    torch.testing.assert_close(frequency(18, 6), torch.full((18,), 1 / 3), rtol=0, atol=0.02)
    # Ten frames, six shown: the first is skipped where the first of seven places is among the four drawn.
    shown = frequency(10, 6)
    assert shown.sum().item() == pytest.approx(6, abs=1e-3)
    assert shown[[0, 9]].tolist() == pytest.approx([3 / 7, 3 / 7], abs=0.02)


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_the_training_view_clip_by_clip(stream: str) -> None:
    clips = batch()
    found = SampledView(stream=stream)(clips, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    draws = uniform((len(clips), 92), generator)
    rows = [
        clips.x[i][:, published(n, 90, draws[i, 0].item(), draws[i, 1:].numpy())]
        for i, n in enumerate(clips.frames.tolist())
    ]
    expected = to_stream(rotate(torch.stack(rows), 0.3, generator), stream, "ntu25")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert found.shape == (len(LENGTHS), 3, 90, 25, 2)
    assert not found[0, ..., 1].any()


def test_without_rotation_frames_are_the_clips_own() -> None:
    clips = batch((200,))
    found = SampledView(rotation=0.0)(clips, torch.Generator())[0]
    own = {tuple(frame.flatten().tolist()) for frame in clips.x[0].unbind(1)}
    assert all(tuple(frame.flatten().tolist()) in own for frame in found.unbind(1))


def test_the_ten_clips_of_a_test() -> None:
    clips, view = batch(), SampledClips()
    assert view.clips == 10
    found = view(clips)
    assert torch.equal(view(clips, torch.Generator().manual_seed(9)), found)
    noise = uniform((10, 91), torch.Generator().manual_seed(255))
    for i, n in enumerate(clips.frames.tolist()):
        for k in range(10):
            expected = clips.x[i][:, published(n, 90, k / 10, noise[k].numpy())]
            assert torch.equal(found[10 * i + k], expected)
    ten = found[-10:].unbind(0)  # of the longest clip
    assert all(not torch.equal(a, b) for a, b in pairwise(ten))


def test_a_clip_is_seen_the_same_whatever_stands_beside_it() -> None:
    clips, view = batch(), SampledClips(clips=3)
    alone = Batch(*(getattr(clips, key)[6:7] for key in ("x", "frames", "label", "index")))
    assert torch.equal(view(alone), view(clips)[18:21])


def test_short_clips_start_at_evenly_spread_frames() -> None:
    found = SampledClips(frames=4, clips=5)(batch((3,)))
    x = batch((3,)).x[0]
    starts = [next(t for t in range(3) if torch.equal(clip[:, 0], x[:, t])) for clip in found]
    assert starts == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SampledView(frames=0), r"view\.frames: found 0, expected a whole number of at least 1"),
        (lambda: SampledClips(clips=0), r"view\.clips: found 0, expected a whole number of at least 1"),
        (lambda: SampledClips(stream="speed"), "stream: found 'speed'"),
    ],
)
def test_mistakes_name_the_key(build: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
